# SPDX-License-Identifier: BSD-3-Clause
"""Places inside Linux guests: User-mode Linux kernels, which have an AF_VSOCK of their own.

The role is the same program as on this machine; its lines go over the guest's serial line, which
tests/linux/lib moves in both directions as they come.
"""
import io
import os
import sys
import threading

from places import BUILD, HERE, PLACES, VSOCK, Role, program
from places_fw import VIRT, Firmware

sys.path.insert(0, os.path.join(HERE, "..", "linux", "lib"))
import initramfs  # noqa: E402
import uml  # noqa: E402


image_lock = threading.Lock()


class Machine:
    """A guest, as Scratch ends it."""

    def __init__(self, scratch, devices=()):
        with image_lock:
            image = initramfs.build("conform", dynamic=[os.path.join(BUILD, "conform", "linux")])
        modules = ["vmw_vsock_virtio_transport"] * bool(devices) + ["vsock_loopback"]
        self.guest = uml.Guest(image, devices, modules=modules)
        scratch.machines.append(self)

    def end(self, kill):
        if kill:
            self.guest.kill()
        else:
            self.guest.stop()


class Job:
    """As much of a Popen as Pair uses: what the job writes comes out of a pipe here."""

    def __init__(self, job):
        self.job = job
        r, w = os.pipe()
        self.stdout = open(r, "rb", buffering=0)  # pylint: disable=consider-using-with
        self.copier = threading.Thread(target=self.copy, args=(w,), daemon=True)
        self.copier.start()

    def copy(self, w):
        with open(w, "wb", buffering=0) as f:
            for line in self.job.lines(uml.OUT):
                try:
                    f.write(line)
                except BrokenPipeError:
                    return

    def wait(self, timeout=None):
        return self.job.wait(timeout)


class Inside(Role):
    """A role in a guest: Role with a job in the process's place."""
    prefix = "linux-"

    def __init__(self, scratch, machine, role, cid):  # noqa: the other constructor starts a process here
        self.guest = machine.guest
        self.err, self.left, self.noise = io.BytesIO(), b"", []
        self.booted = len(self.guest.lines)
        self.proc = Job(self.guest.go(f"exec linux {role} uml {cid[0]} {cid[1]} 0 0"))
        scratch.roles.append(self)

    def say(self, line):
        try:
            self.proc.job.write(line.encode() + b"\n")
        except AssertionError:
            pass  # the guest is gone: read() says so

    def words(self):
        lines = self.noise + bytes(self.proc.job.err).decode(errors="replace").splitlines()
        return (lines + self.guest.lines[self.booted:])[-30:]

    def end(self, kill=False):
        status = None
        if not kill:
            try:
                self.proc.job.end()
                status = self.proc.wait(10)
            except AssertionError:
                pass  # no status: the caller says so
        self.proc.stdout.close()
        return status


# ---- places ----

def loopback(s):
    """both on Linux's own AF_VSOCK in one guest, CID 1: the oracle"""
    machine = Machine(s)
    return {r: Inside(s, machine, r, (1, 1)) for r in "ab"}


KINDS = {
    "Linux": (lambda s, role, path: Inside(s, Machine(s, [path + ":19"]), role, (3, 4)), "in a Linux guest"),
    "ours": (lambda s, role, path: program(s, "ours", role, (3, 4), env={"AMPSOCK_LINK": f"vhost-user:{path}"}),
             "in a process that is a guest"),
    VIRT: (lambda s, role, path: Firmware(s, VIRT, role, path, (3, 4)), f"firmware on {VIRT}"),
}


def joined(a, b):
    """Two guests of the proxy, which joins them: keys of KINDS."""
    def place(s):
        p = s.proxy(links="ab", more=["--join", "a,b"])
        return {role: KINDS[kind][0](s, role, os.path.join(p.dir.name, role + ".sock"))
                for role, kind in (("a", a), ("b", b))}
    place.__doc__ = f"a is {KINDS[a][1]}, b {KINDS[b][1]}, joined by the proxy"
    return place


PLACES.update({
    "uml": (loopback, VSOCK),
    "guest+guest": (joined("ours", "ours"), VSOCK),
    "uml+guest": (joined("Linux", "ours"), VSOCK),
    "guest+uml": (joined("ours", "Linux"), VSOCK),
    "uml+uml": (joined("Linux", "Linux"), VSOCK),
    "aarch64+uml": (joined(VIRT, "Linux"), VSOCK),
})
