#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""Linux's virtio-vsock driver as the guest: ordinary programs and the kernel's own sockets."""
import errno
import hashlib
import os
import select
import signal
import socket
import struct
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import initramfs  # noqa: E402
import uml  # noqa: E402
from agent import PROGRAM, Agent, test  # noqa: E402
from guest import (ANY_CID, SEQPACKET, STREAM, VSOCK, fails, links, main, path_of,  # noqa: E402
                   pattern)
from harness import Proxy, Server, echo, eq, free_port  # noqa: E402

MSG_NOSIGNAL = 0x4000
LOOP, HOST = "127.0.0.1", 2
TIMEOUT = uml.TIMEOUT
SIZES = (1, 4095, 65537, 1 << 20, 16 << 20)
MANY = 200  # more than a ring has entries


def initrd():
    return initramfs.build("vsock", dynamic=["socat", PROGRAM])


def up(*rules, names=("g",)):
    """A proxy and a Linux guest on each of its links."""
    p = Proxy(*rules, args=links(*names))
    return p, *[uml.Guest(initrd(), [path_of(p, n) + ":19"]) for n in names]


def take(c):
    """Everything that a peer sends, as length and hash."""
    h, n = hashlib.md5(), 0
    while True:
        data = c.recv(1 << 16)
        if not data:
            return n, h.hexdigest()
        h.update(data)
        n += len(data)


def endless(c, resets, seen=lambda: None):
    """Sends until that fails: the error. seen(): there is something on the way."""
    try:
        while True:
            c.sendall(bytes(65536))
            seen()
    except OSError as e:
        resets.append(e.errno)


def nothing(c):
    c.recv(1)


def tcp(port):
    c = socket.create_connection((LOOP, port), TIMEOUT)
    c.settimeout(TIMEOUT)
    return c


def vsock(a, port, kind=STREAM, cid=HOST):
    s = a.socket(VSOCK, kind)
    s.connect((cid, port))
    return s


def listener(a, port, kind=STREAM):
    return a.socket(VSOCK, kind).bind((ANY_CID, port)).listen(128)


# ---- ordinary programs ----

@test
def socat_out():
    """socat in the guest to TCP servers of the host and back, 1 byte to 16 MiB, by hash"""
    got, sent = [], []
    sink = Server(lambda c: got.append(take(c)))
    source = Server(lambda c: c.sendall(sent[-1]))
    _, g = up(f"expose vsock:6000 -> tcp {LOOP}:{sink.port}", f"expose vsock:6001 -> tcp {LOOP}:{source.port}")
    for i, n in enumerate(SIZES):
        sent.append(os.urandom(n))
        want = hashlib.md5(sent[-1]).hexdigest()
        big = "-b 65536" if n > 1 << 20 else ""  # else blocks of 8 KiB
        text = g.run(f"socat -u {big} VSOCK-CONNECT:{HOST}:6001 CREATE:/tmp/f && md5sum /tmp/f && "
                     f"socat -u {big} OPEN:/tmp/f VSOCK-CONNECT:{HOST}:6000")
        eq(text.split()[0], want, f"{n} bytes to the guest")
        sink.check(i + 1)
        eq(got[-1], (n, want), "and back")
    sink.close()
    source.close()


@test
def socat_in():
    """a published port leads to socat in the guest: an echo of 1 byte to 16 MiB, by hash"""
    port = free_port()
    p, g = up(f"publish tcp {LOOP}:{port} -> vsock:7000")
    # -t: half a second behind the end of one direction it would close the other, whatever comes there
    g.go(f"socat -d -d -t {TIMEOUT} -b 65536 VSOCK-LISTEN:7000,fork SYSTEM:cat").expect("listening on")
    for n in SIZES:
        c = tcp(port)
        data = os.urandom(n)
        t = threading.Thread(target=lambda c=c, data=data: (c.sendall(data), c.shutdown(socket.SHUT_WR)), daemon=True)
        t.start()
        eq(take(c), (n, hashlib.md5(data).hexdigest()))
        t.join(TIMEOUT)
        c.close()
    p.wait_counter("flows", 0)


