#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""Processes that hang: a worker that is stopped, or spins, and a new program that does not come to an end."""
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from clock import Clock  # noqa: E402
from harness import TIMEOUT, Proxy, Server, binary, echo, eq, free_port, main, test, worker_pid  # noqa: E402
from procs import alive, children, listening, pending, plain, until, where_it_prints  # noqa: E402
from store import Store  # noqa: E402
from vguest import Guest, Reset  # noqa: E402
from vrig import conf_of, configured, works, write_conf  # noqa: E402


def opened(pid):
    """Paths of its descriptors."""
    paths = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            paths.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            pass
    return paths


def signalled(proc, sig):
    """The helper has it, and its loop goes round."""
    proc.send_signal(sig)
    until(lambda: proc.poll() is not None or not pending(proc.pid, sig), f"{sig} is still pending")


def ended(p, code):
    eq(p.proc.wait(TIMEOUT), code, "exit status")
    Proxy.running.remove(p)
    p.thread.join(TIMEOUT)
    p.proc.stderr.close()
    left = os.listdir(p.dir.name)
    p.dir.cleanup()
    return left


class Watched(Store):
    """A service manager with a watchdog. What it was told, but for its store."""

    def __init__(self, path):
        self.said = []
        super().__init__(path)

    def heard(self, data):
        if not data.startswith(b"FDSTORE"):
            self.said.append(data.decode())


@test
def watchdog():
    """a worker that spins, then one that is stopped: killed by the helper before the service manager would end
    everything, and another goes on with the guest"""
    srv = Server(echo)
    where = {}

    def args(p):
        where["m"] = Watched(os.path.join(p.dir.name, "notify"))
        p.env.update(where["m"].env(), WATCHDOG_USEC="2000000")
        return ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g"]
    with where_it_prints("for (volatile int on = 1; on;) ;") as env:
        p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", args=args, env=env)
        m = where["m"]
        g = Guest(p.path)
        for sig in (signal.SIGUSR1, signal.SIGSTOP):
            works(g)
            c = g.connect(6000)
            until(lambda: m.said[-1] == "WATCHDOG=1", "no answer yet")
            w, at, lines = p.worker_pid(), len(m.said), len(p.lines)
            os.kill(p.proc.pid if sig == signal.SIGUSR1 else w, sig)
            p.log("the worker process does not answer the watchdog's questions: killed", start=lines)
            p.log("goes on with the guest that was attached", start=lines)
            try:
                c.wait(lambda: False)
                raise AssertionError("no reset")
            except Reset:
                pass
            works(g)
            eq(worker_pid(p.proc.pid) != w, True, "another worker")
            until(lambda at=at: any(x.startswith("READY=1") for x in m.said[at:]), "the next is not ready")
            until(lambda: m.said[-1] == "WATCHDOG=1", "the next does not answer")
        g.close()
        p.proc.send_signal(signal.SIGTERM)
        eq(p.proc.wait(TIMEOUT), 0, "exit status")
        m.close()
        os.unlink(m.path)
        text = "\n".join(x for x in p.lines if "error: " in x and "watchdog's questions" not in x)
        eq((text, ended(p, 0)), ("", []), "complaints, files that are left")
    srv.close()


@test
def stop():
    """SIGTERM to a proxy whose worker is stopped: it is killed, when it had its time, and not before; no file is left"""
    clock = Clock()
    with plain():  # with sanitizers a worker has more time to end
        p = Proxy(env=clock.env)
    w = p.worker_pid()
    os.kill(w, signal.SIGSTOP)
    signalled(p.proc, signal.SIGTERM)
    clock.forward(5)
    signalled(p.proc, signal.SIGUSR1)
    signalled(p.proc, signal.SIGUSR1)
    eq((p.proc.poll(), alive(w)), (None, True), "before its time")
    clock.forward(10)
    p.proc.send_signal(signal.SIGUSR1)  # a loop that sleeps does not see the clock
    eq(ended(p, 1), [], "files that are left")
    p.log("the worker process does not end: killed")
    eq(alive(w), False, "the worker is alive")


@test
def stop_drained():
    """one that hangs while connections have their time to end: they have all of it"""
    clock = Clock()
    srv = Server(echo)
    with plain():
        p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", "drain 100", env=clock.env)
    g = Guest(p.path)
    c = g.connect(6000)
    signalled(p.proc, signal.SIGTERM)
    p.log("connections have 100 s to end")
    c.send(b"before")
    eq(c.recv_exact(6), b"before")
    w = p.worker_pid()
    os.kill(w, signal.SIGSTOP)
    clock.forward(90)
    signalled(p.proc, signal.SIGUSR1)
    signalled(p.proc, signal.SIGUSR1)
    eq((p.proc.poll(), alive(w)), (None, True), "before its time")
    clock.forward(30)
    p.proc.send_signal(signal.SIGUSR1)
    eq(ended(p, 1), [], "files that are left")
    p.log("the worker process does not end: killed")
    g.close()
    srv.close()


