# SPDX-License-Identifier: BSD-3-Clause
"""What the parts of bench.py share: processes, CPU time, and the list of results."""

import glob
import os
import signal
import statistics
import subprocess
import sys
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ports import free_port  # noqa: E402,F401: every part has it from here

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

opt = None  # the command line
tmp = None  # a directory for sockets and logs
procs = []  # everything started, ended by stop_all()
results = []
problems = []  # of ours: the run fails
notes = []  # of a peer: said, and its figure is not there


class Fail(Exception):
	pass


def say(text):
	"""Progress, for a person: half an hour of silence is what a hang looks like."""
	if not opt.smoke:
		print("bench: " + text, file=sys.stderr, flush=True)


def rounds(what=""):
	"""The rounds of a figure, each said."""
	count = 1 if opt.smoke else opt.rounds
	for n in range(count):
		say("  %sround %d of %d" % (what and what + ", ", n + 1, count))
		yield n


def start(argv, **kw):
	p = subprocess.Popen(argv, cwd=ROOT, start_new_session=True, **kw)
	procs.append(p)
	return p


def stop(p):
	"""By its own group: socat forks. It is on the list until it has ended: this may be interrupted, and begun again."""
	for sig in (signal.SIGTERM, signal.SIGKILL):
		try:
			os.killpg(p.pid, sig)
		except ProcessLookupError:
			break
		try:
			p.wait(2)
		except subprocess.TimeoutExpired:
			continue
	p.wait()
	if p in procs:
		procs.remove(p)


def stop_all():
	for p in procs[:]:
		stop(p)


def kill_all():
	"""At once, and without a look at what has ended; they lead groups, which nothing else ends."""
	for p in procs:
		try:
			os.killpg(p.pid, signal.SIGKILL)
		except ProcessLookupError:
			pass


def run(argv, env=None, timeout=120, what=None):
	"""Standard output of a program that ends well."""
	r = subprocess.run(argv, env=dict(os.environ, **(env or {})), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
			   text=True, timeout=timeout, check=False, cwd=ROOT)
	if r.returncode:
		raise Fail("%s: %s" % (what or " ".join(argv), (r.stderr + r.stdout).strip()[-300:]))
	return r.stdout


def wait_for(what, test, seconds=10):
	until = time.monotonic() + seconds
	while not test():
		if time.monotonic() > until:
			raise Fail("%s does not come up" % what)
		time.sleep(0.02)


def listening(port, table="/proc/net/tcp"):
	"""Without connecting: a connection would make socat fork."""
	with open(table, encoding="ascii") as f:
		return any(line.split()[1].endswith(":%04X" % port) and line.split()[3] == "0A"
			   for line in f.readlines()[1:])


def cpu_seconds(p):
	"""On the processor so far: the threads of p and of its session, in nanoseconds' steps; and,
	in clock ticks, children gone."""
	ns = ticks = 0
	for entry in os.listdir("/proc"):
		if not entry.isdigit():
			continue
		try:
			with open("/proc/%s/stat" % entry, encoding="ascii", errors="replace") as f:
				fields = f.read().rpartition(")")[2].split()
			if int(fields[3]) != p.pid:  # the session that it leads
				continue
			ticks += sum(map(int, fields[13:15]))
			for path in glob.glob("/proc/%s/task/*/schedstat" % entry):
				with open(path, encoding="ascii") as f:
					ns += int(f.read().split()[0])
		except OSError:
			continue
	return ns / 1e9 + ticks / os.sysconf("SC_CLK_TCK")


def median(values):
	return statistics.median(values)


def emit(group, name, values, unit, direct=None, peers=None, bar=None, lower=False, idle=False, digits=1, to=None):
	"""
	One figure. values, direct, and those of peers ({name: values}): what the rounds gave, or one
	number. to: the peer that the ratio is to, where nothing is direct. bar: for the ratio when there
	is one, else for the figure. lower: less is better. idle: worth something on an idle machine only.
	"""
	def mid(v):
		return round(median(v), digits) if isinstance(v, list) else v

	def spread(v):
		return [round(min(v), digits), round(max(v), digits)] if isinstance(v, list) and len(v) > 1 else None

	ours, base = mid(values), mid(direct)
	against = mid(peers[to]) if to else base
	results.append({
		"group": group, "bench": name, "ours": ours, "spread": spread(values), "unit": unit,
		"rounds": len(values) if isinstance(values, list) else 1,
		"direct": base, "direct_spread": spread(direct), "ratio": round(ours / against, 4) if against else None,
		"peers": {k: {"value": mid(v), "spread": spread(v), "ratio": round(mid(v) / base, 4) if base else None}
			  for k, v in (peers or {}).items()},
		"bar": bar, "lower": lower, "idle": idle, "to": to,
	})


def start_server():
	p = start([opt.build + "/bench/server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
	return int(p.stdout.readline())


def start_proxy(socks, port, link=None, more=()):
	"""Our proxy with a link on each of socks, which may reach the server and nothing else."""
	path = os.path.join(tmp, "proxy.log")
	argv = [opt.build + "/ampsock-proxy", *more]
	for i, sock in enumerate(socks):
		argv += ["--link", link or "vhost-user-vsock:%s,cid=%d" % (sock, 3 + i),
			 "--allow", "out tcp 127.0.0.1:%d" % port]
	with open(path, "ab") as log:
		p = start(argv, stdout=log, stderr=log)
	if link:
		return p  # the other end makes what it waits for
	wait_for("ampsock-proxy (%s)" % path, lambda: all(map(os.path.exists, socks)) or p.poll() is not None)
	if p.poll() is not None:
		with open(path, encoding="utf-8") as f:
			raise Fail("ampsock-proxy exits: " + f.read()[-500:])
	return p
