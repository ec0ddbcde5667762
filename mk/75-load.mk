# SPDX-License-Identifier: BSD-3-Clause
# Load and faults: tests/load. The guest is the hosted library with room for thousands of
# sockets, and without its ping: a proxy that nothing happens to must not be woken.

LOAD := $(BUILD)/load
LOAD_LIB := -DAMPSOCK_SOCKETS=4096 -DAMPSOCK_RING_LEN=32768 -DAMPSOCK_HASH=4096 -DAMPSOCK_PING_MS=0
LOAD_FLAGS = $(STD) -O2 $(DEBUG_INFO) $(WARN) -D_GNU_SOURCE

$(eval $(call hosted_lib,load-lib,$(LOAD_LIB) $(CFLAGS)))

$(LOAD)/peer: tests/load/peer.c tests/load/pattern.h tests/bench/serve.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(LOAD_FLAGS) -o $@ $<

$(LOAD)/flows-native: tests/load/flows.c tests/load/pattern.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(LOAD_FLAGS) -o $@ $< -pthread

$(LOAD)/flows.o: tests/load/flows.c tests/load/pattern.h $(BUILD)/hosted/ampsock.redefine
	@mkdir -p $(@D)
	$(Q)$(CC) $(LOAD_FLAGS) -c $< -o $@.plain
	$(Q)objcopy --redefine-syms=$(BUILD)/hosted/ampsock.redefine $@.plain $@

$(LOAD)/flows: $(LOAD)/flows.o $(BUILD)/hosted/hosted_main.o $(BUILD)/load-lib/libampsock.a
	$(Q)$(CC) $(LOAD_FLAGS) -o $@ $^ -pthread

.PHONY: check-load load-programs
load-programs: $(LOAD)/peer $(LOAD)/flows $(LOAD)/flows-native $(BUILD)/ampsock-proxy $(BUILD)/san/ampsock-proxy

check-load: load-programs ## load and faults, with all counts (3 minutes); table, build/load.json
	@rm -f $(BUILD)/load.json
	@AMPSOCK_LOAD=full tests/run --build $(BUILD) load; rc=$$?; BUILD=$(BUILD) tests/load/lib/table.py && exit $$rc
