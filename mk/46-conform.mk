# SPDX-License-Identifier: BSD-3-Clause
# The conformance suite: one set of sources against Linux's sockets and against the library.
#
#   $(BUILD)/conform/linux    Linux's own calls: the oracle
#   $(BUILD)/conform/ours     the library, under the address sanitizer
#   $(BUILD)/conform/tsan     the same under the thread sanitizer
#
# tests/conform/README.md says how it works.

CONFORM_SRCS  := $(filter-out tests/conform/main_fw.c,$(wildcard tests/conform/*.c))
CONFORM_CFLAGS = $(STD) -g -O1 $(WARN) -D_GNU_SOURCE -idirafter include -fno-omit-frame-pointer
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
$(eval $(call conform_program,ours,$(SAN_FLAGS),san))
$(eval $(call conform_program,tsan,$(TSAN_FLAGS),tsan))

CONFORM_PROGRAMS := $(addprefix $(BUILD)/conform/,linux ours tsan)

.PHONY: conform-programs check-conform
conform-programs: $(CONFORM_PROGRAMS) $(BUILD)/san/ampsock-proxy

check-conform: ## one suite of socket programs on Linux's families and on ours (1 min)
	@tests/run --build $(BUILD) conform
