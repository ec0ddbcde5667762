#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The cases of check-vhost. Runs inside of the Linux that tests/vhost/vhost.py boots, where /dev/vhost-vsock is."""

import errno
import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "qemu"))
from fw import Gone, Process, Tap, BUILD

BOARD = "qemu-virt-aarch64"
FIRMWARE = ["vhost", "http_get", "http_server"]
PATIENCE_S = 150 # for anything: an emulator in an emulator on a busy machine
HOST, GUEST = socket.VMADDR_CID_HOST, 3
STREAM, SEQPACKET = socket.SOCK_STREAM, socket.SOCK_SEQPACKET
SHUT_RD, SHUT_WR = socket.SHUT_RD, socket.SHUT_WR
PERIOD = 65521
SCRATCH = "/run"
CONNECT_TIMEOUT = 6 # SO_VM_SOCKETS_CONNECT_TIMEOUT: 2 s without it
SIZES = [1, 2, 44, 4051, 4052, 4053, 65536, 1 << 20]


def make_pattern():
	"""One period of what tests/qemu/vhost.c sends."""
	x, out = 12345, bytearray()
	for _ in range(PERIOD):
		x = (x * 1664525 + 1013904223) & 0xffffffff
		out.append(x >> 24)
	return bytes(out)


class Data:
	period = b""

	@classmethod
	def of(cls, length, seed=0):
		seed %= PERIOD
		return (cls.period * (2 + length // PERIOD))[seed:seed + length]


def sha(data):
	return hashlib.sha256(data).hexdigest()


class Firmware(Process):
	"""Our driver, on the kernel's device, behind a console that takes calls."""

	def __init__(self, cid=GUEST, state=None):
		"""state: that of another one, which goes on here."""
		self.monitor = f"{SCRATCH}/monitor-{cid}"
		self.seen = 0
		super().__init__(["boards/run-qemu.sh", BOARD, f"{BUILD}/fw/{BOARD}/vhost.elf", "-q",
				  f"-device vhost-vsock-device,guest-cid={cid} -monitor unix:{self.monitor},server=on,wait=off" +
				  (f" -incoming exec:cat<{state}" if state else "")])
		if not state:
			self.expect("ready\n", PATIENCE_S)
			self.seen = len(self.out)

	def command(self, line):
		"""To QEMU's monitor; what it says."""
		with socket.socket(socket.AF_UNIX) as s:
			s.settimeout(PATIENCE_S)
			s.connect(self.monitor)
			said = ""
			for text in ("", line + "\n"):
				s.sendall(text.encode())
				said = ""
				while not said.endswith("(qemu) "):
					piece = s.recv(4096)
					if not piece:
						raise Gone(f"monitor: {line}: {said}")
					said += piece.decode("latin-1")
			return said

	def start(self, *words):
		"""A call of the firmware's; answer() has what came of it."""
		self.type(" ".join(str(int(w) if not isinstance(w, str) else w) for w in words) + "\n")

	def answer(self, seconds=PATIENCE_S):
		"""(result, errno's name, words)"""
		end = time.monotonic() + seconds
		while not (m := re.compile(r"^= (-?\d+) (\w+)(.*)\n", re.M).search(self.out, self.seen)):
			left = end - time.monotonic()
			if left <= 0 or not self.pump(left):
				raise Gone(f"no answer in:\n{self.out[-2000:]}")
		self.seen = m.end()
		return int(m[1]), m[2], m[3].split()

	def call(self, *words):
		self.start(*words)
		return self.answer()

	def must(self, *words):
		"""A call that has to work: its result."""
		r = self.call(*words)
		if r[0] < 0:
			raise Gone(f"{words}: {r}\n{self.out[-2000:]}")
		return r[0]

	def sockets(self):
		return int(self.call("stats")[2][0])

	def kill(self):
		self.proc.send_signal(signal.SIGKILL)
		self.proc.wait()

	def end(self):
		self.type("end\n")
		self.finish(PATIENCE_S)
		return self.status


class Socat(Process):
	"""
	-t: when one direction has ended, socat gives the other one half a second, then closes it all and drops what is
	still to come. A `cat` that is slow to start on a busy machine needs longer.
	"""

	def __init__(self, *args):
		super().__init__(["socat", "-dd", "-t", str(PATIENCE_S), *args])

	def listening(self):
		self.expect("listening on", PATIENCE_S)
		return self


def set_seconds(s, level, option):
	"""A struct timeval. Python sets nothing but 64-bit numbers on AF_VSOCK: by another name of the descriptor."""
	alias = socket.socket(socket.AF_UNIX, STREAM, 0, s.fileno())
	try:
		alias.setsockopt(level, option, struct.pack("@ll", PATIENCE_S, 0))
	finally:
		alias.detach()


def patient(s):
	"""
	Blocking, with a limit. Not settimeout(): that is a non-blocking socket, on which Linux sends half a record,
	says EAGAIN, and is then asked to send the whole of it once more.
	"""
	s.setblocking(True)
	for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
		set_seconds(s, socket.SOL_SOCKET, option)
	return s


def vsock(kind=STREAM):
	s = patient(socket.socket(socket.AF_VSOCK, kind))
	set_seconds(s, socket.AF_VSOCK, CONNECT_TIMEOUT)
	return s


def listener(port, kind=STREAM, backlog=8):
	s = vsock(kind)
	s.bind((socket.VMADDR_CID_ANY, port))
	s.listen(backlog)
	return s


def accept(lst):
	c, peer = lst.accept()
	return patient(c), peer


def dial(port, kind=STREAM):
	s = vsock(kind)
	s.connect((GUEST, port))
	return s


def read_all(c):
	out = bytearray()
	while piece := c.recv(65536):
		out += piece
	return bytes(out)


def read_n(c, n):
	out = bytearray()
	while len(out) < n and (piece := c.recv(min(65536, n - len(out)))):
		out += piece
	return bytes(out)


def ended(c):
	"""How reading goes on: '' at the end of the stream, an errno's name."""
	try:
		return c.recv(1).decode("latin-1")
	except OSError as e:
		return errno_name(e)


def written(c):
	"""How writing goes on: 'sent', an errno's name."""
	try:
		c.sendall(b"x")
		return "sent"
	except OSError as e:
		return errno_name(e)


def read_rest(c):
	"""All that comes, and how it ends: as ended()."""
	out = bytearray()
	try:
		while piece := c.recv(65536):
			out += piece
		return bytes(out), ""
	except OSError as e:
		return bytes(out), errno_name(e)


def errno_name(e):
	return errno.errorcode.get(e.errno, str(e))


def both(fw, port, lst=None):
	"""A connection, opened by the firmware (to lst) or by us (to its descriptor both.listening): (its fd, our socket)."""
	if lst:
		fd = fw.must("connect", STREAM, HOST, port)
		return fd, accept(lst)[0]
	c = dial(port)
	return fw.must("accept", both.listening), c


CASES = []


def case(fn):
	CASES.append(fn)
	return fn


# ---- ordinary programs ----

@case
def socat_listens(tap, fw):
	with Socat("VSOCK-LISTEN:5000,fork,backlog=16", "EXEC:cat").listening():
		for n in SIZES:
			fw.start("many", STREAM, HOST, 5000, 1, n, 30000)
			r = fw.answer()
			tap.check(f"firmware -> socat VSOCK-LISTEN, and back: {n} bytes", r[0] == 1, f"{r}\n{fw.out[-500:]}")
		r = fw.call("many", STREAM, HOST, 5000, 8, 20000, 3000)
		tap.check("8 connections of the firmware to socat at once", r[0] == 8, r)
	for n in (1, 5000, 1 << 20):
		path = f"{SCRATCH}/got"
		with Socat("-u", "VSOCK-LISTEN:5001", f"CREATE:{path}").listening() as s:
			fd = fw.must("connect", STREAM, HOST, 5001)
			r = fw.call("send", fd, n, 7, 10000)
			fw.must("close", fd)
			s.finish(PATIENCE_S)
		with open(path, "rb") as f:
			got = f.read()
		os.unlink(path)
		tap.check(f"firmware -> socat, to a file: {n} bytes, by hash", r[0] == 0 and sha(got) == sha(Data.of(n, 7)),
			  f"{r}, {len(got)} bytes\n{s.out}")


@case
def socat_connects(tap, fw):
	lfd = fw.must("listen", STREAM, 6000, 4)
	for n in SIZES:
		fw.start("serve", lfd, 1)
		r = subprocess.run(["socat", "-t", str(PATIENCE_S), "-", f"VSOCK-CONNECT:{GUEST}:6000"], input=Data.of(n, 3),
				   capture_output=True, timeout=PATIENCE_S, check=False)
		good = fw.answer()
		tap.check(f"socat VSOCK-CONNECT -> firmware, and back: {n} bytes, by hash",
			  good[0] == 1 and sha(r.stdout) == sha(Data.of(n, 3)),
			  f"{good}, {len(r.stdout)} bytes\n{r.stderr.decode()}")
	for n in (1, 1 << 20):
		data = Data.of(n, 9)
		with subprocess.Popen(["socat", "-u", "-", f"VSOCK-CONNECT:{GUEST}:6000"], stdin=subprocess.PIPE) as p:
			fd = fw.must("accept", lfd)
			fw.start("recv", fd, 2 * n, 9)
			p.communicate(data, PATIENCE_S)
			r = fw.answer()
		fw.must("close", fd)
		tap.check(f"socat -> firmware: {n} bytes and the end, by hash",
			  r[0] == 0 and r[2] == [str(n), "1", sha(data)], r)
	fw.start("serve", lfd, 8)
	procs = [subprocess.Popen(["socat", "-t", str(PATIENCE_S), "-", f"VSOCK-CONNECT:{GUEST}:6000"], stdin=subprocess.PIPE,
				  stdout=subprocess.PIPE) for _ in range(8)]
	sent = [Data.of(20000, 100 * i) for i in range(8)]
	for p, data in zip(procs, sent):
		p.stdin.write(data)
		p.stdin.close()
	got = [p.stdout.read() for p in procs]
	for p in procs:
		p.stdout.close()
		p.wait(PATIENCE_S)
	r = fw.answer()
	tap.check("8 of socat's connections to the firmware at once", r[0] == 8 and got == sent, r)
	fw.must("close", lfd)


# ---- ends ----

@case
def names(tap, fw):
	with listener(5100) as lst:
		fd = fw.must("connect", STREAM, HOST, 5100)
		c, peer = accept(lst)
		name = fw.call("name", fd)[2]
		tap.check("the kernel sees the firmware's CID and port", [str(x) for x in peer] == name and peer[0] == GUEST,
			  f"{peer} {name}")
		fw.must("close", fd)
		c.close()
	lfd = fw.must("listen", STREAM, 6100, 1)
	c = dial(6100)
	r = fw.call("accept", lfd)
	tap.check("the firmware sees the kernel's CID and port", r[2] == [str(HOST), str(c.getsockname()[1])],
		  f"{r} {c.getsockname()}")
	c.close()
	fw.must("close", r[0])
	fw.must("close", lfd)


@case
def half_close(tap, fw):
	both.listening = fw.must("listen", STREAM, 6200, 2)
	with listener(5200) as lst:
		for who, args in (("the firmware's", (5200, lst)), ("the kernel's", (6200,))):
			fd, c = both(fw, *args)
			fw.must("send", fd, 1000, 0, 1000)
			fw.must("shutdown", fd, SHUT_WR)
			first = read_all(c)
			fw.start("recv", fd, 1 << 20, 5)
			c.sendall(Data.of(50000, 5))
			c.close()
			r = fw.answer()
			tap.check(f"{who} connection: the firmware closes its half first", first == Data.of(1000) and
				  r[0] == 0 and r[2][:2] == ["50000", "1"], f"{len(first)} {r}")
			fw.must("close", fd)
			fd, c = both(fw, *args)
			c.sendall(Data.of(1000))
			c.shutdown(SHUT_WR)
			r = fw.call("recv", fd, 1 << 20, 0)
			fw.start("send", fd, 50000, 5, 7000)
			got = read_n(c, 50000)
			sent = fw.answer()
			fw.must("close", fd)
			tap.check(f"{who} connection: the kernel closes its half first", r[0] == 0 and
				  r[2][:2] == ["1000", "1"] and sent[0] == 0 and got == Data.of(50000, 5) and ended(c) == "",
				  f"{r} {sent} {len(got)}")
			c.close()
		fd, c = both(fw, 5200, lst)
		c.shutdown(SHUT_RD)
		c.sendall(b"x") # behind it
		fw.call("recv", fd, 1, 0)
		r = fw.call("send", fd, 1, 0, 1)
		tap.check("the kernel reads no more: EPIPE", r[:2] == (-1, "EPIPE"), r)
		c.close()
		fw.must("close", fd)
	fw.must("close", both.listening)


@case
def refused(tap, fw):
	before = fw.sockets()
	for kind in (STREAM, SEQPACKET):
		r = fw.call("connect", kind, HOST, 7777)
		tap.check(f"nobody listens in Linux: ECONNREFUSED ({kind.name})", r[:2] == (-1, "ECONNREFUSED"), r)
		try:
			dial(7777, kind).close()
			why = "connected"
		except OSError as e:
			why = errno_name(e)
		tap.check(f"nobody listens in the firmware: the kernel says ECONNRESET ({kind.name})", why == "ECONNRESET", why)
	with listener(5300, SEQPACKET):
		r = fw.call("connect", STREAM, HOST, 5300)
		tap.check("a listener of the other type: ECONNREFUSED", r[:2] == (-1, "ECONNREFUSED"), r)
	lfd = fw.must("listen", STREAM, 6300, 1)
	conns, why = [], ""
	for _ in range(4):
		try:
			conns.append(dial(6300))
		except OSError as e:
			why = errno_name(e)
	tap.check("the firmware's backlog is full: the kernel is refused", why == "ECONNRESET" and len(conns) in (1, 2),
		  f"{len(conns)} {why}")
	for c in conns:
		fw.must("close", fw.must("accept", lfd))
		c.close()
	fw.must("close", lfd)
	after = fw.sockets()
	tap.check("none of it left a socket in use", before == after, f"{before} {after}")


@case
def resets(tap, fw):
	"""
	Linux takes an RST on an open connection as a SHUTDOWN of both ways (virtio_transport_do_close(); it sets no
	sk_err): what has come can be read, then the end, and a writer has EPIPE, which comes before all other errors in
	vsock_connectible_sendmsg(). A reader's ECONNRESET is only for the device going: restart(). What is a reset and
	what is not is seen by our socket: after a reset it is gone at once, after a close it waits for Linux's RST.
	"""
	with listener(5400) as lst:
		before = fw.sockets()
		fd, c = both(fw, 5400, lst)
		fw.must("linger", fd, 0)
		fw.must("close", fd)
		# no data: to read some sends CREDIT_UPDATE, and a firmware that said nothing would answer that by an RST
		why = [ended(c), written(c)]
		tap.check("the firmware resets: the kernel has EOF, EPIPE", why == ["", "EPIPE"], why)
		c.close()

		fd, c = both(fw, 5400, lst)
		fw.must("send", fd, 1000, 0, 1000)
		fw.must("linger", fd, 0)
		fw.must("close", fd)
		gone = fw.sockets()
		got = read_rest(c)
		why = written(c)
		tap.check("the firmware resets with data unread in Linux: it has forgotten it, the kernel has the data, EOF, EPIPE",
			  gone == before and got == (Data.of(1000), "") and why == "EPIPE",
			  f"{before} {gone} {len(got[0])} {got[1]} {why}")
		c.close()

		fd, c = both(fw, 5400, lst)
		fw.must("send", fd, 1000, 0, 1000)
		c.sendall(Data.of(5000))
		fw.must("readable", fd, 5000)
		fw.must("linger", fd, 254) # longer than we wait: what ends it is the kernel's RST
		fw.must("close", fd)
		there = fw.sockets()
		got = read_rest(c)
		why = written(c)
		c.close()
		end = time.monotonic() + PATIENCE_S
		while (gone := fw.sockets()) != before and time.monotonic() < end:
			pass
		tap.check("the firmware closes with data unread: the kernel has EOF, EPIPE, and its reset is waited for",
			  there == before + 1 and gone == before and got == (Data.of(1000), "") and why == "EPIPE",
			  f"{before} {there} {gone} {len(got[0])} {got[1]} {why}")

		fd, c = both(fw, 5400, lst)
		fw.must("send", fd, 20000, 0, 1000)
		c.close() # SHUTDOWN of both ways, no RST: the firmware sends that one
		r, s = fw.call("recv", fd, 1, 0), fw.call("send", fd, 1, 0, 1)
		tap.check("the kernel closes with data unread: EOF, then EPIPE", r[0] == 0 and s[:2] == (-1, "EPIPE"), f"{r} {s}")
		fw.must("close", fd)

		fd, c = both(fw, 5400, lst)
		fw.start("send", fd, 8 << 20, 0, 8000)
		good = read_n(c, 100000) == Data.of(100000)
		c.close() # in mid-transfer, the firmware waits for credit or sends
		r = fw.answer()
		tap.check("the kernel closes while the firmware sends: EPIPE", good and r[:2] == (-1, "EPIPE") and
			  100000 <= int(r[2][0]) < 8 << 20, r)
		fw.must("close", fd)
	with Socat("-u", "VSOCK-LISTEN:5401", "OPEN:/dev/null").listening() as s:
		fd = fw.must("connect", STREAM, HOST, 5401)
		fw.must("send", fd, 100000, 0, 8000)
		fw.start("recv", fd, 1, 0)
		s.proc.send_signal(signal.SIGKILL)
		r = fw.answer()
		tap.check("socat is killed: who sleeps in recv() has EOF", r[0] == 0, r)
		fw.must("close", fd)


# ---- seqpacket ----

RECORD_MAX = 65536 // 2 - 8 # what the firmware's ring takes: docs/posix.md, SO_RCVBUF
# The kernel begins a record without the credit for its end: 20000 behind the first five, and the last.
RECORDS = [1, 100, 4052, 4053, 5000, 20000, 2, RECORD_MAX]


def record(i):
	at = sum(RECORDS[:i])
	return Data.of(RECORDS[i], at)


@case
def seqpacket(tap, fw):
	lfd = fw.must("listen", SEQPACKET, 6500, 2)
	with listener(5500, SEQPACKET) as lst:
		for who in ("firmware", "kernel"):
			if who == "firmware":
				fd = fw.must("connect", SEQPACKET, HOST, 5500)
				c = accept(lst)[0]
			else:
				c = dial(6500, SEQPACKET)
				fd = fw.must("accept", lfd)
			got, at = [], 0
			for n in RECORDS:
				fw.start("send", fd, n, at, n)
				got.append(c.recv(1 << 17))
				fw.answer()
				at += n
			tap.check(f"seqpacket, the {who} connects: records of the firmware stay whole",
				  got == [record(i) for i in range(len(RECORDS))], [len(g) for g in got])
			fw.start("records", fd, len(RECORDS))
			for i in range(len(RECORDS)):
				c.sendall(record(i))
			r = fw.answer()
			tap.check(f"seqpacket, the {who} connects: records of the kernel stay whole",
				  r[0] == len(RECORDS) and r[2] == ["1"] + [str(n) for n in RECORDS], r)
			fw.start("send", fd, 30000, 0, 100)
			got = [c.recv(1 << 17) for _ in range(300)]
			r = fw.answer()
			tap.check(f"seqpacket, the {who} connects: 300 records in a row", r[0] == 0 and
				  b"".join(got) == Data.of(30000) and {len(g) for g in got} == {100}, r)
			try:
				c.sendall(bytes(RECORD_MAX + 1))
				why = "sent"
			except OSError as e:
				why = errno_name(e)
			tap.check(f"seqpacket, the {who} connects: one that can never fit is refused in Linux", why in ("EMSGSIZE", "ENOMEM"), why)
			c.shutdown(SHUT_WR)
			r = fw.call("records", fd, 1)
			fw.must("shutdown", fd, SHUT_WR)
			tap.check(f"seqpacket, the {who} connects: both ends", r[0] == 0 and ended(c) == "", r)
			fw.must("close", fd)
			c.close()
	fw.must("close", lfd)


def raw_address(cid, port):
	"""socat's generic address: struct sockaddr_vm behind its family."""
	return "40:0:x0000" + port.to_bytes(4, sys.byteorder).hex() + cid.to_bytes(4, sys.byteorder).hex() + "00000000"


@case
def socat_seqpacket(tap, fw):
	"""
	4000 bytes a read of socat's are a record. Not more of them than there is credit for: socat's sockets do not
	block, see patient().
	"""
	sizes = (1, 4000, 32000)
	any_cid = socket.VMADDR_CID_ANY & 0xffffffff
	with Socat("-b", "4000", f"SOCKET-LISTEN:{raw_address(any_cid, 5550)},socktype=5,fork", "EXEC:cat").listening():
		for n in sizes:
			r = fw.call("many", SEQPACKET, HOST, 5550, 1, n, 4000)
			tap.check(f"firmware -> socat SOCKET-LISTEN, seqpacket, and back: {n} bytes", r[0] == 1, r)
	lfd = fw.must("listen", SEQPACKET, 6550, 1)
	for n in sizes:
		fw.start("serve", lfd, 1)
		r = subprocess.run(["socat", "-b", "4000", "-t", str(PATIENCE_S), "-", f"SOCKET-CONNECT:{raw_address(GUEST, 6550)},socktype=5"],
				   input=Data.of(n, 3), capture_output=True, timeout=PATIENCE_S, check=False)
		good = fw.answer()
		tap.check(f"socat SOCKET-CONNECT -> firmware, seqpacket, and back: {n} bytes, by hash",
			  good[0] == 1 and sha(r.stdout) == sha(Data.of(n, 3)),
			  f"{good}, {len(r.stdout)} bytes\n{r.stderr.decode()}")
	fw.must("close", lfd)


# ---- many small packets ----

@case
def small_packets(tap, fw):
	"""
	Newer kernels charge a packet's memory, too, and reset who counts bytes only. Debian's 6.1 counts bytes: here the
	firmware's meter must not stop or lose anything where it is not needed.
	"""
	with listener(5600) as lst:
		fd, c = both(fw, 5600, lst)
		total, told = 0, []
		for _ in range(5):
			r = fw.call("flood", fd, 1, 3000)
			n = int(r[2][0])
			told.append((r[1], n))
			good = read_n(c, n) == Data.of(n)
			total += n if good else 0
			if not good or r[1] not in ("0", "EAGAIN"):
				break
		tap.check("packets of one byte that nobody reads: it waits, no reset, none lost", len(told) == 5 and
			  all(n > 0 for _, n in told) and sum(n for _, n in told) == total, told)
		fw.start("send", fd, 20000, 11, 1)
		got = bytearray()
		while len(got) < 20000 and (piece := c.recv(700)):
			got += piece
		r = fw.answer()
		tap.check("20,000 sends of one byte to a slow reader", r[0] == 0 and got == Data.of(20000, 11), f"{r} {len(got)}")
		fw.start("recv", fd, 5000, 0)
		data = Data.of(5000)
		for i in range(5000):
			c.sendall(data[i:i + 1])
		r = fw.answer()
		tap.check("5,000 sends of one byte from the kernel", r[0] == 1 and r[2][:2] == ["5000", "1"], r)
		fw.must("close", fd)
		c.close()


@case
def stalled(tap, fw):
	"""One connection whose reader sleeps does not stop another, and loses nothing."""
	with listener(5700) as lst:
		fd, c = both(fw, 5700, lst)
		fd2, c2 = both(fw, 5700, lst)
		r = fw.call("flood", fd, 4000, 4 << 20)
		n = int(r[2][0])
		fw.start("send", fd2, 50000, 0, 5000)
		other = read_n(c2, 50000)
		s = fw.answer()
		tap.check("a stalled reader in Linux stops only its own sender", r[1] == "EAGAIN" and s[0] == 0 and
			  other == Data.of(50000), f"{r} {s}")
		got = read_n(c, n)
		tap.check(f"and gets all that was taken, {n} bytes", got == Data.of(n), len(got))
		data, n = Data.of(1 << 20), 0
		try:
			while n < len(data):
				n += c.send(data[n:n + 4000], socket.MSG_DONTWAIT)
		except BlockingIOError:
			pass
		fw.start("recv", fd2, 30000, 0)
		c2.sendall(Data.of(30000))
		s = fw.answer()
		r = fw.call("recv", fd, n, 0)
		tap.check(f"a stalled reader in the firmware stops only its own, and gets all {n} bytes",
			  0 < n < len(data) and s[2][:2] == ["30000", "1"] and r[2][:2] == [str(n), "1"], f"{s} {r}")
		for one in (fd, fd2):
			fw.must("close", one)
		c.close()
		c2.close()


# ---- another life ----

def restart(tap):
	with listener(5800) as lst:
		for turn in range(3):
			with Firmware() as fw:
				fd, c = both(fw, 5800, lst)
				fd2, c2 = both(fw, 5800, lst)
				lfd = fw.must("listen", STREAM, 6800, 2)
				c3 = dial(6800)
				fd3 = fw.must("accept", lfd)
				fw.must("send", fd3, 10, 0, 10)
				good = read_n(c3, 10) == Data.of(10)
				fw.start("send", fd, 8 << 20, 0, 8000) # killed while it sends
				good &= read_n(c, 50000) == Data.of(50000)
				fw.kill()
				rest = [ended(s) for s in (c2, c3)]
				got, why = read_rest(c)
				good &= 50000 + len(got) < 8 << 20 and got == Data.of(len(got), 50000)
				rest.append(why)
				for s in (c, c2, c3):
					s.close()
				tap.check(f"life {turn + 1} on CID {GUEST}: works until it is killed, then ECONNRESET in Linux", good and
					  rest == ["ECONNRESET"] * 3, f"{good} {rest} {len(got)} bytes, fds {fd} {fd2}")
		with Firmware() as fw:
			fw.start("many", STREAM, HOST, 5800, 1, 20000, 5000)
			c = accept(lst)[0]
			c.sendall(read_all(c))
			c.close()
			r = fw.answer()
			tap.check("and the next one works", r[0] == 1, r)
			tap.check("its main() returns, and QEMU ends", fw.end() == 0, fw.out[-500:])


def migration(tap):
	"""A snapshot goes on in another QEMU, on another CID: the device says so by a TRANSPORT_RESET event."""
	state = f"{SCRATCH}/state"
	with listener(5900) as lst:
		with Firmware() as fw:
			lfd = fw.must("listen", STREAM, 6900, 2)
			fd, c = both(fw, 5900, lst)
			fw.must("send", fd, 1000, 0, 1000)
			good = read_n(c, 1000) == Data.of(1000)
			fw.command(f"migrate exec:cat>{state}")
			said = fw.command("info migrate")
			fw.kill()
			tap.check("a snapshot of it is taken", good and "completed" in said and ended(c) == "ECONNRESET", said)
			c.close()
		with Firmware(GUEST + 1, state) as fw:
			fw.expect("the host has reset the transport\n", PATIENCE_S) # what is typed before is lost
			first, second = fw.call("recv", fd, 1, 0), fw.call("recv", fd, 1, 0)
			tap.check("it goes on elsewhere: its connection is told ECONNRESET once", first[:2] == (-1, "ECONNRESET") and
				  second[0] == 0, f"{first} {second} {fw.out}")
			fw.must("close", fd)
			fd, c = both(fw, 5900, lst)
			name = fw.call("name", fd)
			fw.must("send", fd, 1000, 0, 1000)
			tap.check("it connects from its new CID", read_n(c, 1000) == Data.of(1000) and
				  name[2][0] == str(GUEST + 1), name)
			c.close()
			fw.must("close", fd)
			with vsock() as c:
				c.connect((GUEST + 1, 6900))
				fd = fw.must("accept", lfd)
				c.sendall(b"x")
				r = fw.call("recv", fd, 1, 0)
				tap.check("its listener is there on the new CID", r[0] == 1, r)
	os.unlink(state)


def read_all(c):
	data = b""
	while True:
		piece = c.recv(65536)
		if not piece:
			return data
		data += piece


def offload(tap):
	"""AF_INET of firmware whose device is the kernel's: a proxy with a link of type vsock"""
	subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
	page, port = b"<h1>carried by the kernel</h1>\n" * 500, 8080
	web = socket.socket()
	web.bind(("127.0.0.1", 0))
	web.listen()
	web.settimeout(PATIENCE_S)
	with Process(["./ampsock-proxy", "--link", f"vsock:{GUEST},name=g", "--allow",
		      f"out tcp 127.0.0.1:{web.getsockname()[1]}", "--allow", "in tcp any:80", "--publish",
		      f"tcp 127.0.0.1:{port} -> inet:80"]) as proxy:
		proxy.expect(f"waiting for cid {GUEST}", PATIENCE_S)
		with Process(["boards/run-qemu.sh", BOARD, f"{BUILD}/fw/{BOARD}/http_get.elf", "-q",
			      f"-device vhost-vsock-device,guest-cid={GUEST}", "127.0.0.1", str(web.getsockname()[1])]) as get:
			c, _ = web.accept()
			c.settimeout(PATIENCE_S)
			asked = c.recv(1000)
			c.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + page)
			c.close()
			out = get.finish(PATIENCE_S)
			tap.check("http_get fetches a page through the proxy's AF_VSOCK", asked.startswith(b"GET ") and
				  page.decode() in out and get.status == 0, f"{asked} {out[-500:]}\n{proxy.out}")
		with Process(["boards/run-qemu.sh", BOARD, f"{BUILD}/fw/{BOARD}/http_server.elf", "-q",
			      f"-device vhost-vsock-device,guest-cid={GUEST}", "80", "2"]) as server:
			server.expect("port 80", PATIENCE_S)
			got = []
			for _ in range(2):
				with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as c:
					c.sendall(b"GET / HTTP/1.0\r\n\r\n")
					got.append(read_all(c))
			server.finish(PATIENCE_S)
			tap.check("http_server takes accept carriers that the kernel says are CID 2's", server.status == 0 and
				  all(b"network stack" in g for g in got), f"{got} {server.out[-500:]}\n{proxy.out}")


def run(tap, fn, *args):
	start = time.monotonic()
	try:
		fn(tap, *args)
	except (Gone, OSError, subprocess.SubprocessError, ValueError, IndexError) as e:
		tap.check(f"{fn.__name__}: to its end", False, f"{e!r} {e}")
		return False
	finally:
		print(f"# {fn.__name__}: {time.monotonic() - start:.0f} s", flush=True)
	return True


OWN_FIRMWARE = (restart, migration, offload)  # each starts what it needs


def main():
	with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "pattern"), "rb") as f:
		Data.period = f.read()
	tap = Tap()
	only = sys.argv[1:]
	fw = None
	for fn in CASES:
		if only and fn.__name__ not in only:
			continue
		if not fw:
			fw = Firmware()
		if not run(tap, fn, fw):
			fw.stop() # in an unknown state: the next case gets another
			fw = None
	if fw:
		log = [line for line in fw.out.splitlines() if line.startswith("ampsock: ")]
		st = fw.call("stats")
		tap.check("the link never went down, and nothing bad came of the kernel", st[2][1:] == ["0"] * 3 and not log,
			  f"{st} {log}")
		fw.stop()
	for fn in OWN_FIRMWARE:
		if not only or fn.__name__ in only:
			run(tap, fn)
	tap.done()


if __name__ == "__main__":
	main()
