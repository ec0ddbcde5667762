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

.PHONY: linux-base linux-programs check-linux
linux-base: $(BUILD)/linux/libumlfp.so $(BUILD)/linux/init

# With the kernel's own tests, which are built once for each version of Debian's source package
# and kept in the user's cache.
linux-programs: linux-base $(BUILD)/linux/agent-linux $(BUILD)/san/ampsock-proxy $(BUILD)/ampsockctl
	@tests/linux/lib/kernel-tests.sh >/dev/null

check-linux: ## Linux kernels as guests of the proxy, joined, and as host of a remote core (3 min)
	@tests/run --build $(BUILD) linux

# tests/e2e's agent on Linux's own sockets: each amp_NAME becomes NAME again.
$(BUILD)/linux/agent.redefine: mk/10-lib.mk
	@mkdir -p $(@D)
	@{ for f in $(LIB_CALLS); do echo "amp_$$f $$f"; done; } > $@

$(BUILD)/linux/agent-linux: tests/e2e/agent.c tests/linux/lib/agent_linux.c $(BUILD)/linux/agent.redefine
	@mkdir -p $(@D)
	$(Q)$(CC) $(STD) -O2 -g $(WARN) $(LIB_CPPFLAGS) -c -o $@.o $<
	$(Q)objcopy --redefine-syms=$(BUILD)/linux/agent.redefine $@.o
	$(Q)$(CC) $(STD) -O2 -g $(WARN) $(LIB_CPPFLAGS) -o $@ $@.o tests/linux/lib/agent_linux.c -Wl,--wrap=socket -pthread
