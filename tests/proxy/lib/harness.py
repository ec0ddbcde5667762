# SPDX-License-Identifier: BSD-3-Clause
"""TAP, the proxy under test, and peers on loopback for tests/proxy/*.py."""
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
from ports import free_port  # noqa: E402,F401: every test has it from here

TIMEOUT = float(os.environ.get("AMPSOCK_TEST_TIMEOUT", "20"))
TEST_TIMEOUT = TIMEOUT * 6  # of a whole test
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILD = os.environ.get("BUILD", os.path.join(ROOT, "build"))
if not os.path.isabs(BUILD):
    BUILD = os.path.join(ROOT, BUILD)
# In memory: on a disk each file that is made waits for what others write there.
if "TMPDIR" not in os.environ and os.access("/dev/shm", os.W_OK | os.X_OK):
    tempfile.tempdir = "/dev/shm"


def binary():
    if "AMPSOCK_PROXY" in os.environ:
        return os.environ["AMPSOCK_PROXY"]
    san = os.path.join(BUILD, "san", "ampsock-proxy")
    return san if os.path.exists(san) else os.path.join(BUILD, "ampsock-proxy")


def worker_pid(pid):
    """Of the process that talks to guests: the one child of the helper, which is what was started."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return int(f.read().split()[0])


def limit_fds(pid, soft, hard=None):
    """Of another process, which may be another user's by now: his may be changed by himself, or by
    who has CAP_SYS_RESOURCE."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        ids = {k: int(v.split()[0]) for k, v in (line.split(":", 1) for line in f) if k in ("Uid", "Gid")}
    who = {"user": ids["Uid"], "group": ids["Gid"], "extra_groups": []} if ids["Uid"] != os.geteuid() else {}
    subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={soft}:{soft if hard is None else hard}"], check=True, **who)


def fd_limits(pid):
    with open(f"/proc/{pid}/limits", encoding="ascii") as f:
        v = re.search(r"Max open files\s+(\d+)\s+(\d+)", f.read())
    return int(v.group(1)), int(v.group(2))


TESTS = []


def test(fn):
    TESTS.append(fn)
    return fn


def main():
    """Runs every @test whose name contains one of the arguments; one that returns a text is
    skipped for that reason."""
    picked = [t for t in TESTS if len(sys.argv) < 2 or any(a in t.__name__ for a in sys.argv[1:])]
    failed = 0
    if not picked:
        print(f"{sys.argv[0]}: no test has that in its name; there are: {' '.join(t.__name__ for t in TESTS)}", file=sys.stderr)
        sys.exit(2)
    print(f"1..{len(picked)}")
    for i, t in enumerate(picked, 1):
        name = (t.__doc__ or t.__name__).strip().splitlines()[0]
        signal.alarm(int(TEST_TIMEOUT))
        try:
            skip = t()
            print(f"ok {i} - {name}" + (f" # SKIP {skip}" if isinstance(skip, str) else ""))
        except BaseException as e:  # noqa: B902: also a time-out must leave a line
            failed += 1
            for line in traceback.format_exc().splitlines()[-40:]:
                print(f"# {line}")
            for p in Proxy.running:
                for line in p.lines[-20:]:
                    print(f"# {line}")
            print(f"not ok {i} - {name}")
            if isinstance(e, KeyboardInterrupt):
                break
        finally:
            signal.alarm(0)
            sys.stdout.flush()
            Proxy.stop_all()
    sys.exit(1 if failed else 0)


def alarm(_sig, _frame):
    raise TimeoutError("the test took too long")


signal.signal(signal.SIGALRM, alarm)


