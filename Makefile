# SPDX-License-Identifier: BSD-3-Clause
# ampsock: GNU make. `make help` lists the targets. The pieces are in mk/, one a room.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

BUILD ?= build
# Nothing would be the root of the file system, and to make a name with blanks is several.
ifneq ($(words $(BUILD)),1)
$(error BUILD='$(BUILD)': expected one directory, without blanks in its name)
endif
CC    ?= gcc
ifeq ($(origin CC),default)
CC    := gcc
endif

WARN := -Wall -Wextra -Wundef -Wshadow -Wconversion -Werror

.PHONY: all
all:

include $(sort $(wildcard mk/*.mk))
