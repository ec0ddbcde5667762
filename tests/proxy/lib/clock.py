# SPDX-License-Identifier: BSD-3-Clause
"""A clock for the proxy that a test can put forward (clock.c): Proxy(env=clock.env)."""
import struct
import tempfile

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
        self.file.seek(0)
        self.file.write(struct.pack("<q", self.ahead_s))
        self.file.flush()
