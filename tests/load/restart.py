#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""The proxy ends, in good order or not, with flows on links of every type, and another one takes over."""
import os
import signal
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from rig import TIMEOUT, Proxy, Server, eq, full, main, test  # noqa: E402
from charkernel import Kernel, KernelRemote  # noqa: E402
from rpmsgguest import DA, Remote, UnixBell  # noqa: E402
from rpmsgrig import echo  # noqa: E402
from vguest import Gone, Guest, Reset  # noqa: E402

CONNS = 20


def ping(c, data=b"ping"):
    c.send(data)
    eq(c.recv_exact(len(data)), data)


class Site:
    """Three guests, one of each type of link, that outlive the proxies."""

    def __init__(self):
        self.srv = Server(echo)
        self.tmp = tempfile.TemporaryDirectory(prefix="ampsock-load-")
        self.dir = self.tmp.name
        self.k = Kernel(os.path.join(self.dir, "k"))
        self.bell = UnixBell(os.path.join(self.dir, "bell"))
        self.shm = self.char = None
        self.proxies = []

    def args(self, _):
        argv = ["--link", f"vhost-user-vsock:{self.dir}/v.sock,cid=3,name=v",
                "--expose", f"vsock:6000 -> tcp 127.0.0.1:{self.srv.port}"]
        for link in (f"rpmsg-shm:{self.dir}/ram,da={DA:#x},bell={self.bell.arg()},name=s", self.k.args()):
            argv += ["--link", link, "--expose", f"rpmsg:e -> tcp 127.0.0.1:{self.srv.port}"]
        return argv

    def start(self):
        self.proxies.append(Proxy(args=self.args, env=self.k.env()))
        return self.proxies[-1]

    def kill(self):
        p = self.proxies[-1]
        p.proc.kill()
        p.proc.wait(TIMEOUT)
        Proxy.running.remove(p)

    def close(self):
        self.shm.close()
        self.char.close()
        self.srv.close()
        for p in self.proxies:
            p.dir.cleanup()
        self.tmp.cleanup()


@test
def killed():
    """SIGKILL with flows on every link: the next proxy has all of them again, nobody at the other end did anything"""
    s = Site()
    s.shm = Remote(os.path.join(s.dir, "ram"), s.bell, start=False)
    s.start()
    s.shm.boot()
    s.char = KernelRemote(s.k)
    for _ in range(full(10, 3)):
        v = Guest(f"{s.dir}/v.sock")
        s.shm.wait_up()
        s.char.lookup("e~s")
        conns = [x.connect(to) for x, to in ((v, 6000), (s.shm, "e"), (s.char, "e")) for _ in range(CONNS)]
        for c in conns:
            ping(c)
        for c in conns:
            c.send(bytes(10000))  # under way
        lives = s.shm.lives
        s.kill()
        try:
            v.wait(lambda: False)
        except Gone:
            pass
        v.close()
        s.char.services.clear()
        s.start()
        s.shm.wait(lambda: s.shm.lives > lives)
        s.shm.wait_up()
        for c in conns[CONNS:2 * CONNS]:
            eq(c.state, "reset", "a connection of the proxy before")
        s.char.lookup("e~s")
        ping(s.shm.connect("e"))
        ping(s.char.connect("e"))
    s.proxies[-1].stop(signal.SIGTERM)
    s.close()


if __name__ == "__main__":
    main()
