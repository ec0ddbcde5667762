#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""AF_INET datagrams: library, proxy, real sockets."""
import errno
import os
import signal
import socket
import struct
import threading

from guest import (DGRAM, ERR, IN, INET, INET6, MSG_DONTWAIT, MSG_PEEK, MSG_TRUNC, NONBLOCK, OUT, Guest, fails, main,
                   pattern, test)
from harness import TIMEOUT, Proxy, eq, free_port

LOOP = "127.0.0.1"
LARGEST = 65535 - 32  # docs/protocol.md, 7
ALLOW = ("allow out udp local:any", "allow in udp local:any")


def up(*rules, kind=None):
    p = Proxy(*(rules or ALLOW))
    return p, Guest(p.path, kind)


def peer(family=socket.AF_INET, port=0):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((LOOP if family == socket.AF_INET else "::1", port))
    s.settimeout(TIMEOUT)
    return s


def udp(g, family=INET, flags=0):
    return g.socket(family, DGRAM | flags)


def roomy(s):
    """A receive buffer that takes a burst: loss in the peer's own kernel is not what is tested."""
    try:
        s.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE: root alone
    except PermissionError:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)


@test
def echo():
    """unconnected: there and back, both addresses true, IPv4 and IPv6"""
    _, g = up()
    for family, py in ((INET, socket.AF_INET), (INET6, socket.AF_INET6)):
        a, b = peer(py), peer(py)
        s = udp(g, family)
        eq(s.sendto(b"question", a.getsockname()[:2]), 8)
        data, who = a.recvfrom(100)
        eq(data, b"question")
        eq(s.name()[1], who[1])
        a.sendto(b"answer", who)
        eq(s.recvmsg(), (6, b"answer", a.getsockname()[:2], 0))
        # the same socket talks to another
        s.sendto(b"x", b.getsockname()[:2])
        eq(b.recvfrom(9), (b"x", who))


@test
def connected():
    """connected: send without address, names true, nobody else's datagrams; AF_UNSPEC dissolves it"""
    _, g = up()
    a, b = peer(), peer()
    s = udp(g)
    fails(errno.EDESTADDRREQ, s.send, b"x")
    fails(errno.ENOTCONN, s.name, True)
    s.connect(a.getsockname())
    eq(s.name(peer=True), a.getsockname())
    s.send(b"one")
    data, who = a.recvfrom(9)
    eq((data, who), (b"one", s.name()))
    b.sendto(b"stranger", who)
    a.sendto(b"friend", who)
    eq(s.recvmsg()[1:3], (b"friend", a.getsockname()))
    s.connect(b.getsockname())
    s.send(b"two")
    eq(b.recvfrom(9), (b"two", who))
    g.call("connect", s.fd, struct.pack("<H14x", 0))
    fails(errno.ENOTCONN, s.name, True)
    fails(errno.EDESTADDRREQ, s.send, b"x")


@test
def bound():
    """bound: anybody's datagrams arrive with their true source; port 0 is told truthfully"""
    _, g = up()
    s = udp(g).bind((LOOP, 0))
    host, port = s.name()
    eq(host, LOOP)
    a, b = peer(), peer()
    a.sendto(b"from a", (LOOP, port))
    b.sendto(b"from b", (LOOP, port))
    got = sorted((s.recvmsg()[1:3] for _ in range(2)))
    eq(got, [(b"from a", a.getsockname()), (b"from b", b.getsockname())])
    fixed = free_port(socket.SOCK_DGRAM)
    t = udp(g).bind((LOOP, fixed))
    eq(t.name(), (LOOP, fixed))
    fails(errno.EADDRINUSE, udp(g).bind, (LOOP, fixed))
    fails(errno.EADDRINUSE, udp(g).bind, a.getsockname())


@test
def sizes():
    """0 bytes, 1 byte, and the largest that a frame holds; one more is EMSGSIZE, or told as cut"""
    _, g = up()
    a = peer()
    s = udp(g)
    s.connect(a.getsockname())
    for n in (0, 1, 1472, 9000, LARGEST):
        eq(s.send(pattern(0, n)), n)
        data, who = a.recvfrom(70000)
        eq(data == pattern(0, n) and len(data) == n, True, f"{n} out")
        a.sendto(pattern(1, n), who)
        ret, data, src, flags = s.recvmsg(70000)
        eq((ret, len(data), data == pattern(1, n), src, flags), (n, n, True, a.getsockname(), 0), f"{n} in")
    fails(errno.EMSGSIZE, s.send, bytes(LARGEST + 1))
    a.sendto(pattern(2, 65507), who)
    ret, data, src, flags = s.recvmsg(70000)
    eq((ret, data == pattern(2, LARGEST), flags), (LARGEST, True, MSG_TRUNC))
    fails(errno.EMSGSIZE, s.send, bytes(70000))


