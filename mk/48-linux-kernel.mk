# SPDX-License-Identifier: BSD-3-Clause
# A Linux kernel with rpmsg, for tests/linux/rpmsg*.py: built once from Debian's source package,
# and kept outside the clone (tests/linux/kernel.sh says where).
#
#   $(BUILD)/linux/chardev       the guest's program at the character devices

$(BUILD)/linux/chardev: tests/linux/chardev.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINUX_CFLAGS) -static -o $@ $<

.PHONY: linux-kernel rpmsg-programs
rpmsg-programs: linux-base linux-kernel $(BUILD)/linux/chardev $(BUILD)/ampsock-proxy $(BUILD)/e2e/agent-san $(BUILD)/e2e/agent-patient

linux-kernel: ## a User-mode Linux kernel with rpmsg, once (4 min)
	@tests/linux/kernel.sh
