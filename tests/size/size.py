#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Flash, RAM and stack of the library, per configuration, module and core.

	size.py --build DIR [--check | --record] [--target NAME ...]

Text is what the linker kept of the library, its transport and port, and compiler helpers:
.text + .rodata + the image of .data. Board start-up, the program and <string.h> are left
out. Flags: -Os, --gc-sections, the default configuration but for the families; the budgets
are a Cortex-M4's (arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb), the other cores are built too.

ram_static       .data + .bss of the library with 4 sockets and rings of 1 KiB.
ram_per_socket   what one socket more costs in .bss, no ring added; AF_INET with its carrier.
stack_max        deepest path below any public function, from the compiler's own call graph
		 (graph.py). Interrupts come on top.

--record writes what was measured to recorded.json and the tables of docs/size.md (with --target m4
the other cores' figures stay). --check
prints TAP: everything on the Cortex-M4 is exactly what is recorded, and docs/size.md says so.
Another version of the compiler makes other code: then 2 % more is allowed.
"""

import argparse
import concurrent.futures
import glob
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import doc  # noqa: E402
from graph import FOREIGN_STACK, Graph  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RECORD = os.path.join(ROOT, "tests/size/recorded.json")
FLAGS = ["-Os", "-std=c11", "-Wall", "-Wextra", "-Werror",
	 "-ffunction-sections", "-fdata-sections", "-fno-common", "-fno-pie", "-fno-stack-protector",
	 "-fno-asynchronous-unwind-tables", "-DAMP_PORT_THREADS=0", "-Iinclude", "-Isrc"]
GRAPH = ["-fstack-usage", "-fcallgraph-info=su,da"]
FLAGS += GRAPH
THUMB = ["-mthumb"]
# name: (what it is, compiler, its flags)
TARGETS = {
	"m4": ("Cortex-M4", "arm-none-eabi-", ["-mcpu=cortex-m4"] + THUMB),
	"m0plus": ("Cortex-M0+", "arm-none-eabi-", ["-mcpu=cortex-m0plus"] + THUMB),
	"m3": ("Cortex-M3", "arm-none-eabi-", ["-mcpu=cortex-m3"] + THUMB),
	"m33": ("Cortex-M33", "arm-none-eabi-", ["-mcpu=cortex-m33"] + THUMB),
	"r5": ("Cortex-R5 (Thumb-2)", "arm-none-eabi-", ["-mcpu=cortex-r5"] + THUMB),
	# The old ISA numbering has the CSR instructions in it, and picolibc's multilib its name.
	"rv32imac": ("rv32imac", "riscv64-unknown-elf-",
		     ["--specs=picolibc.specs", "-march=rv32imac", "-misa-spec=2.2", "-mabi=ilp32"]),
	"aarch64": ("aarch64 (Cortex-A53)", "aarch64-linux-gnu-",
		    ["--specs=picolibc.specs", "-mcpu=cortex-a53", "-mno-outline-atomics", "-mgeneral-regs-only"]),
}
MAIN = "m4"
# The main core once more, built smaller than by the compiler's defaults: name, flags, link-time optimisation.
FEWER = ["-fno-if-conversion", "-fno-schedule-insns2", "-fno-tree-tail-merge", "-fno-move-loop-invariants"]
VARIANTS = [
	("`AMPSOCK_LOOP=0`", ["-DAMPSOCK_LOOP=0"], False),
	("`-flto`", [], True),
	("`-flto`, `AMPSOCK_LOOP=0` and four flags", ["-DAMPSOCK_LOOP=0"] + FEWER, True),
]
SOURCES = ["src/socket/*.c", "src/af_inet/*.c", "src/af_rpmsg/*.c", "src/vsock/*.c", "src/conn/*.c",
	   "src/wire/*.c", "src/virtio/vq_split.c", "src/virtio/mmio.c", "src/virtio/mmio_why.c",
	   "src/virtio/remoteproc.c", "src/port/baremetal.c", "src/posix/*.c"]
# What nobody's firmware has: it would compile to nothing.
HOSTED = re.compile(r"/hosted_|^src/vsock/hosted")

# A remote core: the device's end of its two vrings.
RPMSG = ["-DAMPSOCK_RPMSG=1", "-DAMPSOCK_VSOCK=0"]

# Four sockets of the application: an AF_INET one has a carrier, and the session has one more.
CONFIGS = {
	"vsock-small": {
		"program": "small.c", "flags": ["-DAMPSOCK_INET=0"], "each": 1,
		"ram": ["-DAMPSOCK_SOCKETS=4", "-DAMPSOCK_RINGS=4", "-DAMPSOCK_RING_LEN=1024"],
		"budget": {"text": 6144, "ram_static": 12288, "ram_per_socket": 96, "stack_max": 512},
	},
	"vsock-inet-small": {
		"program": "small.c", "flags": ["-DSMALL_INET"], "each": 2,
		"ram": ["-DAMPSOCK_SOCKETS=9", "-DAMPSOCK_RINGS=5", "-DAMPSOCK_RING_LEN=1024"],
		"budget": {"text": 9216, "ram_static": 12288, "ram_per_socket": 192, "stack_max": 512},
	},
	"vsock-inet-full": {
		"program": "full.c", "flags": [], "each": 2,
		"ram": ["-DAMPSOCK_SOCKETS=9", "-DAMPSOCK_RINGS=5", "-DAMPSOCK_RING_LEN=1024"],
		"budget": {"text": 16384, "ram_static": 12288, "ram_per_socket": 192, "stack_max": 512},
	},
	"rpmsg-small": {
		"program": "small.c", "flags": RPMSG + ["-DAMPSOCK_INET=0", "-DSMALL_RPMSG"], "each": 1,
		"ram": ["-DAMPSOCK_SOCKETS=4", "-DAMPSOCK_RINGS=4", "-DAMPSOCK_RING_LEN=1024"],
		"budget": {"text": 6144, "ram_static": 12288, "ram_per_socket": 96, "stack_max": 512},
	},
	"rpmsg-inet-small": {
		"program": "small.c", "flags": RPMSG + ["-DSMALL_INET"], "each": 2,
		"ram": ["-DAMPSOCK_SOCKETS=9", "-DAMPSOCK_RINGS=5", "-DAMPSOCK_RING_LEN=1024"],
		"budget": {"text": 9216, "ram_static": 12288, "ram_per_socket": 192, "stack_max": 512},
	},
	"rpmsg-inet-full": {
		"program": "full.c", "flags": RPMSG, "each": 2,
		"ram": ["-DAMPSOCK_SOCKETS=9", "-DAMPSOCK_RINGS=5", "-DAMPSOCK_RING_LEN=1024"],
		"budget": {"text": 16384, "ram_static": 12288, "ram_per_socket": 192, "stack_max": 512},
	},
}

STRING_H = re.compile(r"mem(cpy|set|move|cmp|chr)|str(len|n?cmp|n?cpy|r?chr|nlen)")
KINDS = ("text", "rodata", "data", "bss")
SECTIONS = ((".text", "text"), (".rodata", "rodata"), (".data", "data"), (".bss", "bss"), ("COMMON", "bss"))
KEYS = ("text", "ram_static", "ram_per_socket", "stack_max")


class Fail(Exception):
	pass


def sh(argv):
	try:
		return subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
				      text=True, check=False)
	except FileNotFoundError:
		raise Fail("%s: there is no such program here: `make deps` installs what is missing" % argv[0]) from None


def compiler(cross):
	return sh([cross + "gcc", "-dumpfullversion"]).stdout.strip()


def sources(flags=()):
	found = []
	for pattern in SOURCES:
		found += sorted(glob.glob(os.path.join(ROOT, pattern)))
	found = [os.path.relpath(p, ROOT) for p in found]
	leave = [d for d, knob in (("src/af_inet/", "-DAMPSOCK_INET=0"), ("src/vsock/link_", "-DAMPSOCK_VSOCK=0"))
		 if knob in flags]
	return [p for p in found if not HOSTED.search(p) and not p.startswith(tuple(leave))]


class Build:
	"""One configuration for one core. only: the sources that are known to be enough. like: (another build, sources):
	but for those its objects are taken."""

	compiled = {}  # (compiler, flags, source) -> object: configurations that differ in their program share the library's

	def __init__(self, out, target, flags, program, only=None, lto=False, like=(None, ())):
		self.out, self.flags, self.lto = out, flags, lto
		self.cross, self.core = TARGETS[target][1:]
		self.like, self.own = like
		self.sources = [p for p in sources(flags) if only is None or p in only]
		os.makedirs(os.path.join(ROOT, self.out), exist_ok=True)
		for stale in glob.glob(os.path.join(ROOT, self.out, "*")):
			os.unlink(stale)
		objects = self.compile(program)
		try:
			self.link(objects)
		except Fail:
			if only is None:
				raise
			self.sources = sources(flags)
			self.link(self.compile(program))

	def compile(self, program):
		"""Objects: program and board keep their names, the library its rooms'."""
		self.objects, jobs = {}, []
		for src in self.sources:
			key = self.key(src)
			if self.like and src not in self.own:
				key = self.like.key(src)
			if key not in Build.compiled:
				Build.compiled[key] = "%s/%s.o" % (self.out, src[4:-2].replace("/", "@"))
				jobs.append((src, Build.compiled[key]))
			self.objects[src] = Build.compiled[key]
		jobs += [("tests/size/board.c", self.out + "/board.o"),
			 ("tests/size/" + program, self.out + "/program.o")]

		def one(job):
			src, obj = job
			return sh([self.cross + "gcc"] + self.core + self.flags_of(src) + ["-c", src, "-o", obj])

		with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
			for (src, _), r in zip(jobs, pool.map(one, jobs)):
				if r.returncode:
					raise Fail("%s does not compile:\n%s" % (src, r.stderr))
		return list(self.objects.values()) + [obj for _, obj in jobs[-2:]]

	def flags_of(self, src):
		library = src.startswith("src/")
		flags = FLAGS + [f for f in self.flags if not (library and f.startswith("-DSMALL_"))]
		if self.lto: # of such objects there is no call graph
			flags = [f for f in flags if f not in GRAPH] + ["-flto"] * library
		return flags

	def key(self, src):
		return (self.cross, *self.core, *self.flags_of(src), src)

	def link(self, objects):
		self.map = self.out + "/a.map"
		lib = self.out + "/lib.a"
		own = [o for o in objects if os.path.basename(o) in ("board.o", "program.o")]
		r = sh([self.cross + "gcc-ar", "rcs", lib] + [o for o in objects if o not in own])
		if r.returncode == 0:
			late = ["-Os", "-flto", "-ffunction-sections", "-fdata-sections"] + self.flags if self.lto else []
			r = sh([self.cross + "gcc"] + self.core + late + ["-nostartfiles", "-nostdlib", "-static", "-no-pie",
				"-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments",
				"-Wl,-Map=" + self.map, "-Ttests/size/board.ld", "-o", self.out + "/a.elf"] +
			       own + ["-Wl,--start-group", lib, "-lc", "-lgcc", "-Wl,--end-group"])
		if r.returncode:
			raise Fail("does not link:\n" + r.stderr)

	def map_text(self):
		with open(os.path.join(ROOT, self.map), encoding="utf-8") as f:
			text = f.read()
		text = text[text.index("Linker script and memory map"):]
		return re.sub(r"\n (\.\S+|COMMON)\n\s+(0x)", r"\n \1 \2", text)  # long names break the line

	def modules(self):
		"""{module: {"text", "rodata", "data", "bss"}} of what the linker kept of the library."""
		found = {}
		for m in re.finditer(r"^ (\.\S+|COMMON)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S.*)$", self.map_text(),
				     re.MULTILINE):
			section, address, size, origin = m.group(1), int(m.group(2), 16), int(m.group(3), 16), m.group(4)
			if not size or not address:
				continue
			kind = next((k for p, k in SECTIONS if section.startswith(p)), None)
			member = re.search(r"([^/(]+)\(([^)]+)\)$", origin)
			if kind is None or not member:
				continue  # board.o and program.o are no archive members
			archive, obj = member.groups()
			if archive == "libc.a" and STRING_H.search(obj):
				continue
			name = obj[:-2].replace("@", "/") + ".c" if archive == "lib.a" else \
				("compiler helpers" if archive == "libgcc.a" else "C library: " + obj)
			entry = found.setdefault(name, dict.fromkeys(KINDS, 0))
			entry[kind] += size
		return found

	def text(self):
		"""Of the library, also when the linker has it from no archive: all but board, program, <string.h>."""
		found = 0
		for m in re.finditer(r"^ (\.\S+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S.*)$", self.map_text(), re.MULTILINE):
			section, address, size, origin = m.group(1), int(m.group(2), 16), int(m.group(3), 16), m.group(4)
			kind = next((k for p, k in SECTIONS if section.startswith(p)), "bss")
			foreign = re.search(r"/(board|program)\.o$", origin) or \
				("libc.a" in origin and STRING_H.search(origin.rsplit("(", 1)[-1]))
			if address and kind != "bss" and not foreign:
				found += size
		return found

	def kept_functions(self):
		"""(source file, function) of every function that the linker kept."""
		return {("src/" + m.group(2).replace("@", "/") + ".c", m.group(1)) for m in re.finditer(
			r"^ \.text\.(?:unlikely\.|hot\.|startup\.)?(\S+)\s+0x0*[1-9a-f][0-9a-f]*\s+0x[0-9a-f]+ "
			r"\S*lib\.a\((\S+)\.o\)$", self.map_text(), re.MULTILINE)}

	def graph(self):
		return Graph([obj[:-2] + ".ci" for obj in self.objects.values()], self.kept_functions(), self.sources)


def total(modules, *kinds):
	return sum(m[k] for m in modules.values() for k in kinds)


def public(graph):
	"""Every function that an application or a board calls: POSIX names and ampsock.h."""
	with open(os.path.join(ROOT, "include/ampsock.h"), encoding="utf-8") as f:
		names = set(re.findall(r"\b(amp_\w+)\(", f.read()))
	posix = {t for t in graph.own if ":" not in t and not t.startswith("amp_")}
	return names | posix


def not_in_full():
	"""Public functions that full.c does not keep: what only a Linux process has, and byte order, which is a macro, apart."""
	with open(os.path.join(ROOT, "tests/size/full.c"), encoding="utf-8") as f:
		kept = set(re.findall(r"^\tF\((\w+)\),$", f.read(), re.MULTILINE)) | {"amp_link_rpmsg", "amp_link_vsock"}
	left = {"htonl", "htons", "ntohl", "ntohs"}
	names = set()
	for path in glob.glob(os.path.join(ROOT, "include/**/*.h"), recursive=True):
		if path.endswith("ampsock_hosted.h"):
			continue
		with open(path, encoding="utf-8") as f:
			text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.DOTALL)
		names |= set(re.findall(r"^(?!#)[a-z][\w \t*]*?\b(\w+)\([^;{}]*\);", text, re.MULTILINE))
	return sorted(names - left - kept)


