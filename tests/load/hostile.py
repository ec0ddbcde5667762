#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
# serial
"""Guests and strangers that do what they may as fast as they can: an honest guest beside them works on."""
import os
import re
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from rig import (TIMEOUT, Flows, Peer, Proxy, anon_kib, eq, fds, figure, free_port, full, links, main,  # noqa: E402
                 median, path_of, settled, test, worker)
from vguest import HDR, HOST, REQUEST, RW, STREAM, Guest  # noqa: E402
import offload  # noqa: E402

# Four processes share two cores here, and the proxy is one of them: beside one that works as hard
# as it can a fair share is a half at most, and a third is what it is where other things run, too.
# What must not happen is that next to nothing is left.
LEAST = 0.1


class Storm:
    """with Storm(fn): fn() again and again in a thread; .n: how often."""

    def __init__(self, fn):
        self.fn, self.n, self.error = fn, 0, None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            while not self.stop.is_set():
                self.fn()
                self.n += 1
        except Exception as e:  # told at the end
            self.error = e

    def __enter__(self):
        self.thread.start()
        deadline = time.monotonic() + TIMEOUT
        while not self.n and not self.error and time.monotonic() < deadline:
            time.sleep(0.001)
        return self

    def __exit__(self, kind, *_):
        self.stop.set()
        self.thread.join(TIMEOUT)
        if self.error and not kind:
            raise self.error


def beside(name, g, peer, storm):
    """The honest guest's transfer alone and beside, in turns."""
    size = full(64, 16) << 20
    g.do("down", size, peer.at)
    ratios, n = [], 0
    for _ in range(3):
        for _ in range(full(7, 3)):
            alone = g.do("down", size, peer.at)
            with Storm(storm) as s:
                ratios.append(alone / g.do("down", size, peer.at))
            n += s.n
        if median(ratios) >= LEAST:
            break
    figure(f"beside_{name}", median(ratios), "of its speed alone", least=LEAST)
    eq(n > 0, True, "there was no storm")


def pair():
    peer = Peer()
    p = Proxy(args=links(2, f"allow out tcp 127.0.0.1:{peer.port}"))
    return peer, p, Flows(path_of(p, 0))


def ends(p, link):
    """Connections in a link's ring."""
    n = len(p.lines)
    p.counters()
    return int(re.search(r" ends=(\d+)", p.log(f"counters: link={link} ", start=n)).group(1))


@test
def churn():
    """a guest that opens and resets connections at full speed"""
    peer, p, g = pair()
    bad = Flows(path_of(p, 1))
    beside("churn", g, peer, lambda: bad.do("churn", 500, 64, peer.at, "rst"))


@test
def half_open():
    """a guest that floods with REQUESTs and sends no header: as many as a link may have, for 10 s each"""
    peer, p, g = pair()
    pid = worker(p)
    before = anon_kib(pid)
    bad = Guest(path_of(p, 1))
    bad.input = lambda packet: None  # it hears nothing
    port = iter(range(10000, 1 << 31))

    def flood():
        for _ in range(64):
            bad.send_packet(HDR.pack(4, HOST, next(port), offload.PORT, 0, STREAM, REQUEST, 0, 262144, 0))
        bad.flush()
        bad.poll(0)

    beside("half_open", g, peer, flood)
    with Storm(flood):
        settled("ends", lambda: [p.counters()["sockets"], ends(p, "g1")], [0, 4096])
    figure("half_open_memory", anon_kib(pid) - before, "KiB", most=4096, note="4,096 connections without a header")
    bad.close()
    p.log("link g1: guest detached")
    g.do("down", 1000, peer.at)


@test
def strays():
    """a guest that floods with packets of connections that are not"""
    peer, p, g = pair()
    bad = Guest(path_of(p, 1))
    port = iter(range(10000, 1 << 31))

    def flood():
        for i in range(64):
            bad.send_packet(HDR.pack(4, HOST, next(port), 99, 4 * (i & 1), STREAM, RW if i & 1 else REQUEST, 0, 4096, 0) +
                            bytes(4 * (i & 1)))
        bad.flush()
        bad.poll(0)

    beside("strays", g, peer, flood)
    bad.close()


@test
def resets_from_the_host():
    """strangers that connect to a published port and reset at once"""
    at = ("127.0.0.1", free_port())
    peer = Peer()
    p = Proxy(args=lambda p: links(2, f"allow out tcp 127.0.0.1:{peer.port}")(p) +
              ["--publish", f"tcp 127.0.0.1:{at[1]} -> vsock:5000"])
    pid = worker(p)
    g, other = Flows(path_of(p, 0)), Guest(path_of(p, 1))
    p.log("link g1: guest attached")
    g.do("down", 1000, peer.at)
    settled("sockets", lambda: p.counters()["sockets"], 0)
    before = fds(pid)
    now = struct.pack("ii", 1, 0)

    def storm():
        for _ in range(50):
            with socket.socket() as c:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
                try:
                    c.connect(at)
                except ConnectionResetError:
                    pass  # the guest's refusal was faster

    with other.pumped():
        beside("resets", g, peer, storm)
        settled("descriptors", lambda: fds(pid), before)
    eq(len(p.lines) < 200, True, f"{len(p.lines)} lines of log")
    other.close()


if __name__ == "__main__":
    main()
