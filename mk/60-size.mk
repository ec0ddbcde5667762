# SPDX-License-Identifier: BSD-3-Clause
# What the library costs on a Cortex-M4: tests/size/size.py does the work.

.PHONY: size check-size size-record
size: ## flash, RAM and stack on a Cortex-M4, per module and configuration
	@python3 tests/size/size.py --build $(BUILD)

check-size:
	@python3 tests/size/size.py --build $(BUILD) --check

size-record: ## accept today's sizes: tests/size/recorded.json
	@python3 tests/size/size.py --build $(BUILD) --record