def kept_sources(modules):
	return {"src/" + name for name in modules}


def measure(name, cfg, build, check):
	"""On the main core: (what is recorded, what is shown besides). check: what is compared with a record that
	was made without this is compiled with fewer sockets only where there is memory that they have."""
	base = "%s/size/%s" % (build, name)
	whole = Build(base, MAIN, cfg["flags"], cfg["program"])
	modules, graph = whole.modules(), whole.graph()
	(stack, path), cycles = graph.deepest(public(graph))
	only = kept_sources(modules)

	like = (whole, {"src/" + m for m, sizes in modules.items() if sizes["data"] + sizes["bss"]}) if check else (None, ())
	few = Build(base + "-ram", MAIN, cfg["flags"] + cfg["ram"], cfg["program"], only, like=like)
	static = total(few.modules(), "data", "bss")
	count = int(re.search(r"SOCKETS=(\d+)", " ".join(cfg["ram"])).group(1))
	flags = [f for f in cfg["ram"] if "SOCKETS" not in f] + ["-DAMPSOCK_SOCKETS=%d" % (count + 4)]
	more = Build(base + "-more", MAIN, cfg["flags"] + flags, cfg["program"], only, like=like)
	# Four more, so that what is rounded to words is not lost.
	each = (total(more.modules(), "data", "bss") - static) / 4 * cfg["each"]
	return {
		"config": name, "text": total(modules, "text", "rodata", "data"), "ram_static": static,
		"ram_per_socket": int(each + 0.5), "stack_max": stack, "budget": cfg["budget"],
		"stack_path": [[graph.own.get(f, FOREIGN_STACK), f.replace("src/", "")] for f in path],
		"modules": modules,
	}, {"cycles": cycles, "unresolved": graph.unresolved, "dynamic": graph.dynamic}


