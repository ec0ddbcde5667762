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
COUNTED = re.compile(r"^(insn|sockets|kicks)_|^qemu_.*_rt_insn$")
FEWER_TOO = re.compile(r"^qemu_")  # fewer is what a busy machine can make of it
SAME_WORK = ("tcp", "placement", "latency")
RATIOS = ("tcp", "confine", "placement", "latency")
LOGARITHMIC = ("latency", "limits", "qemu", "rpmsg", "placement", "size")
SLACK, OTHER_SLACK = .02, .10
TITLES = {"size": "Bytes on a Cortex-M4", "kicks": "Kicks of a burst of 8", "limits": "What nobody on this machine beats", "tcp": "Through the proxy, as ratios to a direct connection (cpu_s_per_gb: seconds, lower is better)", "confine": "The proxy, as a ratio to itself without confinement",
	  "placement": "One stream by placement, as ratios to a direct connection (all_cpu: lower is better)", "latency": "A byte there and back, as a multiple of a direct connection (lat_p99_beside: of idle); lower is better",
	  "flows": "CPU of the proxy for a byte and for a message, by flows on one link", "links": "CPU of the proxy for a byte and for a message, by links",
	  "sockets": "Instructions a message by sockets in firmware", "insn": "Instructions a message, one way, both ends",
	  "qemu": "Firmware in QEMU, AF_INET over vsock (_mbs, _s: higher is better; _insn: lower)", "rpmsg": "AF_RPMSG between processes, and a Cortex-M3 in QEMU"}


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

def series(rows, ratios):
	"""Bars: every figure, and its peers', as a ratio to direct where there is one if ratios, else in its own unit; and
	the aim where it is in the same."""
	names = ["ours"] + sorted({k for r in rows for k in r["peers"]}) + ["aim"] * any(r["bar"] for r in rows)
	lines = []
	for r in rows:
		cells = []
		for n in names:
			p = r["peers"].get(n)
			if n == "ours":
				value = ratios and r["ratio"] or r["ours"]
			elif n == "aim":
				value = r["bar"] if ratios or r["ratio"] is None else None
			else:
				value = p and (ratios and p["ratio"] or p["value"])
			cells.append("%g" % value if value is not None else "NaN")
		lines.append(r["bench"] + "\t" + "\t".join(cells))
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
	"""build/bench-GROUP.svg and .png; False when gnuplot is not there."""
	base = "%s/bench-%s" % (build, group)
	lines_of = group in ("flows", "links", "sockets")
	names, lines = by_number(rows) if lines_of else series(rows, group in RATIOS)
	with open(os.path.join(ROOT, base + ".tsv"), "w", encoding="utf-8") as f:
		f.write("figure\t" + "\t".join(n.replace("_", " ") for n in names) + "\n" + "\n".join(lines) + "\n")
	script = ["set datafile separator '\\t'", "set title '%s' noenhanced" % TITLES[group], "set key outside right noenhanced",
		  "set grid y", "set yrange [0:*]", "set lmargin 16", "set bmargin 9"]
	if lines_of:
		script += ["set logscale x", "set xlabel 'how many'", "set ylabel 'cost, 1 for the first'",
			   "set style data linespoints", "set xrange [1:%s]" % lines[-1].split("\t")[0]]
		if any(r["bar"] for r in rows):
			script += ["set yrange [0:1.3<*]", "set arrow from graph 0,first 1.1 to graph 1,first 1.1 nohead dashtype 2",
				   "set label 'at most 1.1' at graph 0.01,first 1.14"]
		plots = ["'%s.tsv' using 1:%d title columnheader pointtype 7" % (base, i + 2) for i in range(len(names))]
	else:
		script += ["set style data histogram", "set style fill solid 0.8", "set xtics rotate by 30 right noenhanced"]
		if group in LOGARITHMIC:
			script += ["set logscale y", "set yrange [*:*]"]
		plots = ["'%s.tsv' using %d:xtic(1) title columnheader" % (base, i + 2) for i in range(len(names)) if names[i] != "aim"]
		if "aim" in names:
			plots.append("'%s.tsv' using 0:%d with points pointtype 8 pointsize 1.5 linecolor 'black' title columnheader" % (
				base, names.index("aim") + 2))
	plot = "plot " + ", ".join(plots)
	for kind in ("svg size 1200,600 font 'sans,12' background 'white'", "pngcairo size 1200,600 font 'sans,11'"):
		script += ["set terminal " + kind, "set output '%s.%s'" % (base, kind[:3]), plot, "unset output"]
	try:
		r = subprocess.run(["gnuplot"], input="\n".join(script) + "\n", stdout=subprocess.PIPE,
				   stderr=subprocess.STDOUT, text=True, check=False, cwd=ROOT, timeout=60)
	except (OSError, subprocess.TimeoutExpired) as e:
		print("no chart of %s: gnuplot (make deps): %s" % (group, e))
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
		try:
			r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
		except FileNotFoundError:
			found[name] = ""  # what needs it says so
			continue
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
	"""A result a line, so that a difference can be read. The old file or the new one, whoever interrupts it."""
	lines = ",\n".join("  " + json.dumps(r, sort_keys=True) for r in what["results"])
	with open(path + ".new", "w", encoding="utf-8") as f:
		f.write('{\n "tools": %s,\n "machine": %s,\n "results": [\n%s\n ]\n}\n' % (
			json.dumps(what["tools"], sort_keys=True), json.dumps(what["machine"], sort_keys=True), lines))
	os.replace(path + ".new", path)


