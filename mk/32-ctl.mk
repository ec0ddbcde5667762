# SPDX-License-Identifier: BSD-3-Clause
# ampsockctl: $(BUILD)/ampsockctl, and $(BUILD)/san/ampsockctl for the tests. It alone links libpcap.

CTL_SRCS := $(sort $(wildcard src/ctl/*.c))
CTL_LIBS := -lcjson -lpcap

# $(1): object directory, $(2): program, $(3): optimisation, hardening or sanitizers
define ctl_program
$(1)_OBJS := $$(CTL_SRCS:src/%.c=$$(BUILD)/$(1)/%.o)
$$(BUILD)/$(1)/%.o: src/%.c
	@mkdir -p $$(@D)
	$(Q)$$(CC) -D_GNU_SOURCE -Isrc $$(PROXY_CFLAGS) $(3) $$(DEPFLAGS) -c -o $$@ $$<
$$(BUILD)/$(2): $$($(1)_OBJS)
	@mkdir -p $$(@D)
	$(Q)$$(CC) $$(PROXY_CFLAGS) $(3) $$(PROXY_LDFLAGS) -o $$@ $$^ $$(CTL_LIBS)
-include $$($(1)_OBJS:.o=.d)
endef

$(eval $(call ctl_program,ctl,ampsockctl,$(CFLAGS) $(CPPFLAGS) $(PROXY_HARDEN)))
$(eval $(call ctl_program,ctl-san,san/ampsockctl,$$(PROXY_SAN)))

.PHONY: ctl
ctl: $(BUILD)/ampsockctl ## ampsockctl: looks into a running proxy
all: ctl