@test
def socat_seqpacket():
    """socat's SOCK_SEQPACKET through expose and publish of UDP: each datagram a message"""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((LOOP, 0))
    server.settimeout(TIMEOUT)
    port = free_port(socket.SOCK_DGRAM)
    _, g = up(f"expose vsock:6000 -> udp {LOOP}:{server.getsockname()[1]}", f"publish udp {LOOP}:{port} -> vsock:7000")
    # struct sockaddr_vm behind the family: two zero bytes, port and CID, little-endian
    addr = "x" + struct.pack("<HIII", 0, 6000, HOST, 0).hex()
    job = g.go(f"socat - SOCKET-CONNECT:40:0:{addr},socktype=5")
    job.write(b"first")
    data, peer = server.recvfrom(100)
    eq(data, b"first")
    server.sendto(b"the answer", peer)
    job.expect("the answer")
    job.end()
    addr = "x" + struct.pack("<HIII", 0, 7000, ANY_CID, 0).hex()
    g.go(f"socat -d -d SOCKET-LISTEN:40:0:{addr},socktype=5,fork SYSTEM:cat").expect("listening on")
    c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    c.settimeout(TIMEOUT)
    c.connect((LOOP, port))
    for text in (b"one", b"a second one"):
        c.send(text)
        eq(c.recv(100), text)
    server.close()
    c.close()


# ---- the kernel's sockets, call by call ----

@test
def stream_ends():
    """names; half-close each way; resets each way; refused, not exposed, nobody listening"""
    gone = free_port()
    box = []
    seen = threading.Event()

    def keep(c):
        box.append(c.dup())
        seen.set()

    server, sink = Server(echo), Server(keep)
    port = free_port()
    p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{server.port}", f"expose vsock:6001 -> tcp {LOOP}:{sink.port}",
              f"expose vsock:6002 -> tcp {LOOP}:{gone}", f"publish tcp {LOOP}:{port} -> vsock:7000")
    a = Agent(g)
    s = vsock(a, 6000)
    eq(s.name()[0], ANY_CID, "as Linux has it for a socket that was not bound")
    eq(s.name(peer=True), (HOST, 6000))
    s.send(b"before")
    s.shutdown(1)
    eq(s.recvall(6), b"before")
    eq(s.recv(), b"", "end after half-close")
    s.close()
    # the host half-closes first
    s = vsock(a, 6001)
    assert seen.wait(TIMEOUT)
    c = box.pop()
    c.settimeout(TIMEOUT)
    c.sendall(b"bye")
    c.shutdown(socket.SHUT_WR)
    eq(s.recvall(3), b"bye")
    eq(s.recv(), b"")
    s.sendall(b"still here")
    s.close()
    eq(take(c)[0], 10)
    c.close()
    # resets
    seen.clear()
    s = vsock(a, 6001)
    assert seen.wait(TIMEOUT)
    c = box.pop()
    s.send(b"x")
    c.settimeout(TIMEOUT)
    eq(c.recv(1), b"x")
    waits = s.go_recv(10)
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
    # Linux 6.1 has no error for a socket that an RST finds connected: end of file, then EPIPE
    eq(waits.get(), 0)
    fails(errno.EPIPE, s.send, b"x", MSG_NOSIGNAL)
    s.close()
    for bad in (6002, 6999):
        s = a.socket(VSOCK)
        fails(errno.ECONNRESET, s.connect, (HOST, bad))
        s.close()
    fails(errno.ECONNRESET, lambda: tcp(port).recv(1))  # or before connect() has returned
    p.log("publish .*vsock:7000.*: connection reset: Connection refused")
    p.wait_counter("flows", 0)
    server.close()
    sink.close()


