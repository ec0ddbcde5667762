#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
# serial
"""Beside flows that do not move, and guests that do not, a fast flow keeps its speed.

Two proxies take turns with the same transfer: one has the fast flow alone, the other has
company for it. What counts is the median of the rounds' ratios.
"""
import os
import signal
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from rig import (TIMEOUT, Flows, Peer, Proxy, anon_kib, figure, full, links, main, median, path_of,  # noqa: E402
                 settled, test, wakeups, worker)

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
    size = full(128, 32) << 20
    for way in ("down", "up"):
        for g in gs:
            g.do(way, size // 8, peer.at)
        ratios = []
        for i in range(full(9, 5)):
            took = {}
            for g in (gs if i % 2 else gs[::-1]):
                took[g] = g.do(way, size, peer.at)
            ratios.append(took[gs[0]] / took[gs[1]])
        figure(f"beside_{name}_{way}", median(ratios), "of its speed alone", least=LEAST)


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
