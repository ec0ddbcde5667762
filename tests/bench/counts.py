# SPDX-License-Identifier: BSD-3-Clause
"""Instructions, which are the same on a busy machine: callgrind natively, QEMU -icount in firmware."""

import contextlib
import functools
import os
import re
import socket
import subprocess
import sys
import threading
import time

import common
from common import Fail, ROOT, emit, notes, problems, start, start_proxy, start_server, stop

FEW, MANY = 100, 300
# Of a message: name, arguments of insn, which switching of the count alone, aim.
VSOCK = [("insn_vsock_16", "stream", "nothing", 500), ("insn_vsock_16_device", "stream-down", "nothing", 500),
	 ("insn_vsock_16_seqpacket", "seqpacket", "nothing", 500), ("insn_vsock_rt", "rt", "nothing-rt", None)]
# name, arguments of insn_rpmsg, messages in a burst, aim; a message of a burst is to be cheaper than the lone one
RPMSG = [("insn_rpmsg_seq_16", "seq 16 1", 1, 400), ("insn_rpmsg_seq_496", "seq 496 1", 1, None),
	 ("insn_rpmsg_seq_burst8_16", "seq 16 8", 8, 1), ("insn_rpmsg_stream_16", "stream 16 1", 1, 500)]
BURST = 8
# Kicks of a burst of 8: name, program, its arguments without the count, and behind it; aim
KICKS = [("kicks_vsock_asleep", "insn", "stream", "1 8", 1), ("kicks_vsock_awake", "insn", "awake", "1 8", 0),
	 ("kicks_rpmsg_asleep", "insn_rpmsg", "seq 16 8", "", 1), ("kicks_rpmsg_awake", "insn_rpmsg", "awake 16 8", "", 0)]
# rpmsg-lite's bare callback and OpenAMP's, 16 bytes one way: measured by us with the same compilers.
RAW = {"x86-64": {"rpmsg-lite raw callback": 443, "OpenAMP raw callback": 930},
       "m3": {"rpmsg-lite raw callback": 409, "OpenAMP raw callback": 932}}
SOCKETS = (1, 2, 4, 8, 12, 15)  # connected ones: 16 is the pool, of which one listens
# Guest instructions: the aim, and what lwIP's sockets on FreeRTOS took over virtio-net, counted the same way.
GUEST = {"rx_insn_kib": (1200, 15828), "tx_insn_kib": (1200, 14204), "rt_insn": (1800, 8694)}
# Rates: at least this many times those of lwIP's raw API (lwip/main.c) on the same board, in the same run,
# whichever is faster: asleep while there is nothing to do, or not.
LWIP, POLLING, LWIP_TIMES = "lwIP raw", "lwIP raw, polling", 2
BULK = (("rx_insn_kib", "R"), ("tx_insn_kib", "T"))
BOARDS = ["riscv64", "aarch64"]
FAR_S = .001


@functools.cache
def callgrind(program, what, count):
	"""The same each time: what several figures are told from is run once."""
	out = os.path.join(common.tmp, "callgrind.out")
	r = subprocess.run(["valgrind", "--tool=callgrind", "--collect-atstart=no", "--combine-dumps=yes",
			    "--callgrind-out-file=" + out, common.opt.build + "/bench/" + program] + what.split() + str(count).split(),
			   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
			   check=False, cwd=ROOT)
	m = re.search(r"Collected : (\d+)", r.stdout)
	if r.returncode or not m:
		raise Fail("%s %s: %s" % (program, what, r.stdout[-500:]))
	return int(m.group(1))


@functools.cache
def icount(what, count):
	"""Firmware that counts itself."""
	r = subprocess.run(["boards/run-qemu.sh", "qemu-mps2", common.opt.build + "/bench/insn_rpmsg-m3.elf",
			    "-q", "-icount shift=0", "--"] + what.split() + str(count).split(), stdin=subprocess.DEVNULL,
			   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False, cwd=ROOT)
	m = re.search(r"messages, \d+ kicks, (\d+) instructions", r.stdout)
	if r.returncode or not m:
		raise Fail("insn_rpmsg-m3 %s: %s" % (what, r.stdout[-500:]))
	return int(m.group(1))


# Text of theirs, by what is nearest to a configuration of ours: measured by us with the same compiler and flags.
TEXT = {"rpmsg-small": {"rpmsg-lite echo": 1500, "OpenAMP echo": 5200, "NuttX rpmsg_sockif and below": 22700},
	"inet-small": {"NuttX usrsock and below": 26100},
	"inet-full": {"FreeRTOS-Plus-TCP": 22400, "lwIP raw": 27700, "lwIP sockets": 36900, "Zephyr": 48000}}