@test
def guest_closes():
    """a guest that closes in mid-stream: its host peer is reset, whether the guest's program read all or died"""
    resets = []
    server = Server(lambda c: endless(c, resets))
    p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{server.port}")
    a = Agent(g)
    s = vsock(a, 6000)
    eq(len(s.recvall(1000)), 1000)
    s.close()
    server.check(1)
    job = g.go(f"exec socat -u VSOCK-CONNECT:{HOST}:6000 -")
    job.until(lambda: len(job.out) > 100000, "data", TIMEOUT)
    job.kill()
    server.check(2)
    # Linux calls it EPIPE where the end of the guest's stream came before, as it does with close() of a TCP socket.
    eq([e in (errno.ECONNRESET, errno.EPIPE) for e in resets], [True] * 2, resets)
    p.wait_counter("flows", 0)
    server.close()


@test
def both_ways_at_once():
    """16 MiB each way at the same time on each of four streams, with the pattern checked"""
    server = Server(echo)
    port = free_port()
    _, g = up(f"expose vsock:6000 -> tcp {LOOP}:{server.port}", f"publish tcp {LOOP}:{port} -> vsock:7000")
    a = Agent(g)
    n = 16 << 20
    socks = [vsock(a, 6000) for _ in range(3)]
    ls = listener(a, 7000)
    later = ls.go_accept()
    c = tcp(port)
    t = threading.Thread(target=echo, args=(c,), daemon=True)
    t.start()
    socks.append(ls.accept(later=later)[0])
    jobs = [(s.drain(n, seed=i), s.pump(n, seed=i)) for i, s in enumerate(socks)]
    for drain, pump in jobs:
        pump.get(TIMEOUT)
        drain.get(TIMEOUT)
        eq(drain.words, [str(n), "-1"])
    for s in socks:
        s.close()
    t.join(TIMEOUT)
    c.close()
    server.close()


@test
def seqpacket():
    """SOCK_SEQPACKET: sizes 1 to 60,000 both ways, boundaries, a truncated read"""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((LOOP, 0))
    server.settimeout(TIMEOUT)
    port = free_port(socket.SOCK_DGRAM)
    _, g = up(f"expose vsock:6000 -> udp {LOOP}:{server.getsockname()[1]}", f"publish udp {LOOP}:{port} -> vsock:7000")
    a = Agent(g)
    s = vsock(a, 6000, SEQPACKET)
    ls = listener(a, 7000, SEQPACKET)
    c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    c.settimeout(TIMEOUT)
    c.connect((LOOP, port))
    later = ls.go_accept()
    c.send(b"hello")
    t, peer = ls.accept(later=later)
    eq(peer[0], HOST)
    eq(t.recv(), b"hello")
    for n in (1, 2, 44, 3776, 4096, 4097, 32769, 60000):
        eq(s.send(pattern(n, n)), n)
        data, source = server.recvfrom(65536)
        eq(data, pattern(n, n), f"{n} bytes out")
        server.sendto(data[::-1], source)
        eq(s.recv(), pattern(n, n)[::-1], f"{n} bytes in")
        t.send(pattern(1, n))
        eq(c.recv(65536), pattern(1, n))
    server.sendto(b"0123456789", source)
    server.sendto(b"next", source)
    eq(s.recv(4), b"0123")
    eq(s.recv(), b"next")
    s.close()
    t.close()
    server.close()
    c.close()


