#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Flash, RAM and stack of the library on a Cortex-M4, per configuration.

	size.py --build DIR [--check | --record]

Text is what the linker kept of the library, its transport and port, and compiler helpers:
.text + .rodata + the image of .data. Board start-up, the program and <string.h> are left
out. Flags: arm-none-eabi-gcc -Os -mcpu=cortex-m4 -mthumb, --gc-sections, the default
configuration but for the families.

ram_static       .data + .bss of the library with 4 sockets and rings of 1 KiB.
ram_per_socket   what one socket more costs in .bss, no ring added; AF_INET with its carrier.
stack_max        deepest path below any public function, from the compiler's own call graph.
		 An indirect call through a slot of an operations table (s->fam->send) may reach
		 every function that is put into a slot of that name; the tables below say where
		 fewer are meant. Interrupts come on top.
"""

import argparse
import concurrent.futures
import glob
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CROSS = "arm-none-eabi-"
FLAGS = ["-Os", "-mcpu=cortex-m4", "-mthumb", "-std=c11", "-Wall", "-Wextra", "-Werror",
	 "-ffunction-sections", "-fdata-sections", "-fno-common", "-fstack-usage",
	 "-fcallgraph-info=su,da", "-DAMP_PORT_THREADS=0", "-Iinclude", "-Isrc"]
SOURCES = ["src/socket/*.c", "src/af_inet/*.c", "src/af_rpmsg/*.c", "src/vsock/*.c", "src/conn/*.c",
	   "src/wire/*.c", "src/virtio/vq_split.c", "src/virtio/mmio.c", "src/virtio/mmio_why.c",
	   "src/virtio/remoteproc.c", "src/port/baremetal.c", "src/posix/*.c"]

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
# Functions without a graph of their own (C library, compiler helpers): newlib's memcpy
# pushes five registers, the division helpers four.
FOREIGN_STACK = 24

# Which tables a call can mean, by what stands before the slot: (text, functions that may be
# meant). Without it every function ever put into a slot of that name is a target.
RECEIVERS = [
	# On this core the only transport is virtio-mmio.
	(r"^(vd|d->vd)->ops->|^ops->(probe|accept|queue_\w+|run|config|events|notify|reset)\b", r"^src/virtio/mmio"),
	# The engine's owner is af_vsock.c, or af_rpmsg's links.
	(r"^vs->ops->", r"^src/vsock/(?!vsock(_conn|_request)?\.c)"),
	# Ways of the engine, and the one door of its streams.
	(r"^vs->path->", r"^src/(vsock/xport_loop|af_rpmsg/rpmsg_stream)\.c:(loop|amp_rstream_path)_"),
	(r"^(rs->door|way)->", r"^src/af_rpmsg/rpmsg_stream\.c:bus_"),
	(r"^(bus|rs)->ops->", r"^src/af_rpmsg/(?!rpmsg\.c|rpmsg_stream)"),
	(r"(^|->)fam->", r"^(?!src/virtio/|src/vsock/link_driver)"),
	# Runners: links and the session.
	(r"^(r|runner|run)->(run|arm|kick_due|kick|stats)\b", r"^(?!src/virtio/)"),
]
# The same by caller: AF_INET's carrier is a socket of another family, never of AF_INET.
NARROW = [
	(r"^src/af_inet/", r"^(?!src/af_inet/)"),
	(r"^src/af_rpmsg/rpmsg_listen", r"^src/af_rpmsg/"),
]
# Recursion that ends: how often a function can be on the way, and why.
RECURSION = {
	"amp_vsock_stray_rst": (1, "on the loop an RST is received at once, and never answered"),
	"amp_rpmsg_close_family": (2, "a listener closes its children, which are no listeners"),
}
# Calls of functions that are not the library's: their stack is the board's or the program's.
OUTSIDE = [
	r"clock->(ticks|alarm)\(",	# the board's clock: reads a counter, writes a register
	r"ops->(read|write|close|poll)\(fd",	# the board's console
	r"^(link_fn|log_fn|fn)\(",	# the program's hooks
	r"rs->door->redirect\(",	# a bus has none
	r"rp->ops->notify\(",	# the board's mailbox
]


def sh(argv, **kw):
	return subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
			      text=True, check=False, **kw)


class Fail(Exception):
	pass


def sources():
	found = []
	for pattern in SOURCES:
		found += sorted(glob.glob(os.path.join(ROOT, pattern)))
	# The hosted port and what belongs to it stay out.
	return [os.path.relpath(p, ROOT) for p in found if "/posix.c" not in p or "/port/" not in p]


def compile_all(out, flags, program):
	"""Objects of one configuration; program and board keep their names, the library its rooms'."""
	os.makedirs(os.path.join(ROOT, out), exist_ok=True)
	for stale in glob.glob(os.path.join(ROOT, out, "*")):
		os.unlink(stale)
	jobs = [(src, "%s/%s.o" % (out, src[4:-2].replace("/", "@"))) for src in sources()
		if "-DAMPSOCK_INET=0" not in flags or not src.startswith("src/af_inet/")]
	jobs += [("tests/size/board.c", out + "/board.o"), ("tests/size/" + program, out + "/program.o")]

	def one(job):
		src, obj = job
		return sh([CROSS + "gcc"] + FLAGS + flags + ["-c", src, "-o", obj])

	with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
		for (src, _), r in zip(jobs, pool.map(one, jobs)):
			if r.returncode:
				raise Fail("%s does not compile:\n%s" % (src, r.stderr))
	return [obj for _, obj in jobs]


