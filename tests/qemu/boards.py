#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""Every board boots, keeps time, sleeps, takes interrupts, speaks virtio-mmio, and says what is wrong."""

import re
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rsplit("/", 1)[0])
from fw import BOARDS, Qemu, Tap, make

RNG = "-device virtio-rng-device"
LEGACY = "-global virtio-mmio.force-legacy=true"


def selftest(tap, board):
	with Qemu(board, "selftest", ["one", "two"], qemu=RNG) as vm:
		out = vm.finish()
		bad = [line for line in out.splitlines() if line.startswith("BAD")]
		good = out.count("good ")
		tap.check(f"{board}: self-test, {good} checks", not bad and good >= 30 and "done" in out, out)
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
	make("fw/qemu-virt-arm-newlib/selftest.elf")
	with Qemu("qemu-virt-arm", "../qemu-virt-arm-newlib/selftest", ["x"], qemu=RNG) as vm:
		out = vm.finish()
		tap.check("qemu-virt-arm with newlib: self-test", "BAD" not in out and "done" in out and
			  vm.status == 0, out)
	for board in BOARDS:
		make(f"fw/{board}/selftest.elf", f"fw/{board}/http_get.elf")
		selftest(tap, board)
		messages(tap, board)
	return tap.done()


if __name__ == "__main__":
	sys.exit(main())
