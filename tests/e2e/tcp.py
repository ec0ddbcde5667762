#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 150
"""AF_INET streams that the guest opens: library, proxy and a real peer."""
import errno
import socket
import struct
import threading

from guest import (ERR, HUP, IN, INET6, MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL, NONBLOCK, OUT, PATTERN, PERIOD,
                   STREAM, Guest, fails, main, pattern, test)
from harness import TIMEOUT, Proxy, Server, eq, free_port

LOOP = "127.0.0.1"
ALLOW = "allow out tcp local:any"


def up(*rules):
    p = Proxy(*(rules or (ALLOW,)))
    return p, Guest(p.path)


class Peer:
    """One connection of a real server, taken apart by the test itself."""

    def __init__(self, family=socket.AF_INET):
        self.l = socket.socket(family, socket.SOCK_STREAM)
        self.l.settimeout(TIMEOUT)
        self.l.bind((LOOP if family == socket.AF_INET else "::1", 0))
        self.l.listen(64)
        self.port = self.l.getsockname()[1]
        self.addr = self.l.getsockname()[:2]

    def accept(self):
        c, self.who = self.l.accept()
        c.settimeout(TIMEOUT)
        return c

    def join(self, g):
        s = g.tcp(self.addr)
        return s, self.accept()


@test
def refused():
    """connect: nobody there is ECONNREFUSED, and the socket can be used again"""
    _, g = up()
    s = g.socket()
    fails(errno.ECONNREFUSED, s.connect, (LOOP, free_port()))
    peer = Peer()
    s.connect(peer.addr)
    c = peer.accept()
    s.send(b"again")
    eq(c.recv(9), b"again")


@test
def denied():
    """connect: what no rule allows is EACCES, with one log line that says what was missing"""
    p, g = up("allow out tcp 127.0.0.1:80")
    port = free_port()
    fails(errno.EACCES, g.tcp, (LOOP, port))
    line = p.log("denied")
    for what in ("link g", f"{LOOP}:{port}", "no allow rule"):
        assert what in line, line
    eq(p.counters()["denied"], 1)
    eq(len([x for x in p.lines if "denied connect" in x]), 1)
    fails(errno.EACCES, g.tcp, ("::1", port), INET6)


@test
def unreachable():
    """connect: the kernel's own reason arrives (EHOSTUNREACH or ENETUNREACH, as a native socket gets)"""
    _, g = up("allow out tcp any:any", "allow out tcp local:any")
    for family, addr in ((socket.AF_INET, ("240.0.0.1", 9)), (socket.AF_INET6, ("2001:db8::1", 9)),
                         (socket.AF_INET, ("255.255.255.255", 9)), (socket.AF_INET6, ("ff02::1", 9))):
        native = socket.socket(family, socket.SOCK_STREAM)
        native.settimeout(0)
        want = native.connect_ex(addr)
        native.close()
        if want in (errno.EINPROGRESS, 0):
            continue  # this host has a way there
        fails(want, g.tcp, addr, int(family))


@test
def nonblocking():
    """non-blocking connect: EINPROGRESS, POLLOUT, SO_ERROR; refused the same way"""
    _, g = up()
    peer = Peer()
    s = g.socket(kind=STREAM | NONBLOCK)
    fails(errno.EINPROGRESS, s.connect, peer.addr)
    eq(s.wait(OUT) & (OUT | ERR | HUP), OUT)
    eq(s.error(), 0)
    c = peer.accept()
    fails(errno.EAGAIN, s.recv, 10)
    c.sendall(b"x")
    eq(s.wait(IN), IN)
    eq(s.recv(10), b"x")
    bad = g.socket(kind=STREAM | NONBLOCK)
    fails(errno.EINPROGRESS, bad.connect, (LOOP, free_port()))
    got = bad.wait(OUT)
    assert got & OUT and got & ERR, got
    eq(bad.error(), errno.ECONNREFUSED)
    eq(bad.error(), 0)


