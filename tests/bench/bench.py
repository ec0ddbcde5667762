#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every figure as a ratio to something measured in the same run.

	bench.py --build DIR [--part insn|tcp|qemu|rpmsg ...] [--smoke]

tcp    tests/bench/load.c against tests/bench/server.c over loopback, four ways: directly;
       through us (the load on the hosted library, vhost-user rings, ampsock-proxy); through
       socat and haproxy (plain TCP to TCP, haproxy with splice). Ways take turns in every
       round, the median of the rounds counts.
insn   tests/bench/insn.c under callgrind: one 16-byte message from send() entered to recv()
       returned with the receiver waiting, and a round trip; driver end to device end. What
       that program itself needs to switch the count on and off is measured and subtracted.
       Over rpmsg tests/bench/insn_rpmsg.c, remote to host, a message (of a burst: each); and
       the same (_m3) as Cortex-M3 firmware under QEMU -icount.
qemu   examples/throughput.c in QEMU (TCG) through the proxy: MB/s and round trips, and once
       more under -icount shift=0, where guest time counts guest instructions.
rpmsg  tests/bench/rload.c between two processes over shared memory, buffers of 512 bytes:
       MB/s of a stream from the remote to the host (_down: the other way), round trips of a
       raw 16-byte message; and throughput.c on the Cortex-M3 under TCG, through the proxy:
       MB/s from the firmware (_down: to it), round trips of a byte.

Writes DIR/bench.json. --smoke is short and prints TAP: does everything run at all.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERTZ = os.sysconf("SC_CLK_TCK")
# What the best of socat, haproxy, nginx, systemd-socket-proxyd and pasta reached.
BAR = {"tcp_1_up": .78, "tcp_1_down": .78, "tcp_8_up": .67, "tcp_8_down": .67,
       "requests_32": .48, "connects": .65}

# What a message may cost today (x86-64, gcc 12): lower these as it gets cheaper. The aim is 500.
INSN_MOST = {"insn_vsock_16": 600, "insn_vsock_16_device": 600, "insn_vsock_16_seqpacket": 650,
	     "insn_rpmsg_seq_16": 630, "insn_rpmsg_seq_496": 765, "insn_rpmsg_seq_burst8_16": 615,
	     "insn_rpmsg_stream_16": 705, "insn_rpmsg_seq_16_m3": 675, "insn_rpmsg_seq_496_m3": 1240,
	     "insn_rpmsg_seq_burst8_16_m3": 660, "insn_rpmsg_stream_16_m3": 745}
# What they are to cost: a SEQPACKET message over rpmsg 400, a stream's 500, anything over vsock 500.
INSN_AIM = {"insn_rpmsg_seq": 400, "insn_rpmsg_stream": 500}

OPT = None
TMP = None
procs = []  # everything started, ended by stop_all()
results = []
problems = []


class Fail(Exception):
	pass


def start(argv, **kw):
	p = subprocess.Popen(argv, cwd=ROOT, start_new_session=True, **kw)
	procs.append(p)
	return p


def stop(p):
	"""By its own group: socat forks."""
	if p in procs:
		procs.remove(p)
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


def stop_all():
	for p in procs[:]:
		stop(p)


def free_port():
	with socket.socket() as s:
		s.bind(("127.0.0.1", 0))
		return s.getsockname()[1]


def wait_for(what, test, seconds=10):
	until = time.monotonic() + seconds
	while not test():
		if time.monotonic() > until:
			raise Fail("%s does not come up" % what)
		time.sleep(0.02)


def listening(port):
	"""Without connecting: a connection would make socat fork."""
	with open("/proc/net/tcp", encoding="ascii") as f:
		return any(line.split()[1].endswith(":%04X" % port) and line.split()[3] == "0A"
			   for line in f.readlines()[1:])


def cpu_seconds(p):
	"""User and system time of p, its threads, its children gone and still there."""
	ticks = 0
	for entry in os.listdir("/proc"):
		if not entry.isdigit():
			continue
		try:
			with open("/proc/%s/stat" % entry, encoding="ascii", errors="replace") as f:
				fields = f.read().rpartition(")")[2].split()
		except OSError:
			continue
		if int(fields[3]) == p.pid:  # the session that it leads
			ticks += sum(map(int, fields[11:15]))
	return ticks / HERTZ


def emit(name, ours, unit, direct=None, peer=None, peer_value=None):
	ratio = ours / direct if direct else None
	results.append({"bench": name, "ours": ours, "unit": unit, "direct": direct,
			"ratio": round(ratio, 4) if ratio else None, "peer": peer,
			"peer_value": peer_value})


