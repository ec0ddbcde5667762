#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 240
"""Joined guests: they talk to each other, nobody else does, and no lie or stall costs a third."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from harness import Proxy, Server, eq, main, test  # noqa: E402
from vguest import (CREDIT_REQUEST, CREDIT_UPDATE, EOM, EOR, HDR, RCV, REQUEST, RESPONSE, RST, RW,  # noqa: E402
                    SEND, SEQPACKET, SHUTDOWN, STREAM, Gone, Guest, Reset)

MIB = 1 << 20


def links(p):
    return [x for i, n in enumerate("ghx") for x in
            ("--link", f"vhost-user-vsock:{p.path}{i},cid={3 + i},name={n}")]


class Joined:
    """g (CID 3) and h (CID 4) are joined, x (CID 5) is not."""

    def __init__(self, *rules, joins=("g,h",), seqpacket=True, **kw):
        self.p = Proxy(args=lambda p: links(p) + [y for j in joins for y in ("--join", j)] +
                       [x for r in rules for x in ("--" + r.split(" ", 1)[0], r.split(" ", 1)[1])])
        self.g = Guest(self.p.path + "0", seqpacket=seqpacket, **kw)
        self.h = Guest(self.p.path + "1", seqpacket=seqpacket, **kw)
        self.x = Guest(self.p.path + "2", seqpacket=seqpacket, **kw)
        self.g.others, self.h.others, self.x.others = [self.h], [self.g], [self.g, self.h]
        for n in "ghx":
            self.p.log(f"link {n}: guest attached")

    def pair(self, type_=STREAM, port=5000, **kw):
        """A connection from g to h: both ends."""
        self.h.listen(port, **kw)
        c = self.g.connect(port, type_, cid=4)
        return c, self.h.accept(port)

    def counters(self):
        n = len(self.p.lines)
        self.p.counters()
        return self.p.log("counters: join=", start=n)

    def end(self):
        for g in (self.g, self.h, self.x):
            g.close()
        self.p.stop()


def refused(g, cid, port, type_=STREAM):
    try:
        g.connect(port, type_, cid=cid)
    except Reset:
        return
    raise AssertionError(f"CID {g.cid} reached CID {cid} port {port}")


@test
def stream():
    """a stream between two joined guests, both ways, opened from either side"""
    j = Joined()
    a, b = j.pair()
    for n in (1, 100, 3733, 70000, 200000):
        data = os.urandom(n)
        a.send(data)
        eq(b.recv_exact(n), data)
        b.send(data[::-1])
        eq(a.recv_exact(n), data[::-1])
    j.g.listen(7)
    c = j.h.connect(7, cid=3)
    d = j.g.accept(7)
    c.send(b"back")
    eq(d.recv_exact(4), b"back")
    line = j.counters()
    eq("pairs=2 " in line and "waiting=0,0" in line, True, line)
    for e in (a, c):
        e.shutdown(RCV | SEND)
    b.wait(lambda: b.peer_shut == RCV | SEND)
    d.wait(lambda: d.peer_shut == RCV | SEND)
    b.reset()
    d.reset()
    a.g.wait(lambda: a.state == c.state == "reset")
    eq("pairs=0 " in j.counters(), True, "pairs after the end")
    j.end()


@test
def isolation():
    """who is not joined reaches nobody, and is told so in one line"""
    j = Joined()
    for g in (j.g, j.h, j.x):
        g.listen(5000)
    for a, cid in ((j.x, 3), (j.x, 4), (j.g, 5), (j.h, 5), (j.g, 9), (j.x, 2)):
        refused(a, cid, 5000)
    j.p.log("link x: the guest asked for CID 3 port 5000 .*no join leads there")
    eq(j.g.accepted, {})
    eq(j.h.accepted, {})
    eq(j.x.accepted, {})
    c, d = j.pair()
    c.send(b"x")
    eq(d.recv_exact(1), b"x")
    j.end()


if __name__ == "__main__":
    main()
