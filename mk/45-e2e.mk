# SPDX-License-Identifier: BSD-3-Clause
# Guests for tests/e2e: the hosted library under a program that a test steers by text.
#
#   $(BUILD)/e2e/agent-plain    as it is shipped
#   $(BUILD)/e2e/agent-san      under the sanitizers
#   $(BUILD)/e2e/agent-small    under the sanitizers, with a small core's pools
#   $(BUILD)/e2e/agent-patient  under the sanitizers, for a peer that is a whole Linux in a process: where others
#                               run, it may not answer for longer than until the third ping
#   $(BUILD)/e2e/leaves         a program as it is for Linux, with the library inside

E2E_CPPFLAGS := -D_GNU_SOURCE '-DAMPSOCK_CONFIG="port/hosted_config.h"' -Isrc -idirafter include
E2E_CFLAGS   := $(STD) $(WARN) $(E2E_CPPFLAGS)
# One listener, its door, the control carrier, and room for four connections (two sockets each).
E2E_SMALL    := -DAMPSOCK_SOCKETS=12 -DAMPSOCK_RING_LEN=4096

$(BUILD)/e2e/agent-plain: tests/e2e/agent.c $(BUILD)/hosted/libampsock.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(E2E_CFLAGS) $(CFLAGS) -o $@ $^ -pthread

$(BUILD)/e2e/agent-san: tests/e2e/agent.c $(BUILD)/san/libampsock.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(E2E_CFLAGS) $(DEBUG_FLAGS) $(SAN_FLAGS) -o $@ $^ -pthread

$(BUILD)/e2e/agent-small: tests/e2e/agent.c $(BUILD)/e2e-small/libampsock.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(E2E_CFLAGS) $(E2E_SMALL) $(DEBUG_FLAGS) $(SAN_FLAGS) -o $@ $^ -pthread

# One object of the library is another, so none of the archive's is taken for it.
$(BUILD)/e2e/inet_session-patient.o: src/af_inet/inet_session.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(E2E_CFLAGS) -DAMPSOCK_PING_MS=20000 $(DEBUG_FLAGS) $(SAN_FLAGS) $(DEPFLAGS) -c -o $@ $<
-include $(BUILD)/e2e/inet_session-patient.d

$(BUILD)/e2e/agent-patient: tests/e2e/agent.c $(BUILD)/e2e/inet_session-patient.o $(BUILD)/san/libampsock.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(E2E_CFLAGS) $(DEBUG_FLAGS) $(SAN_FLAGS) -o $@ $^ -pthread

$(BUILD)/e2e/leaves: tests/e2e/leaves.c $(BUILD)/hosted/ampsock.redefine $(BUILD)/hosted/hosted_main.o $(BUILD)/hosted/libampsock.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(STD) $(WARN) -D_GNU_SOURCE $(CFLAGS) -c -o $@.plain $<
	$(Q)objcopy --redefine-syms=$(BUILD)/hosted/ampsock.redefine $@.plain $@.o
	$(Q)$(CC) $(CFLAGS) -o $@ $@.o $(BUILD)/hosted/hosted_main.o $(BUILD)/hosted/libampsock.a -pthread

$(eval $(call hosted_lib,e2e-small,$(E2E_SMALL) $(DEBUG_FLAGS) $$(SAN_FLAGS)))

.PHONY: e2e-programs check-e2e
e2e-programs: $(BUILD)/e2e/agent-plain $(BUILD)/e2e/agent-san $(BUILD)/e2e/agent-small \
	$(BUILD)/e2e/leaves \
	$(BUILD)/ampsock-proxy $(BUILD)/san/ampsock-proxy

check-e2e: ## a hosted guest, the proxy, real peers, and attacks (2 min)
	@tests/run --build $(BUILD) e2e