def exchange(g, peer, up_len, down_len, chunk=PERIOD, ends=False):
    """Both directions at once, each checked byte by byte at its end."""
    s, c = peer.join(g)
    fault = []

    def sender():
        at = 0
        while at < down_len:
            n = min(PERIOD, down_len - at)
            c.sendall(pattern(at, n, 77))
            at += n
        if ends:
            c.shutdown(socket.SHUT_WR)

    def reader():
        at = 0
        while True:
            data = c.recv(1 << 16)
            if not data:
                break
            if data != pattern(at, len(data), 5):
                fault.append(f"wrong byte in {at}..{at + len(data)}")
                break
            at += len(data)
        if at != up_len:
            fault.append(f"{at} of {up_len} bytes")

    threads = [threading.Thread(target=t, daemon=True) for t in (sender, reader)]
    for t in threads:
        t.start()
    drain = s.drain(down_len if not ends else 1 << 40, 77)
    pump = s.pump(up_len, 5, chunk)
    pump.get(100)
    s.shutdown(1)
    drain.get(100)
    eq([int(w) for w in drain.words], [down_len, -1])
    for t in threads:
        t.join(TIMEOUT)
        assert not t.is_alive()
    eq(fault, [])
    c.close()
    s.close()


@test
def sizes():
    """0 to 1 MiB both ways at once, odd lengths, each byte checked"""
    _, g = up()
    peer = Peer()
    for a, b in ((0, 0), (1, 0), (0, 1), (1, 1), (2, 3), (511, 4096), (65535, 65537), (1 << 20, (1 << 20) + 1)):
        exchange(g, peer, a, b, ends=True)
    exchange(g, peer, 5000, 5000, chunk=1)


@test
def bulk():
    """64 MiB both ways at once, each byte checked"""
    _, g = up()
    exchange(g, Peer(), 64 << 20, 64 << 20)


@test
def half_close_out():
    """half-close by the guest: the peer sees EOF and can still send; sending then is EPIPE"""
    _, g = up()
    s, c = Peer().join(g)
    s.send(b"request")
    s.shutdown(1)
    eq(c.recv(100), b"request")
    eq(c.recv(100), b"")
    fails(errno.EPIPE, s.send, b"x")
    for i in range(20):
        c.sendall(pattern(i * 1000, 1000))
    c.close()
    drain = s.drain()
    drain.get()
    eq(drain.words, ["20000", "-1"])
    eq(s.recv(10), b"")


@test
def half_close_in():
    """half-close by the peer: what it sent, EOF, and the guest can still send"""
    _, g = up()
    s, c = Peer().join(g)
    c.sendall(b"request")
    c.shutdown(socket.SHUT_WR)
    eq(s.recvall(7), b"request")
    eq(s.recv(10), b"")
    eq(s.recv(10), b"")
    got = s.wait(IN)
    assert got & IN and not got & ERR, got
    s.pump(300000, 3).get()
    s.close()
    at = 0
    while True:
        data = c.recv(65536)
        if not data:
            break
        eq(data, pattern(at, len(data), 3))
        at += len(data)
    eq(at, 300000)


@test
def reset_by_peer():
    """a reset by the peer: data before it, then ECONNRESET once, then EOF and EPIPE"""
    p, g = up()
    s, c = Peer().join(g)
    c.sendall(b"last words")
    eq(s.recvall(10), b"last words")
    waiting = s.go_recv()
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
    fails(errno.ECONNRESET, waiting.get)
    eq(s.recv(10), b"")
    fails(errno.EPIPE, s.send, b"x")
    # idle: poll sees it, SO_ERROR says it
    s, c = Peer().join(g)
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
    got = s.wait(IN)
    assert got & ERR and got & HUP, got
    eq(s.error(), errno.ECONNRESET)
    eq(s.error(), 0)
    p.wait_counter("sockets", 0)


@test
def close_unread():
    """close with unread data: the TCP peer sees a reset"""
    _, g = up()
    s, c = Peer().join(g)
    c.sendall(b"not wanted")
    s.wait(IN)
    s.close()
    fails(errno.ECONNRESET, c.recv, 10)
    # data that is still in the proxy, behind a full window: whether the guest has seen any or not
    for look in (False, True):
        s, c = Peer().join(g)
        fill(c)
        if look:
            s.wait(IN)
        s.close()
        fails(errno.ECONNRESET, c.recv, 10)


