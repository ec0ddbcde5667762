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

# What a board's link (BOARD.link, mmio unless it says otherwise) takes of the library besides
# what every link takes, and its configuration.
FW_LIB_SRC := src/virtio/vq_split.c src/port/baremetal.c \
	$(filter-out %/hosted_names.c,$(wildcard src/conn/*.c src/socket/*.c src/af_inet/*.c src/posix/*.c src/wire/*.c))
FW_LIB_SRC += $(filter-out %/link_driver.c src/vsock/hosted_%,$(wildcard src/vsock/*.c)) # AF_RPMSG has its engine
FW_LIB_mmio  := src/virtio/mmio.c src/virtio/mmio_why.c src/vsock/link_driver.c
FW_LIB_rpmsg := src/virtio/remoteproc.c $(filter-out src/af_rpmsg/hosted_%,$(wildcard src/af_rpmsg/*.c))
FW_CONFIG_mmio  := boards/config.h
FW_CONFIG_rpmsg := boards/config-rpmsg.h
fw_link_of = $(or $($(1).link),mmio)
fw_symbols = -Wl,--defsym=__load_addr=$($(1).load),--defsym=__ram_start=$($(1).ram) \
	-Wl,--defsym=__ram_len=$(or $($(1).ram_len),$(FW_RAM_LEN)),--defsym=__stack_len=$(FW_STACK_LEN) \
	$(if $($(1).rom_len),-Wl$(comma)--defsym=__rom_len=$($(1).rom_len)) \
	$(if $($(1).shm),-Wl$(comma)--defsym=__shm_start=$($(1).shm)$(comma)--defsym=__shm_len=$($(1).shm_len))
FW_OPT    ?= -O2
FW_CFLAGS := $(STD) $(FW_OPT) $(DEBUG_INFO) $(WARN) -ffunction-sections -fdata-sections -fno-common \
	-fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables \
	-Iinclude $(FW_EXTRA) -DAMP_PORT_THREADS=0
FW_LDFLAGS := -nostartfiles -static -no-pie -Wl,--gc-sections \
	-Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments -Wl,--build-id=none
FW_STACK_LEN ?= 0x8000
FW_RAM_LEN   ?= 0x2000000
# picolibc everywhere (release: the other build type copies byte by byte); newlib for Arm
# besides, in a directory of its own.
FW_SPECS := --specs=picolibc.specs --picolibc-buildtype=release

# $(call fw_board,BOARD,DIR,SPECS): objects and programs of one board
define fw_board
fw_cflags.$(2) := $(3) $($(1).flags) $(FW_CFLAGS) '-DAMPSOCK_CONFIG="../$(FW_CONFIG_$(fw_link_of))"'
fw_script.$(2) := boards/$(or $($(1).script),board.ld)

$(2)/lib/%.o: src/%.c
	@mkdir -p $$(@D)
	$(Q)$($(1).cross)gcc $$(fw_cflags.$(2)) $($(1).irq) $$(DEPFLAGS) -c $$< -o $$@

$(2)/board/%.o: boards/%.c
	@mkdir -p $$(@D)
	$(Q)$($(1).cross)gcc $$(fw_cflags.$(2)) $($(1).irq) $($(1).early) \
		-fno-tree-loop-distribute-patterns $$(DEPFLAGS) -c $$< -o $$@

$(2)/board/%.o: boards/%.S
	@mkdir -p $$(@D)
	$(Q)$($(1).cross)gcc $($(1).flags) -g -c $$< -o $$@

$(2)/examples/%.o: examples/%.c
	@mkdir -p $$(@D)
	$(Q)$($(1).cross)gcc $$(fw_cflags.$(2)) $$(DEPFLAGS) -c $$< -o $$@

$(2)/tests/%.o: tests/qemu/%.c
	@mkdir -p $$(@D)
	$(Q)$($(1).cross)gcc $$(fw_cflags.$(2)) $($(1).irq) $$(DEPFLAGS) -c $$< -o $$@

fw_lib.$(2) := $(patsubst src/%.c,$(2)/lib/%.o,$(FW_LIB_SRC) $(FW_LIB_$(fw_link_of)))
$(2)/libampsock.a: $$(fw_lib.$(2))
	@rm -f $$@
	$(Q)$($(1).cross)ar rcs $$@ $$^

fw_objs.$(2) := $(addprefix $(2)/board/,$(addsuffix .o,$(1) main console semihost libc $($(1).parts)))
fw_link_obj.$(2) := $(2)/board/link-$(fw_link_of).o

# The archive twice: its members and the C library need each other.
fw_link.$(2) = $(Q)$($(1).cross)gcc $(3) $($(1).flags) $(FW_LDFLAGS) -T $$(fw_script.$(2)) \
	$(call fw_symbols,$(1)) $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -lc -lgcc \
	-Wl,--end-group -o $$@

$(2)/selftest.elf: $(2)/tests/selftest.o $(2)/tests/selftest-$(fw_link_of).o $$(fw_objs.$(2)) \
		$(2)/libampsock.a $$(fw_script.$(2))
	$$(fw_link.$(2))

$(2)/%.elf: $(2)/examples/%.o $$(fw_objs.$(2)) $$(fw_link_obj.$(2)) $(2)/libampsock.a $$(fw_script.$(2))
	$$(fw_link.$(2))

# Firmware of the tests, with the board's link.
$(2)/%.elf: $(2)/tests/%.o $$(fw_objs.$(2)) $$(fw_link_obj.$(2)) $(2)/libampsock.a $$(fw_script.$(2))
	$$(fw_link.$(2))

.PHONY: firmware-$(notdir $(2))
firmware-$(notdir $(2)): $(EXAMPLES:%=$(2)/%.elf) $(2)/selftest.elf
-include $$(wildcard $(2)/*/*.d $(2)/*/*/*.d)
endef
$(foreach b,$(BOARDS),$(eval $(call fw_board,$(b),$(BUILD)/fw/$(b),$(FW_SPECS))))
FW_NEWLIB := qemu-virt-arm qemu-mps2
$(foreach b,$(FW_NEWLIB),$(eval $(call fw_board,$(b),$(BUILD)/fw/$(b)-newlib,--specs=nosys.specs)))
# Small builds have ways of their own (__OPTIMIZE_SIZE__ in ampsock_config.h): they run, too.
$(foreach b,$(FW_NEWLIB),$(eval fw_cflags.$(BUILD)/fw/$(b)-newlib += -Os))

.PHONY: firmware
firmware: $(BOARDS:%=firmware-%) $(FW_NEWLIB:%=firmware-%-newlib) ## every example for every board
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
.PHONY: demo demo-rpmsg run
demo: ## firmware in QEMU reaches real servers through the proxy, and is reached (BOARD=)
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -s $(BUILD)/ampsock-proxy $(BUILD)/fw/$(BOARD)/demo.elf
	@boards/demo.sh $(BUILD) $(BOARD)

demo-rpmsg: ## make demo on a Cortex-M3 that shares memory with Linux (BOARD=qemu-mps2)
	@$(MAKE) --no-print-directory demo BOARD=qemu-mps2

run: ## make demo, left up for a browser (BOARD=)
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -s $(BUILD)/ampsock-proxy $(BUILD)/fw/$(BOARD)/demo.elf
	@boards/demo.sh $(BUILD) $(BOARD) --stay
