#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 240
"""Joined remotes: services of the one are the other's, streams and raw messages; nobody else's."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from harness import TIMEOUT, Proxy, Server, echo, eq, main, test  # noqa: E402
from rpmsgguest import ACCEPT_PORT, DA, DATA, DOOR, HDR, NS, NS_ADDR, RPMSG, EventBell, Raw, Remote  # noqa: E402
from vguest import SEND, Reset  # noqa: E402


def till(g, cond, timeout=None):
    if not g.wait(cond, timeout):
        raise AssertionError("it does not come")


class Joined:
    """Remotes a and b are joined, c is not."""

    def __init__(self, *rules, joins=("a,b",), keys=("", "", ""), **kw):
        self.bells = [EventBell() for _ in range(3)]

        def args(p):
            out = []
            for n, b, k in zip("abc", self.bells, keys):
                out += ["--link", f"rpmsg-shm:{p.dir.name}/{n},da={DA:#x},bell={b.arg()},name={n}{k}"]
            return out + [y for j in joins for y in ("--join", j)] + \
                [x for r in rules for x in ("--" + r.split(" ", 1)[0], r.split(" ", 1)[1])]
        self.p = Proxy(args=args, fds=lambda: [fd for b in self.bells for fd in b.fds()])
        self.a, self.b, self.c = self.all = [Remote(f"{self.p.dir.name}/{n}", b, **kw) for n, b in zip("abc", self.bells)]
        for r in self.all:
            r.others = [x for x in self.all if x is not r]

    def counters(self):
        self.p.counters()
        at = max(i for i, x in enumerate(self.p.lines) if f"counters: link={self.p.first}" in x)
        return self.p.log("counters: join=", start=at)

    def end(self):
        for r in self.all:
            r.close()
            os.unlink(r.path)
        self.p.stop()


def names(r):
    return sorted(n for n in r.services if n != DOOR)


@test
def announced():
    """services are known to the joined remote by name, and to no other; withdrawn by name and by death"""
    j = Joined()
    raw = Raw(j.a)
    j.a.announce("raw", raw)
    j.a.listen("bytes")
    j.a.listen(ACCEPT_PORT)  # the front door is no service for others
    j.b.lookup("raw")
    j.b.lookup("bytes~s")
    eq((names(j.b), names(j.c)), (["bytes~s", "raw"], []))
    j.a.announce("raw", raw, gone=True)
    till(j.b, lambda: names(j.b) == ["bytes~s"])
    j.b.listen("other")
    j.a.lookup("other~s")
    j.b.reboot()  # and with it everything that it knew and had
    j.b.wait_up()
    j.b.lookup("bytes~s")
    till(j.a, lambda: names(j.a) == [])
    eq("services=1,0 " in j.counters(), True, j.counters())
    j.a.reboot()
    j.a.wait_up()
    till(j.b, lambda: names(j.b) == [])
    for bad in (b"a b", b"tab\t", b"\xff\xfe"):
        j.a.post(0x77, NS_ADDR, NS.pack(bad, 0x77, 0))
    j.a.post(0x77, NS_ADDR, NS.pack(b"good", 0x77, 0))
    j.a.flush()
    till(j.b, lambda: names(j.b))
    eq(names(j.b), ["good"])
    eq([x for x in j.p.lines if "not passed on" in x and DOOR in x], [])  # a matter of course
    j.end()


@test
def stream():
    """a stream from either side, bulk both ways, half-close, reset, refusal"""
    j = Joined()
    for x, y, n in ((j.a, j.b, "up"), (j.b, j.a, "down")):
        y.listen(n)
        s = x.connect(n)
        t = y.accept(n)
        data = os.urandom(150000)
        s.send(data)
        eq(t.recv_exact(len(data)), data)
        t.send(data[::-1])
        eq(s.recv_exact(len(data)), data[::-1])
        s.send(b"last")
        s.shutdown(SEND)
        eq(t.recv_exact(4), b"last")
        eq(t.recv(), b"")
        t.send(b"answer")
        eq(s.recv_exact(6), b"answer")
        t.close()
        eq(s.recv(), b"")
        s.close()
        s = x.connect(n)
        t = y.accept(n)
        t.reset()
        till(s.g, lambda s=s: s.state == "reset")
        y.listening.clear()
        try:
            x.connect(n)
            raise AssertionError("accepted")
        except Reset:
            pass
    j.p.log("link a: a stream to joined link b: Connection refused")
    j.p.wait_counter("flows", 0)
    j.end()


@test
def back_pressure():
    """a receiver that does not read stops its sender, and nobody else"""
    j = Joined()
    j.b.listen("slow", buf_alloc=10000)
    j.b.listen("quick")
    s, q = j.a.connect("slow"), j.a.connect("quick")
    t, u = j.b.accept("slow"), j.b.accept("quick")
    sent = 0
    # that it has stopped has no event; that it must not stop yet has
    while s.g.wait(lambda: s.credit() > 0, TIMEOUT if sent <= 10000 else 0.5):
        n = min(s.credit(), 400)
        s.send(bytes([sent // 400 % 251]) * n)
        sent += n
    eq(10000 < sent < 600000, True, sent)
    j.b.wait(lambda: len(t.rx) >= 10000)
    eq(len(t.rx), 10000)
    q.send(b"q" * 50000)
    eq(u.recv_exact(50000), b"q" * 50000)
    eq(len(t.recv_exact(sent)), sent)
    s.send(b"more")
    eq(t.recv_exact(4), b"more")
    j.end()


@test
def raw():
    """raw messages: each source has an address of its own, answers find back, from other endpoints too"""
    j = Joined()
    srv = Raw(j.b, 0x30)
    j.b.announce("raw", srv)
    at = j.a.lookup("raw")
    one, two = Raw(j.a), Raw(j.a)
    for n in (0, 1, 496):
        one.send(at, b"1" * n)
        two.send(at, b"2" * n)
        got = dict(reversed(srv.recv()) for _ in range(2))
        eq(sorted(got), sorted({b"1" * n, b"2" * n}))
    who1, who2 = got[b"1" * 496], got[b"2" * 496]
    eq(who1 != who2, True)
    srv.send(who2, b"to two")
    srv.send(who1, b"to one")
    eq(one.recv(), (at, b"to one"))
    eq(two.recv(), (at, b"to two"))
    child = Raw(j.b)  # answers for the service
    child.send(who1, b"from a child")
    src, data = one.recv()
    eq((src != at, data), (True, b"from a child"))
    one.send(src, b"to the child")
    eq(child.recv(), (who1, b"to the child"))
    eq(j.c.unknown + j.c.heard[1:], [])
    # c knows the numbers, but nothing is there on its link
    stranger = Raw(j.c)
    stranger.send(at, b"hello?")
    j.c.wait(lambda: False, 0.05)
    eq(srv.msgs, [])
    svc = j.b.listen("bytes")  # what serves streams sends no raw messages, nor is sent any
    j.b.post(svc.addr, who1, b"not raw")
    child.send(who1, b"raw")
    eq(one.recv()[1], b"raw")
    eq(one.msgs, [])
    line = j.counters()
    eq("services=0,2 " in line and "drops=0,1" in line, True, line)
    j.b.announce("raw", srv, gone=True)
    till(j.a, lambda: "raw" not in j.a.services)
    one.send(at, b"too late")
    j.a.wait(lambda: False, 0.05)
    eq(srv.msgs, [])
    j.end()


@test
def many_sources():
    """more sources than there is room for: the longest silent gives way, all are heard"""
    j = Joined()
    srv = Raw(j.b, 0x30)
    j.b.announce("raw", srv)
    at = j.a.lookup("raw")
    for i in range(700):
        j.a.post(5000 + i, at, b"%d" % i)
    got = [srv.recv() for _ in range(700)]
    eq([d for _, d in got], [b"%d" % i for i in range(700)])
    eq(len({s for s, _ in got}), 700)
    eq("sources=256,0 " in j.counters(), True, j.counters())
    srv.send(got[699][0], b"back")
    till(j.a, lambda: j.a.unknown)
    eq(j.a.unknown, [(at, 5699, b"back")])
    for _ in range(3):  # names: 64 of them
        for i in range(100):
            j.a.post(900 + i, NS_ADDR, NS.pack(b"n%d" % i, 900 + i, 0))
    j.a.flush()
    till(j.b, lambda: len(names(j.b)) == 64)
    eq("services=64,1 " in j.counters(), True, j.counters())
    j.p.log("link a: its service n64 is not passed on to link b: more than 64")
    for src in (NS_ADDR, 0xffffffff):
        j.a.post(src, at, b"from nowhere")
    j.a.post(77, at, b"end")
    eq(srv.recv()[1], b"end")
    j.end()


@test
def restless():
    """a remote that announces and withdraws without end has no names any more, until it starts anew"""
    j = Joined()
    j.a.listen("good")
    j.b.lookup("good~s")
    ep = Raw(j.a)
    for _ in range(2000):
        j.a.announce("flap", ep)
        j.a.announce("flap", ep, gone=True)
    j.p.log("link a: it announces and withdraws services without end: link b is told of none")
    till(j.b, lambda: not names(j.b))
    eq("services=0,0 " in j.counters(), True, j.counters())
    j.b.listen("mine")  # the other way it works
    s = j.a.connect("mine")
    t = j.b.accept("mine")
    s.send(b"x")
    eq(t.recv(), b"x")
    j.a.wait(lambda: False, 0.1)
    j.a.listen("late")
    s.send(b"y")
    eq(t.recv(), b"y")
    j.b.wait(lambda: False, 0.1)
    eq(names(j.b), [])
    j.a.reboot()
    j.a.wait_up()
    j.a.listen("good")
    j.b.lookup("good~s")
    j.end()


@test
def shares():
    """few buffers: raw messages, joined streams and the remote's own flows all get some"""
    def forever(s):
        try:
            while True:
                s.sendall(b"f" * 65536)
        except OSError:
            pass
    for num in (1, 2, 8):
        srv = Server(forever)
        j = Joined(f"expose rpmsg:own -> tcp 127.0.0.1:{srv.port}", joins=("a,c", "c,b"), num=num)
        raw = Raw(j.c, 0x30)
        j.c.announce("raw", raw)
        j.c.listen("bytes")
        at = j.a.lookup("raw")
        send = j.b.connect("bytes")
        take = j.c.accept("bytes")
        own = j.c.connect("own")
        got = [0, 0, 0]
        # some, not as much: with one buffer it is luck who asks at the right time
        while min(got) < 20000 and max(got) < 20000000:
            if j.a.raw_post(RPMSG.pack(0x500, at, 0, 400, 0) + bytes(400)):
                j.a.flush()
            n = min(send.credit(), 400)
            if n > 0 and j.b.raw_post(RPMSG.pack(send.addr, send.peer, 0, n + 8, 0) +
                                      HDR.pack(DATA, 0, send.peer_tag, send.fwd_cnt) + bytes(n)):
                send.tx_cnt += n
                j.b.flush()
            j.c.poll(0.01)
            got[0] += sum(len(d) for _, d in raw.msgs)
            raw.msgs.clear()
            for i, c in ((1, take), (2, own)):
                if c.rx:
                    got[i] += len(c.recv())
        eq(min(got) >= 20000, True, f"{num} buffers: {got}")
        j.end()
        srv.close()


