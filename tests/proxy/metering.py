#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 60
"""Guests whose memory holds packets, not bytes, and says nothing of what it has read until asked."""
import hashlib
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from harness import TIMEOUT, Proxy, Server, eq, main, test  # noqa: E402
from vguest import HDR, RW, SEND, SEQPACKET, Guest  # noqa: E402

PACKET = 576  # what Linux charges for an empty one
BUF = 262144


class Linux(Guest):
    """Charges each unread packet like Linux, which resets the connection beyond BUF."""

    def __init__(self, path, **kw):
        self.unread = {}
        self.most = self.packets = 0
        super().__init__(path, **kw)

    def input(self, packet):
        head = HDR.unpack(packet[:44])
        key = (head[0], head[3], head[2], head[5])
        if head[6] == RW:
            q = self.unread.setdefault(key, [])
            q.append(head[4])
            self.packets += 1
            held = sum(q) + PACKET * len(q)
            self.most = max(self.most, held)
            if held > BUF:
                raise AssertionError(f"{len(q)} packets, {sum(q)} bytes: Linux would reset it")
        super().input(packet)

    def read(self, c):
        data = bytes(c.rx)
        c.rx.clear()
        self.unread[c.key()] = []
        c.fwd_cnt += len(data)  # not told: CREDIT_REQUEST brings it out
        return data


def link():
    socks = []
    srv = Server(lambda s: (s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), socks.append(s),
                            s.recv(1)))
    return srv, socks, Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}")


@test
def small_packets():
    """one byte a packet, nothing read: stops before the guest's memory is full; then few large packets"""
    srv, socks, p = link()
    g = Linux(p.path)
    c = g.connect(6000)
    g.wait(lambda: socks)
    n = 0
    while n < 2000:
        socks[0].sendall(bytes([n & 0xff]))
        n += 1
        # that it has stopped has no event; that it must not stop yet has
        if not g.wait(lambda: len(c.rx) == n, TIMEOUT if g.packets < 400 else 0.5):
            break
    eq(400 <= g.packets <= 455, True, f"{g.packets} packets")
    for _ in range(3000):
        socks[0].sendall(bytes([n & 0xff]))
        n += 1
    g.wait(lambda: False, 0.1)
    eq(g.packets <= 455, True, f"{g.packets} packets while it waits")
    before, got = g.packets, b""
    deadline = time.monotonic() + TIMEOUT
    while len(got) < n and time.monotonic() < deadline:
        got += g.read(c)
        g.wait(lambda: c.rx, 0.1)
    eq(got, bytes(i & 0xff for i in range(n)))
    eq(g.packets - before < 300, True, f"{g.packets - before} packets for the rest")
    c.close()
    g.close()
    srv.close()


@test
def large_packets():
    """bulk in receive buffers of 3776 bytes: a window's worth of bytes is more than a window of packets"""
    data = os.urandom(8 << 20)
    srv = Server(lambda s: s.sendall(data))
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}")
    g = Linux(p.path, rx_len=3776)
    c = g.connect(6000)
    g.wait(lambda: g.most > BUF // 2)
    eq(g.most > BUF // 2, True, f"{g.most} of {BUF} in use")
    h, n = hashlib.sha256(), 0
    deadline = time.monotonic() + 20
    while n < len(data) and time.monotonic() < deadline:
        part = g.read(c)
        h.update(part)
        n += len(part)
        g.wait(lambda: c.rx, 0.1)
    eq((n, h.hexdigest()), (len(data), hashlib.sha256(data).hexdigest()))
    g.wait(lambda: c.peer_shut & SEND)
    g.close()
    srv.close()


@test
def messages():
    """the same for messages; what comes after the guest has read arrives again"""
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    u.settimeout(TIMEOUT)
    p = Proxy(f"expose vsock:6000 -> udp 127.0.0.1:{u.getsockname()[1]}")
    g = Linux(p.path, seqpacket=True)
    c = g.connect(6000, SEQPACKET)
    c.consumed = lambda n: None
    c.send_msg(b"hello")
    _, peer = u.recvfrom(100)
    for i in range(1500):
        u.sendto(b"%04d" % i, peer)
        if i < 400 and i % 50 == 49:  # more than the proxy's socket has room for are lost there
            g.wait(lambda i=i: len(c.msgs) > i)
        g.poll(0)
    g.wait(lambda: False, 0.3)
    eq(400 <= g.packets <= 455, True, f"{g.packets} packets")
    eq(c.msgs[:400], [b"%04d" % i for i in range(400)])
    c.fwd_cnt += sum(map(len, c.msgs))
    c.msgs.clear()
    g.unread.clear()
    deadline = time.monotonic() + TIMEOUT
    while b"last" not in c.msgs:  # as long as the proxy does not know of the room, it is lost there
        eq(time.monotonic() < deadline, True, "nothing arrives again")
        u.sendto(b"last", peer)
        g.wait(lambda: b"last" in c.msgs, 0.5)
    g.close()


@test
def small_buffers():
    """a small core's buffer is a ring of bytes: as many packets as it has bytes"""
    srv, socks, p = link()
    g = Guest(p.path)
    c = g.connect(6000, buf_alloc=2048)
    g.wait(lambda: socks)
    for n in range(1, 1001):
        socks[0].sendall(b"x")
        eq(g.wait(lambda n=n: len(c.rx) == n), True, n)
    g.close()
    srv.close()


main()
