#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
# serial
"""What runs out: each request of the proxy for memory or to the kernel fails once, and it costs at most
the link that asked."""
import os
import select
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from faults import KERNEL, MEMORY, Faults  # noqa: E402
from rig import Proxy, Server, eq, figure, full, links, main, path_of, test, worker  # noqa: E402
from vguest import Gone, Guest, Reset, SEND, SEQPACKET  # noqa: E402
import offload  # noqa: E402

# What a guest may see of it. A time-out is none of these: whoever waits is told.
TOLD = (Gone, Reset, offload.Refused, ConnectionError, BrokenPipeError)


class Lost(Exception):
    """A datagram: that may be, and is counted."""


class Load:
    """What one guest does with everything that the proxy allocates for."""

    def __init__(self):
        self.echo = Server(self.serve)
        self.lazy = Server(self.late)
        self.lazy.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self.go = threading.Event()
        self.u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.u.bind(("127.0.0.1", 0))
        self.u.settimeout(5)

    @staticmethod
    def serve(s):
        while True:
            data = s.recv(65536)
            if not data:
                return
            s.sendall(data)

    def late(self, s):
        """Reads nothing until it is told to: what the guest sends stays in the proxy."""
        self.go.wait(10)
        while s.recv(65536):
            pass
        s.sendall(b"!")

    def rules(self):
        return [f"allow out tcp 127.0.0.1:{self.echo.port}", f"allow out tcp *.test:{self.echo.port}",
                f"allow out udp 127.0.0.1:{self.u.getsockname()[1]}", "allow in tcp 127.0.0.1:any",
                f"expose vsock:6000 -> tcp 127.0.0.1:{self.echo.port}",
                f"expose vsock:6002 -> tcp 127.0.0.1:{self.lazy.port}",
                f"expose vsock:6001 -> udp 127.0.0.1:{self.u.getsockname()[1]}"]

    def steps(self, g):
        yield lambda: self.exposed(g)
        yield lambda: self.messages(g)
        yield lambda: self.stalled(g)
        ses = []
        yield lambda: ses.append(offload.Session(g))
        yield lambda: self.tcp(ses[0].connect("127.0.0.1", self.echo.port))
        yield lambda: self.tcp(ses[0].connect(None, self.echo.port, host_name=b"a.up.test"))
        yield lambda: ses[0].resolve(b"b.up.test", self.echo.port)
        yield lambda: ses[0].rname("127.0.0.1")
        yield lambda: self.udp(g, ses[0])
        yield lambda: self.listen(g, ses[0])
        yield lambda: ses[0].ctl.close()

    def exposed(self, g):
        self.tcp(g.connect(6000))

    @staticmethod
    def tcp(c):
        data = bytes(range(256)) * 64
        c.send(data)
        got = c.recv_exact(len(data))
        if got != data:
            raise AssertionError("other bytes")
        c.close()

    def stalled(self, g):
        """Until the window is full, which is memory of the proxy's then."""
        self.go.clear()
        try:
            c = g.connect(6002)
            while g.wait(lambda: c.credit() > 0 or c.state == "reset", 0.05):
                if c.state == "reset":
                    raise Reset()
                c.send(bytes(min(c.credit(), 65536)))
        finally:
            self.go.set()
        c.shutdown(SEND)
        c.recv_exact(1)
        c.close()

    def messages(self, g):
        c = g.connect(6001, SEQPACKET)
        c.send_msg(b"ping")
        if not self.datagram(g, c):
            raise Reset()
        if not g.wait(lambda: c.msgs or c.state == "reset", 1):
            raise Lost()
        c.recv_msg()
        c.close()

    def udp(self, g, ses):
        s = ses.udp()
        s.sendto(b"ping", self.u.getsockname())
        if not self.datagram(g, s.c):
            s.recvfrom()  # says why
        if not g.wait(lambda: s.c.rx or s.c.state == "reset", 1):
            raise Lost()
        s.recvfrom()
        s.close()

    def datagram(self, g, c):
        """A datagram comes and is answered, or does not come."""
        here = lambda: select.select([self.u], [], [], 0)[0]  # noqa: E731
        if not g.wait(lambda: here() or c.rx or c.state == "reset", 1):
            raise Lost()
        if not here():
            return False
        _, peer = self.u.recvfrom(100)
        self.u.sendto(b"pong", peer)
        return True

    def listen(self, g, ses):
        bound, _ = ses.bind("127.0.0.1", 0)
        lid, _, at = ses.listen(bound, credits=2)
        with socket.create_connection(at, 5) as c:
            # the guest hears nothing of a connection that never came to it, but its peer does
            g.wait(lambda: g.accepted.get(offload.ACCEPT_PORT) or over(c), 5)
            a = ses.accept(0)
            c.sendall(b"x")
            a.recv_exact(1)
            a.close()
        ses.release(lid)


def over(c):
    """Reset: raises; nothing yet: false."""
    return select.select([c], [], [], 0)[0] and c.recv(1) == b""


def once(load, p):
    """All steps; one that is told that there is no memory ends alone. What the guest was told."""
    told = []
    path = path_of(p, 0)
    drops = p.counters()["datagram_drops"]
    try:
        g = Guest(path, seqpacket=True)
    except TOLD as e:
        return [e]
    try:
        for step in load.steps(g):
            try:
                step()
            except IndexError:
                pass  # no session: nothing that needs one
            except Lost as e:
                told.append(e)
                if p.counters()["datagram_drops"] == drops:
                    raise AssertionError("a datagram is lost, and not counted") from e
            except TOLD as e:
                told.append(e)
                if isinstance(e, Gone):
                    break
    finally:
        g.close()
    return told


def sweep(kind, step):
    f = Faults()
    load = Load()
    p = Proxy(args=links(2, *load.rules()), env=f.env)
    pid = worker(p)
    other = Guest(path_of(p, 1), seqpacket=True)
    honest = other.connect(6000)
    eq(once(load, p), [], "without faults")
    f.fail(pid, kind, 1 << 31)
    eq(once(load, p), [], "without faults")
    cnt, _ = f.stop()
    failed = told = 0
    for at in range(1, cnt + 1, step):
        f.fail(pid, kind, at)
        try:
            told += bool(once(load, p))
        except Exception as e:
            raise AssertionError(f"request {at} of {cnt}") from e
        failed += f.stop()[1]
        honest.send(b"still there")
        eq(honest.recv_exact(11), b"still there", f"request {at}")
    eq(once(load, p), [], "afterwards")
    eq(worker(p), pid)
    other.close()
    return cnt, failed, told


@test
def each_allocation():
    """each allocation fails once: whoever needed it is told, everybody else has what they had"""
    cnt, failed, told = sweep(MEMORY, full(1, 3))
    figure("allocations_failed", failed, "", least=cnt // 6, note=f"of {cnt}; the guest was told of {told}")


@test
def each_call():
    """each call that the kernel may lack memory or a file for fails once: the same"""
    cnt, failed, told = sweep(KERNEL, full(1, 7))
    figure("calls_failed", failed, "", least=cnt // 14, note=f"of {cnt}; the guest was told of {told}")


if __name__ == "__main__":
    main()
