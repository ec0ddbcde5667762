# SPDX-License-Identifier: BSD-3-Clause

all: ## library, proxy, firmware and examples

.PHONY: clean
clean: ## remove what was built (BUILD=)
	rm -rf $(BUILD)