def link(out, objects):
	elf, mapfile = out + "/a.elf", out + "/a.map"
	lib = out + "/lib.a"
	own = [o for o in objects if os.path.basename(o) in ("board.o", "program.o")]
	r = sh([CROSS + "ar", "rcs", lib] + [o for o in objects if o not in own])
	if r.returncode == 0:
		r = sh([CROSS + "gcc", "-mcpu=cortex-m4", "-mthumb", "-nostartfiles", "-nostdlib",
			"-Wl,--gc-sections", "-Wl,-Map=" + mapfile, "-Ttests/size/board.ld", "-o", elf] +
		       own + ["-Wl,--start-group", lib, "-Wl,--end-group", "-lc", "-lgcc"])
	if r.returncode:
		raise Fail("does not link:\n" + r.stderr)
	return mapfile


def read_map(path):
	"""{module: {"text", "data", "bss"}} of what the linker kept of the library."""
	with open(os.path.join(ROOT, path), encoding="utf-8") as f:
		text = f.read()
	text = text[text.index("Linker script and memory map"):]
	text = re.sub(r"\n (\.\S+|COMMON)\n\s+(0x)", r"\n \1 \2", text)  # long names break the line
	modules = {}
	for m in re.finditer(r"^ (\.\S+|COMMON)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S.*)$", text, re.MULTILINE):
		section, address, size, origin = m.group(1), int(m.group(2), 16), int(m.group(3), 16), m.group(4)
		if not size or not address:
			continue
		kind = next((k for p, k in ((".text", "text"), (".rodata", "text"), (".data", "data"),
					    (".bss", "bss"), ("COMMON", "bss")) if section.startswith(p)), None)
		member = re.search(r"([^/(]+)\(([^)]+)\)$", origin)
		if kind is None or not member:
			continue  # board.o and program.o are no archive members
		archive, obj = member.groups()
		if archive == "libc.a" and STRING_H.search(obj):
			continue
		name = obj[:-2].replace("@", "/") + ".c" if archive == "lib.a" else \
			("compiler helpers" if archive == "libgcc.a" else "C library: " + obj)
		entry = modules.setdefault(name, {"text": 0, "data": 0, "bss": 0})
		entry[kind] += size
	return modules


def kept_functions(path):
	"""(source file, function) of every function that the linker kept."""
	with open(os.path.join(ROOT, path), encoding="utf-8") as f:
		text = f.read()
	text = text[text.index("Linker script and memory map"):]
	text = re.sub(r"\n (\.\S+)\n\s+(0x)", r"\n \1 \2", text)
	return {("src/" + m.group(2).replace("@", "/") + ".c", m.group(1)) for m in re.finditer(
		r"^ \.text\.(?:unlikely\.|hot\.|startup\.)?(\S+)\s+0x0*[1-9a-f][0-9a-f]*\s+0x[0-9a-f]+ "
		r"\S*lib\.a\((\S+)\.o\)$", text, re.MULTILINE)}


