#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 180
"""Links: VMMs that come, go and vanish, guests that lie, and the neighbours that must not notice."""
import contextlib
import os
import re
import select
import signal
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import offload as off  # noqa: E402
from clock import Clock  # noqa: E402
from harness import TIMEOUT, Proxy, Server, echo, eq, free_port, main, test  # noqa: E402
from procs import state, until  # noqa: E402
from vguest import (CREDIT_UPDATE, HDR, HOST, RCV, REQUEST, RW, SEND, Conn, Gone, Guest,  # noqa: E402
                    GET_FEATURES, SET_MEM_TABLE, SET_VRING_CALL, SET_VRING_KICK, Reset)
from vrig import dial, exposed, published  # noqa: E402

MIB = 1 << 20
SET_VRING_ERR, SET_BACKEND_REQ_FD = 14, 21


def forever(s):
    while True:
        s.sendall(b"f" * 65536)


def two(p):
    return ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g", "--link",
            f"vhost-user-vsock:{p.path}2,cid=4,name=h"]


class Pair:
    """Two links in one proxy; h carries a flow that must not notice what g does."""

    def __init__(self, *rules):
        self.srv = Server(echo)
        self.p = Proxy(args=lambda p: two(p) + ["--expose", f"vsock:6000 -> tcp 127.0.0.1:{self.srv.port}"] +
                       [x for r in rules for x in ("--" + r.split(" ", 1)[0], r.split(" ", 1)[1])])
        self.h = Guest(self.p.path + "2")
        eq(self.h.cid, 4)
        self.c = self.h.connect(6000)
        self.check()

    def check(self):
        for n in (1, 5000):
            self.c.send(b"h" * n)
            eq(self.c.recv_exact(n), b"h" * n)

    def end(self):
        self.check()
        self.c.close()
        self.h.close()
        self.p.stop()
        self.srv.close()


def gone(g):
    """The proxy ends the link."""
    try:
        g.wait(lambda: False)
    except (Gone, ConnectionResetError):
        return
    raise AssertionError("the link lives")


@test
def vanish():
    """a VMM that vanishes in mid-transfer: its flows end, TCP peers see a reset, the next VMM is served"""
    ends = []

    def serve(s):
        try:
            forever(s)
        except OSError as e:
            ends.append(type(e).__name__)
    srv = Server(serve)
    ok = Server(echo)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", f"expose vsock:6001 -> tcp 127.0.0.1:{ok.port}",
              f"allow out tcp 127.0.0.1:{srv.port}")
    before = None
    for i in range(10):
        g = Guest(p.path)
        p.wait_counter("attached", i + 1)
        if before is None:
            before = p.fds()
        s = off.Session(g)
        for c in (g.connect(6000), s.connect("127.0.0.1", srv.port)):
            g.wait(lambda c=c: len(c.rx) > 200000)
        c = g.connect(6001)
        c.send(b"still good")
        eq(c.recv_exact(10), b"still good")
        g.close()
        p.wait_counter("flows", 0)
        p.wait_counter("sockets", 0)
        p.wait_counter("ends", 0)
    for t in srv.threads:
        t.join(TIMEOUT)
    eq(len(ends), 20)
    eq(p.counters()["up"], 0)
    g = Guest(p.path)
    p.wait_counter("attached", 11)
    eq(p.fds(), before, "descriptors")
    g.close()
    srv.close()
    ok.close()


@test
def second_vmm():
    """a second VMM on the same path is refused with a line; the first goes on"""
    srv, p, g = exposed(echo)
    c = g.connect(6000)
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(TIMEOUT)
    s.connect(p.path)
    eq(s.recv(1), b"")
    p.log("second VMM connected .*refused")
    c.send(b"still here")
    eq(c.recv_exact(10), b"still here")
    g.close()
    srv.close()


