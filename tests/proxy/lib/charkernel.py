# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's part in /dev/rpmsg_ctrlN and /dev/rpmsgN, and a remote behind it.

A thread answers what charkernel.c, preloaded under the proxy, asks; a directory stands in
for /dev and for sysfs. As on Linux (and tests/linux has the real one): no endpoint is announced to
the remote, a read does not say who sent, an endpoint sends to one address, its device outlives
the process. A control device that somebody has open keeps its number when the remote goes; what
would be an oops there (calls on a device that has gone) is in `oopses`.
"""
import os
import queue
import select
import selectors
import shutil
import socket
import struct
import threading
import time

from harness import TIMEOUT, Proxy, eq
from procs import preload
from rpmsgguest import ACCEPT_PORT, DOOR, Conn, Remote
from rpmsgrig import Closing

INFO = struct.Struct("<32sII")
ENOENT, ENODEV, EINVAL = 2, 19, 22


class Endpoint:
    def __init__(self, n, name, src, dst):
        self.n, self.name, self.src, self.dst, self.sock = n, name, src, dst, None


def destroyed(s):
    """Its owner has ended it (charkernel.c), and is not gone itself."""
    p = select.poll()
    p.register(s, select.POLLRDHUP)
    return any(ev & select.POLLRDHUP and not ev & select.POLLHUP for _, ev in p.poll(0))


class Kernel:
    def __init__(self, root):
        self.root = root
        self.lock = threading.RLock()
        self.eps = {}
        self.next_n = 0
        self.ctrl = None  # number of rpmsg_ctrlN
        self.ctrl_socks = []
        self.inbox = queue.Queue()
        self.created = self.stalled = 0
        self.fail = 0  # so many of the next creations fail
        self.oopses = []
        os.makedirs(f"{root}/dev")
        os.makedirs(f"{root}/sys/class/rpmsg")
        os.makedirs(f"{root}/sys/bus/rpmsg/devices")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(f"{root}/kernel")
        self.listener.listen(64)
        self.sel = selectors.DefaultSelector()
        self.sel.register(self.listener, selectors.EVENT_READ)
        self.stop = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def args(self, n=0):
        return f"rpmsg-char:{self.root}/dev/rpmsg_ctrl{n},sysfs={self.root}/sys,name=g"

    def env(self):
        asan = os.environ.get("ASAN_OPTIONS", "")
        return {"LD_PRELOAD": preload("charkernel", "-ldl"), "CHARKERNEL": self.root,
                "ASAN_OPTIONS": asan + ":verify_asan_link_order=0"}

    # -- the remote's machine --

    def held(self):
        """Numbers of control devices that somebody has open."""
        for n, s in list(self.ctrl_socks):
            try:
                if not s.recv(1, socket.MSG_DONTWAIT):
                    self.ctrl_socks.remove((n, s))
                    s.close()
            except BlockingIOError:
                pass
        return {n for n, _ in self.ctrl_socks}

    def attach(self, n=None):
        with self.lock:
            held = self.held()
            self.ctrl = n = n if n is not None else next(i for i in range(9) if i not in held)
            d = f"{self.root}/sys/class/rpmsg/rpmsg_ctrl{n}"
            os.makedirs(d)
            os.symlink(f"../../../virtio{n}.rpmsg_ctrl.0.0", f"{d}/device")
            open(f"{self.root}/dev/rpmsg_ctrl{n}", "w", encoding="ascii").close()

    def detach(self):
        with self.lock:
            for ep in list(self.eps.values()):
                self.remove(ep)
            for d in os.scandir(f"{self.root}/sys/bus/rpmsg/devices"):
                if d.is_symlink():
                    os.unlink(d.path)
                else:
                    shutil.rmtree(d.path)
            shutil.rmtree(f"{self.root}/sys/class/rpmsg/rpmsg_ctrl{self.ctrl}")
            os.unlink(f"{self.root}/dev/rpmsg_ctrl{self.ctrl}")
            self.ctrl = None

    def announce(self, name, addr, gone=False):
        """What the kernel makes of the remote's name service message."""
        d = f"{self.root}/sys/bus/rpmsg/devices/virtio{self.ctrl}.{name}.-1.{addr}"
        if gone:
            shutil.rmtree(d)
            return
        new = f"{self.root}/new"
        os.makedirs(new)
        for attr, v in (("name", name), ("src", "0xffffffff"), ("dst", f"{addr:#x}")):
            with open(f"{new}/{attr}", "w", encoding="ascii") as f:
                f.write(v + "\n")
        os.rename(new, d)

    def crowd(self, n):
        """So many more that nobody asks for. sysfs has links here, too; all of these lead to one device."""
        one = f"{self.root}/one"
        os.makedirs(one)
        for attr, v in (("name", "svc"), ("src", "0xffffffff"), ("dst", "0x10000")):
            with open(f"{one}/{attr}", "w", encoding="ascii") as f:
                f.write(v + "\n")
        for i in range(n):
            os.symlink(one, f"{self.root}/sys/bus/rpmsg/devices/virtio{self.ctrl}.svc{i}.-1.{0x10000 + i}")

    def send(self, dst, data):
        """To the endpoint that has the address; the source is not told. False: there is none."""
        with self.lock:
            ep = next((e for e in self.eps.values() if e.src == dst and e.sock), None)
            sock = ep.sock if ep else None
        if not sock:
            return False
        try:
            sock.send(data)
        except OSError:
            return False
        return True

    # -- the proxy's side --

    def run(self):
        while not self.stop:
            for key, _ in self.sel.select(0.05):
                with self.lock:
                    if key.fileobj is self.listener:
                        self.request(self.listener.accept()[0])
                    else:
                        self.message(key.fileobj, key.data)

    def request(self, s):
        s.settimeout(TIMEOUT)
        what, name, rest = s.recv(512).split(b" ", 2)
        what, name = what.decode(), name.decode()
        r = getattr(self, "do_" + what)(name, rest, s)
        s.send(struct.pack("<i", r))
        if r or what != "open":
            s.close()

    def do_open(self, name, _rest, s):
        if not os.path.exists(f"{self.root}/dev/{name}"):
            return ENOENT
        if name.startswith("rpmsg_ctrl"):
            self.ctrl_socks.append((int(name[10:]), s))
            return 0
        ep = self.eps[name]
        # as rpmsg_create_ept(): an address has one endpoint
        if any(e.src == ep.src and e.sock for e in self.eps.values()):
            return EINVAL
        ep.sock = s
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self.sel.register(s, selectors.EVENT_READ, ep)
        return 0

    def do_create(self, name, info, _s):
        if name != f"rpmsg_ctrl{self.ctrl}":
            self.oopses.append(f"an endpoint below {name}, which is gone")
            return ENODEV
        if self.fail:
            self.fail -= 1
            return ENODEV
        name, src, dst = INFO.unpack(info)
        n = 0
        while f"rpmsg{n}" in self.eps:
            n += 1
        ep = self.eps[f"rpmsg{n}"] = Endpoint(n, name.rstrip(b"\0").decode(), src, dst)
        d = f"{self.root}/sys/class/rpmsg/rpmsg{n}"
        os.makedirs(d)
        for attr, v in (("name", ep.name), ("src", src), ("dst", dst)):
            with open(f"{d}/{attr}", "w", encoding="ascii") as f:
                f.write(f"{v}\n")
        open(f"{self.root}/dev/rpmsg{n}", "w", encoding="ascii").close()
        self.created += 1
        return 0

    def remove(self, ep, by_owner=False):
        # first who has it open hears of it, then the device goes; who ends it himself waits
        del self.eps[f"rpmsg{ep.n}"]
        if not by_owner:
            self.close_ept(ep)
        shutil.rmtree(f"{self.root}/sys/class/rpmsg/rpmsg{ep.n}")
        os.unlink(f"{self.root}/dev/rpmsg{ep.n}")
        if by_owner:
            self.close_ept(ep)

    def close_ept(self, ep):
        if ep.sock:
            # what was written is on its way to the remote: here it may be in the socket still
            ep.sock.setblocking(False)
            try:
                while data := ep.sock.recv(1 << 17):
                    self.inbox.put((ep.src, ep.dst, data))
            except OSError:
                pass
            self.sel.unregister(ep.sock)
            ep.sock.close()
        ep.sock = None

    def message(self, s, ep):
        if not ep.sock:
            return
        if destroyed(s):
            self.remove(ep, True)
            return
        if self.stalled:
            time.sleep(0.001)
            return
        try:
            data = s.recv(1 << 17)
        except OSError:
            data = b""
        if data:
            self.inbox.put((ep.src, ep.dst, data))
        else:
            self.close_ept(ep)  # its process is gone; the device stays

    def close(self):
        self.stop = True
        self.thread.join(TIMEOUT)
        self.listener.close()
        for _, s in self.ctrl_socks:
            s.close()
        for ep in self.eps.values():  # whoever ends one later is not to wait for us
            if ep.sock:
                ep.sock.close()


