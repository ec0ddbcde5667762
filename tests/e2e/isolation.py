#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 150
"""Guests beside each other, guests that die, a proxy that dies."""
import errno
import os
import signal
import socket
import struct
import tempfile
import threading
import time

from guest import (ANY_CID, INET, INET6, OUT, STREAM, VSOCK, Guest, fails, links, main, path_of, pattern, settle, test)
from harness import TIMEOUT, Proxy, Server, echo, eq, free_port
import offload
import vguest

LOOP = "127.0.0.1"


def rules(*names):
    """Links of these names, each allowed everything local."""
    def args(p):
        out = []
        for part in [links(*names)(p)]:
            for i in range(0, len(part), 2):
                out += part[i:i + 2] + ["--allow", "out any local:any", "--allow", "in any local:any"]
        return out
    return args


def fixed(path):
    return lambda p: ["--link", f"vhost-user-vsock:{path},cid=3,name=g", "--allow", "out any local:any",
                      "--allow", "in any local:any"]


def ping(g, server):
    s = g.tcp((LOOP, server.port))
    s.send(b"ping")
    eq(s.recvall(4), b"ping")
    s.close()


def listening():
    l = socket.socket()
    l.settimeout(TIMEOUT)
    l.bind((LOOP, 0))
    l.listen(64)
    return l


def stall_out(g, l):
    """A connection whose peer does not read, full to the brim."""
    s = g.tcp(l.getsockname())
    c, _ = l.accept()
    s.nonblock()
    while g.poll(0.3, (s, OUT))[0]:
        s.pump(1 << 30).wait()
    return s, c


def stall_in(g, l):
    """A connection that the guest does not read, full to the brim."""
    s = g.tcp(l.getsockname())
    c, _ = l.accept()
    c.settimeout(0.3)
    try:
        while True:
            c.send(bytes(65536))
    except TimeoutError:
        pass
    return s, c


@test
def stalled():
    """flows that stall, in both directions, hold up no other: not of the same guest, not of another"""
    p = Proxy(args=rules("a", "b"))
    a, b = Guest(path_of(p, "a")), Guest(path_of(p, "b"))
    l, server = listening(), Server(echo)
    kept = [stall_out(a, l), stall_out(a, l), stall_in(a, l), stall_in(a, l)]
    size = 8 << 20
    for g in (a, b):
        s = g.tcp((LOOP, server.port))
        drain, pump = s.drain(size), s.pump(size)
        pump.get(60)
        drain.get(60)
        eq(drain.words, [str(size), "-1"])
    # and the stalled ones go on when their receiver does
    s, c = kept[2]
    later = s.drain(1 << 20)
    eq(later.wait().words[0], str(1 << 20))
    kept[0][1].settimeout(TIMEOUT)
    eq(kept[0][1].recv(100), pattern(0, 100))
    server.close()


@test
def strangers():
    """two guests know nothing of each other: the same ports, the same vsock ports, no way between them"""
    p = Proxy(args=rules("a", "b"))
    a, b = Guest(path_of(p, "a")), Guest(path_of(p, "b"))
    for g in (a, b):
        g.socket(VSOCK).bind((ANY_CID, 5000)).listen()
    for cid in (3, 4, 5):
        s = a.socket(VSOCK)
        if cid == 3:
            s.connect((cid, 5000))  # its own
        else:
            try:
                s.connect((cid, 5000))
            except OSError as e:
                assert e.errno in (errno.ECONNREFUSED, errno.ENETUNREACH, errno.ECONNRESET), e
            else:
                raise AssertionError(f"guest a reached CID {cid}")
    la = a.socket().bind((LOOP, 0)).listen()
    fails(errno.EADDRINUSE, b.socket().bind, la.name())


@test
def guest_killed():
    """a guest killed in mid-transfer: its peers are reset, everything is given back, the next guest works"""
    p = Proxy(args=rules("a", "b"))
    b = Guest(path_of(p, "b"))
    l, server = listening(), Server(echo)
    ping(b, server)
    settle(p)
    fds = p.fds()
    for _ in range(3):
        a = Guest(path_of(p, "a"))
        s, c = stall_in(a, l)
        t, d = stall_out(a, l)
        d.settimeout(TIMEOUT)
        lis = a.socket().bind((LOOP, 0)).listen()
        port = lis.name()[1]
        w = a.tcp(l.getsockname())
        e, _ = l.accept()
        e.settimeout(TIMEOUT)
        w.pump(1 << 30)
        e.recv(1000)
        a.socket(INET, 2).bind((LOOP, 0))
        n = len(p.lines)
        a.kill()
        p.log("link a: (guest detached|link reset)", start=n)
        for sock in (c, d, e):
            try:
                sock.settimeout(TIMEOUT)
                while sock.recv(1 << 16):
                    pass
                raise AssertionError("an orderly end")
            except ConnectionResetError:
                pass
            sock.close()
        fails(errno.ECONNREFUSED, socket.create_connection, (LOOP, port))
        settle(p)
        eq(p.fds(), fds)
        ping(b, server)
        del s, t
    a = Guest(path_of(p, "a"))
    ping(a, server)
    server.close()


@test
def second_guest():
    """a second guest on a path in use is refused and told why in the log; the first goes on"""
    p = Proxy(args=rules("a"))
    a = Guest(path_of(p, "a"))
    server = Server(echo)
    try:
        g = Guest(path_of(p, "a"))
    except AssertionError:
        while len(Guest.running) > 1:
            Guest.running[-1].kill()
    else:
        raise AssertionError(f"two guests at once: {g}")
    p.log("link a: a second VMM")
    ping(a, server)
    server.close()


