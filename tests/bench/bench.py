#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every figure beside something measured in the same run.

	bench.py --build DIR [--part NAME ...] [--rounds N] [--smoke | --record [--from FILE]]
	bench.py --parts-only [--part NAME ...]

limits   limits.c: a copy, a system call, a wake-up, TCP over loopback for each side
tcp      load.c against server.c over loopback: directly, through us (the load on the hosted
	 library, vhost-user rings, ampsock-proxy), and through socat, haproxy (splice), nginx,
	 systemd-socket-proxyd and pasta, which carry TCP to TCP. Rates, and the middle's CPU
confine  the proxy with its confinement beside the proxy with --no-confine, policy and counters on
placement  one stream up and down with load, middle and server kept on one core or the other, and free;
	 and the CPU of all three for a GB
latency  lat.c: a byte there and back, alone and beside bulk in the same process, the same ways
flows    the proxy's CPU for a byte and for a message at 1 to 2,000 flows on one link
links    the same at 1 to 50 links
insn     insn.c under callgrind: one 16-byte message from send() entered to recv() returned with
	 the receiver waiting, and a round trip; driver end to device end. What that program itself
	 needs to switch the count on and off is measured and subtracted. Over rpmsg insn_rpmsg.c,
	 remote to host, a message (of a burst: each); and the same (_m3) as Cortex-M3 firmware
	 under QEMU -icount. What 496 bytes cost more than 16, beside memcpy() alone; kicks of a burst
sockets  the same a message by the number of connections that take turns, up to the pool's size
qemu     examples/throughput.c in QEMU (TCG) through the proxy: MB/s and round trips, and once
	 more under -icount shift=0, where guest time counts guest instructions; in turns with lwIP's
	 raw API on the same board (lwip/main.c), over QEMU's own network, asleep and polling
rpmsg    rload.c between two processes over shared memory, buffers of 512 bytes: MB/s of a
	 stream from the remote to the host (_down: the other way), round trips of a raw 16-byte
	 message; and throughput.c on the Cortex-M3 under TCG, through the proxy: MB/s from the
	 firmware (_down: to it), round trips of a byte
size     text, RAM and stack on a Cortex-M4, beside those of the peers (tests/size/size.py)

Ways take turns in every round, the median of the rounds counts, the lowest and the highest are its
spread. Writes DIR/bench.json after each part, and a chart a part, DIR/bench-NAME.svg. What an idle machine
is wanted for is marked so. A part that fails, or SIGINT, costs that part's figures and no other's; what failed
is said at the end, and the exit status is 1. --record: tests/bench/recorded.json and the tables of
docs/performance.md, too; what was not measured keeps its older figure there, and is named.
--from bench.json: those of an earlier run, nothing is measured. --parts-only: are these parts' names?
--smoke is short and prints TAP: does everything run, and are instruction counts as recorded?
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import common  # noqa: E402
import counts  # noqa: E402
import report  # noqa: E402
import tcp  # noqa: E402
from common import Fail, ROOT, notes, problems, results, stop_all  # noqa: E402

PARTS = {"limits": tcp.measure_limits, "tcp": tcp.measure, "confine": tcp.measure_confinement,
	 "placement": tcp.measure_placement, "latency": tcp.measure_latency, "flows": tcp.measure_flows, "links": tcp.measure_links,
	 "insn": counts.measure, "sockets": counts.measure_sockets, "qemu": counts.measure_qemu,
	 "rpmsg": counts.measure_rpmsg, "size": counts.measure_size}


class Interrupted(BaseException):
	"""Not an Exception: nobody on the way takes it for the failure of one figure."""


def measure(part):
	"""True: nothing went wrong. Whatever it is that did, the other parts are measured."""
	before, had = len(problems), len(results)
	try:
		PARTS[part]()
	except Interrupted:
		del results[had:]  # half of a part's figures are no part's
		raise
	except Exception as e:  # pylint: disable=broad-except
		problems.append("%s: %s%s" % (part, "" if isinstance(e, (Fail, OSError)) else type(e).__name__ + ": ", e))
	finally:
		stop_all()
	return len(problems) == before


