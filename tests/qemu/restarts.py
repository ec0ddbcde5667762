#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 200
"""Restarts of a remote core and of its host, over and over, with traffic on the way.

	restarts.py [ROUNDS]

tests/qemu/restart.c runs on qemu-mps2 behind the proxy. ROUNDS times (if nothing is said 120, or
as often as 25 s allow) one of these happens while connections of both directions are busy:

	kill    the proxy is killed (SIGKILL) and another one started
	reset   QEMU resets the machine, and loads the firmware's table anew
	warm    the firmware jumps to its reset vector: DRIVER_OK still stands

Afterwards every connection has ended, once; the listeners and names of the firmware answer
again; and when nothing is going on, nothing is in use that was not in use before.
"""

import concurrent.futures
import json
import os
import random
import re
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fw import (BUILD, Gone, PATIENCE_S, Proxy, Qemu, Scratch, Server, Tap, echo, free_port, make, worker_pid)

BOARD = "qemu-mps2"
BACK_S = 10  # for everything to work again
LATE_S = 2.5


class Rig:
	"""Firmware, proxy, an echo server for the firmware's own connection, and ports to reach it."""

	def __init__(self, path):
		self.path = path
		self.server = Server(echo)
		self.tcp, self.stream = free_port(), free_port()
		self.raw = free_port(socket.SOCK_DGRAM)
		self.proxy = self.vm = self.qmp = None
		self.proxy_out = ""

	def __enter__(self):
		return self

	def __exit__(self, *_):
		for p in (self.proxy, self.vm):
			if p:
				p.stop()
		if self.qmp:
			self.qmp.close()
		self.server.sock.close()

	def start_proxy(self):
		self.proxy = Proxy(self.path, "--allow", f"out tcp 127.0.0.1:{self.server.port}",
				   "--allow", "in tcp any:80",
				   "--publish", f"tcp 127.0.0.1:{self.tcp} -> inet:80",
				   "--publish", f"tcp 127.0.0.1:{self.stream} -> rpmsg:echo",
				   "--publish", f"udp 127.0.0.1:{self.raw} -> rpmsg:raw", board=BOARD)

	def kill_proxy(self):
		self.proxy.proc.kill()
		self.proxy.proc.wait()
		self.proxy.idle(0)
		self.proxy_out = self.proxy.out
		self.proxy.stop()

	def start_vm(self):
		self.vm = Qemu(BOARD, "restart", ["127.0.0.1", self.server.port], self.path,
			       qemu=f"-qmp unix:{self.path}.qmp,server=on,wait=off")

	def reset(self):
		if not self.qmp:
			self.qmp = socket.socket(socket.AF_UNIX)
			self.qmp.settimeout(PATIENCE_S)
			self.qmp.connect(self.path + ".qmp")
			self.answers = self.qmp.makefile("r", encoding="utf-8")
			self.answers.readline()
			self.ask("qmp_capabilities")
		self.ask("system_reset")

	def ask(self, what):
		self.qmp.sendall(json.dumps({"execute": what}).encode())
		while "return" not in json.loads(self.answers.readline()):
			pass

	def pump(self):
		self.vm.pump(0)
		self.proxy.pump(0)
		if self.vm.proc.poll() is not None or self.proxy.proc.poll() is not None:
			raise Gone(f"ended: {self.vm.out[-2000:]}\n{self.proxy.out[-2000:]}")

	def once(self, port):
		"""A connection that echoed, or None."""
		conn = None
		try:
			conn = socket.create_connection(("127.0.0.1", port), timeout=BACK_S)
			data = random.randbytes(1500)
			conn.sendall(data)
			got = b""
			while len(got) < len(data):
				piece = conn.recv(4096)
				if not piece:
					raise ConnectionResetError
				got += piece
			if got != data:
				raise Gone("an echo with other bytes")
			return conn
		except (ConnectionError, TimeoutError, socket.timeout):
			if conn:
				conn.close()
			return None

	def until_works(self, port):
		end = time.monotonic() + BACK_S
		while time.monotonic() < end:
			self.pump()
			conn = self.once(port)
			if conn:
				return conn
			time.sleep(0.005)
		raise Gone(f"port {port} does not work again within {BACK_S} s:\n{self.vm.out[-1500:]}\n{self.proxy.out[-1500:]}")

	def until_raw(self):
		"""A raw message and its echo; datagrams may be lost on the way."""
		end = time.monotonic() + BACK_S
		with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
			s.settimeout(0.1)
			s.connect(("127.0.0.1", self.raw))
			data = random.randbytes(100)  # one for all tries: an echo that is late is an echo
			while time.monotonic() < end:
				self.pump()
				try:
					s.send(data)
					if s.recv(1000) == data:
						return
				except (ConnectionError, socket.timeout):
					time.sleep(0.005)
		raise Gone("the raw service does not answer again")

	def quiet(self):
		"""What is in use when nothing is going on."""
		since = len(self.vm.out)
		self.vm.type("q\n")
		self.vm.expect("quiet ", since=since)
		self.vm.expect("\n", since=self.vm.out.index("quiet ", since))
		self.vm.type("g\n")
		line = re.findall(r"quiet (.*)\n", self.vm.out[since:])[-1].split()
		return {k: line[line.index(k) + 1] for k in ("sockets", "rings", "tx", "of", "names",
							      "turns", "resets", "bad") if k in line}


