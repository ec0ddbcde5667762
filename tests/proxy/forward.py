#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""publish and expose: TCP, Unix and UDP between a guest's AF_VSOCK and the host."""
import array
import contextlib
import hashlib
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from clock import Clock  # noqa: E402
from harness import TIMEOUT, Proxy, Server, echo, eq, free_port, limit_fds, main, test  # noqa: E402
from vguest import RCV, RST, RW, SEND, SEQPACKET, SHUTDOWN, Guest, Reset  # noqa: E402
from vrig import dial, exposed, published  # noqa: E402

MIB = 1 << 20


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def read_all(conn):
    h, n = hashlib.sha256(), 0
    while True:
        data = conn.recv(MIB)
        if not data:
            return n, h.hexdigest()
        h.update(data)
        n += len(data)


def pattern(n):
    return (os.urandom(MIB) * (n // MIB + 1))[:n]


def transfer(n, **kw):
    """n bytes up, EOF, n bytes down, EOF, every byte compared."""
    up, down, got = pattern(n), pattern(n), []

    def serve(s):
        got.append(read_all(s))
        s.sendall(down)
    srv, p, g = exposed(serve, **kw)
    c = g.connect(6000)
    c.send(up)
    c.shutdown(SEND)
    eq(read_all(c), (n, hashlib.sha256(down).hexdigest()), "down")
    srv.check()
    eq(got, [(n, hashlib.sha256(up).hexdigest())], "up")
    c.close()
    p.wait_counter("ends", 0)
    p.wait_counter("flows", 0)
    eq(p.counters()["rx_bad"] + p.counters()["resets"], 0, "complaints")
    srv.close()
    g.close()
    p.stop()


@test
def bulk():
    """64 MiB each way, half-close in between, hashes agree"""
    transfer(64 * MIB)


@test
def bulk_small_buffers():
    """the same with receive buffers of 512 bytes and a ring of 8"""
    transfer(2 * MIB, num=8, rx_len=512, tx_len=512)


@test
def bulk_no_event_idx():
    """the same without VIRTIO_F_EVENT_IDX"""
    transfer(8 * MIB, event_idx=False)


@test
def bulk_odd_buffers():
    """receive buffers of 3776 bytes, as Linux has them, and packets of odd length"""
    transfer(5 * MIB + 77, rx_len=3776, tx_len=4097 + 44)


@test
def bulk_odd_addresses():
    """receive buffers at odd addresses: a header is not written where it is not aligned"""
    transfer(3 * MIB + 1, rx_len=4097, tx_len=4099 + 44)


@test
def publish_tcp():
    """publish: a host connection reaches the guest's port, both ways, both EOFs"""
    port, p, g = published()
    g.listen(5000)
    data = pattern(MIB)
    k = dial(port)
    c = g.accept(5000)
    c.send(b"from the guest")
    eq(k.recv(100), b"from the guest")
    k.sendall(b"first")
    eq(c.recv_exact(5), b"first")
    k.shutdown(socket.SHUT_WR)
    eq(c.recv(), b"")
    c.send(data)
    c.shutdown(SEND)
    got = b""
    while True:
        part = k.recv(MIB)
        if not part:
            break
        got += part
    eq(hashlib.sha256(got).digest(), hashlib.sha256(data).digest())
    k.close()
    p.wait_counter("ends", 0)
    g.close()
    p.stop()


@test
def publish_unix():
    """publish and expose of Unix sockets; the published path is removed at the end"""
    p = Proxy("publish unix DIR/pub -> vsock:5000", "expose vsock:6000 -> unix DIR/target")
    srv = Server(echo, path=os.path.join(p.dir.name, "target"))
    g = Guest(p.path)
    g.listen(5000)
    k = socket.socket(socket.AF_UNIX)
    k.settimeout(20)
    k.connect(os.path.join(p.dir.name, "pub"))
    c = g.accept(5000)
    k.sendall(b"hello")
    eq(c.recv_exact(5), b"hello")
    c.close()
    eq(k.recv(1), b"")
    d = g.connect(6000)
    d.send(b"hello")
    eq(d.recv_exact(5), b"hello")
    d.close()
    g.close()
    srv.close()
    left = p.stop()
    eq([x for x in left if x != "target"], [], "left behind")


@test
def urgent():
    """urgent data from a TCP peer: the bytes behind it come too, though the read before it was short"""
    port, p, g = published()
    g.listen(5000)
    k = dial(port)
    k.sendall(b"before")
    k.send(b"!", socket.MSG_OOB)
    k.sendall(b"behind")
    p.wait_counter("ends", 1)  # the proxy has its last edge before the guest answers
    c = g.accept(5000)
    eq(c.recv_exact(12), b"beforebehind")
    g.close()
    p.stop()


@test
def publish_ipv6():
    """publish on ::1"""
    port = free_port(family=socket.AF_INET6)
    p = Proxy(f"publish tcp [::1]:{port} -> vsock:5000")
    g = Guest(p.path)
    g.listen(5000)
    k = socket.create_connection(("::1", port), timeout=20)
    c = g.accept(5000)
    k.sendall(b"six")
    eq(c.recv_exact(3), b"six")
    g.close()


@test
def publish_nobody():
    """publish: no guest, or nobody listens there: the host connection is reset, and the log says why"""
    port = free_port()
    p = Proxy(f"publish tcp 127.0.0.1:{port} -> vsock:5000")

    def try_it(why):
        try:
            with dial(port) as k:
                raise AssertionError(f"got {k.recv(1)!r}")
        except ConnectionResetError:
            pass
        p.log(f"publish .*connection reset: {why}")
    try_it("no guest is attached")
    g = Guest(p.path)
    p.log("guest attached")
    with g.pumped():
        try_it("Connection refused")
    g.close()
    p.stop()


@test
def silent_guest():
    """publish: a guest that never answers: the connection is reset after ten seconds, and not after eight"""
    clock = Clock()
    port, p, g = published(env=clock.env)
    p.log("guest attached")
    began = time.monotonic()
    with dial(port) as k:
        p.wait_counter("ends", 1)
        clock.forward(8)
        p.counters()
        p.counters()  # the loop has seen the clock
        if time.monotonic() - began < 2:  # a machine that takes longer has no answer to that
            eq(select.select([k], [], [], 0)[0], [])
        clock.forward(2)
        p.counters()
        k.settimeout(TIMEOUT)
        try:
            raise AssertionError(f"got {k.recv(1)!r}")
        except ConnectionResetError:
            pass
    g.poll(0.1)  # takes the REQUEST and the RST behind it
    p.wait_counter("ends", 0)
    g.close()


@test
def publish_unix_replaced():
    """another's socket at the path that was published: it stays at the end, and the log says so"""
    p = Proxy("publish unix DIR/pub -> vsock:5000")
    path = os.path.join(p.dir.name, "pub")
    os.unlink(path)
    other = socket.socket(socket.AF_UNIX)
    other.bind(path)
    eq(p.stop(), ["pub"], "left behind")
    p.log("link g: .*/pub is another's file by now: it stays")
    other.close()


@test
def descriptors_out():
    """no descriptors left: accepted connections go on, new ones wait and are served later"""
    port, p, g = published()
    g.listen(5000)
    p.log("guest attached")
    limit = p.fds() + 3
    limit_fds(p.worker_pid(), limit, limit)
    socks = [dial(port) for _ in range(8)]
    for i, k in enumerate(socks):
        k.sendall(b"%d" % i)
    served = 0
    p.log(f"accept: Too many open files: connections to 127.0.0.1:{port} wait")
    while served < 8:
        c = g.accept(5000)
        c.recv_exact(1)
        c.close()
        served += 1
    g.close()


@test
def descriptors_out_many():
    """the same with a hundred listeners, and each of them had nothing left"""
    p = Proxy(*(f"publish unix DIR/{i} -> vsock:{5000 + i}" for i in range(100)))
    g = Guest(p.path)
    for i in range(100):
        g.listen(5000 + i)
    p.log("guest attached")
    limit = p.fds()
    limit_fds(p.worker_pid(), limit, 4096)
    os.kill(p.worker_pid(), signal.SIGSTOP)  # it is to see all of them before there are descriptors again
    socks = [socket.socket(socket.AF_UNIX) for _ in range(100)]
    for i, k in enumerate(socks):
        k.settimeout(20)
        k.connect(os.path.join(p.dir.name, str(i)))
        k.sendall(b"x")
    os.kill(p.worker_pid(), signal.SIGCONT)
    p.log("accept: Too many open files")
    for _ in range(4):  # turns of its loop, which takes 64 at a time
        eq(p.counters()["flows"], 0)
    limit_fds(p.worker_pid(), 4096, 4096)
    for i in range(100):
        c = g.accept(5000 + i)
        c.recv_exact(1)
        c.close()
    g.close()


@test
def refused():
    """expose: the target refuses: the guest sees a reset, and the log names the rule"""
    port = free_port()
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{port}")
    g = Guest(p.path)
    for target in (6000, 6001):
        try:
            g.connect(target)
            raise AssertionError("connected to nothing")
        except Reset:
            pass
    p.log(r"expose vsock:6000 -> tcp .*refused")
    p.log("vsock:6001 .*no expose rule")
    try:
        g.connect(6000, SEQPACKET)
        raise AssertionError("a stream target took seqpacket")
    except Reset:
        pass
    p.wait_counter("ends", 0)
    g.close()


@test
def reset_from_host():
    """a TCP reset becomes a vsock reset, behind the data"""
    srv, p, g = exposed(lambda s: (s.recv(1), s.sendall(b"last words"), reset(s)))
    c = g.connect(6000)
    c.send(b"x")
    got = b""
    try:
        while True:
            part = c.recv()
            if not part:
                raise AssertionError("EOF instead of reset")
            got += part
    except Reset:
        pass
    # the host's kernel may throw the data away with the reset, but never half of it
    if got not in (b"", b"last words"):
        raise AssertionError(got)
    srv.close()
    g.close()


@test
def reset_from_guest():
    """a vsock reset becomes a TCP reset"""
    seen = []

    def serve(s):
        try:
            while True:
                if not s.recv(1):
                    seen.append("eof")
                    return
        except ConnectionResetError:
            seen.append("reset")
    srv, p, g = exposed(serve)
    c = g.connect(6000)
    c.send(b"x")
    c.reset()
    p.wait_counter("flows", 0)
    srv.check()
    eq(seen, ["reset"])
    srv.close()
    g.close()


@test
def close_delivers():
    """close() with data under way: every byte arrives, then EOF"""
    got = []
    srv, p, g = exposed(lambda s: (time.sleep(0.2), got.append(read_all(s))))
    data = pattern(MIB)
    c = g.connect(6000)
    c.send(data)
    c.close()
    srv.check()
    eq(got, [(MIB, hashlib.sha256(data).hexdigest())])
    srv.close()
    g.close()


@test
def many():
    """200 connections at once, each with its own bytes"""
    srv, p, g = exposed(echo)
    p.log("guest attached")
    before = p.fds()
    conns = [g.new(6000) for _ in range(200)]
    for c in conns:
        c.state = "connecting"
        c.post(1)
    for c in conns:
        c.wait(lambda c=c: c.state == "open")
    for i, c in enumerate(conns):
        c.send(b"%06d" % i * 100)
    for i, c in enumerate(conns):
        eq(c.recv_exact(600), b"%06d" % i * 100)
    for c in conns:
        c.shutdown(SEND)
    for c in conns:
        eq(c.recv(), b"")
        c.close()
    p.wait_counter("ends", 0)
    eq(p.fds(), before, "descriptors")
    srv.close()
    g.close()


@test
def churn():
    """1,000 connections one after the other leak neither descriptors nor ends"""
    srv, p, g = exposed(echo)
    p.log("guest attached")
    before = p.fds()
    for i in range(1000):
        c = g.connect(6000)
        if i % 3 == 0:
            c.send(b"x")
            eq(c.recv_exact(1), b"x")
        if i % 3 == 1:
            c.reset()
        else:
            c.close()
    p.wait_counter("ends", 0)
    p.wait_counter("flows", 0)
    eq(p.fds(), before, "descriptors")
    srv.close()
    g.close()


@test
def stalled_host():
    """a host that reads nothing stalls its own flow only, and all its bytes are kept in order"""
    srv = Server(echo)
    slow = socket.socket()
    slow.bind(("127.0.0.1", 0))
    slow.listen()
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}",
              f"expose vsock:6001 -> tcp 127.0.0.1:{slow.getsockname()[1]}")
    g = Guest(p.path)
    stuck = g.connect(6001)
    peer, _ = slow.accept()
    peer.settimeout(20)
    data = os.urandom(MIB) * 16
    sent = 0
    while sent < len(data):  # until the credit is used up for good
        n = min(stuck.credit(), 65536, len(data) - sent)
        if n <= 0:
            if not g.wait(lambda: stuck.credit() > 0, 0.5):
                break
            continue
        stuck.post(RW, data[sent:sent + n])
        stuck.tx_cnt += n
        sent += n
    if sent >= len(data):
        raise AssertionError("no back-pressure")
    fast = g.connect(6000)
    for _ in range(50):
        fast.send(b"y" * 20000)
        eq(fast.recv_exact(20000), b"y" * 20000)
    got = bytearray()
    peer.settimeout(0.2)
    while len(got) < sent:
        try:
            got += peer.recv(MIB)
        except TimeoutError:
            pass
        g.poll(0)
    eq(hashlib.sha256(bytes(got)).digest(), hashlib.sha256(data[:sent]).digest())
    stuck.reset()
    fast.close()
    srv.close()
    slow.close()
    peer.close()
    g.close()


