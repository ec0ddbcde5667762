#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 180
"""The two files of `make amalgamation` are enough: prints TAP.

	check.py BUILD

In a directory that holds ampsock.c, ampsock.h, an example and a board file and nothing else
of ours, for each configuration and C library: everything compiles with the project's
warnings and links for a Cortex-M. What the object exports is what the archive exports.
"""

import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WARN = ["-Wall", "-Wextra", "-Wundef", "-Wshadow", "-Wconversion", "-Werror"]
GCC = ["arm-none-eabi-gcc", "-std=c11", "-mthumb", "-ffunction-sections", "-fdata-sections", "-fno-common"]
CLANG = ["clang", "-std=c11", "--target=arm-none-eabi", "-mthumb", "-ffreestanding",
	 "-isystem", "/usr/include/newlib"]
LINK = ["-nostartfiles", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments", "-T", "board.ld",
	"-Wl,--defsym=end=__stack_top"]
RPMSG = ["-DAMPSOCK_VSOCK=0", "-DAMPSOCK_RPMSG=1", "-DAMPSOCK_VQ_DRIVER=0", "-DAMPSOCK_VQ_DEVICE=1"]
INET = ["http_get", "http_server", "udp_echo"]
# name, flags, examples
CONFIGS = [
	("vsock on a Cortex-M4", ["-mcpu=cortex-m4"], INET + ["vsock_echo"]),
	("rpmsg on a Cortex-M3", ["-mcpu=cortex-m3"] + RPMSG, INET + ["rpmsg_echo", "rpmsg_stream", "rpmsg_dgram"]),
]
# Knobs that are wrong, and what the compiler's first error says.
WRONG = [
	("-DAMPSOCK_SOCKETS=1", "AMPSOCK_SOCKETS: 2 to 4096"),
	("-DAMPSOCK_RINGS=0", "AMPSOCK_RINGS: 1 to 4096"),
	("-DAMPSOCK_RING_LEN=1000", "AMPSOCK_RING_LEN: a power of two"),
	("-DAMPSOCK_FD_BASE=100", "AMPSOCK_FD_BASE: 0 to 64"),
	("-DAMPSOCK_VSOCK_LINKS=0", "AMPSOCK_VSOCK_LINKS: 1 to 16"),
	("-DAMPSOCK_VSOCK_NUM=3", "AMPSOCK_VSOCK_NUM: a power of two"),
	("-DAMPSOCK_VSOCK_BUF_LEN=64", "AMPSOCK_VSOCK_BUF_LEN: 128 to 65580"),
	("-DAMPSOCK_HASH=3", "AMPSOCK_HASH: a power of two"),
	("-DAMPSOCK_ADDRINFO=0", "AMPSOCK_ADDRINFO: 1 to 64"),
	("-DAMPSOCK_CONNECT_MS=-1", "AMPSOCK_CONNECT_MS: 1 to 600000"),
	("-DAMPSOCK_PING_MS=-1", "AMPSOCK_PING_MS: 0 (never) to 600000"),
	("-DAMPSOCK_VSOCK=2", "AMPSOCK_LOOP: 0 or 1"),
	("-DAMPSOCK_VSOCK=0", "AMPSOCK_VSOCK 1 or AMPSOCK_RPMSG at least 1"),
	("-DAMPSOCK_VSOCK=0 -DAMPSOCK_RPMSG=1 -DAMPSOCK_LOOP=1", "AMPSOCK_LOOP: its sockets are AF_VSOCK"),
	("-DAMPSOCK_VQ_DRIVER=0", "AMPSOCK_VQ_DRIVER: a vsock guest"),
	("-DAMPSOCK_VSOCK=0 -DAMPSOCK_RPMSG=1 -DAMPSOCK_VQ_DEVICE=0", "AMPSOCK_VQ_DEVICE: the remote core"),
	("-DAMPSOCK_RPMSG=17", "AMPSOCK_RPMSG: 0 to 16"),
	("-DAMP_PORT_THREADS=1", "baremetal.c has no threads"),
	("-DAMPSOCK_SPIN=1 -DAMPSOCK_BAREMETAL=0 -DAMP_PORT_THREADS=1", "AMPSOCK_SPIN=1 is for one core without threads"),
	("-march=armv4t -marm", "name yours with -mcpu="),
	("-DAF_INET=2", "another stack's <sys/socket.h> came first"),
]
# Families and pools that no other configuration here has: without a warning.
RIGHT = [
	"-DAMPSOCK_INET=0 -DAMPSOCK_LOOP=0",
	"-DAMPSOCK_RPMSG=2 -DAMPSOCK_SOCKETS=2 -DAMPSOCK_VSOCK_NUM=1 -DAMPSOCK_VSOCK_LINKS=3 -DAMPSOCK_CACHE_HOOKS=1",
	"-DAMPSOCK_VSOCK=0 -DAMPSOCK_INET=0 -DAMPSOCK_RPMSG=1 -DAMPSOCK_RINGS=1",
	"-DAMPSOCK_BAREMETAL=0 -DAMP_PORT_THREADS=1 -DAMPSOCK_POSIX=0 -DAMPSOCK_RPMSG=1 -DAMPSOCK_PING_MS=0",
]
# name, flags, how the library in the programs is optimised; the other way its text is only looked at
LIBC = [("newlib", ["--specs=nosys.specs"], "-O2", "-Os"), ("picolibc", ["--specs=picolibc.specs"], "-Os", "-O2")]

