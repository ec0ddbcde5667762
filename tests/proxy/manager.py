#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""The service manager's side: sd_notify, watchdog, and sockets that were passed."""
import errno
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from clock import Clock  # noqa: E402
from harness import TIMEOUT, Server, binary, eq, free_port, main, test  # noqa: E402
from procs import sleeps, state, until  # noqa: E402
from vguest import Guest  # noqa: E402

# Puts descriptors where sd_listen_fds(3) wants them, and says whom they are for.
LAUNCH = """
import os, sys
n = int(sys.argv[1])
fds = [os.dup2(int(a), 200 + i, False) for i, a in enumerate(sys.argv[2:2 + n])]
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i, True)
    os.close(fd)
if n:
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(n)
os.environ["WATCHDOG_PID"] = os.environ.get("WATCHDOG_PID") or str(os.getpid())
os.execv(sys.argv[2 + n], sys.argv[2 + n:])
"""


class Service:
    """The proxy as systemd starts it."""

    alive = []  # of the present test

    def __init__(self, args, socks=(), env=None, ready=True):
        self.dir = tempfile.TemporaryDirectory(prefix="ampsock-manager-")
        path = os.path.join(self.dir.name, "notify")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        self.sock.settimeout(TIMEOUT)
        self.log_path = os.path.join(self.dir.name, "log")
        argv = [sys.executable, "-c", LAUNCH, str(len(socks))] + [str(s.fileno()) for s in socks]
        with open(self.log_path, "wb") as log:
            self.proc = subprocess.Popen(argv + [binary()] + args, stderr=log, pass_fds=[s.fileno() for s in socks],
                                         env={**os.environ, "NOTIFY_SOCKET": path, **(env or {})})
        Service.alive.append(self)
        for s in socks:
            s.close()
        try:
            if ready:
                eq(self.hear(), "READY=1\nSTATUS=Serving 1 link", "first message")
        except BaseException:
            self.kill()
            raise

    def hear(self, timeout=TIMEOUT):
        """The next message that is not about the store of descriptors (handover.py); None: none came."""
        deadline = time.monotonic() + timeout
        while select.select([self.sock], [], [], max(0, deadline - time.monotonic()))[0]:
            text = self.sock.recv(4096).decode()
            if not text.startswith("FDSTORE"):
                return text
        return None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def worker(self):
        with open(f"/proc/{self.proc.pid}/task/{self.proc.pid}/children", encoding="ascii") as f:
            return int(f.read().split()[0])

    def upgrade(self):
        """Another program in the same process, which serves when it says so."""
        at = len(self.log())
        self.proc.send_signal(signal.SIGUSR2)
        until(lambda: "upgrade: executing" in self.log()[at:], "no upgrade")
        while True:
            text = self.hear()
            if text is None:
                raise AssertionError("the new program is not ready")
            if text.startswith("READY=1"):
                break

    def goes_round(self):
        """The helper wakes up, looks at its clock, does what is due, and sleeps again."""
        until(lambda: state(self.proc.pid) == "S", "the helper does not sleep")
        before = sleeps(self.proc.pid)
        self.proc.send_signal(signal.SIGUSR1)
        until(lambda: sleeps(self.proc.pid) > before and state(self.proc.pid) == "S", "the helper does not wake up")

    def kill(self):
        self.proc.kill()
        self.proc.wait()  # its worker ends with it
        print("\n".join("# " + line for line in self.log().splitlines()))

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        while True:
            text = self.hear()
            if text != "WATCHDOG=1":
                break
        eq(text, "STOPPING=1\nSTATUS=Stopping")
        eq(self.proc.wait(TIMEOUT), 0, self.log())
        text = self.log()
        if "AddressSanitizer" in text or "runtime error" in text:
            raise AssertionError(text)
        self.sock.close()
        self.dir.cleanup()
        return text


