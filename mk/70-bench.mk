# SPDX-License-Identifier: BSD-3-Clause
# Speed: tests/bench/bench.py does the work, from what is built here.

BENCH := $(BUILD)/bench
BENCH_ROUNDS ?= 5
BENCH_FLAGS = $(STD) -O2 $(DEBUG_INFO) $(WARN) -D_GNU_SOURCE

# PARTS: some of bench.py's parts, which says what there is, before anything is built.
ifneq ($(filter bench bench-record,$(MAKECMDGOALS)),)
BENCH_ARGS = --rounds $(BENCH_ROUNDS) $(PARTS:%=--part %)
ifneq ($(shell python3 tests/bench/bench.py --parts-only $(BENCH_ARGS) >&2 || echo wrong),)
$(error PARTS='$(PARTS)' BENCH_ROUNDS='$(BENCH_ROUNDS)': see above)
endif
endif
# lwIP is a peer of qemu alone.
BENCH_PEERS := $(if $(PARTS),$(if $(filter qemu,$(PARTS)),bench-peers),bench-peers)

.PHONY: bench bench-smoke bench-record bench-bin bench-check-bin
bench: bench-bin $(BENCH_PEERS) ## every figure beside its peers, bench.json, charts (30 minutes; PARTS="insn qemu": those only, BENCH_ROUNDS=)
	@python3 tests/bench/bench.py --build $(BUILD) $(BENCH_ARGS)

bench-smoke: bench-check-bin
	@python3 tests/bench/bench.py --build $(BUILD) --smoke --part insn --part sockets --part qemu --part tcp --part confine --part rpmsg

bench-record: bench-bin $(BENCH_PEERS) ## make bench, recorded in docs/performance.md (PARTS="insn qemu": those only, BENCH_ROUNDS=)
	@python3 tests/bench/bench.py --build $(BUILD) $(BENCH_ARGS) --record

# What `make check` runs of it, and the rest.
bench-check-bin: $(BENCH)/server $(BENCH)/load-native $(BENCH)/load-hosted $(BENCH)/insn $(BENCH)/insn_rpmsg \
	$(BENCH)/insn_rpmsg-m3.elf $(BENCH)/lwip/checked $(BENCH)/rload $(BUILD)/fw/qemu-mps2/throughput.elf $(BUILD)/ampsock-proxy
bench-bin: bench-check-bin $(BENCH)/load-many $(BENCH)/lat-native $(BENCH)/lat-hosted $(BENCH)/limits

$(BENCH)/server: tests/bench/server.c tests/bench/serve.h
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) -o $@ $<

$(BENCH)/load-native: tests/bench/load.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) -o $@ $<

# As the hosted examples are made: compiled as for Linux, the calls renamed afterwards.
BENCH_HOSTED := load lat rload
$(BENCH)/lat-native: tests/bench/lat.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) -o $@ $< -pthread

$(BENCH)/limits: tests/bench/limits.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) -o $@ $< -pthread

$(BENCH_HOSTED:%=$(BENCH)/%.o): $(BENCH)/%.o: tests/bench/%.c $(BUILD)/hosted/ampsock.redefine
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) -idirafter include -c $< -o $@.plain
	objcopy --redefine-syms=$(BUILD)/hosted/ampsock.redefine $@.plain $@

$(BENCH)/load-hosted $(BENCH)/lat-hosted: $(BENCH)/%-hosted: $(BENCH)/%.o $(BUILD)/hosted/hosted_main.o $(BUILD)/hosted/libampsock.a
	$(CC) $(BENCH_FLAGS) -o $@ $^ -pthread

# Two of these over rpmsg.
$(BENCH)/rload: $(BENCH)/rload.o $(BUILD)/hosted/hosted_main.o $(BUILD)/hosted/libampsock.a
	$(CC) $(BENCH_FLAGS) -o $@ $^ -pthread

# The load once more for thousands of flows: an AF_INET socket has a carrier, and 4,096 in all
# are the most that there can be.
$(eval $(call hosted_lib,bench/many,$(CFLAGS) -DAMPSOCK_SOCKETS=4096 -DAMPSOCK_RINGS=2048 -DAMPSOCK_RING_LEN=65536))
$(BENCH)/load-many: $(BENCH)/load.o $(BUILD)/hosted/hosted_main.o $(BUILD)/bench/many/libampsock.a
	$(CC) $(BENCH_FLAGS) -o $@ $^ -pthread