@test
def stalled():
    """a remote that takes nothing: messages wait, then are dropped and counted; a third goes on"""
    j = Joined(joins=("a,b", "c,a"))
    srv, other = Raw(j.b, 0x30), Raw(j.c, 0x31)
    j.b.announce("raw", srv)
    j.c.announce("fine", other)
    at, fine = j.a.lookup("raw"), j.a.lookup("fine")
    j.a.others, j.c.others = [j.c], [j.a]
    for i in range(2000):
        j.a.post(0x500, at, b"%04d" % i + bytes(300))
    for i in range(50):
        j.a.post(0x500, fine, b"%04d" % i)
        eq(other.recv()[1], b"%04d" % i)
    drops = j.p.counters()["datagram_drops"]
    eq(1000 < drops < 1400, True, drops)
    j.a.others = [j.b, j.c]
    n = 2000 - drops
    till(j.a, lambda: len(srv.msgs) == n)
    eq([int(d[:4]) for _, d in srv.msgs], list(range(n)))
    j.end()


@test
def too_long():
    """a message longer than the other's buffers: dropped, counted, said"""
    j = Joined(keys=(",buffer=1024", "", ""))
    srv = Raw(j.b, 0x30)
    j.b.announce("raw", srv)
    at = j.a.lookup("raw")
    j.a.post(0x500, at, bytes(1000))
    j.a.post(0x500, at, b"short")
    eq(srv.recv()[1], b"short")
    j.p.log("link b: a message of 1000 bytes from link a does not fit its buffers")
    eq(j.p.counters()["datagram_drops"], 1)
    j.end()


