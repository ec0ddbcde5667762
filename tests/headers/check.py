#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 240
"""The headers of include/ on every bare toolchain there is; prints TAP.

For each toolchain and language: every header alone, all of them together in four orders
with the C library's own, every pair in both orders, each time with everything that
POSIX.1-2017 requires of them (posix.txt) used; layouts (layout.h); constants equal to
glibc's; nothing taken from a hosted libc; C linkage; a definition behind every prototype.
And what AMP_RSC_TABLE() emits (rsc_table.py).

	tests/headers/check.py [-v]
"""

import concurrent.futures
import functools
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # nothing beside the sources
import rsc_table

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.join(ROOT, "tests", "headers")
INC = os.path.join(ROOT, "include")
WARN = ["-Wall", "-Wextra", "-Wundef", "-Wconversion", "-Wpointer-arith", "-Werror"]
PICO = "--specs=picolibc.specs"

# name, C compiler, C++ compiler, flags, where its C library's headers are, all pairs? A name: those of
# that one, if the headers are the same.
TOOLCHAINS = [
	("arm newlib", "arm-none-eabi-gcc", "arm-none-eabi-g++", ["-mcpu=cortex-m4", "-mthumb"],
	 "/usr/include/newlib/", True),
	("arm picolibc", "arm-none-eabi-gcc", None, ["-mcpu=cortex-m4", "-mthumb", PICO],
	 "/usr/lib/picolibc/arm-none-eabi/include/", True),
	("riscv64 picolibc", "riscv64-unknown-elf-gcc", None, [PICO, "-mcmodel=medany"],
	 "/usr/lib/picolibc/riscv64-unknown-elf/include/", "arm picolibc"),
	("riscv32 picolibc", "riscv64-unknown-elf-gcc", None, [PICO, "-march=rv32imac", "-mabi=ilp32"],
	 "/usr/lib/picolibc/riscv64-unknown-elf/include/", False),
	("aarch64 picolibc", "aarch64-linux-gnu-gcc", None, [PICO],
	 "/usr/lib/picolibc/aarch64-linux-gnu/include/", True),
	("arm picolibc clang", "clang", None,
	 ["--target=thumbv7em-none-eabi", "-isystem", "/usr/lib/picolibc/arm-none-eabi/include"],
	 "/usr/lib/picolibc/arm-none-eabi/include/", False),
]

