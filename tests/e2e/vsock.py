#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""AF_VSOCK and names: expose, publish, refusals, many connections; getaddrinfo through the proxy."""
import errno
import os
import signal
import socket
import struct
import threading
import time

from guest import (ANY_CID, IN, INET, INET6, MSG_EOR, NONBLOCK, SEQPACKET, STREAM, VSOCK, Guest, fails, main, pattern,
                   test)
from harness import TIMEOUT, Proxy, Server, echo, eq, free_port

LOOP = "127.0.0.1"
HOST = 2


def up(*rules):
    p = Proxy(*rules)
    return p, Guest(p.path)


def vsock(g, port, kind=STREAM):
    s = g.socket(VSOCK, kind)
    s.connect((HOST, port))
    return s


@test
def expose():
    """expose to TCP and to a Unix socket: bytes both ways, half-close, end"""
    server = Server(echo)
    with_dir = Proxy()
    unix = Server(echo, path=os.path.join(with_dir.dir.name, "echo.sock"))
    p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{server.port}",
              f"expose vsock:6001 -> unix {with_dir.dir.name}/echo.sock")
    for port in (6000, 6001):
        s = vsock(g, port)
        eq(s.name()[0], 3)
        eq(s.name(peer=True), (HOST, port))
        drain, pump = s.drain(3 << 20), s.pump(3 << 20)
        pump.get()
        drain.get()
        eq(drain.words, [str(3 << 20), "-1"])
        s.send(b"last")
        s.shutdown(1)
        eq(s.recvall(4), b"last")
        eq(s.recv(), b"")
        s.close()
    p.wait_counter("flows", 0)
    server.close()
    unix.close()
    os.unlink(os.path.join(with_dir.dir.name, "echo.sock"))


@test
def refused():
    """nothing exposed, nobody behind it, no such kind: ECONNREFUSED, and the next one works"""
    server = Server(echo)
    _, g = up(f"expose vsock:6000 -> tcp {LOOP}:{server.port}", f"expose vsock:6001 -> tcp {LOOP}:{free_port()}",
              "expose vsock:6002 -> unix DIR/nobody.sock")
    for port, kind in ((7777, STREAM), (6001, STREAM), (6002, STREAM), (7777, SEQPACKET)):
        fails(errno.ECONNREFUSED, vsock, g, port, kind)
    s = g.socket(VSOCK, STREAM | NONBLOCK)
    fails(errno.EINPROGRESS, s.connect, (HOST, 7777))
    s.wait(4)
    eq(s.error(), errno.ECONNREFUSED)
    s = vsock(g, 6000)
    s.send(b"x")
    eq(s.recv(), b"x")
    server.close()


@test
def connect_timeout():
    """a host that answers nothing: ETIMEDOUT when SO_SNDTIMEO is over, not before; afterwards all is well"""
    server = Server(echo)
    p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{server.port}")
    vsock(g, 6000).close()
    p.wait_counter("flows", 0)
    os.kill(p.worker_pid(), signal.SIGSTOP)
    try:
        for kind in (STREAM, SEQPACKET):
            s = g.socket(VSOCK, kind)
            s.timeout(socket.SO_SNDTIMEO, 0.2)
            begin = time.monotonic()
            fails(errno.ETIMEDOUT, s.connect, (HOST, 6000))
            took = time.monotonic() - begin
            assert 0.2 <= took < 5, took
            eq(s.error(), 0)
            s.close()
    finally:
        os.kill(p.worker_pid(), signal.SIGCONT)
    s = vsock(g, 6000)
    s.send(b"x")
    eq(s.recv(), b"x")
    p.wait_counter("flows", 1)  # none of those that were given up
    s.close()
    server.close()


