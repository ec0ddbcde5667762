# SPDX-License-Identifier: BSD-3-Clause

all: ## library, proxy, firmware and examples

.PHONY: clean
clean: ## remove what was built (BUILD=)
	@dir=$$(realpath -m -- "$(BUILD)"); case "$$(realpath .)/" in "$${dir%/}"/*) \
		echo "make clean: BUILD=$(BUILD) has the sources in it: expected the directory that was built in" >&2; exit 1;; \
	esac
	rm -rf -- "$(BUILD)"
