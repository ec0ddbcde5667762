# SPDX-License-Identifier: BSD-3-Clause
# The POSIX headers of include/ against every bare toolchain that is installed.

.PHONY: check-headers
check-headers: ## POSIX headers on every bare toolchain (40 s)
	@tests/headers/check.py