@test
def publish():
    """publish from TCP and from a Unix socket to a vsock listener of the guest"""
    port = free_port()
    p, g = up(f"publish tcp {LOOP}:{port} -> vsock:5000", "publish unix DIR/in.sock -> vsock:5000")

    def by_unix():
        c = socket.socket(socket.AF_UNIX)
        c.settimeout(TIMEOUT)
        c.connect(os.path.join(p.dir.name, "in.sock"))
        return c

    def by_tcp():
        return socket.create_connection((LOOP, port), TIMEOUT)

    try:
        got = by_tcp().recv(1)
    except ConnectionResetError:
        got = b""
    eq(got, b"")
    l = g.socket(VSOCK).bind((ANY_CID, 5000)).listen()
    for make in (by_tcp, by_unix):
        c = make()
        s, who = l.accept()
        eq(who[0], HOST)
        eq(s.name(), (3, 5000))
        c.sendall(b"in")
        eq(s.recvall(2), b"in")
        s.send(b"out")
        s.shutdown(1)
        eq(c.recv(9), b"out")
        eq(c.recv(9), b"")
        c.sendall(b"more")
        c.close()
        eq(s.recvall(9), b"more")
        s.close()
    l.close()
    fails(errno.ECONNRESET, lambda: by_tcp().recv(1))


@test
def proxy_protocol():
    """who it is comes first: a client's address for the guest, the guest's names for a target"""
    port, got = free_port(), []

    def take(c):
        data = b""
        while not data.endswith(b"end"):
            data += c.recv(65536)
        got.append(data)
        c.sendall(b"ok")
    server = Server(take)
    p, g = up(f"publish tcp {LOOP}:{port} -> vsock:5000 proxy-protocol",
              f"expose vsock:6000 -> tcp {LOOP}:{server.port} proxy-protocol")
    l = g.socket(VSOCK).bind((ANY_CID, 5000)).listen()
    c = socket.create_connection((LOOP, port), TIMEOUT)
    s, _ = l.accept()
    head = s.recvall(28)  # before the client has said a word
    eq(head[12:16], b"\x21\x11\0\x0c")
    eq(head[16:], socket.inet_aton(LOOP) * 2 + struct.pack(">HH", c.getsockname()[1], port))
    c.sendall(b"x")
    eq(s.recv(), b"x")
    c.close()
    eq(s.recv(), b"")
    s.close()
    s = vsock(g, 6000)
    s.send(b"end")
    eq(s.recvall(2), b"ok")
    me = f"vsock:3:{s.name()[1]}".encode()
    tlvs = b"".join(struct.pack(">BH", t, len(v)) + v for t, v in ((0xe0, b"g"), (0xe1, me), (0xe2, b"vsock:6000")))
    eq(got[0], head[:12] + b"\x20\0" + struct.pack(">H", len(tlvs)) + tlvs + b"end")
    s.close()
    p.wait_counter("flows", 0)
    l.close()
    server.close()


@test
def many():
    """200 connections at once, each used, none mixed up"""
    server = Server(echo)
    p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{server.port}")
    fds = p.fds()
    socks = [g.socket(VSOCK) for _ in range(200)]
    for later in [s.go_connect((HOST, 6000)) for s in socks]:
        later.get()
    for i, s in enumerate(socks):
        s.pump(5000, i)
    for later in [s.drain(5000, i) for i, s in enumerate(socks)]:
        later.get()
        eq(later.words, ["5000", "-1"])
    for s in socks:
        s.close()
    p.wait_counter("flows", 0)
    eq(p.fds(), fds)
    server.close()


@test
def many_in():
    """100 clients at once to one vsock listener of the guest"""
    port = free_port()
    _, g = up(f"publish tcp {LOOP}:{port} -> vsock:5000")
    l = g.socket(VSOCK).bind((ANY_CID, 5000)).listen(200)
    later = g.go("serve", l.fd, 100)
    errors = []

    def one(i):
        try:
            with socket.create_connection((LOOP, port), TIMEOUT) as c:
                c.sendall(pattern(i, 2000))
                c.shutdown(socket.SHUT_WR)
                got = b""
                while True:
                    part = c.recv(65536)
                    if not part:
                        break
                    got += part
                if got != pattern(i, 2000):
                    errors.append(f"client {i}: {len(got)} bytes")
        except OSError as e:
            errors.append(f"client {i}: {e}")

    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(100)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    eq(errors, [])
    later.get()


