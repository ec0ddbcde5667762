#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 240
"""Joined guests: they talk to each other, nobody else does, and no lie or stall costs a third."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import ctl  # noqa: E402
from clock import Clock  # noqa: E402
from harness import Proxy, Server, echo, eq, main, test  # noqa: E402
from vguest import (CREDIT_REQUEST, CREDIT_UPDATE, EOM, EOR, HDR, RCV, REQUEST, RESPONSE, RST, RW,  # noqa: E402
                    SEND, SEQPACKET, SHUTDOWN, STREAM, Gone, Guest, Reset)

MIB = 1 << 20


def links(p):
    return [x for i, n in enumerate("ghx") for x in
            ("--link", f"vhost-user-vsock:{p.path}{i},cid={3 + i},name={n}")]


def till(g, cond, timeout=None):
    if not g.wait(cond, timeout):
        raise AssertionError("it does not come")


class Joined:
    """g (CID 3) and h (CID 4) are joined, x (CID 5) is not."""

    def __init__(self, *rules, joins=("g,h",), seqpacket=True, env=None, **kw):
        self.p = Proxy(env=env, args=lambda p: links(p) + [y for j in joins for y in ("--join", j)] +
                       [x for r in rules for x in ("--" + r.split(" ", 1)[0], r.split(" ", 1)[1].replace("DIR", p.dir.name))])
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
        self.p.counters()
        at = max(i for i, x in enumerate(self.p.lines) if f"counters: link={self.p.first}" in x)
        return self.p.log("counters: join=", start=at)

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
    till(a.g, lambda: a.state == c.state == "reset")
    eq("pairs=0 " in j.counters(), True, "pairs after the end")
    j.end()


@test
def shown():
    """ampsockctl rules has a join with each of its links, once, wherever it was said"""
    j = Joined("control DIR/control", joins=("g,h", "h,g", "x,g"))
    rows = [(r["link"], r["rule"], r["where"]) for r in ctl.ask(j.p, "rules") if r["kind"] == "join"]
    eq(rows, [("g", "h", "--join"), ("g", "x", "--join"), ("h", "g", "--join"), ("x", "g", "--join")])
    eq(re.search(r"(?m)^g +join .* h +--join$", ctl.run(j.p, "rules")) is not None, True)
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



@test
def headers():
    """a header passes as it was written, addresses, credit and all; payload in pieces that fit"""
    j = Joined()
    seen = []
    take = j.h.input
    j.h.input = lambda packet: (seen.append(packet), take(packet))
    a, b = j.pair(buf_alloc=123456)
    eq(HDR.unpack(seen[0][:44]), (3, 4, a.local, 5000, 0, STREAM, REQUEST, 0, 262144, 0))
    eq((a.peer_alloc, a.peer_fwd), (123456, 0))
    del seen[:]
    a.post(RW, b"p" * 10000, buf_alloc=77777)
    a.tx_cnt = 10000
    eq(b.recv_exact(10000), b"p" * 10000)
    eq([HDR.unpack(x[:44])[4:] for x in seen],
       [(n, STREAM, RW, 0, 77777, 0) for n in (4052, 4052, 1896)])
    b.post(CREDIT_UPDATE, buf_alloc=100000)
    a.wait(lambda: (a.peer_alloc, a.peer_fwd) == (100000, 10000))
    del seen[:]
    a.post(CREDIT_REQUEST)
    a.wait(lambda: seen)
    eq(HDR.unpack(seen[0][:44])[6], CREDIT_REQUEST)
    j.end()


@test
def messages():
    """seqpacket: boundaries, EOM and EOR apart, long, empty and in pieces"""
    j = Joined()
    a, b = j.pair(SEQPACKET, buf_alloc=MIB)
    msgs = [(os.urandom(n), EOM | (EOR if i % 2 else 0)) for i, n in
            enumerate((1, 4052, 4053, 65536, 0, 7, 0, 30000))]
    for data, flags in msgs:
        a.post(RW, data, flags)
        a.tx_cnt += len(data)
    for data, flags in msgs:
        eq(b.recv_msg(), data)
        eq(b.ends.pop(0), flags)
    for flags in (0, 0, EOM | EOR):  # one message, three packets
        a.post(RW, b"m" * 5000, flags)
    eq(b.recv_msg(), b"m" * 15000)
    eq(b.ends, [EOM | EOR])
    b.post(RW, b"back", EOM)
    eq(a.recv_msg(), b"back")
    j.end()


@test
def no_seqpacket():
    """a guest without seqpacket is never sent any"""
    j = Joined(seqpacket=False)
    g = Guest.__new__(Guest)
    j.g.close()
    g.__init__(j.p.path + "0", seqpacket=True)
    g.others = [j.h]
    j.p.wait_counter("attached", 2)
    j.h.listen(5000)
    refused(g, 4, 5000, SEQPACKET)
    j.p.log("CID 4 port 5000 .seqpacket.: the guest there has no seqpacket")
    eq(j.h.strays, [])
    g.connect(5000, cid=4)
    g.close()
    j.h.close()
    j.x.close()


@test
def half_close():
    """each side may end its sending first, and still receives"""
    for first in (0, 1):
        j = Joined()
        a, b = j.pair()[::-1 if first else 1]
        a.send(b"question")
        a.shutdown(SEND)
        eq(b.recv_exact(8), b"question")
        eq(b.recv(1), b"")
        eq(b.peer_shut, SEND)
        b.send(b"answer" * 20000)
        eq(a.recv_exact(120000), b"answer" * 20000)
        b.shutdown(SEND | RCV)
        eq(a.recv(1), b"")
        a.shutdown(SEND | RCV)
        b.wait(lambda: b.peer_shut == SEND | RCV)
        b.reset()
        till(a.g, lambda: a.state == "reset")
        j.end()


@test
def ends():
    """refused by the guest itself; reset from either side, behind the data; nobody attached"""
    j = Joined()
    refused(j.g, 4, 1234)  # h's own stack says so
    eq(len(j.h.strays), 1)
    for turn in (1, -1):
        a, b = j.pair()[::turn]
        a.send(b"last words" * 1000)
        a.reset()
        till(b.g, lambda: b.state == "reset")
        eq(bytes(b.rx), b"last words" * 1000)
    j.h.close()
    j.g.others = []
    j.p.log("link h: guest detached")
    refused(j.g, 4, 5000)
    j.p.log("CID 4 port 5000 .stream.: no guest is attached there")
    eq("pairs=0 " in j.counters(), True)
    j.g.close()
    j.x.close()


@test
def death():
    """a guest that goes in mid-flow: the other gets what was sent, then RST for each connection"""
    j = Joined()
    pairs = [j.pair() for _ in range(20)]
    j.g.others = []  # g sleeps meanwhile
    for i, (a, b) in enumerate(pairs):
        for _ in range(3):
            b.post(RW, bytes([i]) * 60000)
        b.g.flush()
    till(j.h, lambda: len(j.h.tx_free) == j.h.num)
    j.h.close()
    j.p.log("link h: guest detached")
    till(j.g, lambda: all(a.state == "reset" for a, _ in pairs))
    for i, (a, _) in enumerate(pairs):
        eq(bytes(a.rx), bytes([i]) * 180000)
    eq("pairs=0 " in j.counters(), True)
    mark = len(j.p.lines)
    h = Guest(j.p.path + "1")  # the next one, with the same ports
    j.p.log("link h: guest attached", start=mark)
    h.listen(5000)
    j.g.others, j.g.next_port = [h], 1024
    c = j.g.connect(5000, cid=4)
    d = h.accept(5000)
    c.send(b"again")
    eq(d.recv_exact(5), b"again")
    for g in (j.g, h, j.x):
        g.close()


@test
def reboot():
    """a guest that reboots under its VMM: the other is told; both go on from nothing"""
    j = Joined()
    a, b = j.pair()
    a.send(b"x")
    eq(b.recv_exact(1), b"x")
    h = j.h
    for q in range(2):
        h.stop_queue(q)
    a.post(RW, b"into the void")
    j.g.flush()
    h.mem[:] = bytes(h.size)
    h.avail_idx, h.used_seen, h.tx_free = [0, 0], [0, 0], list(range(h.num))
    h.conns.clear()
    h.mem_table()
    for q in range(2):
        h.start_queue(q)
    for i in range(h.num):
        h.post_rx(i)
    h.notify(0)
    j.p.log("link h: the guest restarted")
    till(j.g, lambda: a.state == "reset")
    j.g.next_port = 1024
    a, b = j.pair()
    b.send(b"anew")
    eq(a.recv_exact(4), b"anew")
    eq(h.strays, [])
    j.end()


@test
def paused():
    """a guest whose VM pauses keeps its joined connections and what was sent meanwhile"""
    j = Joined()
    a, b = j.pair()
    bases = [j.h.stop_queue(q) for q in range(2)]
    a.send(b"z" * 200000)
    till(j.g, lambda: len(j.g.tx_free) == j.g.num)
    j.h.mem_table()
    for q in range(2):
        j.h.start_queue(q, bases[q])
    eq(b.recv_exact(200000), b"z" * 200000)
    j.end()


def check_echo(c):
    for n in (1, 5000):
        c.send(b"e" * n)
        eq(c.recv_exact(n), b"e" * n)


@test
def stalled():
    """a guest that takes nothing stops only those who talk to it, and loses nothing"""
    j = Joined(joins=("g,h", "x,g"))
    conns = [j.pair() for _ in range(8)]
    j.x.listen(9)
    j.g.others = [j.h, j.x]
    c = j.g.connect(9, cid=5)
    d = j.x.accept(9)
    j.g.others, j.x.others = [j.x], [j.g]  # h is not looked at any more
    data = os.urandom(262144)
    for a, _ in conns:
        a.send(data)  # all that its credit allows
        eq(a.credit(), 0)
    for n in (1, 5000, 200000):  # the other join goes on
        c.send(data[:n])
        eq(d.recv_exact(n), data[:n])
        d.send(data[:n])
        eq(c.recv_exact(n), data[:n])
    line = j.counters()
    eq("join=g,h pairs=8 " in line and "waiting=0,0" not in line, True, line)
    j.g.others = [j.h, j.x]
    for a, b in conns:
        eq(b.recv_exact(len(data)), data)
        b.post(CREDIT_UPDATE)
        a.wait(lambda a=a: a.credit() > 0)
    eq("waiting=0,0" in j.counters(), True)
    j.end()


@test
def gathered():
    """small packets that wait cost their bytes and come as few, each on its own connection"""
    j = Joined(num=16)
    (a, b), (c, d) = j.pair(), j.pair()
    seen = []
    take = j.h.input
    j.h.input = lambda packet: (seen.append(packet), take(packet))
    j.g.others = []
    want = [bytearray(), bytearray()]
    for i in range(3000):
        for k, e in enumerate((a, c)[:2 if i % 500 == 0 else 1]):
            data = bytes([i & 255]) * (1 + i % 7)
            e.post(RW, data)
            e.tx_cnt += len(data)
            want[k] += data
        if i % 100 == 0:
            a.post(CREDIT_REQUEST)
            a.post(CREDIT_REQUEST)
        if i % 10 == 0:
            j.g.poll(0)
    j.g.flush()
    till(j.g, lambda: len(j.g.tx_free) == j.g.num)
    line = j.counters()
    eq("waiting=0,0" in line, False, line)
    eq(int(line.split("waiting=")[1].split(",")[0]) < 25000, True, line)
    j.g.others = [j.h]
    eq(b.recv_exact(len(want[0])), bytes(want[0]))
    eq(d.recv_exact(len(want[1])), bytes(want[1]))
    eq(len(seen) < 150, True, len(seen))
    eq("waiting=0,0" in j.counters(), True, j.counters())
    j.end()


def forever(s):
    try:
        while True:
            s.sendall(b"f" * 65536)
    except OSError:
        pass


class Quiet(Guest):
    """Kicks only when it is asked to (virtio 1.2, 2.7.10), as Linux does."""
    kicked = None

    def notify(self, q):
        self.kicked = self.kicked or [0, 0]
        event = self.u16[(self.parts(q)[2] + 4 + 8 * self.num) // 2]
        new, old = self.avail_idx[q], self.kicked[q]
        self.kicked[q] = new
        if (new - event - 1) & 0xffff < (new - old) & 0xffff:
            super().notify(q)


@test
def unkicked():
    """a receiver that only gives new buffers, and only kicks when asked: it is asked"""
    for ev in (True, False):
        j = Joined()
        j.h.close()
        j.p.log("link h: guest detached")
        mark = len(j.p.lines)
        j.h = (Quiet if ev else Guest)(j.p.path + "1", num=4, event_idx=ev)
        j.p.log("link h: guest attached", start=mark)
        j.g.others, j.h.others = [j.h], [j.g]
        a, b = j.pair()
        j.g.others = []
        a.send(bytes(200000))
        j.h.others = []
        till(j.h, lambda b=b: len(b.rx) == 200000)
        j.end()


@test
def shares():
    """few receive buffers: what is joined and what the guest's own flows bring get their shares"""
    for num in (1, 2, 8):
        srv = Server(forever)
        j = Joined(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", joins=("x,g", "h,x"))
        j.x.close()
        j.p.log("link x: guest detached")
        mark = len(j.p.lines)
        j.x = x = Guest(j.p.path + "2", num=num)  # the rule is of the last link
        j.p.log("link x: guest attached", start=mark)
        x.listen(1)
        own, got = x.connect(6000), [0, 0, 0]
        j.g.others, j.h.others = [x], [x]
        ends = [j.g.connect(1, cid=5), j.h.connect(1, cid=5)]
        conns = [own] + [x.accept(1) for _ in ends]
        j.g.others, j.h.others, x.others = [], [], [j.g, j.h]
        while min(got) < 300000 and max(got) < 30 * MIB:
            for e in ends:
                while e.credit() > 0 and e.g.tx_free:
                    n = min(e.credit(), 60000)
                    e.post(RW, bytes(n))
                    e.tx_cnt += n
                e.g.flush()
            x.poll(1)
            for i, c in enumerate(conns):
                if c.rx:
                    got[i] += len(c.recv())
                    c.post(CREDIT_UPDATE)
        eq(max(got) < 20 * min(got), True, f"{num} buffers: {got}")
        for g in (j.g, j.h, x):
            g.close()
        j.p.stop()
        srv.close()


@test
def quiet():
    """a guest that takes nothing, of joined guests or of its own flows, costs no processor time"""
    srv = Server(forever)
    j = Joined(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", joins=("x,g",), num=16)
    j.x.listen(1)
    own = j.x.connect(6000)
    j.g.others = [j.x]
    a, b = j.g.connect(1, cid=5), j.g.connect(1, cid=5)
    j.g.others = []
    for c in (a, b):
        c.send(bytes(262144))
    till(j.g, lambda: len(j.g.tx_free) == j.g.num)

    def cpu():
        with open(f"/proc/{j.p.worker_pid()}/stat", encoding="ascii") as f:
            return sum(map(int, f.read().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")
    j.g.wait(lambda: False, 0.2)
    before = cpu()
    j.g.wait(lambda: False, 0.6)
    eq(cpu() - before < 0.1, True, f"{cpu() - before} s")
    j.g.others = [j.x]
    till(j.g, lambda: len(own.rx) > 100000 and sum(len(c.rx) for c in j.x.accepted[1]) == 2 * 262144)
    j.end()
    srv.close()


def dead(*ends):
    for e in ends:
        if not e.g.wait(lambda e=e: e.state == "reset"):
            raise AssertionError("still there")


@test
def liars():
    """more than credit, consumed more than sent, out of turn: the connection dies at both ends"""
    j = Joined()
    good = j.pair()

    def lie(fn, why):
        a, b = j.pair(buf_alloc=1000)
        fn(a, b)
        j.g.flush()
        dead(a, b)
        j.p.log("link g: the guest broke a rule: " + why)
        good[0].send(b"ok")
        eq(good[1].recv_exact(2), b"ok")
    lie(lambda a, b: a.post(RW, bytes(1001)), "more data than credit")
    lie(lambda a, b: (a.post(RW, bytes(600)), a.post(RW, bytes(401))), "more data than credit")
    lie(lambda a, b: a.post(CREDIT_UPDATE, fwd_cnt=1), "fwd_cnt beyond")
    lie(lambda a, b: a.post(RESPONSE), "RESPONSE to no REQUEST")
    lie(lambda a, b: a.post(REQUEST), "REQUEST on a connection that is there")
    lie(lambda a, b: a.post(9), "unknown operation")
    eq("resets=6" in j.counters(), True, j.counters())
    # a smaller buffer does not make a liar of what was under way
    a, b = j.pair(buf_alloc=1000)
    b.post(CREDIT_UPDATE, buf_alloc=10)
    j.h.flush()
    till(j.g, lambda: a.peer_alloc == 10)
    a.post(RW, bytes(1000))
    j.g.flush()
    eq(len(b.recv_exact(1000)), 1000)
    # asked twice: the first was forgotten
    j.h.listening.clear()
    twice = j.g.new(5001, cid=4)
    take, asked = j.h.input, []
    j.h.input = lambda packet: asked.append(HDR.unpack(packet[:44])[6])
    twice.post(REQUEST)
    twice.post(REQUEST, buf_alloc=99)
    till(j.g, lambda: asked == [REQUEST, REQUEST])
    j.h.input = take
    # before it was answered
    j.h.listening.clear()
    j.h.input = lambda packet: None  # h says nothing
    e = j.g.new(5001, cid=4)
    e.post(REQUEST)
    e.post(RW, b"early")
    j.g.flush()
    dead(e)
    j.end()


@test
def forged():
    """who a guest is says its link: a foreign source CID goes nowhere; offload's ports neither"""
    j = Joined()
    seen = []
    j.h.input = seen.append
    e = j.g.new(5000, cid=4)
    bad = j.p.counters()["rx_bad"]
    for src in (5, 2, 1, 4, 3 | 1 << 32):
        e.post(REQUEST, src_cid=src)
    e.post(REQUEST, dst_cid=4 | 1 << 32)
    j.g.flush()
    j.p.wait_counter("rx_bad", bad + 6)
    for port in (0x414d5301, 0x414d5302):
        refused(j.g, 4, port)
        e = j.g.new(5000, cid=4)
        e.local = port
        j.g.conns[e.key()] = e
        e.state = "connecting"
        e.post(REQUEST)
        j.g.flush()
        dead(e)
    eq(seen, [])
    j.p.log("a port of the offload protocol")
    j.end()


def rss(p):
    with open(f"/proc/{p.worker_pid()}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


@test
def truncated():
    """a guest that takes its memory away while its neighbour sends to it, or it to its neighbour"""
    for who in (0, 1):
        j = Joined()
        (a, b), (c, d) = j.pair(), j.pair(port=5001)
        bad, good, mine, theirs = (j.g, j.h, a, b) if who else (j.h, j.g, b, a)
        j.g.others = j.h.others = []
        for _ in range(4):
            mine.post(RW, bytes(60000))
        os.ftruncate(bad.memfd, 0)  # nothing of it may be touched from here on
        try:
            os.eventfd_write(bad.kick[1], 1)
            for _ in range(4):
                theirs.post(RW, bytes(60000))
            good.flush()
        except Gone:
            pass
        till(good, lambda: theirs.state == "reset" and (d if who else c).state == "reset")
        j.p.log(f"link {'g' if who else 'h'}: link reset")
        good.others = [j.x]
        eq("pairs=0 " in j.counters(), True, j.counters())
        good.close()
        j.x.close()
        j.p.stop()


@test
def bad_buffers():
    """receive buffers without room, or outside of the memory: the link of the guest that offers them ends"""
    for length, addr in ((44, 0), (43, 0), (0, 0), (4096, 1 << 40)):
        j = Joined(num=4)
        a, b = j.pair()
        j.g.others = []

        def post(i, length=length, addr=addr, h=j.h):
            h.put_desc(0, i, h.base + h.rx_base + i * h.rx_len + addr, length, 2)
            h.offer(0, i)
        j.h.post_rx = post
        try:
            for _ in range(8):
                a.post(RW, bytes(3000))
                j.g.flush()
                j.h.poll(0.05)
        except (Gone, ConnectionResetError):
            pass
        till(j.g, lambda: a.state == "reset")
        j.p.log("link h: link reset: (receive buffer without room|descriptor address outside)")
        j.g.close()
        j.x.close()
        j.p.stop()


@test
def long_packets():
    """packets and receive buffers far longer than any driver's: a bounded piece at a time, a bounded packet"""
    j = Joined(num=8, tx_len=2 * MIB + 44, rx_len=3 * MIB)
    a, b = j.pair(buf_alloc=64 * MIB)
    data = os.urandom(MIB)
    j.g.others = []
    for _ in range(6):
        a.post(RW, data)
        a.post(CREDIT_REQUEST)
        till(j.g, lambda: len(j.g.tx_free) >= 4)
    j.g.flush()
    j.g.others = [j.h]
    for _ in range(6):
        eq(b.recv_exact(MIB) == data, True)
    a.post(RW, bytes(MIB + 1))
    j.g.flush()
    dead(a, b)
    j.p.log("link g: the guest broke a rule: a packet of more than 1 MiB")
    j.end()


@test
def bounded():
    """a receiver that gives a gigabyte of credit and takes nothing: 32 MiB wait, then RST"""
    j = Joined()
    a, b = j.pair(buf_alloc=1 << 30)
    j.g.others = []
    before = rss(j.p)
    sent = 0
    while a.state == "open" and sent < 64 * MIB:
        a.post(RW, bytes(65536))
        sent += 65536
        j.g.poll(0)
    dead(a)
    eq(31 * MIB < sent < 52 * MIB, True, f"{sent} bytes")
    j.p.log("link g: a connection to joined guest h is reset: 3.* bytes wait")
    eq(rss(j.p) - before < 160 * MIB, True, f"{rss(j.p) - before} bytes")  # sanitizers quarantine
    j.g.others = [j.h]
    till(b.g, lambda: b.state == "reset", 60)
    a, b = j.pair(port=5001)
    a.send(b"new")
    eq(b.recv_exact(3), b"new")
    j.end()


@test
def floods():
    """requests that nobody answers, RSTs, credit messages: bounded, and the third guest goes on"""
    j = Joined(joins=("g,h", "g,x"))
    j.x.listen(1)
    j.x.others, j.g.others = [], [j.x]
    c = j.g.connect(1, cid=5)
    d = j.x.accept(1)
    a = j.g.new(7, cid=4)
    refused_before = j.p.counters()["refused"]
    for i in range(2100):
        j.g.send_packet(a.packet(REQUEST, src_port=10000 + i))
        if i % 64 == 0:
            j.g.poll(0)
    j.g.flush()
    j.p.wait_counter("refused", refused_before + 52)
    eq("pairs=2048 " in j.counters(), True, j.counters())
    for i in range(20000):
        j.g.send_packet(a.packet((RST, CREDIT_UPDATE, SHUTDOWN, CREDIT_REQUEST)[i & 3], src_port=5000 + i % 9000,
                                 flags=3))
        if i % 64 == 0:
            j.g.poll(0)
    j.g.flush()
    for n in (1, 9000):
        c.send(b"q" * n)
        eq(d.recv_exact(n), b"q" * n)
    j.g.others = [j.x, j.h]  # h wakes up to refuse them all
    deadline = 0
    while "pairs=1 " not in (line := j.p.log("counters: join=g,x", start=(j.p.counters(), len(j.p.lines) - 3)[1])):
        j.g.poll(0.05)
        deadline += 1
        eq(deadline < 400, True, line)
    j.end()


@test
def unanswered():
    """requests that nobody answers have their places for a minute; then both guests hear RST"""
    clock = Clock()
    j = Joined(env=clock.env)
    c, d = j.pair()
    heard = []
    j.h.input = heard.append
    a = j.g.new(7, cid=4)
    for i in range(2100):
        j.g.send_packet(a.packet(REQUEST, src_port=10000 + i))
        if i % 64 == 0:
            j.g.poll(0)
    j.g.flush()
    j.p.wait_counter("refused", 53)
    eq("pairs=2048 " in j.counters(), True, j.counters())
    till(j.g, lambda: len(heard) == 2047)
    clock.forward(59)
    j.g.send_packet(a.packet(REQUEST, src_port=20000))
    j.g.flush()
    j.p.wait_counter("refused", 54)
    clock.forward(2)
    del heard[:]
    j.g.send_packet(a.packet(REQUEST, src_port=20001))
    j.g.flush()
    till(j.g, lambda: len(heard) == 2048)
    ops = [HDR.unpack(x[:44])[6] for x in heard]
    eq((ops.count(RST), ops[-1]), (2047, REQUEST))
    eq("pairs=2 " in j.counters(), True, j.counters())
    del j.h.input
    c.send(b"answered")  # and this one stays
    eq(d.recv_exact(8), b"answered")
    j.end()


@test
def garbage():
    """random headers to a joined CID, from both sides: no harm to a third, nor to the proxy"""
    import random
    rnd = random.Random(4711)
    srv = Server(echo)
    j = Joined(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}")
    e = j.x.connect(6000)  # x is the last link, whose rule it is
    for i in range(6000):
        g, h = (j.g, j.h)[::rnd.choice((1, -1))]
        data = bytes(rnd.choice((0, 0, 1, 100, 5000)))
        g.owed.append(HDR.pack(g.cid, rnd.choice((h.cid, h.cid, h.cid, 2, 5, 3, 4)), rnd.randrange(5000, 5004),
                               rnd.randrange(5000, 5004), rnd.choice((len(data), len(data), rnd.getrandbits(32))),
                               rnd.choice((1, 1, 2, rnd.getrandbits(16))), rnd.choice((1, 2, 3, 4, 5, 5, 6, 7, 99)),
                               rnd.choice((0, 1, 3, rnd.getrandbits(32))), rnd.choice((0, 4096, 0xffffffff)),
                               rnd.choice((0, 0, rnd.getrandbits(32)))) + data)
        if i % 50 == 0:
            j.g.poll(0)
    check_echo(e)
    j.g.conns.clear()
    j.h.conns.clear()
    a, b = j.pair(port=5555)
    a.send(b"alive")
    eq(b.recv_exact(5), b"alive")
    j.end()
    srv.close()


@test
def listed():
    """ampsockctl sockets: each connection with both of its links, addresses, bytes, state as either guest sees it, in its place"""
    j = Joined("control DIR/control", joins=("g,h", "h,x"))

    def rows(link):
        return [r for r in ctl.ask(j.p, "sockets", "-l", link) if r["kind"] == "join"]
    j.x.others = [j.h]
    j.h.listen(5000)
    c = j.x.connect(5000, SEQPACKET, cid=4)  # the oldest, of the join that is listed last
    d = j.h.accept(5000)
    c.send_msg(b"m")
    eq(d.recv_msg(), b"m")
    a, b = j.pair()
    a.send(b"to h")
    eq(b.recv_exact(4), b"to h")
    b.send(b"back to g")
    eq(a.recv_exact(9), b"back to g")
    g, = rows("g")
    h, _ = rows("h")
    eq((g["guest_peer"], g["guest_local"]), (f"vsock:3:{a.local}", "vsock:4:5000"))
    eq((h["guest_peer"], h["guest_local"]), ("vsock:4:5000", f"vsock:3:{a.local}"))
    eq((g["state"], g["from_guest_bytes"], g["to_guest_bytes"], g["message"]), ("established", 4, 9, False))
    eq((h["state"], h["from_guest_bytes"], h["to_guest_bytes"]), ("established", 9, 4))
    # x's are behind g's, each once, also with many and from one turn of the list to the next
    many = [j.pair() for _ in range(150)]
    h = rows("h")
    eq((len(h), len({r["id"] for r in h}), len(rows("g")), len(rows("x"))), (152, 152, 151, 1))
    eq((h[-1]["guest_local"], h[-1]["message"]), (f"vsock:5:{c.local}", True))
    assert "stalls" not in g and g["window_bytes"] > 0 and g["credit_bytes"] > 0, g
    a.shutdown(SEND)
    eq(b.recv(1), b"")
    eq([r["state"] for r in (rows("g")[0], rows("h")[0])], ["guest-shut", "host-shut"])
    eq([r["state"] for r in rows("x")], ["established"])
    for k, m in many[::2]:
        k.reset()
        till(j.h, lambda m=m: m.state == "reset")
    eq((len(rows("h")), len(rows("g"))), (77, 76))
    j.x.close()
    j.p.log("link x: guest detached")
    eq((len(rows("h")), rows("x")), (76, []))
    j.g.close()
    j.h.close()
    j.p.stop()


if __name__ == "__main__":
    main()