@test
def truncation():
    """a short buffer cuts (MSG_TRUNC tells), MSG_PEEK leaves it, FIONREAD is the next one's length"""
    _, g = up()
    a = peer()
    s = udp(g).bind((LOOP, 0))
    a.sendto(b"0123456789", s.name())
    a.sendto(b"next", s.name())
    s.wait(IN)
    eq(s.readable(), 10)
    eq(s.recvmsg(4, MSG_PEEK)[1], b"0123")
    eq(s.recvmsg(4, MSG_TRUNC), (10, b"0123", a.getsockname(), MSG_TRUNC))
    eq(s.recvmsg(4)[1:], (b"next", a.getsockname(), 0))
    fails(errno.EAGAIN, s.recv, 4, MSG_DONTWAIT)


@test
def small_window():
    """a datagram larger than the guest's window: cut, with its true length; a smaller one is whole"""
    _, g = up(kind="small")
    a = peer()
    s = udp(g).bind((LOOP, 0))
    a.sendto(pattern(0, 30000), s.name())
    eq(s.recvmsg(16, MSG_TRUNC | MSG_PEEK)[0], 30000)
    ret, data, src, flags = s.recvmsg(65536)
    eq((len(data), src, flags), (ret, a.getsockname(), MSG_TRUNC))
    assert 2000 < ret <= 4096 and data == pattern(0, ret), ret
    a.sendto(pattern(3, 2000), s.name())
    eq(s.recvmsg()[:2], (2000, pattern(3, 2000)))


@test
def icmp():
    """port unreachable: ECONNREFUSED on a connected socket, once, and the socket goes on"""
    _, g = up()
    port = free_port(socket.SOCK_DGRAM)
    s = udp(g)
    s.connect((LOOP, port))
    later = s.go_recv()
    s.send(b"anybody?")
    fails(errno.ECONNREFUSED, later.get)
    a = peer(port=port)
    s.send(b"now?")
    data, who = a.recvfrom(9)
    a.sendto(b"yes", who)
    eq(s.recv(), b"yes")
    a.close()
    s.send(b"x")
    got = s.wait(ERR)
    assert got & ERR, got
    eq(s.error(), errno.ECONNREFUSED)
    eq(s.error(), 0)
    # unconnected: nobody is blamed for another's port
    u = udp(g)
    u.sendto(b"x", (LOOP, port))
    b = peer()
    u.sendto(b"y", b.getsockname())
    b.sendto(b"z", b.recvfrom(9)[1])
    eq(u.recv(), b"z")


@test
def denied():
    """a destination that no rule allows: EACCES on the socket, a log line; others still work"""
    a, b = peer(), peer()
    p, g = up(f"allow out udp {LOOP}:{a.getsockname()[1]}")
    s = udp(g)
    s.sendto(b"good", a.getsockname())
    who = a.recvfrom(9)[1]
    try:
        s.sendto(b"bad", b.getsockname())
        s.wait(ERR)
        eq(s.error(), errno.EACCES)
    except PermissionError:
        pass
    line = p.log("denied")
    for what in ("link g", "%s:%d" % b.getsockname(), "no allow rule"):
        assert what in line, line
    a.sendto(b"back", who)
    eq(s.recv(), b"back")
    fails(errno.EACCES, udp(g).connect, b.getsockname())
    fails(errno.EACCES, udp(g).bind, (LOOP, free_port(socket.SOCK_DGRAM)))
    # what was not asked for does not come in: the socket takes only those it may send to
    b.sendto(b"stranger", who)
    a.sendto(b"friend", who)
    eq(s.recvmsg()[1:3], (b"friend", a.getsockname()))


@test
def drops():
    """a guest that does not read: datagrams are dropped and counted, the newest come again afterwards"""
    p, g = up(kind="small")
    a = peer()
    s = udp(g).bind((LOOP, 0))
    for i in range(3000):
        a.sendto(struct.pack("<I", i) + bytes(1000), s.name())
    got, last = 0, -1
    while g.poll(0.5, (s, IN))[0]:
        n = struct.unpack("<I", s.recv()[:4])[0]
        assert n > last, (n, last)
        got, last = got + 1, n
    assert 0 < got < 3000, got
    # what the kernel dropped is told with the next one that it takes
    a.sendto(b"alive", s.name())
    eq(s.recv(), b"alive")
    eq(got + p.counters()["datagram_drops"], 3000, "read and dropped")
    a.sendto(b"alive", s.name())
    eq(s.recv(), b"alive")
    eq(got + g.stats()["drops"], 3000, "read and told to be dropped")


@test
def pressure():
    """many datagrams out: a non-blocking socket may say EAGAIN, POLLOUT follows; all those taken arrive whole"""
    _, g = up()
    a = peer()
    roomy(a)
    s = udp(g, flags=NONBLOCK)
    s.connect(a.getsockname())
    s.wait(OUT)
    sent = 0
    for i in range(400):
        try:
            s.send(struct.pack("<I", i) + pattern(i, 1000))
            sent += 1
        except BlockingIOError:
            s.wait(OUT)
            continue
        data = a.recv(2000)
        eq(data[4:] == pattern(struct.unpack("<I", data[:4])[0], 1000), True)
    assert sent > 300, sent


