#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 200
"""Joined guests with our own sockets at both ends: streams and messages, ends, bulk both ways at once."""
import errno

from guest import (ANY_CID, DGRAM, IN, MSG_EOR, OUT, RPMSG, SEQPACKET, STREAM, VSOCK, Guest, fails, links, main,
                   path_of, pattern, test)
from harness import Proxy, eq

MIB = 1 << 20
ANY = 0xFFFFFFFF


def joined():
    """a (CID 3) and b (CID 4) are joined, c (CID 5) is not"""
    p = Proxy(args=lambda p: links("a", "b", "c")(p) + ["--join", "a,b"])
    return p, *[Guest(path_of(p, n)) for n in "abc"]


def pair(a, b, kind=STREAM, port=5000, cid=4):
    lis = b.socket(VSOCK, kind).bind((ANY_CID, port)).listen()
    later = lis.go_accept()
    s = a.socket(VSOCK, kind)
    s.connect((cid, port))
    t, who = lis.accept(later=later)
    lis.close()
    return s, t, who


@test
def names():
    """each end knows the other's CID and port; the stranger reaches nobody"""
    _, a, b, c = joined()
    s, t, who = pair(a, b)
    eq(who, s.name())
    eq(who[0], 3)
    eq(t.name(), (4, 5000))
    eq(t.name(peer=True), s.name())
    eq(s.name(peer=True), (4, 5000))
    b.socket(VSOCK).bind((ANY_CID, 5001)).listen()
    for g, cid in ((c, 3), (c, 4), (a, 5)):
        fails(errno.ECONNREFUSED, g.socket(VSOCK).connect, (cid, 5001))
    fails(errno.ECONNREFUSED, a.socket(VSOCK).connect, (4, 5002))
    for port in (0x414d5301, 0x414d5302):
        fails(errno.ECONNREFUSED, a.socket(VSOCK).connect, (4, port))


def both_ways(s, t, size):
    """size bytes each way at once, every byte compared; then the one ends, and the other"""
    laters = [t.drain(size, 1), s.drain(size, 2), s.pump(size, 1), t.pump(size, 2)]
    for later in laters:
        later.get(150)
    eq([x.words for x in laters[:2]], [[str(size), "-1"]] * 2)
    s.shutdown(1)
    eq(t.recv(), b"")
    t.send(b"last")
    eq(s.recv(), b"last")
    t.close()
    eq(s.recv(), b"")


@test
def bulk():
    """64 MiB each way at once, every byte compared, then half-close from both sides"""
    _, a, b, _ = joined()
    s, t, _ = pair(a, b)
    both_ways(s, t, 64 * MIB)
    fails(errno.EPIPE, s.send, b"x")


@test
def messages():
    """seqpacket: boundaries and MSG_EOR, messages longer than a transport buffer"""
    _, a, b, _ = joined()
    s, t, _ = pair(a, b, SEQPACKET)
    for n in (1, 3000, 5000, 9000, 1):
        s.send(bytes([n & 255]) * n, MSG_EOR if n == 3000 else 0)
    for n in (1, 3000, 5000, 9000, 1):
        ret, data, _, flags = t.recvmsg(65536)
        eq((ret, data, flags & MSG_EOR), (n, bytes([n & 255]) * n, MSG_EOR if n == 3000 else 0))
    t.send(b"back")
    eq(s.recv(), b"back")


@test
def stalled():
    """a receiver that does not read stops its sender alone, and gets all of it in the end"""
    _, a, b, _ = joined()
    s, t, _ = pair(a, b)
    u, v, _ = pair(a, b, port=5001)
    s.nonblock()
    while a.poll(0.3, (s, OUT))[0]:
        s.pump(1 << 30).wait()
    for g, x, y in ((a, u, v), (b, v, u)):
        x.send(b"go" * 1000)
        eq(y.recvall(2000), b"go" * 1000)
    total = 0
    s.nonblock(False)
    s.shutdown(1)
    later = t.drain(1 << 40)
    later.get()
    total = int(later.words[0])
    eq((total > 1000, later.words[1]), (True, "-1"))