# --- tcp ---------------------------------------------------------------------------------

class Way:
	"""One way from the load to the server."""

	def __init__(self, name, load, port, middle=None, env=None):
		self.name, self.load, self.port, self.middle = name, load, port, middle
		self.env = dict(os.environ, **(env or {}))

	def run(self, mode, streams, count):
		"""Returns (units per second, seconds of CPU in the middle)."""
		before = cpu_seconds(self.middle) if self.middle else 0
		r = subprocess.run([self.load, mode, "127.0.0.1", str(self.port), str(streams), str(count)],
				   env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
				   timeout=60, check=False, cwd=ROOT)
		if r.returncode:
			raise Fail("%s: load %s %d: %s" % (self.name, mode, streams, r.stderr.strip()[-300:]))
		done, seconds = r.stdout.split()
		if self.middle and self.name == "socat":
			time.sleep(0.05)  # its children must be gone to be counted
		used = cpu_seconds(self.middle) - before if self.middle else 0
		return float(done) / float(seconds), used, float(done)


def start_server():
	p = start([OPT.build + "/bench/server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
	return int(p.stdout.readline())


def start_proxy(sock, port, link=None):
	"""Our proxy with one link on sock that may reach the server, and nothing else."""
	log = open(os.path.join(TMP, "proxy.log"), "ab")
	p = start([OPT.build + "/ampsock-proxy",
		   "--link", link or "vhost-user-vsock:%s,cid=3" % sock,
		   "--allow", "out tcp 127.0.0.1:%d" % port], stdout=log, stderr=log)
	if link:
		return p # the other end makes what it waits for
	wait_for("ampsock-proxy (%s/proxy.log)" % TMP, lambda: os.path.exists(sock) or p.poll() is not None)
	if p.poll() is not None:
		raise Fail("ampsock-proxy exits: " + open(os.path.join(TMP, "proxy.log"), encoding="utf-8").read()[-500:])
	return p


def start_socat(port):
	mine = free_port()
	p = start(["socat", "-b", "65536", "TCP4-LISTEN:%d,bind=127.0.0.1,fork,reuseaddr,backlog=128,nodelay" % mine,
		   "TCP4:127.0.0.1:%d,nodelay" % port], stderr=subprocess.DEVNULL)
	wait_for("socat", lambda: listening(mine))
	return Way("socat", OPT.build + "/bench/load-native", mine, p)


def start_haproxy(port):
	mine = free_port()
	path = os.path.join(TMP, "haproxy.cfg")
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
	return Way("haproxy", OPT.build + "/bench/load-native", mine, p)


def tcp_ways():
	port = start_server()
	ways = [Way("direct", OPT.build + "/bench/load-native", port)]
	try:
		sock = os.path.join(TMP, "vsock.sock")
		proxy = start_proxy(sock, port)
		ways.append(Way("ours", OPT.build + "/bench/load-hosted", port, proxy,
				{"AMPSOCK_LINK": "vhost-user:" + sock}))
	except (Fail, FileNotFoundError) as e:
		problems.append(str(e))
	ways.append(start_socat(port))
	if os.path.exists("/usr/sbin/haproxy") or shutil.which("haproxy"):
		ways.append(start_haproxy(port))
	return ways


def measure_tcp():
	# name, mode, streams, first count, divisor for the printed unit, unit
	kinds = [("tcp_1_up", "up", 1, 32 << 20, 1e6, "MB/s"), ("tcp_1_down", "down", 1, 32 << 20, 1e6, "MB/s"),
		 ("tcp_8_up", "up", 8, 32 << 20, 1e6, "MB/s"), ("tcp_8_down", "down", 8, 32 << 20, 1e6, "MB/s"),
		 ("requests_32", "rt", 32, 2000, 1, "1/s"), ("connects", "conn", 8, 200, 1, "1/s")]
	rounds, target = (1, 0.1) if OPT.smoke else (OPT.rounds, 0.7)
	ways = tcp_ways()
	cpu = {}
	for name, mode, streams, first, div, unit in kinds:
		rates = {}
		counts = {}
		for way in ways[:]:
			# Warm up, and find out how much fills the time.
			try:
				rate, _, _ = way.run(mode, streams, first)
			except (Fail, subprocess.TimeoutExpired, OSError) as e:
				problems.append("%s: %s" % (name, e))
				continue
			counts[way.name] = max(first, int(rate * target))
		for _ in range(rounds):
			for way in ways:
				if way.name not in counts:
					continue
				try:
					rate, used, done = way.run(mode, streams, counts[way.name])
				except (Fail, subprocess.TimeoutExpired, OSError) as e:
					problems.append("%s: %s" % (name, e))
					counts.pop(way.name)
					continue
				rates.setdefault(way.name, []).append(rate / div)
				if name in ("tcp_1_up", "tcp_1_down"):
					cpu.setdefault(way.name, []).append((used, done))
		rates = {k: round(statistics.median(v), 1) for k, v in rates.items()}
		if "ours" in rates:
			emit(name, rates["ours"], unit, rates.get("direct"), "socat", rates.get("socat"))
			if "haproxy" in rates:
				emit(name + "_haproxy", rates["ours"], unit, rates.get("direct"), "haproxy",
				     rates["haproxy"])
	per_gb = {k: round(sum(u for u, _ in v) / sum(d for _, d in v) * 1e9, 3) for k, v in cpu.items()}
	if "ours" in per_gb:
		emit("cpu_s_per_gb", per_gb["ours"], "s/GB", None, "socat", per_gb.get("socat"))
		if "haproxy" in per_gb:
			emit("cpu_s_per_gb_haproxy", per_gb["ours"], "s/GB", None, "haproxy", per_gb["haproxy"])


# --- insn --------------------------------------------------------------------------------

def callgrind(program, what, count):
	out = os.path.join(TMP, "callgrind.out")
	r = subprocess.run(["valgrind", "--tool=callgrind", "--collect-atstart=no", "--combine-dumps=yes",
			    "--callgrind-out-file=" + out, OPT.build + "/bench/" + program] + what.split() + [str(count)],
			   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
			   check=False, cwd=ROOT)
	m = re.search(r"Collected : (\d+)", r.stdout)
	if r.returncode or not m:
		raise Fail("insn %s: %s" % (what, r.stdout[-500:]))
	return int(m.group(1))


def measure_insn():
	few, many = 100, 300

	def each(what):
		"""The difference of two runs leaves set-up out."""
		return (callgrind("insn", what, many) - callgrind("insn", what, few)) / (many - few)

	for name, what, nothing, peer, value in (
			("insn_vsock_16", "stream", "nothing", "rpmsg-lite raw callback", 443),
			("insn_vsock_16_device", "stream-down", "nothing", "rpmsg-lite raw callback", 443),
			("insn_vsock_16_seqpacket", "seqpacket", "nothing", "rpmsg-lite raw callback", 443),
			("insn_vsock_rt", "rt", "nothing-rt", None, None)):
		try:
			insns = each(what) - each(nothing)
		except (Fail, OSError, subprocess.TimeoutExpired) as e:
			problems.append(str(e))
			continue
		emit(name, round(insns, 1), "instructions", None, peer, value)
	measure_insn_rpmsg(few, many)


# name, arguments of insn_rpmsg, messages in a burst; rpmsg-lite's bare callback on x86 and M4
RPMSG = [("insn_rpmsg_seq_16", "seq 16 1", 1), ("insn_rpmsg_seq_496", "seq 496 1", 1),
	 ("insn_rpmsg_seq_burst8_16", "seq 16 8", 8), ("insn_rpmsg_stream_16", "stream 16 1", 1)]


def icount(what, count):
	"""Firmware that counts itself."""
	r = subprocess.run(["boards/run-qemu.sh", "qemu-mps2", OPT.build + "/bench/insn_rpmsg-m3.elf",
			    "-q", "-icount shift=0", "--"] + what.split() + [str(count)], stdin=subprocess.DEVNULL,
			   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False, cwd=ROOT)
	m = re.search(r"messages, \d+ kicks, (\d+) instructions", r.stdout)
	if r.returncode or not m:
		raise Fail("insn_rpmsg-m3 %s: %s" % (what, r.stdout[-500:]))
	return int(m.group(1))


def measure_insn_rpmsg(few, many):
	for suffix, peer, times, run in (("", 443, 1, lambda what, n: callgrind("insn_rpmsg", what, n)),
					 ("_m3", 409, 10, icount)):
		def each(what, times=times, run=run):
			"""Of a burst. The difference of two runs leaves set-up out."""
			return (run(what, many * times) - run(what, few * times)) / (many - few) / times

		try:
			nothing = each("nothing 1 1")
		except (Fail, OSError, subprocess.TimeoutExpired) as e:
			problems.append(str(e))
			continue
		for name, what, burst in RPMSG:
			try:
				insns = (each(what) - nothing) / burst
			except (Fail, OSError, subprocess.TimeoutExpired) as e:
				problems.append(str(e))
				continue
			emit(name + suffix, round(insns, 1), "instructions", None, "rpmsg-lite raw callback", peer)


# --- qemu --------------------------------------------------------------------------------

BOARDS = ["riscv64", "aarch64"]
# Guest instructions of lwIP's raw API over virtio-net, counted the same way on riscv64.
LWIP = {"rx_insn_kib": 8953, "tx_insn_kib": 10258, "rt_insn": 4095}


def throughput(board, elf, sock, port, commands, count, counted):
	"""{command: (count, microseconds)} as the guest's own clock saw it."""
	argv = ["boards/run-qemu.sh", board, elf, "-s", sock]
	if counted:
		argv += ["-q", "-icount shift=0"]
	argv += ["127.0.0.1", str(port), commands, str(count)]
	p = start(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
	try:
		out, _ = p.communicate(timeout=60)
	except subprocess.TimeoutExpired:
		stop(p)
		out = p.stdout.read() if p.stdout and not p.stdout.closed else ""
		raise Fail("throughput %s on %s does not end: %s" % (commands, board, out[-300:])) from None
	procs.remove(p)
	found = {m.group(1): (int(m.group(2)), int(m.group(3)))
		 for m in re.finditer(r"throughput: (\w) (\d+) in (\d+) us", out)}
	if p.returncode or set(found) != set(commands):
		raise Fail("throughput %s on %s: exit status %s: %s" % (commands, board, p.returncode, out[-300:]))
	return found


def measure_qemu():
	port = start_server()
	sock = os.path.join(TMP, "qemu.sock")
	start_proxy(sock, port)
	for board in BOARDS:
		fw = "%s/fw/qemu-virt-%s/throughput.elf" % (OPT.build, board)
		counted = "%s/bench/throughput-%s.elf" % (OPT.build, board)
		name = "qemu_%s_" % board
		try:
			# Under TCG the guest is the slow side; the first run warms nothing, two settle it.
			runs = [throughput("qemu-virt-" + board, fw, sock, port, "RT", 96 << 20, False) for _ in range(3)]
			trips = [throughput("qemu-virt-" + board, fw, sock, port, "P", 20000, False) for _ in range(3)]
			for key, op in (("down_mbs", "R"), ("up_mbs", "T")):
				emit(name + key, round(statistics.median(r[op][0] / r[op][1] for r in runs), 1), "MB/s")
			emit(name + "rt_s", round(statistics.median(r["P"][0] / r["P"][1] * 1e6 for r in trips)), "1/s")
			# shift=0: an instruction is a nanosecond of the guest's time.
			bulk = throughput("qemu-virt-" + board, counted, sock, port, "RT", 16 << 20, True)
			trip = throughput("qemu-virt-" + board, counted, sock, port, "P", 1000, True)
			for key, op in (("rx_insn_kib", "R"), ("tx_insn_kib", "T")):
				emit(name + key, round(bulk[op][1] * 1000 / (bulk[op][0] / 1024)), "instructions", None,
				     "lwIP raw (riscv64)", LWIP[key])
			emit(name + "rt_insn", round(trip["P"][1] * 1000 / trip["P"][0]), "instructions", None,
			     "lwIP raw (riscv64)", LWIP["rt_insn"])
		except (Fail, OSError) as e:
			problems.append(str(e))


# --- rpmsg -------------------------------------------------------------------------------

def rload(where, what, count):
	r = subprocess.run([OPT.build + "/bench/rload", what, str(count)], stdout=subprocess.PIPE,
			   stderr=subprocess.STDOUT, text=True, timeout=60, check=False, cwd=ROOT,
			   env=dict(os.environ, AMPSOCK_LINK="rpmsg-host:" + where))
	if r.returncode:
		raise Fail("rload %s: %s" % (what, r.stdout.strip()[-300:]))
	done, seconds = r.stdout.split()
	return float(done) / float(seconds)


def measure_rpmsg():
	rounds = 1 if OPT.smoke else OPT.rounds
	where = "%s/rload.ram,%s/rload.bell" % (TMP, TMP)
	start([OPT.build + "/bench/rload", "serve"], env=dict(os.environ, AMPSOCK_LINK="rpmsg-remote:" + where))
	for name, what, count, div, unit in (("mbs", "up", 64 << 20, 1e6, "MB/s"),
					     ("down_mbs", "down", 64 << 20, 1e6, "MB/s"), ("rt_s", "rt", 20000, 1, "1/s")):
		rates = [rload(where, what, count // (16 if OPT.smoke else 1)) / div for _ in range(rounds)]
		emit("rpmsg_hosted_" + name, round(statistics.median(rates), 1), unit)
	port = start_server()
	sock = os.path.join(TMP, "m3")
	start_proxy(sock, port, "rpmsg-shm:%s.ram,da=0x21000000,table=0x21000000,bell=unix:%s" % (sock, sock))
	elf = OPT.build + "/fw/qemu-mps2/throughput.elf"
	runs = [throughput("qemu-mps2", elf, sock, port, "RT", (1 if OPT.smoke else 16) << 20, False) for _ in range(rounds)]
	trips = [throughput("qemu-mps2", elf, sock, port, "P", 500 if OPT.smoke else 5000, False) for _ in range(rounds)]
	for key, op in (("mbs", "T"), ("down_mbs", "R")):
		emit("rpmsg_m3_" + key, round(statistics.median(r[op][0] / r[op][1] for r in runs), 2), "MB/s")
	emit("rpmsg_m3_rt_s", round(statistics.median(r["P"][0] / r["P"][1] * 1e6 for r in trips)), "1/s")


# --- report ------------------------------------------------------------------------------

def table():
	print("%-26s %14s %12s %7s %24s %7s  %s" % ("bench", "ours", "direct", "ratio", "peer", "ratio", "bar"))
	for r in results:
		peer = "%s %s" % (r["peer"], r["peer_value"]) if r["peer"] and r["peer_value"] is not None else "-"
		ratio = "%.2f" % r["ratio"] if r["ratio"] else "-"
		pratio = "%.2f" % (r["peer_value"] / r["direct"]) if r["direct"] and r["peer_value"] else "-"
		print("%-26s %14s %12s %7s %24s %7s  %s" % (r["bench"], "%s %s" % (r["ours"], r["unit"][:5]),
			r["direct"] if r["direct"] else "-", ratio, peer, pratio, BAR.get(r["bench"], "")))


def main():
	global OPT, TMP
	p = argparse.ArgumentParser()
	p.add_argument("--build", default="build")
	p.add_argument("--part", action="append", choices=("insn", "tcp", "qemu", "rpmsg"))
	p.add_argument("--rounds", type=int, default=3)
	p.add_argument("--smoke", action="store_true")
	OPT = p.parse_args()
	TMP = tempfile.mkdtemp(prefix="ampsock-bench-")
	n = 0
	parts = {"insn": measure_insn, "tcp": measure_tcp, "qemu": measure_qemu, "rpmsg": measure_rpmsg}
	try:
		for part in OPT.part or ["insn", "tcp", "qemu", "rpmsg"]:
			before = len(problems)
			if not OPT.smoke:
				print("bench: %s ..." % part, file=sys.stderr, flush=True)
			try:
				parts[part]()
			except (Fail, OSError, subprocess.TimeoutExpired) as e:
				problems.append(str(e))
			finally:
				stop_all()
			if OPT.smoke:
				n += 1
				ok = len(problems) == before
				print("%s %d - bench %s runs" % ("ok" if ok else "not ok", n, part))
	finally:
		stop_all()
		shutil.rmtree(TMP, ignore_errors=True)
	if OPT.smoke:
		bad = 0
		for line in problems:
			print("# " + line.replace("\n", "\n# "))
		for r in results:
			most = INSN_MOST.get(r["bench"])
			if most:
				n += 1
				bad += r["ours"] > most
				aim = next((v for k, v in INSN_AIM.items() if r["bench"].startswith(k)), 500)
				print("%s %d - %s: %s, at most %d (aim %d)" % (
					"ok" if r["ours"] <= most else "not ok", n, r["bench"], r["ours"], most, aim))
		print("1..%d" % n)
		return 1 if problems or bad else 0
	table()
	for line in problems:
		print("bench: " + line, file=sys.stderr)
	with open(os.path.join(ROOT, OPT.build, "bench.json"), "w", encoding="utf-8") as f:
		json.dump(results, f, indent=1)
		f.write("\n")
	return 1 if problems else 0


if __name__ == "__main__":
	def ended(_sig, _frame):
		stop_all()
		os._exit(130)

	signal.signal(signal.SIGTERM, ended)
	signal.signal(signal.SIGINT, ended)
	sys.exit(main())
