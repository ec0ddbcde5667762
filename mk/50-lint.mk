# SPDX-License-Identifier: BSD-3-Clause
# What can be said about the code without running it: tests/lint/run does the work.

# KIND:NM:PATH. lib: amp_* only; fw: the objects of src/posix are in it as well.
LINT_ARCHIVES += lib:nm:$(BUILD)/hosted/libampsock.a $(BOARDS:%=fw:nm:$(BUILD)/fw/%/libampsock.a)

.PHONY: lint lint-needs format
lint-needs: $(foreach a,$(LINT_ARCHIVES),$(lastword $(subst :, ,$(a))))
lint: lint-needs ## layers, symbols, words, format, cppcheck, man pages, scripts
	@tests/lint/run $(LINT_ARCHIVES)

format: ## reformat the C files in place
	@git ls-files -z 'src/*.[ch]' 'boards/*.[ch]' 'examples/*.[ch]' 'include/*.h' 'tests/*.[ch]' | \
		xargs -0 clang-format -i