@test
def killed():
    """a guest killed in mid-transfer: ECONNRESET at the other, and the next guest is reached"""
    p, a, b, _ = joined()
    s, t, _ = pair(a, b)
    u, _, _ = pair(b, a, port=6000, cid=3)
    later = t.drain(1 << 40)
    s.pump(1 << 30)
    t.wait(IN)
    a.kill()
    p.log("link a: guest detached")
    fails(errno.ECONNRESET, later.get)
    fails(errno.ECONNRESET, u.recv)
    fails(errno.ECONNREFUSED, b.socket(VSOCK).connect, (3, 6000))
    a = Guest(path_of(p, "a"))
    s, t, _ = pair(a, b)
    s.send(b"again")
    eq(t.recvall(5), b"again")


def remotes_of(more=("", "")):
    """Two rpmsg remotes, joined; more: of their links."""
    p = Proxy(args=lambda p: [x for n, m in zip("ab", more) for x in
                              ("--link", f"rpmsg-shm:{p.dir.name}/{n}.shm,bell=unix:{p.dir.name}/{n}.bell,name={n}{m}")] +
              ["--join", "a,b"])

    def remote(n):
        return Guest(f"rpmsg-remote:{p.dir.name}/{n}.shm,{p.dir.name}/{n}.bell")
    return p, remote


@test
def large():
    """buffers of 2 KiB and 16 KiB, one size a link: messages of every length, longer ones are EMSGSIZE, a stream"""
    for size in (2048, 16384):
        most = size - 16
        _, remote = remotes_of([f",buffer={size}"] * 2)
        a, b = remote("a"), remote("b")
        raw = b.socket(RPMSG, SEQPACKET).bind((0, ANY, "raw")).listen()
        c = a.socket(RPMSG, SEQPACKET)
        c.connect((0, ANY, "raw"))
        c.send(b"first")
        d, _ = raw.accept()
        eq(d.recv(), b"first")
        for x, y in ((c, d), (d, c)):
            for n in (496, 497, most - 1, most):
                x.send(pattern(n, n))
                eq(y.recv(), pattern(n, n))
            fails(errno.EMSGSIZE, x.send, bytes(most + 1))
        lis = b.socket(RPMSG, STREAM).bind((0, ANY, "bulk")).listen()
        later = lis.go_accept()
        s = a.socket(RPMSG, STREAM)
        s.connect((0, ANY, "bulk"))
        t, _ = lis.accept(later=later)
        laters = [t.drain(2 * MIB, 1), s.drain(2 * MIB, 2), s.pump(2 * MIB, 1), t.pump(2 * MIB, 2)]
        for later in laters:
            later.get(100)
        eq([z.words for z in laters[:2]], [[str(2 * MIB), "-1"]] * 2)
        a.stop()
        b.stop()


@test
def remotes():
    """two rpmsg remotes, joined: bulk both ways at once, raw messages, discovery, the end of one"""
    _, remote = remotes_of()
    a, b = remote("a"), remote("b")

    def listener(g, kind, text):
        return g.socket(RPMSG, kind).bind((0, ANY, text)).listen()

    def dial(g, kind, text):
        s = g.socket(RPMSG, kind)
        s.connect((0, ANY, text))  # waits for the announcement
        return s
    for x, y, n in ((a, b, "one"), (b, a, "two")):
        lis = listener(y, STREAM, n)
        later = lis.go_accept()
        s = dial(x, STREAM, n)
        t, _ = lis.accept(later=later)
        both_ways(s, t, 8 * MIB)
        raw = listener(y, SEQPACKET, n + "raw")
        c = dial(x, SEQPACKET, n + "raw")
        c.send(b"first")
        d, _ = raw.accept()
        eq(d.recv(), b"first")
        for k in (1, 16, 496):
            d.send(bytes(k))
            eq(len(c.recv()), k)
        g = y.socket(RPMSG, DGRAM).bind((0, ANY, n + "time"))
        e = dial(x, DGRAM, n + "time")
        e.send(b"what time is it?")
        _, data, who, _ = g.recvmsg()
        g.sendto(b"late", who)
        eq((data, e.recv()), (b"what time is it?", b"late"))
    s = dial(a, STREAM, "one")
    b.kill()
    fails(errno.ECONNRESET, s.recv)
    s = a.socket(RPMSG, STREAM)
    waits = s.go_connect((0, ANY, "one"))
    b = remote("b")
    lis = listener(b, STREAM, "one")
    waits.get()
    t, _ = lis.accept()
    t.send(b"again")
    eq(s.recvall(5), b"again")


if __name__ == "__main__":
    main()
