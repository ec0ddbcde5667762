# SPDX-License-Identifier: BSD-3-Clause
"""What bench.py makes of its results: a table, charts, and docs/performance.md's tables; and whether
instruction counts are those that are recorded."""

import json
import os
import re
import subprocess

from common import ROOT

RECORD = os.path.join(ROOT, "tests/bench/recorded.json")
DOC = os.path.join(ROOT, "docs/performance.md")
BLOCK = re.compile(r"(<!-- bench ([a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)
# Exactly the same on every machine with the same compilers: guarded.
COUNTED = re.compile(r"^(insn|sockets)_|^qemu_.*_rt_insn$")
FEWER_TOO = re.compile(r"^qemu_")  # fewer is what a busy machine can make of it
SAME_WORK = ("tcp", "placement", "latency")
SLACK, OTHER_SLACK = .02, .10
TITLES = {"limits": "What nobody on this machine beats", "tcp": "Through the proxy, as ratios to a direct connection", "confine": "The proxy, as a ratio to itself without confinement",
	  "placement": "One stream by placement, as ratios to a direct connection", "latency": "A byte there and back, us",
	  "flows": "Cost in the proxy by flows on one link", "links": "Cost in the proxy by links",
	  "sockets": "Instructions a message by sockets in firmware", "insn": "Instructions a message, one way, both ends",
	  "qemu": "Firmware in QEMU, AF_INET over vsock", "rpmsg": "AF_RPMSG between processes, and a Cortex-M3 in QEMU"}


def verdict(r):
	"""What the bar says: "met", "missed", or nothing."""
	if r["bar"] is None:
		return ""
	value = r["ratio"] if r["ratio"] is not None else r["ours"]
	return "met" if (value <= r["bar"] if r["lower"] else value >= r["bar"]) else "missed"


def beside_best(r):
	"""How many times better than the best of the peers in that run, where they do the same work."""
	values = [p["value"] for p in r["peers"].values() if p["value"]] if r["group"] in SAME_WORK else []
	if not values or not r["ours"]:
		return ""
	return "%.2f" % (min(values) / r["ours"] if r["lower"] else r["ours"] / max(values))


def number(x):
	return "-" if x is None else "%.0f" % x if abs(x) >= 1000 else "%g" % x


def bounds(spread):
	return " (%s..%s)" % tuple(map(number, spread)) if spread else ""


def table(results):
	print("%-28s %30s %26s %6s  %-12s %s" % ("bench", "ours (spread)", "direct (spread)", "ratio", "bar", "x best peer; peers: value, ratio"))
	for r in results:
		peers = ", ".join("%s %s%s" % (k, number(p["value"]), " %.2f" % p["ratio"] if p["ratio"] else "")
				  for k, p in r["peers"].items())
		bar = "%s%s %s" % ("<=" if r["lower"] else ">=", r["bar"], verdict(r)) if r["bar"] is not None else ""
		print("%-28s %30s %26s %6s  %-12s %s%s" % (r["bench"],
			"%s%s %s" % (number(r["ours"]), bounds(r["spread"]), r["unit"][:5]),
			number(r["direct"]) + bounds(r["direct_spread"]), "%.2f" % r["ratio"] if r["ratio"] else "-", bar,
			"%sx; %s" % (beside_best(r), peers) if beside_best(r) else peers, " [idle machine]" if r["idle"] else ""))


# --- charts ------------------------------------------------------------------------------

def series(rows):
	"""Bars: every figure as a ratio to direct where there is one, else, and its peers', in its own unit."""
	names = ["ours"] + sorted({k for r in rows for k in r["peers"]})
	lines = []
	for r in rows:
		cells = []
		for n in names:
			p = r["peers"].get(n)
			value = (r["direct"] and r["ratio"] or r["ours"]) if n == "ours" else p and (p["ratio"] or p["value"])
			cells.append("%g" % value if value else "NaN")
		lines.append(r["bench"].replace("_", " ") + "\t" + "\t".join(cells))
	return names, lines


def by_number(rows):
	"""Lines: name_N, the figure as a ratio to the first of its kind."""
	names, points = [], {}
	for r in rows:
		name, _, n = r["bench"].rpartition("_")
		if name not in names:
			names.append(name)
		points.setdefault(int(n), {})[name] = r["ratio"] or 1
	return names, ["%d\t" % n + "\t".join("%g" % p[x] if x in p else "NaN" for x in names)
		       for n, p in sorted(points.items())]


def chart(build, group, rows):
	"""build/bench-GROUP.svg; False when gnuplot is not there."""
	base = "%s/bench-%s" % (build, group)
	lines_of = group in ("flows", "links", "sockets")
	names, lines = by_number(rows) if lines_of else series(rows)
	with open(os.path.join(ROOT, base + ".tsv"), "w", encoding="utf-8") as f:
		f.write("figure\t" + "\t".join(n.replace("_", " ") for n in names) + "\n" + "\n".join(lines) + "\n")
	script = ["set terminal svg size 1100,520 font 'sans,12' background 'white'", "set output '%s.svg'" % base,
		  "set datafile separator '\\t'", "set title '%s'" % TITLES[group], "set key outside right noenhanced",
		  "set grid y", "set yrange [0:*]"]
	if lines_of:
		script += ["set logscale x", "set xlabel 'how many'", "set ylabel 'cost, 1 for the first'",
			   "set style data linespoints"]
		if any(r["bar"] for r in rows):
			script.append("set arrow from graph 0,first 1.1 to graph 1,first 1.1 nohead dashtype 2")
		plots = ["'%s.tsv' using 1:%d title columnheader" % (base, i + 2) for i in range(len(names))]
	else:
		script += ["set style data histogram", "set style fill solid 0.8", "set xtics rotate by -35 noenhanced"]
		if group in ("latency", "limits", "qemu", "rpmsg"):
			script += ["set logscale y", "set yrange [*:*]"]
		plots = ["'%s.tsv' using %d:xtic(1) title columnheader" % (base, i + 2) for i in range(len(names))]
	script.append("plot " + ", ".join(plots))
	try:
		r = subprocess.run(["gnuplot"], input="\n".join(script) + "\n", stdout=subprocess.PIPE,
				   stderr=subprocess.STDOUT, text=True, check=False, cwd=ROOT, timeout=60)
	except OSError:
		return False
	if r.returncode:
		print("gnuplot, %s: %s" % (group, r.stdout[-300:]))
	return r.returncode == 0


def charts(build, results):
	done = []
	for group in TITLES:
		rows = [r for r in results if r["group"] == group]
		if rows and chart(build, group, rows):
			done.append("%s/bench-%s.svg" % (build, group))
	return done


# --- what is recorded --------------------------------------------------------------------

def tools():
	"""Whoever has other ones gets other counts."""
	found = {}
	for name, argv in (("gcc", ["gcc", "-dumpfullversion"]), ("arm-none-eabi-gcc", ["arm-none-eabi-gcc", "-dumpfullversion"]),
			   ("aarch64-linux-gnu-gcc", ["aarch64-linux-gnu-gcc", "-dumpfullversion"]),
			   ("riscv64-unknown-elf-gcc", ["riscv64-unknown-elf-gcc", "-dumpfullversion"]),
			   ("valgrind", ["valgrind", "--version"]), ("libc", ["getconf", "GNU_LIBC_VERSION"])):
		r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
		found[name] = r.stdout.strip()
	return found


def machine():
	"""What a person wants to know who reads the figures."""
	with open("/proc/cpuinfo", encoding="utf-8") as f:
		model = re.search(r"^model name\s*: (.*)$", f.read(), re.MULTILINE)
	return {"cpus": os.cpu_count(), "cpu": model.group(1) if model else os.uname().machine,
		"kernel": os.uname().release.split("-")[0], "load": round(os.getloadavg()[0], 1)}


def read_record():
	if not os.path.exists(RECORD):
		return {}
	with open(RECORD, encoding="utf-8") as f:
		return json.load(f)


def write_json(path, what):
	"""A result a line, so that a difference can be read."""
	lines = ",\n".join("  " + json.dumps(r, sort_keys=True) for r in what["results"])
	with open(path, "w", encoding="utf-8") as f:
		f.write('{\n "tools": %s,\n "machine": %s,\n "results": [\n%s\n ]\n}\n' % (
			json.dumps(what["tools"], sort_keys=True), json.dumps(what["machine"], sort_keys=True), lines))


def record(results, where):
	"""Replaces what was measured now, keeps the rest."""
	old = read_record()
	new = {r["bench"]: r for r in results}
	kept = [new.pop(r["bench"], r) for r in old.get("results", [])] + list(new.values())
	if "machine" in old and not any(r["idle"] for r in results):
		where = old["machine"]  # counts do not ask what else it did
	write_json(RECORD, {"tools": tools(), "machine": where, "results": kept})
	with open(DOC, encoding="utf-8") as f:
		text = f.read()
	with open(DOC, "w", encoding="utf-8") as f:
		f.write(fill(text, read_record()))


def rows_of(results):
	best = any(beside_best(r) for r in results)
	out = "| | ours | direct | ratio | bar | %speers |\n|---|---:|---:|---:|---:|%s---|\n" % (
		("to the best peer | ", "---:|") if best else ("", ""))
	for r in results:
		bar = "%s %s" % ("≤" if r["lower"] else "≥", r["bar"]) if r["bar"] is not None else ""
		if verdict(r) == "missed":
			bar = "**" + bar + "**"
		out += "| %s | %s%s %s | %s%s | %s | %s | %s%s |\n" % (
			r["bench"], number(r["ours"]), bounds(r["spread"]), r["unit"],
			number(r["direct"]) if r["direct"] is not None else "", bounds(r["direct_spread"]),
			"%.2f" % r["ratio"] if r["ratio"] else "", bar,
			beside_best(r) + " | " if best else "",
			", ".join("%s %s" % (k, "%.2f" % p["ratio"] if p["ratio"] else number(p["value"]) + (bounds(p["spread"]) if r.get("to") else ""))
				  for k, p in r["peers"].items()))
	return out


def table_machine(record):
	m = record["machine"]
	busy = m["load"] > 0.5
	return "%d × %s, Linux %s, load average at the start: %s%s\n" % (m["cpus"], m["cpu"], m["kernel"], m["load"],
		". **The machine was busy: of rates and latencies read the ratios, and those with a grain of salt.**"
		if busy else "")


def fill(text, record):
	def block(m):
		if m.group(2) == "machine":
			return m.group(1) + table_machine(record) + m.group(3)
		return m.group(1) + rows_of([r for r in record["results"] if r["group"] == m.group(2)]) + m.group(3)

	return BLOCK.sub(block, text)


def guard(results):
	"""[(good, text)]: counts within 2 % of what is recorded, and the document of what is recorded."""
	known = read_record()
	slack = SLACK if known.get("tools") == tools() else OTHER_SLACK
	was = {r["bench"]: r["ours"] for r in known.get("results", [])}
	found = []
	for r in results:
		if COUNTED.match(r["bench"]):
			old = was.get(r["bench"])
			more = r["ours"] - old if old is not None else 0
			good = old is not None and (abs(more) <= old * slack or (more < 0 and FEWER_TOO.match(r["bench"])))
			found.append((good, "%s: %s, recorded %s (within %d %%: else make bench-record, and say why)" % (
				r["bench"], number(r["ours"]), old, slack * 100)))
	with open(DOC, encoding="utf-8") as f:
		text = f.read()
	found.append((bool(BLOCK.search(text)) and bool(known) and fill(text, known) == text,
		      "docs/performance.md says what is recorded"))
	return found
