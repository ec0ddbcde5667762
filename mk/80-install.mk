# SPDX-License-Identifier: BSD-3-Clause
# make install DESTDIR= PREFIX=, and uninstall, which removes exactly the same files.
#
# `sudo make install` leaves nothing of root's in the build directory, which the next build by its owner
# could not write: what depends on PREFIX is made on its way to its place, and what is not built yet
# is built as the owner.
#
# Headers go to a directory that no compiler looks into by itself, and pkg-config's flags put it
# behind the system's (-idirafter): ours can not shadow <sys/socket.h> or <netdb.h>.

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
SBINDIR    ?= $(PREFIX)/sbin
LIBDIR     ?= $(PREFIX)/lib
# Where ampsock-run looks: lib/ampsock beside its own directory.
PKGLIBDIR  ?= $(PREFIX)/lib/ampsock
INCLUDEDIR ?= $(PREFIX)/include
DATADIR    ?= $(PREFIX)/share
MANDIR     ?= $(DATADIR)/man
DOCDIR     ?= $(DATADIR)/doc/ampsock
# What its consumers look for in these places alone: systemd has /usr/local in its path, too.
SYSCONFDIR ?= /etc
UNITDIR    ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
BASHCOMPDIR ?= $(DATADIR)/bash-completion/completions
ZSHCOMPDIR ?= $(DATADIR)/zsh/site-functions

INSTALL_VERSION := $(shell sed -n 's/^\#define AMPSOCK_VERSION "\(.*\)"/\1/p' include/ampsock.h)

# A file made from NAME.in.
install_subst = sed -e '/^@COMMON@$$/{' -e 'r etc/systemd/common.in' -e 'd' -e '}' \
	-e 's,@SBINDIR@,$(SBINDIR),g' -e 's,@SYSCONFDIR@,$(SYSCONFDIR),g' \
	-e 's,@PREFIX@,$(PREFIX),g' -e 's,@LIBDIR@,$(LIBDIR),g' -e 's,@INCLUDEDIR@,$(INCLUDEDIR),g' \
	-e 's,@DATADIR@,$(DATADIR),g' -e 's,@VERSION@,$(INSTALL_VERSION),g'

UNITS := ampsock-proxy.service ampsock-proxy@.service
# SOURCE DESTINATION, one a word.
INSTALL_MADE := etc/ampsock.pc.in:$(LIBDIR)/pkgconfig/ampsock.pc \
	$(foreach u,$(UNITS),etc/systemd/$(u).in:$(UNITDIR)/$(u))

