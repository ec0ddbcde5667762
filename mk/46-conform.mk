# SPDX-License-Identifier: BSD-3-Clause
# The conformance suite: one set of sources against Linux's sockets and against the library.
#
#   $(BUILD)/conform/linux    Linux's own calls: the oracle
#   $(BUILD)/conform/ours     the library, under the address sanitizer
#   $(BUILD)/conform/tsan     the same under the thread sanitizer
#   $(BUILD)/fw/BOARD-conform/conform.elf    the library in firmware
#
# tests/conform/README.md says how it works.

CONFORM_SRCS  := $(filter-out tests/conform/main_fw.c,$(wildcard tests/conform/*.c))
CONFORM_CFLAGS = $(STD) $(DEBUG_FLAGS) $(WARN) -D_GNU_SOURCE -idirafter include
CONFORM_OURS  := '-DCT_HAS=(CT_THREADS|CT_OURS)'

$(BUILD)/conform/linux: $(CONFORM_SRCS) tests/conform/conform.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(CONFORM_CFLAGS) '-DCT_HAS=(CT_THREADS|CT_LINUX)' $(filter %.c,$^) -pthread -o $@

# $(1): program, $(2): sanitizers, $(3): library
define conform_program
$$(BUILD)/conform/$(1)-o/%.o: tests/conform/%.c tests/conform/conform.h $$(BUILD)/hosted/ampsock.redefine
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CONFORM_CFLAGS) $$(CONFORM_OURS) $(2) -c $$< -o $$@.plain
	$$(Q)objcopy --redefine-syms=$$(BUILD)/hosted/ampsock.redefine $$@.plain $$@

$$(BUILD)/conform/$(1): $$(CONFORM_SRCS:tests/conform/%.c=$$(BUILD)/conform/$(1)-o/%.o) \
		$$(BUILD)/hosted/hosted_main.o $$(BUILD)/$(3)/libampsock.a
	$$(Q)$$(CC) $(2) $$^ -pthread -o $$@
endef
$(eval $(call conform_program,ours,$$(SAN_FLAGS),san))
$(eval $(call conform_program,tsan,$(TSAN_FLAGS),tsan))

# In firmware, on a board of each kind of link: $(BUILD)/fw/BOARD-conform/conform.elf, a small
# build (-Os), whose ways no hosted program has. The suite wants more sockets than a core usually
# has, and its channel is the console.
CONFORM_BOARDS := qemu-virt-aarch64 qemu-mps2
CONFORM_FW     := -Os -DAMPSOCK_SOCKETS=128 -DAMPSOCK_ADDRINFO=64 -DAMPSOCK_RPMSG_NAMES=64 \
	-DAMPSOCK_RPMSG_SERVICES=64 \
	-DBOARD_CONSOLE_LEN=16384

# $(1): board, $(2): directory
define conform_board
$(call fw_board,$(1),$(2),$(FW_SPECS))
fw_cflags.$(2) += $(CONFORM_FW)

$(2)/conform/%.o: tests/conform/%.c
	@mkdir -p $$(@D)
	$(Q)$($(1).cross)gcc $$(fw_cflags.$(2)) $$(DEPFLAGS) -c $$< -o $$@

$(2)/conform.elf: $(patsubst tests/conform/%.c,$(2)/conform/%.o,$(filter-out %/main_hosted.c,$(CONFORM_SRCS)) tests/conform/main_fw.c) \
		$$(fw_objs.$(2)) $$(fw_link_obj.$(2)) $(2)/libampsock.a $$(fw_script.$(2))
	$$(fw_link.$(2))
endef
$(foreach b,$(CONFORM_BOARDS),$(eval $(call conform_board,$(b),$(BUILD)/fw/$(b)-conform)))

CONFORM_PROGRAMS := $(addprefix $(BUILD)/conform/,linux ours tsan)

.PHONY: conform-programs check-conform
conform-programs: $(CONFORM_PROGRAMS) $(BUILD)/san/ampsock-proxy linux-base \
	$(CONFORM_BOARDS:%=$(BUILD)/fw/%-conform/conform.elf)

check-conform: ## one suite of socket programs on Linux's families and on ours (2 min)
	@tests/run --build $(BUILD) conform