@test
def reboot():
    """a guest that reboots under its VMM: old flows end, the new driver starts from nothing"""
    srv, p, g = exposed(echo)
    c = g.connect(6000)
    c.send(b"x")
    eq(c.recv_exact(1), b"x")
    for q in range(2):
        g.stop_queue(q)
    g.mem[:] = bytes(g.size)
    g.avail_idx, g.used_seen, g.tx_free = [0, 0], [0, 0], list(range(g.num))
    g.conns.clear()
    g.mem_table()
    for q in range(2):
        g.start_queue(q)
    for i in range(g.num):
        g.post_rx(i)
    g.notify(0)
    p.log("the guest restarted")
    p.wait_counter("flows", 0)
    g.next_port = 1024  # the same port again: the old connection must be forgotten
    c = g.connect(6000)
    c.send(b"y")
    eq(c.recv_exact(1), b"y")
    g.close()
    srv.close()


@test
def paused():
    """a VM that is paused and goes on (rings stop and start where they were) keeps its flows"""
    srv, p, g = exposed(echo)
    c = g.connect(6000)
    c.send(b"x" * 1000)
    eq(c.recv_exact(1000), b"x" * 1000)
    bases = [g.stop_queue(q) for q in range(2)]
    g.mem_table()
    for q in range(2):
        g.start_queue(q, bases[q])
    c.send(b"y" * 1000)
    eq(c.recv_exact(1000), b"y" * 1000)
    g.close()
    srv.close()


@test
def isolated():
    """two links: one guest cannot use the other's rules, CID or sessions"""
    pair = Pair()
    g = Guest(pair.p.path)
    eq(g.cid, 3)
    try:
        g.connect(6000)  # h's rule, not g's
        raise AssertionError("reached h's expose")
    except Reset:
        pass
    hs, gs = off.Session(pair.h), off.Session(g)
    gs.token = hs.token
    try:
        gs.connect("127.0.0.1", pair.srv.port)
        raise AssertionError("used h's session")
    except off.Refused as e:
        eq(e.status, "ESTALE")
    # packets that claim to come from h
    c = Conn(g, pair.c.local, 6000)
    c.post(RW, b"forged", src_cid=4)
    c.post(REQUEST, src_cid=4)
    c.post(RW, b"to h", dst_cid=4)
    g.flush()
    pair.check()
    g.close()
    pair.end()


@test
def lies():
    """connections that break the protocol are reset, one by one; the link goes on"""
    srv, p, g = exposed(echo)

    def reset(fn):
        c = g.connect(6000)
        fn(c)
        c.wait(lambda: c.state == "reset")

    def flood(c):
        for _ in range(8):
            c.post(RW, bytes(65536))
    slow = socket.socket()
    slow.bind(("127.0.0.1", 0))
    reset(lambda c: c.post(CREDIT_UPDATE, fwd_cnt=5))      # consumed what was never sent
    reset(lambda c: c.post(REQUEST))                       # again
    reset(lambda c: (c.shutdown(SEND), c.post(RW, b"x")))  # data behind EOF
    reset(lambda c: c.post(77))                            # no such operation
    c = g.new(6000)
    c.post(REQUEST, type=7)                                # no such type
    c.post(RW, b"short", len=5000)                         # longer than its buffer
    c.post(REQUEST, src_cid=1 << 32 | 3)                   # upper half of a CID
    g.send_packet(b"x" * 10)                               # no header at all
    g.flush()
    p.log("the guest broke a rule")
    ok = g.connect(6000)
    ok.send(b"ok")
    eq(ok.recv_exact(2), b"ok")
    eq(p.counters()["rx_bad"] >= 4, True)
    slow.close()
    g.close()
    srv.close()


@test
def credit_overrun():
    """more data than the advertised window: that connection is reset, memory stays bounded"""
    slow = socket.socket()
    slow.bind(("127.0.0.1", 0))
    slow.listen()
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{slow.getsockname()[1]}")
    g = Guest(p.path)
    c = g.connect(6000)
    for _ in range(400):
        c.post(RW, bytes(65536))
        if c.state == "reset":
            break
    c.wait(lambda: c.state == "reset")
    p.wait_counter("ends", 0)
    slow.close()
    g.close()


