# SPDX-License-Identifier: BSD-3-Clause
"""What is preloaded under the proxy: a clock that a test can put forward (clock.c): Proxy(env=clock.env)."""
import os
import struct
import subprocess
import tempfile

from harness import BUILD

HERE = os.path.dirname(os.path.abspath(__file__))


def preload(what="clock"):
    """Of lib/WHAT.c."""
    src = os.path.join(HERE, what + ".c")
    lib = os.path.join(BUILD, "check", what + ".so")
    if not os.path.exists(lib) or os.path.getmtime(lib) < os.path.getmtime(src):
        os.makedirs(os.path.dirname(lib), exist_ok=True)
        tmp = f"{lib}.{os.getpid()}"
        subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-O1", "-o", tmp, src], check=True)
        os.rename(tmp, lib)
    return lib


class Clock:
    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="ampsock-clock-")
        self.ahead_s = 0
        self.forward(0)
        self.env = {"LD_PRELOAD": preload(), "CLOCK_AHEAD": self.file.name,
                    "ASAN_OPTIONS": "verify_asan_link_order=0"}

    def forward(self, seconds):
        self.ahead_s += seconds
        self.file.seek(0)
        self.file.write(struct.pack("<q", self.ahead_s))
        self.file.flush()