def waiting_sockets(g, server):
    """One idle in recv of each kind."""
    l = listening()
    t = g.tcp(l.getsockname())
    c, _ = l.accept()
    u = g.socket(INET, 2)
    u.connect(("127.0.0.1", server.port))
    return [(t, t.go_recv(), c), (u, u.go_recv(), l)]


@test
def proxy_killed():
    """the proxy dies: ECONNRESET for who waits; with the next the guest attaches again, its listeners too"""
    with tempfile.TemporaryDirectory(prefix="ampsock-test-") as d:
        path = os.path.join(d, "g.sock")
        p = Proxy(args=fixed(path))
        g = Guest(path)
        server = Server(echo)
        fixed_port = free_port()
        lt = g.socket().bind((LOOP, fixed_port)).listen()
        lv = g.socket(VSOCK).bind((ANY_CID, 5000)).listen()
        waiting = waiting_sockets(g, server)
        accepting = lt.go_accept()
        start = time.monotonic()
        p.stop(signal.SIGKILL)
        fails(errno.ECONNRESET, waiting[0][1].get)
        took = time.monotonic() - start
        assert took < 9, took
        fails(errno.EPIPE, waiting[0][0].send, b"x")
        assert not accepting.done.is_set(), "a listener survives"
        try:
            g.tcp((LOOP, server.port))
            raise AssertionError("connected without a proxy")
        except OSError as e:
            assert e.errno in (errno.ENETDOWN, errno.ENETUNREACH, errno.ECONNRESET), e
        p = Proxy(args=fixed(path))
        g.call("link", path, 5000)
        ping(g, server)
        eq(lt.name(), (LOOP, fixed_port))
        deadline = time.monotonic() + TIMEOUT
        while True:  # it is bound again a moment after the session is there
            try:
                c = socket.create_connection((LOOP, fixed_port), TIMEOUT)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                g.poll(0.05)
        s, who = lt.accept(later=accepting)
        eq(who, c.getsockname())
        c.sendall(b"again")
        eq(s.recvall(5), b"again")
        v = g.socket(VSOCK)
        v.connect((3, 5000))
        lv.accept()
        # several times over: no slot and no memory is lost
        for _ in range(5):
            p.stop(signal.SIGKILL)
            p = Proxy(args=fixed(path))
            g.call("link", path, 5000)
            ping(g, server)
        server.close()


@test
def proxy_hangs():
    """a proxy that answers no ping: ECONNRESET after two intervals; all works when it moves again"""
    p = Proxy(args=rules("g"))
    g = Guest(path_of(p, "g"))
    server = Server(echo)
    l = listening()
    t = g.tcp(l.getsockname())
    later = t.go_recv()
    lt = g.socket().bind((LOOP, 0)).listen()
    start = time.monotonic()
    os.kill(p.worker_pid(), signal.SIGSTOP)
    try:
        fails(errno.ECONNRESET, later.get)
        took = time.monotonic() - start
    finally:
        os.kill(p.worker_pid(), signal.SIGCONT)
    assert 2 <= took <= 9, took
    ping(g, server)
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            c = socket.create_connection(lt.name(), TIMEOUT)
            c.sendall(b"x")
            break
        except ConnectionError:
            assert time.monotonic() < deadline
            g.poll(0.05)
    s, _ = lt.accept()
    eq(s.recv(), b"x")
    server.close()


@test
def memory_cut():
    """a guest that cuts the memory it shares loses its link, nobody else anything; our own is sealed"""
    p = Proxy(args=rules("a", "b"))
    b = Guest(path_of(p, "b"))
    server = Server(echo)
    for fd in os.listdir(f"/proc/{b.proc.pid}/fd"):
        name = f"/proc/{b.proc.pid}/fd/{fd}"
        if "memfd:" in os.readlink(name):
            f = os.open(name, os.O_RDWR)
            fails(errno.EPERM, os.ftruncate, f, 0)
            os.close(f)
    s = b.tcp((LOOP, server.port))
    drain, pump = s.drain(32 << 20), s.pump(32 << 20)
    v = vguest.Guest(path_of(p, "a"))
    v.connect(offload.PORT)
    n = len(p.lines)
    os.ftruncate(v.memfd, 0)
    os.write(v.kick[1], struct.pack("<Q", 1))
    p.log("link a: link reset", start=n)
    pump.get(60)
    drain.get(60)
    eq(drain.words, [str(32 << 20), "-1"])
    v.close()
    a = Guest(path_of(p, "a"))
    ping(a, server)
    server.close()


@test
def churn():
    """20 guests come and go on one path while another works: descriptors and counters end where they began"""
    p = Proxy(args=rules("a", "b"))
    b = Guest(path_of(p, "b"))
    server = Server(echo)
    ping(b, server)
    settle(p)
    fds = p.fds()
    stop = threading.Event()
    work = []

    def steady():
        while not stop.is_set():
            ping(b, server)
            work.append(1)

    t = threading.Thread(target=steady, daemon=True)
    t.start()
    for i in range(20):
        a = Guest(path_of(p, "a"))
        ping(a, server)
        n = len(p.lines)
        if i % 2:
            a.kill()
        else:
            a.stop()
        p.log("link a: guest detached", start=n)
    stop.set()
    t.join(TIMEOUT)
    assert not t.is_alive() and len(work) > 20, len(work)
    settle(p)
    eq(p.fds(), fds)
    assert INET6 and STREAM
    server.close()


if __name__ == "__main__":
    main()