def measure_other(target, name, cfg, build, only):
	"""On another core: flash and stack."""
	b = Build("%s/size/%s/%s" % (build, target, name), target, cfg["flags"], cfg["program"], only)
	modules, graph = b.modules(), b.graph()
	(stack, _), _ = graph.deepest(public(graph))
	return {"text": total(modules, "text", "rodata", "data"), "data_bss": total(modules, "data", "bss"),
		"stack_max": stack}


def measure_variants(cfg, build, only):
	"""Text on the main core by variant, None where it is no other program."""
	found = {}
	for i, (name, flags, lto) in enumerate(VARIANTS):
		loop = any(m.startswith("src/vsock/link_") for m in only)
		if lto or loop:
			found[name] = Build("%s/size/variant%d/%s" % (build, i, cfg["program"]), MAIN,
					    cfg["flags"] + flags, cfg["program"], only, lto).text()
	return found


def missed(result):
	"""Lines that say which budget is missed, by how much, and for text by which rooms."""
	lines = []
	for key, budget in result["budget"].items():
		if result[key] <= budget:
			continue
		lines.append("missed: %s %d of %d" % (key, result[key], budget))
		if key == "text":
			lines += ["  %6d %-9s %s" % row for row in doc.rooms(result["modules"])]
	return lines