RAM = {"ram_per_socket": {"lwIP raw": 156, "lwIP sockets": 412, "FreeRTOS-Plus-TCP": 456, "NuttX": 448},
       "ram_static": {"lwIP, defaults": 15000, "lwIP, typical": 33000}, "stack_max": {"OpenAMP echo": 352}}


def measure_size():
	"""A table's and a chart's worth of `make size`; docs/size.md has all of it, and the record."""
	sys.path.insert(0, os.path.join(ROOT, "tests/size"))
	import size  # pylint: disable=import-outside-toplevel,import-error
	for name, cfg in size.CONFIGS.items():
		common.say("  " + name)
		try:
			got, _ = size.measure(name, cfg, common.opt.build, False)
		except size.Fail as e:
			problems.append("size of %s: %s" % (name, e))
			continue
		for key in size.KEYS:
			peers = RAM.get(key) or next((p for k, p in TEXT.items() if name.endswith(k)), None)
			emit("size", "%s_%s" % (key, name.replace("-", "_")), got[key], "bytes", None, peers, got["budget"][key], lower=True)


def attempt(what):
	try:
		return what()
	except FileNotFoundError as e:
		problems.append("%s: there is no such file or program here: `make deps` installs what is missing" % e.filename)
		return None
	except (Fail, OSError, subprocess.TimeoutExpired) as e:
		problems.append(str(e))
		return None


def vsock_each(what):
	"""Of a message. The difference of two runs leaves set-up out."""
	return (callgrind("insn", what, MANY) - callgrind("insn", what, FEW)) / (MANY - FEW)


def measure():
	for name, what, nothing, aim in VSOCK:
		insns = attempt(lambda w=what, n=nothing: vsock_each(w) - vsock_each(n))
		if insns is not None:
			emit("insn", name, round(insns, 1), "instructions", None, RAW["x86-64"] if aim else None, aim, lower=True)
	for suffix, isa, run in (("", "x86-64", lambda what, n: callgrind("insn_rpmsg", what, n)), ("_m3", "m3", icount)):
		def each(what, run=run):
			return (run(what, MANY) - run(what, FEW)) / (MANY - FEW)

		nothing = attempt(lambda e=each: e("nothing 1 1"))
		if nothing is None:
			continue
		found = {}
		for name, what, burst, aim in RPMSG:
			insns = attempt(lambda e=each, w=what, b=burst: (e(w) - nothing) / b)
			if insns is None:
				continue
			found[name] = round(insns, 1)
			alone = found.get("insn_rpmsg_seq_16") if burst > 1 else None
			emit("insn", name + suffix, found[name], "instructions", alone, None if alone else RAW[isa], aim, lower=True)
		if not common.opt.smoke and {"insn_rpmsg_seq_16", "insn_rpmsg_seq_496"} <= set(found):
			measure_more(suffix, found["insn_rpmsg_seq_496"] - found["insn_rpmsg_seq_16"], each)
	measure_kicks()


def measure_more(suffix, more, each):
	"""What 480 bytes more cost, and what they cost where there is memcpy() alone, once at each end."""
	copies = attempt(lambda: each("copy 496 1") - each("copy 16 1"))
	if copies:
		emit("insn", "insn_rpmsg_496_more" + suffix, round(more, 1), "instructions", round(copies, 1), None, 1.02, lower=True)