class Proxy:
    """The proxy with one link `g` at cid 3, unless args say else."""
    running = []

    def __init__(self, *rules, args=None, env=None, fds=None):
        self.dir = tempfile.TemporaryDirectory(prefix="ampsock-test-")
        self.path = os.path.join(self.dir.name, "g.sock")
        self.lines = []
        self.first = ""
        self.cond = threading.Condition()
        r, w = os.pipe()
        argv = [binary(), "--ready-fd", str(w)]
        self.env = env or {}
        argv += args(self) if args else ["--link", f"vhost-user-vsock:{self.path},cid=3,name=g"]
        for rule in rules:
            key, text = rule.split(" ", 1)
            argv += ["--" + key, text.replace("DIR", self.dir.name)]
        self.proc = subprocess.Popen(argv, pass_fds=[w] + (fds() if fds else []), stderr=subprocess.PIPE, env={**os.environ, **self.env})
        os.close(w)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        Proxy.running.append(self)
        if os.read(r, 1) != b"\n":
            self.proc.wait(TIMEOUT)
            self.thread.join(TIMEOUT)
            os.close(r)
            raise AssertionError("the proxy did not start:\n" + "\n".join(self.lines))
        os.close(r)

    def read(self):
        for line in self.proc.stderr:
            with self.cond:
                self.lines.append(line.decode(errors="replace").rstrip())
                self.cond.notify_all()

    def log(self, pattern, timeout=TIMEOUT, start=0):
        """Waits for a line that matches; returns it."""
        deadline = time.monotonic() + timeout
        at = start
        with self.cond:
            while True:
                while at < len(self.lines):
                    if re.search(pattern, self.lines[at]):
                        return self.lines[at]
                    at += 1
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"no line /{pattern}/ in:\n" + "\n".join(self.lines))
                self.cond.wait(left)

    def counters(self):
        """Of the first link. Lines of the last call may still be coming: they are not this call's."""
        n = len(self.lines)
        self.proc.send_signal(signal.SIGUSR1)
        line = self.log(f"counters: link={self.first}", start=n)
        self.first = re.search(r"link=(\S+ )", line).group(1)
        return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", line)}

    def wait_counter(self, name, value):
        deadline = time.monotonic() + TIMEOUT
        pause_s = 0.001
        while True:
            got = self.counters()[name]
            if got == value:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"{name} is {got}, not {value}")
            time.sleep(pause_s)  # counters have no event, and to ask without end takes the processor from who counts
            pause_s = min(2 * pause_s, 0.05)

    def fds(self):
        return len(os.listdir(f"/proc/{self.worker_pid()}/fd"))

    def worker_pid(self):
        return worker_pid(self.proc.pid)

    def stop(self, sig=signal.SIGTERM):
        if self in Proxy.running:
            Proxy.running.remove(self)
        if self.proc.poll() is None:
            self.proc.send_signal(sig)
        try:
            code = self.proc.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            raise AssertionError("the proxy did not stop") from None
        self.thread.join(TIMEOUT)  # the worker has the pipe, too: it is gone then
        self.proc.stderr.close()
        left = os.listdir(self.dir.name) if os.path.isdir(self.dir.name) else []
        self.dir.cleanup()
        bad = [x for x in self.lines if "ERROR: " in x or "runtime error" in x or "AddressSanitizer" in x]
        if bad:
            raise AssertionError("\n".join(self.lines))
        if sig == signal.SIGTERM and code != 0:
            raise AssertionError(f"exit {code}:\n" + "\n".join(self.lines))
        return left

    @classmethod
    def stop_all(cls):
        while cls.running:
            p = cls.running[-1]
            try:
                p.stop()
            except AssertionError as e:
                for line in str(e).splitlines():
                    print(f"# stop: {line}")


class Server:
    """A TCP (or Unix) server on loopback: handler(sock) in a thread for each connection."""

    def __init__(self, handler, path=None, family=socket.AF_INET, backlog=256, addr=None):
        self.sock = socket.socket(socket.AF_UNIX if path else family, socket.SOCK_STREAM)
        self.sock.bind(path or (addr or "127.0.0.1" if family == socket.AF_INET else "::1", 0))
        self.sock.listen(backlog)
        self.port = None if path else self.sock.getsockname()[1]
        self.handler = handler
        self.threads = []
        self.errors = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            c.settimeout(TEST_TIMEOUT)  # one that only waits for the test's end must not end before
            t = threading.Thread(target=self.one, args=(c,), daemon=True)
            t.start()
            self.threads.append(t)

    def one(self, c):
        try:
            with c:
                self.handler(c)
        except Exception as e:  # told to the test by check()
            self.errors.append(e)

    def check(self, served=1):
        """Waits until `served` connections were served to their end."""
        deadline = time.monotonic() + TIMEOUT
        while len(self.threads) < served and time.monotonic() < deadline:
            time.sleep(0.005)
        for t in list(self.threads):
            t.join(TIMEOUT)
        if self.errors:
            raise self.errors[0]

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


def echo(s):
    """A handler: what comes goes back."""
    while data := s.recv(65536):
        s.sendall(data)


def ping(c, data=b"ping"):
    """A guest's connection to who echoes."""
    c.send(data)
    eq(c.recv_exact(len(data)), data)


def own_host():
    """An address of loopback that no other test uses, for ports that nobody may take between two looks:
    choose them from those that the kernel gives nobody by itself."""
    pid = os.getpid()
    return f"127.{64 + (pid >> 16 & 63)}.{pid >> 8 & 255}.{pid & 255}"


def eq(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")