failed = 0
count = 0


def report(name, problem):
	global failed, count
	count += 1
	failed += bool(problem)
	print("%s %d - %s" % ("not ok" if problem else "ok", count, name), flush=True)
	for line in (problem or "").splitlines()[:30]:
		print("# " + line)


def run(argv, cwd):
	r = subprocess.run(argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
			   timeout=100, check=False)
	return r.stdout + "\nexit status %d of %s" % (r.returncode, " ".join(argv)) if r.returncode else ""


def make(build, what):
	return run(["make", "-s", "--no-print-directory", "BUILD=" + build] + what, ROOT)


def read(path):
	with open(os.path.join(ROOT, path), encoding="utf-8") as f:
		return f.read()


def without_our_headers(text):
	"""What a project does to its sources: one include in place of those that it lacks."""
	ours = {os.path.relpath(os.path.join(d, f), os.path.join(ROOT, "include"))
		for d, _, files in os.walk(os.path.join(ROOT, "include")) for f in files}
	lines, done = [], False
	for line in text.split("\n"):
		m = re.fullmatch(r'#include (?:<([^>]+)>|"([^"]+)")', line)
		if m and (m.group(1) in ours or m.group(2)):
			if not done:
				lines.append('#include "ampsock.h"')
			done = True
		else:
			lines.append(line)
	return "\n".join(lines)


def put(where, name, text):
	with open(os.path.join(where, name), "w", encoding="utf-8") as f:
		f.write(text)


def one(build, config, libc):
	"""Compile the library once, link every example with it: [(example, what went wrong)]."""
	_, flags, examples = config
	results = []
	with tempfile.TemporaryDirectory(prefix="ampsock-") as where:
		for f in ("ampsock.c", "ampsock.h"):
			put(where, f, read(os.path.join(build, f)))
		put(where, "board.c", without_our_headers(read("tests/size/board.c")))
		put(where, "console.c", read("tests/amalgamation/console.c"))
		put(where, "board.ld", read("tests/size/board.ld"))
		_, specs, opt, other = libc
		problem = run(GCC + [opt] + WARN + flags + specs + ["-c", "ampsock.c"], where)
		problem += run(GCC + [other] + WARN + flags + specs + ["-fsyntax-only", "ampsock.c"], where)
		for example in examples:
			put(where, "example.c", without_our_headers(read("examples/%s.c" % example)))
			results.append((example, problem or run(GCC + ["-Os"] + WARN + flags + specs + LINK +
				["ampsock.o", "example.c", "board.c", "console.c", "-o", "a.elf"], where)))
	return results


def symbols(build, name, flags, archive):
	"""What the one object exports, and what the archive of the same configuration does."""
	def exported(path):
		out = subprocess.run(["arm-none-eabi-nm", "-g", "--defined-only", path], cwd=ROOT, check=True,
				     stdout=subprocess.PIPE, text=True, timeout=60).stdout
		return {line.split()[2] for line in out.splitlines() if len(line.split()) == 3}

	with tempfile.TemporaryDirectory(prefix="ampsock-") as where: # -Os, as the archive: a small build exports less
		obj = os.path.join(where, "ampsock.o")
		problem = run(GCC + ["-Os"] + WARN + flags + ["-I" + build, "-c", os.path.join(build, "ampsock.c"), "-o", obj], ROOT)
		if problem:
			return problem
		mine, theirs = exported(obj), exported(archive)
	return "" if mine == theirs else "only here: %s\nonly in the archive: %s" % (
		sorted(mine - theirs), sorted(theirs - mine))


def first_error(build, flags, text):
	out = run(["arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m4"][:1 if "-march" in flags else 3] + WARN[:2] +
		  flags.split() + ["-fsyntax-only", os.path.join(build, "ampsock.c")], ROOT)
	errors = [line for line in out.splitlines() if "error:" in line]
	return "" if errors and text in errors[0] else "no word of `%s`:\n%s" % (text, out)


