# SPDX-License-Identifier: BSD-3-Clause
# The library as two files, for firmware projects with a build system of their own.

AMALGAMATION := $(BUILD)/ampsock.c $(BUILD)/ampsock.h

.PHONY: amalgamation check-amalgamation
amalgamation: $(AMALGAMATION) ## the library as build/ampsock.c and build/ampsock.h

$(AMALGAMATION) &: mk/amalgamate.py $(wildcard src/*.h src/*/*.[ch] src/*/*.def include/*.h include/*/*.h)
	@python3 mk/amalgamate.py $(BUILD)

check-amalgamation:
	@tests/amalgamation/check.py $(BUILD)
