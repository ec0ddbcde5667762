#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""AF_RPMSG between two processes: one is the remote, one the host, over a file and a bell."""
import errno
import os
import tempfile

from guest import (DGRAM, IN, NONBLOCK, OUT, RPMSG, SEQPACKET, STREAM, Guest, eq, fails, main, pattern, test)

ANY = 0xFFFFFFFF
MB = 1 << 20
LONGEST = b"x" * 496
KEPT = 262144 // (8 + len(LONGEST))  # what a receive ring has room for (src/port/hosted_config.h, docs/posix.md)


def name(text):
    return 0, ANY, text


class Pair:
    """The two ends of a link, in any order; each can die and come again."""

    def __init__(self, first="remote"):
        self.dir = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.bell = os.path.join(self.dir.name, "bell")
        self.remote = self.host = None
        for kind in (first, "host" if first == "remote" else "remote"):
            self.start(kind)

    def start(self, kind):
        g = Guest(f"rpmsg-{kind}:{self.dir.name}/shm,{self.bell}")
        setattr(self, kind, g)
        return g

    def both(self):
        return (self.remote, self.host), (self.host, self.remote)


def listener(g, kind, text, backlog=4):
    return g.socket(RPMSG, kind).bind(name(text)).listen(backlog)


def dial(g, kind, text):
    s = g.socket(RPMSG, kind)
    s.connect(name(text))
    return s


@test
def seqpacket():
    """raw messages, whoever of the two listens"""
    p = Pair()
    for a, b in p.both():
        ls = listener(a, SEQPACKET, "raw")
        c = dial(b, SEQPACKET, "raw")
        c.send(b"first")
        s, who = ls.accept()
        eq(who[1], c.name()[1])
        eq(c.name(peer=True)[1], ls.name()[1])
        eq(s.recv(), b"first")
        for n in (1, 16, 496):
            s.send(pattern(n, n))
            eq(c.recv(), pattern(n, n))
        fails(errno.EMSGSIZE, c.send, bytes(497))
        for i in range(24):
            c.send(b"%d" % i)
        for i in range(24):
            eq(s.recv(), b"%d" % i)
        ls.close()
        s.close()
        eq(c.recv(), b"")  # the service is gone
        c.close()


@test
def stream():
    """bytes both ways at once, half-close, refusal, whoever of the two listens"""
    p = Pair("host")
    for a, b in p.both():
        ls = listener(a, STREAM, "bytes")
        c = dial(b, STREAM, "bytes")
        s, _ = ls.accept()
        jobs = [c.pump(3 * MB), s.pump(2 * MB, 7), c.drain(2 * MB, 7), s.drain(3 * MB)]
        for j in jobs:
            j.get(60)
        eq(jobs[2].words, [str(2 * MB), "-1"])
        eq(jobs[3].words, [str(3 * MB), "-1"])
        c.send(b"last")
        c.shutdown(1)
        eq(s.recvall(4), b"last")
        eq(s.recv(), b"")
        s.send(b"back")
        s.close()
        eq(c.recvall(4), b"back")
        eq(c.recv(), b"")
        c.close()
        ls.close()
        c = b.socket(RPMSG, STREAM)
        c.timeout(21, 0.1)
        fails(errno.ECONNREFUSED, c.connect, name("bytes"))
        c.close()


@test
def dgram():
    """discovery by name, an answer to the address that it came from"""
    p = Pair()
    for a, b in p.both():
        d = a.socket(RPMSG, DGRAM).bind(name("time"))
        c = b.socket(RPMSG, DGRAM)
        c.connect(name("time"))
        c.send(b"what time is it?")
        ret, data, who, _ = d.recvmsg()
        eq((ret, data), (16, b"what time is it?"))
        d.sendto(b"late", who)
        eq(c.recv(), b"late")
        d.close()
        c.close()


