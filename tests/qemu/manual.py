#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""The command lines of the manual pages do what they say: firmware that is reached through the proxy."""

import concurrent.futures
import os
import re
import shlex
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fw import BUILD, PATIENCE_S, ROOT, Gone, Process, Scratch, Tap, dial, free_port, make

BLOCK = re.compile(r"^\.Bd -literal.*?\n(.*?)^\.Ed", re.MULTILINE | re.DOTALL)
# What the pages tell owners of this firmware to add.
SEMIHOSTING = "-semihosting-config enable=on,target=native"
BOARD = {"qemu-system-aarch64": "qemu-virt-aarch64", "qemu-system-arm": "qemu-mps2"}


def examples():
	"""(page, text) of each block that starts QEMU, and whether the page has that to add."""
	for page in ("ampsock-proxy.8", "ampsock.7"):
		with open(os.path.join(ROOT, "man", page), encoding="utf-8") as f:
			text = f.read()
		for block in BLOCK.findall(text):
			if "qemu-system-" in block:
				yield page, block.replace("\\e\n", " "), SEMIHOSTING in text


def command(text, name):
	"""The line that starts name, in words."""
	line = re.search(rf"^{name}.*$", text, re.MULTILINE)
	return shlex.split(line.group(0)) if line else None


def front_page(port):
	"""Of the firmware's web server, as soon as it listens."""
	end = time.monotonic() + PATIENCE_S
	got = b""
	while b"core without" not in got and time.monotonic() < end:
		try:
			with dial(port) as conn:
				conn.sendall(b"GET / HTTP/1.0\r\n\r\n")
				got = conn.recv(1000)
		except OSError:
			got = b""
		if not got:
			time.sleep(0.05)
	return got


def run(tap, example):
	page, text, told = example
	qemu = re.search(r"^qemu-system-\w+", text, re.MULTILINE).group(0)
	port = free_port()
	with Scratch() as scratch:
		text = re.sub(r"/(run/ampsock|run|dev/shm)/", scratch + "/", text).replace(":8080", f":{port}")
		text = text.replace("firmware.elf", os.path.abspath(os.path.join(ROOT, f"{BUILD}/fw/{BOARD[qemu]}/http_server.elf")))
		proxy = command(text, "ampsock-proxy")
		if not proxy:
			with open(scratch + "/conf", "w", encoding="utf-8") as f:
				f.write(text[text.index("[link"):])
			proxy = ["ampsock-proxy", "--config", scratch + "/conf"]
		with Process([f"{BUILD}/ampsock-proxy", *proxy[1:]]) as p:
			try:
				p.expect("waiting for", 20)
			except Gone:
				pass
			with Process(command(text, qemu) + shlex.split(SEMIHOSTING)) as vm:
				got = front_page(port)
				vm.pump(0)
			p.pump(0)
			tap.check(f"{page}: {qemu}", told and b"core without" in got, f"{got}\n{vm.out}\n{p.out}")


def main():
	tap, all_of_them = Tap(), list(examples())
	make("ampsock-proxy", *[f"fw/{board}/http_server.elf" for board in BOARD.values()])
	with concurrent.futures.ThreadPoolExecutor(len(all_of_them)) as pool:
		for result in [pool.submit(run, tap, e) for e in all_of_them]:
			result.result()
	tap.check("each page has what it had", len(all_of_them) == 3, all_of_them)
	return tap.done()


if __name__ == "__main__":
	sys.exit(main())
