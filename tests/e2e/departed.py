#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""A guest that has gone: what it had sent and closed is delivered, what it had not ended is a reset."""
import contextlib
import errno
import itertools
import os
import signal
import socket
import subprocess
import threading
import time

from guest import INET, OUT, VSOCK, Guest, main, pattern, test
import ctl  # behind guest, which knows where it is
from harness import BUILD, TIMEOUT, Proxy, Server, echo, eq

LOOP = "127.0.0.1"
HOST = 2
LEN = 200000  # less than the window: it fits into the ring whether or not anybody looks


class Peer:
    """A server of one connection, which reads when the test does."""

    def __init__(self, rcvbuf=None):
        self.l = socket.socket()
        if rcvbuf:
            self.l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.l.settimeout(TIMEOUT)
        self.l.bind((LOOP, 0))
        self.l.listen()
        self.addr = self.l.getsockname()

    def accept(self):
        c, _ = self.l.accept()
        c.settimeout(TIMEOUT)
        return c


def read_all(c, part=1 << 16):
    """Bytes, and how it ended."""
    data = b""
    try:
        while True:
            got = c.recv(part)
            if not got:
                return data, 0
            data += got
    except ConnectionResetError:
        return data, errno.ECONNRESET


def connected(kind, rcvbuf=None):
    """A proxy, a guest, a socket of its that leads to the peer, the peer's."""
    peer = Peer(rcvbuf)
    p = Proxy("allow out tcp local:any", f"expose vsock:6000 -> tcp {LOOP}:{peer.addr[1]}", "control DIR/control")
    g = Guest(p.path)
    s = g.socket(kind)
    s.connect(peer.addr if kind == INET else (HOST, 6000))
    return p, g, s, peer.accept()


@contextlib.contextmanager
def stopped(p):
    """Meanwhile the proxy sees nothing of what the guest does."""
    worker = p.worker_pid()
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def unaccepted(path):
    """Connections that wait at a Unix socket."""
    with open("/proc/net/unix", encoding="ascii") as f:
        return sum(x.split()[-1] == path and x.split()[5] == "02" for x in f)


def in_the_ring(kind):
    p, g, s, c = connected(kind)
    with stopped(p):
        s.pump(LEN).get()
        s.close()
        g.kill()
    data, end = read_all(c)
    eq((len(data), end), (LEN, 0))
    assert data == pattern(0, LEN)
    p.log("guest detached")
    p.wait_counter("flows", 0)


@test
def ring_vsock():
    """AF_VSOCK: sent, closed, killed while all of it lay in the ring: the peer has it, and an end"""
    in_the_ring(VSOCK)


@test
def ring_inet():
    """AF_INET: the same"""
    in_the_ring(INET)


@test
def ring_not_ended():
    """what was not ended is delivered, too, and then it is a reset; half-closed is ended"""
    for how in (None, 1):
        p, g, s, c = connected(VSOCK)
        with stopped(p):
            s.pump(LEN).get()
            if how is not None:
                s.shutdown(how)
            g.kill()
        data, end = read_all(c)
        eq((len(data), end), (LEN, errno.ECONNRESET if how is None else 0))
        p.wait_counter("flows", 0)


