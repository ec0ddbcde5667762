# SPDX-License-Identifier: BSD-3-Clause
# Flags and lists that every other piece uses.

STD    := -std=c11
CFLAGS ?= -O2 -g
HOST_CPPFLAGS := -Iinclude/ampsock-only -D_GNU_SOURCE
DEPFLAGS = -MMD -MP

# `target: ## text` lines of every piece make up the help.
.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "  %-16s %s\n", $$1, $$2}' \
		Makefile mk/*.mk | sort