@test
def death():
    """a remote that reboots in mid-flow: streams of the other are reset, its own names come again"""
    j = Joined()
    j.b.listen("svc")
    j.a.listen("mine")
    conns = [j.a.connect("svc") for _ in range(5)]
    peers = [j.b.accept("svc") for _ in conns]
    for c in conns:
        c.send(b"x" * 3000)
    raws = Raw(j.b, 0x30)
    j.b.announce("raw", raws)
    Raw(j.a).send(j.a.lookup("raw"), b"hello")
    raws.send(raws.recv()[0], b"hello")
    eq("sources=1,0 " in j.counters(), True, j.counters())
    peers[0].send(b"y")
    j.b.reboot()
    till(j.a, lambda: all(c.state == "reset" for c in conns))
    till(j.a, lambda: names(j.a) == [])
    eq("sources=0,0 " in j.counters(), True, j.counters())
    j.b.wait_up()
    j.b.lookup("mine~s")
    j.b.listen("svc")
    c = j.a.connect("svc")
    t = j.b.accept("svc")
    c.send(b"again")
    eq(t.recv_exact(5), b"again")
    d = j.b.connect("mine")
    e = j.a.accept("mine")
    d.send(b"back")
    eq(e.recv_exact(4), b"back")
    j.p.wait_counter("flows", 1)
    j.end()


