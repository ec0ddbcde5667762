# SPDX-License-Identifier: BSD-3-Clause
# The library as two files, for firmware projects with a build system of their own.

AMALGAMATION := $(BUILD)/ampsock.c $(BUILD)/ampsock.h

.PHONY: amalgamation check-amalgamation
amalgamation: $(AMALGAMATION) ## the library as build/ampsock.c and build/ampsock.h

$(AMALGAMATION) &: mk/amalgamate.py $(wildcard src/*.h src/*/*.[ch] src/*/*.def include/*.h include/*/*.h)
	@python3 mk/amalgamate.py $(BUILD)

check-amalgamation:
	@tests/amalgamation/check.py $(BUILD)

# It also runs: the Cortex-M3's firmware with the one object in the archive's place.
$(BUILD)/fw/amalgamation/ampsock.o: $(AMALGAMATION)
	@mkdir -p $(@D)
	$(Q)$(qemu-mps2.cross)gcc $(FW_SPECS) $(qemu-mps2.flags) $(STD) $(FW_OPT) $(DEBUG_INFO) $(WARN) -ffunction-sections \
		-fdata-sections -fno-common '-DAMPSOCK_CONFIG="../boards/$(notdir $(FW_CONFIG_rpmsg))"' -I$(BUILD) -Isrc -c $< -o $@

$(BUILD)/fw/amalgamation/%.elf: $(BUILD)/fw/qemu-mps2/examples/%.o $(BUILD)/fw/amalgamation/ampsock.o \
		$(fw_objs.$(BUILD)/fw/qemu-mps2) $(fw_link_obj.$(BUILD)/fw/qemu-mps2) $(fw_script.$(BUILD)/fw/qemu-mps2)
	$(fw_link.$(BUILD)/fw/qemu-mps2)
