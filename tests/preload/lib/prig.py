# SPDX-License-Identifier: BSD-3-Clause
"""Programs under ampsock-run, for tests/preload/*.py."""
import hashlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "proxy", "lib"))
from harness import BUILD, TIMEOUT, Proxy, Server, eq, free_port, main, test  # noqa: E402

RUN = os.environ.get("AMPSOCK_RUN_PROGRAM", os.path.join(BUILD, "ampsock-run"))
INSIDE = os.path.join(HERE, "inside.py")
MB = 1 << 20


def hosted(name):
    return os.path.join(BUILD, "hosted", name)


class Prog:
    """A process whose standard output is read line by line; ended with its test."""
    running = []

    def __init__(self, *argv, env=None, stdin=subprocess.DEVNULL, fds=(), binary=False):
        self.argv = argv
        self.proc = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     env={**os.environ, **(env or {})}, pass_fds=fds)
        self.out, self.err, self.lines = b"", b"", []
        self.cond = threading.Condition()
        self.threads = [threading.Thread(target=self.read, args=(f, f is self.proc.stdout and not binary), daemon=True)
                        for f in ([] if binary else [self.proc.stdout]) + [self.proc.stderr]]
        for t in self.threads:
            t.start()
        Prog.running.append(self)

    def read(self, f, is_out):
        for line in f:
            with self.cond:
                if is_out:
                    self.out += line
                    self.lines.append(line.decode(errors="replace").rstrip("\n"))
                else:
                    self.err += line
                self.cond.notify_all()

    def wait_for(self, text, where="out"):
        """Until a line of it has the text."""
        deadline = time.monotonic() + TIMEOUT
        with self.cond:
            while True:
                over = time.monotonic() > deadline or not (self.proc.poll() is None or any(t.is_alive() for t in self.threads))
                if text in getattr(self, where).decode(errors="replace"):
                    break
                if over:
                    raise AssertionError(f"no {text!r} from {self}")
                self.cond.wait(0.2)
        return self

    def wait_err(self, text):
        return self.wait_for(text, "err")

    def end(self, want=0, lost=False):
        try:
            code = self.proc.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} does not end") from None
        for t in self.threads:
            t.join(TIMEOUT)
        self.forget()
        if want is not None and code != want:
            raise AssertionError(f"{self}: exit {code}, not {want}")
        if ("is lost" in self.err.decode(errors="replace")) != lost:
            raise AssertionError(f"{self}: not all was taken" if not lost else f"{self}: nothing is lost")
        return self

    def forget(self):
        if self in Prog.running:
            Prog.running.remove(self)
        for f in (self.proc.stdin, self.proc.stdout, self.proc.stderr):
            if f and not f.closed:
                try:
                    f.close()
                except OSError:
                    pass

    def kill(self, sig=signal.SIGKILL):
        self.proc.send_signal(sig)
        self.proc.wait(TIMEOUT)
        self.forget()

    def __str__(self):
        return f"{' '.join(map(str, self.argv))}\n--out:\n{self.out.decode(errors='replace')[-2000:]}\n" \
               f"--err:\n{self.err.decode(errors='replace')[-2000:]}"


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(x) for x in f.read().split()]


def stop_all():
    while Prog.running:
        p = Prog.running.pop()
        if p.proc.poll() is None:
            for line in str(p).splitlines()[-30:]:
                print("# " + line)
            try:
                for c in children_of(p.proc.pid):
                    os.kill(c, signal.SIGKILL)
            except OSError:
                pass
            p.proc.kill()
            p.proc.wait()
        p.forget()


def cleaned(fn):
    """A @test whose programs are ended with it."""
    def run():
        try:
            return fn()
        finally:
            stop_all()
    run.__doc__, run.__name__ = fn.__doc__, fn.__name__
    return test(run)


def run(*argv, link=(), offload=False, linger=None, **kw):
    """ampsock-run ARGV; link: one --link or several."""
    links = [link] if isinstance(link, str) else list(link)
    opts = [x for one in links for x in ("--link", one)] + (["--offload"] if offload else [])
    if linger is not None:
        opts += ["--linger", str(linger)]
    return Prog(RUN, *opts, "--", *map(str, argv), **kw)


def inside(case, *args, **kw):
    """A case of inside.py under ampsock-run."""
    return run(sys.executable, INSIDE, case, *args, **kw)


class Wire:
    """Where the two ends of a link meet."""

    def __init__(self):
        self.tmp = tempfile.TemporaryDirectory(prefix="ampsock-test-")  # pylint: disable=consider-using-with
        self.dir = self.tmp.name
        path = os.path.join(self.dir, "v.sock")
        self.host, self.guest = f"vsock-device:{path},3", f"vhost-user:{path}"
        shm = f"{self.dir}/shm,{self.dir}/bell"
        self.rhost, self.rremote = "rpmsg-host:" + shm, "rpmsg-remote:" + shm

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop_all()
        self.tmp.cleanup()


def vm(port, cid=0xFFFFFFFF):
    """socat's raw sockaddr_vm: what stands behind the family."""
    return "x0000" + port.to_bytes(4, "little").hex() + cid.to_bytes(4, "little").hex() + "00000000"


def rp(name, link=0xFFFF, addr=0xFFFFFFFF):
    return "x" + link.to_bytes(2, "little").hex() + addr.to_bytes(4, "little").hex() + \
        name.encode().ljust(32, b"\0").hex()


def sha(data):
    return hashlib.sha256(data).hexdigest()


__all__ = ["BUILD", "TIMEOUT", "Proxy", "Server", "eq", "free_port", "main", "cleaned", "RUN", "INSIDE", "MB", "hosted",
           "Prog", "children_of", "run", "inside", "Wire", "vm", "rp", "sha", "select", "signal", "subprocess", "time"]
