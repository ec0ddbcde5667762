#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 240
"""rpmsg-shm: a remote core in a shared file. Attaching in any order, doorbells, offload, names."""
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import offload as off  # noqa: E402
from harness import Proxy, Server, eq, free_port, main, test  # noqa: E402
from rpmsgguest import DA, EventBell, NoBell, Remote, UnixBell  # noqa: E402


def echo(s):
    while True:
        data = s.recv(65536)
        if not data:
            return
        s.sendall(data)


class Rig:
    """A proxy with one rpmsg-shm link `g`, and its remote. more: keys of the link."""

    def __init__(self, *rules, bell="unix", more="", start=True, **kw):
        self.p = None
        self.bell = None

        def args(p):
            path = os.path.join(p.dir.name, "ram")
            self.bell = {"unix": lambda: UnixBell(os.path.join(p.dir.name, "bell")), "eventfd": EventBell,
                         "poll": NoBell}[bell]()
            return ["--link", f"rpmsg-shm:{path},da={DA:#x},bell={self.bell.arg()},name=g{more}"]
        self.p = Proxy(*rules, args=args, fds=lambda: self.bell.fds() if bell == "eventfd" else [])
        self.r = Remote(os.path.join(self.p.dir.name, "ram"), self.bell, start=start, **kw)

    def close(self):
        self.p.wait_counter("ends", 0)
        self.r.close()
        os.unlink(self.r.path)
        eq(self.p.stop(), [], "left behind")


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