# Two copies of the library in one program: the firmware's (g_*) and the device end (h_*).
INSN_SRC := $(wildcard src/socket/*.c src/vsock/*.c src/conn/*.c src/wire/*.c src/af_inet/*.c) \
	src/virtio/vq_split.c tests/bench/insn_side.c
INSN_FLAGS = $(BENCH_FLAGS) -Isrc -idirafter include -DAMP_PORT_THREADS=0
INSN_g :=
INSN_h := -DAMPSOCK_VQ_DEVICE=1
INSN_g_OBJ := $(INSN_SRC:%.c=$(BENCH)/g/%.o)
INSN_h_OBJ := $(INSN_SRC:%.c=$(BENCH)/h/%.o)

$(INSN_g_OBJ): $(BENCH)/g/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(INSN_FLAGS) $(INSN_g) $(DEPFLAGS) -c $< -o $@

$(INSN_h_OBJ): $(BENCH)/h/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(INSN_FLAGS) $(INSN_h) $(DEPFLAGS) -c $< -o $@

-include $(INSN_g_OBJ:.o=.d) $(INSN_h_OBJ:.o=.d)

# Every amp_* name gets the copy's letter.
$(BENCH)/g.o: $(INSN_g_OBJ)
$(BENCH)/h.o: $(INSN_h_OBJ)
$(BENCH)/g.o $(BENCH)/h.o:
	$(LD) -r -o $@ $^
	@nm $@ | sed -n 's/.* \(amp_[a-z0-9_]*\)$$/\1 $(basename $(@F))_\1/p' | sort -u > $@.names
	objcopy --redefine-syms=$@.names $@

$(BENCH)/insn: tests/bench/insn.c $(BENCH)/g.o $(BENCH)/h.o
	$(CC) $(BENCH_FLAGS) -idirafter include -o $@ $^

# The same over rpmsg: the remote's copy (r_*) and the host's (h_*), natively and, both in one
# firmware, on a Cortex-M3. $(call insn_rpmsg,DIRECTORY,TOOLS,FLAGS)
INSN_RPMSG_SRC := $(wildcard src/socket/*.c src/vsock/*.c src/conn/*.c src/wire/*.c src/af_inet/*.c) \
	$(filter-out src/af_rpmsg/hosted_%,$(wildcard src/af_rpmsg/*.c)) src/virtio/vq_split.c \
	src/virtio/remoteproc.c src/virtio/remoteproc_host.c tests/bench/insn_rpmsg_side.c
INSN_RPMSG_r := -DAMPSOCK_VQ_DRIVER=0 -DAMPSOCK_VQ_DEVICE=1
INSN_RPMSG_h := -DAMPSOCK_VQ_DRIVER=1 -DAMPSOCK_VQ_DEVICE=0
define insn_rpmsg_copy
$(1)/$(2)/%.o: %.c
	@mkdir -p $$(@D)
	$(3)gcc $(4) $(INSN_RPMSG_$(2)) $$(DEPFLAGS) -c $$< -o $$@

$(1)/$(2).o: $(INSN_RPMSG_SRC:%.c=$(1)/$(2)/%.o)
	$(3)ld -r -o $$@ $$^
	@nm $$@ | sed -n 's/.* \(amp_[a-z0-9_]*\)$$$$/\1 $(2)_\1/p' | sort -u > $$@.names
	$(3)objcopy --redefine-syms=$$@.names $$@

-include $(INSN_RPMSG_SRC:%.c=$(1)/$(2)/%.d)
endef
insn_rpmsg = $(foreach c,r h,$(eval $(call insn_rpmsg_copy,$(1),$(c),$(2),$(3))))
INSN_RPMSG_FLAGS := -DAMP_PORT_THREADS=0 -DAMPSOCK_VSOCK=0 -DAMPSOCK_RPMSG=1

$(call insn_rpmsg,$(BENCH)/rpmsg,,$(BENCH_FLAGS) -Isrc -idirafter include $(INSN_RPMSG_FLAGS))
$(BENCH)/insn_rpmsg: tests/bench/insn_rpmsg.c tests/bench/insn_host.c $(BENCH)/rpmsg/r.o $(BENCH)/rpmsg/h.o
	$(CC) $(BENCH_FLAGS) -idirafter include -o $@ $^

$(call insn_rpmsg,$(BENCH)/rpmsg-m3,$(qemu-mps2.cross),$(FW_SPECS) $(qemu-mps2.flags) $(FW_CFLAGS) -Isrc $(INSN_RPMSG_FLAGS))
$(BENCH)/rpmsg-m3/%.o: tests/bench/%.c
	@mkdir -p $(@D)
	$(qemu-mps2.cross)gcc $(fw_cflags.$(BUILD)/fw/qemu-mps2) -c $< -o $@

# The board without the library's port: its own is in the copies.
$(BENCH)/insn_rpmsg-m3.elf: $(addprefix $(BENCH)/rpmsg-m3/,insn_rpmsg.o insn_m3.o insn_m3_board.o r.o h.o) \
		$(filter-out %/main.o %/console.o %/libc.o,$(fw_objs.$(BUILD)/fw/qemu-mps2)) $(fw_script.$(BUILD)/fw/qemu-mps2)
	$(fw_link.$(BUILD)/fw/qemu-mps2)

# The board's throughput once more, for -icount: see icount.c and quiet_clint.c.
# $(call bench_board,BOARD,SHORT NAME,OBJECTS REPLACED,BY)
define bench_board
$(BENCH)/icount-$(2)/%.o: tests/bench/%.c
	@mkdir -p $$(@D)
	$($(1).cross)gcc $$(fw_cflags.$(BUILD)/fw/$(1)) $($(1).irq) -c $$< -o $$@

$(BENCH)/throughput-$(2).elf: $(BUILD)/fw/$(1)/examples/throughput.o $(BENCH)/icount-$(2)/icount.o \
		$(4:%=$(BENCH)/icount-$(2)/%) $$(filter-out $(addprefix %/,$(3)),$$(fw_objs.$(BUILD)/fw/$(1))) \
		$$(fw_link_obj.$(BUILD)/fw/$(1)) $(BUILD)/fw/$(1)/libampsock.a
	$$(fw_link.$(BUILD)/fw/$(1)) -Wl,--wrap=amp_port_wait -Wl,--wrap=amp_baremetal_spin

bench-check-bin: $(BENCH)/throughput-$(2).elf
bench-bin: $(BUILD)/fw/$(1)/throughput.elf
endef
$(eval $(call bench_board,qemu-virt-riscv64,riscv64,timer-clint.o,quiet_clint.o))
$(eval $(call bench_board,qemu-virt-aarch64,aarch64))

bench-bin: $(BUILD)/ampsock-proxy
