#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Limits of a link: what its guest sees, what is counted and said, and that others go on."""
import os
import re
import select
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import offload as off  # noqa: E402
from clock import Clock  # noqa: E402
from harness import TIMEOUT, Proxy, Server, echo, eq, free_port, limit_fds, main, test  # noqa: E402
from procs import preload  # noqa: E402
from vguest import REQUEST, SEQPACKET, Gone, Guest, Reset  # noqa: E402


def limits(p, link="g"):
    n = len(p.lines)
    p.counters()
    return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", p.log(f"counters: limits of={link} ", start=n))}


def refused(status, fn, *a, **kw):
    try:
        fn(*a, **kw)
    except off.Refused as e:
        eq(e.status, status)
        return
    raise AssertionError(f"no {status}")


def works(c):
    c.send(b"hello")
    eq(c.recv_exact(5), b"hello")


@test
def sockets():
    """sockets: EMFILE, for exposed ports a reset; room again when one is closed; the neighbour has its own"""
    srv = Server(echo)
    p = Proxy(args=lambda p: ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g", "--limit", "sockets 3",
                              "--allow", f"out tcp 127.0.0.1:{srv.port}", "--allow", "in any 127.0.0.1:any",
                              "--expose", f"vsock:6000 -> tcp 127.0.0.1:{srv.port}",
                              "--link", f"vhost-user-vsock:{p.path}2,cid=4,name=h",
                              "--allow", f"out tcp 127.0.0.1:{srv.port}"])
    g, h = Guest(p.path), Guest(p.path + "2")
    s, t = off.Session(g), off.Session(h)
    c = s.connect("127.0.0.1", srv.port)
    e = g.connect(6000)
    b, _ = s.bind("127.0.0.1", 0)
    refused("EMFILE", s.connect, "127.0.0.1", srv.port)
    refused("EMFILE", s.udp)
    refused("EMFILE", s.bind, "127.0.0.1", 0)
    try:
        g.connect(6000)
        raise AssertionError("connected")
    except Reset:
        pass
    for x in (c, e, *[t.connect("127.0.0.1", srv.port) for _ in range(5)]):
        works(x)
    eq(limits(p)["limited_sockets"], 4)
    eq(p.counters()["refused"], 4)
    eq(limits(p, "h")["limited_sockets"], 0)
    p.log("link g: limit sockets 3 reached")
    s.release(b)
    works(s.connect("127.0.0.1", srv.port))
    e.close()
    p.wait_counter("flows", 2)
    works(g.connect(6000))
    g.close()
    p.wait_counter("up", 0)
    eq(limits(p)["used_sockets"], 0)
    h.close()
    p.stop()
    srv.close()


@test
def room_for_listeners():
    """sockets: a connection that waits at a listener for want of room is taken when there is some"""
    port, srv = free_port(), Server(echo)
    p = Proxy("limit sockets 2", f"allow in tcp 127.0.0.1:{port}", f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}")
    g = Guest(p.path)
    s = off.Session(g)
    bid, _ = s.bind("127.0.0.1", port)
    s.listen(bid, credits=9)
    host = [socket.create_connection(("127.0.0.1", port), TIMEOUT)]
    first = s.accept()
    # what makes room: the guest's own socket, and a connection to an exposed port
    host.append(socket.create_connection(("127.0.0.1", port), TIMEOUT))
    p.counters()  # the proxy has had its turn, and not taken it
    eq(limits(p)["used_sockets"], 2)
    first.close()
    second = s.accept()
    host[1].sendall(b"second")
    eq(second.recv_exact(6), b"second")
    second.close()
    host[1].close()
    p.wait_counter("flows", 0)
    e = g.connect(6000)
    works(e)
    host.append(socket.create_connection(("127.0.0.1", port), TIMEOUT))
    p.counters()
    e.close()
    third = s.accept()
    host[2].sendall(b"third")
    eq(third.recv_exact(5), b"third")
    g.close()
    for k in host:
        k.close()
    p.stop()
    srv.close()


