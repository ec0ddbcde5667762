# SPDX-License-Identifier: BSD-3-Clause
"""A clock for the proxy that a test can put forward or stop (clock.c): Proxy(env=clock.env)."""
import struct
import tempfile
import time

from procs import preload


class Clock:
    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="ampsock-clock-")
        self.ahead_s = 0
        self.forward(0)
        self.env = {"LD_PRELOAD": preload("clock"), "CLOCK_AHEAD": self.file.name,
                    "ASAN_OPTIONS": "verify_asan_link_order=0"}

    def forward(self, seconds):
        self.ahead_s += seconds
        self.write(0)

    def stop(self):
        """Nothing takes any time until it is put forward."""
        self.write(time.monotonic_ns() + self.ahead_s * 10**9)

    def write(self, stands_ns):
        self.file.seek(0)
        self.file.write(struct.pack("<qq", self.ahead_s, stands_ns))
        self.file.flush()