class Busy:
	"""A connection to the firmware that is never idle; ends with it."""

	def __init__(self, conn):
		self.conn = conn
		self.ended = threading.Event()
		self.bytes = 0
		conn.settimeout(BACK_S)
		threading.Thread(target=self.loop, daemon=True).start()

	def loop(self):
		data = bytes(range(256)) * 4
		try:
			while True:
				self.conn.sendall(data)
				got = b""
				while len(got) < len(data):
					piece = self.conn.recv(4096)
					if not piece:
						raise ConnectionResetError # the end is the end
					got += piece
				self.bytes += len(got)
		except ConnectionError:
			self.ended.set()
		except OSError:
			pass # a time-out: it did not end
		finally:
			self.conn.close()

	def wait(self):
		return self.ended.wait(BACK_S + 1)


def resources(proxy):
	pid = worker_pid(proxy.proc.pid)
	with open(f"/proc/{pid}/statm", encoding="ascii") as f:
		pages = int(f.read().split()[1])
	return len(os.listdir(f"/proc/{pid}/fd")), pages * 4


def one_round(rig, kind):
	"""Returns whether every connection ended as it must."""
	busy = [Busy(rig.until_works(rig.tcp)), Busy(rig.until_works(rig.stream))]
	time.sleep(random.choice([0, 0.002, 0.01, 0.05]) * random.random()) # anywhere in the traffic
	since = len(rig.vm.out)
	if kind == "kill":
		rig.kill_proxy()
		rig.start_proxy()
	elif kind == "reset":
		rig.reset()
	else:
		rig.vm.type("w\n")
	if kind != "kill":
		rig.vm.expect("ready", since=since)
	ended = all(b.wait() for b in busy)
	rig.until_works(rig.tcp).close()
	rig.until_works(rig.stream).close()
	rig.until_raw()
	return ended


def same(a, b):
	return all(a[k] == b[k] for k in ("sockets", "rings", "tx", "of", "names"))


