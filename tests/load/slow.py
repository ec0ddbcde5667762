#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
# serial
"""Beside flows that do not move, and guests that do not, a fast flow keeps its speed.

Two proxies take turns with the same transfer: one has the fast flow alone, the other has
company for it. What counts is the median of the rounds' ratios.
"""
import os
import select
import signal
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from rig import (TIMEOUT, Flows, Peer, Proxy, Server, anon_kib, figure, full, links, main, median, path_of,  # noqa: E402
                 settled, test, wakeups, window, worker)
from vguest import Guest  # noqa: E402

LEAST = 0.8
SLOW = 50


class Silent:
    """A listener whose connections are taken, and never read."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(SLOW)
        self.at = f"127.0.0.1 {self.sock.getsockname()[1]}"
        self.conns = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                self.conns.append(self.sock.accept()[0])
            except OSError:
                return

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for c in self.conns:
            c.close()


def pair(n, *rules):
    """Two proxies with n links, and a guest for the first link of each."""
    ps = [Proxy(args=links(n, *rules)) for _ in range(2)]
    return ps, [Flows(path_of(p, 0)) for p in ps]


def compare(name, peer, gs):
    """Many short rounds: what else the machine does meets both. A result that is below the bound
    is looked at with more of them, together with those that there are."""
    size, rounds = full((64 << 20, 15), (24 << 20, 9))
    for way in ("down", "up"):
        took = ([], [])
        for g in gs:
            g.do(way, size, peer.at)
        for _ in range(6):
            for i in range(rounds):
                for k in ((0, 1) if i % 2 else (1, 0)):
                    took[k].append(gs[k].do(way, size, peer.at))
            ratio = median(took[0]) / median(took[1])
            if ratio >= LEAST:
                break
        figure(f"beside_{name}_{way}", ratio, "of its speed alone", least=LEAST, note=f"{len(took[0])} rounds")


@test
def slow_reader():
    """beside 50 flows that the guest does not read"""
    peer = Peer()
    ps, gs = pair(1, f"allow out tcp 127.0.0.1:{peer.port}")
    gs[1].do("open", 1, SLOW, peer.at)
    gs[1].do("ask", 1, 4 << 20)
    compare("slow_reader", peer, gs)
    figure("slow_reader_wakeups", wakeups([worker(ps[1])], 1)[worker(ps[1])], "", most=0, note="in 1 s, all stalled")
    gs[1].do("drink", 1)
    gs[1].do("close", 1)
    settled("sockets", lambda: ps[1].counters()["sockets"], 0)


@test
def unread_packets():
    """a guest that does not read small packets is asked less and less often whether it has by now"""
    def drip(s):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2000):
            s.sendall(b".")
            if select.select([s], [], [], 0.0002)[0]:
                break
        s.recv(1)

    srv = Server(drip)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}")
    g = Guest(p.path)
    c = g.connect(6000)
    c.consumed = lambda n: None
    g.wait(lambda: len(c.rx) >= 300)
    g.wait(lambda: False, 1.5)  # more is under way; then it is asked
    with g.pumped():
        n = wakeups([worker(p)], 2, most=40)[worker(p)]
        figure("unread_packets_wakeups", n, "", most=40, note="in 2 s")
    g.close()
    srv.close()


@test
def silent_peer():
    """beside 50 flows whose peers do not read"""
    peer, silent = Peer(), Silent()
    port = silent.at.split()[1]
    ps, gs = pair(1, f"allow out tcp 127.0.0.1:{peer.port}", f"allow out tcp 127.0.0.1:{port}")
    gs[1].do("open", 1, SLOW, silent.at)
    before = anon_kib(worker(ps[1]))
    gs[1].do("fill", 1)
    # what was promised and not taken lies here: the window of each
    figure("silent_peer_memory", (anon_kib(worker(ps[1])) - before) / SLOW, "KiB a flow", most=256 + 16)
    compare("silent_peer", peer, gs)
    figure("silent_peer_wakeups", wakeups([worker(ps[1])], 1)[worker(ps[1])], "", most=0, note="in 1 s, all stalled")
    gs[1].do("reset", 1)
    settled("sockets", lambda: ps[1].counters()["sockets"], 0)
    window(1)  # what it kept goes back when there is nothing to do
    figure("idle_after_stalls_anon", anon_kib(worker(ps[1])), "KiB", most=2048)
    silent.close()


@test
def slow_guest():
    """beside a guest on another link that stands still with its rings full"""
    peer = Peer()
    ps, gs = pair(2, f"allow out tcp 127.0.0.1:{peer.port}")
    still = Flows(path_of(ps[1], 1))
    still.do("open", 1, SLOW, peer.at)
    still.go("down", 1 << 40, peer.at)
    still.go("up", 1 << 40, peer.at)
    still.do("ask", 1, 1 << 20)
    still.proc.send_signal(signal.SIGSTOP)
    try:
        compare("slow_guest", peer, gs)
    finally:
        still.proc.send_signal(signal.SIGCONT)
    still.do("drink", 1, timeout=TIMEOUT * 3)  # it goes on where it stood
    still.stop(kill=True)
    ps[1].log("link g1: guest detached")


if __name__ == "__main__":
    main()