@test
def many():
    """200 connections at once, out and in: each carries its own bytes, all are there together"""
    server = Server(echo, backlog=MANY)
    port = free_port()
    p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{server.port}", f"publish tcp {LOOP}:{port} -> vsock:7000")
    a = Agent(g)
    socks = [a.socket(VSOCK) for _ in range(MANY)]
    laters = [s.go_connect((HOST, 6000)) for s in socks]
    for later in laters:
        later.get(TIMEOUT)
    eq(p.counters()["flows"], MANY)
    for pump in [s.pump(3000, seed=i) for i, s in enumerate(socks)]:
        pump.get(TIMEOUT)
    for drain in [s.drain(3000, seed=i) for i, s in enumerate(socks)]:
        drain.get(TIMEOUT)
        eq(drain.words, ["3000", "-1"])
    for later in [a.go("close", s.fd) for s in socks]:
        later.get(TIMEOUT)
    p.wait_counter("flows", 0)
    ls = a.socket(VSOCK).bind((ANY_CID, 7000)).listen(MANY)
    serve = a.go("serve", ls.fd, MANY)
    conns = [tcp(port) for _ in range(MANY)]
    for i, c in enumerate(conns):
        c.sendall(b"%6d" % i)
    serve.get(TIMEOUT)
    for i, c in enumerate(conns):
        eq(c.recv(6, socket.MSG_WAITALL), b"%6d" % i)
    eq(p.counters()["flows"], MANY)
    for c in conns:
        c.close()
    p.wait_counter("flows", 0)
    server.close()


@test
def guest_reads_nothing():
    """a guest that does not read stops its sender, holds bounded memory and nobody else"""
    box, seen = [], threading.Event()
    server = Server(lambda c: (box.append(c.dup()), seen.set()))
    other = Server(echo)
    _, g = up(f"expose vsock:6000 -> tcp {LOOP}:{server.port}", f"expose vsock:6001 -> tcp {LOOP}:{other.port}")
    a = Agent(g)
    s = vsock(a, 6000)
    assert seen.wait(TIMEOUT)
    c = box.pop()
    c.setblocking(False)
    sent = 0
    while True:  # full when nothing more was taken for a second
        try:
            sent += c.send(pattern(sent, 65521))
        except BlockingIOError:
            if not wait_writable(c, 1):
                break
    assert sent < 16 << 20, sent
    e = vsock(a, 6001)
    drain = e.drain(1 << 20)
    e.pump(1 << 20).get(TIMEOUT)
    drain.get(TIMEOUT)
    drain = s.drain(sent)
    drain.get(TIMEOUT)
    eq(drain.words, [str(sent), "-1"])
    c.close()
    eq(s.recv(), b"")
    server.close()
    other.close()


def wait_writable(c, seconds):
    return select.select([], [c], [], seconds)[1]


# ---- death and rebirth ----

@test
def killed_and_rebooted():
    """a guest killed in mid-transfer: its peers see a reset, another guest nothing; it boots again"""
    resets = []
    server, other = Server(lambda c: endless(c, resets)), Server(echo)

    def args(p):
        out = []
        for i, n in enumerate("gh"):
            out += ["--link", f"vhost-user-vsock:{path_of(p, n)},cid={3 + i},name={n}",
                    "--expose", f"vsock:6000 -> tcp {LOOP}:{(server, other)[i].port}"]
        return out

    p = Proxy(args=args)
    g, h = [uml.Guest(initrd(), [path_of(p, n) + ":19"]) for n in "gh"]
    b = Agent(h)
    s = vsock(b, 6000)
    n = 24 << 20
    drain, pump = s.drain(n), s.pump(n)
    for i in range(2):
        job = g.go(f"socat -u VSOCK-CONNECT:{HOST}:6000 - | (head -c 1000000 | wc -c; cat >/dev/null)")
        job.expect("1000000")
        start = len(p.lines)
        g.kill()
        p.log("link g: guest detached", start=start)
        server.check(i + 1)
        eq(resets[i:], [errno.ECONNRESET])
        g.boot()
    eq(g.run(f"socat -u VSOCK-CONNECT:{HOST}:6000 - | head -c 70000 | wc -c").strip(), "70000")
    pump.get(TIMEOUT)
    drain.get(TIMEOUT)
    eq(drain.words, [str(n), "-1"])
    server.close()
    other.close()