def total(modules, *kinds):
	return sum(m[k] for m in modules.values() for k in kinds)


class Graph:
	"""The compiler's call graph of what was linked, indirect calls resolved."""

	def __init__(self, out, kept):
		self.own, self.edges, self.indirect, self.dynamic = {}, {}, [], []
		self.kept, self.kept_names = kept, {name for _, name in kept}
		self.where = {}  # function -> file:function
		self.all_names = set()  # linked or not
		for path in sorted(glob.glob(os.path.join(ROOT, out, "*.ci"))):
			if os.path.basename(path) in ("board.ci", "program.ci"):
				continue
			with open(path, encoding="utf-8") as f:
				self.read(f.read())
		self.slots = self.find_slots()
		self.unresolved = []
		for caller, where in self.indirect:
			self.resolve(caller, where)

	def read(self, text):
		for m in re.finditer(r'^node: { title: "([^"]+)" label: "([^"]*)"(.*)}', text, re.MULTILINE):
			self.all_names.add(m.group(1).split(":")[-1])
			size = re.search(r"\\n(\d+) bytes \((\w+)", m.group(2))
			if size and self.is_kept(m.group(1)):
				title = m.group(1)
				self.own[title] = int(size.group(1))
				origin = re.search(r"\\n(src/[^:]+):\d+:\d+\\n", m.group(2))
				self.where[title] = "%s:%s" % (origin.group(1) if origin else "", title.split(":")[-1])
				if size.group(2) != "static":
					self.dynamic.append(m.group(1))
		for m in re.finditer(r'^edge: { sourcename: "([^"]+)" targetname: "([^"]+)"(?: label: "([^"]*)")?',
				     text, re.MULTILINE):
			caller, callee, where = m.groups()
			if not self.is_kept(caller):
				continue
			if callee == "__indirect_call":
				self.indirect.append((caller, where or ""))
			else:
				self.edges.setdefault(caller, set()).add(callee)

	def is_kept(self, title):
		"""Static functions carry their file's name: src/socket/msg.c:do_recv."""
		path, colon, name = title.rpartition(":")
		return (path, name) in self.kept if colon else name in self.kept_names

	def find_slots(self):
		"""slot name -> functions that are ever put into a slot of that name."""
		names = {}
		for title in self.own:
			names.setdefault(title.split(":")[-1], []).append(title)
		slots = {}
		for path in sources() + ["src/socket/families.def"]:
			with open(os.path.join(ROOT, path), encoding="utf-8") as f:
				text = f.read()
			for m in re.finditer(r"[.>](\w+)\s*=\s*&?(\w+)\s*[,;}]", text):
				# Known even if nothing of it is linked: then the slot is NULL.
				if m.group(2) in self.all_names:
					slots.setdefault(m.group(1), set())
				for title in names.get(m.group(2), []):
					# A static function is meant in its own file only.
					if ":" not in title or title.split(":")[0] == path:
						slots[m.group(1)].add(title)
		return slots

	def resolve(self, caller, where):
		m = re.match(r"(.*):(\d+):(\d+)$", where)
		text = ""
		if m and os.path.exists(os.path.join(ROOT, m.group(1))):
			with open(os.path.join(ROOT, m.group(1)), encoding="utf-8") as f:
				line = f.read().split("\n")[int(m.group(2)) - 1]
			text = line[int(m.group(3)) - 1:]
		if any(re.search(p, text) for p in OUTSIDE):
			return
		call = re.match(r"\(?\*?([\w\s>.\[\]-]*?)(\w+)\)?\s*\(", text)
		targets = self.slots.get(call.group(2) if call else "")
		if targets is None:
			self.unresolved.append("%s: %s" % (where, text[:50]))
			return
		for pattern, keep in RECEIVERS:
			if re.search(pattern, text):
				targets = {t for t in targets if re.search(keep, self.where[t])}
		for who, keep in NARROW:
			if re.search(who, where):
				targets = {t for t in targets if re.search(keep, self.where[t])}
		self.edges.setdefault(caller, set()).update(targets)

	def deepest(self, roots):
		"""(bytes, path). A cycle that RECURSION does not bound is an error."""
		memo, on_path, cycles = {}, [], set()
		bounded = sorted(RECURSION)

		def walk(f, entered):
			"""entered: how often each bounded function is on the way here."""
			if f in bounded:
				i = bounded.index(f)
				if entered[i] == RECURSION[f][0]:
					return 0, []
				entered = entered[:i] + (entered[i] + 1,) + entered[i + 1:]
			state = (f, entered)
			if state in memo:
				return memo[state]
			if state in on_path:
				turn = [g for g, _ in on_path[on_path.index(state):]]
				cycles.add(" -> ".join(turn + [f]))
				return 0, []
			if f not in self.own:
				return (0, [f]) if f.startswith("amp_") else (FOREIGN_STACK, [f])
			on_path.append(state)
			best = (0, [])
			for callee in sorted(self.edges.get(f, ())):
				best = max(best, walk(callee, entered), key=lambda x: x[0])
			on_path.pop()
			memo[state] = (self.own[f] + best[0], [f] + best[1])
			return memo[state]

		none = (0,) * len(bounded)
		deep = max((walk(r, none) for r in sorted(roots) if r in self.own), key=lambda x: x[0],
			   default=(0, []))
		return deep, sorted(cycles)