@test
def proxy_stands_still():
    """a proxy that takes nothing for a while: EAGAIN, a blocking send waits; all of them arrive"""
    p, g = up()
    a = peer()
    roomy(a)
    got = []

    def reader():
        while len(got) < 1 or got[-1] != 0xFFFFFFFF:
            got.append(struct.unpack("<I", a.recv(70000)[:4])[0])

    t = threading.Thread(target=reader, daemon=True)
    t.start()
    s = udp(g)
    s.connect(a.getsockname())
    sent = 0
    os.kill(p.worker_pid(), signal.SIGSTOP)
    try:
        while sent < 1000:
            s.send(struct.pack("<I", sent) + bytes(20000), MSG_DONTWAIT)
            sent += 1
        raise AssertionError("nothing stops the sender")
    except BlockingIOError:
        later = g.go("sendto", s.fd, struct.pack("<I", 0xFFFFFFFF) + bytes(60000), 0, b"")
        g.poll(0.3)
        assert not later.done.is_set(), "a blocking send waits"
    finally:
        os.kill(p.worker_pid(), signal.SIGCONT)
    eq(later.get(), 60004)
    t.join(TIMEOUT)
    assert not t.is_alive()
    if a.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 1 << 22:  # else the host may have dropped some
        eq(got, list(range(sent)) + [0xFFFFFFFF])
    eq(got, sorted(got))


@test
def multicast():
    """a multicast group on loopback: joined by rule, datagrams arrive; left, refused without a rule"""
    group, port = "239.1.2.3", free_port(socket.SOCK_DGRAM)
    _, g = up("allow in udp any:any", "allow out udp any:any", "allow out udp local:any")
    s = udp(g)
    s.setopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", port))
    mreq = socket.inet_aton(group) + socket.inet_aton(LOOP)
    s.setopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq)
    a = peer()
    a.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOP))
    a.sendto(b"to all", (group, port))
    eq(s.recvmsg()[1:3], (b"to all", a.getsockname()))
    s.setopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, mreq)
    fails(errno.EADDRNOTAVAIL, s.setopt, socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, mreq)
    s.setopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 3)
    eq(s.getopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL), 3)
    _, g2 = up("allow out udp local:any")
    fails(errno.EACCES, udp(g2).setopt, socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq)


@test
def options():
    """options of UDP; TCP's are ENOPROTOOPT"""
    _, g = up("allow out udp any:any", "allow out udp local:any")
    s = udp(g)
    s.setopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    eq(s.getopt(socket.SOL_SOCKET, socket.SO_BROADCAST), 1)
    fails(errno.ENOPROTOOPT, s.setopt, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    fails(errno.ENOPROTOOPT, s.setopt, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.setopt(socket.IPPROTO_IP, socket.IP_TTL, 7)
    eq(s.getopt(socket.IPPROTO_IP, socket.IP_TTL), 7)
    eq(s.getopt(socket.SOL_SOCKET, socket.SO_PROTOCOL), 17)
    fails(errno.EOPNOTSUPP, s.listen)
    # a broadcast needs SO_BROADCAST
    t = udp(g)
    try:
        t.sendto(b"x", ("255.255.255.255", 9))
        t.wait(ERR)
        eq(t.error(), errno.EACCES)
    except PermissionError:
        pass


@test
def publish():
    """publish udp PORT -> inet:PORT: the guest bound to its port answers strangers, sources true"""
    port = free_port(socket.SOCK_DGRAM)
    _, g = up(f"publish udp {LOOP}:{port} -> inet:7000")
    s = udp(g).bind(("0.0.0.0", 7000))
    eq(s.name()[1], 7000)
    a, b = peer(), peer()
    for c in (a, b):
        c.sendto(b"hi", (LOOP, port))
        ret, data, who, _ = s.recvmsg()
        eq((data, who), (b"hi", c.getsockname()))
        s.sendto(b"ho", who)
        eq(c.recvfrom(9), (b"ho", (LOOP, port)))


@test
def closing():
    """close ends it at the proxy: its port is free, nothing is left"""
    p, g = up()
    s = udp(g).bind((LOOP, 0))
    addr = s.name()
    fds = p.fds()
    s.close()
    p.wait_counter("sockets", 0)
    peer(port=addr[1]).close()
    eq(p.fds(), fds - 1)
    for _ in range(50):
        s = udp(g)
        s.sendto(b"x", (LOOP, 9))
        s.close()
    p.wait_counter("sockets", 0)
    eq(p.fds(), fds - 1)


if __name__ == "__main__":
    main()
