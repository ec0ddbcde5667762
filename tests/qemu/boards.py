#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""Every board boots, keeps time, sleeps, takes interrupts, speaks to its device or mailbox, and says what is wrong."""

import contextlib
import mmap
import os
import re
import socket
import struct
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from fw import BOARDS, PATIENCE_S, RPMSG_BOARDS, Gone, Qemu, Scratch, Tap, make

RNG = "-device virtio-rng-device"
LEGACY = "-global virtio-mmio.force-legacy=true"


def selftest(tap, board, device, checks):
	with Qemu(board, "selftest", ["one", "two"], qemu=device) as vm:
		out = vm.finish()
		bad = [line for line in out.splitlines() if line.startswith("BAD")]
		good = out.count("good ")
		tap.check(f"{board}: self-test, {good} checks", not bad and good >= checks and "done" in out, out)
		tap.check(f"{board}: arguments arrive", "hello from selftest, 2 argument(s)" in out, out)
		tap.check(f"{board}: main's status is QEMU's", vm.status == 42, f"status {vm.status}")
	with Qemu(board, "selftest", ["input"]) as vm:
		vm.expect("type")
		before = vm.cpu_s()
		vm.idle(1.0)
		used = vm.cpu_s() - before
		tap.check(f"{board}: sleeps while it waits for input", used < 0.3, f"{used:.2f} s of CPU in 1 s")
		vm.type("hello\n")
		out = vm.finish()
		tap.check(f"{board}: the receive interrupt wakes it", "good input by interrupt" in out, out)
	with Qemu(board, "selftest", ["clock"]) as vm:
		vm.expect("now ")
		vm.type("\n")
		vm.expect("now ", since=vm.out.rindex("now ") + 4)
		start = time.monotonic()
		vm.idle(1.0)
		vm.type("\n")
		vm.expect("now ", since=vm.out.rindex("now ") + 4)
		here = (time.monotonic() - start) * 1000
		vm.type("\n")
		out = vm.finish()
		times = [int(t) for t in re.findall(r"now (\d+)\n", out)]
		there = times[2] - times[1]
		tap.check(f"{board}: its second is ours", 0.8 * here < there + 50 < 1.2 * here + 100,
			  f"{there} ms there, {here:.0f} ms here\n{out}")
	with Qemu(board, "selftest", ["fault"]) as vm:
		out = vm.finish()
		tap.check(f"{board}: an exception is reported and ends it",
			  vm.status == 125 and "pc=0x" in out, out)


def mailbox(tap, board):
	"""A word in shared memory and a kick, there and back, many times."""
	rounds = 0
	with Scratch() as scratch:
		path = os.path.join(scratch, "mbox")
		with Qemu(board, "selftest", ["mailbox"], path) as vm:
			vm.expect("mailbox\n")
			with socket.socket(socket.AF_UNIX) as bell, open(path + ".ram", "r+b") as f, \
					mmap.mmap(f.fileno(), 0) as ram:
				bell.connect(path)
				bell.settimeout(PATIENCE_S)
				words = len(ram) - 8
				for i in range(1, 201):
					ram[words:words + 4] = struct.pack("<I", i)
					bell.send(b"\1")
					bell.recv(1)
					rounds += struct.unpack_from("<I", ram, words + 4)[0] == i
				ram[words:words + 4] = b"\xff" * 4
				with contextlib.suppress(BrokenPipeError): # it may have seen it already
					bell.send(b"\1")
			out = vm.finish()
			tap.check(f"{board}: {rounds} of 200 rounds through mailbox and shared memory",
				  rounds == 200 and "good kicks both ways" in out and "BAD" not in out, out)


def messages(tap, board):
	with Qemu(board, "http_get", [], qemu=f"{RNG} {LEGACY}") as vm:
		out = vm.finish()
		tap.check(f"{board}: a legacy device is refused with what to do", vm.status == 126 and
			  "-global virtio-mmio.force-legacy=false" in out, out)
	with Qemu(board, "http_get", [], qemu=RNG) as vm:
		out = vm.finish()
		tap.check(f"{board}: no vsock device: says so", vm.status == 126 and
			  "-device vhost-user-vsock-device" in out, out)


def main():
	tap = Tap()
	for board, device in (("qemu-virt-arm", RNG), ("qemu-mps2", "")):
		make(f"fw/{board}-newlib/selftest.elf")
		with Qemu(board, f"../{board}-newlib/selftest", ["x"], qemu=device) as vm:
			out = vm.finish()
			tap.check(f"{board} with newlib: self-test", "BAD" not in out and "done" in out and
				  vm.status == 0, out)
	for board in BOARDS:
		make(f"fw/{board}/selftest.elf", f"fw/{board}/http_get.elf")
		selftest(tap, board, RNG, 30)
		messages(tap, board)
	for board in RPMSG_BOARDS:
		make(f"fw/{board}/selftest.elf")
		selftest(tap, board, "", 8)
		try:
			mailbox(tap, board)
		except (Gone, OSError) as err:
			tap.check(f"{board}: mailbox", False, f"{err!r} {err}")
	return tap.done()


if __name__ == "__main__":
	sys.exit(main())
