# SPDX-License-Identifier: BSD-3-Clause
"""A proxy with rpmsg-shm links and their remotes, for tests/proxy/r*.py."""
import os

from harness import Proxy, eq
from rpmsgguest import DA, EventBell, NoBell, Remote, UnixBell


class Closing:
    def restart_and_close(self, srv):
        """What the remote has left open ends with its life, and not by what close() does."""
        self.r.reboot()
        self.r.wait_up()
        self.close()
        srv.close()


class Rig(Closing):
    """A proxy with one rpmsg-shm link `g`, and its remote, whose file and table are there before the proxy: the
    proxy looks for what is missing four times a second only. start=False: they come after it. more: keys of the link."""

    def __init__(self, *rules, bell="unix", more="", start=True, env=None, **kw):
        self.p = self.r = None
        self.bell = None

        def args(p):
            path = os.path.join(p.dir.name, "ram")
            self.bell = {"unix": lambda: UnixBell(os.path.join(p.dir.name, "bell")), "eventfd": EventBell,
                         "poll": NoBell}[bell]()
            if start:
                self.r = Remote(path, self.bell, start=False, **kw)
            return ["--link", f"rpmsg-shm:{path},da={kw.get('da', DA):#x},bell={self.bell.arg()},name=g{more}"]
        self.p = Proxy(*rules, args=args, env=env, fds=lambda: self.bell.fds() if bell == "eventfd" else [])
        if start:
            self.r.boot()
            self.r.wait_up()
        else:
            self.r = Remote(os.path.join(self.p.dir.name, "ram"), self.bell, start=False, **kw)

    def close(self, ends=0):
        """ends: raw ones stay, for they have no goodbye."""
        self.p.wait_counter("ends", ends)
        self.r.close()
        os.unlink(self.r.path)
        eq(self.p.stop(), [], "left behind")
