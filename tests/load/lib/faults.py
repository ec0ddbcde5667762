# SPDX-License-Identifier: BSD-3-Clause
"""What the proxy's resolver and heap do, as a test wants it (faults.c): Proxy(env=faults.env)."""
import ctypes
import mmap
import os
import struct
import tempfile

from rig import settled
from procs import preload

HERE = os.path.dirname(os.path.abspath(__file__))
SYS_FUTEX, FUTEX_WAKE = {"x86_64": 202}.get(os.uname().machine, 98), 1
SILENT, WAITING, PID, FAIL_AT, FAIL_EVERY, CNT, FAILED, KIND = range(8)
MEMORY, KERNEL = range(2)


class Faults:
    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="ampsock-faults-")
        os.ftruncate(self.file.fileno(), 4096)
        os.chmod(self.file.name, 0o666)  # whoever the proxy becomes
        self.mem = mmap.mmap(self.file.fileno(), 4096)
        self.env = {"LD_PRELOAD": preload(os.path.join(HERE, "faults")), "LOAD_FAULTS": self.file.name}

    def put(self, i, value):
        struct.pack_into("<I", self.mem, 4 * i, value)

    def get(self, i):
        return struct.unpack_from("<I", self.mem, 4 * i)[0]

    def name_server(self, silent):
        self.put(SILENT, int(silent))
        if not silent:
            at = ctypes.addressof(ctypes.c_char.from_buffer(self.mem))
            ctypes.CDLL(None).syscall(SYS_FUTEX, ctypes.c_void_p(at), FUTEX_WAKE, 1 << 30, None, None, 0)

    def waiting(self, n):
        settled("names that wait", lambda: self.get(WAITING), n)

    def fail(self, pid, kind, at, every=0):
        """Request number `at` of pid from now on."""
        self.put(FAIL_AT, 0)
        for i, v in ((PID, pid), (KIND, kind), (FAIL_EVERY, every), (CNT, 0), (FAILED, 0), (FAIL_AT, at)):
            self.put(i, v)

    def stop(self):
        """How many requests there were, how many failed."""
        self.put(FAIL_AT, 0)
        return self.get(CNT), self.get(FAILED)
