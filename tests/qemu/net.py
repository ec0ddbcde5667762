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


def counter(conn):
	conn.sendall(b"%d" % len(read_all(conn)))


def udp_client(port, messages):
	"""What comes back for each message."""
	with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
		s.settimeout(20)
		s.connect(("127.0.0.1", port))
		got = []
		for m in messages:
			s.send(m)
			got.append(s.recv(2000) if m else b"")
		return got


def rpmsg(tap, board, path):
	"""Services of the firmware's own, and services that it finds by name."""
	port, raw, talk = free_port(), free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
	with Proxy(path, "--publish", f"tcp 127.0.0.1:{port} -> rpmsg:count",
		   "--publish", f"udp 127.0.0.1:{raw} -> rpmsg:echo",
		   "--publish", f"udp 127.0.0.1:{talk} -> rpmsg:talk", board=board):
		with firmware(board, "rpmsg_stream", ["serve", "count", 1], path) as vm:
			vm.expect("service count")
			with dial(port) as conn:
				conn.sendall(b"s" * 150000)
				conn.shutdown(socket.SHUT_WR)
				said = read_all(conn)
			vm.finish()
			tap.check("rpmsg_stream, a published service: 150,000 bytes and a half-close",
				  said == b"150000" and vm.status == 0, f"{said}\n{vm.out}")
		with firmware(board, "rpmsg_echo", ["serve", "echo", 1], path) as vm:
			vm.expect("service echo")
			sent = [b"m" * n for n in (1, 100, 496)] + [b""]
			got = udp_client(raw, sent)
			vm.finish()
			tap.check("rpmsg_echo, a published raw service: messages whole, the empty one ends it",
				  got == sent and vm.status == 0, f"{got}\n{vm.out}")
		with firmware(board, "rpmsg_dgram", ["serve", "talk", 3], path) as vm:
			vm.expect("service talk")
			got = udp_client(talk, [b"one", b"two", b"three"])
			vm.finish()
			tap.check("rpmsg_dgram, a published raw service", [g.split()[-1] for g in got] ==
				  [b"one", b"two", b"three"] and vm.status == 0, f"{got}\n{vm.out}")
	with Server(counter) as count, UdpEcho() as echo_server:
		with Proxy(path, "--expose", f"rpmsg:count -> tcp 127.0.0.1:{count.port}",
			   "--expose", f"rpmsg:echo -> udp 127.0.0.1:{echo_server.port}", board=board):
			for program, args, said in (("rpmsg_stream", ["count", 150000], "150000 bytes arrived"),
						    ("rpmsg_echo", ["echo", 200], "200 messages there and back"),
						    ("rpmsg_dgram", ["echo", 20], "this is number 20")):
				with firmware(board, program, args, path) as vm:
					out = vm.finish()
					tap.check(f"{program} finds what the host exposes", said in out and vm.status == 0, out)


def two_files(tap, board, path):
	"""The library as one object made of build/ampsock.c."""
	with Server(page) as server, Proxy(path, "--allow", f"out tcp localhost:{server.port}", board=board), \
			firmware(board, "../amalgamation/http_get", ["localhost", server.port], path) as vm:
		out = vm.finish()
		tap.check("http_get, linked with ampsock.c alone, prints the page", PAGE.decode() in out and
			  vm.status == 0, out)


def main():
	tap = Tap()
	names = ["http_get", "http_server", "udp_echo", "chat", "zero_copy"]
	make("ampsock-proxy")
	for board in sys.argv[1:] or ["hosted", *BOARDS, *RPMSG_BOARDS]:
		if board in RPMSG_BOARDS:
			own = ["rpmsg_echo", "rpmsg_stream", "rpmsg_dgram"]
			tests = (http, udp, others, rpmsg, two_files)
			make("fw/amalgamation/http_get.elf")
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