C = ["-x", "c", "-Wshadow", "-Wstrict-prototypes"]
# POSIX has a struct and a function of one name (if_nameindex): no -Wshadow in C++.
CXX = ["-x", "c++", "-Wno-missing-field-initializers"]
LANGS = [
	("c11", C + ["-std=c11"]),
	("gnu11", C + ["-std=gnu11"]),
	("c99 -pedantic", C + ["-std=c99", "-pedantic"]),
	("c11 _POSIX_C_SOURCE", C + ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-D_XOPEN_SOURCE=700"]),
	("c11 _GNU_SOURCE", C + ["-std=c11", "-D_GNU_SOURCE"]),
	("c++14", CXX + ["-std=c++14"]),
	("c++17", CXX + ["-std=c++17", "-pedantic"]),
]

# The C library's, to be mixed with ours. The first few also in every pair.
LIBC_PAIRED = ["sys/types.h", "sys/time.h", "fcntl.h", "unistd.h", "signal.h"]
LIBC = LIBC_PAIRED + ["time.h", "stdio.h", "stdlib.h", "string.h", "stdint.h", "stddef.h",
		      "limits.h", "inttypes.h", "sys/stat.h", "sys/param.h"]

results = []


def report(name, problem):
	"""One TAP line; problem: None or text."""
	results.append(problem is None)
	print("%s %d - %s" % ("ok" if problem is None else "not ok", len(results), name), flush=True)
	for line in (problem or "").splitlines()[:30]:
		print("# " + line)


class Header:
	def __init__(self, name):
		self.name = name
		self.c = []  # lines at file level
		self.body = []  # lines inside a function
		self.consts = []  # those that glibc has with the same number
		self.funcs = []

	def requirement(self, kind, rest):
		n = "%d_%s" % (len(self.c), re.sub(r"\W", "_", self.name))
		if kind == "type":
			names = rest.split("|") if "|" in rest or "struct" in rest else rest.split()
			for i, t in enumerate(names):
				self.c.append("typedef char t%s_%d[sizeof(%s)];" % (n, i, t.strip()))
		elif kind == "unsigned":
			for i, t in enumerate(rest.split()):
				self.c.append("typedef char u%s_%d[(%s)-1 > 0 ? 1 : -1];" % (n, i, t))
		elif kind in ("member", "array"):
			struct, member, typ = (x.strip() for x in rest.split(";"))
			what = "&s.%s" if kind == "member" else "s.%s"
			self.c.append("void m%s(void); void m%s(void) { %s s; %s *p = %s; (void)p; }" % (
				n, n, struct, typ, what % member))
		elif kind in ("const", "local", "linux"):
			for name in rest.split():
				self.c.append("#ifndef %s\n#error %s\n#endif" % (name, name))
				self.c.append("enum { c%s_%s = ((%s) != 0) };" % (n, name, name))
				if kind != "local":
					self.consts.append(name)
		elif kind == "macro":
			for name in rest.split():
				self.c.append("#ifndef %s\n#error %s\n#endif" % (name, name))
		elif kind in ("func", "extra"):
			m = re.match(r"(.*?)(\w+)\((.*)\)$", rest)
			ret, name, args = m.groups()
			self.c.append("typedef %s f%s(%s); extern f%s *p%s; f%s *p%s = &%s;" % (
				ret, n, args, n, n, n, n, name))
			self.funcs.append(name)
		elif kind == "code":
			self.c.append("void x%s(void); void x%s(void) { %s }" % (n, n, rest))
		else:
			raise ValueError(kind)

	def checks(self):
		return "\n".join(self.c) + "\n"


def read_spec():
	headers = {}
	with open(os.path.join(HERE, "posix.txt"), encoding="ascii") as f:
		for line in f:
			line = line.strip()
			if line.startswith("["):
				h = headers[line[1:-1]] = Header(line[1:-1])
			elif line and not line.startswith("#"):
				h.requirement(*line.split(None, 1))
	return headers


def run(argv, text=None, cwd=None):
	p = subprocess.run(argv, input=text, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
			   text=True, timeout=60, check=False)
	return p.returncode, p.stdout


def source(names, spec, twice=False):
	text = "".join("#include <%s>\n" % n for n in names)
	if twice:
		text += text
	# arpa/inet.h's and netinet/in.h's checks may both be in: their names differ by header.
	return text + "".join(spec[n].checks() for n in dict.fromkeys(names) if n in spec)


def command(tc, lang):
	_, cc, cxx, flags, _, _ = tc
	args = list(lang[1])
	if lang[0].startswith("c++"):
		if cxx:
			cc = cxx
		else:
			args.append("-nostdinc++")
	return [cc] + flags + WARN + args + ["-I", INC]


@functools.lru_cache(maxsize=None)
def front_end(argv):
	"""What gcc's driver calls for -fsyntax-only, without the driver, which is a fifth of the time; clang is one."""
	argv = list(argv) + ["-fsyntax-only", "-"]
	if argv[0] == "clang":
		return argv
	calls = [shlex.split(line) for line in run(argv + ["-###"], "")[1].splitlines() if line.startswith(" ")]
	return calls[-1] if calls and os.path.basename(calls[-1][0]).startswith("cc1") else argv


def compile_text(tc, lang, text, extra=None):
	argv = command(tc, lang)
	code, out = run(argv + list(extra) + ["-"] if extra else front_end(tuple(argv)), text)
	return None if code == 0 else (out or "exit status %d" % code)


def compile_all(pool, tc, lang, texts):
	"""texts: (label, text), each for itself. clang takes them all in one process."""
	if tc[1] != "clang":
		return first_problem(pool, [(label, lambda t=text: compile_text(tc, lang, t)) for label, text in texts])
	with tempfile.TemporaryDirectory(prefix="amp-headers-") as tmp:
		paths = [os.path.join(tmp, re.sub(r"\W", "_", label) + ".c") for label, _ in texts]
		for path, (_, text) in zip(paths, texts):
			with open(path, "w", encoding="ascii") as f:
				f.write(text)
		more = [word for path in paths[1:] for word in ("-Xclang", path)]
		code, out = run(command(tc, lang) + ["-fsyntax-only", paths[0]] + more)
	return None if code == 0 else (out or "exit status %d" % code)


def first_problem(pool, jobs):
	"""jobs: (label, callable). The first problems, or None."""
	futures = [(label, pool.submit(fn)) for label, fn in jobs]
	bad = ["%s: %s" % (label, f.result()) for label, f in futures if f.result()]
	return "%d of %d:\n%s" % (len(bad), len(jobs), "\n".join(bad[:3])) if bad else None


def check_alone(pool, tc, lang, spec):
	return compile_all(pool, tc, lang, [(n, source([n], spec, twice=True)) for n in spec])


def check_together(pool, tc, lang, spec):
	names = list(spec) + LIBC
	mixed = names[:]
	random.Random(1).shuffle(mixed)
	orders = [names, names[::-1], mixed, mixed[::-1]]
	if lang[0].startswith("c++") and tc[2]:
		orders.append(["cstdio", "cstring", "string", "cerrno", "cstdlib"] + names)
		orders.append(names + ["cstdio", "cstring", "string", "cerrno", "cstdlib"])
	return compile_all(pool, tc, lang, [("order %d" % i, source(o, spec)) for i, o in enumerate(orders)])


def check_pairs(pool, tc, lang, spec):
	ours, jobs = list(spec), []
	for a in ours:
		for b in ours + LIBC_PAIRED:
			for pair in ([a, b], [b, a]) if b in LIBC_PAIRED else ([a, b],):
				if a != b:
					jobs.append((" then ".join(pair), lambda p=pair:
						     compile_text(tc, lang, source(p, spec))))
	return first_problem(pool, jobs)


# What of a C library is its machine's: byte order, options of its build.
MACHINE = {"machine/_endian.h", "machine/param.h", "picolibc.h"}


def headers_of(tc, lang, spec):
	"""{name: contents} of all that is taken from the C library but what is the machine's."""
	_, cc, _, flags, libc, _ = tc
	text = "".join("#include <%s>\n" % n for n in list(spec) + LIBC)
	out = run([cc] + flags + lang[1] + ["-I", INC, "-M", "-"], text)[1]
	found = {}
	for path in out.replace("\\\n", " ").split(":", 1)[1].split():
		if path.startswith(libc) and path[len(libc):] not in MACHINE:
			with open(path, "rb") as f:
				found[path[len(libc):]] = f.read()
	return found


def check_all_pairs(pool, tc, lang, spec):
	"""Those of the same C library on another machine stand for these; types of 64 bits are aarch64's, too."""
	like = next((t for t in TOOLCHAINS if t[0] == tc[5]), None)
	if like and os.path.isdir(like[4]) and shutil.which(like[1]):
		mine = headers_of(tc, lang, spec)
		if mine and mine == headers_of(like, lang, spec):
			return None
	return check_pairs(pool, tc, lang, spec)


def check_origin(tc, lang, spec):
	"""Every file comes from us, the bare C library or the compiler; ours from us."""
	_, cc, _, flags, libc, _ = tc
	code, gcc_inc = run([cc] + flags + ["-print-file-name=include"])
	own = [INC, libc, gcc_inc.strip(), gcc_inc.strip() + "-fixed"]
	if cc == "clang":
		own.append(run([cc, "-print-resource-dir"])[1].strip())
	for name in list(spec) + LIBC:
		code, out = run([cc] + flags + lang[1] + ["-I", INC, "-M", "-"], "#include <%s>\n" % name)
		if code != 0:
			return out
		files = [f for f in out.replace("\\\n", " ").split(":", 1)[1].split() if f != "-"]
		for f in files:
			# GCC for Linux takes this before the first line; it declares nothing.
			if os.path.basename(f) == "stdc-predef.h":
				continue
			if not any(os.path.realpath(f).startswith(os.path.realpath(o) + "/") for o in own):
				return "%s brings %s" % (name, f)
		if name in spec and os.path.join(INC, name) not in files:
			return "%s is not ours: %s" % (name, files[:1])
	return None


def check_layout(tc, lang, spec):
	word = "static_assert" if lang[0].startswith("c++") else "_Static_assert"
	with open(os.path.join(HERE, "layout.h"), encoding="ascii") as f:
		layout = f.read()
	text = "".join("#include <%s>\n" % n for n in spec) + "#include <stddef.h>\n"
	text += "#define LAYOUT_ASSERT(e, text) %s(e, text)\n" % word + layout
	return compile_text(tc, lang, text)


def glibc_numbers(spec, tmp):
	names = sorted({c for h in spec.values() for c in h.consts})
	text = "#include <stdio.h>\n#include <linux/vm_sockets.h>\n"
	for n in spec:
		if n not in ("ampsock.h", "sys/rpmsg_socket.h", "sys/vm_sockets.h"):
			text += "#include <%s>\n" % n
	text += "int main(void)\n{\n"
	for n in names:
		text += '#ifdef %s\n\tprintf("%s %%lld\\n", (long long)(%s));\n#endif\n' % (n, n, n)
	text += "\treturn 0;\n}\n"
	prog = os.path.join(tmp, "numbers")
	code, out = run(["gcc", "-D_GNU_SOURCE", "-x", "c", "-o", prog, "-"], text)
	if code != 0:
		raise RuntimeError(out)
	got = dict(line.split() for line in run([prog])[1].splitlines())
	return names, got


def check_numbers(tc, lang, spec, names, numbers):
	missing = [n for n in names if n not in numbers]
	if missing:
		return "glibc has no " + " ".join(missing)
	text = "".join("#include <%s>\n" % n for n in spec)
	for n in names:
		text += '_Static_assert((long long)(%s) == %sLL, "%s: glibc has %s");\n' % (
			n, numbers[n], n, numbers[n])
	return compile_text(tc, lang, text)


def check_definitions(tc, spec, tmp):
	"""Prototypes have C linkage and something behind them: in src/posix and the library."""
	_, cc, _, flags, _, _ = tc
	nm = "nm" if cc == "clang" else re.sub(r"-gcc$", "-nm", cc)
	defined = set()
	posix = os.path.join(ROOT, "src", "posix")
	for f in sorted(os.listdir(posix)):
		if f.endswith(".c") and not f.startswith("hosted_"):
			obj = os.path.join(tmp, "posix.o")
			code, out = run([cc] + flags + WARN + ["-std=c11", "-I", INC, "-c", "-o", obj,
						       os.path.join(posix, f)])
			if code != 0:
				return out
			for line in run([nm, "-g", "--defined-only", obj])[1].splitlines():
				defined.add(line.split()[-1])
	wanted = {f for h in spec.values() for f in h.funcs} | {
		"in6addr_any", "in6addr_loopback", "read", "write", "close", "fcntl"}
	lacking = sorted(wanted - defined)
	if lacking:
		return "declared and not defined: " + " ".join(lacking)
	obj = os.path.join(tmp, "cxx.o")
	problem = compile_text(tc, LANGS[-1], source(list(spec), spec), ("-c", "-o", obj))
	if problem:
		return problem
	undefined = {line.split()[-1] for line in run([nm, "-u", obj])[1].splitlines()}
	mangled = sorted(u for u in undefined if u.startswith("_Z"))
	return "no C linkage: " + " ".join(mangled) if mangled else None


def check_behaviour(tc, tmp):
	"""The macros compute what they should: the compiler folds every MUST() away."""
	_, cc, _, flags, _, _ = tc
	obj = os.path.join(tmp, "macros.o")
	nm = "nm" if cc == "clang" else re.sub(r"-gcc$", "-nm", cc)
	code, out = run([cc] + flags + WARN + ["-std=c11", "-O2", "-I", INC, "-c", "-o", obj,
					       os.path.join(HERE, "macros.c")])
	if code != 0:
		return out
	lines = [x.split()[-1] for x in run([nm, "-u", obj])[1].splitlines()]
	return "macros.c: " + " ".join(x for x in lines if x.startswith("line_")) if any(
		x.startswith("line_") for x in lines) else None


def check_hosted(spec):
	"""On Linux only what glibc lacks is ours, and it goes with the kernel's header."""
	with open(os.path.join(HERE, "layout.h"), encoding="ascii") as f:
		layout = f.read()
	lacking = {n: spec[n] for n in ("ampsock.h", "sys/rpmsg_socket.h", "sys/vm_sockets.h")}
	for cc, lang in (("gcc", "c11"), ("gcc", "gnu11"), ("clang", "c11"), ("g++", "c++17")):
		word = "static_assert" if "++" in lang else "_Static_assert"
		base = [cc, "-x", "c++" if "++" in lang else "c", "-std=" + lang, "-D_GNU_SOURCE"] + WARN
		base += ["-idirafter", INC, "-fsyntax-only", "-"]
		for names in (["sys/vm_sockets.h"], ["sys/vm_sockets.h", "linux/vm_sockets.h"],
			      ["sys/socket.h", "linux/vm_sockets.h", "sys/vm_sockets.h"],
			      ["sys/rpmsg_socket.h"], ["ampsock.h"]):
			code, out = run(base, source(names, lacking, twice=True))
			if code != 0:
				return "%s %s %s:\n%s" % (cc, lang, names, out)
		text = "".join("#include <%s>\n" % n for n in spec) + "#include <stddef.h>\n"
		text += "#define LAYOUT_ASSERT(e, text) %s(e, text)\n" % word + layout
		code, out = run(base, text)
		if code != 0:
			return out
	code, out = run(["gcc", "-D_GNU_SOURCE", "-idirafter", INC, "-M", "-x", "c", "-"],
			"".join("#include <%s>\n" % n for n in spec))
	ours = sorted(os.path.relpath(f, INC) for f in out.split() if f.startswith(INC))
	return None if ours == sorted(lacking) else "taken from include/: %s" % ours


def check_checker(tc, lang):
	"""The checks above notice what they are for."""
	for kind, rest in (("type", "struct no_such"), ("unsigned", "int"),
			   ("member", "struct msghdr ; msg_iovlen ; size_t"),
			   ("array", "struct sockaddr ; sa_data ; int"), ("const", "AF_NO_SUCH"),
			   ("macro", "CMSG_NO_SUCH"), ("func", "int accept(int, void *)"),
			   ("func", "int no_such(void)"), ("code", "no such thing;")):
		h = Header("sys/socket.h")
		h.requirement(kind, rest)
		if compile_text(tc, lang, source([h.name], {h.name: h})) is None:
			return "not noticed: %s %s" % (kind, rest)
	return None


def main():
	spec = read_spec()
	ours = {os.path.relpath(os.path.join(d, f), INC) for d, _, fs in os.walk(INC) for f in fs
		if f.endswith(".h")}
	forgotten = sorted(ours - set(spec) - {"ampsock_hosted.h"})
	report("every header of include/ is described", " ".join(forgotten) or None)
	with tempfile.TemporaryDirectory(prefix="amp-headers-") as tmp, \
			concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
		names, numbers = glibc_numbers(spec, tmp)
		report("glibc's layouts, and its headers win on Linux", check_hosted(spec))
		for cc in ("gcc", "clang"):
			report("hosted %s: resource table" % cc, rsc_table.check(cc, [], tmp))
		for tc in TOOLCHAINS:
			if not shutil.which(tc[1]) or not os.path.isdir(tc[4]):
				results.append(True)
				print("ok %d - %s # skip %s or %s is not installed" % (
					len(results), tc[0], tc[1], tc[4]))
				continue
			for lang in LANGS:
				what = "%s, %s: " % (tc[0], lang[0])
				report(what + "each header alone, twice", check_alone(pool, tc, lang, spec))
				report(what + "all together", check_together(pool, tc, lang, spec))
			c11 = LANGS[0]
			if tc[5]:
				report(tc[0] + ": every pair in both orders", check_all_pairs(pool, tc, c11, spec))
			report(tc[0] + ": nothing from a hosted libc", check_origin(tc, c11, spec))
			report(tc[0] + ": layouts", check_layout(tc, c11, spec) or
			       check_layout(tc, LANGS[-1], spec))
			report(tc[0] + ": %d numbers as glibc's" % len(names),
			       check_numbers(tc, c11, spec, names, numbers))
			report(tc[0] + ": definitions and linkage", check_definitions(tc, spec, tmp))
			report(tc[0] + ": macros", check_behaviour(tc, tmp))
			report(tc[0] + ": resource table", rsc_table.check(tc[1], tc[3], tmp))
			report(tc[0] + ": a wrong header is noticed", check_checker(tc, c11))
	print("1..%d" % len(results))
	return 0 if all(results) else 1


if __name__ == "__main__":
	sys.exit(main())