def rounds(tap, path, kinds, most, limit_s):
	with Rig(path) as rig:
		rig.start_proxy()
		rig.start_vm()
		rig.until_works(rig.tcp).close()
		rig.until_works(rig.stream).close()
		rig.until_raw()
		first = last = rig.quiet()
		fds, _ = resources(rig.proxy)
		start, done, bad = time.monotonic(), {k: 0 for k in kinds}, {"end": [], "lost": [], "fds": [], "told": []}
		for i in range(most):
			if limit_s and time.monotonic() - start > limit_s:
				break
			kind = kinds[i % len(kinds)]
			what = f"round {i} ({kind})"
			if not one_round(rig, kind):
				bad["end"].append(what)
			done[kind] += 1
			now = rig.quiet()
			if not same(first, now):
				bad["lost"].append(f"{what}: {first} then {now}")
			if resources(rig.proxy)[0] > fds + 1:
				bad["fds"].append(f"{what}: {fds} then {resources(rig.proxy)[0]} descriptors")
			# Two connections of ours, and the firmware's own if it had one.
			told = int(now["resets"]) - int(last["resets"])
			if kind == "kill" and told not in (2, 3):
				bad["told"].append(f"{what}: ECONNRESET {told} times")
			last = now
		total = sum(done.values())
		words = ", ".join(f"{n} x {k}" for k, n in done.items())
		report = [("end", f"every connection ended, everything works again ({(time.monotonic() - start) / total * 1000:.0f} ms a round)"),
			  ("lost", "no socket, ring, buffer or name is lost"),
			  ("fds", "the proxy loses no descriptor"),
			  ("told", "a killed proxy is told once to each connection")]
		least = min(most, 20)
		few = [f"{total} rounds in {limit_s} s are too few: {least} say something"] if total < least else []
		for key, text in report:
			tap.check(f"{words}: {text}", not bad[key] and not few, "\n".join(few + bad[key][:10]))
		rig.vm.type("e\n")
		out = rig.vm.finish()
		tap.check(f"{words}: EOF and EPIPE after the error, all bytes right", "BAD" not in out and rig.vm.status == 0,
			  "\n".join([l for l in out.splitlines() if "BAD" in l][:10]) + f"\nstatus {rig.vm.status}\n{out[-600:]}")


def late(tap, path):
	"""Whoever comes seconds later than the other finds it."""
	with Rig(path) as rig:
		rig.start_proxy()
		rig.proxy.idle(LATE_S)
		rig.start_vm()
		rig.until_works(rig.tcp).close()
		rig.until_works(rig.stream).close()
		rig.until_raw()
		tap.check(f"the firmware comes {LATE_S} s after the proxy", True)
		rig.kill_proxy()
		rig.vm.idle(LATE_S)
		rig.start_proxy()
		rig.until_works(rig.tcp).close()
		rig.until_works(rig.stream).close()
		tap.check(f"another proxy comes {LATE_S} s after the first was killed", True)
	with Rig(path) as rig:
		rig.start_vm()
		rig.vm.expect("waiting for the host")
		rig.vm.idle(LATE_S)
		rig.start_proxy()
		rig.until_works(rig.tcp).close()
		rig.until_works(rig.stream).close()
		rig.until_raw()
		tap.check(f"the proxy comes {LATE_S} s after the firmware, which says that it waits", True)


def main():
	tap = Tap()
	# Here 40 of each kind: what a round loses, each of them loses. `make check-restarts` has 1,000.
	most, limit_s = 120, 25
	if len(sys.argv) > 1:
		if len(sys.argv) > 2 or not re.fullmatch("[1-9][0-9]{0,8}", sys.argv[1]):
			print(f"restarts.py: expected one number of rounds, 1 or more, found `{' '.join(sys.argv[1:])}`",
			      file=sys.stderr)
			return 2
		most, limit_s = int(sys.argv[1]), 0
	make("ampsock-proxy", f"fw/{BOARD}/restart.elf")

	def run(name, test):
		with Scratch() as scratch:
			try:
				test(os.path.join(scratch, "link"))
			except (Gone, OSError) as err:
				tap.check(f"{name} runs to its end", False, f"{err!r} {err}")

	# The first one waits most of the time.
	with concurrent.futures.ThreadPoolExecutor(2) as pool:
		list(pool.map(run, ("late", "rounds"),
			      (lambda p: late(tap, p), lambda p: rounds(tap, p, ["kill", "reset", "warm"], most, limit_s))))
	return tap.done()


if __name__ == "__main__":
	sys.exit(main())
