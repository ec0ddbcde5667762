# SPDX-License-Identifier: BSD-3-Clause
"""How deep a call can go: the compiler's own call graph (-fcallgraph-info=su) of what was
linked, with indirect calls resolved.

An indirect call through a slot of an operations table (s->fam->send) may reach every function
that is put into a slot of that name; the tables below say where fewer are meant.
"""

import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Functions without a graph of their own (C library, compiler helpers): newlib's memcpy
# pushes five registers, the division helpers four.
FOREIGN_STACK = 24

# Which tables a call can mean, by what stands before the slot: (text, functions that may be
# meant). Without it every function ever put into a slot of that name is a target.
RECEIVERS = [
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
# family.h: what is called by name where there is one of it. AMP_FAM(s->fam, bind)(s, ...): s->fam->bind(s, ...)
BY_NAME = re.compile(r"^AMP_(?:FAM|RUNNER)\(([^,]+), (\w+)\)\(")
# The same by caller: AF_INET's carrier is a socket of another family, never of AF_INET.
NARROW = [
	(r"^src/af_inet/", r"^(?!src/af_inet/)"),
	(r"^src/af_rpmsg/rpmsg_listen", r"^src/af_rpmsg/"),
]
# Recursion that ends: how often a function can be on the way, and why.
RECURSION = {
	"amp_rpmsg_close_family": (2, "a listener closes its children, which are no listeners"),
	"amp_vsock_unlisten": (1, "the same"),
}
# Calls of functions that are not the library's: their stack is the board's or the program's.
OUTSIDE = [
	r"clock->(ticks|alarm)\(",	# the board's clock: reads a counter, writes a register
	r"ops->(read|write|close|poll)\(fd",	# the board's console
	r"^(links\.fn|log_fn|fn)\(",	# the program's hooks
	r"rs->door->redirect\(",	# a bus has none
	r"rp->ops->notify\(",	# the board's mailbox
]


class Graph:
	"""The compiler's call graph of what was linked, indirect calls resolved."""

	def __init__(self, graphs, kept, sources):
		"""graphs: the .ci files; kept: {(file, function)}; sources: paths of the library."""
		self.sources = sources
		self.own, self.edges, self.indirect, self.dynamic = {}, {}, [], []
		self.kept, self.kept_names = kept, {name for _, name in kept}
		self.where = {}  # function -> file:function
		self.all_names = set()  # linked or not
		for path in sorted(graphs, key=os.path.basename):
			with open(os.path.join(ROOT, path), encoding="utf-8") as f:
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
		for path in self.sources + ["src/socket/families.def"]:
			with open(os.path.join(ROOT, path), encoding="utf-8") as f:
				text = f.read()
			puts = [m.groups() for m in re.finditer(r"[.>](\w+)\s*=\s*&?(\w+)\s*[,;}]", text)]
			for slot, fn in puts:
				# Known even if nothing of it is linked: then the slot is NULL.
				if fn in self.all_names:
					slots.setdefault(slot, set())
				for title in names.get(fn, []):
					# A static function is meant in its own file only.
					if ":" not in title or title.split(":")[0] == path:
						slots[slot].add(title)
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
		text = BY_NAME.sub(r"\1->\2(", text)
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
