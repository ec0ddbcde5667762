#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""docs/traps.md tells the truth: the files and the test cases that it names are there.

A row is `| trap | files | tests |`: files separated by commas, tests `FILE: case, case`
separated by semicolons. A case is a function that its file also registers, or, for
programs that name their cases in words, those words.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = "docs/traps.md"


def text_of(path):
	try:
		with open(os.path.join(ROOT, path), encoding="utf-8") as f:
			return f.read()
	except OSError:
		return None


def registered(path, text, case):
	name = re.escape(case)
	if not re.fullmatch(r"\w+", case):
		return case in text
	if path.endswith(".c"):
		return re.search(r"^static void %s\(void \*\*" % name, text, re.M) and \
			re.search(r"(T|cmocka_unit_test\w*)\(%s\b" % name, text)
	if re.search(r"^def %s\(" % name, text, re.M):
		return re.search(r"^@(test|case|shared|alone)\ndef %s\(" % name, text, re.M) or \
			len(re.findall(r"\b%s\b" % name, text)) > 1
	return False


def check_row(line, cells):
	bad = []
	trap, files, tests = cells
	if not trap or not files or not tests:
		bad.append("an empty cell: " + line)
	for path in re.split(r",\s*", files):
		if path and text_of(path) is None:
			bad.append("no file " + path)
	for item in re.split(r";\s*", tests):
		path, _, cases = item.partition(": ")
		text = text_of(path)
		if text is None:
			bad.append("no file " + path)
			continue
		if not cases:
			bad.append("no case of " + path)
		for case in filter(None, re.split(r",\s*", cases)):
			if not registered(path, text, case):
				bad.append("%s: no case %s" % (path, case))
	return bad


def main():
	bad, rows = [], 0
	for n, line in enumerate((text_of(PAGE) or "").splitlines(), 1):
		if not line.startswith("| ") or line.startswith(("| ---", "| trap ")):
			continue
		cells = [c.strip().replace("`", "") for c in line.strip().strip("|").split("|")]
		rows += 1
		if len(cells) != 3:
			bad.append("%s:%d: %d cells, expected 3" % (PAGE, n, len(cells)))
			continue
		bad += ["%s:%d: %s" % (PAGE, n, b) for b in check_row(line, cells)]
	if rows == 0:
		bad.append(PAGE + ": no rows")
	print("\n".join(bad))
	return 1 if bad else 0


if __name__ == "__main__":
	sys.exit(main())
