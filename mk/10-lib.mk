# SPDX-License-Identifier: BSD-3-Clause
# The hosted library: amp_* calls for Linux processes. Plain, and for tests under sanitizers.

LIB_ROOMS := socket af_inet af_rpmsg vsock conn virtio port wire
LIB_BARE  := src/port/baremetal.c src/virtio/mmio.c src/virtio/mmio_why.c
LIB_SRCS  := $(sort $(filter-out $(LIB_BARE),$(wildcard $(LIB_ROOMS:%=src/%/*.c) src/posix/hosted_*.c)))

LIB_CPPFLAGS := -D_GNU_SOURCE '-DAMPSOCK_CONFIG="port/hosted_config.h"' -Isrc -idirafter include
LIB_CFLAGS   := $(STD) $(WARN) -ffunction-sections -fdata-sections

# $(1): directory, $(2): optimisation and sanitizers
define hosted_lib
$(1)_OBJS := $$(LIB_SRCS:src/%.c=$$(BUILD)/$(1)/%.o)
$$(BUILD)/$(1)/%.o: src/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(LIB_CPPFLAGS) $$(LIB_CFLAGS) $(2) $$(DEPFLAGS) -c -o $$@ $$<
$$(BUILD)/$(1)/libampsock.a: $$($(1)_OBJS)
	@rm -f $$@
	$$(AR) rcs $$@ $$^
-include $$($(1)_OBJS:.o=.d)
endef

$(eval $(call hosted_lib,hosted,$(CFLAGS)))
$(eval $(call hosted_lib,san,$(DEBUG_FLAGS) $$(SAN_FLAGS)))
$(eval $(call hosted_lib,tsan,$(DEBUG_FLAGS) $(TSAN_FLAGS) -Wno-tsan))
# The configuration of small firmware: without the short ways, and one bucket of everything.
SMALL_FLAGS := -DAMPSOCK_FAST=0 -DAMPSOCK_HASH=1 -DAMPSOCK_RPMSG_SERVICES=8
$(eval $(call hosted_lib,small,$(DEBUG_FLAGS) $(SMALL_FLAGS) $$(SAN_FLAGS)))

# What turns an unmodified program's object into one of ours (objcopy --redefine-syms). The last
# three lines are what the headers make of some calls (src/posix/hosted_names.c).
LIB_CALLS := socket socketpair bind listen accept accept4 connect send sendto sendmsg recv \
	recvfrom recvmsg read write readv writev shutdown close getsockname getpeername \
	getsockopt setsockopt fcntl ioctl poll ppoll select pselect getaddrinfo freeaddrinfo \
	gai_strerror getnameinfo \
	fcntl64 __read_chk __recv_chk __recvfrom_chk __poll_chk __ppoll_chk \
	__fcntl_time64 __ioctl_time64 __ppoll64 __ppoll64_chk __select64 __pselect64 \
	__recvmsg64 __sendmsg64 __getsockopt64 __setsockopt64

$(BUILD)/hosted/ampsock.redefine: mk/10-lib.mk
	@mkdir -p $(@D)
	@{ for f in $(LIB_CALLS); do echo "$$f amp_$$f"; done; } > $@

.PHONY: lib
lib: $(BUILD)/hosted/libampsock.a $(BUILD)/hosted/ampsock.redefine ## the hosted library
