# SPDX-License-Identifier: BSD-3-Clause
# Unmodified programs over our links: $(BUILD)/ampsock-run, which has the hosted library inside,
# and $(BUILD)/libampsock-preload.so, which it loads into a program.

PRELOAD_SRCS := $(sort $(wildcard src/preload/preload*.c))
RUN_SRCS     := $(sort $(wildcard src/preload/run*.c))
PRELOAD_FLAGS := $(STD) $(WARN) $(CFLAGS) -fstack-protector-strong -fno-common -ffunction-sections

# Without fortified headers and without those for wide files and times: they would turn what is
# defined here into something else.
$(PRELOAD_SRCS:src/%.c=$(BUILD)/%.o): $(BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(LIB_CPPFLAGS) $(PRELOAD_FLAGS) -U_FORTIFY_SOURCE -U_FILE_OFFSET_BITS -U_TIME_BITS -fPIC -fvisibility=hidden $(DEPFLAGS) -c -o $@ $<

$(RUN_SRCS:src/%.c=$(BUILD)/%.o): $(BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(LIB_CPPFLAGS) $(CPPFLAGS) $(PRELOAD_FLAGS) -fPIE $(DEPFLAGS) -c -o $@ $<

$(BUILD)/libampsock-preload.so: $(PRELOAD_SRCS:src/%.c=$(BUILD)/%.o)
	$(Q)$(CC) -shared $(CFLAGS) $(LDFLAGS) -Wl,-z,relro,-z,now,-z,noexecstack,-z,nodelete -Wl,--no-undefined -Wl,--gc-sections -o $@ $^

$(BUILD)/ampsock-run: $(RUN_SRCS:src/%.c=$(BUILD)/%.o) $(BUILD)/hosted/libampsock.a
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -pie -Wl,-z,relro,-z,now,-z,noexecstack -o $@ $^ -pthread

.PHONY: preload
preload: $(BUILD)/ampsock-run $(BUILD)/libampsock-preload.so ## ampsock-run: ordinary programs over our links
all: preload
-include $(wildcard $(BUILD)/preload/*.d)

.PHONY: check-preload
check-preload: ## socat, Python, curl and iperf3 over our links (1 min)
	@tests/run --build $(BUILD) preload
