#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 150
"""AF_INET listeners of the guest: real clients come to them through the proxy."""
import errno
import socket
import struct
import threading

from guest import (IN, INET6, NONBLOCK, STREAM, Guest, fails, main, pattern, test)
from harness import TIMEOUT, Proxy, eq, free_port

LOOP = "127.0.0.1"
ALLOW = ("allow in tcp local:any", "allow out tcp local:any")


def up(*rules, kind=None):
    p = Proxy(*(rules or ALLOW))
    return p, Guest(p.path, kind)


def client(port, host=LOOP):
    return socket.create_connection((host, port), TIMEOUT)


def talk(c, data):
    c.sendall(data)
    c.shutdown(socket.SHUT_WR)
    got = b""
    while True:
        part = c.recv(65536)
        if not part:
            return got
        got += part


@test
def names():
    """bind to port 0: getsockname tells the port; accept and both ends agree on every address"""
    _, g = up()
    l = g.socket().bind((LOOP, 0))
    host, port = l.name()
    eq(host, LOOP)
    assert port
    l.listen()
    eq(l.name(), (LOOP, port))
    eq(l.getopt(1, 30), 1)  # SO_ACCEPTCONN
    c = client(port)
    s, who = l.accept()
    eq(who, c.getsockname())
    eq(s.name(peer=True), c.getsockname())
    eq(s.name(), c.getpeername())
    c.sendall(b"hello")
    eq(s.recvall(5), b"hello")
    s.send(b"you")
    eq(c.recv(9), b"you")
    s.close()
    eq(c.recv(9), b"")


@test
def names6():
    """the same on ::1"""
    _, g = up()
    l = g.socket(INET6).bind(("::1", 0)).listen()
    c = client(l.name()[1], "::1")
    s, who = l.accept()
    eq(who, c.getsockname()[:2])
    eq(s.name(), c.getpeername()[:2])


@test
def in_use():
    """bind to a port that is taken: EADDRINUSE, at bind; to a foreign address: EADDRNOTAVAIL"""
    _, g = up("allow in tcp any:any")
    taken = socket.socket()
    taken.bind((LOOP, 0))
    taken.listen(1)
    s = g.socket()
    fails(errno.EADDRINUSE, s.bind, taken.getsockname())
    fails(errno.EADDRNOTAVAIL, s.bind, ("192.0.2.1", 0))
    s.bind((LOOP, 0))
    fails(errno.EINVAL, s.bind, (LOOP, 0))
    other = g.socket()
    fails(errno.EADDRINUSE, other.bind, s.name())
    # two listeners of the guest itself
    s.listen()
    fails(errno.EADDRINUSE, other.bind, s.name())
    # once it is closed the port is free
    addr = s.name()
    s.close()
    later = g.socket()
    later.setopt(1, 2, 1)
    later.bind(addr)


@test
def forbidden():
    """bind or listen where no rule allows it: EACCES and a line in the log"""
    p, g = up(f"allow in tcp {LOOP}:8000-8001")
    port = free_port()
    fails(errno.EACCES, g.socket().bind, (LOOP, port))
    line = p.log("denied")
    for what in ("link g", f"{LOOP}:{port}", "no allow rule"):
        assert what in line, line
    fails(errno.EACCES, g.socket().bind((LOOP, 0)).listen)
    fails(errno.EACCES, g.socket().bind, ("0.0.0.0", 8000))


@test
def order():
    """connections are accepted in the order in which they came, and wait in the backlog meanwhile"""
    _, g = up()
    l = g.socket().bind((LOOP, 0)).listen(16)
    clients = [client(l.name()[1]) for _ in range(10)]
    for i, c in enumerate(clients):
        c.sendall(b"%d" % i)
    for i, c in enumerate(clients):
        s, who = l.accept()
        eq(who, c.getsockname())
        eq(s.recv(), b"%d" % i)


@test
def nonblocking():
    """accept on a non-blocking listener: EAGAIN, POLLIN, a connection; SO_RCVTIMEO bounds a blocking one"""
    _, g = up()
    l = g.socket(kind=STREAM | NONBLOCK).bind((LOOP, 0)).listen()
    fails(errno.EAGAIN, l.accept)
    eq(g.poll(0, (l, IN)), [0])
    c = client(l.name()[1])
    eq(l.wait(IN), IN)
    s, _ = l.accept(NONBLOCK)
    fails(errno.EAGAIN, s.recv)
    fails(errno.EAGAIN, l.accept)
    l.nonblock(False)
    l.timeout(socket.SO_RCVTIMEO, 0.1)
    fails(errno.EAGAIN, l.accept)
    c.close()


@test
def closed():
    """a closed listener: new clients are refused, those in its backlog reset, accepted ones live on"""
    p, g = up()
    l = g.socket().bind((LOOP, 0)).listen()
    port = l.name()[1]
    a = client(port)
    s, _ = l.accept()
    b = client(port)
    l.wait(IN)
    l.close()
    fails(errno.ECONNRESET, b.recv, 1)
    # RELEASE is on its way when close() returns: the port closes a moment later
    p.wait_counter("sockets", 1)
    fails(errno.ECONNREFUSED, client, port)
    a.sendall(b"still")
    eq(s.recvall(5), b"still")


@test
def waiting_accept_closed():
    """close while another thread waits in accept: EBADF for it"""
    _, g = up()
    l = g.socket().bind((LOOP, 0)).listen()
    later = l.go_accept()
    eq(l.getopt(1, 30), 1)
    l.close()
    fails(errno.EBADF, later.get)


