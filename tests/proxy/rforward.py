#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""publish and expose between the host and a remote's rpmsg services, by name and by address."""
import hashlib
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from harness import Server, echo, eq, free_port, main, test  # noqa: E402
from rpmsgguest import Raw, Service  # noqa: E402
from rpmsgrig import Rig  # noqa: E402
from vguest import SEND, Reset  # noqa: E402

MIB = 1 << 20


def udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 0))
    s.settimeout(20)
    return s


def reset_at(port, p, why):
    """A connection to a published port is reset, and the log says why."""
    n = len(p.lines)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as k:
            raise AssertionError(f"got {k.recv(1)!r}")
    except ConnectionResetError:
        pass
    p.log(f"publish .*connection reset: {why}", start=n)


@test
def publish_tcp():
    """publish tcp to a stream service by name: both ways, both EOFs"""
    port = free_port()
    g = Rig(f"publish tcp 127.0.0.1:{port} -> rpmsg:web")
    data = os.urandom(300000)
    g.r.listen("web")
    g.r.wait(lambda: False, 0.05)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as k:
        c = g.r.accept("web")
        c.send(b"from the remote")
        eq(k.recv(100), b"from the remote")
        k.sendall(data)
        k.shutdown(socket.SHUT_WR)
        eq(hashlib.sha256(c.recv_exact(len(data))).digest(), hashlib.sha256(data).digest())
        eq(c.recv(), b"")
        with g.r.pumped():
            c.send(b"bye")
            eq(k.recv(3, socket.MSG_WAITALL), b"bye")
        c.shutdown(SEND)
        eq(k.recv(1), b"")
    g.close()


@test
def publish_address():
    """publish tcp to a stream service by address, and a Unix socket to one by name"""
    port = free_port()
    g = Rig(f"publish tcp 127.0.0.1:{port} -> rpmsg:@0x333", "publish unix DIR/pub -> rpmsg:u")
    s = Service(g.r)
    del g.r.eps[s.addr]
    s.addr = g.r.new_addr(s, 0x333)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as k:
        g.r.wait(lambda: s.accepted)
        c = s.accepted[0]
        k.sendall(b"by address")
        eq(c.recv_exact(10), b"by address")
        c.close()
        eq(k.recv(1), b"")
    g.r.listen("u")
    g.r.wait(lambda: False, 0.05)
    k = socket.socket(socket.AF_UNIX)
    k.settimeout(20)
    k.connect(os.path.join(g.p.dir.name, "pub"))
    c = g.r.accept("u")
    k.sendall(b"unix")
    eq(c.recv_exact(4), b"unix")
    k.close()
    eq(c.recv(), b"")
    c.close()
    g.close()


@test
def publish_nobody():
    """publish: no remote; not announced; withdrawn; refused: reset, and the log says which"""
    port = free_port()
    g = Rig(f"publish tcp 127.0.0.1:{port} -> rpmsg:web", start=False)
    reset_at(port, g.p, "no remote is attached")
    g.r.boot()
    g.r.wait_up()
    with g.r.pumped():
        reset_at(port, g.p, "the remote has not announced it")
    s = g.r.listen("web")
    g.r.wait(lambda: False, 0.05)
    g.r.listening.clear()
    with g.r.pumped():
        reset_at(port, g.p, "Connection refused")
    g.r.announce("web~s", s, gone=True)
    g.r.wait(lambda: False, 0.05)
    with g.r.pumped():
        reset_at(port, g.p, "the remote has not announced it")
    g.close()


@test
def proxy_protocol():
    """the PROXY protocol's header goes before a remote's streams, both ways"""
    port, got = free_port(), []

    def take(k):
        data = b""
        while not data.endswith(b"end"):
            data += k.recv(4096)
        got.append(data)
        k.sendall(b"ok")
    srv = Server(take)
    g = Rig(f"publish tcp 127.0.0.1:{port} -> rpmsg:web proxy-protocol",
            f"expose rpmsg:log -> tcp 127.0.0.1:{srv.port} proxy-protocol")
    g.r.listen("web")
    g.r.wait(lambda: False, 0.05)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as k:
        c = g.r.accept("web")
        head = c.recv_exact(28)
        eq(head[12:24], b"\x21\x11\0\x0c" + socket.inet_aton("127.0.0.1") * 2)
        eq(head[24:], k.getsockname()[1].to_bytes(2, "big") + port.to_bytes(2, "big"))
        c.close()
        eq(k.recv(1), b"")
    c = g.r.connect("log")
    c.send(b"end")
    eq(c.recv_exact(2), b"ok")
    eq(got[0][:14], head[:12] + b"\x20\0")
    body = got[0][16:-3]
    eq(int.from_bytes(got[0][14:16], "big"), len(body))
    values = []
    while body:
        n = 3 + int.from_bytes(body[1:3], "big")
        values.append((body[0], body[3:n].decode()))
        body = body[n:]
    eq([t for t, _ in values], [0xe0, 0xe1, 0xe2])
    eq(values[2][1], "rpmsg:log")
    eq(values[1][1][:7], "rpmsg:@")
    eq(int(values[1][1][7:]) > 0, True)
    c.close()
    g.close()
    srv.close()


