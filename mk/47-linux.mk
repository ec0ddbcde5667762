# SPDX-License-Identifier: BSD-3-Clause
# Linux kernels as the other end: User-mode Linux guests for tests/linux.
#
#   $(BUILD)/linux/libumlfp.so   preloaded into the kernel's process
#   $(BUILD)/linux/init          the guests' first program
#   $(BUILD)/linux/NAME.cpio     a guest's root: tests/linux/lib/initramfs.py makes it

LINUX_CFLAGS := $(STD) -O2 -g $(WARN) -D_GNU_SOURCE

$(BUILD)/linux/libumlfp.so: tests/linux/lib/umlfp.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINUX_CFLAGS) -shared -fPIC -o $@ $<

# Static: the guests have no libraries but those of the programs that are copied for a test.
$(BUILD)/linux/init: tests/linux/lib/init.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINUX_CFLAGS) -static -o $@ $<

.PHONY: linux-base
linux-base: $(BUILD)/linux/libumlfp.so $(BUILD)/linux/init

# The peer of the rpmsg tests: built once from Debian's source package, kept outside the clone.
$(BUILD)/linux/chardev: tests/linux/chardev.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINUX_CFLAGS) -static -o $@ $<

.PHONY: linux-kernel
linux-kernel: ## the User-mode Linux kernel with rpmsg, once (4 min)
	@tests/linux/kernel.sh