def fill(c):
    c.setblocking(False)
    try:
        while True:
            c.send(bytes(65536))
    except BlockingIOError:
        pass
    c.settimeout(TIMEOUT)


@test
def linger_zero():
    """SO_LINGER {1, 0}: close resets; otherwise close delivers all that was sent"""
    _, g = up()
    s, c = Peer().join(g)
    s.setopt(1, 13, struct.pack("<ii", 1, 0))
    eq(s.getopt(1, 13, 8), struct.pack("<ii", 1, 0))
    s.close()
    fails(errno.ECONNRESET, c.recv, 10)
    s, c = Peer().join(g)
    s.pump(100000).get()
    s.close()
    got = b""
    while True:
        part = c.recv(65536)
        if not part:
            break
        got += part
    eq(got == pattern(0, 100000), True)


@test
def peek_waitall():
    """MSG_PEEK leaves, MSG_WAITALL waits, MSG_DONTWAIT does not, FIONREAD counts"""
    _, g = up()
    s, c = Peer().join(g)
    fails(errno.EAGAIN, s.recv, 4, MSG_DONTWAIT)
    all_of_it = s.go_recv(10, MSG_WAITALL)
    c.sendall(b"01234")
    c.sendall(b"56789abc")
    eq(all_of_it.get(), 10)
    s.wait(IN)
    eq(s.recv(10, MSG_PEEK), b"abc")
    eq(s.readable(), 3)
    eq(s.recv(10), b"abc")
    half = s.go_recv(10, MSG_WAITALL)
    c.sendall(b"end")
    c.close()
    eq(half.get(), 3)


@test
def names():
    """getsockname and getpeername are what the host's own peer sees"""
    _, g = up()
    for family, py in ((2, socket.AF_INET), (INET6, socket.AF_INET6)):
        peer = Peer(py)
        s = g.tcp(peer.addr, family)
        peer.accept()
        eq(s.name(), peer.who[:2])
        eq(s.name(peer=True), peer.addr)
    fails(errno.ENOTCONN, g.socket().name, True)
    # bound before connect: that address and no other
    port = free_port()
    p2 = Proxy(ALLOW, "allow in tcp 127.0.0.1:any")
    g2 = Guest(p2.path)
    peer = Peer()
    s = g2.socket().bind((LOOP, port))
    eq(s.name(), (LOOP, port))
    s.connect(peer.addr)
    peer.accept()
    eq(peer.who, (LOOP, port))
    eq(s.name(), (LOOP, port))


@test
def ipv6():
    """::1 carries both ways"""
    _, g = up()
    peer = Peer(socket.AF_INET6)
    s = g.tcp(peer.addr, INET6)
    c = peer.accept()
    s.send(b"six")
    eq(c.recv(9), b"six")
    c.sendall(b"nine")
    eq(s.recvall(4), b"nine")
    # an IPv4 address in an IPv6 coat is asked of the rules as what it is
    peer = Peer()
    s = g.tcp(("::ffff:127.0.0.1", peer.port), INET6)
    peer.accept()
    eq(s.name(peer=True), ("::ffff:127.0.0.1", peer.port))


