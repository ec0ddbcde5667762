# SPDX-License-Identifier: BSD-3-Clause
# Flags and lists that every other piece uses.

# To be named where they would separate arguments.
comma := ,
empty :=
space := $(empty) $(empty)

STD    := -std=c11
# How much a debugger is told. make check: -g1, lines and functions; a compiler takes a tenth less time then.
DEBUG_INFO ?= -g
CFLAGS ?= -O2 $(DEBUG_INFO)
HOST_CPPFLAGS := -Iinclude/ampsock-only -D_GNU_SOURCE
DEPFLAGS = -MMD -MP

# What the tests run under the sanitizers. Unoptimised: every access of the source is one that they see,
# and half of the time of a compiler is saved.
DEBUG_FLAGS := $(DEBUG_INFO) -O0 -fno-omit-frame-pointer
SAN_FLAGS   := -fsanitize=address,undefined -fno-sanitize-recover=undefined
TSAN_FLAGS  := -fsanitize=thread

# `target: ## text` lines of every piece make up the help.
.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "  %-16s %s\n", $$1, $$2}' \
		Makefile mk/*.mk | sort
