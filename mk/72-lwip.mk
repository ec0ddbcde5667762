# SPDX-License-Identifier: BSD-3-Clause
# The peer of firmware in QEMU: lwIP's raw API on the same board, from Debian's source package
# (tests/bench/lwip/source.sh). Where that is not to be had, bench.py says so and does without.

LWIP := $(BENCH)/lwip
LWIP_BOARD := qemu-virt-riscv64
LWIP_FW := $(BUILD)/fw/$(LWIP_BOARD)
LWIP_SRC := $(addprefix core/,def inet_chksum init ip mem memp netif pbuf tcp tcp_in tcp_out timeouts \
	ipv4/etharp ipv4/icmp ipv4/ip4 ipv4/ip4_addr) netif/ethernet
LWIP_CFLAGS = $(filter-out -W%,$(fw_cflags.$(LWIP_FW))) -Itests/bench/lwip -isystem $(LWIP)/src/include
LWIP_OBJ := $(LWIP_SRC:%=$(LWIP)/%.o) $(LWIP)/main.o $(LWIP)/vnet.o

.PHONY: bench-lwip bench-peers
bench-peers:
	@$(MAKE) --no-print-directory bench-lwip || echo "bench: without lwIP" >&2

bench-lwip: ## lwIP for QEMU, the peer of make bench (fetches Debian's source package, once)
	@mkdir -p $(LWIP)
	@dir=$$(tests/bench/lwip/source.sh) && ln -sfn $$dir/src $(LWIP)/src && \
		$(MAKE) --no-print-directory $(LWIP)/lwip.elf $(LWIP)/lwip-icount.elf

$(LWIP_SRC:%=$(LWIP)/%.o): $(LWIP)/%.o: tests/bench/lwip/lwipopts.h tests/bench/lwip/arch/cc.h
	@mkdir -p $(@D)
	$(Q)$($(LWIP_BOARD).cross)gcc $(LWIP_CFLAGS) -w -c $(LWIP)/src/$*.c -o $@

$(LWIP)/main.o $(LWIP)/vnet.o: $(LWIP)/%.o: tests/bench/lwip/%.c
	@mkdir -p $(@D)
	$(Q)$($(LWIP_BOARD).cross)gcc $(LWIP_CFLAGS) $(WARN) $(DEPFLAGS) -c $< -o $@

-include $(LWIP)/main.d $(LWIP)/vnet.d

# Of what is ours `make check` sees that it compiles, with the headers of Debian's binary package.
$(LWIP)/checked: tests/bench/lwip/main.c tests/bench/lwip/vnet.c tests/bench/lwip/vnet.h tests/bench/lwip/lwipopts.h \
		tests/bench/lwip/arch/cc.h boards/board.h src/port/port.h src/virtio/mmio.h src/virtio/vdev.h src/virtio/vq.h
	@mkdir -p $(@D)
	$(Q)$($(LWIP_BOARD).cross)gcc $(LWIP_CFLAGS) -isystem /usr/include/lwip $(WARN) -fsyntax-only $(filter %.c,$^)
	@touch $@

$(LWIP)/lwip.elf: $(LWIP_OBJ) $(fw_objs.$(LWIP_FW)) $(LWIP_FW)/libampsock.a $(fw_script.$(LWIP_FW))
	$(fw_link.$(LWIP_FW))

# For -icount: see icount.c and quiet_clint.c.
$(LWIP)/lwip-icount.elf: $(LWIP_OBJ) $(BENCH)/icount-riscv64/quiet_clint.o \
		$(filter-out %/timer-clint.o,$(fw_objs.$(LWIP_FW))) $(LWIP_FW)/libampsock.a $(fw_script.$(LWIP_FW))
	$(fw_link.$(LWIP_FW))
