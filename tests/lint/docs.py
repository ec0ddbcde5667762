#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What documents and manual pages name is there: links and their headings, files, functions, knobs.

Looks at the files that git knows. Code in fences is a reader's, and may have names of its own.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
TICKS = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?:src|tests|boards|examples|mk|etc|include|man|docs|debian)/[\w./-]+")
FILE = re.compile(r"[\w/-]+\.(?:c|h|S|py|sh|mk|def)")
NAME = re.compile(r"\b(?:amp_\w+|AMP_\w+|AMPSOCK_\w+)\b(?!\*)")
# Stand for others: NAME and ARCH are the reader's own, and so is af_x.
PATTERN = re.compile(r"NAME|ARCH|af_x")


def text_of(name):
	with open(os.path.join(ROOT, name), encoding="utf-8", errors="replace") as f:
		return f.read()


def anchor(heading):
	return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def prose(text):
	"""Without fences, and as many lines."""
	return FENCE.sub(lambda m: "\n" * m.group(0).count("\n"), text)


class Known:
	def __init__(self, names):
		self.files = set(names)
		self.ends = {n.split("/", i)[-1] for n in names for i in range(n.count("/") + 1)}
		dirs = {os.path.dirname(n) for n in names}
		self.dirs = dirs | {os.path.dirname(d) for d in dirs}
		self.starts = {os.path.splitext(n)[0] for n in names}  # boards/qemu-mps2
		self.words = set()
		for n in names:
			if not n.endswith(".md") and not n.startswith("man/"):
				self.words.update(re.findall(r"\w+", text_of(n)))
		self.headings = {n: {anchor(h) for h in re.findall(r"^#+ (.*)$", prose(text_of(n)), re.MULTILINE)}
				 for n in names if n.endswith(".md")}

	def path(self, p):
		p = p.rstrip("/.")
		return p in self.files or p in self.dirs or p in self.starts

	def link(self, of, to):
		"""What is wrong with a link; None."""
		if re.match(r"[a-z]+:", to):
			return None
		path, _, heading = to.partition("#")
		path = os.path.normpath(os.path.join(os.path.dirname(of), path)) if path else of
		if not self.path(path):
			return "no such file"
		if heading and heading not in self.headings.get(path, ()):
			return "no such heading"
		return None


def look(known, name, bad):
	for number, line in enumerate(prose(text_of(name)).split("\n"), 1):
		for to in LINK.findall(line) if name.endswith(".md") else ():
			why = known.link(name, to)
			if why:
				bad.append("%s:%d: %s: %s" % (name, number, to, why))
		for word in TICKS.findall(line) if name.endswith(".md") else ():
			if PATTERN.search(word):
				continue
			if PATH.fullmatch(word) and not known.path(word) or \
					FILE.fullmatch(word) and not word.startswith("/") and word not in known.ends and "/" not in word:
				bad.append("%s:%d: `%s`: no such file" % (name, number, word))
		for word in NAME.findall(line):
			if word not in known.words:
				bad.append("%s:%d: %s: nothing has that name" % (name, number, word))


def main():
	names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True,
			       stdout=subprocess.PIPE).stdout.decode().split("\0")
	names = [n for n in names if n and os.path.exists(os.path.join(ROOT, n))]
	known, bad = Known(names), []
	for name in names:
		if name.endswith(".md") or name.startswith("man/"):
			look(known, name, bad)
	print("\n".join(bad))
	return 1 if bad else 0


if __name__ == "__main__":
	sys.exit(main())