@test
def expose_stream():
    """expose to tcp and unix: the services are announced; target's refusal and reset come through"""
    srv = Server(echo)
    g = Rig(f"expose rpmsg:t -> tcp 127.0.0.1:{srv.port}", "expose rpmsg:u -> unix DIR/target",
            f"expose rpmsg:@0x20 -> tcp 127.0.0.1:{srv.port}", f"expose rpmsg:no -> tcp 127.0.0.1:{free_port()}")
    for port in ("t", 0x20):
        c = g.r.connect(port)
        c.send(b"hello" * 1000)
        eq(c.recv_exact(5000), b"hello" * 1000)
        c.close()
    for port in ("no", "u"):
        try:
            g.r.connect(port)
            raise AssertionError("connected")
        except Reset:
            pass
    g.p.log("expose rpmsg:no -> .*Connection refused")
    unix = Server(echo, path=os.path.join(g.p.dir.name, "target"))
    c = g.r.connect("u")
    c.send(b"x")
    eq(c.recv_exact(1), b"x")
    c.reset()
    g.p.wait_counter("flows", 0)
    eq(sorted(g.r.services), ["ampsock~s", "no~s", "t~s", "u~s"])
    unix.close()
    os.unlink(os.path.join(g.p.dir.name, "target"))
    g.close()
    srv.close()


@test
def told_at_the_door():
    """a remote with a front door hears of every service there too, also without a name service"""
    g = Rig("expose rpmsg:t -> tcp 127.0.0.1:1", "expose rpmsg:d -> udp 127.0.0.1:1", ns=True)
    g.r.wait(lambda: len(g.r.heard) == 3)
    eq([h[3] for h in g.r.heard], ["ns"] * 3)
    addrs = dict(g.r.services)
    g.r.listen(0x414D5302)
    g.r.wait(lambda: len(g.r.heard) == 6)
    eq([h[3] for h in g.r.heard[3:]], ["door"] * 3)
    eq(g.r.services, addrs)
    eq(sorted(addrs), ["ampsock~s", "d", "t~s"])
    g.close()
    # not negotiated: nothing is announced, and an address still works
    srv = Server(echo)
    g = Rig(f"expose rpmsg:@0x20 -> tcp 127.0.0.1:{srv.port}", ns=False)
    c = g.r.connect(0x20)
    c.send(b"x")
    eq(c.recv_exact(1), b"x")
    c.close()
    eq(g.r.heard, [])
    g.close()
    srv.close()


