#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""The PROXY protocol's header, version 2: to published services, to exposed targets, and as
haproxy, whose protocol it is, reads it."""
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from harness import TIMEOUT, Proxy, Server, binary, eq, free_port, main, test  # noqa: E402
from vguest import RCV, SEND, Guest  # noqa: E402
from vrig import dial, published  # noqa: E402

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def header(family, body):
    return SIGNATURE + bytes([0x21 if family else 0x20, family]) + struct.pack(">H", len(body)) + body


def inet(k):
    """What a client's socket is to look like."""
    (src, sport), (dst, dport) = k.getsockname()[:2], k.getpeername()[:2]
    f = socket.AF_INET6 if ":" in src else socket.AF_INET
    return header(0x21 if ":" in src else 0x11, socket.inet_pton(f, src) + socket.inet_pton(f, dst) +
                  struct.pack(">HH", sport, dport))


def guest_head(link, source, service):
    body = b""
    for type_, text in ((0xe0, link), (0xe1, source), (0xe2, service)):
        body += struct.pack(">BH", type_, len(text)) + text.encode()
    return header(0x00, body)


def publish_on(family, addr, text, **listen):
    p = Proxy(f"publish {text} -> vsock:5000 proxy-protocol")
    g = Guest(p.path)
    g.listen(5000, **listen)
    k = socket.socket(family)
    k.settimeout(TIMEOUT)
    k.connect(addr)
    k.sendall(b"hello")
    c = g.accept(5000)
    want = inet(k)
    eq(c.recv_exact(len(want)), want, "header")
    eq(c.recv_exact(5), b"hello")
    c.send(b"answer")
    eq(k.recv(100), b"answer")
    k.shutdown(socket.SHUT_WR)
    eq(c.recv(), b"")
    c.shutdown(SEND)
    eq(k.recv(100), b"")
    p.wait_counter("flows", 0)
    k.close()
    g.close()
    p.stop()


@test
def publish_tcp4():
    """a published service hears of the client's IPv4 address first"""
    port = free_port()
    publish_on(socket.AF_INET, ("127.0.0.1", port), f"tcp 127.0.0.1:{port}")


@test
def publish_tcp6():
    """and of an IPv6 address"""
    port = free_port(family=socket.AF_INET6)
    publish_on(socket.AF_INET6, ("::1", port), f"tcp [::1]:{port}")


@test
def publish_piecemeal():
    """a guest that takes three bytes at a time gets the whole header, and data behind it"""
    port = free_port()
    publish_on(socket.AF_INET, ("127.0.0.1", port), f"tcp 127.0.0.1:{port}", buf_alloc=3)


@test
def publish_unix():
    """a published Unix socket: its path, and the client's, if it has one"""
    p = Proxy("publish unix DIR/in.sock -> vsock:5000 proxy-protocol")
    g = Guest(p.path)
    g.listen(5000)
    path = os.path.join(p.dir.name, "in.sock")
    for name in (None, os.path.join(p.dir.name, "me")):
        k = socket.socket(socket.AF_UNIX)
        if name:
            k.bind(name)
        k.connect(path)
        k.close()
        c = g.accept(5000)
        want = header(0x31, (name or "").encode().ljust(108, b"\0") + path.encode().ljust(108, b"\0"))
        eq(c.recv_exact(len(want)), want, "header")
        eq(c.recv(), b"")
        c.close()
    os.unlink(os.path.join(p.dir.name, "me"))
    g.close()
    p.stop()


@test
def publish_silent():
    """a client that sends nothing, and ends at once, is told all the same"""
    port, p, g = published("proxy-protocol")
    g.listen(5000)
    k = dial(port)
    want = inet(k)
    c = g.accept(5000)
    eq(c.recv_exact(len(want)), want, "header before any data")
    c.send(b"banner")
    eq(k.recv(100), b"banner")
    k.close()
    eq(c.recv(), b"")
    c.close()
    # ends before the guest has taken a byte: the header, and the end behind it
    g.listen(5000, buf_alloc=7)
    k = dial(port)
    want = inet(k)
    k.shutdown(socket.SHUT_WR)
    c = g.accept(5000)
    eq(c.recv_exact(len(want)), want, "header before the end")
    eq(c.recv(), b"")
    c.close()
    k.close()
    p.wait_counter("flows", 0)
    g.close()
    p.stop()


@test
def publish_deaf():
    """a guest that goes while its header is on the way takes nobody with it"""
    port, p, g = published("proxy-protocol")
    g.listen(5000, buf_alloc=4)
    k = dial(port)
    c = g.accept(5000)
    c.shutdown(RCV)
    c.send(b"still here")
    eq(k.recv(100), b"still here")
    c.shutdown(SEND)
    eq(k.recv(100), b"")
    k.close()
    k = dial(port)
    g.accept(5000).reset()
    try:
        k.recv(1)
        raise AssertionError("no reset")
    except ConnectionResetError:
        pass
    k.close()
    p.wait_counter("flows", 0)
    g.close()
    p.stop()


def read_all(s, got):
    data = b""
    while True:
        part = s.recv(4096)
        if not part:
            break
        data += part
    got.append(data)
    s.sendall(b"bye")