@test
def stalled_guest():
    """a guest socket that reads nothing stalls its own flow only"""
    srv = Server(echo)
    flood = Server(lambda s: [s.sendall(b"z" * MIB) for _ in range(8)])
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}",
              f"expose vsock:6001 -> tcp 127.0.0.1:{flood.port}")
    g = Guest(p.path)
    stuck = g.connect(6001, buf_alloc=65536)
    g.wait(lambda: len(stuck.rx) == 65536)
    fast = g.connect(6000)
    for _ in range(50):
        fast.send(b"y" * 20000)
        eq(fast.recv_exact(20000), b"y" * 20000)
    eq(len(stuck.rx), 65536, "credit was overrun")
    total = 0
    while True:
        part = stuck.recv(MIB)
        if not part:
            break
        total += len(part)
    eq(total, 8 * MIB)
    srv.close()
    flood.close()
    g.close()


@test
def rx_ring_empty():
    """a guest that posts no receive buffers: what it sends still goes out, and answers wait"""
    got = []
    srv, p, g = exposed(lambda s: (s.sendall(b"a" * 300000), got.append(read_all(s))), num=16)
    c = g.connect(6000)
    hold = []
    real = g.post_rx
    g.post_rx = hold.append
    data = pattern(200000)
    c.send(data)  # within the credit: needs no receive buffer
    deadline = time.monotonic() + TIMEOUT
    while len(hold) < g.num and time.monotonic() < deadline:
        g.poll(0.1)
    eq(len(hold), g.num, "buffers in the guest's hands")
    g.post_rx = real
    for i in hold:
        real(i)
    g.notify(0)
    c.shutdown(SEND)
    eq(read_all(c)[0], 300000)
    srv.check()
    eq(got, [(200000, hashlib.sha256(data).hexdigest())])
    srv.close()
    g.close()


