#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""What goes wrong around real firmware in a real QEMU, and what is said about it."""

import concurrent.futures
import os
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fw import BOARDS, BUILD, RPMSG_BOARDS, ROOT, Gone, Process, Proxy, Qemu, Scratch, Server, Tap, dial, free_port, make


def killed_proxy(tap, board, path):
	"""Nothing but the ping can tell a guest that sleeps in recv()."""
	asked = threading.Event()

	def silent(conn):
		while conn.recv(4096):
			asked.set()

	with Server(silent) as server, Proxy(path, "--allow", f"out tcp 127.0.0.1:{server.port}", board=board) as proxy, \
			Qemu(board, "http_get", ["127.0.0.1", server.port], path) as vm:
		asleep = asked.wait(40)
		vm.idle(0.5) # time to fall asleep
		asleep = asleep and vm.proc.poll() is None and "recv" not in vm.out
		proxy.proc.kill()
		start = time.monotonic()
		out = vm.finish()
		took = time.monotonic() - start
		tap.check("the proxy is killed: ECONNRESET for who sleeps in recv()", asleep and took < 15 and
			  "http_get: recv: Connection reset" in out and vm.status == 1,
			  f"{took:.1f} s, status {vm.status}, asleep {asleep}\n{out}")


def command(board, program, args, path):
	"""What run-qemu.sh would start, to be changed."""
	argv = ["boards/run-qemu.sh", board, f"{BUILD}/fw/{board}/{program}.elf", "-s", path, "-n", "--"]
	out = subprocess.run(argv + args, cwd=ROOT, check=True, capture_output=True, timeout=20)
	return out.stdout.decode().split()


def not_shared(tap, board, path):
	argv = command(board, "http_get", ["127.0.0.1", "80"], path)
	private = [a.replace("share=on", "share=off") for a in argv]
	with Proxy(path, "--allow", "out tcp 127.0.0.1:80") as proxy, Process(private):
		try:
			proxy.expect("share=on", 20)
		except Gone:
			pass
		tap.check("QEMU without share=on: the proxy says what to add", "share=on" in proxy.out, proxy.out)
	i = argv.index("-object")
	bare = [a.replace(",memory-backend=m", "") for a in argv[:i] + argv[i + 2:]]
	with Proxy(path, "--allow", "out tcp 127.0.0.1:80") as proxy:
		with Process(bare) as vm:
			try:
				vm.expect("share=on", 20)
			except Gone:
				pass
		try:
			proxy.expect("share=on", 20)
		except Gone:
			pass
		tap.check("QEMU without a memory backend: QEMU says so at once, the proxy at its end",
			  "share=on" in vm.out and "share=on" in proxy.out, f"{vm.out}\n{proxy.out}")


def legacy(tap, board, path):
	argv = [a.replace("force-legacy=false", "force-legacy=true")
		for a in command(board, "http_get", ["127.0.0.1", "80"], path)]
	with Proxy(path, "--allow", "out tcp 127.0.0.1:80"), Process(argv) as vm:
		out = vm.finish()
		tap.check("legacy virtio-mmio: the firmware says what to add",
			  "virtio-mmio.force-legacy=false" in out and vm.status == 126, f"{vm.status}\n{out}")


def second_vmm(tap, board, path):
	port = free_port()
	with Proxy(path, "--publish", f"tcp 127.0.0.1:{port} -> vsock:5000") as proxy:
		with Qemu(board, "vsock_echo", ["serve", "5000", "1"], path) as first:
			first.expect("port 5000")
			with Qemu(board, "vsock_echo", ["serve", "5000", "1"], path) as second:
				second.finish(20)
				try:
					proxy.expect("second VMM", 20)
				except Gone:
					pass
			with dial(port) as conn:
				conn.sendall(b"first")
				got = conn.recv(100)
			first.finish()
			tap.check("a second QEMU on the path is refused, the first goes on", got == b"first" and
				  "second VMM connected" in proxy.out and first.status == 0, proxy.out)
		# QEMU ends and the next one on the same path is served: reset in mid-flow first
		with Qemu(board, "vsock_echo", ["serve", "5000", "1"], path) as vm:
			vm.expect("port 5000")
			conn = dial(port)
			conn.sendall(b"x")
			conn.recv(1)
			vm.proc.kill()
			try:
				end = conn.recv(1)
			except ConnectionResetError:
				end = "reset"
			conn.close()
		with Qemu(board, "vsock_echo", ["serve", "5000", "1"], path) as vm:
			vm.expect("port 5000")
			with dial(port) as conn:
				conn.sendall(b"again")
				got = conn.recv(100)
			vm.finish()
		tap.check("QEMU is killed: its peers see a reset, the next one is served",
			  end == "reset" and got == b"again" and vm.status == 0, f"{end} {got}\n{proxy.out}")


def no_such_board(tap):
	run = subprocess.run(["make", "demo", "BOARD=nonsense"], cwd=ROOT, capture_output=True, timeout=20, check=False)
	said = run.stderr.decode()
	tap.check("make demo BOARD=nonsense names the boards there are", run.returncode == 2 and
		  "BOARD=nonsense is not one of" in said and all(b in said for b in BOARDS), said)


def main():
	tap = Tap()
	no_such_board(tap)
	boards = sys.argv[1:] or BOARDS + RPMSG_BOARDS
	make("ampsock-proxy", *[f"fw/{board}/{name}.elf" for board in boards for name in ("http_get", "vsock_echo")])

	def on_board(board):
		own = tap.of(f"{board}: ")
		tests = [killed_proxy, legacy]
		if board in RPMSG_BOARDS: # its restarts: restarts.py
			tests = [killed_proxy]
		elif board == BOARDS[0] or len(sys.argv) > 1: # QEMU's and the proxy's affair, not the board's
			tests += [not_shared, second_vmm]
		for test in tests:
			with Scratch() as scratch:
				try:
					test(own, board, os.path.join(scratch, "vsock.sock"))
				except (Gone, OSError) as err:
					own.check(f"{test.__name__} runs to its end", False, f"{err!r} {err}")

	# All at the same time: each waits for its guest to miss the proxy, which takes the time of two pings.
	with concurrent.futures.ThreadPoolExecutor(len(boards)) as pool:
		list(pool.map(on_board, boards))
	return tap.done()


if __name__ == "__main__":
	sys.exit(main())
