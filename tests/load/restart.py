#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""The proxy ends, in good order or not, with flows on links of every type, and another one takes over."""
import os
import signal
import socket
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from rig import TIMEOUT, Proxy, Server, eq, full, main, test  # noqa: E402
from harness import echo, free_port, ping  # noqa: E402
from charkernel import Kernel, KernelRemote  # noqa: E402
from rpmsgguest import DA, Remote, UnixBell  # noqa: E402
from vguest import RCV, SEND, Gone, Guest, Reset  # noqa: E402

CONNS = 20


class Site:
    """Three guests, one of each type of link, that outlive the proxies."""

    def __init__(self):
        self.srv = Server(echo)
        self.tmp = tempfile.TemporaryDirectory(prefix="ampsock-load-")
        self.dir = self.tmp.name
        self.k = Kernel(os.path.join(self.dir, "k"))
        self.bell = UnixBell(os.path.join(self.dir, "bell"))
        self.shm = self.char = None
        self.proxies = []

    def args(self, _):
        argv = ["--link", f"vhost-user-vsock:{self.dir}/v.sock,cid=3,name=v",
                "--expose", f"vsock:6000 -> tcp 127.0.0.1:{self.srv.port}"]
        for link in (f"rpmsg-shm:{self.dir}/ram,da={DA:#x},bell={self.bell.arg()},name=s", self.k.args()):
            argv += ["--link", link, "--expose", f"rpmsg:e -> tcp 127.0.0.1:{self.srv.port}"]
        return argv

    def start(self):
        self.proxies.append(Proxy(args=self.args, env=self.k.env()))
        return self.proxies[-1]

    def kill(self):
        p = self.proxies[-1]
        p.proc.kill()
        p.proc.wait(TIMEOUT)
        Proxy.running.remove(p)

    def close(self):
        self.shm.close()
        self.char.close()
        self.srv.close()
        for p in self.proxies:
            p.dir.cleanup()
        self.tmp.cleanup()


@test
def killed():
    """SIGKILL with flows on every link: the next proxy has all of them again, nobody at the other end did anything"""
    s = Site()
    s.shm = Remote(os.path.join(s.dir, "ram"), s.bell, start=False)
    s.start()
    s.shm.boot()
    s.char = KernelRemote(s.k)
    for _ in range(full(10, 3)):
        v = Guest(f"{s.dir}/v.sock")
        s.shm.wait_up()
        s.char.lookup("e~s")
        conns = [x.connect(to) for x, to in ((v, 6000), (s.shm, "e"), (s.char, "e")) for _ in range(CONNS)]
        for c in conns:
            ping(c)
        for c in conns:
            c.send(bytes(10000))  # under way
        lives = s.shm.lives
        s.kill()
        try:
            v.wait(lambda: False)
        except Gone:
            pass
        v.close()
        s.char.services.clear()
        s.start()
        s.shm.wait(lambda: s.shm.lives > lives)
        s.shm.wait_up()
        for c in conns[CONNS:2 * CONNS]:
            eq(c.state, "reset", "a connection of the proxy before")
        s.char.lookup("e~s")
        ping(s.shm.connect("e"))
        ping(s.char.connect("e"))
    s.proxies[-1].stop(signal.SIGTERM)
    s.close()


class Drain:
    """A proxy that lets connections end, and guests' connections to a server that ends them when it is told."""

    def __init__(self, seconds, conns):
        self.end = threading.Semaphore(0)
        self.srv = Server(self.serve)
        self.port = free_port()
        self.p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{self.srv.port}",
                       f"publish tcp 127.0.0.1:{self.port} -> vsock:5000", args=self.args(seconds))
        self.g = Guest(self.p.path)
        self.conns = [self.g.connect(6000) for _ in range(conns)]
        for c in self.conns:
            ping(c)
        self.p.proc.send_signal(signal.SIGTERM)
        self.p.log("SIGTERM: connections have")

    @staticmethod
    def args(seconds):
        return lambda p: ["--drain", str(seconds), "--link", f"vhost-user-vsock:{p.path},cid=3,name=g"]

    def serve(self, s):
        s.sendall(s.recv(100))
        self.end.acquire()
        s.sendall(LAST)

    def close(self):
        Proxy.running.remove(self.p)
        self.p.thread.join(TIMEOUT)
        self.p.proc.stderr.close()
        self.p.dir.cleanup()
        self.g.close()
        self.srv.close()


LAST = bytes(range(256)) * 800  # less than a window


@test
def drained():
    """SIGTERM with a drain: no new connections; old ones go on and end in good order, the last one, too"""
    d = Drain(60, CONNS)
    try:
        with socket.create_connection(("127.0.0.1", d.port), TIMEOUT):
            raise AssertionError("a published port is open")
    except (ConnectionRefusedError, ConnectionResetError):
        pass
    try:
        d.g.connect(6000)
        raise AssertionError("a new connection")
    except Reset:
        pass
    while d.conns:
        eq(d.p.proc.poll(), None, f"ended with {len(d.conns)} connections")
        d.end.release()
        d.g.wait(lambda: any(c.rx for c in d.conns))
        c = next(c for c in d.conns if c.rx)
        d.conns.remove(c)
        eq(c.recv_exact(len(LAST)), LAST)
        eq(c.recv(1), b"", "the end of a connection that was let to end")
        if d.conns:
            c.close()
        else:
            c.shutdown(RCV | SEND)
    eq(d.p.proc.wait(TIMEOUT), 0, "exit status")
    d.close()


@test
def drain_deadline():
    """a connection that does not end is reset at the deadline, and that is said; a second SIGTERM does not wait"""
    d = Drain(1, 3)
    eq(d.p.proc.wait(TIMEOUT), 0, "exit status")
    d.p.log("drain: 3 connections have not ended in time")
    d.end.release(3)
    d.close()
    d = Drain(600, 1)
    d.p.proc.send_signal(signal.SIGTERM)
    eq(d.p.proc.wait(TIMEOUT), 0, "exit status")
    d.end.release(1)
    d.close()


if __name__ == "__main__":
    main()