@test
def half_close_by_host():
    """the host sends EOF first; the guest still sends"""
    got = []
    srv, p, g = exposed(lambda s: (s.sendall(b"bye"), s.shutdown(socket.SHUT_WR), got.append(read_all(s)[0])))
    c = g.connect(6000)
    eq(c.recv_exact(3), b"bye")
    eq(c.recv(), b"")
    c.send(b"q" * 100000)
    c.close()
    srv.check()
    eq(got, [100000])
    srv.close()
    g.close()


@test
def reset_after_half_close():
    """the host sends EOF, and later a reset: the guest hears of it though it has nothing to write"""
    go = threading.Event()

    def serve(s):
        s.sendall(b"bye")
        s.shutdown(socket.SHUT_WR)
        go.wait(20)
        reset(s)
    srv, p, g = exposed(serve)
    c = g.connect(6000)
    eq(c.recv_exact(3), b"bye")
    eq(c.recv(), b"")
    go.set()
    c.wait(lambda: c.state == "reset")
    p.wait_counter("flows", 0)
    srv.close()
    g.close()


@test
def descriptors_passed():
    """a client that passes descriptors along: they are thrown away, and the bytes behind them arrive"""
    p = Proxy("publish unix DIR/pub -> vsock:5000")
    g = Guest(p.path)
    g.listen(5000)
    k = socket.socket(socket.AF_UNIX)
    k.connect(os.path.join(p.dir.name, "pub"))
    # all before the guest accepts: nobody reads before that, and nothing comes behind the last
    for i in range(20):
        k.sendmsg([b"%02d" % i], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    c = g.accept(5000)
    before = p.fds()
    eq(c.recv_exact(40), b"".join(b"%02d" % i for i in range(20)))
    eq(p.fds() <= before, True, "no descriptor kept")
    c.send(b"still here")
    eq(k.recv(100), b"still here")
    k.close()
    c.close()
    p.wait_counter("flows", 0)
    g.close()
    p.stop()


@test
def unix_closed_after_half_close():
    """the same of a Unix socket that is closed: there is no error, and nobody who reads"""
    go = threading.Event()

    def serve(s):
        s.sendall(b"bye")
        s.shutdown(socket.SHUT_WR)
        go.wait(20)
    p = Proxy("expose vsock:6000 -> unix DIR/target")
    srv = Server(serve, path=os.path.join(p.dir.name, "target"))
    g = Guest(p.path)
    c = g.connect(6000)
    eq(c.recv_exact(3), b"bye")
    eq(c.recv(), b"")
    go.set()
    c.wait(lambda: c.peer_shut == RCV | SEND)
    c.close()
    p.wait_counter("flows", 0)
    srv.close()
    g.close()


@test
def deaf_guest():
    """a guest that shuts down receiving only: its own bytes still arrive"""
    got = []
    srv, p, g = exposed(lambda s: got.append(read_all(s)[0]))
    c = g.connect(6000)
    c.shutdown(RCV)
    c.send(b"q" * 5000)
    c.shutdown(RCV | SEND)
    c.wait(lambda: c.state == "reset")
    p.wait_counter("ends", 0)
    srv.check()
    g.wait(lambda: got)  # the server may have been slow to begin
    eq(got, [5000])
    srv.close()
    g.close()


@test
def udp_overrun():
    """publish and expose udp: what finds no room in the kernel while the proxy does not run is counted, too"""
    port, n = free_port(socket.SOCK_DGRAM), 2000
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    u.settimeout(20)
    p = Proxy(f"publish udp 127.0.0.1:{port} -> vsock:5353", f"expose vsock:6000 -> udp 127.0.0.1:{u.getsockname()[1]}")
    g = Guest(p.path, seqpacket=True)
    g.listen(5353)
    p.log("guest attached")
    c = g.connect(6000, SEQPACKET)
    c.send_msg(b"here I am")
    peer = u.recvfrom(100)[1]
    u.sendto(b"first", ("127.0.0.1", port))
    d = g.accept(5353)
    eq(d.recv_msg(), b"first")
    for to, conn in ((("127.0.0.1", port), d), (peer, c)):
        before = p.counters()["datagram_drops"]
        os.kill(p.worker_pid(), signal.SIGSTOP)
        for _ in range(n):
            u.sendto(b"f" * 1000, to)
        os.kill(p.worker_pid(), signal.SIGCONT)
        got = 0
        deadline = time.monotonic() + 20
        while got + p.counters()["datagram_drops"] - before < n:
            assert time.monotonic() < deadline, f"{got} came, {p.counters()['datagram_drops'] - before} counted of {n}"
            u.sendto(b"and one more", to)  # the kernel says it with the next one
            n += 1
            try:
                while True:
                    conn.recv_msg(0.2)
                    got += 1
            except TimeoutError:
                pass
        eq(got + p.counters()["datagram_drops"] - before, n)
        n = 2000
    g.close()


@test
def udp_expose():
    """expose udp: a message is a datagram, both ways, and many of them keep their boundaries"""
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    u.settimeout(20)
    p = Proxy(f"expose vsock:6000 -> udp 127.0.0.1:{u.getsockname()[1]}")
    g = Guest(p.path, seqpacket=True)
    c = g.connect(6000, SEQPACKET)
    for size in (1, 100, 1472, 9000):
        c.send_msg(b"m" * size)
        data, peer = u.recvfrom(65536)
        eq(data, b"m" * size)
        u.sendto(b"r" * size, peer)
        eq(c.recv_msg(), b"r" * size)
    c.close()
    p.wait_counter("ends", 0)
    g.close()


@test
def udp_publish():
    """publish udp: each peer is a connection of its own, from its first datagram on"""
    port = free_port(socket.SOCK_DGRAM)
    p = Proxy(f"publish udp 127.0.0.1:{port} -> vsock:5353")
    g = Guest(p.path, seqpacket=True)
    g.listen(5353)
    p.log("guest attached")
    peers = []
    for i in range(3):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(20)
        s.sendto(b"hello %d" % i, ("127.0.0.1", port))
        s.sendto(b"again %d" % i, ("127.0.0.1", port))
        peers.append(s)
    for _ in range(3):
        c = g.accept(5353)
        first, second = c.recv_msg(), c.recv_msg()
        eq(first[:5], b"hello")
        eq(second, b"again" + first[5:])
        c.send_msg(b"answer" + first[5:])
    for i, s in enumerate(peers):
        data, src = s.recvfrom(100)
        eq((data, src), (b"answer %d" % i, ("127.0.0.1", port)))
        s.close()
    g.close()


@test
def udp_publish_many():
    """publish udp: one peer more than a rule has is heard, in the place of the one that was silent longest"""
    port, most = free_port(socket.SOCK_DGRAM), 256
    p = Proxy(f"publish udp 127.0.0.1:{port} -> vsock:5353")
    g = Guest(p.path, seqpacket=True)
    g.listen(5353)
    p.log("guest attached")
    peers, conns = [], []
    with contextlib.ExitStack() as all_peers:
        for i in range(most + 1):
            s = all_peers.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            s.settimeout(20)
            if i == most:  # the first speaks once more: now it is the second
                peers[0].sendto(b"here", ("127.0.0.1", port))
                eq(conns[0].recv_msg(), b"here")
            s.sendto(b"%d" % i, ("127.0.0.1", port))
            peers.append(s)
            conns.append(g.accept(5353))
            eq(conns[i].recv_msg(), b"%d" % i)
        g.wait(lambda: conns[1].peer_shut)
        for i in (0, 2, most - 1, most):
            eq(conns[i].peer_shut, 0)
            conns[i].send_msg(b"to %d" % i)
            eq(peers[i].recv(100), b"to %d" % i)
    g.close()
    p.stop()


@test
def seqpacket_refused():
    """a guest that did not negotiate seqpacket gets a reset for it"""
    p = Proxy("expose vsock:6000 -> udp 127.0.0.1:9")
    g = Guest(p.path)
    try:
        g.connect(6000, SEQPACKET)
        raise AssertionError("connected")
    except Reset:
        pass
    g.close()


@test
def ports_go_round():
    """a port pair that was just closed is not used again: a late packet would hit the next connection"""
    port, p, g = published()
    g.listen(5000)
    p.log("guest attached")
    seen = set()
    for _ in range(50):
        s = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        c = g.accept(5000)
        eq(c.peer in seen, False, f"port {c.peer} again")
        seen.add(c.peer)
        s.close()
        g.wait(lambda c=c: c.peer_shut & SEND)
        c.close()
    g.close()


@test
def stray_packets():
    """packets of unknown connections: RST for each, none for an RST"""
    p = Proxy("expose vsock:6000 -> tcp 127.0.0.1:9")
    g = Guest(p.path)
    c = g.new(6000)
    c.post(RW, b"data")
    c.wait(lambda: c.state == "reset")
    c = g.new(6000)
    c.post(SHUTDOWN)
    c.wait(lambda: c.state == "reset")
    c = g.new(6000)
    for _ in range(10):
        c.post(RST)
    g.wait(lambda: False, 0.2)
    eq(c.state, "new")
    eq(p.counters()["rst_strays"], 2)
    g.close()


main()
