# SPDX-License-Identifier: BSD-3-Clause
"""
The host's side: tests/bench/load.c and lat.c against tests/bench/server.c over loopback, directly,
through us (the load on the hosted library, vhost-user rings, ampsock-proxy), and through what else
carries TCP to TCP.
"""

import os
import resource
import shutil
import subprocess

import common
from common import Fail, cpu_seconds, emit, free_port, listening, notes, problems, start, start_proxy, start_server, wait_for

# What the best of the peers reached, as a ratio to direct, when the design was made.
BAR = {"tcp_1_up": .78, "tcp_1_down": .78, "tcp_8_up": .67, "tcp_8_down": .67,
       "requests_32": .48, "connects": .65}
FLOWS = (1, 10, 100, 1000, 2000)
LINKS = (1, 10, 50)
FAILED_MAX = 3  # a way that stalls costs two minutes each time


class Way:
	"""One way from the load to the server."""

	def __init__(self, name, port, middle=None, build="native", env=None, inside=None):
		self.name, self.port, self.middle = name, port, middle
		self.build, self.env, self.inside = build, env or {}, inside or []
		self.failed = 0

	def argv(self, program, *args):
		return self.inside + ["%s/bench/%s-%s" % (common.opt.build, program, self.build)] + [str(a) for a in args]

	def run(self, mode, streams, count):
		"""(units per second, seconds of CPU in the middle, units)."""
		before = cpu_seconds(self.middle) if self.middle else 0
		done, seconds = common.run(self.argv("load", mode, "127.0.0.1", self.port, streams, count), self.env,
					   what="%s: load %s %d" % (self.name, mode, streams)).split()
		if self.middle and self.name == "socat":
			# its children must be gone to be counted
			wait_for("the end of socat's children", lambda: children(self.middle) == 0)
		used = cpu_seconds(self.middle) - before if self.middle else 0
		return float(done) / float(seconds), used, float(done)

	def latency(self, mode, count):
		"""[median, p99, p99.9, longest] in us, MB/s beside."""
		got = [float(x) for x in common.run(self.argv("lat", mode, "127.0.0.1", self.port, count), self.env,
						    what="%s: lat %s" % (self.name, mode)).split()]
		return got[:4], got[4]


def children(p):
	with open("/proc/%d/task/%d/children" % (p.pid, p.pid), encoding="ascii") as f:
		return len(f.read().split())


# --- peers -------------------------------------------------------------------------------

def socat(port):
	mine = free_port()
	p = start(["socat", "-b", "65536", "TCP4-LISTEN:%d,bind=127.0.0.1,fork,reuseaddr,backlog=128,nodelay" % mine,
		   "TCP4:127.0.0.1:%d,nodelay" % port], stderr=subprocess.DEVNULL)
	wait_for("socat", lambda: listening(mine))
	return Way("socat", mine, p)