@test
def options():
    """options before and after connect; what is not supported is ENOPROTOOPT"""
    _, g = up()
    peer = Peer()
    tcp, so = socket.IPPROTO_TCP, socket.SOL_SOCKET
    table = [(tcp, socket.TCP_NODELAY, 1), (so, socket.SO_KEEPALIVE, 1), (tcp, socket.TCP_KEEPIDLE, 11),
             (tcp, socket.TCP_KEEPINTVL, 7), (tcp, socket.TCP_KEEPCNT, 4), (so, socket.SO_REUSEADDR, 1)]
    s = g.socket()
    for level, name, value in table:
        s.setopt(level, name, value)
        eq(s.getopt(level, name), value, f"before {level}/{name}")
    s.connect(peer.addr)
    c = peer.accept()
    for level, name, value in table:
        eq(s.getopt(level, name), value, f"after {level}/{name}")
    for level, name, value in ((tcp, socket.TCP_NODELAY, 0), (so, socket.SO_KEEPALIVE, 0),
                               (tcp, socket.TCP_KEEPIDLE, 33), (socket.IPPROTO_IP, socket.IP_TTL, 9)):
        s.setopt(level, name, value)
        eq(s.getopt(level, name), value, f"set {level}/{name}")
    for level, name in ((tcp, socket.TCP_MAXSEG), (tcp, socket.TCP_CORK), (so, socket.SO_OOBINLINE),
                        (so, socket.SO_MARK), (so, socket.SO_BROADCAST), (so, socket.SO_REUSEPORT),
                        (so, 25), (99, 1),
                        (socket.IPPROTO_IPV6, 26)):
        try:
            s.setopt(level, name, 1)
        except OSError as e:
            eq(errno.errorcode[e.errno], "ENOPROTOOPT", f"{level}/{name}")
        else:
            raise AssertionError(f"{level}/{name} was set")
    for level, name in ((tcp, socket.TCP_INFO), (so, socket.SO_PEERCRED), (tcp, socket.TCP_MAXSEG)):
        fails(errno.ENOPROTOOPT, s.getopt, level, name)
    fails(errno.EINVAL, s.setopt, tcp, socket.TCP_NODELAY, b"\1")
    eq(s.getopt(so, socket.SO_TYPE), 1)
    eq(s.getopt(so, socket.SO_DOMAIN), 2)
    eq(s.getopt(so, socket.SO_PROTOCOL), 6)
    eq(s.getopt(so, socket.SO_ACCEPTCONN), 0)
    c.close()


@test
def timeouts():
    """SO_RCVTIMEO and SO_SNDTIMEO: EAGAIN, not before their time"""
    import time
    _, g = up()
    s, c = Peer().join(g)
    s.timeout(socket.SO_RCVTIMEO, 0.2)
    t = time.monotonic()
    fails(errno.EAGAIN, s.recv, 10)
    took = time.monotonic() - t
    assert 0.2 <= took < 5, took
    s.timeout(socket.SO_SNDTIMEO, 0.2)
    later = s.pump(1 << 30)
    fails(errno.EAGAIN, later.get)
    c.close()


@test
def stalled():
    """a peer that does not read: send blocks, then is EAGAIN; it all arrives afterwards"""
    _, g = up()
    s, c = Peer().join(g)
    s.nonblock()
    sent = 0
    while g.poll(0.5, (s, OUT))[0]:  # the host's buffers take their share in the background
        later = s.pump(1 << 30, sent).wait()
        eq(later.err, errno.EAGAIN)
        sent += int(later.words[0])
        assert sent < 64 << 20, sent
    got = 0
    while got < sent:
        data = c.recv(1 << 16)
        eq(data == pattern(got, len(data)), True)
        got += len(data)
    s.wait(OUT)
    assert len(PATTERN) >= 2 * PERIOD


@test
def many():
    """50 connections open at once, then all used, then all closed: nothing left in guest or proxy"""
    p, g = up()
    server = Server(lambda c: [c.sendall(x) for x in iter(lambda: c.recv(65536), b"")])
    fds = p.fds()
    used = g.stats()["used"]
    socks = [g.tcp((LOOP, server.port)) for _ in range(50)]
    for i, s in enumerate(socks):
        s.send(b"%d" % i)
    for i, s in enumerate(socks):
        eq(s.recv(), b"%d" % i)
    for s in socks:
        s.close()
    server.check()
    p.wait_counter("sockets", 0)
    p.wait_counter("flows", 0)
    # the control carrier and its socket stay
    assert p.fds() <= fds + 1, (p.fds(), fds)
    assert g.stats()["used"] <= used + 1, g.stats()
    server.close()


if __name__ == "__main__":
    main()
