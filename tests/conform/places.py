# SPDX-License-Identifier: BSD-3-Clause
"""Where the two roles of a case run: the processes of a place, and the words between them.

A place is a function that is given a Scratch and returns a dict {roles: Role}: "a" and "b", or
"ab" when one process has both. To add one: write such a function and a line in PLACES.
"""
import collections
import os
import selectors
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "proxy", "lib"))
from harness import BUILD, ROOT, Proxy  # noqa: E402

ENV = {"ASAN_OPTIONS": "detect_stack_use_after_return=1:detect_leaks=0:exitcode=99",
       "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
       "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:exitcode=99"}


class Gone(Exception):
    """A role's process ended."""


class Role:
    """One process with one role or both; what it says with @ is for the runner."""
    prefix = ""  # of the transport's row in sockets.c, where this role has one of its own

    def __init__(self, scratch, argv, env=None, cwd=None):
        self.err = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
        self.left = b""
        self.noise = []
        self.proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.err,
                                     cwd=cwd, env={**os.environ, **ENV, "AMPSOCK_LOG": "1", **(env or {})})
        scratch.roles.append(self)

    def say(self, line):
        try:
            self.proc.stdin.write(line.encode() + b"\n")
            self.proc.stdin.flush()
        except BrokenPipeError:
            pass

    def read(self):
        """What it has said: a list of (role, kind, text). Gone at its end."""
        data = os.read(self.proc.stdout.fileno(), 65536)
        if not data:
            raise Gone
        lines = (self.left + data).replace(b"\r", b"").split(b"\n")
        self.left = lines.pop()
        out = []
        for line in lines:
            text = line.decode(errors="replace")
            if text.startswith("@"):
                head, _, rest = text[1:].partition(" ")
                kind, _, rest = rest.partition(" ")
                out.append((head, kind, rest))
            else:
                self.noise.append(text)
        return out

    def words(self):
        """Its last words besides, for a report."""
        self.err.seek(0)
        lines = self.noise + self.err.read().decode(errors="replace").splitlines()
        return lines[-30:]

    def end(self, kill=False):
        """Ends it; its exit status, None when it had to be killed."""
        if kill:
            self.proc.kill()
        self.proc.stdin.close()
        try:
            status = self.proc.wait(10)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            status = None
        self.proc.stdout.close()
        return None if kill else status


class Scratch:
    """What a place has started, and its directory."""
    count = 0

    def __init__(self):
        Scratch.count += 1
        self.tag = f"ct{os.getpid()}.{Scratch.count}."
        self.short = f"c{Scratch.count}"
        self.dir = tempfile.TemporaryDirectory(prefix="ampsock-conform-")  # pylint: disable=consider-using-with
        self.roles = []
        self.machines = []  # before the proxies, whose devices they hold
        self.proxies = []

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def proxy(self, *rules, links=("g",), more=()):
        """ampsock-proxy with a link for each of links, all with these rules; more: of its arguments.

        A link is a name, which is a vsock link's, or is spelled out.
        """
        def args(p):
            out = []
            for i, name in enumerate(links):
                out += ["--link", name if ":" in name else
                        f"vhost-user-vsock:{p.dir.name}/{name}.sock,cid={3 + i},name={name}"]
                for rule in rules:  # they belong to the link before them
                    key, text = rule.split(" ", 1)
                    out += ["--" + key, text]
            return out + list(more)

        p = Proxy(args=args)
        self.proxies.append(p)
        return p

    def end(self, kill=False):
        """Ends all; a list of complaints."""
        bad = []
        for r in self.roles:
            status = r.end(kill)
            if not kill and status != 0:
                bad.append(f"exit status {status} at the end: " + " | ".join(r.words()[-12:]))
            r.err.close()
        for m in self.machines:
            try:
                m.end(kill)
            except AssertionError as e:
                bad.append(f"machine: {e}")
        for p in self.proxies:
            try:
                p.stop()
            except AssertionError as e:
                bad.append(f"proxy: {e}")
        self.dir.cleanup()
        return bad


def program(s, kind, roles, cid=(1, 1), link=(0, 0), env=None):
    """The suite as a Linux process: kind is linux, ours or tsan."""
    tag = s.tag if kind == "linux" else s.short  # an rpmsg name is short
    argv = [os.path.join(BUILD, "conform", kind), roles, tag] + [str(n) for n in cid + link]
    return Role(s, argv, env)


# ---- places ----

def linux(s):
    """both on Linux's own sockets: the oracle"""
    return {r: program(s, "linux", r) for r in "ab"}


def one(kind):
    def place(s):
        return {"ab": program(s, kind, "ab")}
    place.__doc__ = "both in one process, on two threads, over the in-core loop"
    return place


def vsock(guest, kind="ours"):
    """guest: the role that is the guest."""
    def place(s):
        path = s.path("vsock.sock")
        cid = (3, 2) if guest == "a" else (2, 3)
        host = "b" if guest == "a" else "a"
        up = {host: program(s, kind, host, cid, env={"AMPSOCK_LINK": f"vsock-device:{path},3"})}
        up[guest] = program(s, kind, guest, cid, env={"AMPSOCK_LINK": f"vhost-user:{path}"})
        return up
    place.__doc__ = f"two processes: {guest} is a vsock guest, the other its host"
    return place


def rpmsg(remote):
    """remote: the role that is the remote core."""
    def place(s):
        where = f"{s.path('shm')},{s.path('bell')}"
        host = "b" if remote == "a" else "a"
        return {remote: program(s, "ours", remote, env={"AMPSOCK_LINK": f"rpmsg-remote:{where}"}),
                host: program(s, "ours", host, env={"AMPSOCK_LINK": f"rpmsg-host:{where}"})}
    place.__doc__ = f"two processes: {remote} is an rpmsg remote, the other its host"
    return place