def haproxy(port):
	mine = free_port()
	path = os.path.join(common.tmp, "haproxy.cfg")
	with open(path, "w", encoding="ascii") as f:
		f.write("""global
	maxconn 1000
	nbthread 1
	tune.pipesize 1048576
defaults
	mode tcp
	option splice-auto
	option tcp-smart-connect
	timeout connect 5s
	timeout client 60s
	timeout server 60s
listen bench
	bind 127.0.0.1:%d
	server s 127.0.0.1:%d
""" % (mine, port))
	p = start([shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-f", path],
		  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
	wait_for("haproxy", lambda: listening(mine))
	return Way("haproxy", mine, p)


def nginx(port):
	mine = free_port()
	path = os.path.join(common.tmp, "nginx.conf")
	with open(path, "w", encoding="ascii") as f:
		f.write("""load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
master_process off;
error_log %(tmp)s/nginx.log;
pid %(tmp)s/nginx.pid;
events { worker_connections 8192; }
stream {
	access_log off;
	server {
		listen 127.0.0.1:%(mine)d backlog=4096;
		proxy_pass 127.0.0.1:%(port)d;
		proxy_buffer_size 64k;
		tcp_nodelay on;
	}
}
""" % {"tmp": common.tmp, "mine": mine, "port": port})
	p = start(["/usr/sbin/nginx", "-c", path, "-e", common.tmp + "/nginx.log"],
		  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
	wait_for("nginx", lambda: listening(mine))
	return Way("nginx", mine, p)


def proxyd(port):
	"""It is given its listener; the first connection starts it."""
	mine = free_port()
	p = start(["systemd-socket-activate", "-l", "127.0.0.1:%d" % mine,
		   "/lib/systemd/systemd-socket-proxyd", "127.0.0.1:%d" % port],
		  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
	wait_for("systemd-socket-activate", lambda: listening(mine))
	return Way("systemd-socket-proxyd", mine, p)


def pasta(port):
	"""The load in a network namespace whose loopback pasta carries out, spliced."""
	inside = start(["unshare", "-Urn", "sh", "-c", "ip link set lo up && exec sleep infinity"])
	entered = "/proc/%d/ns/net" % inside.pid
	wait_for("a network namespace", lambda: os.readlink(entered) != os.readlink("/proc/self/ns/net"))
	args = ["-t", "none", "-u", "none", "-U", "none", "-T", str(port)]
	if os.geteuid() == 0:
		args += ["--runas", "0", "--netns-only", "--netns", entered]
	else:
		args += [str(inside.pid)]
	p = start(["pasta", "-f", "-q"] + args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
	wait_for("pasta", lambda: listening(port, "/proc/%d/net/tcp" % inside.pid))
	return Way("pasta", port, p, inside=["nsenter", "-t", str(inside.pid), "-U", "-n", "--preserve-credentials"])


# name: (what starts it, a file that is there when it is installed)
PEERS = {"socat": (socat, "/usr/bin/socat"), "haproxy": (haproxy, "/usr/sbin/haproxy"),
	 "nginx": (nginx, "/usr/lib/nginx/modules/ngx_stream_module.so"),
	 "systemd-socket-proxyd": (proxyd, "/lib/systemd/systemd-socket-proxyd"), "pasta": (pasta, "/usr/bin/pasta")}


def ways():
	port = start_server()
	found = [Way("direct", port)]
	sock = os.path.join(common.tmp, "vsock.sock")
	try:
		found.append(Way("ours", port, start_proxy([sock], port), "hosted", {"AMPSOCK_LINK": "vhost-user:" + sock}))
	except (Fail, FileNotFoundError) as e:
		problems.append(str(e))
	for name, (begin, there) in PEERS.items():
		if common.opt.smoke and name not in ("socat", "haproxy"):
			continue
		if not os.path.exists(there):
			problems.append("%s is not installed (make deps)" % name)
			continue
		try:
			found.append(begin(port))
		except (Fail, OSError) as e:
			notes.append("%s: %s" % (name, e))
	return found


# --- what nobody beats -------------------------------------------------------------------

def measure_limits():
	got = {}
	for _ in common.rounds():
		for line in common.run([common.opt.build + "/bench/limits"]).splitlines():
			name, value, unit = line.split()
			got.setdefault((name, unit), []).append(float(value))
	for (name, unit), values in got.items():
		emit("limits", name, values, unit, idle=True, digits=3, lower=unit != "GB/s")


# --- rates and CPU -----------------------------------------------------------------------

def tell(way, what):
	"""One measurement; None, and noted, when it fails. Who has failed so often is not waited for again in this part."""
	if way.failed >= FAILED_MAX:
		return None
	try:
		return what()
	except (Fail, subprocess.TimeoutExpired, OSError, ValueError, ZeroDivisionError) as e:
		way.failed += 1
		if way.failed == FAILED_MAX:
			notes.append("%s: failed %d times, and is left out of the rest of the part" % (way.name, FAILED_MAX))
		(problems if way.name in ("ours", "direct") else notes).append("%s: %s" % (way.name, e))
		return None


def peers_of(values):
	return {k: v for k, v in values.items() if k not in ("ours", "direct")}


def measure():
	# name, mode, streams, first count, divisor for the printed unit, unit
	kinds = [("tcp_1_up", "up", 1, 32 << 20, 1e6, "MB/s"), ("tcp_1_down", "down", 1, 32 << 20, 1e6, "MB/s"),
		 ("tcp_8_up", "up", 8, 32 << 20, 1e6, "MB/s"), ("tcp_8_down", "down", 8, 32 << 20, 1e6, "MB/s"),
		 ("requests_32", "rt", 32, 2000, 1, "1/s"), ("connects", "conn", 8, 200, 1, "1/s")]
	target = 0.1 if common.opt.smoke else 0.7
	all_ways = ways()
	cpu = {}
	for name, mode, streams, first, div, unit in kinds:
		rates, counts = {}, {}
		for way in all_ways:
			# Warm up, and find out how much fills the time.
			got = tell(way, lambda w=way: w.run(mode, streams, first))
			if got:
				counts[way] = max(first, int(got[0] * target))
		for _ in common.rounds(name):
			for way in list(counts):  # in turns, so that what else the machine does meets all
				got = tell(way, lambda w=way: w.run(mode, streams, counts[w]))
				if not got:
					counts.pop(way)
					continue
				rates.setdefault(way.name, []).append(got[0] / div)
				if streams == 1:
					cpu.setdefault(way.name, []).append(got[1] / got[2] * 1e9)
		if "ours" in rates:
			emit("tcp", name, rates["ours"], unit, rates.get("direct"), peers_of(rates), BAR[name], idle=True)
	if "ours" in cpu:
		cpu.pop("direct", None)
		emit("tcp", "cpu_s_per_gb", cpu["ours"], "s/GB", None, peers_of(cpu), .20, lower=True, idle=True, digits=3)


# --- what confinement costs --------------------------------------------------------------

def measure_confinement():
	"""The proxy as it is, and with --no-confine: no filter of system calls, no root of its own. Rules,
	limits and counters are in force in both: there is no proxy without them."""
	kinds = [("up", "up", 1, 32 << 20, 1e6, "MB/s"), ("down", "down", 1, 32 << 20, 1e6, "MB/s"),
		 ("requests_32", "rt", 32, 2000, 1, "1/s"), ("connects", "conn", 8, 200, 1, "1/s")]
	target = 0.1 if common.opt.smoke else 0.7
	port = start_server()
	both = []
	for name, more in (("with", []), ("without", ["--no-confine"])):
		sock = os.path.join(common.tmp, name + ".sock")
		both.append(Way(name, port, start_proxy([sock], port, more=more), "hosted", {"AMPSOCK_LINK": "vhost-user:" + sock}))
	got = {}
	for name, mode, streams, first, div, unit in kinds:
		# the same work for both
		count = max(first, int(max(w.run(mode, streams, first)[0] for w in both) * target))
		for i in common.rounds(name):
			for way in both[::-1] if i % 2 else both:
				rate, cpu, done = way.run(mode, streams, count)
				got.setdefault((name, way.name), []).append(rate / div)
				got.setdefault((name + "_cpu", way.name), []).append(cpu / done * (1e9 if streams == 1 else 1e6))
		emit("confine", "confine_" + name, got[(name, "with")], unit, got[(name, "without")], None, idle=True)
		name += "_cpu"
		emit("confine", "confine_" + name, got[(name, "with")], "s/GB" if streams == 1 else "us", got[(name, "without")],
		     None, lower=True, digits=3)


# --- where the scheduler puts them -------------------------------------------------------

def tasks(p):
	"""Every thread of p and of its session."""
	for entry in os.listdir("/proc"):
		try:
			if not entry.isdigit() or os.getsid(int(entry)) != p.pid:
				continue
			yield from map(int, os.listdir("/proc/%s/task" % entry))
		except OSError:
			continue


def pin(p, cpus):
	for tid in tasks(p):
		try:
			os.sched_setaffinity(tid, cpus)
		except ProcessLookupError:
			pass


def measure_placement():
	"""One stream, each of the three processes kept on a core of its own choice, for every way the same;
	and what all three cost together: cores divided by that is what cannot be passed."""
	cores = sorted(os.sched_getaffinity(0))[:2]
	if len(cores) < 2:
		raise Fail("placement wants two cores")
	one, other = {cores[0]}, {cores[1]}
	# the middle beside the load, beside the server, alone; and as the scheduler likes
	places = (("load", one, one, other), ("server", one, other, other), ("alone", one, other, one),
		  ("free", one | other, one | other, one | other))
	count = (32 if common.opt.smoke else 256) << 20
	all_ways = ways()
	server = common.procs[0]
	rates, cpu = {}, {}
	for _ in common.rounds():
		for name, load, middle, served in places:
			pin(server, served)
			for mode in ("up", "down"):
				for way in all_ways:
					if way.middle:
						pin(way.middle, middle)
					one_run = tell(way, lambda w=way, m=mode, on=load: run_on(w, m, count, on, server))
					if one_run:
						rates.setdefault((name, mode), {}).setdefault(way.name, []).append(one_run[0] / 1e6)
						cpu.setdefault((name, mode), {}).setdefault(way.name, []).append(one_run[1])
	for mode in ("up", "down"):
		for name, *_ in places:
			got = rates.get((name, mode), {})
			if "ours" in got:
				emit("placement", "place_%s_%s" % (name, mode), got["ours"], "MB/s", got.get("direct"), peers_of(got), idle=True)
		got = cpu.get(("free", mode), {})
		if "ours" in got:
			emit("placement", "all_cpu_%s" % mode, got["ours"], "s/GB", got.get("direct"), peers_of(got), lower=True, digits=3)


def run_on(way, mode, count, cpus, server):
	"""(bytes per second, seconds of CPU of load, middle and server for a GB)."""
	before = sum(map(cpu_seconds, filter(None, (way.middle, server)))) + children_cpu()
	done, seconds = common.run(["taskset", "-c", ",".join(map(str, sorted(cpus)))] + way.argv("load", mode, "127.0.0.1", way.port, 1, count),
				   way.env, what="%s: load %s" % (way.name, mode)).split()
	used = sum(map(cpu_seconds, filter(None, (way.middle, server)))) + children_cpu() - before
	return float(done) / float(seconds), used / float(done) * 1e9


def children_cpu():
	"""Of those that have ended: the loads."""
	r = resource.getrusage(resource.RUSAGE_CHILDREN)
	return r.ru_utime + r.ru_stime


# --- latency -----------------------------------------------------------------------------

def measure_latency():
	count = 300 if common.opt.smoke else 20000
	all_ways = ways()
	got = {}
	for _ in common.rounds():
		for way in all_ways:
			for mode in ("idle", "up", "down"):
				one = tell(way, lambda w=way, m=mode: w.latency(m, count if m == "idle" else count // 4))
				if one:
					got.setdefault((way.name, mode), []).append(one)
	for mode in ("idle", "up", "down"):
		for i, part in enumerate(("p50", "p99", "p999", "max")):
			values = {w.name: [v[0][i] for v in got[(w.name, mode)]] for w in all_ways if (w.name, mode) in got}
			if "ours" in values:
				emit("latency", "lat_%s_%s" % (mode, part), values["ours"], "us", values.get("direct"),
				     peers_of(values), lower=True, idle=True)
	for mode in ("up", "down"):
		# Beside bulk, as a multiple of idle: of the same round.
		values = {w.name: [b[0][1] / i[0][1] for b, i in zip(got[(w.name, mode)], got[(w.name, "idle")])]
			  for w in all_ways if (w.name, mode) in got and (w.name, "idle") in got}
		if "ours" in values:
			emit("latency", "lat_p99_beside_%s" % mode, values["ours"], "x idle", None, values_and_direct(values),
			     3, lower=True, idle=True)


def values_and_direct(values):
	return {k: v for k, v in values.items() if k != "ours"}


# --- as work grows -----------------------------------------------------------------------

def slope(way, mode, streams, count):
	"""Seconds of the middle's CPU for one unit, set-up left out: the difference of two runs."""
	_, few, few_done = way.run(mode, streams, count)
	_, many, many_done = way.run(mode, streams, count * 3)
	return (many - few) / (many_done - few_done)


def measure_flows():
	"""Per byte and per message in the proxy, by the number of flows on one link."""
	size, trips = (4 << 20, 2000) if common.opt.smoke else (200 << 20, 8000)
	port = start_server()
	sock = os.path.join(common.tmp, "many.sock")
	ours = Way("ours", port, start_proxy([sock], port), "many", {"AMPSOCK_LINK": "vhost-user:" + sock})
	peer = haproxy(port) if os.path.exists(PEERS["haproxy"][1]) else None
	if peer is None:
		problems.append("flows: haproxy is not installed (make deps)")
	for name, mode, count, scale, unit in (("up", "up", size, 1e9, "s/GB"), ("down", "down", size, 1e9, "s/GB"),
					       ("message", "rt", trips, 1e6, "us")):
		got = {}
		for _ in common.rounds(name):
			for flows in FLOWS[:2] if common.opt.smoke else FLOWS:
				for way in (ours, peer):
					if way is peer and (peer is None or flows > 100):
						continue  # its limit is set for that
					one = tell(way, lambda w=way, f=flows: slope(w, mode, f, count) * scale)
					if one is not None:
						got.setdefault((way.name, flows), []).append(one)
		for flows in FLOWS:
			if ("ours", flows) in got:
				emit("flows", "flow_%s_%d" % (name, flows), got[("ours", flows)], unit, got.get(("ours", 1)),
				     {"haproxy": got[("haproxy", flows)]} if ("haproxy", flows) in got else {},
				     1.1, lower=True, digits=3)


def links_run(port, socks, mode, each):
	"""One load a link, all at once."""
	loads = [start([common.opt.build + "/bench/load-hosted", mode, "127.0.0.1", str(port), "1", str(each)],
		       env=dict(os.environ, AMPSOCK_LINK="vhost-user:" + s), stdout=subprocess.DEVNULL) for s in socks]
	for p in loads:
		rc = p.wait(60)
		common.procs.remove(p)
		if rc:
			raise Fail("a load on one of %d links exits with %d" % (len(socks), rc))


def measure_links():
	"""The same by the number of links, one flow each."""
	size, trips = (8 << 20, 1000) if common.opt.smoke else (200 << 20, 8000)
	port = start_server()
	proxies = {}
	for n in LINKS[:1] if common.opt.smoke else LINKS:
		socks = [os.path.join(common.tmp, "l%d-%d.sock" % (n, i)) for i in range(n)]
		proxies[n] = (start_proxy(socks, port), socks)
	for name, mode, count, scale, unit in (("up", "up", size, 1e9, "s/GB"), ("message", "rt", trips, 1e6, "us")):
		got = {}
		for _ in common.rounds(name):
			for n, (proxy, socks) in proxies.items():
				used = []
				for times in (1, 3):
					before = cpu_seconds(proxy)
					links_run(port, socks, mode, count * times // n)
					used.append(cpu_seconds(proxy) - before)
				got.setdefault(n, []).append((used[1] - used[0]) / (2 * count) * scale)
		for n, values in got.items():
			emit("links", "link_%s_%d" % (name, n), values, unit, got[1], None, 1.1, lower=True, digits=3)