@test
def exposed_datagrams():
    """sockets, connects/s: a connection to an exposed UDP port is a socket of the link's like any other"""
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    p = Proxy("limit sockets 2", f"expose vsock:6000 -> udp 127.0.0.1:{u.getsockname()[1]}")
    g = Guest(p.path, seqpacket=True)
    open_ = [g.connect(6000, SEQPACKET) for _ in range(2)]
    eq(limits(p)["used_sockets"], 2)
    try:
        g.connect(6000, SEQPACKET)
        raise AssertionError("connected")
    except Reset:
        pass
    eq(limits(p)["limited_sockets"], 1)
    open_[0].close()
    deadline = time.monotonic() + TIMEOUT
    while limits(p)["used_sockets"] > 1:
        assert time.monotonic() < deadline, limits(p)
        g.poll(0.01)
    g.connect(6000, SEQPACKET)
    g.close()
    p.wait_counter("up", 0)
    eq(limits(p)["used_sockets"], 0)
    p.stop()
    p = Proxy("limit connects/s 1", f"expose vsock:6000 -> udp 127.0.0.1:{u.getsockname()[1]}")
    g = Guest(p.path, seqpacket=True)
    g.connect(6000, SEQPACKET)
    try:
        for _ in range(100):
            g.connect(6000, SEQPACKET)
        raise AssertionError("connected")
    except Reset:
        pass
    g.close()
    p.stop()
    u.close()


