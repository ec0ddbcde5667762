# SPDX-License-Identifier: BSD-3-Clause
# Firmware for every board, hosted and native examples, the demo.
#
#   $(BUILD)/fw/BOARD/NAME.elf   firmware: NAME.c of examples/ on a bare core
#   $(BUILD)/hosted/NAME         the same source as a Linux process with our library inside
#   $(BUILD)/native/NAME         the same source as an ordinary Linux program: the peer

# make V=1 shows the commands
Q := $(if $(V),,@)

BOARDS   := $(patsubst boards/%.mk,%,$(sort $(wildcard boards/*.mk)))
BOARD    ?= qemu-virt-aarch64
EXAMPLES := $(patsubst examples/%.c,%,$(sort $(filter-out examples/hosted_%.c,$(wildcard examples/*.c))))

ifeq ($(filter $(BOARD),$(BOARDS)),)
$(error BOARD=$(BOARD) is not one of: $(BOARDS))
endif
include $(BOARDS:%=boards/%.mk)

FW_LIB_SRC := src/virtio/vq_split.c src/virtio/mmio.c src/virtio/mmio_why.c src/virtio/remoteproc.c \
	src/port/baremetal.c \
	$(filter-out %/hosted_bell.c %/hosted_device.c %/hosted_driver.c %/hosted_host.c %/hosted_remote.c, \
	$(wildcard src/vsock/*.c src/af_rpmsg/*.c)) $(wildcard src/conn/*.c src/socket/*.c src/af_inet/*.c src/posix/*.c \
	src/wire/*.c)
FW_OPT    ?= -O2
FW_CFLAGS := $(STD) $(FW_OPT) -g $(WARN) -ffunction-sections -fdata-sections -fno-common \
	-fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables \
	-Iinclude $(FW_EXTRA) -DAMP_PORT_THREADS=0 -DAMPSOCK_CONFIG='"../boards/config.h"'
FW_LDFLAGS := -nostartfiles -static -no-pie -T boards/board.ld -Wl,--gc-sections \
	-Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments -Wl,--build-id=none
FW_STACK_LEN ?= 0x8000
FW_RAM_LEN   ?= 0x2000000
# picolibc everywhere (release: the other build type copies byte by byte); newlib for Arm
# besides, in a directory of its own.
FW_SPECS := --specs=picolibc.specs --picolibc-buildtype=release

# $(call fw_board,BOARD,DIR,SPECS): objects and programs of one board
define fw_board
$(2)/lib/%.o: src/%.c
	@mkdir -p $$(@D)
	$(Q)$($(1).cross)gcc $(3) $($(1).flags) $($(1).irq) $(FW_CFLAGS) $$(DEPFLAGS) -c $$< -o $$@

$(2)/board/%.o: boards/%.c
	@mkdir -p $$(@D)
	$(Q)$($(1).cross)gcc $(3) $($(1).flags) $($(1).irq) $($(1).early) $(FW_CFLAGS) \
		-fno-tree-loop-distribute-patterns $$(DEPFLAGS) -c $$< -o $$@

$(2)/board/%.o: boards/%.S
	@mkdir -p $$(@D)
	$(Q)$($(1).cross)gcc $($(1).flags) -g -c $$< -o $$@

$(2)/examples/%.o: examples/%.c
	@mkdir -p $$(@D)
	$(Q)$($(1).cross)gcc $(3) $($(1).flags) $(FW_CFLAGS) $$(DEPFLAGS) -c $$< -o $$@

$(2)/tests/%.o: tests/qemu/%.c
	@mkdir -p $$(@D)
	$(Q)$($(1).cross)gcc $(3) $($(1).flags) $($(1).irq) $(FW_CFLAGS) $$(DEPFLAGS) -c $$< -o $$@

$(2)/libampsock.a: $(FW_LIB_SRC:src/%.c=$(2)/lib/%.o)
	@rm -f $$@
	$(Q)$($(1).cross)ar rcs $$@ $$^

fw_objs.$(2) := $(addprefix $(2)/board/,$(addsuffix .o,$(1) main console semihost libc $($(1).parts)))

# The archive twice: its members and the C library need each other.
fw_link.$(2) = $(Q)$($(1).cross)gcc $(3) $($(1).flags) $(FW_LDFLAGS) \
	-Wl,--defsym=__load_addr=$($(1).load),--defsym=__ram_start=$($(1).ram) \
	-Wl,--defsym=__ram_len=$(FW_RAM_LEN),--defsym=__stack_len=$(FW_STACK_LEN) \
	$$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -lc -lgcc -Wl,--end-group -o $$@

$(2)/selftest.elf: $(2)/tests/selftest.o $$(fw_objs.$(2)) $(2)/libampsock.a boards/board.ld
	$$(fw_link.$(2))

$(2)/%.elf: $(2)/examples/%.o $$(fw_objs.$(2)) $(2)/board/link.o $(2)/libampsock.a boards/board.ld
	$$(fw_link.$(2))

.PHONY: firmware-$(notdir $(2))
firmware-$(notdir $(2)): $(EXAMPLES:%=$(2)/%.elf) $(2)/selftest.elf
-include $$(wildcard $(2)/*/*.d $(2)/*/*/*.d)
endef
$(foreach b,$(BOARDS),$(eval $(call fw_board,$(b),$(BUILD)/fw/$(b),$(FW_SPECS))))
$(eval $(call fw_board,qemu-virt-arm,$(BUILD)/fw/qemu-virt-arm-newlib,--specs=nosys.specs))

.PHONY: firmware
firmware: $(BOARDS:%=firmware-%) firmware-qemu-virt-arm-newlib ## every example for every board
.SECONDARY:

# --- the same sources as Linux programs --------------------------------------------------------
# Hosted: compiled against glibc's headers, the socket calls renamed to amp_* in the object.
HOSTED_CFLAGS := $(STD) $(CFLAGS) $(WARN) -D_GNU_SOURCE -idirafter include

$(BUILD)/hosted/examples/%.o: examples/%.c $(BUILD)/hosted/ampsock.redefine
	@mkdir -p $(@D)
	$(Q)$(CC) $(HOSTED_CFLAGS) $(DEPFLAGS) -c $< -o $@.plain
	$(Q)objcopy --redefine-syms=$(BUILD)/hosted/ampsock.redefine $@.plain $@

$(BUILD)/hosted/hosted_main.o: examples/hosted_main.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(HOSTED_CFLAGS) $(DEPFLAGS) -c $< -o $@

$(EXAMPLES:%=$(BUILD)/hosted/%): $(BUILD)/hosted/%: $(BUILD)/hosted/examples/%.o \
		$(BUILD)/hosted/hosted_main.o $(BUILD)/hosted/libampsock.a
	$(Q)$(CC) $(CFLAGS) $^ -pthread -o $@

# Native: whatever is plain POSIX, or Linux has. The peers of the tests, and proof that it is.
NATIVE := $(filter-out zero_copy rpmsg_%,$(EXAMPLES))
$(NATIVE:%=$(BUILD)/native/%): $(BUILD)/native/%: examples/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(HOSTED_CFLAGS) $< -o $@

.PHONY: hosted native
hosted: $(EXAMPLES:%=$(BUILD)/hosted/%) ## the examples as Linux processes with the library inside
native: $(NATIVE:%=$(BUILD)/native/%)
all: firmware hosted native
-include $(wildcard $(BUILD)/hosted/*.d $(BUILD)/hosted/examples/*.d)

# --- see it work --------------------------------------------------------------------------------
.PHONY: demo run
demo: ## firmware in QEMU reaches real servers through the proxy, and is reached (BOARD=)
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -s $(BUILD)/ampsock-proxy $(BUILD)/fw/$(BOARD)/demo.elf
	@boards/demo.sh $(BUILD) $(BOARD)

run: ## the same, left up for a browser
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -s $(BUILD)/ampsock-proxy $(BUILD)/fw/$(BOARD)/demo.elf
	@boards/demo.sh $(BUILD) $(BOARD) --stay