@test
def gone_before_accept():
    """a client that gave up before it was accepted: accept gives it, recv says so"""
    _, g = up()
    l = g.socket().bind((LOOP, 0)).listen()
    c = client(l.name()[1])
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
    d = client(l.name()[1])
    d.sendall(b"next")
    s, _ = l.accept()
    try:
        first = s.recv()
    except ConnectionResetError:
        s, who = l.accept()
        eq(who, d.getsockname())
        first = s.recv()
    eq(first, b"next")


def storm(g, l, n, size, tries=1):
    """n clients at once, each sends size bytes and wants them back. tries: Linux itself resets some
    of those that find the backlog full (SYN cookies), whoever listens."""
    port = l.name()[1]
    errors = []

    def one(i):
        data = pattern(i, size)
        for left in range(tries, 0, -1):
            try:
                with client(port) as c:
                    if talk(c, data) != data:
                        errors.append(f"client {i}: wrong bytes")
                return
            except ConnectionResetError as e:
                if left == 1:
                    errors.append(f"client {i}: {e}")
            except Exception as e:  # told to the test
                errors.append(f"client {i}: {e}")
                return

    later = g.go("serve", l.fd, n)
    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    eq(errors, [])
    later.get()


@test
def backlog():
    """20 clients at once through a backlog of 4"""
    p, g = up()
    l = g.socket().bind((LOOP, 0)).listen(4)
    storm(g, l, 20, 1000, tries=20)
    p.wait_counter("flows", 0)


@test
def accept_storm():
    """100 clients at once against a guest with room for 4 connections: none is lost"""
    p, g = up(kind="small")
    l = g.socket().bind((LOOP, 0)).listen(200)
    storm(g, l, 100, 3000)
    p.wait_counter("sockets", 1)
    eq(p.counters()["refused"], 0)
    st = g.stats()
    assert st["used"] <= 3, st


@test
def credit_is_not_lost():
    """connections that end in the backlog, over and over, leave the listener its credits"""
    p, g = up(kind="small")
    l = g.socket().bind((LOOP, 0)).listen(16)
    port = l.name()[1]
    for _ in range(5):
        some = [client(port) for _ in range(6)]
        l.wait(IN)
        for c in some:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.close()
        for _ in some:
            if not g.poll(0.2, (l, IN))[0]:
                break
            s, _ = l.accept()
            s.close()
    l.close()
    p.wait_counter("sockets", 0)
    l = g.socket().bind((LOOP, 0)).listen(64)
    storm(g, l, 20, 100)


@test
def full_guest():
    """outgoing connections when the guest's pools are full: an error, not a hang; room again afterwards"""
    _, g = up(kind="small")
    srv = socket.socket()
    srv.bind((LOOP, 0))
    srv.listen(64)
    socks, err = [], None
    while err is None and len(socks) < 20:
        try:
            s = g.socket()
            socks.append(s)
            s.connect(srv.getsockname())
        except OSError as e:
            err = e.errno
    assert err in (errno.ENOBUFS, errno.EMFILE), err
    assert len(socks) >= 4, len(socks)
    for s in socks:
        s.close()
    for _ in range(100):  # a carrier ends when the proxy has answered
        if g.stats()["used"] <= 1:
            break
        g.poll(0.05)
    s = g.tcp(srv.getsockname())
    s.close()


@test
def publish():
    """publish tcp PORT -> inet:PORT: the guest's own port number, true peers, port refused without a listener"""
    port = free_port()
    p, g = up(f"publish tcp {LOOP}:{port} -> inet:80")
    fails(errno.ECONNRESET, one_byte, port)
    p.log("does not listen")
    l = g.socket().bind(("0.0.0.0", 80)).listen()
    eq(l.name()[1], 80)
    c = client(port)
    s, who = l.accept()
    eq(who, c.getsockname())
    eq(s.name()[1], 80)
    eq(talk_with(s, c), True)
    l.close()
    p.wait_counter("sockets", 1)
    fails(errno.ECONNRESET, one_byte, port)


def one_byte(port):
    return client(port).recv(1)  # a reset may come before connect() looks


def talk_with(s, c):
    c.sendall(b"ping")
    ok = s.recvall(4) == b"ping"
    s.send(b"pong")
    return ok and c.recv(9) == b"pong"


@test
def bulk_in():
    """8 MiB in and out of accepted connections, four at once, each byte checked"""
    _, g = up()
    l = g.socket().bind((LOOP, 0)).listen()
    clients = [client(l.name()[1]) for _ in range(4)]
    socks = [l.accept()[0] for _ in clients]
    size = 8 << 20
    pumps = [s.pump(size, i) for i, s in enumerate(socks)]
    drains = [s.drain(size, 9 + i) for i, s in enumerate(socks)]
    fault = []

    def one(i, c):
        def tx():
            at = 0
            while at < size:
                n = min(1 << 16, size - at)
                c.sendall(pattern(at, n, 9 + i))
                at += n
        t = threading.Thread(target=tx, daemon=True)
        t.start()
        at = 0
        while at < size:
            data = c.recv(1 << 16)
            if not data or data != pattern(at, len(data), i):
                fault.append(f"client {i} at {at}")
                return
            at += len(data)
        t.join(60)

    threads = [threading.Thread(target=one, args=x, daemon=True) for x in enumerate(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(90)
    eq(fault, [])
    for x in pumps + drains:
        x.get()
    eq([x.words[1] for x in drains], ["-1"] * 4)


if __name__ == "__main__":
    main()