def with_dir(fn):
    with tempfile.TemporaryDirectory(prefix="ampsock-manager-") as d:
        try:
            return fn(d)
        finally:  # nothing of a test that failed is left
            for s in Service.alive:
                if s.proc.poll() is None:
                    s.kill()
            Service.alive.clear()


@test
def states():
    """READY when all listens, STOPPING before the end; nothing in between without a watchdog"""
    def run(d):
        s = Service(["--link", f"vhost-user-vsock:{d}/g,cid=3"])
        Guest(d + "/g").close()
        eq(s.hear(0.3), None, "said without need")
        s.stop()
    with_dir(run)


@test
def not_ready():
    """what cannot start never says READY"""
    s = Service(["--link", "vhost-user-vsock:/nowhere/g,cid=3"], ready=False)
    eq(s.proc.wait(TIMEOUT), 1)
    eq(s.hear(0), None)
    eq("directory /nowhere does not exist" in s.log(), True)
    s.sock.close()


@test
def watchdog():
    """WATCHDOG is said while the worker's loop runs, and not while it hangs (hangs.py)"""
    def run(d):
        s = Service(["--link", f"vhost-user-vsock:{d}/g,cid=3"], env={"WATCHDOG_USEC": "200000"})
        for _ in range(3):
            eq(s.hear(), "WATCHDOG=1")
        s.stop()
        # a worker that is stopped for less than it takes to find it guilty has nothing said for it: it
        # is asked every 150 s of a clock that is ours
        clock = Clock()
        s = Service(["--link", f"vhost-user-vsock:{d}/g,cid=3"], env={"WATCHDOG_USEC": "600000000", **clock.env})
        eq(s.hear(), "WATCHDOG=1")
        worker = s.worker()
        os.kill(worker, signal.SIGSTOP)
        try:
            clock.forward(151)
            s.goes_round()
            eq(s.hear(0), None, "said although the worker hangs")
        finally:
            os.kill(worker, signal.SIGCONT)
        eq(s.hear(), "WATCHDOG=1")
        eq((s.proc.poll(), s.worker()), (None, worker))
        s.stop()
        # another's watchdog is not ours
        s = Service(["--link", f"vhost-user-vsock:{d}/g,cid=3"], env={"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"})
        eq(s.hear(0.4), None, "said for another process")
        s.stop()
    with_dir(run)


def bound(family, addr, kind=socket.SOCK_STREAM, listen=True):
    s = socket.socket(family, kind)
    s.bind(addr)
    if listen and kind == socket.SOCK_STREAM:
        s.listen(16)
    return s


@test
def sockets():
    """TCP, UDP and Unix sockets that were passed serve the rules and the link that have their address"""
    def run(d):
        t4, t6, u4 = bound(socket.AF_INET, ("127.0.0.1", 0)), bound(socket.AF_INET6, ("::1", 0)), \
            bound(socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM)
        ports = [x.getsockname()[1] for x in (t4, t6, u4)]
        link, unix, spare, control = (bound(socket.AF_UNIX, f"{d}/{n}") for n in ("g", "in", "spare", "control"))
        own = free_port()
        s = Service(["--link", f"vhost-user-vsock:{d}/g,cid=3", "--control", d + "/control",
                     "--publish", f"tcp 127.0.0.1:{ports[0]} -> vsock:5000",
                     "--publish", f"tcp [::1]:{ports[1]} -> vsock:5000 proxy-protocol",
                     "--publish", f"udp 127.0.0.1:{ports[2]} -> vsock:5001",
                     "--publish", f"unix {d}/in -> vsock:5000",
                     "--publish", f"tcp 127.0.0.1:{own} -> vsock:5000"],
                    [t4, t6, u4, link, unix, spare, control], {"LISTEN_FDNAMES": "web:web6:dns:g:in:left over:ctl"})
        g = Guest(d + "/g", seqpacket=True)
        g.listen(5000)
        g.listen(5001)
        for family, addr in ((socket.AF_INET, ("127.0.0.1", ports[0])), (socket.AF_INET6, ("::1", ports[1])),
                             (socket.AF_UNIX, d + "/in"), (socket.AF_INET, ("127.0.0.1", own))):
            k = socket.socket(family)
            k.settimeout(TIMEOUT)
            k.connect(addr)
            c = g.accept(5000)
            if family == socket.AF_INET6:
                eq(c.recv_exact(52)[12:14], b"\x21\x21")
            k.sendall(b"x")
            eq(c.recv(), b"x")
            c.send(b"y")
            eq(k.recv(1), b"y")
            k.close()
            eq(c.recv(), b"")
            c.close()
        k = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        k.sendto(b"query", ("127.0.0.1", ports[2]))
        eq(g.accept(5001).recv_msg(), b"query")
        k.close()
        g.close()
        with socket.socket(socket.AF_UNIX) as k:
            k.settimeout(TIMEOUT)
            k.connect(d + "/control")
            k.sendall(b"what is it\n")
            eq(k.recv(1), b"{", "the control socket answers")
        text = s.stop()
        want = f"descriptor 8 (left over): unix {d}/spare was passed by the service manager and is not used"
        eq(want in text, True, text)
        eq(text.count("is not used"), 1, text)
        # the manager's files are the manager's
        eq(sorted(os.listdir(d)), ["control", "g", "in", "spare"])
    with_dir(run)


