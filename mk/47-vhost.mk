# SPDX-License-Identifier: BSD-3-Clause
# Our driver on Linux's own vhost-vsock device: tests/vhost/vhost.py. Minutes, and 26 MB of a
# Debian kernel the first time (kept in ~/.cache/ampsock): not part of `make check`.

.PHONY: check-vhost
check-vhost: ## firmware on Linux's own vhost-vsock, in a virtual machine in one (1 to 4 min)
	@$(MAKE) --no-print-directory deps
	@tests/run --build $(BUILD) tests/vhost/vhost.py
