# SPDX-License-Identifier: BSD-3-Clause
"""tests/e2e's guest on a Linux guest's own sockets: the same agent, the same calls.

    a = Agent(machine)              # machine: a uml.Guest
    s = a.socket(VSOCK, STREAM)     # as tests/e2e/guest.py; errors are the kernel's errno
"""
import atexit
import os
import sys
import threading

import initramfs
import uml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "e2e"))
import guest  # noqa: E402
import harness  # noqa: E402

PROGRAM = os.path.join(initramfs.OUT, "agent-linux")


class Process:
    """A job in a guest, with as much of subprocess.Popen as tests/e2e/guest.py uses."""

    def __init__(self, job):
        self.job = job
        self.stdin = self
        self.stdout, self.stderr = job.lines(uml.OUT), job.lines(uml.ERR)

    def write(self, data):
        try:
            self.job.write(data)
        except AssertionError as e:
            raise BrokenPipeError(str(e)) from None

    def flush(self):
        pass

    def close(self):
        if not self.job.lost:
            self.job.end()

    def wait(self, timeout=None):
        return 0 if self.job.lost else self.job.wait(timeout)

    def kill(self):
        if not self.job.lost:
            self.job.kill()


class Agent(guest.Guest):
    def __init__(self, machine):  # noqa: the other constructor starts a process here
        self.machine = machine
        self.proc = Process(machine.go("exec agent-linux"))
        self.lock = threading.Lock()
        self.seq = 0
        self.pending = {0: guest.Later("start")}
        self.lines = []
        ready = self.pending[0]
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self.read, self.read_log)]
        for t in self.threads:
            t.start()
        guest.Guest.running.append(self)
        ready.get(uml.TIMEOUT)

    def stop(self):
        if self.proc.job.lost:
            guest.Guest.running.remove(self)
            return
        super().stop()


_stop_proxies = harness.Proxy.stop_all.__func__
# Machines and proxies that stay for the next case: to boot takes longer than most cases. One that fails ends them.
kept = []


def _stop_all(cls):
    lists = (uml.Guest.running, cls.running)
    stay = [[x for x in have if x in kept] for have in lists]
    for have in lists:
        have[:] = [x for x in have if x not in kept]
    # Machines first: their kernel does not survive the end of its device.
    for g in uml.Guest.running:
        print("\n".join("# " + x for x in g.tail().splitlines()))
    uml.Guest.stop_all()
    _stop_proxies(cls)
    for have, more in zip(lists, stay):
        have += more


harness.Proxy.stop_all = classmethod(_stop_all)


def stop_kept():
    """In good order, and each must end well."""
    ends, kept[:] = kept[:], []
    if not ends:
        raise AssertionError("nothing was kept: no case before made a machine that others share, or one of them failed")
    for x in ends:
        x.stop()


def _at_exit():
    kept.clear()
    harness.Proxy.stop_all()


atexit.register(_at_exit)


def test(fn):
    """A case: agents, machines and proxies are stopped inside of it, but what is kept, and must end well."""
    def run():
        try:
            fn()
            while guest.Guest.running:
                guest.Guest.running[-1].stop()
            for have in (uml.Guest.running, harness.Proxy.running):
                for x in [x for x in have if x not in kept][::-1]:
                    x.stop()
        except BaseException:
            kept.clear()
            raise
    run.__doc__, run.__name__ = fn.__doc__, fn.__name__
    return harness.test(run)
