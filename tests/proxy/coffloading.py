#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 240
"""Every test of offloading.py once more, with the carriers on /dev/rpmsgN."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import charkernel  # noqa: E402
import offload as off  # noqa: E402
import offloading  # noqa: E402
from harness import TESTS, main  # noqa: E402
from rpmsgguest import REQUEST, Conn  # noqa: E402


class Rig(charkernel.CharRig):
    """As offloading.Rig. The kernel chooses the ring."""
    last = None

    def __init__(self, *rules, guest=None, env=None, **kw):
        super().__init__(*rules, env=env)
        Rig.last = self
        self.s = off.Session(self.g, **kw)
        real, self.g.close = self.g.close, self.leave
        self.g.real_close = real

    def leave(self):
        self.k.detach()

    def end(self):
        self.k.detach()
        self.p.log("remote detached")
        self.p.wait_counter("sockets", 0)
        self.g.close = self.g.real_close
        self.close()


class Bare(Conn):
    """A connection whose test says REQUEST and nothing else."""

    def post(self, op, data=b"", **kw):
        super().post(op, self.hello() if op == REQUEST and not data else data, **kw)


offloading.Rig = Rig
offloading.Guest = lambda path: charkernel.KernelRemote(Rig.last.k)
offloading.REQUEST = REQUEST
charkernel.KernelRemote.new = lambda self, port: Bare(self, self.lookup("ampsock~s"))
# The kernel's ring is not ours to make slow, nor will it have thousands of devices.
TESTS[:] = [t for t in TESTS if t.__name__ not in ("slow_ring", "accept_without_room")]

main()
