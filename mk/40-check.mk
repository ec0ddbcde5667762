# SPDX-License-Identifier: BSD-3-Clause
# Tests: tests/run does the work. Unit tests are cmocka programs under the sanitizers; one
# that says `// build: src/x/y.c -DZ` in its first lines is compiled with that too, one that
# says `// tsan` is also built and run under the thread sanitizer, one that says `// small` also
# without AMPSOCK_FAST and with one hash bucket, as small firmware is. -O1 there: one that computes much.

UNIT_FLAGS = $(STD) $(WARN) $(LIB_CPPFLAGS)
UNIT_DEPS := $(wildcard src/*/*.h src/*/*.def src/*.h include/*.h include/*/*.h tests/unit/*.h)
UNIT := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))

.PHONY: check check-unit check-restarts build-clang fuzz-programs check-fuzz
check: ## every test there is, packages first (10 to 15 minutes)
	@$(MAKE) --no-print-directory deps
	@DEBUG_INFO=-g1 tests/run --build $(BUILD) all

check-unit: ## unit tests under the sanitizers (30 s)
	@tests/run --build $(BUILD) unit

check-restarts: ## 1,000 restarts of a remote core, or of its host (1 min)
	@tests/qemu/restarts.py 1000

# $(BUILD)/check/KIND/TEST. What a test says after `build:` is sources, flags of the linker, and flags of
# the compiler, which go for its sources, too: $(BUILD)/check/KIND/oFLAGS/, one directory for all tests
# that ask for the same.
ifneq ($(findstring /check/,$(MAKECMDGOALS)),)
# TEST|WORD ...
UNIT_WORDS := $(shell awk 'FNR > 15 { nextfile } sub("^// build: *", "") { t = FILENAME; gsub(".*/|[.]c$$", "", t); \
	for (i = 1; i <= NF; i++) print t "|" $$i }' $(UNIT:%=tests/unit/%.c))
endif
unit_words = $(patsubst $(1)|%,%,$(filter $(1)|%,$(UNIT_WORDS)))
unit_srcs   = $(filter src/%.c,$(call unit_words,$(1)))
unit_link   = $(filter -l% -Wl%,$(call unit_words,$(1)))
unit_cflags = $(filter-out src/%.c -l% -Wl%,$(call unit_words,$(1)))
unit_dir    = $(BUILD)/check/$(1)/o$(subst $(space),,$(subst ",,$(subst /,_,$(subst =,_,$(call unit_cflags,$(2))))))
unit_quoted = $(patsubst %,'%',$(call unit_cflags,$(1)))

UNIT_LIB_asan  := san
UNIT_LIB_tsan  := tsan
UNIT_LIB_small := small
UNIT_CFLAGS_asan  := $(DEBUG_FLAGS) $(SAN_FLAGS)
UNIT_CFLAGS_tsan  := $(DEBUG_FLAGS) $(TSAN_FLAGS)
UNIT_CFLAGS_small := $(DEBUG_FLAGS) $(SMALL_FLAGS) $(SAN_FLAGS)

# $(1): kind, $(2): test. rm first: a failed compile must not leave an older program to be run instead.
define unit_program
$(BUILD)/check/$(1)/$(2): tests/unit/$(2).c $(patsubst src/%.c,$(call unit_dir,$(1),$(2))/%.o,$(call unit_srcs,$(2))) \
		$(BUILD)/$(UNIT_LIB_$(1))/libampsock.a $(UNIT_DEPS)
	@mkdir -p $$(@D) && rm -f $$@
	$$(CC) $$(UNIT_FLAGS) $$(UNIT_CFLAGS_$(1)) $(call unit_quoted,$(2)) -o $$@ $$< $$(filter %.o,$$^) $(call unit_link,$(2)) \
		$$(filter %.a,$$^) -lcmocka -pthread
$(call unit_dir,$(1),$(2))/%.o: UNIT_OBJ_FLAGS = $(UNIT_CFLAGS_$(1)) $(call unit_quoted,$(2))
$(call unit_dir,$(1),$(2))/%.o: src/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(UNIT_FLAGS) $$(UNIT_OBJ_FLAGS) $$(DEPFLAGS) -c -o $$@ $$<
endef
ifdef UNIT_WORDS
$(foreach k,asan tsan small,$(foreach t,$(UNIT),$(eval $(call unit_program,$(k),$(t)))))
# What they include besides headers.
$(BUILD)/check/asan/test_inet_udp_rpmsg: tests/unit/test_inet_udp.c
$(BUILD)/check/asan/test_guest_fast: tests/unit/test_guest.c
$(BUILD)/check/asan/test_join_way: src/proxy/join_way.c
$(BUILD)/check/asan/test_board_clint: boards/timer-clint.c boards/board.h
-include $(wildcard $(BUILD)/check/*/o*/*/*.d)
endif

# The other compiler: warnings only, nothing kept. Hosted, and as for a Cortex-M4: every family, and one alone in a small build.
CLANG_HOST := src/posix/hosted_names.c $(filter-out src/posix/% src/port/baremetal.c src/proxy/% src/ctl/%,$(wildcard src/*/*.c))
CLANG_PROXY := $(wildcard src/proxy/*.c src/ctl/*.c)
CLANG_BARE := $(filter-out src/port/posix.c src/posix/hosted_% src/proxy/% src/ctl/% src/preload/% src/virtio/vhost_user_%.c src/virtio/sigbus.c,$(wildcard src/*/*.c))
# All files of a kind in one process, one after the other and independent of each other: most of the time
# that a compiler takes to look at one is its start.
clang_syntax = clang -fsyntax-only $(STD) $(WARN) $(1) $(firstword $(2)) $(addprefix -Xclang ,$(wordlist 2,$(words $(2)),$(2)))
build-clang: $(FILTERS)
	@rc=0; $(call clang_syntax,$(LIB_CPPFLAGS),$(CLANG_HOST)) || rc=1; \
	$(call clang_syntax,$(PROXY_CPPFLAGS),$(CLANG_PROXY)) || rc=1; \
	for c in "" "-Os -DAMPSOCK_RPMSG=1 -DAMPSOCK_VSOCK=0 -DAMPSOCK_INET=0" "-Os -DAMPSOCK_INET=0"; do \
		$(call clang_syntax,--target=arm-none-eabi -mcpu=cortex-m4 -ffreestanding -DAMP_PORT_THREADS=0 -Iinclude \
		-isystem /usr/include/newlib $$c,$(CLANG_BARE)) || rc=1; \
	done; exit $$rc

# Fuzzers: libFuzzer programs tests/fuzz/fuzz_NAME.c, a bounded while each (FUZZ_S seconds), from inputs that reach
# whatever a longer while has reached (tests/fuzz/seeds.py). What one finds lies beside it (fuzz_NAME.crash-*): fix
# it and add a unit test.
FUZZ_S ?= 5
FUZZ_FLAGS := $(STD) $(DEBUG_INFO) -O1 $(WARN) $(LIB_CPPFLAGS) -fno-omit-frame-pointer
FUZZ := $(patsubst tests/fuzz/%.c,$(BUILD)/check/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
$(FUZZ): $(BUILD)/check/fuzz/%: tests/fuzz/%.c $(wildcard src/*/*.c) $(UNIT_DEPS)
	@mkdir -p $(@D) && rm -f $@
	clang $(FUZZ_FLAGS) -fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=undefined -o $@ $< $$(sed -n '1,15s,^// build: *,,p' $<)

# Before clang has minutes to do.
ifneq ($(filter check-fuzz,$(MAKECMDGOALS)),)
ifneq ($(shell tests/fuzz/run '$(FUZZ_S)' >/dev/null || echo wrong),)
$(error see above)
endif
endif

fuzz-programs: $(FUZZ)
check-fuzz: $(FUZZ) ## fuzzers, 5 s each (FUZZ_S=; FUZZ_PACK=1: new seeds)
	@tests/fuzz/run $(FUZZ_S) $(FUZZ)