def record(results, where, parts):
	"""
	Replaces what was measured now, keeps the rest, and returns lines that say what of these parts
	that is, and which peers were there before and are not now. What `make size` records is its own.
	"""
	old = read_record()
	had = {r["bench"]: r for r in old.get("results", [])}
	new = {r["bench"]: r for r in results if r["group"] != "size"}
	told = ["not measured now, the older figure stays recorded: " + name for name, r in had.items()
		if r["group"] in parts and name not in new]
	for name, r in new.items():
		lost = sorted(set(had.get(name, r)["peers"]) - set(r["peers"]))
		if lost:
			told.append("recorded without %s, which the older record has: %s" % (", ".join(lost), name))
	kept = [new.pop(name, r) for name, r in had.items()] + list(new.values())
	if "machine" in old and not any(r["idle"] for r in results):
		where = old["machine"]  # counts do not ask what else it did
	write_json(RECORD, {"tools": tools(), "machine": where, "results": kept})
	with open(DOC, encoding="utf-8") as f:
		text = f.read()
	with open(DOC, "w", encoding="utf-8") as f:
		f.write(fill(text, read_record()))
	return told


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


def table_near(record):
	"""How near the figures are to the limits, both as recorded: what it is, ours, the limit, and the share."""
	at = {r["bench"]: r["ours"] for r in record["results"]}
	direct = {r["bench"]: r["direct"] for r in record["results"]}
	cores = record["machine"]["cpus"]
	# figure, unit, the limit, as what, and whether less is better
	rows = (
		("cpu_s_per_gb", "s/GB", lambda: (at["limit_tcp_send"] + at["limit_tcp_receive"]) / 2,
		 "TCP alone: the mean of `limit_tcp_send` and `limit_tcp_receive`", True),
		("all_cpu_up", "s/GB", lambda: direct["all_cpu_up"], "a direct connection: TCP's two ends", True),
		("all_cpu_down", "s/GB", lambda: direct["all_cpu_down"], "a direct connection: TCP's two ends", True),
		("all_cpu_up", "s/GB", lambda: 2 / at["limit_copy_64k"], "two copies, `limit_copy_64k`", True),
		("place_free_up", "MB/s", lambda: cores / at["all_cpu_up"] * 1000, "%d cores divided by `all_cpu_up`" % cores, False),
		("place_free_down", "MB/s", lambda: cores / at["all_cpu_down"] * 1000, "%d cores divided by `all_cpu_down`" % cores, False),
		("lat_idle_p50", "us", lambda: direct["lat_idle_p50"] + at["limit_wake_there_and_back"],
		 "direct, and `limit_wake_there_and_back`", True),
		("flow_message_100", "us", lambda: 2 * at["limit_syscall"] / 1000, "two system calls that do nothing", True),
		("insn_rpmsg_496_more", "instructions", lambda: direct["insn_rpmsg_496_more"], "`memcpy` at each end, 480 bytes more", True),
		("insn_rpmsg_496_more_m3", "instructions", lambda: direct["insn_rpmsg_496_more_m3"], "the same on a Cortex-M3", True),
		("qemu_riscv64_rx_insn_kib", "instructions", lambda: 256, "loads and stores of 8 bytes, one copy", True),
		("qemu_aarch64_rx_insn_kib", "instructions", lambda: 128, "loads and stores of 16 bytes, one copy", True),
	)
	out = "| | ours | limit | of it | what the limit is |\n|---|---:|---:|---:|---|\n"
	for name, unit, limit, what, less in rows:
		try:
			ours, best = at[name], limit()
			share = "%d %%" % round(100 * (best / ours if less else ours / best))
		except (KeyError, TypeError, ZeroDivisionError):
			continue  # one of them is not measured yet
		out += "| %s | %s %s | %s | %s | %s |\n" % (name, number(ours), unit, number(round(best, 3)), share, what)
	return out


def fill(text, record):
	def block(m):
		if m.group(2) == "near":
			return m.group(1) + table_near(record) + m.group(3)
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