@test
def unheard_reload():
    """SIGHUP at a worker that dies before it has dealt with it: its successor is told"""
    p = configured()
    port = free_port()
    write_conf(p, f"publish = tcp 127.0.0.1:{port} -> vsock:5000")
    w = p.worker_pid()
    os.kill(w, signal.SIGSTOP)
    signalled(p.proc, signal.SIGHUP)
    signalled(p.proc, signal.SIGUSR1)  # the first was passed on
    os.kill(w, signal.SIGKILL)
    p.log("SIGHUP: the worker process died before it had read the configuration again: the next one is told")

    def listens():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0
    until(listens, "the new rule is not served")
    # and one that was dealt with, as it was when a later signal is, is not told again
    p.counters()
    lines = len(p.lines)
    w = p.worker_pid()
    os.kill(w, signal.SIGKILL)
    until(lambda: children(p.proc.pid) not in ([], [w]), "no other worker")
    Guest(p.path).close()
    eq([x for x in p.lines[lines:] if "SIGHUP" in x], [])
    os.unlink(conf_of(p))
    eq(p.stop(), [], "files that are left")


class Fifo:
    """A proxy whose configuration is a FIFO: who reads it waits, for as long as the test likes."""

    def __init__(self, d, env=None):
        self.path = d + "/proxy.conf"
        self.text = f"[link g]\ntype = vhost-user-vsock\npath = {d}/g\ncid = 3\n"
        os.mkfifo(self.path)
        self.log = open(d + "/log", "a+", encoding="utf-8", errors="replace")  # always at its end
        self.open()
        self.proc = subprocess.Popen([binary(), "--config", self.path], stderr=self.log, env={**os.environ, **(env or {})})
        self.give()
        until(lambda: listening(d + "/g"), "it does not start")
        self.worker = worker_pid(self.proc.pid)

    def open(self):
        """From now on who reads it waits."""
        self.fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)

    def give(self, last=False):
        """All that it waits for, and an end behind it. last: who comes next finds an ordinary file."""
        if last:
            with open(self.path + ".new", "w", encoding="ascii") as f:
                f.write(self.text)
            os.rename(self.path + ".new", self.path)
        os.write(self.fd, self.text.encode())
        until(lambda: fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4)) == bytes(4), "nobody reads the configuration")
        os.close(self.fd)
        self.fd = -1

    def upgrade(self):
        """The process that tries the new program."""
        old = children(self.proc.pid)
        self.open()
        self.proc.send_signal(signal.SIGUSR2)
        until(lambda: set(children(self.proc.pid)) - set(old), "nobody tries the new program")
        pid = (set(children(self.proc.pid)) - set(old)).pop()
        until(lambda: self.path in opened(pid), "it does not read the configuration")
        return pid

    def said(self, text):
        def found():
            self.log.seek(0)
            return text in self.log.read()
        until(found, f"no line with {text}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.kill()
        self.proc.wait()
        self.log.seek(0)
        print("".join("# " + line for line in self.log), end="")
        self.log.close()
        if self.fd >= 0:
            os.close(self.fd)


@test
def check():
    """a new program that hangs when it is tried: nobody's when the helper stops or is killed, and ended when it had its
    time; then another can be tried"""
    for how, code in ((signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)):
        with tempfile.TemporaryDirectory(prefix="ampsock-hangs-") as d, Fifo(d) as f:
            pid = f.upgrade()
            f.proc.send_signal(how)
            eq(f.proc.wait(TIMEOUT), code, "exit status")
            until(lambda pid=pid: not alive(pid), "the new program's process is left")
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="ampsock-hangs-") as d, Fifo(d, clock.env) as f:
        pid = f.upgrade()
        signalled(f.proc, signal.SIGUSR2)
        f.said("upgrade: not now: another is under way")
        clock.forward(31)
        signalled(f.proc, signal.SIGUSR1)
        f.said("has not read its options and the configuration in 30 s: killed")
        f.said("going on as before")
        eq((alive(pid), alive(f.worker)), (False, True))
        os.close(f.fd)
        f.upgrade()
        f.give(last=True)
        f.said("upgrade: executing")
        until(lambda: children(f.proc.pid) not in ([], [f.worker]), "no other worker")
        f.proc.terminate()
        eq(f.proc.wait(TIMEOUT), 0, "exit status")


@test
def worker_died():
    """the worker dies while the new program is tried: the upgrade is made all the same"""
    with tempfile.TemporaryDirectory(prefix="ampsock-hangs-") as d, Fifo(d) as f:
        checker = f.upgrade()
        w = f.worker
        for n in range(5):  # each waits longer before the next begins
            os.kill(w, signal.SIGKILL)
            until(lambda w=w: w not in children(f.proc.pid), "it does not end")
            if n == 4:
                break
            until(lambda: len(children(f.proc.pid)) == 2, "no other worker")
            w = (set(children(f.proc.pid)) - {checker}).pop()
        f.give(last=True)  # within 0.8 s, or the next worker hands over
        f.said("upgrade: executing")
        until(lambda: children(f.proc.pid), "no worker")
        g = Guest(d + "/g")
        g.close()
        f.proc.terminate()
        eq(f.proc.wait(TIMEOUT), 0, "exit status")
        eq(os.path.exists(d + "/g"), False, "the socket's file is there")


if __name__ == "__main__":
    main()