def silent():
    """A port whose connections are neither taken nor refused: its queue is full."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(0)
    full = []
    while True:
        k = socket.socket()
        k.setblocking(False)
        k.connect_ex(s.getsockname())
        full.append(k)
        # one that is not there after a while never will be
        k.settimeout(0.2)
        try:
            k.getpeername()
        except OSError:
            break
        if len(full) > 50:
            raise AssertionError("it takes all")
    return s, full


@test
def half_open():
    """half-open: connects that hang are so many, then ENOBUFS; those that end make room"""
    srv, (dead, full) = Server(echo), silent()
    port = dead.getsockname()[1]
    p = Proxy("limit half-open 3", f"allow out tcp 127.0.0.1:{port}", f"allow out tcp 127.0.0.1:{srv.port}",
              f"expose vsock:6000 -> tcp 127.0.0.1:{port}")
    g = Guest(p.path)
    s = off.Session(g)
    hang = [g.new(off.PORT) for _ in range(2)]
    for c in hang:
        c.open()
        c.send(off.open_header(off.CONNECT, token=s.token, family=off.INET, type_=off.STREAM,
                               peer=off.addr("127.0.0.1", port)))
    e = g.new(6000)
    e.post(REQUEST)
    g.flush()
    deadline = time.monotonic() + TIMEOUT
    while limits(p)["used_half_open"] < 3:
        assert time.monotonic() < deadline, limits(p)
        g.poll(0.01)
    refused("ENOBUFS", s.connect, "127.0.0.1", port)
    refused("ENOBUFS", s.connect, "127.0.0.1", srv.port)
    eq(limits(p)["limited_half_open"], 2)
    eq(p.counters()["refused"], 2)
    hang[0].reset()
    e.reset()
    while limits(p)["used_half_open"] > 1:
        assert time.monotonic() < deadline, limits(p)
        g.poll(0.01)
    works(s.connect("127.0.0.1", srv.port))
    g.close()
    p.wait_counter("up", 0)
    eq(limits(p)["used_half_open"], 0)
    p.stop()
    srv.close()
    for k in (dead, *full):
        k.close()


@test
def paid_once():
    """datagrams/s: one that finds the socket full, and goes later, counts once"""
    sink, u = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for x in (sink, u):
        x.bind(("127.0.0.1", 0))
        x.settimeout(TIMEOUT)
    p = Proxy("limit datagrams/s 6", f"allow out udp 127.0.0.1:{u.getsockname()[1]}",
              env={"LD_PRELOAD": preload("full"), "FULL_TIMES": "4", "FULL_PORT": str(sink.getsockname()[1]),
                   "ASAN_OPTIONS": "verify_asan_link_order=0"})
    d = off.Session(Guest(p.path)).udp()
    for i in range(6):
        d.sendto(b"%d" % i, u.getsockname())
    for i in range(6):
        eq(u.recvfrom(10)[0], b"%d" % i)
    for i in range(24):
        eq(sink.recvfrom(10)[0], b".")
    eq(p.counters()["datagram_drops"], 0)
    p.stop()


@test
def rates():
    """connects/s: ENOBUFS; dns/s: EAI_AGAIN; datagrams/s: dropped and counted; a second later there is more"""
    srv = Server(echo)
    clock = Clock()
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    u.settimeout(TIMEOUT)
    port = u.getsockname()[1]
    p = Proxy("limit connects/s 4", "limit dns/s 3", "limit datagrams/s 5", f"allow out tcp 127.0.0.1:{srv.port}",
              f"allow out any localhost:{srv.port}", f"allow out udp 127.0.0.1:{port}",
              f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", env=clock.env)
    g = Guest(p.path)
    s = off.Session(g)
    d = s.udp()
    for turn in range(2):
        # other tests' load can make a second of the burst's time: then there is more than the burst
        start = time.monotonic()
        good = 0
        while True:
            try:
                works(s.connect("127.0.0.1", srv.port) if good % 2 else g.connect(6000))
                good += 1
            except (off.Refused, Reset) as e:
                if isinstance(e, off.Refused):
                    eq(e.status, "ENOBUFS")
                break
        within(good, 4, start)
        start, good = time.monotonic(), 0
        while True:
            try:
                s.resolve(b"localhost", srv.port)
                good += 1
            except off.Refused as e:
                eq(e.status, "EAI_AGAIN")
                break
        within(good, 3, start)
        before = p.counters()["datagram_drops"]
        start = time.monotonic()
        for i in range(20):
            d.sendto(bytes([i]), ("127.0.0.1", port))
        deadline = time.monotonic() + TIMEOUT
        got = 0
        u.settimeout(0.2)
        while got + p.counters()["datagram_drops"] - before < 20:
            assert time.monotonic() < deadline, f"{got} came, {p.counters()}"
            try:
                u.recv(10)
                got += 1
            except TimeoutError:
                pass
        within(got, 5, start)
        clock.forward(2 * (turn + 1))
    now = limits(p)
    for name in ("limited_connects", "limited_dns", "limited_datagrams"):
        if not now[name]:
            raise AssertionError(name)
    eq(p.counters()["refused"], now["limited_connects"] + now["limited_dns"])
    g.close()
    p.stop()
    srv.close()
    u.close()


def within(got, rate, start):
    most = rate + rate * (time.monotonic() - start + 0.1) + 1
    if not rate <= got <= most:
        raise AssertionError(f"{got} at {rate} a second, at most {most}")


@test
def buffered():
    """buffered: a flow whose receiver takes nothing is reset when it would keep too much; others go on"""
    srv, slow = Server(echo), Server(wait_for_end)
    p = Proxy("limit buffered 100k", f"expose vsock:6000 -> tcp 127.0.0.1:{slow.port}",
              f"expose vsock:6001 -> tcp 127.0.0.1:{srv.port}")
    g = Guest(p.path)
    ok = g.connect(6001)
    c = g.connect(6000)
    try:
        # what the kernel's buffers take, the window, and more
        for _ in range(4000):
            c.send(b"x" * 60000)
        raise AssertionError("all was taken")
    except Reset:
        pass
    for _ in range(50):
        works(ok)
    if not limits(p)["limited_buffered"]:
        raise AssertionError(limits(p))
    p.wait_counter("flows", 1)
    eq(limits(p)["used_buffered"], 0)
    g.close()
    p.stop()
    slow.close()
    srv.close()


def wait_for_end(s):
    """Reads nothing until the other side resets."""
    s.settimeout(None)
    poll = select.poll()
    poll.register(s, select.POLLHUP | select.POLLERR)
    poll.poll(TIMEOUT * 1000)


@test
def logged():
    """a rule with `log` says who used it; one without is silent; lines are limited as others are"""
    srv = Server(echo)
    p = Proxy(f"allow out tcp 127.0.0.1:{srv.port} log", f"allow out udp 127.0.0.1:{srv.port}")
    g = Guest(p.path)
    s = off.Session(g)
    for _ in range(30):
        s.connect("127.0.0.1", srv.port).close()
    s.udp().sendto(b"x", ("127.0.0.1", srv.port))
    p.counters()
    said = [x for x in p.lines if "allowed" in x]
    if not 10 <= len(said) <= 30 or f"allowed connect: out tcp 127.0.0.1:{srv.port} by --allow" not in said[0]:
        raise AssertionError(said)
    if any("udp" in x for x in said):
        raise AssertionError(said)
    g.close()
    p.stop()
    srv.close()


@test
def denied_counted():
    """denials are counted by direction and for names"""
    p = Proxy("allow out tcp 192.0.2.1:1")
    g = Guest(p.path)
    s = off.Session(g)
    for _ in range(2):
        refused("EACCES", s.connect, "127.0.0.1", 80)
    for _ in range(3):
        refused("EACCES", s.bind, "127.0.0.1", 8080)
    refused("EACCES", s.resolve, b"nowhere.example")
    now = p.counters()
    eq((now["denied_out"], now["denied_in"], now["denied_names"], now["denied"]), (2, 3, 1, 6))
    g.close()
    p.stop()


@test
def drain():
    """SIGTERM with a drain time: nothing new comes, what is there goes on, and the end is when that has ended"""
    srv = Server(echo)
    port, path = free_port(), "DIR/pub"
    p = Proxy(f"allow out tcp 127.0.0.1:{srv.port}", "allow in tcp 127.0.0.1:any", f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}",
              f"publish tcp 127.0.0.1:{port} -> vsock:5000", f"publish unix {path} -> vsock:5001",
              args=lambda p: ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g", "--drain", "60"])
    g = Guest(p.path)
    s = off.Session(g)
    g.listen(5000)
    a, b = s.connect("127.0.0.1", srv.port), g.connect(6000)
    k = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    c = g.accept(5000)
    p.proc.send_signal(signal.SIGTERM)
    p.log("connections have 60 s to end")
    # the helper has a duplicate for a successor, and hears of the end a moment later
    deadline = time.monotonic() + TIMEOUT
    while socket.socket().connect_ex(("127.0.0.1", port)) != 111:
        assert time.monotonic() < deadline, "it listens still"
    eq(os.path.exists(path.replace("DIR", p.dir.name)), False)
    for connect in (lambda: g.connect(6000), lambda: s.connect("127.0.0.1", srv.port)):
        try:
            connect()
            raise AssertionError("connected")
        except Reset:
            pass
    for _ in range(3):
        works(a)
        works(b)
        k.sendall(b"on")
        eq(c.recv_exact(2), b"on")
    a.close()
    b.close()
    k.close()
    eq(c.recv(), b"")
    try:
        c.close()
    except Gone:  # its RST, or the end of the proxy, whichever is seen first
        pass
    p.log("every connection has ended")
    eq(p.proc.wait(TIMEOUT), 0)
    g.close()
    p.stop()
    srv.close()


@test
def descriptors():
    """no descriptor is left for a guest's socket: EMFILE, counted, and a line that says what to raise"""
    srv = Server(echo)
    p = Proxy(f"allow out any 127.0.0.1:{srv.port}", "allow in tcp 127.0.0.1:any")
    g = Guest(p.path)
    s = off.Session(g)
    works(s.connect("127.0.0.1", srv.port))
    limit_fds(p.worker_pid(), p.fds(), p.fds())
    refused("EMFILE", s.connect, "127.0.0.1", srv.port)
    refused("EMFILE", s.udp, peer=("127.0.0.1", srv.port))
    refused("EMFILE", s.bind, "127.0.0.1", 0)
    p.log("error: link g: no socket for the guest: Too many open files .LimitNOFILE=")
    eq(p.counters()["refused"], 3)
    g.close()
    p.stop()
    srv.close()


@test
def drain_ends():
    """the drain time is over, or a second SIGTERM comes: connections are reset, and that is the end"""
    srv = Server(echo)
    for seconds, again in (("1", False), ("3600", True)):
        p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}",
                  args=lambda p, t=seconds: ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g", "--drain", t])
        g = Guest(p.path)
        c = g.connect(6000)
        works(c)
        p.proc.send_signal(signal.SIGTERM)
        p.log(f"have {seconds} s to end")
        if again:
            p.proc.send_signal(signal.SIGTERM)
        else:
            p.log("1 connections have not ended in time")
        eq(p.proc.wait(TIMEOUT), 0)
        p.thread.join(TIMEOUT)
        eq([t for t in p.lines if "every connection has ended" in t], [])
        g.close()
        p.stop()
    srv.close()


main()