def no_resolver(build):
	"""A program that asks for a name in a library without AF_INET: what the linker says."""
	with tempfile.TemporaryDirectory(prefix="ampsock-") as where:
		put(where, "main.c", '#include "ampsock.h"\nint main(void) { freeaddrinfo(NULL); '
		    'return getaddrinfo("a", "1", NULL, NULL) + getnameinfo(NULL, 0, NULL, 0, NULL, 0, 0); }\n')
		out = run(GCC + ["-mcpu=cortex-m4", "-Os", "-DAMPSOCK_INET=0", "-DAMPSOCK_BAREMETAL=0", "-I" + os.path.abspath(build),
			  "--specs=nosys.specs", "-Wl,--gc-sections", "-o", "/dev/null", "main.c",
			  os.path.join(os.path.abspath(build), "ampsock.c")], where)
	missing = set(re.findall(r"undefined reference to .(\w+)", out)) - {"amp_port_wait", "amp_port_wake", "amp_port_now_ms"}
	return "" if missing == {"getaddrinfo_needs_AMPSOCK_INET_1"} else "missing: %s\n%s" % (sorted(missing), out)


def other_names(build):
	"""AMPSOCK_POSIX=0: the calls have prototypes."""
	with tempfile.TemporaryDirectory(prefix="ampsock-") as where:
		put(where, "main.c", '#include "ampsock.h"\nint main(void) { char b[4]; int fd = amp_socket(AF_INET, SOCK_STREAM, 0); '
		    'return amp_recv(fd, b, sizeof(b), 0) < 0 ? amp_close(fd) : 0; }\n')
		return run(GCC + ["-mcpu=cortex-m4"] + WARN + ["-DAMPSOCK_POSIX=0", "-I" + os.path.abspath(build),
			   "-fsyntax-only", "main.c"], where)


def cxx_names(build):
	"""What a board written in C++ calls has the names of the library in C."""
	with tempfile.TemporaryDirectory(prefix="ampsock-") as where:
		put(where, "main.cc", '#include "ampsock.h"\nint main() { amp_baremetal_init(0, 1); amp_port_wake(); '
		    'return amp_mmio_init(0, 0) + amp_socket(1, 2, 3) + amp_link_rpmsg(0) + socket(1, 2, 3); }\n')
		problem = run(["arm-none-eabi-g++", "-mthumb", "-mcpu=cortex-m4", "-I" + os.path.abspath(build), "-c", "main.cc"], where)
		out = problem or run(["sh", "-c", "arm-none-eabi-nm -u main.o | grep _Z && exit 1; exit 0"], where)
	return out


def knobs(build):
	report("-DAMPSOCK_INET=0: the linker says what getaddrinfo() needs", no_resolver(build))
	report("-DAMPSOCK_POSIX=0: ampsock.h declares amp_socket() and its kin", other_names(build))
	with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
		for (flags, text), problem in zip(WRONG, pool.map(lambda w: first_error(build, *w), WRONG)):
			report("%s: %s" % (flags, text), problem)
		for flags, problem in zip(RIGHT, pool.map(lambda f: run(GCC + ["-mcpu=cortex-m4"] + WARN + f.split() +
				["-Os", "-c", "-o", "/dev/null", os.path.join(build, "ampsock.c")], ROOT), RIGHT)):
			report("%s: no warning" % flags, problem)
	report("ampsock.h in C++: the board's functions are C's", cxx_names(build))
	report("ampsock.h in C++", run(["arm-none-eabi-g++", "-mthumb", "-mcpu=cortex-m4"] + WARN + ["-Wno-shadow"] + # if_nameindex is two things
	       ["-fsyntax-only", "-x", "c++", "-include", os.path.join(build, "ampsock.h"), "/dev/null"], ROOT))


def main():
	build = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BUILD", "build")
	problem = make(build, ["amalgamation"])
	first = [read(os.path.join(build, f)) for f in ("ampsock.c", "ampsock.h")]
	report("make amalgamation", problem)
	with tempfile.TemporaryDirectory(prefix="ampsock-") as where: # not there: other tests read them at the same time
		problem = make(where, ["amalgamation"])
		again = "" if problem else [read(os.path.join(where, f)) for f in ("ampsock.c", "ampsock.h")]
	report("the same sources give the same bytes", problem or ("" if first == again else "they do not"))
	jobs = [(c, l) for c in CONFIGS for l in LIBC]
	with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
		for (c, l), results in zip(jobs, pool.map(lambda j: one(build, *j), jobs)):
			for example, problem in results:
				report("%s, %s: %s from the two files alone" % (c[0], l[0], example), problem)
	for name, flags, _ in CONFIGS:
		report("%s: clang" % name, run(CLANG + WARN + flags +
		       ["-fsyntax-only", os.path.join(build, "ampsock.c")], ROOT))
	knobs(build)
	for name, flags, board in (("vsock", ["-mcpu=cortex-m4", "-DAMPSOCK_WHY=1", "-DAMPSOCK_SPIN=1"], "qemu-virt-arm"),
				   ("rpmsg", ["-mcpu=cortex-m3", "-DAMPSOCK_WHY=1"] + RPMSG, "qemu-mps2")):
		archive = "%s/fw/%s-newlib/libampsock.a" % (build, board)
		report("%s: exports what %s exports" % (name, archive),
		       make(build, [archive]) or symbols(build, name, flags, archive))
	print("1..%d" % count)
	return 1 if failed else 0


if __name__ == "__main__":
	sys.exit(main())