class KernelRemote(Remote):
    """The same remote, with the kernel between it and the proxy."""

    def __init__(self, kernel):  # noqa: the file and the rings are the kernel's
        self.kernel = kernel
        self.room, self.tags, self.lives, self.epochs = 496, 0, 0, False
        self.lost = 0
        self.fresh()
        self.boot()

    def boot(self):
        self.kernel.attach()
        self.up = True
        self.listen(ACCEPT_PORT)

    def announce(self, name, ep, gone=False):
        if not gone:
            self.announced.append((name, ep))
        self.kernel.announce(name, ep.addr, gone)

    def post(self, src, dst, data, length=None):
        if not self.kernel.send(dst, data):
            self.lost += 1

    def flush(self):
        pass

    def look(self):
        n = 0
        while True:
            try:
                self.take(self.kernel.inbox.get_nowait())
            except queue.Empty:
                return n
            n += 1

    def take(self, message):
        src, dst, data = message
        ep = self.eps.get(dst)
        if ep:
            ep.input(src, data)
        else:
            self.unknown.append(message)

    def poll(self, timeout=0):
        if self.look():
            return
        try:
            self.take(self.kernel.inbox.get(timeout=timeout or 0.001))
        except queue.Empty:
            return
        self.look()

    def wait_up(self, timeout=None):
        self.lookup(DOOR, timeout)
        return self

    def reboot(self, load=True):
        self.kernel.detach()
        self.went_down()
        while not self.kernel.inbox.empty():
            self.kernel.inbox.get()
        self.fresh()
        self.boot()

    def close(self):
        self.kernel.close()


class CharRig(Closing):
    """A proxy with one rpmsg-char link `g`, and its remote, which is there before the proxy: the proxy looks for
    what is missing four times a second only. start=False: there is none. env: more libraries are preloaded, too."""

    def __init__(self, *rules, start=True, more="", env=None):
        def args(p):
            self.k = Kernel(os.path.join(p.dir.name, "k"))
            own = self.k.env()
            p.env = {**own, **(env or {})}
            p.env["LD_PRELOAD"] = ":".join(e["LD_PRELOAD"] for e in (own, env or {}) if "LD_PRELOAD" in e)
            if start:
                self.r = self.g = KernelRemote(self.k)
            return ["--link", self.k.args() + more]
        self.r = self.g = None
        self.p = Proxy(*rules, args=args)
        if start:
            self.r.wait_up()

    def close(self, ends=0):
        self.p.wait_counter("ends", ends)
        self.p.stop()
        eq(self.k.eps, {}, "endpoints left in the kernel")
        eq(self.k.oopses, [], "oopses")
        self.r.close()


__all__ = ["CharRig", "Kernel", "KernelRemote", "Conn"]
