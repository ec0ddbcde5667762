# SPDX-License-Identifier: BSD-3-Clause
# ampsock: GNU make. `make help` lists the targets. The pieces are in mk/, one a room.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

BUILD ?= build
CC    ?= gcc
ifeq ($(origin CC),default)
CC    := gcc
endif

WARN := -Wall -Wextra -Wundef -Wshadow -Wconversion -Werror

.PHONY: all
all:

include $(sort $(wildcard mk/*.mk))