def smoke(parts):
	lines = []
	for part in parts:
		lines.append((measure(part), "bench %s runs" % part))
	lines += report.guard(results)
	for line in problems:
		print("# " + line.replace("\n", "\n# "))
	for n, (good, text) in enumerate(lines, 1):
		print("%s %d - %s" % ("ok" if good else "not ok", n, text))
	print("1..%d" % len(lines))
	return 0 if all(good for good, _ in lines) else 1


def full(parts):
	machine = report.machine()
	path = os.path.join(ROOT, common.opt.build, "bench.json")
	begun = time.monotonic()
	cut = 0
	try:
		for n, part in enumerate(parts, 1):
			common.say("part %d of %d, %s (%d min so far)" % (n, len(parts), part, (time.monotonic() - begun) / 60))
			measure(part)
			report.write_json(path, {"tools": report.tools(), "machine": machine, "results": results})
	except Interrupted as e:
		cut = 130
		problems.append("interrupted in part %s; what was measured before it is kept (%s)" % (part, e))
	report.table(results)
	for chart in report.charts(common.opt.build, results):
		print("chart: " + chart)
	for line in notes:
		print("peer: " + line, file=sys.stderr)
	for line in problems:
		print("bench: " + line, file=sys.stderr)
	if common.opt.record:
		for line in report.record(results, machine, set(parts) | ({"kicks"} if "insn" in parts else set())):
			print("bench: " + line, file=sys.stderr)
	return cut or (1 if problems else 0)


def again(file):
	"""The table, and with --record the record, of an earlier run."""
	try:
		with open(file, encoding="utf-8") as f:
			got = json.load(f)
		found, machine = got["results"], got["machine"]
	except (OSError, ValueError, KeyError, TypeError) as e:
		print("bench: --from %s: %s: not a bench.json" % (file, e), file=sys.stderr)
		return 2
	report.table(found)
	if common.opt.record:
		report.record(found, machine, {r["group"] for r in found})
	return 0


def part_name(name):
	if name not in PARTS:
		raise argparse.ArgumentTypeError("no part '%s'; there are: %s" % (name, " ".join(PARTS)))
	return name


def round_count(text):
	if not text.isdigit() or not 1 <= int(text) <= 1000:
		raise argparse.ArgumentTypeError("'%s' is no number of rounds; 1 to 1000, and 5 or more for a figure to keep" % text)
	return int(text)


def main():
	p = argparse.ArgumentParser(usage="bench.py [--build DIR] [--part NAME ...] [--rounds N] [--smoke | --record [--from FILE]]")
	p.add_argument("--build", default="build")
	p.add_argument("--part", action="append", type=part_name)
	p.add_argument("--rounds", type=round_count, default=5)
	p.add_argument("--smoke", action="store_true")
	p.add_argument("--record", action="store_true")
	p.add_argument("--from", dest="file")
	p.add_argument("--parts-only", action="store_true")
	common.opt = p.parse_args()
	if common.opt.parts_only:
		return 0
	if common.opt.file:
		return again(common.opt.file)
	common.tmp = tempfile.mkdtemp(prefix="ampsock-bench-")
	try:
		return (smoke if common.opt.smoke else full)(common.opt.part or list(PARTS))
	finally:
		stop_all()
		shutil.rmtree(common.tmp, ignore_errors=True)


if __name__ == "__main__":
	def ended(sig, _frame):
		# Once: what is measured is written. Twice: at once.
		signal.signal(signal.SIGTERM, at_once)
		signal.signal(signal.SIGINT, at_once)
		raise Interrupted(signal.Signals(sig).name)

	def at_once(_sig, _frame):
		common.kill_all()
		shutil.rmtree(common.tmp or "", ignore_errors=True)
		os._exit(130)

	signal.signal(signal.SIGTERM, ended)
	signal.signal(signal.SIGINT, ended)
	try:
		sys.exit(main())
	except Interrupted:
		sys.exit(130)
