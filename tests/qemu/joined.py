#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""Two machines with firmware, of different kinds, whose links are joined: the one serves the other."""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fw import Gone, Proxy, Scratch, Tap, firmware, link_of, make

STREAM, ECHO = "rpmsg_stream", "rpmsg_echo"


def vsock(tap, one, two, scratch):
	"""Firmware on two boards; the second has CID 4."""
	a, b = os.path.join(scratch, "a"), os.path.join(scratch, "b")
	with Proxy(a, "--link", f"vhost-user-vsock:{b},cid=4,name=b", "--join", "b,cid3", board=one) as proxy:
		with firmware(two, "vsock_echo", ["serve", 5000, 1], b) as server:
			server.expect("port 5000")
			with firmware(one, "vsock_echo", [4, 5000, 200000], a) as client:
				out = client.finish()
				server.finish()
				tap.check(f"{one} to {two}: AF_VSOCK, 200,000 bytes there and back",
					  "200000 bytes there and back" in out and client.status == server.status == 0,
					  f"{out}\n{server.out}\n{proxy.out}")
		with firmware(one, "vsock_echo", [4, 5000, 1], a) as client:
			out = client.finish()
			tap.check(f"{one}: nobody there, refused at once", client.status == 1 and "efused" in out, out)


def rpmsg(tap, board, scratch):
	"""Two microcontrollers with the same firmware; neither knows of the proxy."""
	a, b = os.path.join(scratch, "a"), os.path.join(scratch, "b")
	with Proxy(a, "--link", link_of(board, b) + ",name=b", "--join", "rpmsg0,b", board=board) as proxy:
		for program, name, count, said in ((STREAM, "count", 150000, "150000 bytes arrived"),
						   (ECHO, "echo", 200, "200 messages there and back")):
			with firmware(board, program, ["serve", name, 1], b) as server:
				server.expect(f"service {name}")
				with firmware(board, program, [name, count], a) as client:
					out = client.finish()
					server.finish()
					tap.check(f"{board} to {board}: {program}, {said}",
						  said in out and client.status == server.status == 0,
						  f"{out}\n{server.out}\n{proxy.out}")


def main():
	tap = Tap()
	boards = ["qemu-virt-riscv64", "qemu-virt-aarch64"]
	make("ampsock-proxy", "hosted/vsock_echo", *[f"fw/{b}/vsock_echo.elf" for b in boards],
	     *[f"fw/qemu-mps2/{p}.elf" for p in (STREAM, ECHO)])
	for test, args in ((vsock, boards), (vsock, ["hosted", boards[0]]), (rpmsg, ["qemu-mps2"])):
		with Scratch() as scratch:
			try:
				test(tap, *args, scratch)
			except (Gone, OSError) as err:
				tap.check(f"{test.__name__} runs to its end", False, f"{err!r} {err}")
	return tap.done()


if __name__ == "__main__":
	sys.exit(main())