@test
def wrong_sockets():
    """a socket of the right address and the wrong sort stops the start, and says why"""
    def run(d):
        t = bound(socket.AF_INET, ("127.0.0.1", 0), listen=False)
        port = t.getsockname()[1]
        s = Service(["--link", f"vhost-user-vsock:{d}/g,cid=3", "--publish", f"tcp 127.0.0.1:{port} -> vsock:5000"],
                    [t], ready=False)
        eq(s.proc.wait(TIMEOUT), 1)
        eq(f"cannot publish tcp 127.0.0.1:{port}: what the service manager passed for it is no listening socket"
           in s.log(), True, s.log())
        u = bound(socket.AF_UNIX, d + "/g", socket.SOCK_DGRAM)
        s = Service(["--link", f"vhost-user-vsock:{d}/g,cid=3"], [u], ready=False)
        eq(s.proc.wait(TIMEOUT), 1)
        eq("no listening stream socket" in s.log(), True, s.log())
    with_dir(run)


@test
def wrong_variables():
    """LISTEN_FDS that makes no sense stops the start; NOTIFY_SOCKET that makes none does not"""
    def run(d):
        args = ["--link", f"vhost-user-vsock:{d}/g,cid=3"]
        a = bound(socket.AF_INET, ("127.0.0.1", 0))
        s = Service(args, [a], {"LISTEN_FDNAMES": "a:b"}, ready=False)
        eq(s.proc.wait(TIMEOUT), 1)
        eq("do not go together" in s.log(), True, s.log())
        s = Service(args, env={"LISTEN_PID": "1", "LISTEN_FDS": "5"})  # another's: none of our business
        s.stop()
        s = Service(args, env={"NOTIFY_SOCKET": "nonsense"}, ready=False)
        while not os.path.exists(d + "/g"):
            eq(s.proc.poll(), None)
            time.sleep(0.01)
        s.proc.send_signal(signal.SIGTERM)
        eq(s.proc.wait(TIMEOUT), 0)
        eq("NOTIFY_SOCKET, WATCHDOG_USEC or WATCHDOG_PID is wrong" in s.log(), True, s.log())
    with_dir(run)


