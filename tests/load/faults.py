#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""What runs out, goes away or dies: who is concerned hears of it, nobody else does."""
import fcntl
import os
import signal
import socket
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from faults import Faults  # noqa: E402
from rig import TIMEOUT, Flows, Peer, Proxy, eq, free_port, links, main, path_of, test  # noqa: E402
from vguest import Guest  # noqa: E402

EAI_AGAIN = "-3"


class Few:
    """with Few(n): proxies started meanwhile have n descriptors for each of their processes."""

    def __init__(self, n):
        self.n, self.real = n, os.environ["AMPSOCK_PROXY"]

    def __enter__(self):
        self.file = tempfile.NamedTemporaryFile("w", prefix="ampsock-few-", suffix=".sh", delete=False)
        with self.file as f:
            f.write(f'#!/bin/sh\nulimit -n {self.n} && exec {os.path.abspath(self.real)} "$@"\n')
        os.chmod(self.file.name, 0o755)
        os.environ["AMPSOCK_PROXY"] = self.file.name

    def __exit__(self, *_):
        os.environ["AMPSOCK_PROXY"] = self.real
        os.unlink(self.file.name)


@test
def descriptors():
    """no descriptor is left: a new socket is EMFILE, a published connection waits; all else goes on"""
    peer = Peer()
    at = ("127.0.0.1", free_port())
    rule = f"allow out tcp 127.0.0.1:{peer.port}"
    with Few(80):
        p = Proxy(args=lambda p: links(3, rule)(p) + ["--publish", f"tcp 127.0.0.1:{at[1]} -> inet:80"])
    a, b = Flows(path_of(p, 0)), Flows(path_of(p, 1))
    a.do("open", 0, 5, peer.at)
    b.do("open", 0, 5, peer.at)
    for g in (a, b):
        what, why = g.answer(g.go("open", 1, 80, peer.at))
        eq((what, "Too many open files" in why), ("error", True), why)
        for other in (a, b):
            other.do("echo", 0, 100000)
    # a connection to a published port waits
    with socket.create_connection(at, TIMEOUT) as c:
        c.settimeout(TIMEOUT)
        p.log("accept: Too many open files")
        for g in (a, b):
            g.do("echo", 0, 100000)
        a.do("close", 1)
        b.do("close", 1)
        try:
            eq(c.recv(1), b"", "there is no guest")
        except ConnectionResetError:
            pass
    a.do("open", 1, 10, peer.at)
    a.do("echo", 1, 100000)
    a.do("close", 1)
    Flows(path_of(p, 2)).do("down", 1 << 20, peer.at)
    b.do("open", 1, 10, peer.at)


@test
def guests_wait_for_descriptors():
    """a guest that comes when no descriptor is left is attached when there are some"""
    peer = Peer()
    with Few(60):
        p = Proxy(args=links(2, f"allow out tcp 127.0.0.1:{peer.port}"))
    a = Flows(path_of(p, 0))
    a.answer(a.go("open", 0, 80, peer.at))
    s = socket.socket(socket.AF_UNIX)
    s.connect(path_of(p, 1))
    p.log("link g1: accept: Too many open files")
    s.close()
    a.do("close", 0)
    Flows(path_of(p, 1)).do("down", 1 << 20, peer.at)


class Deaf(Proxy):
    """Whose log nobody reads until `heard` is set."""
    heard = threading.Event()

    def read(self):
        fcntl.fcntl(self.proc.stderr, fcntl.F_SETPIPE_SZ, 8192)
        Deaf.heard.wait()
        super().read()


@test
def nobody_reads_the_log():
    """a log that nobody reads holds nobody up; what it has lost is said when it is read again"""
    peer = Peer()
    Deaf.heard.clear()
    p = Deaf(args=links(2, f"allow out tcp 127.0.0.1:{peer.port}"))
    try:
        g = Flows(path_of(p, 0))
        for _ in range(40):  # the counters: some ten lines each, of which none is held back
            p.proc.send_signal(signal.SIGUSR1)
            g.do("down", 1000, peer.at, timeout=TIMEOUT)
        for _ in range(10):
            g.do("down", 1 << 20, peer.at, timeout=TIMEOUT)
    finally:
        Deaf.heard.set()
    p.log("counters: link=g0")
    Guest(path_of(p, 1)).close()
    p.log(r"warning: \d+ lines were lost here: nobody read the log")
    n = len(p.lines)
    Guest(path_of(p, 1)).close()
    p.log("guest detached", start=n)


@test
def resolver_down():
    """name servers are silent: EAI_AGAIN for those who ask them, other guests' names as ever"""
    f = Faults()
    peer = Peer()
    p = Proxy(args=links(9, f"allow out tcp 127.0.0.1:{peer.port}", "allow out tcp *.test:any"), env=f.env)
    gs = [Flows(path_of(p, i)) for i in range(9)]
    gs[0].do("name", "a.up.test")
    f.name_server(silent=True)
    asked = [(g, g.go("name", f"{i}.down.test")) for g in gs[:8] for i in range(30)]
    f.waiting(8)  # one of each guest at a time
    gs[8].do("name", "b.up.test", timeout=TIMEOUT)
    gs[8].do("down", 1 << 20, peer.at)
    f.name_server(silent=False)
    for g, a in asked:
        eq(g.answer(a, TIMEOUT), ("error", EAI_AGAIN))
    gs[0].do("name", "c.up.test")


if __name__ == "__main__":
    main()
