#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""Many flows, many links, many connects: nothing is lost, mixed up or left behind."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from rig import (FULL, Flows, Peer, Proxy, anon_kib, cpu_s, eq, fds, figure, full, links, main,  # noqa: E402
                 median, path_of, settled, test, wakeups, worker, workers)

FLOWS = 2000


@test
def idle():
    """an idle proxy: its memory, and that nothing wakes it"""
    p = Proxy("allow out any any:any")
    g = Flows(p.path)
    wakes = wakeups(workers(p), full(10, 2))
    for pid in workers(p):
        who = "worker" if pid == worker(p) else "helper"
        figure(f"idle_{who}_anon", anon_kib(pid), "KiB", most=2048)
        figure(f"idle_{who}_wakeups", wakes[pid], "", most=0, note=f"in {full(10, 2)} s")
    g.stop()


@test
def two_thousand():
    """2,000 flows on one link: each gets its own bytes back; what an idle one costs"""
    peer = Peer()
    p = Proxy(f"allow out tcp 127.0.0.1:{peer.port}")
    pid = worker(p)
    g = Flows(p.path)
    g.do("open", 0, 10, peer.at)
    g.do("echo", 0, 100000)
    g.do("close", 0)
    settled("sockets", lambda: p.counters()["sockets"], 0)
    before, fds_before = anon_kib(pid), fds(pid)
    g.do("open", 0, FLOWS, peer.at)
    eq(p.counters()["sockets"], FLOWS, "sockets")
    figure("idle_flow", (anon_kib(pid) - before) * 1024 / FLOWS, "bytes", most=2048, note="opened, nothing sent")
    g.do("echo", 0, full(65536, 16384))
    g.do("echo", 0, 1)
    figure("idle_flow_used", (anon_kib(pid) - before) * 1024 / FLOWS, "bytes", most=2048,
           note="after data, idle again")
    figure("idle_flows_wakeups", wakeups([pid], full(5, 1))[pid], "", most=0, note=f"in {full(5, 1)} s")
    g.do("close", 0)
    settled("sockets", lambda: p.counters()["sockets"], 0)
    settled("descriptors", lambda: fds(pid), fds_before)
    peer.stop()


if __name__ == "__main__":
    main()