@test
def reloading():
    """a reload is told; a rule that goes and comes back has its passed socket again"""
    def run(d):
        t = bound(socket.AF_INET, ("127.0.0.1", 0))
        port = t.getsockname()[1]
        link = f"[link g]\ntype = vhost-user-vsock\npath = {d}/g\ncid = 3\n"
        rule = f"publish = tcp 127.0.0.1:{port} -> vsock:5000\n"

        def conf(text):
            with open(d + "/conf", "w", encoding="ascii") as f:
                f.write(text)
        conf(link + rule)
        s = Service(["--config", d + "/conf"], [t])
        g = Guest(d + "/g")
        g.listen(5000)
        for n, text in enumerate((link + rule, link, link + rule, link + "nonsense = 1\n")):
            if n:
                conf(text)
                before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                s.proc.send_signal(signal.SIGHUP)
                match = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=([0-9]+)", s.hear())
                eq(before <= int(match.group(1)) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000, True)
                eq(s.hear().split("\n")[0], "READY=1")
            k = socket.socket()
            k.settimeout(TIMEOUT)
            k.connect(("127.0.0.1", port))  # the manager's socket always listens
            if text == link:
                k.settimeout(0.2)
                try:
                    eq(k.recv(1), None)
                except socket.timeout:
                    pass
                k.close()
                continue
            while True:  # whoever knocked meanwhile comes first, and has gone
                c = g.accept(5000)
                if n != 2 or c.recv() != b"":
                    break
                c.close()
                n = 3
            c.send(b"y")
            eq(k.recv(1), b"y")
            k.close()
            eq(c.recv(), b"")
            c.close()
        g.close()
        s.stop()
    with_dir(run)


@test
def udp_wider():
    """a UDP rule for more than a passed socket's address, or a part of it, is refused: that socket stays, and nobody would read it"""
    with_dir(wider)


@test
def udp_wider_upgraded():
    """the same, by a program that was passed nothing: the one before it was"""
    with_dir(lambda d: wider(d, upgrade=True))


def wider(d, upgrade=False):
    part = bound(socket.AF_INET, ("127.0.0.2", 0), socket.SOCK_DGRAM)
    port = part.getsockname()[1]
    every = bound(socket.AF_INET, ("0.0.0.0", 0), socket.SOCK_DGRAM)
    whole = every.getsockname()[1]

    def conf(*addrs):
        with open(d + "/conf", "w", encoding="ascii") as f:
            f.write("\n".join(["[link g]", "type = vhost-user-vsock", f"path = {d}/g", "cid = 3",
                               *(f"publish = udp {host}:{n} -> vsock:5001" for host, n in addrs), ""]))
    mine, passed, all_of_it = ("127.0.0.1", port), ("127.0.0.2", port), ("0.0.0.0", whole)
    conf(mine, passed, all_of_it)
    s = Service(["--config", d + "/conf"], [part, every])
    g = Guest(d + "/g", seqpacket=True)
    g.listen(5001)

    def heard(*addrs):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as k:
            for addr in addrs:
                k.sendto(b"query", addr)
                c = g.accept(5001)
                eq(c.recv_msg(), b"query", addr)
                c.close()
    heard(mine, passed, ("127.0.0.3", whole))
    if upgrade:
        s.upgrade()
        heard(mine, passed, ("127.0.0.3", whole))
    for wanted, text in (((("0.0.0.0", port), all_of_it), f"0.0.0.0:{port}"), ((passed, ("127.0.0.3", whole)), f"127.0.0.3:{whole}"),
                         ((("0.0.0.0", port),), f"0.0.0.0:{port}")):
        conf(*wanted)
        before = len(s.log())
        s.proc.send_signal(signal.SIGHUP)
        eq(s.hear().split("\n")[0], "RELOADING=1")
        eq(s.hear().split("\n")[0], "READY=1")
        until(lambda at=before, t=text: re.search(f"nothing has changed(.|\n)*cannot publish udp {re.escape(t)} -> vsock:5001: a socket of the service manager's",
                                                  s.log()[at:]), "it is not refused")
        heard(mine, passed, ("127.0.0.3", whole))
    g.close()
    s.stop()