# MODE SOURCE DESTINATION, one a word.
INSTALL_FILES := \
	755:$(BUILD)/ampsock-proxy:$(SBINDIR)/ampsock-proxy \
	755:$(BUILD)/ampsockctl:$(BINDIR)/ampsockctl \
	755:$(BUILD)/ampsock-run:$(BINDIR)/ampsock-run \
	644:$(BUILD)/libampsock-preload.so:$(PKGLIBDIR)/libampsock-preload.so \
	644:$(BUILD)/hosted/libampsock.a:$(LIBDIR)/libampsock.a \
	644:$(BUILD)/hosted/hosted_main.o:$(LIBDIR)/ampsock/hosted_main.o \
	644:$(BUILD)/hosted/ampsock.redefine:$(DATADIR)/ampsock/ampsock.redefine \
	644:$(BUILD)/ampsock.c:$(DATADIR)/ampsock/firmware/ampsock.c \
	644:$(BUILD)/ampsock.h:$(DATADIR)/ampsock/firmware/ampsock.h \
	$(foreach h,ampsock.h ampsock_hosted.h sys/rpmsg_socket.h sys/vm_sockets.h,644:include/$(h):$(INCLUDEDIR)/ampsock/$(h)) \
	$(foreach m,$(wildcard man/*.[1-9]),644:$(m):$(MANDIR)/man$(subst .,,$(suffix $(m)))/$(notdir $(m))) \
	644:etc/sysusers.conf:$(SYSUSERSDIR)/ampsock.conf \
	644:etc/tmpfiles.conf:$(TMPFILESDIR)/ampsock.conf \
	$(foreach c,$(notdir $(wildcard etc/bash-completion/*)),644:etc/bash-completion/$(c):$(BASHCOMPDIR)/$(c)) \
	$(foreach c,$(notdir $(wildcard etc/zsh/_*)),644:etc/zsh/$(c):$(ZSHCOMPDIR)/$(c)) \
	$(foreach d,README.md LICENSE $(wildcard docs/*.md),644:$(d):$(DOCDIR)/$(notdir $(d))) \
	644:etc/systemd/ampsock-proxy.socket:$(DOCDIR)/examples/ampsock-proxy.socket \
	$(foreach e,$(filter-out examples/hosted_%,$(wildcard examples/*.c)),644:$(e):$(DOCDIR)/examples/$(notdir $(e))) \
	644:etc/examples.mk:$(DOCDIR)/examples/Makefile

# Somebody's own by now: neither overwritten nor, when changed, removed.
INSTALL_CONFIG := etc/proxy.conf:$(SYSCONFDIR)/ampsock/proxy.conf

.PHONY: install uninstall install-build
install-build: $(BUILD)/ampsock-proxy $(BUILD)/ampsockctl $(BUILD)/ampsock-run $(BUILD)/libampsock-preload.so \
	$(BUILD)/hosted/libampsock.a $(BUILD)/hosted/hosted_main.o $(BUILD)/hosted/ampsock.redefine $(AMALGAMATION)

# A prefix for root: the owner of what is built, or of the sources if nothing is.
install_owner = $(shell test "$$(id -u)" = 0 || exit 0; dir=$(BUILD); test -d "$$dir" || dir=.; \
	test "$$(stat -c %u "$$dir")" = 0 || stat -c 'setpriv --reuid=%u --regid=%g --clear-groups' "$$dir")

install: ## programs, library, units, pages (DESTDIR=, PREFIX=)
	@$(install_owner) $(MAKE) --no-print-directory install-build
	@made=$$(mktemp) && trap 'rm -f "$$made"' EXIT && for f in $(INSTALL_MADE); do \
		$(install_subst) "$${f%%:*}" > "$$made" && \
		install -D -m 644 "$$made" "$(DESTDIR)$${f#*:}" || exit 1; \
	done
	@for f in $(INSTALL_FILES); do \
		mode=$${f%%:*}; f=$${f#*:}; \
		install -D -m "$$mode" "$${f%%:*}" "$(DESTDIR)$${f#*:}" || exit 1; \
	done
	@for f in $(INSTALL_CONFIG); do \
		to="$(DESTDIR)$${f#*:}"; \
		if [ -e "$$to" ]; then echo "$$to is there: not overwritten"; \
		else install -D -m 644 "$${f%%:*}" "$$to" || exit 1; fi; \
	done

.PHONY: deb check-package
deb: ## Debian packages, in BUILD/deb
	@tests/package/deb.py --keep $(BUILD)/deb

check-package: ## make install and the Debian packages: what is installed works (1 min)
	@tests/run --build $(BUILD) package

uninstall: ## remove what install put there
	@for f in $(INSTALL_FILES) $(INSTALL_MADE); do rm -f "$(DESTDIR)$${f##*:}"; done
	@for f in $(INSTALL_CONFIG); do \
		to="$(DESTDIR)$${f#*:}"; \
		if cmp -s "$${f%%:*}" "$$to"; then rm -f "$$to"; \
		elif [ -e "$$to" ]; then echo "$$to was changed: it stays"; fi; \
	done
	@for d in $(DOCDIR)/examples $(DOCDIR) $(DATADIR)/ampsock/firmware $(DATADIR)/ampsock $(LIBDIR)/ampsock $(PKGLIBDIR) \
		$(INCLUDEDIR)/ampsock/sys $(INCLUDEDIR)/ampsock $(SYSCONFDIR)/ampsock; do \
		rmdir "$(DESTDIR)$$d" 2>/dev/null || true; \
	done