def public(graph):
	"""Every function that an application or a board calls: POSIX names and ampsock.h."""
	with open(os.path.join(ROOT, "include/ampsock.h"), encoding="utf-8") as f:
		names = set(re.findall(r"\b(amp_\w+)\(", f.read()))
	posix = {t for t in graph.own if ":" not in t and not t.startswith("amp_")}
	return names | posix


def measure(name, cfg, build):
	base = "%s/size/%s" % (build, name)
	objects = compile_all(base, cfg["flags"], cfg["program"])
	modules = read_map(link(base, objects))
	graph = Graph(base, kept_functions(base + "/a.map"))
	roots = public(graph)
	(stack, path), cycles = graph.deepest(roots)

	ram = base + "-ram"
	objects = compile_all(ram, cfg["flags"] + cfg["ram"], cfg["program"])
	static = total(read_map(link(ram, objects)), "data", "bss")
	count = int(re.search(r"SOCKETS=(\d+)", " ".join(cfg["ram"])).group(1))
	more = base + "-more"
	flags = [f for f in cfg["ram"] if "SOCKETS" not in f] + ["-DAMPSOCK_SOCKETS=%d" % (count + 4)]
	objects = compile_all(more, cfg["flags"] + flags, cfg["program"])
	# Four more, so that what is rounded to words is not lost.
	each = (total(read_map(link(more, objects)), "data", "bss") - static) / 4 * cfg["each"]
	return {
		"config": name, "text": total(modules, "text", "data"), "ram_static": static,
		"ram_per_socket": int(each + 0.5), "stack_max": stack, "budget": cfg["budget"],
	}, modules, {"path": path, "cycles": cycles, "unresolved": graph.unresolved,
		     "dynamic": graph.dynamic, "own": graph.own}


# What a room's bytes are spent on: said where a configuration misses its budget.
SPENT_ON = {
	"socket": "blocking, time-outs, poll, descriptors, receive rings, errno",
	"posix": "the POSIX names",
	"af_inet": "session, control requests, the offload protocol's headers",
	"af_rpmsg": "bus, name service, raw messages with hold limits, stream headers, links and restarts",
	"vsock": "connection states, credit, half-close, what is owed; rpmsg's streams have them too",
	"virtio": "rings with every index, id, address and length checked; table and epochs, or mmio",
	"port": "waiting without a lost wake-up, the clock",
	"wire": "headers",
}


def missed(result, modules):
	"""Lines that say which budget is missed, by how much, and for text by which rooms and for what."""
	lines = []
	for key, budget in result["budget"].items():
		if result[key] <= budget:
			continue
		lines.append("missed: %s %d of %d" % (key, result[key], budget))
		if key != "text":
			continue
		rooms = {}
		for module, m in modules.items():
			room = module.split("/")[0]
			rooms[room] = rooms.get(room, 0) + m["text"] + m["data"]
		lines += ["  %6d %-9s %s" % (n, room, SPENT_ON.get(room, "compiler helpers"))
			  for room, n in sorted(rooms.items(), key=lambda x: -x[1]) if n]
	return lines


