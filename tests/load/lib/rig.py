# SPDX-License-Identifier: BSD-3-Clause
"""The proxy as it is shipped, guests and a peer that hold flows by the thousand, and what the
proxy's processes cost meanwhile.

AMPSOCK_LOAD=full: the counts of `make check-load`; else those of the short form.
"""
import ctypes
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "proxy", "lib"))
import harness  # noqa: E402
from harness import BUILD, TIMEOUT, Proxy, Server, eq, free_port, main, test  # noqa: E402,F401

if "AMPSOCK_PROXY" not in os.environ:
    os.environ["AMPSOCK_PROXY"] = os.path.join(BUILD, "ampsock-proxy")
FULL = os.environ.get("AMPSOCK_LOAD") == "full"
HERTZ = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


def full(n, short):
    return n if FULL else short


# ---- figures ----

def figure(name, value, unit, most=None, least=None, note="", fatal=True):
    """Written down, shown, and compared with its bound."""
    row = {"figure": name, "value": round(value, 4), "unit": unit, "most": most, "least": least, "note": note,
           "full": FULL}
    path = os.path.join(BUILD, "load.json")
    rows = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            rows = json.load(f)
    rows = [r for r in rows if r["figure"] != name] + [row]
    with open(path + ".new", "w", encoding="utf-8") as f:
        json.dump(rows, f, indent=1)
        f.write("\n")
    os.replace(path + ".new", path)
    bound = f" (at most {most})" if most is not None else f" (at least {least})" if least is not None else ""
    print(f"# {name}: {row['value']:g} {unit}{bound}{' ' + note if note else ''}", flush=True)
    if fatal and (most is not None and value > most or least is not None and value < least):
        raise AssertionError(f"{name}: {value:g} {unit},{bound}")


# ---- processes ----

def workers(proxy):
    """The proxy's processes: helper first, worker last (one that is both, today)."""
    pid = proxy.proc.pid
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [pid] + [int(c) for c in f.read().split()]


def worker(proxy):
    return workers(proxy)[-1]


def status(pid, key):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        return int(re.search(rf"^{key}:\s*(\d+)", f.read(), re.M).group(1))


def anon_kib(pid):
    return status(pid, "RssAnon")


def fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def switches(pid):
    """How often its threads have slept and were woken."""
    n = 0
    for t in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{t}/status", encoding="ascii", errors="replace") as f:
            n += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", f.read(), re.M).group(1))
    return n


def window(seconds):
    """A measurement's length: nothing is waited for in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.timerfd_create(time.CLOCK_MONOTONIC, 0)
    spec = (ctypes.c_long * 4)(0, 0, int(seconds), int((seconds % 1) * 1e9))
    if fd < 0 or libc.timerfd_settime(fd, 0, spec, None):
        raise OSError(ctypes.get_errno(), "timerfd")
    os.read(fd, 8)
    os.close(fd)


def wakeups(pids, seconds, most=4):
    """Of each, in that time. What the loop does after its last work is over before: its alarm
    goes off twice at most (loop.h)."""
    start = {pid: switches(pid) for pid in pids}
    window(0.5)
    before = {pid: switches(pid) for pid in pids}
    for pid in pids:
        if before[pid] - start[pid] > most:
            raise AssertionError(f"{before[pid] - start[pid]} wake-ups when nothing happens")
    window(seconds)
    return {pid: switches(pid) - before[pid] for pid in pids}


def cpu_s(pid):
    """User and system time of a process, to the nanosecond where the kernel says so."""
    ns = 0
    for t in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{t}/schedstat", encoding="ascii") as f:
            ns += int(f.read().split()[0])
    return ns / 1e9


def settled(what, get, want, timeout=TIMEOUT):
    """Waits until get() is want."""
    deadline = time.monotonic() + timeout
    while True:
        got = get()
        if got == want:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: {got}, not {want}")
        time.sleep(0.01)


# ---- peers and guests ----

class Program:
    """One of the programs of tests/load, driven by lines."""
    running = []

    def __init__(self, *argv, env=None):
        self.proc = subprocess.Popen([os.path.join(BUILD, "load", argv[0]), *argv[1:]], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                     env={**os.environ, **(env or {})})
        Program.running.append(self)

    def stop(self, kill=False):
        if self not in Program.running:
            return
        Program.running.remove(self)
        if kill:
            self.proc.kill()
        self.proc.stdin.close()
        try:
            self.proc.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        self.proc.stdout.close()
        self.proc.stderr.close()


class Peer(Program):
    def __init__(self):
        super().__init__("peer")
        self.port = int(self.proc.stdout.readline())
        self.at = f"127.0.0.1 {self.port}"


class Flows(Program):
    """flows.c: a guest of the link at path, or (none) a program of the host."""

    def __init__(self, path=None):
        super().__init__("flows" if path else "flows-native",
                         env={"AMPSOCK_LINK": f"vhost-user:{path}"} if path else None)
        self.lock = threading.Condition()
        self.answers = {}
        self.seq = 0
        self.gone = False
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self.read, self.read_log)]
        self.lines = []
        for t in self.threads:
            t.start()
        self.answer("0", TIMEOUT)

    def read(self):
        for line in self.proc.stdout:
            ident, what, text = line.rstrip("\n").split(" ", 2)
            with self.lock:
                self.answers[ident] = (what, text)
                self.lock.notify_all()
        with self.lock:
            self.gone = True
            self.lock.notify_all()

    def read_log(self):
        for line in self.proc.stderr:
            self.lines.append(line.rstrip())

    def go(self, *args):
        with self.lock:
            self.seq += 1
            self.proc.stdin.write(f"{self.seq} {' '.join(map(str, args))}\n")
            self.proc.stdin.flush()
            return str(self.seq)

    def answer(self, ident, timeout=None):
        """(what, text) of a command."""
        with self.lock:
            if not self.lock.wait_for(lambda: ident in self.answers or self.gone, timeout or TIMEOUT * 6):
                raise AssertionError(f"no answer to {ident}")
            if ident not in self.answers:
                raise AssertionError("the guest is gone:\n" + "\n".join(self.lines))
            return self.answers.pop(ident)

    def get(self, ident, timeout=None):
        what, text = self.answer(ident, timeout)
        if what != "ok":
            raise AssertionError(text)
        return float(text)

    def do(self, *args, timeout=None):
        """Seconds."""
        return self.get(self.go(*args), timeout)


def links(n, *rules):
    """args for Proxy: n links g0, g1, ... with the same rules."""
    def args(p):
        argv = []
        for i in range(n):
            argv += ["--link", f"vhost-user-vsock:{p.dir.name}/g{i}.sock,cid={3 + i},name=g{i}"]
            for rule in rules:
                key, text = rule.split(" ", 1)
                argv += ["--" + key, text.replace("DIR", p.dir.name)]
        return argv
    return args


def path_of(proxy, i):
    return f"{proxy.dir.name}/g{i}.sock"


stop_proxies = Proxy.stop_all.__func__


def stop_all(cls):
    """At the end of each test. Guests first: the proxy says then that they went."""
    for p in Program.running[:]:
        p.stop()
    stop_proxies(cls)


Proxy.stop_all = classmethod(stop_all)
median = statistics.median