@test
def own_name():
    """a name that an expose rule gives to a link stays the rule's"""
    srv = Server(echo)
    j = Joined(f"expose rpmsg:web -> tcp 127.0.0.1:{srv.port}")  # of c, the last link
    j.end()
    j = Joined(f"expose rpmsg:web -> tcp 127.0.0.1:{srv.port}", joins=("b,c",))
    j.b.listen("web")
    j.p.log("link b: its service web~s is not passed on to link c")
    s = j.c.connect("web")
    s.send(b"echo")
    eq(s.recv_exact(4), b"echo")
    eq(j.b.accepted["web"], [])
    s.close()
    j.end()
    srv.close()


@test
def garbage():
    """random messages to every address there is: no harm to a third, nor to the proxy"""
    import random
    rnd = random.Random(99)
    j = Joined(joins=("a,b", "b,c"))
    j.b.listen("svc")
    raws = Raw(j.b, 0x30)
    j.b.announce("raw", raws)
    ats = [j.a.lookup("raw"), j.a.lookup("svc~s"), NS_ADDR, j.a.lookup(DOOR)]
    c = j.c.connect("svc")
    t = j.b.accept("svc")
    for i in range(4000):
        r = (j.a, j.b)[rnd.random() < 0.3]
        data = bytes(rnd.getrandbits(8) for _ in range(rnd.choice((0, 8, 24, 40, 60))))
        if data and rnd.random() < 0.5:
            data = bytes([rnd.randrange(9)]) + data[1:]
        r.post(rnd.choice((0x30, 1024, 0x31, rnd.getrandbits(32))),
               rnd.choice(ats + [1024 + rnd.randrange(40), rnd.getrandbits(32)]), data)
    c.send(b"alive")
    eq(t.recv_exact(5), b"alive")
    d = j.a.connect("svc")
    d.send(b"a, too")
    till(j.b, lambda: any(bytes(x.rx) == b"a, too" for x in j.b.accepted["svc"]))
    j.end()


if __name__ == "__main__":
    main()
