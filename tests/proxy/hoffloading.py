#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 240
"""What offloading.py tests of carriers once more, with a monitor's Unix sockets for them."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import offload as off  # noqa: E402
import offloading  # noqa: E402
import sockguest  # noqa: E402
from harness import TESTS, Proxy, main  # noqa: E402
from vguest import Reset  # noqa: E402


class Rig:
    """As offloading.Rig."""

    def __init__(self, *rules, guest=None, env=None, **kw):
        self.p = Proxy(*rules, args=sockguest.link, env=env)
        self.g = sockguest.Guest(self.p.path)
        self.s = off.Session(self.g, **kw)
        self.p.log("guest attached")

    def end(self):
        self.g.close()
        self.p.log("guest detached")
        self.p.wait_counter("sockets", 0)
        self.p.wait_counter("ends", 0)
        left = self.p.stop()
        if left != ["g.sock"]:  # the monitor's own
            raise AssertionError(f"left behind: {left}")


def dies(fn):
    """A reset is an end here."""
    try:
        if fn():
            raise AssertionError("not reset")
    except Reset:
        pass


offloading.Rig = Rig
offloading.Guest = sockguest.Guest
offloading.dies = dies
# A ring's size and requests that wait in one: there is no ring. `listen` wants a reset behind a reset
# (hybrid.py has what there is of it). Rules, options and clocks are the same whatever the carrier.
TESTS[:] = [t for t in TESTS if t.__name__ not in (
    "slow_ring", "accept_without_room", "listen", "denied", "host_interface", "service_names", "rname_denied", "lease_expires",
    "multicast", "options", "udp_icmp", "header_timeout", "errors", "udp_denied", "ping", "replayed_header")]

main()