def broken(name, fn, why):
    """One way to break a ring: the link goes, with one line; the neighbour stays; the next VMM works."""
    pair = Pair()
    g = Guest(pair.p.path)
    g.wait(lambda: True)
    fn(g)
    gone(g)
    pair.p.log(f"link g: link reset: .*{why}")
    g.close()
    g = Guest(pair.p.path)
    g.close()
    pair.end()


def ring_lies():
    def avail_jump(g):
        _, avail, _ = g.parts(1)
        g.u16[avail // 2 + 1] = (g.avail_idx[1] + 5000) & 0xffff
        g.notify(1)

    def head_range(g):
        g.offer(1, 60000)
        g.notify(1)

    def loop(g):
        g.put_desc(1, 0, g.base + g.tx_base, 64, 1, 1)
        g.put_desc(1, 1, g.base + g.tx_base, 64, 1, 0)
        g.offer(1, 0)
        g.notify(1)

    def outside(g):
        g.put_desc(1, 0, 0xdead0000, 64, 0)
        g.offer(1, 0)
        g.notify(1)

    def overflow(g):
        g.put_desc(1, 0, (1 << 64) - 8, 64, 0)
        g.offer(1, 0)
        g.notify(1)

    def over_end(g):
        g.put_desc(1, 0, g.base + g.size - 32, 64, 0)
        g.offer(1, 0)
        g.notify(1)

    def writable(g):
        g.put_desc(1, 0, g.base + g.tx_base, 64, 2)
        g.offer(1, 0)
        g.notify(1)

    def rx_readable(g):
        for i in range(g.num):
            g.put_desc(0, i, g.base + g.rx_base, 64, 0)
        c = g.new(6000)
        c.post(REQUEST)
        g.flush()

    def rx_tiny(g):
        for i in range(g.num):
            g.put_desc(0, i, g.base + g.rx_base, 20, 2)
        c = g.new(6000)
        c.post(REQUEST)
        g.flush()

    def indirect(g):
        g.put_desc(1, 0, g.base + g.tx_base, 7, 4)
        g.offer(1, 0)
        g.notify(1)
    return [(f.__name__, f) for f in (avail_jump, head_range, loop, outside, overflow, over_end, writable,
                                      rx_readable, rx_tiny, indirect)]


for _name, _fn in ring_lies():
    def _test(name=_name, fn=_fn):
        broken(name, fn, "")
    _test.__doc__ = f"a ring that lies ({_name}) costs its own link only"
    _test.__name__ = "ring_" + _name
    test(_test)


@test
def truncated_memory():
    """memory taken away in mid-transfer: no crash, the link is reset, the neighbour stays"""
    pair = Pair(f"expose vsock:6001 -> tcp 127.0.0.1:{free_port()}")
    flood = Server(forever)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{flood.port}")
    for _ in range(3):
        g = Guest(p.path)
        c = g.connect(6000)
        g.wait(lambda c=c: len(c.rx) > 100000)
        g.u16.release()
        os.ftruncate(g.memfd, 4096)
        os.eventfd_write(g.kick[0], 1)
        os.eventfd_write(g.kick[1], 1)
        g.sock.settimeout(TIMEOUT)
        try:
            eq(g.sock.recv(1), b"")
        except ConnectionResetError:
            pass
        g.close()
    p.log("link reset")
    p.wait_counter("flows", 0)
    pair.end()
    flood.close()


def clog(g):
    """Its call descriptors make the writer wait from now on."""
    for fd in g.call:
        try:
            os.eventfd_read(fd)
        except BlockingIOError:
            pass
        os.eventfd_write(fd, 2**64 - 2)
        os.set_blocking(fd, True)


@test
def blocking_call():
    """a call eventfd made blocking and filled: the wait is ended, the link is reset, the neighbour stays"""
    pair = Pair()
    g = Guest(pair.p.path, event_idx=False)
    g.request(GET_FEATURES, reply=True)  # all that came before it is done, O_NONBLOCK set
    clog(g)
    g.new(6000).post(REQUEST)  # the answer, an RST, wants a call
    g.flush()
    pair.p.log("link g: link reset: a call descriptor that makes the writer wait")
    pair.check()
    g.close()
    g = Guest(pair.p.path)
    try:
        g.connect(6000)
    except Reset:
        pass  # nobody there, said by a link that lives
    g.close()
    pair.end()


@test
def blocking_call_behind_flow():
    """the same when it is what a flow put into the ring that wants the call, before the link's turn looks at the rings"""
    go = threading.Event()

    def late(s):
        go.wait(TIMEOUT)
        s.sendall(b"x")

    srv, p, g = exposed(late, event_idx=False)
    g.connect(6000)
    g.wait(lambda: False, 0.2)  # what is owed has come
    clog(g)
    go.set()
    p.log("link g: link reset: a call descriptor that makes the writer wait")
    p.wait_counter("flows", 0)
    g.close()
    g = Guest(p.path)
    eq(g.connect(6000).recv_exact(1), b"x")
    g.close()
    p.stop()
    srv.close()


@test
def blocking_call_asleep():
    """the same when it is a timer that wants the call, while the loop sleeps without its alarm"""
    clock = Clock()
    port, p, g = published(env=clock.env, event_idx=False)
    k = dial(port)
    while not select.select(g.call, [], [], 20)[0]:
        pass
    clog(g)  # REQUEST has come; nobody answers, and what is told when its time is up, in ten seconds, is an RST
    clock.forward(8)
    p.counters()  # a loop that sleeps does not see the clock; its alarm stops 0.2 s behind this
    p.log("link g: link reset: a call descriptor that makes the writer wait")
    k.close()
    g.close()
    p.stop()


@test
def asleep():
    """an idle proxy with a guest attached is not woken: the alarm stops with the work"""
    pair = Pair()

    def switches():
        with open(f"/proc/{pair.p.worker_pid()}/status", encoding="ascii") as f:
            return [line for line in f if "ctxt_switches" in line]

    deadline = time.monotonic() + 20
    before = None
    while before != switches():  # two alarms after the last work it sleeps: look until it does
        assert time.monotonic() < deadline, "woken while idle"
        before = switches()
        time.sleep(1)  # that nothing happens has no event
    pair.end()


class OnRequest:
    """Of a guest: kicks when the proxy wants one, as drivers do."""

    def __init__(self, g):
        self.g, self.kick, self.wanted = g, g.notify, 0
        self.last = list(g.avail_idx)
        self.fence = threading.Lock()
        g.notify = self.notify

    def notify(self, q):
        with self.fence:  # an atomic instruction: the index is there before the event is read (2.7.13.4.1)
            used = self.g.parts(q)[2]
        event = self.g.u16[(used + 4 + 8 * self.g.num) // 2]
        new, old = self.g.avail_idx[q], self.last[q]
        self.last[q] = new
        if (new - event - 1) & 0xffff < (new - old) & 0xffff if self.g.event_idx else not self.g.u16[used // 2] & 1:
            self.wanted += 1
            self.kick(q)

    def sleeps(self, yes):
        """Without EVENT_IDX the guest says it by a flag (2.7.7); with it, by not arming its event, which poll() does."""
        for q in range(2):
            self.g.u16[self.g.parts(q)[1] // 2] = 0 if yes else 1


def trip(g, c, i, sleeps=False):
    """A message there and back. sleeps: the guest asks to be notified; else it is awake, and the proxy sees that."""
    c.send(b"%03d" % i)
    g.flush()
    deadline = time.monotonic() + TIMEOUT
    while len(c.rx) < 3:
        assert time.monotonic() < deadline, f"trip {i} waits"
        if sleeps:
            g.poll(1)
        elif not g.look():
            os.sched_yield()
    eq(c.recv_exact(3), b"%03d" % i)


@test
def awake():
    """a guest that is awake, and kicks only where that is asked for: no message of it waits for ever"""
    for event_idx in (True, False):
        srv, p, g = exposed(echo, event_idx=event_idx)
        kicks = OnRequest(g)
        c = g.connect(6000)
        kicks.sleeps(False)
        for i in range(300):
            trip(g, c, i)
        kicks.sleeps(True)
        c.close()
        g.close()
        p.stop()
        srv.close()


@test
def kicks_saved():
    """a guest that is awake need not kick, if its next message is there within 50 us; one that sleeps has to, each time"""
    for event_idx in (True, False):
        clock = Clock()
        srv, p, g = exposed(echo, event_idx=event_idx, env=clock.env)
        kicks = OnRequest(g)
        c = g.connect(6000)
        clock.stop()  # whoever is how slow: it is there in time
        wanted = {}
        for sleeps in (True, False, True):
            before = kicks.wanted
            kicks.sleeps(sleeps)
            for i in range(300):
                trip(g, c, i, sleeps)
            wanted[sleeps] = kicks.wanted - before
        # either is one less or more when one of the two is held up between two steps
        if wanted[True] < 150 or wanted[False] > 75:
            raise AssertionError(f"kicks of 300 messages: asleep {wanted[True]}, awake {wanted[False]}")
        c.close()
        g.close()
        p.stop()
        srv.close()


def lingering():
    """A TCP socket whose close() waits for its peer, which reads nothing; and that peer."""
    with socket.create_server(("127.0.0.1", 0)) as srv:
        s = socket.create_connection(srv.getsockname())
        peer, _ = srv.accept()
    s.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            s.send(bytes(65536))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    return s, peer


@test
def closing_waits():
    """sockets whose close() waits, in whichever message: neither worker nor helper does, and the neighbour stays"""
    pair = Pair()
    worker = pair.p.worker_pid()
    peers = []
    for req, payload in ((SET_VRING_CALL, struct.pack("<Q", 0)), (SET_VRING_KICK, struct.pack("<Q", 0)),
                         (SET_BACKEND_REQ_FD, b""), (SET_VRING_ERR, struct.pack("<Q", 0)), (GET_FEATURES, b"")):
        g = Guest(pair.p.path)
        s, peer = lingering()
        peers.append(peer)
        os.kill(worker, signal.SIGSTOP)  # so that it is the last to close it
        until(lambda: state(worker) == "T", "it runs on")
        g.request(req, payload, [s.fileno()])
        s.close()
        os.kill(worker, signal.SIGCONT)
        pair.check()
        g.close()
    assert not [x for x in pair.p.lines if "does not answer" in x or "no memory" in x], pair.p.lines
    for s in peers:
        s.close()
    pair.end()


@test
def hostile_front_ends():
    """front-ends that talk nonsense lose their connection with one line; the next is served"""
    p = Proxy()

    def talk(data, fds=()):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(TIMEOUT)
        s.connect(p.path)
        s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("%di" % len(fds), *fds))]
                  if fds else [])
        try:
            while s.recv(4096):
                pass
        except ConnectionResetError:
            pass
        s.close()
    n = 0
    for data in (os.urandom(4096), struct.pack("<III", 9999, 1, 0), struct.pack("<III", GET_FEATURES, 1, 1 << 31),
                 struct.pack("<III", SET_MEM_TABLE, 1, 8) + struct.pack("<II", 4000, 0),
                 struct.pack("<III", SET_MEM_TABLE, 1, 72) + bytes(72),
                 struct.pack("<III", 12, 1, 8) + struct.pack("<Q", 200)):
        talk(data)
        n += 1
        deadline = time.monotonic() + TIMEOUT
        while len([x for x in p.lines if "link reset" in x]) < n and time.monotonic() < deadline:
            time.sleep(0.01)
        eq(len([x for x in p.lines if "link reset" in x]), n, "lines")
    g = Guest(p.path)
    p.log("guest attached")
    g.close()


@test
def quiet():
    """a VMM that comes and goes, or breaks the rules, or restarts its guest, all the time does not flood the log"""
    p = Proxy()
    for i in range(40):
        g = Guest(p.path)
        for n in range(5):  # its driver starts anew
            g.stop_queue(0)
            g.start_queue(0, base=n + 1)
        g.request(GET_FEATURES, reply=True)
        if i % 2:
            g.request(GET_FEATURES, fds=[g.memfd])
            gone(g)
        g.close()
    p.wait_counter("attached", 40 * 6)
    p.wait_counter("up", 0)
    lines = [x for x in p.lines if "counters" not in x]
    assert 30 < len(lines) < 60, (len(lines), lines[-8:])
    p.stop()


@test
def not_shared():
    """memory that is not shared (QEMU without share=on): the line says what to add"""
    p = Proxy()
    g = Guest(p.path, handshake=False)
    real = g.memfd
    blank = os.memfd_create("blank")
    os.ftruncate(blank, g.size)
    g.memfd = blank  # what a private mapping looks like from outside
    try:
        g.handshake()
        g.notify(1)
        gone(g)
    except (Gone, BrokenPipeError, ConnectionResetError):
        pass
    p.log("share=on")
    g.memfd = real
    os.close(blank)
    g.close()


@test
def request_flood():
    """connection requests without end: bounded, and the neighbour is served"""
    pair = Pair()
    slow = socket.socket()
    slow.bind(("127.0.0.1", 0))
    slow.listen(1)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{slow.getsockname()[1]}")
    g = Guest(p.path)
    for port in range(6000):
        g.send_packet(HDR.pack(3, HOST, port + 1, off.PORT, 0, 1, REQUEST, 0, 65536, 0))
    g.wait(lambda: False, 0.5)
    eq(p.counters()["ends"] <= 4096, True)
    pair.end()
    g.close()
    p.wait_counter("ends", 0)
    slow.close()


@test
def fair():
    """32 bulk flows share the link: none starves"""
    sent, full, on = [], threading.Semaphore(0), threading.Event()

    def fill(s):
        """All that there is has been sent before the guest gives credit: no thread of ours has to run for it."""
        s.setblocking(False)
        n = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                n += s.send(b"f" * 65536)
        sent.append(n)
        full.release()
        on.wait()
    srv, p, g = exposed(fill, num=64)
    conns = [g.connect(6000) for _ in range(32)]
    eq(g.wait(lambda: all(len(c.rx) > c.buf_alloc // 2 for c in conns)), True, "the first of each")
    for _ in conns:
        assert full.acquire(timeout=TIMEOUT)
    total = [0] * 32
    while max(total) < min(sent) // 2:
        g.poll(0.1)
        for i, c in enumerate(conns):
            total[i] += len(c.rx)
            c.consumed(len(c.rx))
            c.rx.clear()
    on.set()
    eq(max(total) < 5 * min(total), True, total)
    g.close()
    srv.close()


@test
def datagram_flood():
    """datagrams and requests of no length, as many as fit: a neighbour's datagram waits for a few of them, not for all"""
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)  # what anybody may have holds 500
    sink.bind(("127.0.0.1", 0))
    sink.settimeout(TIMEOUT)
    rule = ["--allow", f"out udp 127.0.0.1:{sink.getsockname()[1]}"]
    p = Proxy(args=lambda p: two(p)[:2] + rule + two(p)[2:] + rule)
    worker = p.worker_pid()
    g, h = Guest(p.path), Guest(p.path + "2")
    its = off.Session(g)
    frame = struct.pack("<HBBI", 32, 0, 0, 0) + off.addr(*sink.getsockname())
    flood = [its.udp().c for _ in range(4)]
    more = [off.Session(g) for _ in range(40)]
    u = off.Session(h).udp(peer=sink.getsockname())
    for _ in range(12):  # which of the two links is first is not said
        os.kill(worker, signal.SIGSTOP)
        until(lambda: state(worker) == "T", "it runs on")
        for c in flood:
            c.post(RW, frame * 100)
        for s in more:
            s.ctl.post(RW, struct.pack("<HBBI", 8, off.PING, 0, 0) * 300)
        g.flush()
        u.sendto(b"h")
        os.kill(worker, signal.SIGCONT)
        before = 0
        while sink.recv(1) == b"":
            before += 1
        assert before <= 256, before
        for _ in range(400 - before):  # in the end all come
            eq(sink.recv(1), b"")
        for s in more:
            for _ in range(300):
                eq(s.frame()[0], off.PONG)
    g.close()
    h.close()
    sink.close()
    p.stop()


@test
def last_datagrams():
    """more datagrams than a turn has, of a guest that is gone behind them, its socket closed or not: all come"""
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)  # what anybody may have holds 500
    sink.bind(("127.0.0.1", 0))
    sink.settimeout(TIMEOUT)
    p = Proxy(f"allow out udp 127.0.0.1:{sink.getsockname()[1]}")
    worker = p.worker_pid()
    frame = struct.pack("<HBBI", 32, 0, 0, 0) + off.addr(*sink.getsockname())
    for closed in (False, True):
        g = Guest(p.path)
        c = off.Session(g).udp().c
        os.kill(worker, signal.SIGSTOP)
        until(lambda: state(worker) == "T", "it runs on")
        c.post(RW, frame * 400)
        if closed:
            c.shutdown(SEND | RCV)
        g.flush()
        g.close()
        os.kill(worker, signal.SIGCONT)
        for _ in range(400):
            eq(sink.recv(1), b"")
    p.wait_counter("up", 0)
    p.stop()
    sink.close()


@test
def most_guests():
    """one more guest than one process has guards for shared memory: said so, and room again when one has gone"""
    p = Proxy(args=lambda p: [a for i in range(257) for a in ("--link", f"vhost-user-vsock:{p.path}{i},cid={3 + i},name=g{i}")])
    socks = []
    for i in range(257):
        socks.append(socket.socket(socket.AF_UNIX))
        socks[-1].connect(p.path + str(i))
    line = p.log("link g[0-9]+: cannot attach a VMM: one process serves 256 guests that share memory, and has them")
    out = int(re.search("link g([0-9]+)", line).group(1))
    socks[out - 1].close()
    p.log("guest detached")
    Guest(p.path + str(out)).close()
    for k in socks:
        k.close()
    p.stop()


@test
def killed_proxy():
    """a proxy killed with SIGKILL leaves a stale socket that the next one takes over"""
    p = Proxy()
    path = p.path
    p.proc.kill()
    p.proc.wait()
    Proxy.running.remove(p)
    eq(os.path.exists(path), True)
    q = Proxy(args=lambda _: ["--link", f"vhost-user-vsock:{path},cid=3"])
    g = Guest(path)
    q.log("guest attached")
    g.close()
    q.stop()
    eq(os.path.exists(path), False)


@test
def stop_busy():
    """SIGTERM with flows in full swing: exit 0, sockets removed, TCP peers told"""
    srv, p, g = exposed(lambda s: forever(s), "publish unix DIR/pub -> vsock:1")
    c = g.connect(6000)
    g.wait(lambda: len(c.rx) > 200000)
    left = p.stop(signal.SIGTERM)
    eq(left, [])
    g.close()
    srv.close()


@test
def legacy():
    """a driver without VERSION_1 (legacy virtio-mmio): the line says what to change"""
    p = Proxy()
    g = Guest(p.path, handshake=False)
    g.features &= ~(1 << 32)
    try:
        g.handshake()
        gone(g)
    except (Gone, BrokenPipeError, ConnectionResetError):
        pass
    p.log("force-legacy=false")
    g.close()


main()