def show(result, notes):
	print("\n%s" % result["config"])
	print("  %-34s" % "module" + "".join("%8s" % k for k in KINDS))
	for module, m in doc.by_size(result["modules"]):
		print("  %-34s" % module + "".join("%8d" % m[k] for k in KINDS))
	print("  %-34s" % "together" + "".join("%8d" % total(result["modules"], k) for k in KINDS))
	for line in missed(result):
		print("  " + line)
	print("  deepest path:")
	for size, f in result["stack_path"]:
		print("    %4d %s" % (size, f))
	for f in notes["dynamic"]:
		print("  note: dynamic stack in " + f)
	for what in ("cycles", "unresolved"):
		for line in notes[what][:10]:
			print("  note: %s: %s" % ("recursion" if what == "cycles" else "indirect call not followed", line))


def table(results, others):
	print("\n%-20s" % "config" + "".join("%26s" % k for k in KEYS))
	for r in results:
		cells = ["%d of %d (%d %%)" % (r[k], r["budget"][k], 100 * r[k] // r["budget"][k]) for k in KEYS]
		print("%-20s" % r["config"] + "".join("%26s" % c for c in cells))
	if others:
		print("\n%-24s" % "text / stack" + "".join("%20s" % r["config"] for r in results))
	for target, configs in others.items():
		print("%-24s" % TARGETS[target][0] + "".join(
			"%20s" % ("%(text)d / %(stack_max)d" % configs[r["config"]]) for r in results))


class Tap:
	def __init__(self):
		self.n = self.bad = 0

	def ok(self, good, text, *why):
		self.n += 1
		self.bad += not good
		print("%s %d - %s" % ("ok" if good else "not ok", self.n, text))
		if not good:
			print("".join("# %s\n" % w for w in why), end="")


def check(results, notes, recorded):
	"""Exactly what is recorded, no call escapes the stack figure, and docs/size.md is of today."""
	tap = Tap()
	same = recorded.get("compilers", {}).get(TARGETS[MAIN][0]) == compiler(TARGETS[MAIN][1])
	if not same:
		print("# recorded with another compiler: 2 % more is allowed")
	for r, note in zip(results, notes):
		old = next((o for o in recorded.get("results", []) if o["config"] == r["config"]), {})
		for key in KEYS:
			was = old.get(key, -1)
			tap.ok(r[key] == was if same else r[key] <= was * 1.02,
			       "size of %s: %s %d, recorded %d" % (r["config"], key, r[key], was),
			       "by module: `make size`; if it is meant: `make size-record`, and say why in the commit")
		tap.ok(not (note["cycles"] or note["unresolved"] or note["dynamic"]),
		       "stack of %s: every call followed" % r["config"],
		       *note["cycles"] + note["unresolved"] + note["dynamic"])
	missing = not_in_full()
	tap.ok(not missing, "size of full: every public function is kept", "tests/size/full.c has not: " + ", ".join(missing))
	for path in doc.stale(recorded):
		tap.ok(False, "%s says what is recorded" % path, "`make size-record` writes its tables")
	if not doc.stale(recorded):
		tap.ok(True, "docs/size.md says what is recorded")
	print("1..%d" % tap.n)
	return 1 if tap.bad else 0


def read_record():
	if not os.path.exists(RECORD):
		return {}
	with open(RECORD, encoding="utf-8") as f:
		return json.load(f)


def write_record(results, others, variants):
	record = {
		"variants": variants or read_record().get("variants", {}),
		"compilers": {t[0]: compiler(t[1]) for t in TARGETS.values()},
		"results": results,
		"targets": dict(read_record().get("targets", {}), **{TARGETS[t][0]: c for t, c in others.items()}),
	}
	with open(RECORD, "w", encoding="utf-8") as f:
		f.write(doc.compact(record))
	doc.write(record)


def main():
	p = argparse.ArgumentParser()
	p.add_argument("--build", default="build")
	p.add_argument("--check", action="store_true")
	p.add_argument("--record", action="store_true")
	p.add_argument("--target", action="append", choices=TARGETS, help="these other cores only")
	opt = p.parse_args()
	results, notes, failed = [], [], []
	for name, cfg in CONFIGS.items():
		try:
			result, note = measure(name, cfg, opt.build, opt.check)
		except Fail as e:
			failed.append(name)
			print("not ok - size of %s" % name if opt.check else "%s:" % name)
			print("\n".join("# " + l for l in str(e).splitlines()[:40]))
			continue
		results.append(result)
		notes.append(note)
		if not opt.check:
			show(result, note)
	others = {}
	for target in [] if opt.check or failed else (opt.target or TARGETS):
		if target == MAIN:
			continue
		others[target] = {}
		for r in results:
			try:
				others[target][r["config"]] = measure_other(target, r["config"], CONFIGS[r["config"]],
									   opt.build, kept_sources(r["modules"]))
			except Fail as e:
				print("%s for %s: %s" % (r["config"], TARGETS[target][0], e))
				return 1
	variants = {}
	for r in [] if opt.check or failed else results:
		try:
			variants[r["config"]] = measure_variants(CONFIGS[r["config"]], opt.build,
								 kept_sources(r["modules"]))
		except Fail as e:
			print("%s: %s" % (r["config"], e))
			return 1
	if opt.check:
		return 1 if failed else check(results, notes, read_record())
	table(results, others)
	for name, _, _ in VARIANTS:
		print("%-24s" % name.replace("`", "")[:23] + "".join("%20s" % variants[r["config"]].get(name, "-")
								     for r in results if r["config"] in variants))
	with open(os.path.join(ROOT, opt.build, "size.json"), "w", encoding="utf-8") as f:
		f.write(doc.compact({"results": results, "targets": others, "variants": variants}))
	if opt.record and not failed:
		write_record(results, others, variants)
	return 1 if failed else 0


if __name__ == "__main__":
	sys.exit(main())
