#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 240
"""What offloading.py tests of carriers once more, with a monitor's Unix sockets for them."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import offloading  # noqa: E402
import sockguest  # noqa: E402
import sockrig  # noqa: E402
from harness import TESTS, Proxy, main  # noqa: E402


class Rig(sockrig.Rig):
    left = ["g.sock"]  # the monitor's own

    @staticmethod
    def up(*rules, **kw):
        p = Proxy(*rules, args=sockguest.link, **kw)
        return p, sockguest.Guest(p.path)


offloading.Rig = Rig
offloading.Guest = sockguest.Guest
offloading.dies = sockrig.dies
# A ring's size and requests that wait in one: there is no ring. `listen` wants a reset behind a reset
# (hybrid.py has what there is of it). Rules, options and clocks are the same whatever the carrier.
TESTS[:] = [t for t in TESTS if t.__name__ not in (
    "slow_ring", "accept_without_room", "listen", "denied", "host_interface", "service_names", "rname_denied", "lease_expires",
    "multicast", "options", "udp_icmp", "udp_icmp_burst", "udp_no_memory", "header_timeout",
    "errors", "udp_denied", "ping", "replayed_header")]

main()