@test
def expose():
    """an exposed target hears which guest it is, who in it, and what it asked for"""
    got = []
    srv = Server(lambda s: read_all(s, got))
    with tempfile.TemporaryDirectory() as d:
        usrv = Server(lambda s: read_all(s, got), path=d + "/u")
        p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port} proxy-protocol",
                  f"expose vsock:6001 -> unix {d}/u proxy-protocol")
        g = Guest(p.path)
        for port, server in ((6000, srv), (6001, usrv)):
            for data in (b"data", b""):
                c = g.connect(port)
                if data:
                    c.send(data)
                c.shutdown(SEND)
                eq(c.recv_exact(3), b"bye")
                eq(c.recv(), b"")
                eq(got.pop(), guest_head("g", f"vsock:3:{c.local}", f"vsock:{port}") + data)
                c.close()
            server.check()
        p.wait_counter("flows", 0)
        g.close()
        p.stop()
        usrv.close()
    srv.close()


class Haproxy:
    """haproxy that demands the header and answers HTTP with what it took from it."""

    def __init__(self):
        program = shutil.which("haproxy") or "/usr/sbin/haproxy"
        self.port = free_port()
        self.dir = tempfile.TemporaryDirectory(prefix="ampsock-haproxy-")
        path = os.path.join(self.dir.name, "cfg")
        with open(path, "w", encoding="ascii") as f:
            f.write("""global
	maxconn 100
	nbthread 1
defaults
	mode http
	timeout connect 5s
	timeout client 20s
	timeout server 20s
frontend f
	bind 127.0.0.1:%d accept-proxy
	http-request return status 200 content-type text/plain lf-string "src=%%[src] %%[src_port] dst=%%[dst] %%[dst_port]"
""" % self.port)
        self.proc = subprocess.Popen([program, "-db", "-q", "-f", path])
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT).close()
                return
            except OSError:
                if self.proc.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError("haproxy does not start") from None
                time.sleep(0.01)

    def ask(self, head):
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT) as k:
            k.sendall(head + b"GET / HTTP/1.0\r\n\r\n")
            return self.answer(lambda: k.recv(4096)), k.getsockname()

    @staticmethod
    def answer(recv):
        data = b""
        try:
            while True:
                part = recv()
                if not part:
                    break
                data += part
        except ConnectionResetError:
            pass
        return data.rpartition(b"\r\n")[2].decode()

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        self.proc.wait(TIMEOUT)
        self.dir.cleanup()


@test
def haproxy_client():
    """haproxy reads what a published service gets, IPv4 and IPv6"""
    h = Haproxy()
    ports = free_port(), free_port(family=socket.AF_INET6)
    p = Proxy(f"publish tcp 127.0.0.1:{ports[0]} -> vsock:5000 proxy-protocol",
              f"publish tcp [::1]:{ports[1]} -> vsock:5000 proxy-protocol")
    g = Guest(p.path)
    g.listen(5000)
    for addr, port, n in (("127.0.0.1", ports[0], 28), ("::1", ports[1], 52)):
        k = socket.create_connection((addr, port), timeout=TIMEOUT)
        c = g.accept(5000)
        head = c.recv_exact(n)
        sport = k.getsockname()[1]
        eq(h.ask(head)[0], f"src={addr} {sport} dst={addr} {port}")
        # and it is a demand: none, or another byte in it, is no answer
        eq(h.ask(b"")[0], "")
        eq(h.ask(head[:13] + b"\x77" + head[14:])[0][:12] in ("", f"src=127.0.0."), True)
        eq(h.ask(b"\r" + head)[0], "")
        k.close()
        c.close()
    g.close()
    p.stop()
    h.stop()


@test
def haproxy_guest():
    """haproxy takes a guest's header, and falls back to the connection's own addresses"""
    h = Haproxy()
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{h.port} proxy-protocol",
              f"expose vsock:6001 -> tcp 127.0.0.1:{h.port}")
    g = Guest(p.path)
    c = g.connect(6000)
    c.send(b"GET / HTTP/1.0\r\n\r\n")
    text = h.answer(c.recv)
    if not re.fullmatch(rf"src=127\.0\.0\.1 [0-9]+ dst=127\.0\.0\.1 {h.port}", text):
        raise AssertionError(text)
    c.close()
    c = g.connect(6001)  # the rule without the word: haproxy hangs up
    c.send(b"GET / HTTP/1.0\r\n\r\n")
    try:
        eq(c.recv(), b"")
    except Exception as e:  # noqa: B902: as a reset
        eq(type(e).__name__, "Reset")
    g.close()
    p.stop()
    h.stop()


@test
def refused():
    """rules where there is nobody to tell, or nothing to say, are wrong"""
    for key, text, why in (
            ("publish", "udp 127.0.0.1:1 -> vsock:5000 proxy-protocol", "has no beginning"),
            ("publish", "tcp 127.0.0.1:1 -> inet:80 proxy-protocol", "sees its client's address"),
            ("publish", "tcp 127.0.0.1:1 -> vsock:5000 proxy-protocol v1", "nothing more"),
            ("publish", "tcp 127.0.0.1:1 -> vsock:5000 proxyprotocol", "nothing more"),
            ("expose", "vsock:5000 -> udp 127.0.0.1:1 proxy-protocol", "has no beginning")):
        r = subprocess.run([binary(), "--link", "vhost-user-vsock:/nowhere,cid=3", "--" + key, text,
                            "--check-config"], stderr=subprocess.PIPE, check=False, timeout=TIMEOUT)
        eq(r.returncode, 2, text)
        if why not in r.stderr.decode():
            raise AssertionError(r.stderr)


if __name__ == "__main__":
    main()