@test
def module_reloaded():
    """rmmod and modprobe of the driver in mid-flow: a device reset, sockets are reset, then as new"""
    seen, resets = threading.Event(), []
    server, other = Server(lambda c: endless(c, resets, seen.set)), Server(echo)
    p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{server.port}", f"expose vsock:6001 -> tcp {LOOP}:{other.port}")
    for i in range(3):
        a, start = Agent(g), len(p.lines)
        # A socket that is in use holds the module: the transport is unbound from the device
        # instead, as a hot-unplug does it.
        s, e = vsock(a, 6000), vsock(a, 6001)
        e.send(b"x")
        eq(e.recv(), b"x")
        eq(len(s.recvall(1000)), 1000)
        waits = e.go_recv(1)
        dev = g.run("ls /sys/bus/virtio/drivers/vmw_vsock_virtio_transport | grep virtio").strip()
        g.run(f"echo {dev} >/sys/bus/virtio/drivers/vmw_vsock_virtio_transport/unbind")
        fails(errno.ECONNRESET, waits.get)
        a.stop()
        g.run("rmmod vmw_vsock_virtio_transport && modprobe vmw_vsock_virtio_transport")
        # Until the next driver starts the queues it could be a machine that is paused.
        p.log("link g: the guest restarted", start=start)
        server.check(i + 1)
        eq(resets[i:], [errno.ECONNRESET])
    a = Agent(g)
    e = vsock(a, 6001)
    e.send(b"again")
    eq(e.recvall(5), b"again")
    e.close()
    p.wait_counter("flows", 0)
    server.close()
    other.close()


@test
def proxy_killed():
    """a proxy that is killed: the guest's kernel is told, its sockets fail, none hangs; CID 1 goes on"""
    server = Server(echo)
    p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{server.port}")
    a = Agent(g)
    g.run("modprobe vsock_loopback")
    s = vsock(a, 6000)
    s.send(b"x")
    eq(s.recv(), b"x")
    waits = s.go_recv(1)
    p.stop(signal.SIGKILL)
    try:
        raise AssertionError(f"expected a reset, got {waits.get(TIMEOUT)!r}")
    except OSError as e:  # ENOTCONN: to a recv() that a slow guest begins behind the reset (Linux 6.1)
        eq(e.errno in (errno.ECONNRESET, errno.ENOTCONN), True, errno.errorcode[e.errno])
    fails(errno.ENODEV, a.socket(VSOCK).connect, (HOST, 6000))
    ls = listener(a, 9000)
    later = ls.go_accept()
    u = vsock(a, 9000, cid=1)
    ls.accept(later=later)
    u.close()
    server.close()


@test
def two_guests_and_loopback():
    """two guests on one proxy do not see each other; CID 1 is the guest's own, beside it"""
    server = Server(echo)
    p, g, h = up(f"expose vsock:6000 -> tcp {LOOP}:{server.port}", names=("g", "h"))
    del p
    a, b = Agent(g), Agent(h)
    g.run("modprobe vsock_loopback")
    ls = listener(a, 9000)
    listener(b, 9000)
    later = ls.go_accept()
    s = vsock(a, 9000, cid=1)
    t, peer = ls.accept(later=later)
    eq(peer[0], 1)
    drain = t.drain(1 << 20)
    s.pump(1 << 20).get()
    drain.get()
    eq(drain.words, [str(1 << 20), "-1"])
    for x, cid in ((a, 4), (b, 3)):
        s = x.socket(VSOCK)
        s.setopt(40, 6, struct.pack("<qq", 1, 0))  # SO_VM_SOCKETS_CONNECT_TIMEOUT
        try:
            s.connect((cid, 9000))
            raise AssertionError("one guest reached the other")
        except OSError as e:
            assert e.errno in (errno.ECONNRESET, errno.ETIMEDOUT, errno.ENODEV), e
        s.close()
    e = vsock(b, 6000)
    e.send(b"h")
    eq(e.recv(), b"h")
    server.close()


if __name__ == "__main__":
    main()
