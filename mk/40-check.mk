# SPDX-License-Identifier: BSD-3-Clause
# Tests: tests/run does the work. Unit tests are cmocka programs under the sanitizers; one
# that says `// build: src/x/y.c -DZ` in its first lines is compiled with that too, one that
# says `// tsan` is also built and run under the thread sanitizer, one that says `// small` also
# without AMPSOCK_FAST and with one hash bucket, as small firmware is.

UNIT_FLAGS = $(STD) -g -O1 $(WARN) $(LIB_CPPFLAGS) -fno-omit-frame-pointer
UNIT_DEPS := $(wildcard src/*/*.[ch] src/*/*.def src/*.h include/*.h include/*/*.h tests/unit/*.h)
SAN_FLAGS  := -fsanitize=address,undefined -fno-sanitize-recover=undefined
TSAN_FLAGS := -fsanitize=thread
UNIT_ASAN := $(patsubst tests/unit/%.c,$(BUILD)/check/asan/%,$(wildcard tests/unit/test_*.c))
UNIT_TSAN := $(patsubst $(BUILD)/check/asan/%,$(BUILD)/check/tsan/%,$(UNIT_ASAN))
UNIT_SMALL := $(patsubst $(BUILD)/check/asan/%,$(BUILD)/check/small/%,$(UNIT_ASAN))

# What the test asks for in its first lines.
unit_extra = $$(sed -n '1,15s,^// build: *,,p' $<)

.PHONY: check check-unit check-restarts build-clang check-fuzz
check: ## every test there is, packages first (15 to 20 minutes)
	@$(MAKE) --no-print-directory deps
	@tests/run --build $(BUILD) all

check-unit: ## unit tests under the sanitizers (30 s)
	@tests/run --build $(BUILD) unit

check-restarts: ## 1,000 restarts of a remote core, or of its host (1 min)
	@tests/qemu/restarts.py 1000

# rm first: a failed compile must not leave an older program to be run instead.
$(UNIT_ASAN): $(BUILD)/check/asan/%: tests/unit/%.c $(BUILD)/san/libampsock.a $(UNIT_DEPS)
	@mkdir -p $(@D) && rm -f $@
	$(CC) $(UNIT_FLAGS) $(SAN_FLAGS) -o $@ $< $(unit_extra) $(BUILD)/san/libampsock.a -lcmocka -pthread

$(UNIT_TSAN): $(BUILD)/check/tsan/%: tests/unit/%.c $(BUILD)/tsan/libampsock.a $(UNIT_DEPS)
	@mkdir -p $(@D) && rm -f $@
	$(CC) $(UNIT_FLAGS) $(TSAN_FLAGS) -o $@ $< $(unit_extra) $(BUILD)/tsan/libampsock.a -lcmocka -pthread

$(UNIT_SMALL): $(BUILD)/check/small/%: tests/unit/%.c $(BUILD)/small/libampsock.a $(UNIT_DEPS)
	@mkdir -p $(@D) && rm -f $@
	$(CC) $(UNIT_FLAGS) $(SMALL_FLAGS) $(SAN_FLAGS) -o $@ $< $(unit_extra) $(BUILD)/small/libampsock.a -lcmocka -pthread

$(BUILD)/check/asan/test_inet_udp_rpmsg: tests/unit/test_inet_udp.c

# The other compiler: warnings only, nothing kept. Hosted, and as for a Cortex-M4.
CLANG_HOST := src/posix/hosted_names.c $(filter-out src/posix/% src/port/baremetal.c src/proxy/% src/ctl/%,$(wildcard src/*/*.c))
CLANG_PROXY := $(wildcard src/proxy/*.c src/ctl/*.c)
CLANG_BARE := $(filter-out src/port/posix.c src/posix/hosted_% src/proxy/% src/ctl/% src/preload/% src/virtio/vhost_user_%.c src/virtio/sigbus.c,$(wildcard src/*/*.c))
build-clang: $(FILTERS)
	@rc=0; for f in $(CLANG_HOST); do \
		clang -fsyntax-only $(STD) $(WARN) $(LIB_CPPFLAGS) $$f || rc=1; \
	done; for f in $(CLANG_PROXY); do \
		clang -fsyntax-only $(STD) $(WARN) $(PROXY_CPPFLAGS) -I$(BUILD)/gen $$f || rc=1; \
	done; for f in $(CLANG_BARE); do \
		clang -fsyntax-only --target=arm-none-eabi -mcpu=cortex-m4 -ffreestanding $(STD) $(WARN) \
		-DAMP_PORT_THREADS=0 -Iinclude -isystem /usr/include/newlib $$f || rc=1; \
	done; exit $$rc

# Fuzzers: libFuzzer programs tests/fuzz/fuzz_NAME.c, a bounded while each (FUZZ_S seconds).
# What one finds lies beside it (fuzz_NAME.crash-*): fix it and add a unit test.
FUZZ_S ?= 10
FUZZ := $(patsubst tests/fuzz/%.c,$(BUILD)/check/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
$(FUZZ): $(BUILD)/check/fuzz/%: tests/fuzz/%.c $(UNIT_DEPS)
	@mkdir -p $(@D) && rm -f $@
	clang $(UNIT_FLAGS) -fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=undefined -o $@ $< $(unit_extra)

check-fuzz: $(FUZZ) ## fuzzers, 10 s each (FUZZ_S=)
	@tests/fuzz/run $(FUZZ_S) $(FUZZ)
