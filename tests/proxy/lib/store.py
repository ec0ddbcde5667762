# SPDX-License-Identifier: BSD-3-Clause
"""The part of systemd that hands descriptors over: a notification socket with a store, and a start
with LISTEN_FDS. For tests of a helper's death."""
import array
import contextlib
import os
import socket
import threading
import time

TIMEOUT = float(os.environ.get("AMPSOCK_TEST_TIMEOUT", "20"))

# python -c LAUNCH FD,FD,... NAME:NAME:... PROGRAM ARGUMENT...: the descriptors from 3 on, in order
LAUNCH = r"""
import fcntl, os, sys
fds = [fcntl.fcntl(int(x), fcntl.F_DUPFD, 500) for x in sys.argv[1].split(",") if x]
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i)
os.closerange(3 + len(fds), 2000)
if fds:
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


class Store:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        self.path = path
        self.store = {}
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def run(self):
        while True:
            data, anc, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(4 * 16))
            if data == b"QUIT":
                return
            fds = array.array("i")
            for level, kind, part in anc:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(part)
            self.heard(data)
            said = dict(x.split("=", 1) for x in data.decode().splitlines() if "=" in x)
            with self.lock:
                if said.get("FDSTORE") == "1":
                    self.store.setdefault(said["FDNAME"], []).extend(fds)
                elif said.get("FDSTOREREMOVE") == "1":
                    for fd in self.store.pop(said["FDNAME"], []):
                        os.close(fd)

    def heard(self, data):
        """Each message."""

    def names(self):
        with self.lock:
            return sorted(self.store)

    def wait(self, cond):
        deadline = time.monotonic() + TIMEOUT
        while not cond(self.names()):
            if time.monotonic() > deadline:
                raise AssertionError(f"the store has {self.names()}")
            time.sleep(0.002)

    def env(self):
        return {"NOTIFY_SOCKET": self.path}

    @contextlib.contextmanager
    def given(self):
        """(name, descriptor) of all that is in the store, for a process to be started now."""
        with self.lock:
            own = [(name, os.dup(fd)) for name, fds in sorted(self.store.items()) for fd in fds]
        try:
            yield own
        finally:
            for _, fd in own:
                os.close(fd)

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"QUIT", self.path)
        self.thread.join(TIMEOUT)
        self.sock.close()
        for fds in self.store.values():
            for fd in fds:
                os.close(fd)