@test
def upgraded():
    """a program after an upgrade does not end a passed socket with its rule, and has it when the rule comes back"""
    def run(d):
        t = bound(socket.AF_INET, ("127.0.0.1", 0))
        u = bound(socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM)
        ports = t.getsockname()[1], u.getsockname()[1]
        link = f"[link g]\ntype = vhost-user-vsock\npath = {d}/g\ncid = 3\n"
        rules = f"publish = tcp 127.0.0.1:{ports[0]} -> vsock:5000\npublish = udp 127.0.0.1:{ports[1]} -> vsock:5001\n"

        def conf(text, reload=True):
            with open(d + "/conf", "w", encoding="ascii") as f:
                f.write(text)
            if reload:
                s.proc.send_signal(signal.SIGHUP)
                eq([s.hear().split("\n")[0] for _ in range(2)], ["RELOADING=1", "READY=1"])
        conf(link + rules, reload=False)
        mine = t.dup(), u.dup()  # the manager's
        s = Service(["--config", d + "/conf"], [t, u])
        g = Guest(d + "/g", seqpacket=True)
        g.listen(5000)
        g.listen(5001)
        for _ in range(2):
            s.upgrade()
            conf(link)
            eq(mine[0].getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), 1, "the manager's socket listens")
            try:
                eq(mine[1].getpeername(), None, "the manager's socket is connected")
            except OSError as e:
                eq(e.errno, errno.ENOTCONN)
            s.upgrade()  # and the one that comes while there is no rule
            conf(link + rules)
            with socket.create_connection(("127.0.0.1", ports[0]), TIMEOUT) as k:
                c = g.accept(5000)
                c.send(b"y")
                eq(k.recv(1), b"y")
            eq(c.recv(), b"")
            c.close()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as k:
                k.sendto(b"query", ("127.0.0.1", ports[1]))
                c = g.accept(5001)
                eq(c.recv_msg(), b"query")
                c.close()
        g.close()
        s.stop()
        for m in mine:
            m.close()
    with_dir(run)


@test
def draining():
    """a drain is told with the time that it takes, and again when it is over"""
    def run(d):
        t = bound(socket.AF_INET, ("127.0.0.1", 0))
        port = t.getsockname()[1]
        s = Service(["--link", f"vhost-user-vsock:{d}/g,cid=3", "--publish", f"tcp 127.0.0.1:{port} -> vsock:5000",
                     "--drain", "120"], [t])
        g = Guest(d + "/g")
        g.listen(5000)
        k = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        c = g.accept(5000)
        s.proc.send_signal(signal.SIGTERM)
        eq(s.hear(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=130000000\nSTATUS=Waiting for connections to end")
        k.sendall(b"last")
        eq(c.recv_exact(4), b"last")
        k.close()
        eq(c.recv(), b"")
        c.shutdown(2)
        eq(s.hear(), "STOPPING=1\nSTATUS=Stopping")
        eq(s.proc.wait(TIMEOUT), 0, s.log())
        g.close()
    with_dir(run)


@test
def many():
    """an activated port carries as one of our own does: a thousand connections, none lost"""
    def run(d):
        t = bound(socket.AF_INET, ("127.0.0.1", 0))
        t.listen(1024)
        port = t.getsockname()[1]
        srv = Server(lambda k: k.sendall(k.recv(10)))
        s = Service(["--link", f"vhost-user-vsock:{d}/g,cid=3", "--publish", f"tcp 127.0.0.1:{port} -> vsock:5000"], [t])
        g = Guest(d + "/g")
        g.listen(5000)
        for i in range(0, 1000, 50):
            ks = [socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) for _ in range(50)]
            for n, k in enumerate(ks):
                k.sendall(b"%4d" % (i + n))
            got = set()
            for _ in ks:
                c = g.accept(5000)
                got.add(c.recv_exact(4))
                c.reset()
            eq(got, {b"%4d" % (i + n) for n in range(50)})
            for k in ks:
                k.close()
        g.close()
        srv.close()
        s.stop()
    with_dir(run)


if __name__ == "__main__":
    main()
