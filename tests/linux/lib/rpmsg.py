# SPDX-License-Identifier: BSD-3-Clause
"""A Linux kernel with its own rpmsg bus, and our hosted remote as its virtio device 7.

The kernel is the one of tests/linux/kernel.sh. Its vhost-user front-end connects once, when the
device's driver is bound; when the remote goes, the kernel takes the device away, as remoteproc does
with a core that crashed. So a guest has some devices, each for one life of its remote: they lead nowhere
when it boots, and attach() leads the next one to the remote and binds the driver, as `echo start`
to a remoteproc. (Not at boot: the announcements would come while the kernel starts, see below.)

UML calls the rpmsg bus from an interrupt, where a kernel on a board has a thread. What the bus
does there may sleep, on the locks of sysfs for one: an announcement that interrupts a program
inside of /sys can stop that guest for ever. So what is announced is followed in the kernel's log,
nothing looks for it in /sys again and again, and device nodes are made beforehand.
"""
import atexit
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "e2e"))
os.environ.setdefault("AMPSOCK_TEST_TIMEOUT", "40")  # a guest is slow where others run

import initramfs  # noqa: E402
import uml  # noqa: E402
from guest import BUILD, RPMSG, SEQPACKET, Guest, eq, harness  # noqa: E402

TIMEOUT = uml.TIMEOUT
ANY = 0xFFFFFFFF
LIVES = 6  # of a remote, for one guest
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
    """A remote and a Linux; each can go and come again. kind: of the remote's program, patient or san (mk/45-e2e.mk)."""

    def __init__(self, proxy=False, remote=True, guest=True, kind="patient"):
        self.dir = tempfile.TemporaryDirectory(prefix="ampsock-")  # pylint: disable=consider-using-with
        self.lives = self.attached = 0
        self.kind = kind
        self.initrd = root(proxy)
        self.r = self.g = None
        if remote:
            self.start_remote()
        if guest:
            self.start_guest(attach=remote)

    def start_remote(self):
        self.lives += 1
        self.sock = os.path.join(self.dir.name, f"r{self.lives}")
        self.r = Remote(self.sock, self.kind)
        return self.r

    def device(self, n):
        return os.path.join(self.dir.name, f"d{n}")

    def start_guest(self, attach=True):
        for n in range(self.attached):
            os.unlink(self.device(n))
        self.attached = 0
        self.g = uml.Guest(self.initrd, kernel=os.path.join(KERNEL, "linux"), modules=(), mem="128M",
                           devices=[self.device(n) + ":7" for n in range(LIVES)], args=["log_buf_len=1M"])
        self.prepare()
        if attach:
            self.attach()
        return self.g

    def prepare(self):
        self.g.run("chardev nodes 256")
        self.log = self.g.go("exec cat /dev/kmsg")
        self.read, self.live = 0, {}

    def attach(self):
        """The kernel is told of the remote."""
        self.forget()
        os.symlink(self.sock, self.device(self.attached))
        self.attached += 1
        self.g.run(f"echo virtio-uml.{self.attached - 1} >/sys/bus/platform/drivers/virtio-uml/bind")

    def forget(self):
        """What was announced is gone without a word: a new life begins."""
        self.known()
        self.live = {}

    def known(self):
        """{name: address} of what the remote has announced, as the kernel says."""
        end = self.log.out.rfind(b"\n") + 1
        text = self.log.out[self.read:end].decode(errors="replace")
        self.read = end
        for what, service, addr in re.findall(r"(creat|destroy)ing channel (\S+) addr (0x[0-9a-f]+)", text):
            if what == "creat":
                self.live[service] = int(addr, 16)
            else:
                self.live.pop(service, None)
        return self.live

    def service(self, text):
        """Waits until the kernel knows it; its address."""
        self.log.until(lambda: text in self.known(), f"service {text}", TIMEOUT)
        return self.live[text]

    def gone(self, text):
        self.log.until(lambda: text not in self.known(), f"service {text} is gone", TIMEOUT)

    def node(self, channel):
        """/dev/rpmsgN of a channel that the kernel has bound to rpmsg-raw's driver."""
        return "/dev/" + self.g.run(f"ls {DEVICES}/{channel}/rpmsg").strip()

    def endpoint(self, text, src, dst):
        """/dev/rpmsgN of a new endpoint (RPMSG_CREATE_EPT_IOCTL)."""
        self.g.run(f"chardev ept /dev/rpmsg_ctrl0 {text} {src} {dst}")
        return "/dev/" + self.g.run(f"grep -lx {text} /sys/class/rpmsg/rpmsg*/name").split("/")[-2]

    def sink(self, dev, total):
        """Reads so many bytes of an endpoint, which is open when this returns; a function for their hash."""
        got = "/tmp/got." + dev.split("/")[-1]
        job = self.g.go(f"chardev recv {dev} {total} >{got}")
        self.g.run(f"while ! grep -q open {got}; do sleep 0.05; done")

        def sha():
            job.ok()
            return self.g.run(f"tail -c +6 {got} | sha256sum; rm {got}").split()[0]
        return sha

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


class Shared:
    """A decorator: its cases run on one machine, of make(); a boot costs more than most of them."""

    def __init__(self, make):
        self.make = make
        self.machine = None

    def __call__(self, fn):
        def run():
            m = self.machine = self.machine or self.make()
            try:
                fn(m)
            except BaseException:
                self.machine = None
                m.kill()
                raise
        run.__name__, run.__doc__ = fn.__name__, fn.__doc__
        return harness.test(run)

    def end(self):
        """The last case's word: all was well."""
        self.machine.stop()
        self.machine = None


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


__all__ = ["ANY", "RPMSG", "TIMEOUT", "Machine", "Shared", "alone", "eq", "main", "name", "until"]
