# SPDX-License-Identifier: BSD-3-Clause
"""A Linux kernel with its own rpmsg bus, and our hosted remote as its virtio device 7.

The kernel is the one of tests/linux/kernel.sh. Its vhost-user front-end connects once, when the
device is made: at boot (a parameter), or when attach() writes that parameter again. When the
remote goes, the kernel takes the device away, as remoteproc does with a core that crashed.

Device nodes are made beforehand (chardev nodes), and kept up to date where a number may change
by busybox's mdev: the kernel has no devtmpfs (rpmsg.fragment says why).
"""
import atexit
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "e2e"))

import initramfs  # noqa: E402
import uml  # noqa: E402
from guest import BUILD, RPMSG, SEQPACKET, Guest, eq, harness  # noqa: E402

TIMEOUT = uml.TIMEOUT
ANY = 0xFFFFFFFF
KERNEL = subprocess.run([os.path.join(HERE, "..", "kernel.sh"), "--path"], check=True, capture_output=True,
                        text=True).stdout.strip()
DEVICES = "/sys/bus/rpmsg/devices"
PROXY = os.path.join(BUILD, "ampsock-proxy")


def name(text, addr=ANY):
    return 0, addr, text


def until(done, what, timeout=TIMEOUT):
    """Asks again and again: for what no event tells of."""
    deadline = time.monotonic() + timeout
    while True:
        got = done()
        if got:
            return got
        if time.monotonic() > deadline:
            raise AssertionError(f"too late: {what}")
        time.sleep(0.02)


def root(proxy=False):
    """The guest's root; with the proxy and TCP programs, or without."""
    files = {"lib/rpmsg_client_sample.ko": os.path.join(KERNEL, "modules", "rpmsg_client_sample.ko")}
    return initramfs.build("rpmsg-proxy" if proxy else "rpmsg", modules=(), files=files,
                           programs=[os.path.join(BUILD, "linux", "chardev")],
                           dynamic=[PROXY, "socat"] if proxy else ())


class Remote(Guest):
    """Lives longer than a case, unlike those of tests/e2e."""
    alive = []

    def __init__(self, sock, kind):
        super().__init__("rpmsg-device:" + sock, kind)
        Guest.running.remove(self)
        Remote.alive.append(self)

    def kill(self):
        Remote.alive.remove(self)
        Guest.running.append(self)
        super().kill()

    def stop(self):
        Remote.alive.remove(self)
        Guest.running.append(self)
        super().stop()


@atexit.register
def end_remotes():
    for r in Remote.alive:
        r.proc.kill()
        r.proc.wait()


class Machine:
    """A remote and a Linux; each can go and come again."""

    def __init__(self, proxy=False, remote=True, guest=True, kind=None):
        self.dir = tempfile.TemporaryDirectory(prefix="ampsock-")  # pylint: disable=consider-using-with
        self.sock = os.path.join(self.dir.name, "r")
        self.kind = kind
        self.initrd = root(proxy)
        self.r = self.g = None
        if remote:
            self.start_remote()
        if guest:
            self.start_guest(attached=remote)

    def start_remote(self):
        self.r = Remote(self.sock, self.kind)
        return self.r

    def start_guest(self, attached=True):
        self.g = uml.Guest(self.initrd, kernel=os.path.join(KERNEL, "linux"), modules=(), mem="128M",
                           devices=[self.sock + ":7"] if attached else [])
        self.prepare()
        return self.g

    def prepare(self):
        self.g.run("echo 'rpmsg[0-9]+ 0:0 600 !' >/etc/mdev.conf; chardev nodes 256; mdev -s; mdev -d;"
                   "chmod u+w /sys/module/virtio_uml/parameters/device")

    def attach(self):
        """The kernel is told of a remote: as `echo start` to a remoteproc."""
        self.g.run(f"printf %s {self.sock}:7 >/sys/module/virtio_uml/parameters/device")

    def services(self):
        """{name: address} of what the remote has announced, as the kernel knows it."""
        out = self.g.run(f"cd {DEVICES}; for d in *; do [ -e $d/dst ] && echo $(cat $d/name $d/dst); done; true")
        return {n: int(a, 0) for n, a in (line.split() for line in out.splitlines())}

    def service(self, text, timeout=TIMEOUT):
        """Waits until the kernel knows it; its address."""
        self.g.go(f"while ! ls {DEVICES} | grep -q '[.]{text}[.]'; do sleep 0.05; done").ok(timeout)
        return self.services()[text]

    def gone(self, text):
        self.g.go(f"while ls {DEVICES} | grep -q '[.]{text}[.]'; do sleep 0.05; done").ok()

    def node(self, channel):
        """/dev/rpmsgN of a channel that the kernel has bound to rpmsg-raw's driver."""
        return "/dev/" + self.g.go(
            f"while ! ls -d {DEVICES}/{channel}/rpmsg/rpmsg*; do sleep 0.05; done 2>/dev/null").ok().split("/")[-1].strip()

    def endpoint(self, text, src, dst):
        """/dev/rpmsgN of a new endpoint (RPMSG_CREATE_EPT_IOCTL)."""
        self.g.run(f"chardev ept /dev/rpmsg_ctrl0 {text} {src} {dst}")
        return "/dev/" + self.g.run(
            f"grep -lx {text} /sys/class/rpmsg/rpmsg*/name").splitlines()[-1].split("/")[-2]

    def listener(self, text, kind=SEQPACKET, backlog=8):
        return self.r.socket(RPMSG, kind).bind(name(text)).listen(backlog)

    def stop(self):
        """In good order: what either has to complain of fails the test."""
        if self.g:
            self.g.stop()
        if self.r:
            self.r.stop()
        self.dir.cleanup()

    def kill(self):
        """After a failure: what was said is printed."""
        said = (self.g.lines[-30:] if self.g else []) + (self.r.lines[-20:] if self.r else [])
        print("\n".join("# " + x for x in said))
        if self.g:
            self.g.kill()
        if self.r in Remote.alive:
            self.r.kill()
        self.dir.cleanup()


def alone(fn):
    """A case on machines of its own: fn(make), with make(...) as Machine(...)."""
    def run():
        made = []

        def make(**kw):
            made.append(Machine(**kw))
            return made[-1]
        try:
            fn(make)
            for m in made:
                m.stop()
        except BaseException:
            for m in made:
                m.kill()
            raise
    run.__name__, run.__doc__ = fn.__name__, fn.__doc__
    return harness.test(run)


def main():
    if not os.path.exists(os.path.join(KERNEL, "linux")):
        sys.exit(f"{KERNEL} is not there: make linux-kernel")
    harness.main()


__all__ = ["ANY", "RPMSG", "TIMEOUT", "Machine", "alone", "eq", "main", "name", "until"]
