#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 400
"""Every example on every board, and hosted, through the proxy to real sockets and back."""

import os
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fw import (BOARDS, RPMSG_BOARDS, Gone, Proxy, Scratch, Server, Tap, UdpEcho, dial, echo, firmware, free_port,
		make, read_all, socket)

PAGE = b"".join(b"line %d of a page\n" % i for i in range(3000))


def page(conn):
	request = b""
	while b"\r\n\r\n" not in request:
		request += conn.recv(4096)
	conn.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + PAGE)


def vsock_echo(tap, board, path):
	port = free_port()
	with Proxy(path, "--publish", f"tcp 127.0.0.1:{port} -> vsock:5000", board=board), \
			firmware(board, "vsock_echo", ["serve", 5000, 1], path) as vm:
		vm.expect("port 5000")
		data = bytes(range(256)) * 1000
		with dial(port) as conn:
			reader = []
			t = threading.Thread(target=lambda: reader.append(read_all(conn)))
			t.start()
			conn.sendall(data)
			conn.shutdown(socket.SHUT_WR)
			t.join(40)
		vm.finish()
		tap.check("published AF_VSOCK listener echoes 256,000 bytes, half-close and all",
			  reader and reader[0] == data and vm.status == 0,
			  f"{len(reader[0]) if reader else 'no'} bytes, status {vm.status}\n{vm.out}")
	with Server(echo) as server, \
			Proxy(path, "--expose", f"vsock:6000 -> tcp 127.0.0.1:{server.port}", board=board), \
			firmware(board, "vsock_echo", [2, 6000, 100000], path) as vm:
		tap.check("AF_VSOCK client, 100,000 bytes there and back",
			  "100000 bytes there and back" in vm.finish() and vm.status == 0, vm.out)


def http(tap, board, path):
	with Server(page) as server, Proxy(path, "--allow", f"out tcp localhost:{server.port}", board=board), \
			firmware(board, "http_get", ["localhost", server.port], path) as vm:
		out = vm.finish()
		tap.check("http_get prints the page", PAGE.decode() in out and vm.status == 0, out)
	with Proxy(path, board=board), firmware(board, "http_get", ["127.0.0.1", 1], path) as vm:
		out = vm.finish()
		tap.check("what no rule allows is refused", vm.status == 1 and "ermission" in out, out)
	port = free_port()
	with Proxy(path, "--allow", "in tcp any:80", "--publish", f"tcp 127.0.0.1:{port} -> inet:80", board=board), \
			firmware(board, "http_server", [80, 5], path) as vm:
		vm.expect("port 80")
		idle = [dial(port) for _ in range(3)] # slow clients hold nobody up
		for _ in range(2):
			with dial(port) as conn:
				conn.sendall(b"GET / HTTP/1.0\r\n\r\n")
				got = read_all(conn)
		good = got.endswith(b"network stack</h1>\n")
		for conn in idle:
			conn.sendall(b"GET / HTTP/1.0\r\n")
			conn.sendall(b"\r\n")
			good &= read_all(conn) == got
			conn.close()
		vm.finish()
		tap.check("http_server serves five clients, slow ones among them", good and vm.status == 0, vm.out)


def udp(tap, board, path):
	with UdpEcho() as server, Proxy(path, "--allow", f"out udp 127.0.0.1:{server.port}", board=board), \
			firmware(board, "udp_echo", ["127.0.0.1", server.port], path) as vm:
		out = vm.finish()
		tap.check("udp_echo, client", "20 datagrams there and back" in out and vm.status == 0, out)
	port = free_port(socket.SOCK_DGRAM)
	with Proxy(path, "--allow", f"in udp any:{port}", "--allow", "out udp local:any", board=board), \
			firmware(board, "udp_echo", ["serve", port, 3], path) as vm, \
			socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
		vm.expect(f"port {port}")
		s.settimeout(20)
		s.connect(("127.0.0.1", port))
		good = True
		for size in (1, 500, 1400):
			s.send(b"u" * size)
			try:
				good &= s.recv(2000) == b"u" * size
			except OSError as err:
				good = False
				vm.out += f"\n{err}"
		vm.finish()
		tap.check("udp_echo, server", good and vm.status == 0, vm.out)


def others(tap, board, path):
	heard = []

	def chatter(conn):
		conn.sendall(b"good evening\n")
		heard.append(conn.makefile("rb").readline()) # typed bytes may come one by one
		conn.sendall(b"good night\n")

	with Server(chatter) as server, Proxy(path, "--allow", f"out tcp 127.0.0.1:{server.port}", board=board), \
			firmware(board, "chat", ["127.0.0.1", server.port], path) as vm:
		vm.expect("good evening")
		before = vm.cpu_s()
		vm.idle(1.0)
		used = vm.cpu_s() - before
		vm.type("hello there\n")
		out = vm.finish()
		tap.check("chat: console and socket in one select()", heard == [b"hello there\n"] and
			  "good night\nchat: the peer has left" in out and vm.status == 0, f"{heard}\n{out}")
		tap.check("chat sleeps while nothing happens", used < 0.3, f"{used:.2f} s of CPU in 1 s")
	with Server(echo) as server, Proxy(path, "--allow", f"out tcp 127.0.0.1:{server.port}", board=board), \
			firmware(board, "zero_copy", ["127.0.0.1", server.port], path) as vm:
		out = vm.finish()
		tap.check("zero_copy", "200000 bytes out, 200000 back" in out and vm.status == 0, out)


def main():
	tap = Tap()
	names = ["http_get", "http_server", "udp_echo", "chat", "zero_copy"]
	make("ampsock-proxy")
	for board in sys.argv[1:] or ["hosted", *BOARDS, *RPMSG_BOARDS]:
		if board in RPMSG_BOARDS:
			own, tests = [], (http, udp, others)
		else:
			own, tests = ["vsock_echo"], (vsock_echo, http, udp, others)
		make(*[f"hosted/{name}" if board == "hosted" else f"fw/{board}/{name}.elf" for name in names + own])
		tap.prefix = f"{board}: "
		for test in tests:
			with Scratch() as scratch:
				try:
					test(tap, board, os.path.join(scratch, "link"))
				except (Gone, OSError) as err:
					tap.check(f"{test.__name__} runs to its end", False, f"{err!r} {err}")
	return tap.done()


if __name__ == "__main__":
	sys.exit(main())