def measure_kicks():
	"""Of a burst whose receiver sleeps, and of one whose receiver is awake and asks for itself."""
	for name, program, before, after, aim in KICKS:
		argv = [common.opt.build + "/bench/" + program, *before.split(), "1000", *after.split()]
		out = attempt(lambda a=argv: common.run(a))
		m = re.match(r"(\d+) messages, (\d+) kicks", out or "")
		if m:
			emit("kicks", name, int(m.group(2)) / (int(m.group(1)) // BURST), "a burst", None,
			     {"rpmsg-lite": BURST, "OpenAMP": BURST}, aim, lower=True)
		elif out is not None:
			problems.append("%s: %s" % (" ".join(argv), out[-200:]))


def measure_sockets():
	"""A message among n connections of which every one has its turn, on AF_VSOCK and, raw, AF_RPMSG."""
	for name, program, what, nothing in (("vsock", "insn", "stream", "nothing"),
					     ("rpmsg", "insn_rpmsg", "seq 16 1", "nothing 1 1")):
		idle = attempt(lambda p=program, n=nothing: callgrind(p, n, MANY * 12) - callgrind(p, n, FEW * 12))
		if idle is None:
			continue
		first = None
		for n in (SOCKETS[0], SOCKETS[-1]) if common.opt.smoke else SOCKETS:
			def each(count, p=program, w=what, n=n):
				return callgrind(p, w, "%d %d" % (count * 12, n))

			insns = attempt(lambda e=each: (e(MANY) - e(FEW) - idle) / (MANY - FEW) / 12)
			if insns is None:
				continue
			first = first or round(insns, 1)
			emit("sockets", "sockets_%s_%d" % (name, n), round(insns, 1), "instructions", first, None, 1.1, lower=True)


# --- qemu --------------------------------------------------------------------------------

def guest(argv, commands):
	"""{command: (count, microseconds)} as the guest's own clock saw it."""
	p = start(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
	what = "%s %s" % (argv[2], commands)
	try:
		out, _ = p.communicate(timeout=60)
	except subprocess.TimeoutExpired:
		stop(p)
		out = p.stdout.read() if p.stdout and not p.stdout.closed else ""
		raise Fail("%s does not end: %s" % (what, out[-300:])) from None
	common.procs.remove(p)
	found = {m.group(1): (int(m.group(2)), int(m.group(3)))
		 for m in re.finditer(r"throughput: (\w) (\d+) in (\d+) us", out)}
	if p.returncode or set(found) != set(commands):
		raise Fail("%s: exit status %s: %s" % (what, p.returncode, out[-300:]))
	return found


def throughput(board, elf, sock, port, commands, count, counted):
	"""examples/throughput.c through the proxy."""
	return guest(["boards/run-qemu.sh", board, elf, "-s", sock, "-q", "-icount shift=0" if counted else "",
		      "127.0.0.1", str(port), commands, str(count)], commands)


def lwip(port, commands, count, counted=False, more=""):
	"""The same by lwip/main.c through QEMU's own network."""
	return guest(["boards/run-qemu.sh", "qemu-virt-riscv64", lwip_elf(counted), "-q",
		      "-netdev user,id=n -device virtio-net-device,netdev=n" + (" -icount shift=0" if counted else ""),
		      str(port), commands, str(count), "untimed" if counted else more], commands)


def lwip_elf(counted):
	return "%s/bench/lwip/lwip%s.elf" % (common.opt.build, "-icount" if counted else "")


def echo_late(listener):
	"""Round trips of throughput with a server FAR_S away, one client after the other, until there are no more."""
	with contextlib.suppress(OSError):
		while True:
			conn, _ = listener.accept()
			with conn:
				conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
				head = conn.recv(9, socket.MSG_WAITALL)
				for _ in range(int.from_bytes(head[1:], "little")):
					byte = conn.recv(1)
					time.sleep(FAR_S)  # the distance, nothing is waited for
					conn.sendall(byte)


def count_trips(peers):
	"""
	Instructions of a round trip whose answer finds the guest asleep: the dearest there is, and the same
	each time. An answer that comes before that, on a busy machine, makes it cheaper.
	"""
	sock = os.path.join(common.tmp, "far.sock")
	with socket.create_server(("127.0.0.1", 0)) as listener:
		port = listener.getsockname()[1]
		threading.Thread(target=echo_late, args=(listener,), daemon=True).start()
		proxy = start_proxy([sock], port)
		if peers:
			count_lwip(peers, "rt_insn", port, "P", 256, 1)
		for board in BOARDS:
			elf = "%s/bench/throughput-%s.elf" % (common.opt.build, board)
			trips = attempt(lambda b=board, e=elf: [throughput("qemu-virt-" + b, e, sock, port, "P", 256, True)["P"]
								for _ in common.rounds("instructions of a trip, " + b)])
			if trips:
				emit_counted("qemu_%s_rt_insn" % board, [t[1] * 1000 / t[0] for t in trips], peers)
		stop(proxy)


def emit_counted(name, values, peers):
	kind = re.sub("^qemu_[^_]*_", "", name)
	aim, sockets = GUEST[kind]
	raw = {LWIP + " (riscv64)": peers[kind]} if kind in peers else {}
	emit("qemu", name, values, "instructions", None, dict(raw, **{"lwIP sockets (riscv64)": sockets}), aim, lower=True, digits=0)


def count_lwip(peers, kind, port, op, count, unit):
	"""Instructions of lwIP's raw API for unit bytes, or a round trip: of each round."""
	try:
		got = [lwip(port, op, count, True)[op] for _ in common.rounds("lwIP, " + kind)]
		peers[kind] = [g[1] * 1000 / (g[0] / unit) for g in got]
	except (Fail, OSError) as e:
		notes.append("lwIP: %s" % e)


def rates(ways):
	"""{way: {figure: [of each round]}} of {way: what runs COMMANDS, COUNT}, in turns; a way that fails is left out."""
	kinds = (("down_mbs", "R", 1), ("up_mbs", "T", 1), ("rt_s", "P", 1e6))
	got = {name: {kind: [] for kind, *_ in kinds} for name in ways}
	for i in common.rounds("rates, " + "; ".join(ways)):
		for name in list(ways)[::-1] if i % 2 else list(ways):
			try:
				done = dict(ways[name]("RT", 96 << 20), **ways[name]("P", 20000))
			except (Fail, OSError) as e:
				(problems if name == "ours" else notes).append("%s: %s" % (name, e))
				del ways[name], got[name]
				continue
			for kind, op, unit in kinds:
				got[name][kind].append(done[op][0] / done[op][1] * unit)
	return got


def measure_qemu():
	if common.opt.smoke:
		count_trips({})
		return
	port = start_server()
	peers = {}
	if os.path.exists(lwip_elf(True)):
		for kind, op in BULK:
			count_lwip(peers, kind, port, op, 16 << 20, 1024)
	else:
		notes.append("lwIP is not there: make bench-lwip says why")
	count_trips(peers)
	sock = os.path.join(common.tmp, "qemu.sock")
	start_proxy([sock], port)
	for board in BOARDS:
		fw = "%s/fw/qemu-virt-%s/throughput.elf" % (common.opt.build, board)
		counted = "%s/bench/throughput-%s.elf" % (common.opt.build, board)
		name = "qemu_%s_" % board
		ways = {"ours": lambda what, count, b=board, e=fw: throughput("qemu-virt-" + b, e, sock, port, what, count, False)}
		if board == "riscv64" and peers:
			ways[LWIP] = lambda what, count: lwip(port, what, count)
			ways[POLLING] = lambda what, count: lwip(port, what, count, more="poll")
		got = rates(ways)
		if "ours" not in got:
			continue
		for kind, values in got["ours"].items():
			peer = {k: v[kind] for k, v in got.items() if k != "ours"}
			best = max(peer, key=lambda k, p=peer: common.median(p[k]), default=None)
			emit("qemu", name + kind, values, "1/s" if kind == "rt_s" else "MB/s", None, peer,
			     LWIP_TIMES if peer else None, idle=True, digits=0 if kind == "rt_s" else 1, to=best)
		# shift=0: an instruction is a nanosecond of the guest's time.
		bulk = attempt(lambda b=board, e=counted: [throughput("qemu-virt-" + b, e, sock, port, "RT", 16 << 20, True)
							   for _ in common.rounds("instructions of bulk, " + b)])
		for kind, op in BULK if bulk else ():
			emit_counted(name + kind, [b[op][1] * 1000 / (b[op][0] / 1024) for b in bulk], peers)


# --- rpmsg -------------------------------------------------------------------------------

def rload(where, what, count):
	done, seconds = common.run([common.opt.build + "/bench/rload", what, str(count)],
				   {"AMPSOCK_LINK": "rpmsg-host:" + where}, 60).split()
	return float(done) / float(seconds)


def measure_rpmsg():
	smoke = common.opt.smoke
	where = "%s/rload.ram,%s/rload.bell" % (common.tmp, common.tmp)
	start([common.opt.build + "/bench/rload", "serve"], env=dict(os.environ, AMPSOCK_LINK="rpmsg-remote:" + where))
	for name, what, count, div, unit in (("mbs", "up", 64 << 20, 1e6, "MB/s"),
					     ("down_mbs", "down", 64 << 20, 1e6, "MB/s"), ("rt_s", "rt", 20000, 1, "1/s")):
		rates = [rload(where, what, count // (16 if smoke else 1)) / div for _ in common.rounds("hosted " + what)]
		emit("rpmsg", "rpmsg_hosted_" + name, rates, unit, idle=True)
	port = start_server()
	sock = os.path.join(common.tmp, "m3")
	start_proxy([sock], port, "rpmsg-shm:%s.ram,da=0x21000000,table=0x21000000,bell=unix:%s" % (sock, sock))
	elf = common.opt.build + "/fw/qemu-mps2/throughput.elf"
	runs = [throughput("qemu-mps2", elf, sock, port, "RT", (1 if smoke else 16) << 20, False)
		for _ in common.rounds("Cortex-M3, bulk")]
	trips = [throughput("qemu-mps2", elf, sock, port, "P", 500 if smoke else 5000, False)
		 for _ in common.rounds("Cortex-M3, trips")]
	for key, op in (("mbs", "T"), ("down_mbs", "R")):
		emit("rpmsg", "rpmsg_m3_" + key, [r[op][0] / r[op][1] for r in runs], "MB/s", idle=True, digits=2)
	emit("rpmsg", "rpmsg_m3_rt_s", [r["P"][0] / r["P"][1] * 1e6 for r in trips], "1/s", idle=True, digits=0)
