#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Words, lengths and first lines: what a review would say every time.

Looks at the files that git knows, so that build output and editors' files do not matter.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CODE = (".c", ".h", ".S", ".def", ".ld")
SPDX = CODE + (".mk", ".sh", ".py", ".lds")
FILE_LINES = 900  # 600 is the aim; between the two it is for a reviewer to say

# (pattern, files it holds for, why). The brackets keep this file from matching itself.
WORDS = [
	(re.compile(r"(?<![\w.-])/wor[k]/|\.\./share[d]|/tm[p]/w/"), None, "a path of somebody's machine"),
	(re.compile(r"\b(TOD[O]|FIXM[E]|XX[X]X?)\b"), None, "finish it or write an issue"),
	(re.compile(r"\btypede[f]\s+(struct|union)\b"), re.compile(r"^(src|boards|examples)/"),
	 "structs go by their own name"),
	(re.compile(r"\b(mallo[c]|callo[c]|reallo[c]|allo[c]a)\s*\("),
	 re.compile(r"^(src/(?!cli/|ctl/|proxy/|preload/|virtio/vhost_user_|(vsock|af_rpmsg)/hosted_)|examples/|boards/)"), "no heap in the library"),
	(re.compile(r"\b(sn?print[f]|fprint[f]|ssca[n]f|ato[i]|strto[l]u?)\s*\("),
	 re.compile(r"^src/(?!cli/|ctl/|proxy/|preload/|port/posix|virtio/vhost_user_|(vsock|af_rpmsg)/hosted_)"), "no libc but <string.h> in the library"),
	(re.compile(r"\berrn[o]\s*="), re.compile(r"^src/(?!socket/|ctl/|proxy/|preload/|port/posix|virtio/vhost_user_|virtio/sigbus|(vsock|af_rpmsg)/hosted_)"),
	 "errno is written in socket/api.c only"),
	(re.compile(r"[ \t]+$"), re.compile(r"\.(c|h|mk|sh|py|S|def)$"), "white space at the end of the line"),
]


def main():
	names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True,
			       stdout=subprocess.PIPE).stdout.decode().split("\0")
	bad = []
	for name in filter(None, names):
		try:
			with open(os.path.join(ROOT, name), encoding="utf-8") as f:
				text = f.read()
		except FileNotFoundError:
			continue
		except UnicodeDecodeError:
			bad.append("%s: not UTF-8 text" % name)
			continue
		lines = text.split("\n")
		for number, line in enumerate(lines, 1):
			for pattern, where, why in WORDS:
				if pattern.search(line) and (where is None or where.search(name)):
					bad.append("%s:%d: %s: %s" % (name, number, pattern.search(line).group(0).strip(), why))
		if name.endswith(SPDX) and not any("SPDX-License-Identifier: BSD-3-Clause" in l for l in lines[:2]):
			bad.append("%s:1: no SPDX line" % name)
		if name.endswith(CODE) and name.startswith(("src/", "boards/")) and len(lines) > FILE_LINES:
			bad.append("%s: %d lines, at most %d" % (name, len(lines), FILE_LINES))
		if text and not text.endswith("\n"):
			bad.append("%s: no newline at the end" % name)
	print("\n".join(bad))
	return 1 if bad else 0


if __name__ == "__main__":
	sys.exit(main())
