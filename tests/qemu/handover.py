#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""A QEMU guest keeps its VMM while the proxy's worker dies, the program is replaced, the helper
dies, and a worker hangs: its sockets end once, and are connected again."""

import os
import signal
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "proxy", "lib"))
from fw import (BUILD, Gone, PATIENCE_S, Process, Qemu, Scratch, Server, Tap, dial, echo, free_port,
		link_of, make, worker_pid)
from store import LAUNCH, Store

BOARD = "qemu-virt-aarch64"


class Managed(Process):
	"""The proxy as a service manager starts it, and starts it again."""

	def __init__(self, argv, store):
		self.store, self.argv = store, argv
		self.begin()

	def begin(self):
		with self.store.given() as fds:
			super().__init__([sys.executable, "-c", LAUNCH, ",".join(str(fd) for _, fd in fds),
					  ":".join(name for name, _ in fds)] + self.argv,
					 pass_fds=[fd for _, fd in fds], env={**os.environ, **self.store.env(), "WATCHDOG_USEC": "3000000"})

	def again(self):
		out = self.out
		self.proc.stdin.close()
		self.proc.stdout.close()
		self.begin()
		self.out = out


class Rig:
	def __init__(self, proxy, vm, ports):
		self.proxy, self.vm, self.ports = proxy, vm, ports

	def pump(self):
		self.vm.pump(0.01)
		self.proxy.pump(0)

	def until(self, what, cond):
		end = time.monotonic() + PATIENCE_S
		while not cond():
			if self.vm.proc.poll() is not None or time.monotonic() > end:
				raise Gone(f"{what}:\n{self.vm.out[-1500:]}\n{self.proxy.out[-1500:]}")
			self.pump()

	def both(self, n, seen="up"):
		return all(self.vm.out.count(f"{x} {seen}") >= n for x in ("idle", "busy"))

	def reach(self):
		"""What the firmware serves, from outside: AF_VSOCK and AF_INET."""
		good = []
		for port in self.ports:
			end = time.monotonic() + PATIENCE_S
			while time.monotonic() < end and len(good) <= self.ports.index(port):
				try:
					with dial(port) as conn:
						conn.sendall(b"are you there")
						if conn.recv(100) == b"are you there":
							good.append(port)
				except OSError:  # the guest has not bound again yet
					self.pump()
		return good == list(self.ports)


def one(tap, rig, n, name, do):
	busy = [rig.vm.out.count("busy up"), rig.vm.out.count("busy lost: reset")]
	start = time.monotonic()
	do()
	rig.until(name, lambda: rig.both(n + 1))
	took = (time.monotonic() - start) * 1000
	idle = rig.vm.out.count("idle lost: reset")
	served = rig.reach()
	tap.check(f"{name}: the idle connection hears ECONNRESET once", idle == n, f"{idle} times\n{rig.vm.out}")
	tap.check(f"{name}: the busy one, too", rig.vm.out.count("busy lost") - busy[1] >= 1 and
		  rig.vm.out.count("busy up") > busy[0], rig.vm.out)
	tap.check(f"{name}: both are connected again ({took:.0f} ms), and both listeners are reached",
		  served and rig.vm.proc.poll() is None, f"{rig.vm.out}\n{rig.proxy.out}")


def main():
	tap = Tap()
	make("ampsock-proxy", f"fw/{BOARD}/handover.elf")
	with Scratch() as path, Server(echo) as server, Server(lambda c: c.recv(1)) as silent, \
			Store(os.path.join(path, "notify")) as store:
		vmm, ports = os.path.join(path, "vmm"), (free_port(), free_port())
		argv = [f"{BUILD}/ampsock-proxy", "--link", link_of(BOARD, vmm) + ",name=board",
			"--expose", f"vsock:6000 -> tcp 127.0.0.1:{silent.port}",
			"--allow", f"out tcp 127.0.0.1:{server.port}", "--allow", "in tcp any:80",
			"--publish", f"tcp 127.0.0.1:{ports[0]} -> vsock:5000",
			"--publish", f"tcp 127.0.0.1:{ports[1]} -> inet:80"]
		with Managed(argv, store) as proxy:
			proxy.expect("waiting for a VMM")
			with Qemu(BOARD, "handover", ["127.0.0.1", server.port], vmm) as vm:
				rig = Rig(proxy, vm, ports)
				rig.until("the firmware connects", lambda: rig.both(1))
				tap.check("listeners are reached", rig.reach(), vm.out)
				one(tap, rig, 1, "worker killed",
				    lambda: os.kill(worker_pid(proxy.proc.pid), signal.SIGKILL))
				one(tap, rig, 2, "upgrade", lambda: proxy.proc.send_signal(signal.SIGUSR2))

				def helper():
					proxy.proc.kill()
					proxy.proc.wait()
					proxy.again()
				one(tap, rig, 3, "helper killed", helper)
				one(tap, rig, 4, "worker stopped, and killed by the watchdog",
				    lambda: os.kill(worker_pid(proxy.proc.pid), signal.SIGSTOP))
				vm.type("\n")
				out = vm.finish()
				tap.check("nothing was told twice, nothing came that was not sent", vm.status == 0 and
					  "BAD" not in out, out)
			proxy.expect("guest detached")
	return tap.done()


if __name__ == "__main__":
	sys.exit(main())
