#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 240
"""Every test of offloading.py once more, with the carriers on rpmsg."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import offload as off  # noqa: E402
import offloading  # noqa: E402
import rpmsgrig  # noqa: E402
from harness import main  # noqa: E402
from rpmsgguest import HDR, REQUEST, Conn, Remote, UnixBell  # noqa: E402


class Rig(rpmsgrig.Rig):
    """As offloading.Rig. guest: the ring's size is all that a remote can choose."""

    def __init__(self, *rules, guest=None, env=None, **kw):
        super().__init__(*rules, env=env, num=(guest or {}).get("num", 32))
        self.g = self.r
        self.s = off.Session(self.g, **kw)

    def end(self):
        self.g.bell.hang_up()
        self.p.log("remote detached")
        self.p.wait_counter("sockets", 0)
        self.close()


class Bare(Conn):
    """A connection whose test says REQUEST and nothing else."""

    def post(self, op, data=b"", **kw):
        super().post(op, self.hello() if op == REQUEST and not data else data, **kw)


def again(path):
    """The next guest on the same link."""
    at = os.path.dirname(path)
    return Remote(os.path.join(at, "ram"), UnixBell(os.path.join(at, "bell")))


offloading.Rig = Rig
offloading.Guest = again
offloading.REQUEST = REQUEST
Remote.new = lambda self, port: Bare(self, self.lookup("ampsock~s"))
assert HDR.size == 8

main()