@test
def publish_udp():
    """publish udp: a datagram is a message and nothing else; each peer has an endpoint; answers find it"""
    port = free_port(socket.SOCK_DGRAM)
    at = free_port(socket.SOCK_DGRAM)
    g = Rig(f"publish udp 127.0.0.1:{port} -> rpmsg:raw", f"publish udp 127.0.0.1:{at} -> rpmsg:@0x30")
    a, b = udp(), udp()
    raw, fixed = Raw(g.r), Raw(g.r, 0x30)
    g.r.announce("raw", raw)
    g.r.wait(lambda: False, 0.05)
    a.sendto(b"from a", ("127.0.0.1", port))
    src_a, data = raw.recv()
    eq(data, b"from a")
    b.sendto(b"from b", ("127.0.0.1", port))
    src_b, data = raw.recv()
    eq(data, b"from b")
    if src_a == src_b:
        raise AssertionError("two peers, one endpoint")
    raw.send(src_b, b"to b")
    raw.send(src_a, b"to a")
    eq(a.recvfrom(100), (b"to a", ("127.0.0.1", port)))
    eq(b.recvfrom(100), (b"to b", ("127.0.0.1", port)))
    # every length, whole or not at all
    for n in (0, 1, 495, 496):
        a.sendto(b"z" * n, ("127.0.0.1", port))
        eq(raw.recv(), (src_a, b"z" * n))
        raw.send(src_a, b"y" * n)
        eq(a.recv(1000), b"y" * n)
    drops = g.p.counters()["datagram_drops"]
    a.sendto(b"z" * 497, ("127.0.0.1", port))
    a.sendto(b"next", ("127.0.0.1", port))
    eq(raw.recv(), (src_a, b"next"))
    eq(g.p.counters()["datagram_drops"], drops + 1)
    # a stranger on the remote is not heard
    Raw(g.r).send(src_a, b"stranger")
    raw.send(src_a, b"friend")
    eq(a.recv(100), b"friend")
    a.sendto(b"fixed", ("127.0.0.1", at))
    eq(fixed.recv()[1], b"fixed")
    # withdrawn: the endpoints go
    g.r.announce("raw", raw, gone=True)
    g.r.wait(lambda: False, 0.05)
    g.p.wait_counter("ends", 1)
    eq(g.p.counters()["rx_bad"], 0)
    g.close(ends=1)


@test
def expose_udp():
    """expose udp: the first message of a source is a peer; answers come from the service's address"""
    s = udp()
    g = Rig(f"expose rpmsg:dns -> udp 127.0.0.1:{s.getsockname()[1]}",
            f"expose rpmsg:@0x35000000 -> udp 127.0.0.1:{s.getsockname()[1]}")
    dns = g.r.lookup("dns")
    one, two = Raw(g.r), Raw(g.r)
    for service in (dns, 0x35000000):
        one.send(service, b"query 1")
        data, from1 = s.recvfrom(1000)
        eq(data, b"query 1")
        two.send(service, b"")
        data, from2 = s.recvfrom(1000)
        eq(data, b"")
        if from1 == from2:
            raise AssertionError("two sources, one socket")
        s.sendto(b"answer 2", from2)
        s.sendto(b"", from1)
        eq(two.recv(), (service, b"answer 2"))
        eq(one.recv(), (service, b""))
    g.close(ends=4)


@test
def expose_udp_many():
    """more sources than a service keeps: the longest silent one is forgotten, nothing is leaked"""
    s = udp()
    g = Rig(f"expose rpmsg:dns -> udp 127.0.0.1:{s.getsockname()[1]}")
    dns = g.r.lookup("dns")
    ends = [Raw(g.r) for _ in range(300)]
    seen = {}
    for i, e in enumerate(ends):
        e.send(dns, b"%d" % i)
        data, at = s.recvfrom(1000)
        eq(data, b"%d" % i)
        seen[i] = at
    g.p.wait_counter("ends", 256)
    s.sendto(b"late", seen[299])
    eq(ends[299].recv(), (dns, b"late"))
    ends[0].send(dns, b"again")  # forgotten: a new socket
    data, at = s.recvfrom(1000)
    eq(data, b"again")
    g.close(ends=256)


@test
def burst():
    """a burst is one kick each way, and none while the other side is awake"""
    port = free_port(socket.SOCK_DGRAM)
    g = Rig(f"publish udp 127.0.0.1:{port} -> rpmsg:@0x30", num=64)
    a, raw = udp(), Raw(g.r, 0x30)
    a.sendto(b"who", ("127.0.0.1", port))
    src, _ = raw.recv()
    g.r.wait(lambda: False, 0.1)
    before, kicks = g.p.counters(), g.r.kicks
    for i in range(30):
        g.r.post(raw.addr, src, b"%d" % i)
    g.r.flush()
    eq(g.r.kicks, kicks + 1)
    eq([a.recv(10) for _ in range(30)], [b"%d" % i for i in range(30)])
    g.r.wait(lambda: False, 0.1)
    after = g.p.counters()
    if after["rings"] - before["rings"] > 2 or after["rung"] - before["rung"] != 1:
        raise AssertionError(f"{before} {after}")
    g.r.awake(True)
    rings = g.p.counters()["rings"]
    for i in range(10):
        a.sendto(b"x", ("127.0.0.1", port))
    eq([raw.recv()[1] for _ in range(10)], [b"x"] * 10)
    eq(g.p.counters()["rings"], rings)
    g.close(ends=1)


main()
