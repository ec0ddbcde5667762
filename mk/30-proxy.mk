# SPDX-License-Identifier: BSD-3-Clause
# ampsock-proxy: $(BUILD)/ampsock-proxy, and $(BUILD)/san/ampsock-proxy for the tests.

PROXY_SRCS := $(sort $(wildcard src/proxy/*.c)) src/vsock/vsock.c src/vsock/vsock_out.c src/vsock/vsock_conn.c src/vsock/vsock_request.c src/virtio/vq_split.c \
	src/virtio/vhost_user_backend.c src/virtio/vhost_user_map.c \
	src/virtio/vhost_user_request.c src/virtio/vhost_user_keep.c src/virtio/sigbus.c src/virtio/remoteproc_host.c \
	src/af_rpmsg/rpmsg.c src/af_rpmsg/rpmsg_stream.c src/af_rpmsg/rpmsg_serve.c src/af_rpmsg/rpmsg_told.c \
	src/wire/offload.c
PROXY_CPPFLAGS := -D_GNU_SOURCE '-DAMPSOCK_CONFIG="proxy/proxy_config.h"' -Isrc -I$(BUILD)/gen -idirafter include
PROXY_CFLAGS := $(STD) $(WARN) -fPIE -fstack-protector-strong -fno-common
PROXY_HARDEN := -D_FORTIFY_SOURCE=2 -fstack-clash-protection -fcf-protection
PROXY_LDFLAGS := $(LDFLAGS) -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
PROXY_LIBS := -luv -linih -lcjson -lbsd -lpthread
PROXY_SAN = -DAMPSOCK_SANITIZED $(DEBUG_FLAGS) $(SAN_FLAGS)

# The filters of system calls, from the comments beside the code. The program that makes them runs here.
FILTERS := $(BUILD)/gen/amp_filter_worker.h $(BUILD)/gen/amp_filter_helper.h
HOSTCC ?= gcc
$(BUILD)/gen/filter: mk/filter.c src/proxy/confine_filter.h
	@mkdir -p $(@D)
	$(Q)$(HOSTCC) $(STD) $(WARN) -O1 -o $@ $< -lseccomp
$(FILTERS): $(BUILD)/gen/amp_filter_%.h: mk/syscalls.sh $(BUILD)/gen/filter $(PROXY_SRCS)
	$(Q)mk/syscalls.sh $* $(PROXY_SRCS) > $@.list
	$(Q)$(BUILD)/gen/filter $* $$($(CC) -dumpmachine) < $@.list > $@.tmp && mv $@.tmp $@

# -fcf-protection is for x86 alone
ifeq ($(filter x86_64% i%86%,$(shell $(CC) -dumpmachine)),)
PROXY_HARDEN := $(filter-out -fcf-protection,$(PROXY_HARDEN))
endif

# $(1): object directory, $(2): program, $(3): optimisation, hardening or sanitizers
define proxy_program
$(1)_OBJS := $$(PROXY_SRCS:src/%.c=$$(BUILD)/$(1)/%.o)
$$(BUILD)/$(1)/%.o: src/%.c
	@mkdir -p $$(@D)
	$(Q)$$(CC) $$(PROXY_CPPFLAGS) $$(PROXY_CFLAGS) $(3) $$(DEPFLAGS) -c -o $$@ $$<
$$(BUILD)/$(1)/proxy/confine_filter.o: $$(FILTERS)
$$(BUILD)/$(2): $$($(1)_OBJS)
	@mkdir -p $$(@D)
	$(Q)$$(CC) $$(PROXY_CFLAGS) $(3) $$(PROXY_LDFLAGS) -o $$@ $$^ $$(PROXY_LIBS)
-include $$($(1)_OBJS:.o=.d)
endef

$(eval $(call proxy_program,proxy,ampsock-proxy,$(CFLAGS) $(CPPFLAGS) $(PROXY_HARDEN)))
$(eval $(call proxy_program,proxy-san,san/ampsock-proxy,$$(PROXY_SAN)))

.PHONY: proxy
proxy: $(BUILD)/ampsock-proxy ## ampsock-proxy
all: proxy