def show(result, modules, stack):
	print("\n%s" % result["config"])
	print("  %-34s %7s %7s %7s" % ("module", "text", "data", "bss"))
	for module, m in sorted(modules.items(), key=lambda x: -x[1]["text"] - x[1]["data"]):
		print("  %-34s %7d %7d %7d" % (module, m["text"], m["data"], m["bss"]))
	for line in missed(result, modules):
		print("  " + line)
	print("  deepest path:")
	for f in stack["path"]:
		print("    %4d %s" % (stack["own"].get(f, FOREIGN_STACK), f.replace("src/", "")))
	for f in stack["dynamic"]:
		print("  note: dynamic stack in " + f)
	for what in ("cycles", "unresolved"):
		for line in stack[what][:10]:
			print("  note: %s: %s" % ("recursion" if what == "cycles" else "indirect call not followed", line))


def table(results):
	keys = ["text", "ram_static", "ram_per_socket", "stack_max"]
	print("\n%-20s" % "config" + "".join("%26s" % k for k in keys))
	for r in results:
		cells = ["%d of %d (%d %%)" % (r[k], r["budget"][k], 100 * r[k] // r["budget"][k]) for k in keys]
		print("%-20s" % r["config"] + "".join("%26s" % c for c in cells))


def check(results, stacks, recorded):
	"""TAP: nothing grows by more than 2 % in silence; no call escapes the stack figure."""
	n = 0
	bad = 0
	for r, stack in zip(results, stacks):
		old = next((o for o in recorded if o["config"] == r["config"]), None)
		for key in ("text", "ram_static", "ram_per_socket", "stack_max"):
			n += 1
			limit = old[key] * 1.02 if old else -1
			ok = r[key] <= limit
			bad += not ok
			print("%s %d - size of %s: %s %d, recorded %s" % ("ok" if ok else "not ok", n,
				r["config"], key, r[key], old[key] if old else "never"))
		n += 1
		ok = not stack["cycles"] and not stack["unresolved"] and not stack["dynamic"]
		bad += not ok
		print("%s %d - stack of %s: every call followed" % ("ok" if ok else "not ok", n, r["config"]))
		for line in stack["cycles"] + stack["unresolved"] + stack["dynamic"]:
			print("# " + line)
	if bad:
		print("# a growth that is meant: `make size-record`, and say why in the commit")
	print("1..%d" % n)
	return 1 if bad else 0


def main():
	p = argparse.ArgumentParser()
	p.add_argument("--build", default="build")
	p.add_argument("--check", action="store_true")
	p.add_argument("--record", action="store_true")
	opt = p.parse_args()
	record = os.path.join(ROOT, "tests/size/recorded.json")
	results, stacks = [], []
	failed = False
	for name, cfg in CONFIGS.items():
		try:
			result, modules, stack = measure(name, cfg, opt.build)
		except Fail as e:
			failed = True
			print("not ok - size of %s" % name if opt.check else "%s:" % name)
			print("\n".join("# " + l for l in str(e).splitlines()[:40]))
			continue
		results.append(result)
		stacks.append(stack)
		if not opt.check:
			show(result, modules, stack)
	if not opt.check:
		table(results)
	if opt.check and failed:
		return 1
	os.makedirs(os.path.join(ROOT, opt.build), exist_ok=True)
	with open(os.path.join(ROOT, opt.build, "size.json"), "w", encoding="utf-8") as f:
		json.dump(results, f, indent=1)
		f.write("\n")
	if opt.record and not failed:
		with open(record, "w", encoding="utf-8") as f:
			json.dump([{k: v for k, v in r.items() if k != "budget"} for r in results], f, indent=1)
			f.write("\n")
	if opt.check:
		recorded = []
		if os.path.exists(record):
			with open(record, encoding="utf-8") as f:
				recorded = json.load(f)
		return check(results, stacks, recorded)
	return 1 if failed else 0


if __name__ == "__main__":
	sys.exit(main())
