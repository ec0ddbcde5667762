#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The library as two files, for firmware projects that do not use our build system.

	amalgamate.py DIR

Writes DIR/ampsock.h (every public header, and what board code needs to bring a link up) and
DIR/ampsock.c (everything else). The same sources give the same bytes.

Files that were compiled apart may use one name for different things. A name that a .c file
keeps to itself (static, enum constant, struct tag) and that any other file mentions gets the
file's name before it; its macros end with it. Each room stands under the knob of
ampsock_config.h that leaves its family out.
"""

import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Headers of ampsock.h, in this order: the application's, then the board's.
PUBLIC = ["errno.h", "sys/select.h", "sys/socket.h", "sys/uio.h", "sys/ioctl.h", "sys/un.h", "netinet/in.h",
	  "netinet/tcp.h", "arpa/inet.h", "net/if.h", "netdb.h", "poll.h", "sys/vm_sockets.h",
	  "sys/rpmsg_socket.h", "ampsock.h"]
BOARD = ["port/port.h", "port/baremetal.h", "virtio/mmio.h", "virtio/remoteproc.h", "socket/fd.h",
	 "socket/amp_calls.h"]

# What is never part of a firmware: Linux processes, and the linker's eyes (need.h).
LEFT_OUT = re.compile(r"hosted|vhost_user|port/posix\.|socket/need\.h")

# (file, condition), the first that fits counts.
VSOCK, RPMSG, INET = "AMPSOCK_VSOCK", "AMPSOCK_RPMSG", "AMPSOCK_INET"
ROOMS = [
	("port/baremetal.c", "AMPSOCK_BAREMETAL"),
	("wire/*.c", None),
	("conn/*.c", None),
	("virtio/vq_split.c", None),
	("virtio/mmio*.c", VSOCK),
	("virtio/remoteproc.c", RPMSG),
	("vsock/link_driver.c", VSOCK),
	("vsock/*.c", None), # its engine and its sockets are those of rpmsg streams too
	("af_rpmsg/*.c", RPMSG),
	("af_inet/*.c", INET),
	("socket/*.c", None),
	("posix/*.c", "AMPSOCK_POSIX"),
]

TOKEN = re.compile(r"""
	(?P<comment>/\*.*?\*/|//[^\n]*)
	|(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
	|(?P<name>[A-Za-z_]\w*)
	|(?P<number>\.?\d[\w.]*)
	|(?P<space>[ \t]+|\\\n)
	|(?P<newline>\n)
	|(?P<other>->|[^\sA-Za-z_0-9])
""", re.X | re.S)
INCLUDE = re.compile(r'[ \t]*#[ \t]*include(?:_next)?[ \t]+(?:"([^"]+)"|<([^>]+)>).*')


def read(path):
	with open(path, encoding="utf-8") as f:
		return f.read()


def tokens(text):
	return [(m.lastgroup, m.group()) for m in TOKEN.finditer(text)]


class Source:
	"""One .c file: what it keeps to itself, and what it mentions."""

	def __init__(self, path):
		self.path = path
		self.stem = os.path.splitext(os.path.basename(path))[0]
		self.tokens = tokens(read(path))
		self.mentions = {t for kind, t in self.tokens if kind == "name"}
		self.macros = set(re.findall(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", read(path), re.M))
		self.private = set()
		self.members = set()  # indices of tokens that declare members
		self.parse()

	def code(self):
		"""(index, kind, text) of what the compiler proper sees: no comments, no directives."""
		directive, fresh = False, True
		for i, (kind, text) in enumerate(self.tokens):
			if kind == "newline":
				directive, fresh = False, True
			elif kind == "other" and text == "#" and fresh:
				directive = True
			elif kind not in ("space", "comment"):
				fresh = False
				if not directive:
					yield i, kind, text

	def parse(self):
		decl, depth = [], 0  # tokens of the declaration so far, bodies left out
		bodies = []  # what each open brace is: struct, enum or something else
		for i, kind, text in self.code():
			if text == "{":
				bodies.append(self.body(decl) if depth == 0 else self.body_inside(decl))
				depth += 1
				if depth == 1:
					function = bool(decl) and decl[-1] == ")" and bodies[-1] == ""
				decl.append("{")
			elif text == "}":
				depth -= 1
				bodies.pop()
				while decl and decl[-1] != "{":
					decl.pop()
				if decl:
					decl[-1] = "{}"
				if depth == 0 and function:
					self.declare(decl)
					decl = []
			elif text == ";" and depth == 0:
				self.declare(decl)
				decl = []
			else:
				if kind == "name" and bodies and bodies[-1] == "struct":
					self.members.add(i)
				if kind == "name" and depth == 1 and bodies[-1] == "enum" and decl[-1] in ("{", ","):
					self.private.add(text)
				decl.append(text)

	@staticmethod
	def body_inside(decl):
		"""A brace inside: look only at what stands since the last ; or brace."""
		since = []
		for t in reversed(decl):
			if t in (";", "{", "{}"):
				break
			since.insert(0, t)
		return Source.body(since)

	@staticmethod
	def body(decl):
		words = [t for t in decl if t not in ("const", "static", "volatile")]
		for word, what in (("struct", "struct"), ("union", "struct"), ("enum", "enum")):
			if word in words[-2:]:
				return what
		return ""

	def declare(self, decl):
		"""One declaration at file scope: its names when they are nobody else's."""
		for a, b, c in zip(decl, decl[1:], decl[2:]):
			if a in ("struct", "union", "enum") and c == "{}":
				self.private.add(b)
		if "static" not in decl:
			return
		flat, paren, i = [], 0, 0
		while i < len(decl):
			if decl[i] in ("__attribute__", "_Alignas", "__aligned"):
				i, paren = i + 1, 0
				while i < len(decl):
					paren += {"(": 1, ")": -1}.get(decl[i], 0)
					i += 1
					if paren == 0:
						break
				continue
			flat.append(decl[i])
			i += 1
		pointer = re.search(r"\( \* (?:const )?(\w+)", " ".join(flat))
		depth, want = 0, True
		for t, after in zip(flat, flat[1:] + [";"]):
			if depth == 0 and want and re.fullmatch(r"[A-Za-z_]\w*", t) and after in ("(", "[", "=", ";", ",", "{}") \
					and not (after == "{}" and flat[0] != "static"):
				if after == "(" and pointer and t not in self.words_after(flat):
					self.private.add(pointer.group(1))
				elif after != "{}":
					self.private.add(t)
				want = after == ","
			elif depth == 0 and t == ",":
				want = True
			depth += {"(": 1, ")": -1, "[": 1, "]": -1}.get(t, 0)

	@staticmethod
	def words_after(flat):
		"""Names that stand directly before the parameter list of a function."""
		return {t for t, after in zip(flat, flat[1:]) if after == "(" and
			t not in ("void", "int", "bool", "unsigned", "char", "long", "short", "uint32_t", "uint64_t")}

	def text(self, rename):
		out, before = [], ""
		for i, (kind, text) in enumerate(self.tokens):
			if kind == "name" and text in rename and before not in (".", "->") and i not in self.members:
				text = rename[text]
			out.append(text)
			if kind not in ("space", "comment", "newline"):
				before = text
		return "".join(out)


class Book:
	"""One output file, with the headers that it holds already."""

	def __init__(self, public, done=()):
		self.public, self.done, self.out = public, set(done), []

	def header(self, path, rel):
		"""A header once; a table of macros every time that it is included."""
		if LEFT_OUT.search(rel):
			return
		if rel.endswith(".h"):
			if rel in self.done:
				return
			self.done.add(rel)
		self.body(read(path), path)

	def headers_of(self, source):
		for name in re.findall(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+\.h)"', read(source.path), re.M):
			self.body('#include "%s"' % name, source.path)

	def body(self, text, path):
		"""Lines, includes of our own replaced by what they include."""
		quiet = os.path.relpath(path, ROOT).startswith("include/")
		for line in text.split("\n"):
			m = INCLUDE.fullmatch(line)
			if not m:
				if not (quiet and line.startswith("#pragma GCC system_header")) and \
						not line.startswith("#define AMP_NEED "):
					self.out.append(line)
				continue
			name = m.group(1) or m.group(2)
			if m.group(1):
				full = os.path.normpath(os.path.join(os.path.dirname(path), name))
				if not os.path.exists(full):
					full = os.path.join(ROOT, "src", name)
				if os.path.exists(full):
					self.header(full, os.path.relpath(full, os.path.join(ROOT, "src")))
					continue
				name = m.group(1)
			if name in self.public and "include_next" not in line:
				if quiet:
					self.header(os.path.join(ROOT, "include", name), name)
				continue
			self.out.append("#include <%s>" % name if "include_next" in line else line)


def banner(what):
	return ["", "/* ---- %s %s */" % (what, "-" * max(4, 80 - len(what))), ""]


def config(book):
	"""In front of the knobs: what an archive leaves to the build."""
	book.out += [
		"/* No threads but the one that calls; src/port/baremetal.c is the port. A project with a",
		" * port of its own, or with names of its own for the calls, sets these to 0. */",
		"#ifndef AMP_PORT_THREADS", "#define AMP_PORT_THREADS 0", "#endif",
		"#ifndef AMPSOCK_BAREMETAL", "#define AMPSOCK_BAREMETAL 1", "#endif",
		"#ifndef AMPSOCK_POSIX", "#define AMPSOCK_POSIX 1", "#endif",
	]


def write_header(path, public):
	book = Book(public)
	book.out += ["/* SPDX-License-Identifier: BSD-3-Clause */",
		     "/* ampsock in two files: see docs/porting.md. Made by mk/amalgamate.py: do not edit. */",
		     "#ifndef AMPSOCK_AMALGAMATION_H", "#define AMPSOCK_AMALGAMATION_H", ""]
	config(book)
	for name in PUBLIC:
		book.out += banner("include/" + name)
		book.header(os.path.join(ROOT, "include", name), name)
	book.out += ["", "#ifdef __cplusplus", 'extern "C" {', "#endif"]
	for name in BOARD:
		full = os.path.join(ROOT, "src", name)
		if os.path.exists(full):
			book.out += banner("src/" + name)
			start = len(book.out)
			book.header(full, name)
			if name == "socket/amp_calls.h": # C++ has another word for it
				book.out[start:] = [re.sub(r"\brestrict\b", "__restrict", line) for line in book.out[start:]]
	book.out += ["", "#ifdef __cplusplus", "}", "#endif"]
	book.out += ["", "#endif /* AMPSOCK_AMALGAMATION_H */", ""]
	write(path, book.out)
	return book.done


def sources():
	found = []
	for pattern, condition in ROOMS:
		for full in sorted(glob.glob(os.path.join(ROOT, "src", pattern))):
			rel = os.path.relpath(full, os.path.join(ROOT, "src"))
			if not LEFT_OUT.search(rel) and rel not in [r for r, _, _ in found]:
				found.append((rel, condition, Source(full)))
	return weak_first(found)


def weak_first(files):
	"""A name that one file mentions weakly is declared so before it is defined."""
	weak, defined = {}, {}
	for f in files:
		text = read(f[2].path)
		for name in re.findall(r"^AMP_OPTIONAL\((\w+)\)|^extern __typeof__\(\w+\) (\w+) __attribute__\(\(weak\)\)",
				       text, re.M):
			weak.setdefault(name[0] or name[1], []).append(f[0])
		for name in re.findall(r"^[a-z][\w *]*?(\w+)\([^;{]*\)\n\{", text, re.M):
			defined[name] = f[0]
	before = {f[0]: set() for f in files}
	for name, users in weak.items():
		if name in defined:
			before[defined[name]] |= set(users) - {defined[name]}
	out, left = [], list(files)
	while left:
		ready = next((f for f in left if not before[f[0]] & {g[0] for g in left}), None)
		if not ready:
			sys.exit("amalgamate: no order of " + ", ".join(f[0] for f in left))
		left.remove(ready)
		out.append(ready)
	return out


def renames(files):
	"""{source: {name: new name}}: names that must not meet."""
	everywhere = {}
	headers = glob.glob(os.path.join(ROOT, "src/*/*.[hd]*")) + glob.glob(os.path.join(ROOT, "src/*.h")) + \
		glob.glob(os.path.join(ROOT, "include/**/*.h"), recursive=True)
	for h in headers:
		for t in {t for kind, t in tokens(read(h)) if kind == "name"}:
			everywhere[t] = everywhere.get(t, 0) + 1
	for _, _, s in files:
		for t in s.mentions:
			everywhere[t] = everywhere.get(t, 0) + 1
	result = {}
	for _, _, s in files:
		new = {}
		for name in sorted(s.private - s.macros):
			if everywhere[name] > 1:
				new[name] = (s.stem.upper() if name.isupper() else s.stem) + "_" + name
				if new[name] in everywhere:
					sys.exit("amalgamate: %s is taken" % new[name])
		result[s] = new
	return result


def write_source(path, public, done):
	files = sources()
	rename = renames(files)
	book = Book(public, done)
	book.out += ["/* SPDX-License-Identifier: BSD-3-Clause */",
		     "/* ampsock in two files: see docs/porting.md. Made by mk/amalgamate.py: do not edit. */",
		     '#include "ampsock.h"', "",
		     "/* Here everything that an archive has as an option is there; and what headers define",
		     " * for others stands in a source. */",
		     '#pragma GCC diagnostic ignored "-Waddress"',
		     '#pragma GCC diagnostic ignored "-Wunused-function"']
	for rel, condition, s in files:
		book.out += banner("src/" + rel)
		if condition:
			book.headers_of(s) # whoever comes after may need them without the condition
			book.out.append("#if " + condition)
		book.body(s.text(rename[s]), s.path)
		book.out += ["#undef " + m for m in sorted(s.macros - {"AMP_NEED"})]
		if condition:
			book.out.append("#endif /* %s */" % condition)
	book.out.append("")
	write(path, book.out)


def write(path, lines):
	text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
	with open(path, "w", encoding="utf-8") as f:
		f.write(text)


def main():
	where = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
	os.makedirs(where, exist_ok=True)
	inc = os.path.join(ROOT, "include")
	public = {os.path.relpath(p, inc) for p in glob.glob(inc + "/**/*.h", recursive=True)}
	done = write_header(os.path.join(where, "ampsock.h"), public)
	write_source(os.path.join(where, "ampsock.c"), public, done)


if __name__ == "__main__":
	main()
