# SPDX-License-Identifier: BSD-3-Clause
# What the library costs: tests/size/size.py does the work.

.PHONY: size check-size size-record
size: ## flash, RAM and stack per module, configuration and core
	@python3 tests/size/size.py --build $(BUILD)

check-size:
	@python3 tests/size/size.py --build $(BUILD) --check

size-record: ## accept today's sizes: tests/size/recorded.json, docs/size.md
	@python3 tests/size/size.py --build $(BUILD) --record