@test
def many_streams():
    """32 at once, echoed"""
    p = Pair()
    ls = listener(p.remote, STREAM, "echo", 32)
    serve = p.remote.go("serve", ls.fd, 32)
    socks = [dial(p.host, STREAM, "echo") for _ in range(32)]
    jobs = [(s.pump(200000, i), s.drain(200000, i)) for i, s in enumerate(socks)]
    for pump, drain in jobs:
        pump.get(60)
        drain.get(60)
        eq(drain.words, ["200000", "-1"])
    for s in socks:
        s.close()
    serve.get()


def restart(kind):
    p = Pair()
    other = p.host if kind == "remote" else p.remote
    ls = listener(other, STREAM, "again")
    d = other.socket(RPMSG, DGRAM).bind(name("d"))
    raw = listener(other, SEQPACKET, "raw")
    for _ in range(3):
        g = getattr(p, kind)
        gs, gq = dial(g, STREAM, "again"), dial(g, SEQPACKET, "raw")
        gq.send(b"x")
        s, _ = ls.accept()
        q, _ = raw.accept()
        gs.send(b"abc")
        eq(s.recv(), b"abc")
        eq(q.recv(), b"x")
        waits = s.go_recv()
        g.kill()
        fails(errno.ECONNRESET, waits.get)  # who sleeps in a call hears of it
        eq(s.recv(), b"")
        fails(errno.ECONNRESET, q.recv)
        s.close()
        q.close()
        # connects wait for the next life, listeners are there in it
        late = other.socket(RPMSG, STREAM | NONBLOCK)
        fails(errno.EINPROGRESS, late.connect, name("new"))
        g = p.start(kind)
        new = listener(g, STREAM, "new")
        late.wait(OUT)
        eq(late.error(), 0)
        new.accept()[0].close()
        late.close()
        gd = g.socket(RPMSG, DGRAM)
        gd.connect(name("d"))
        gd.send(b"hello")
        eq(d.recv(), b"hello")
        gd.close()
    for x in (ls, d, raw):
        x.close()
    assert other.stats()["link_resets"] >= 3


@test
def remote_dies():
    """killed and started again: ECONNRESET once, names and listeners work again"""
    restart("remote")


@test
def host_dies():
    """killed and started again: the same, seen from the remote"""
    restart("host")


@test
def eventfds():
    """two inherited eventfds are as good a bell"""
    with tempfile.TemporaryDirectory() as d:
        a, b = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)
        remote = Guest(f"rpmsg-remote:{d}/shm,fd:{a},{b}", fds=(a, b))
        host = Guest(f"rpmsg-host:{d}/shm,fd:{b},{a}", fds=(a, b))
        os.close(a)
        os.close(b)
        ls = listener(remote, STREAM, "bytes")
        c = dial(host, STREAM, "bytes")
        s, _ = ls.accept()
        for i in range(50):
            c.send(b"ping %d" % i)
            eq(s.recv(), b"ping %d" % i)
            s.send(b"pong %d" % i)
            eq(c.recv(), b"pong %d" % i)
        for x in (c, s, ls):
            x.close()
        remote.stop()
        host.stop()


@test
def stalled():
    """a raw socket that is not read fails loudly, and the link goes on"""
    p = Pair()
    ls, other = listener(p.remote, SEQPACKET, "slow"), listener(p.remote, STREAM, "quick")
    c = dial(p.host, SEQPACKET, "slow")
    for _ in range(KEPT + 8):
        c.send(LONGEST)
    s, _ = ls.accept()
    q = dial(p.host, STREAM, "quick")
    a, _ = other.accept()
    q.send(b"alive")
    eq(a.recvall(5), b"alive")
    assert s.wait(IN) & IN
    for _ in range(KEPT):
        eq(s.recv(), LONGEST)
    fails(errno.ENOBUFS, s.recv)
    for x in (ls, other, c, s, q, a):
        x.close()


if __name__ == "__main__":
    main()