@test
def ring_many():
    """many connections in one ring: none loses anything"""
    peers = [Peer() for _ in range(8)]
    p = Proxy("allow out tcp local:any")
    g = Guest(p.path)
    socks = [g.tcp(x.addr) for x in peers]
    conns = [x.accept() for x in peers]
    with stopped(p):
        for later in [s.pump(LEN // 8, i) for i, s in enumerate(socks)]:
            later.get()
        for s in socks:
            s.close()
        g.kill()
    for i, c in enumerate(conns):
        data, end = read_all(c)
        eq((len(data), end), (LEN // 8, 0))
        assert data == pattern(0, LEN // 8, i)
    p.wait_counter("flows", 0)


@test
def without_close():
    """a program that ends without close(): its peer sees all of it, and an end; its child's end, and its files, are its own"""
    for kind, meanwhile in itertools.product(("tcp", "vsock"), (contextlib.nullcontext, stopped)):
        peer = Peer(4096)
        p = Proxy("allow out tcp local:any", f"expose vsock:6000 -> tcp {LOOP}:{peer.addr[1]}")
        port = peer.addr[1] if kind == "tcp" else 6000
        file = p.path + ".out"
        with subprocess.Popen([os.path.join(BUILD, "e2e", "leaves"), kind, str(port), str(LEN), file],
                              env={**os.environ, "AMPSOCK_LINK": "vhost-user:" + p.path}) as g:
            c = peer.accept()
            c.recv(1, socket.MSG_PEEK)
            with meanwhile(p):
                eq(g.wait(TIMEOUT), 0)
        data, end = read_all(c)
        eq((len(data), end), (LEN, 0), kind)
        with open(file, encoding="ascii") as f:
            eq(f.read(), "left\n")
        p.wait_counter("flows", 0)


@test
def in_a_handler():
    """exit() in a signal handler that came in the midst of a call: the process ends"""
    peer = Peer()
    p = Proxy("allow out tcp local:any")
    with subprocess.Popen([os.path.join(BUILD, "e2e", "leaves"), "alarm", str(peer.addr[1])],
                          env={**os.environ, "AMPSOCK_LINK": "vhost-user:" + p.path}) as g:
        try:
            eq(g.wait(TIMEOUT), 0)
        finally:
            g.kill()
    p.wait_counter("flows", 0)


@test
def next_at_once():
    """the next guest connects before the end of the first is read: both are served"""
    p, g, s, c = connected(VSOCK)
    server = Server(echo)
    with stopped(p):
        s.pump(LEN).get()
        s.close()
        g.kill()
        again = threading.Thread(target=lambda: nexts.append(Guest(p.path)))
        nexts = []
        again.start()
        while unaccepted(p.path) == 0:
            time.sleep(0.001)  # the kernel has no event for it
    eq(read_all(c), (pattern(0, LEN), 0))
    again.join(TIMEOUT)
    t = nexts[0].tcp((LOOP, server.port))
    t.send(b"x")
    eq(t.recv(), b"x")
    assert not [x for x in p.lines if "second VMM" in x], p.lines
    server.close()


def stuffed(p, g, s):
    """Until neither kernel nor window takes more, and closed, and gone: how much that is."""
    total = 0
    s.nonblock()
    while s.g.poll(.3, (s, OUT))[0]:
        total += s.send(pattern(total, 30000))
    s.close()
    g.kill()
    p.log("guest detached")
    return total


def behind_a_slow_peer(kind):
    p, g, s, c = connected(kind, 4096)
    total = stuffed(p, g, s)
    again = Guest(p.path)  # and another one is served meanwhile
    server = Server(echo)
    t = again.tcp((LOOP, server.port))
    t.send(b"x")
    eq(t.recv(), b"x")
    data, end = read_all(c)
    eq((len(data), end), (total, 0))
    assert data == pattern(0, total)
    t.close()
    p.wait_counter("flows", 0)
    server.close()


@test
def slow_vsock():
    """AF_VSOCK: sent, closed, gone before a slow peer has read: it reads all of it, and an end"""
    behind_a_slow_peer(VSOCK)


@test
def slow_inet():
    """AF_INET: the same"""
    behind_a_slow_peer(INET)


@test
def slow_counts():
    """what goes on without its guest is there to see, counts, and ends with its rule or the proxy"""
    p, g, s, c = connected(INET, 4096)
    stuffed(p, g, s)
    eq(p.counters()["flows"], 1)
    eq(p.counters()["sockets"], 1)
    sock, = ctl.ask(p, "sockets")
    eq((sock["link"], sock["kind"], sock["proto"]), ("g", "connect", "tcp"))
    p.stop()
    eq(read_all(c)[1], errno.ECONNRESET)


if __name__ == "__main__":
    main()
