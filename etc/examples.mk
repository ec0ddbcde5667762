# SPDX-License-Identifier: BSD-3-Clause
# The examples as Linux processes that have the library inside: `make`, or `make NAME`.
#
#   AMPSOCK_LINK=vhost-user:/run/ampsock/m4.sock ./http_get HOST PORT PATH
#
# Each is compiled as for Linux; then its socket calls are renamed to the library's, so that the
# C library's own stay what they are. As firmware the same sources go with the two files in
# `pkg-config --variable=firmware ampsock`.
CFLAGS ?= -O2 -g
AMP := $(shell pkg-config --cflags ampsock)
REDEFINE := $(shell pkg-config --variable=redefine ampsock)
MAIN := $(shell pkg-config --variable=hosted_main ampsock)
LIBS := $(shell pkg-config --libs ampsock)
NAMES := $(patsubst %.c,%,$(wildcard *.c))

all: $(NAMES)

$(NAMES): %: %.c
	$(CC) -std=c11 -D_GNU_SOURCE $(CFLAGS) $(AMP) -c -o $@.o $<
	objcopy --redefine-syms=$(REDEFINE) $@.o
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $@.o $(MAIN) $(LIBS)

clean:
	rm -f $(NAMES) $(NAMES:%=%.o)

.PHONY: all clean