@test
def loop():
    """CID 1: stream and seqpacket inside the guest; message boundaries kept, MSG_EOR told"""
    _, g = up()
    for kind in (STREAM, SEQPACKET):
        l = g.socket(VSOCK, kind).bind((ANY_CID, 900 + kind)).listen()
        s = g.socket(VSOCK, kind)
        s.connect((1, 900 + kind))
        c, _ = l.accept()
        s.send(b"one", MSG_EOR if kind == SEQPACKET else 0)
        s.send(b"two")
        if kind == SEQPACKET:
            ret, data, _, flags = c.recvmsg(100)
            eq((ret, data, flags & MSG_EOR), (3, b"one", MSG_EOR))
            eq(c.recv(100), b"two")
            eq(s.send(b""), 0)  # nothing is sent, as on Linux
            s.send(b"three")
            eq(c.recv(100), b"three")
        else:
            eq(c.recvall(6), b"onetwo")
        s.close()
        eq(c.recv(10), b"")


@test
def resolve():
    """names: localhost both ways, an unknown one, one that no rule names"""
    p, g = up("allow out tcp localhost:any", "allow out tcp *.invalid:any")
    eq(g.getaddrinfo("localhost", "80", INET, STREAM), [(LOOP, 80)])
    eq(g.getaddrinfo("127.0.0.9", "81", INET, STREAM), [("127.0.0.9", 81)])
    want = set(x[4][:2] for x in socket.getaddrinfo("localhost", 82, type=socket.SOCK_STREAM))
    eq(set(g.getaddrinfo("localhost", "82", 0, STREAM)), want)
    for name, code in (("no-such-host.invalid", -2), ("example.com", -4)):
        try:
            got = g.getaddrinfo(name, "80", 0, STREAM)
        except socket.gaierror as e:
            if name.endswith("invalid") and e.args[0] == -3:
                continue  # this host has no resolver at all
            eq(e.args[0], code, name)
        else:
            raise AssertionError(f"{name}: {got}")
    line = p.log("denied name")
    for what in ("link g", "example.com", "no allow rule"):
        assert what in line, line
    try:
        g.getaddrinfo("::1", None, INET, STREAM)
    except socket.gaierror as e:
        assert e.args[0] in (-2, -9), e
    try:
        g.getaddrinfo("localhost", "no-such-service", INET, STREAM)
    except socket.gaierror as e:
        eq(e.args[0], -8)
    eq(p.counters()["denied"], 1)


@test
def lease():
    """a rule that allows a name allows its addresses once they were asked for, that port and no other"""
    server, other = Server(echo), Server(echo)
    _, g = up(f"allow out tcp localhost:{server.port}")
    fails(errno.EACCES, g.tcp, (LOOP, server.port))
    eq(g.getaddrinfo("localhost", str(server.port), INET, STREAM), [(LOOP, server.port)])
    s = g.tcp((LOOP, server.port))
    s.send(b"x")
    eq(s.recv(), b"x")
    fails(errno.EACCES, g.tcp, (LOOP, other.port))
    fails(errno.EACCES, g.tcp, ("127.0.0.2", server.port))
    u = g.socket(INET, 2)
    fails(errno.EACCES, u.connect, (LOOP, server.port))
    # the other link has not asked
    p2, g2 = up(f"allow out tcp localhost:{server.port}")
    fails(errno.EACCES, g2.tcp, (LOOP, server.port))
    p2.log("denied")
    server.close()
    other.close()


@test
def reverse():
    """getnameinfo: numeric here, a name from the host's resolver"""
    from guest import sa_of
    _, g = up("allow out any local:any")
    later = g.go("getnameinfo", sa_of(INET, (LOOP, 80)), 1 | 2).wait()
    eq((later.ret, later.words), (0, [LOOP, "80"]))
    want = socket.getnameinfo((LOOP, 80), 0)
    later = g.go("getnameinfo", sa_of(INET, (LOOP, 80)), 0).wait()
    eq((later.ret, later.words), (0, list(want)))
    later = g.go("getnameinfo", sa_of(INET6, ("::1", 80)), 2).wait()
    eq(later.words[1], "80")


if __name__ == "__main__":
    main()