def rpmsg_one(kind):
    """Both ends of a link in one process: a's is link 0, b's link 1."""
    def place(s):
        where = f"{s.path('shm')},{s.path('bell')}"
        return {"ab": program(s, kind, "ab", link=(0, 1),
                              env={"AMPSOCK_LINK": f"rpmsg-remote:{where};rpmsg-host:{where}"})}
    place.__doc__ = "one process, two threads: a is an rpmsg remote, b its host"
    return place


def proxied_one(kind):
    """Both roles in one guest of the proxy."""
    def place(s):
        p = s.proxy(*ALLOW, links="g")
        return {"ab": program(s, kind, "ab", env={"AMPSOCK_LINK": f"vhost-user:{p.dir.name}/g.sock"})}
    place.__doc__ = "one process, two threads, through the proxy"
    return place


ALLOW = tuple(f"allow {way} any {host}:any" for way in ("in", "out") for host in ("any", "local"))


def proxied(*ours):
    """ours: the roles that go through the proxy; another is Linux's own."""
    def place(s):
        p = s.proxy(*ALLOW, links=ours)
        up = {}
        for role in "ab":
            if role in ours:
                up[role] = program(s, "ours", role,
                                   env={"AMPSOCK_LINK": f"vhost-user:{p.dir.name}/{role}.sock"})
            else:
                up[role] = program(s, "linux", role)
        return up
    place.__doc__ = f"{' and '.join(ours)} through the proxy" + (", the other on Linux's own" if len(ours) == 1 else "")
    return place


def remote_proxied(ours):
    """ours: the role that is an rpmsg remote of the proxy; the other is Linux's own."""
    def place(s):
        path = s.path("core")
        p = s.proxy(*ALLOW, links=[f"rpmsg-shm:{path}.shm,bell=unix:{path}.bell,name=g"])
        back = "b" if ours == "a" else "a"
        up = {ours: program(s, "ours", ours, env={"AMPSOCK_LINK": f"rpmsg-remote:{path}.shm,{path}.bell"}),
              back: program(s, "linux", back)}
        p.log("link g: remote attached")  # no AF_INET before: ENETUNREACH
        return up
    place.__doc__ = f"{ours} is an rpmsg remote of the proxy, the other on Linux's own"
    return place


NATIVE = ["unix-stream", "unix-seqpacket", "unix-dgram", "inet-stream", "inet-dgram", "inet6-stream", "inet6-dgram"]
VSOCK = ["vsock-stream", "vsock-seqpacket"]
RPMSG = ["rpmsg-stream", "rpmsg-seqpacket", "rpmsg-dgram"]
INET = ["inet-stream", "inet-dgram", "inet6-stream", "inet6-dgram"]

# name: (function, transports of sockets.c)
PLACES = {
    "linux": (linux, NATIVE),
    "one": (one("ours"), VSOCK),
    "one-tsan": (one("tsan"), VSOCK),
    "guest+host": (vsock("a"), VSOCK),
    "host+guest": (vsock("b"), VSOCK),
    "guest+host-tsan": (vsock("a", "tsan"), VSOCK),
    "remote+host": (rpmsg("a"), RPMSG),
    "host+remote": (rpmsg("b"), RPMSG),
    "proxy+linux": (proxied("a"), INET),
    "linux+proxy": (proxied("b"), INET),
    "remote+linux": (remote_proxied("a"), INET),
    "linux+remote": (remote_proxied("b"), INET),
    "remote+host-tsan": (rpmsg_one("tsan"), RPMSG),
    "proxy-tsan": (proxied_one("tsan"), ["inet-stream", "inet-dgram"]),
    "proxy+proxy": (proxied("a", "b"), ["inet-stream", "inet-dgram"]),
}


class Pair:
    """The running roles of a place, and who hears whom."""

    def __init__(self, place):
        self.scratch = Scratch()
        self.sel = selectors.DefaultSelector()
        self.roles = {}
        self.pending = collections.deque()
        try:
            for names, role in PLACES[place][0](self.scratch).items():
                self.sel.register(role.proc.stdout, selectors.EVENT_READ, (names, role))
                for name in names:
                    self.roles[name] = role
        except BaseException:
            self.scratch.end(kill=True)
            raise

    def say(self, name, text):
        self.roles[name].say(f"{name} {text}")

    def event(self, deadline):
        """The next (role, kind, text); ("", "", "") when there is none until the deadline."""
        while not self.pending:
            left = deadline - time.monotonic()
            ready = self.sel.select(left) if left > 0 else []
            if not ready:
                return "", "", ""
            for key, _ in ready:
                self.take(key)
        return self.pending.popleft()

    def take(self, key):
        """What one process has said: words for the other role go there."""
        names, role = key.data
        try:
            for name, kind, text in role.read():
                if kind == "m":
                    self.say("b" if name == "a" else "a", "m " + text)
                else:
                    self.pending.append((name, kind, text))
        except Gone:
            self.sel.unregister(key.fileobj)
            status = role.proc.wait(10)
            self.pending.append((names, "gone", f"role {names} ended, exit status {status}: " + " | ".join(role.words())))

    def collect(self, until, seconds):
        """Events until both roles have said `until`: {role: [(kind, text)]}, and a complaint."""
        got = {"a": [], "b": []}
        waiting = {"a", "b"}
        deadline = time.monotonic() + seconds
        while waiting:
            name, kind, text = self.event(deadline)
            if not name:
                return got, f"no word of {' and '.join(sorted(waiting))} within {seconds:.0f} s"
            if kind == "gone":
                return got, text
            got[name].append((kind, text))
            if kind == until:
                waiting.discard(name)
        return got, ""

    def end(self, kill=False):
        self.sel.close()
        return self.scratch.end(kill)
