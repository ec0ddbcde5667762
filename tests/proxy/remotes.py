#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 240
"""rpmsg-shm: a remote core in a shared file. Attaching in any order, doorbells, offload."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import offload as off  # noqa: E402
from harness import Server, eq, main, test  # noqa: E402
from rpmsgrig import Rig, echo  # noqa: E402


def use(r, srv):
    s = off.Session(r)
    c = s.connect("127.0.0.1", srv.port)
    data = os.urandom(100000)
    got = bytearray()
    for at in range(0, len(data), 10000):
        c.send(data[at:at + 10000])
        while len(got) < at + 10000:
            got += c.recv()
    eq(bytes(got), data)
    c.close()
    s.ctl.close()


def attach(bell):
    srv = Server(echo)
    g = Rig(f"allow out tcp 127.0.0.1:{srv.port}", bell=bell)
    use(g.r, srv)
    g.close()
    srv.close()


@test
def attach_unix():
    """a Unix socket as doorbell: offloaded TCP, 100 kB there and back"""
    attach("unix")


@test
def attach_eventfd():
    """eventfds as doorbell"""
    attach("eventfd")


@test
def attach_poll():
    """no doorbell: polling"""
    attach("poll")


main()
