# SPDX-License-Identifier: BSD-3-Clause
"""Guests for tests/e2e: agent.c, a process with the library inside, driven from here.

E2E=plain in the environment: library and proxy as they are shipped; else both sanitized.
"""
import errno
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "proxy", "lib"))
import harness  # noqa: E402
from harness import BUILD, TIMEOUT, Proxy, eq  # noqa: E402

KIND = os.environ.get("E2E", "san")
if KIND == "plain":
    os.environ["AMPSOCK_PROXY"] = os.path.join(BUILD, "ampsock-proxy")
SAN_ENV = {"ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0",
           "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
os.environ.update(SAN_ENV)

INET, INET6, VSOCK, RPMSG = 2, 10, 40, 65
STREAM, DGRAM, SEQPACKET = 1, 2, 5
NONBLOCK = os.O_NONBLOCK
IN, OUT, ERR, HUP, RDHUP = 1, 4, 8, 16, 0x2000
ANY_CID = 0xFFFFFFFF
MSG_PEEK, MSG_TRUNC, MSG_DONTWAIT, MSG_EOR, MSG_WAITALL = 2, 0x20, 0x40, 0x80, 0x100
EAI = {-2: "EAI_NONAME", -3: "EAI_AGAIN", -4: "EAI_FAIL", -6: "EAI_FAMILY", -7: "EAI_SOCKTYPE",
       -8: "EAI_SERVICE", -10: "EAI_MEMORY", -11: "EAI_SYSTEM"}
EVER = 1 << 40

PERIOD = 65521


def make_pattern():
    x, out = 12345, bytearray()
    for _ in range(PERIOD):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append(x >> 24)
    return bytes(out)


PATTERN = make_pattern() * 3


def pattern(at, n, seed=0):
    at = (at + seed) % PERIOD
    while n > len(PATTERN) - at:
        return PATTERN[at:at + PERIOD] + pattern(at + PERIOD, n - PERIOD)
    return PATTERN[at:at + n]


def sa_of(family, addr):
    if family == VSOCK:
        cid, port = addr
        return struct.pack("<HHIIB3x", VSOCK, 0, port, cid, 0)
    if family == RPMSG:  # link, address, name
        return struct.pack("<HHI32s", RPMSG, addr[0], addr[1], addr[2].encode())
    host, port = addr[:2]
    if family == INET:
        return struct.pack("<H", INET) + struct.pack("!H", port) + socket.inet_pton(socket.AF_INET, host) + bytes(8)
    return (struct.pack("<H", INET6) + struct.pack("!HI", port, 0) + socket.inet_pton(socket.AF_INET6, host) +
            struct.pack("<I", 0))


def sa_to(raw):
    if not raw:
        return None
    family = struct.unpack("<H", raw[:2])[0]
    if family == VSOCK:
        port, cid = struct.unpack("<II", raw[4:12])
        return cid, port
    if family == RPMSG:
        link, addr, name = struct.unpack("<HHI32s", raw)[1:]
        return link, addr, name.rstrip(b"\0").decode()
    port = struct.unpack("!H", raw[2:4])[0]
    if family == INET:
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), port
    return socket.inet_ntop(socket.AF_INET6, raw[8:24]), port


def unhex(text):
    return b"" if text == "-" else bytes.fromhex(text)


class Later:
    """The answer to a call that may still run."""

    def __init__(self, what):
        self.what = what
        self.done = threading.Event()
        self.ret, self.err, self.words = -1, errno.ECONNABORTED, []

    def wait(self, timeout=None):
        if not self.done.wait(timeout or TIMEOUT):
            raise AssertionError(f"{self.what}: no answer")
        return self

    def get(self, timeout=None):
        self.wait(timeout)
        if self.ret < 0:
            raise OSError(self.err, f"{self.what}: {errno.errorcode.get(self.err, self.err)}")
        return self.ret


class Guest:
    """One process. Calls as in C; a failed one is an OSError with the guest's errno."""
    running = []

    def __init__(self, path=None, kind=None, fds=()):
        argv = [os.path.join(BUILD, "e2e", "agent-" + (kind or KIND))] + ([path] if path else [])
        self.proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, pass_fds=fds)
        self.lock = threading.Lock()
        self.seq = 0
        self.pending = {0: Later("start")}
        self.lines = []
        ready = self.pending[0]
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self.read, self.read_log)]
        for t in self.threads:
            t.start()
        Guest.running.append(self)
        try:
            ready.get()
        except OSError:
            raise AssertionError("the guest did not start:\n" + "\n".join(self.lines)) from None

    def read(self):
        for line in self.proc.stdout:
            words = line.decode().split()
            with self.lock:
                later = self.pending.pop(int(words[0]))
            later.ret, later.err, later.words = int(words[1]), int(words[2]), words[3:]
            later.done.set()
        with self.lock:
            left, self.pending = self.pending, None
        for later in left.values():
            later.done.set()

    def read_log(self):
        for line in self.proc.stderr:
            self.lines.append(line.decode(errors="replace").rstrip())

    def go(self, *args):
        """Starts a call; returns a Later."""
        later = Later(args[0])
        with self.lock:
            if self.pending is None:
                raise AssertionError("the guest is gone:\n" + "\n".join(self.lines))
            self.seq += 1
            self.pending[self.seq] = later
            text = f"{self.seq} " + " ".join(
                (a.hex() or "-") if isinstance(a, (bytes, bytearray)) else str(a) for a in args)
            try:
                self.proc.stdin.write(text.encode() + b"\n")
                self.proc.stdin.flush()
            except BrokenPipeError:
                pass  # the reader says so
        return later

    def call(self, *args, timeout=None):
        return self.go(*args).get(timeout)

    # -- calls --

    def socket(self, family=INET, kind=STREAM, proto=0):
        return Sock(self, self.call("socket", family, kind, proto), family)

    def tcp(self, addr, family=INET):
        s = self.socket(family)
        s.connect(addr)
        return s

    def getaddrinfo(self, node, service=None, family=0, kind=0, flags=0):
        later = self.go("getaddrinfo", node or "-", service or "-", family, kind, flags).wait()
        if later.ret:
            raise socket.gaierror(later.ret, EAI.get(later.ret, "?"))
        return [sa_to(bytes.fromhex(w)) for w in later.words[1:]]

    def stats(self):
        names = ("used", "max", "rings", "drops", "link_resets", "rx_bad", "resets")
        return dict(zip(names, map(int, self.go("stats").wait().words)))

    def poll(self, timeout, *pairs):
        """pairs: (sock, events); returns revents of each."""
        later = self.go("poll", int(timeout * 1000) if timeout >= 0 else -1,
                        *[x for s, ev in pairs for x in (s.fd, ev)])
        later.get(TIMEOUT + max(timeout, 0))
        return [int(w) for w in later.words]

    # -- end --

    def kill(self):
        Guest.running.remove(self)
        self.proc.kill()
        self.end()

    def end(self):
        self.proc.wait(TIMEOUT)
        for t in self.threads:
            t.join(TIMEOUT)
        for f in (self.proc.stdin, self.proc.stdout, self.proc.stderr):
            try:
                f.close()
            except OSError:
                pass

    def stop(self):
        Guest.running.remove(self)
        try:
            self.proc.stdin.close()
        except OSError:
            pass
        try:
            code = self.proc.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.end()
            raise AssertionError("the guest did not stop") from None
        self.end()
        bad = [x for x in self.lines if "ERROR: " in x or "runtime error" in x or "WARNING: ThreadSan" in x]
        if bad or code:
            raise AssertionError(f"guest: exit {code}:\n" + "\n".join(self.lines))


class Sock:
    def __init__(self, guest, fd, family):
        self.g, self.fd, self.family = guest, fd, family

    def bind(self, addr):
        self.g.call("bind", self.fd, sa_of(self.family, addr))
        return self

    def go_connect(self, addr):
        return self.g.go("connect", self.fd, sa_of(self.family, addr))

    def connect(self, addr, timeout=None):
        self.go_connect(addr).get(timeout)

    def listen(self, backlog=16):
        self.g.call("listen", self.fd, backlog)
        return self

    def go_accept(self, flags=0):
        return self.g.go("accept", self.fd, flags)

    def accept(self, flags=0, later=None):
        later = (later or self.go_accept(flags)).wait()
        fd = later.get()
        return Sock(self.g, fd, self.family), sa_to(bytes.fromhex(later.words[0]))

    def send(self, data, flags=0):
        return self.g.call("sendto", self.fd, bytes(data), flags, b"")

    def sendall(self, data):
        while data:
            data = data[self.send(data):]

    def sendto(self, data, addr, flags=0):
        return self.g.call("sendto", self.fd, bytes(data), flags, sa_of(self.family, addr))

    def go_recv(self, n=65536, flags=0):
        return self.g.go("recvmsg", self.fd, n, flags)

    def recv(self, n=65536, flags=0, timeout=None):
        later = self.go_recv(n, flags)
        later.get(timeout)
        return unhex(later.words[0])

    def recvmsg(self, n=65536, flags=0):
        """length that the call returned, data, source, flags"""
        later = self.go_recv(n, flags)
        ret = later.get()
        return ret, unhex(later.words[0]), sa_to(unhex(later.words[1])), int(later.words[2])

    def recvall(self, n):
        data = b""
        while len(data) < n:
            part = self.recv(n - len(data))
            if not part:
                break
            data += part
        return data

    def pump(self, total, seed=0, chunk=PERIOD):
        return self.g.go("pump", self.fd, total, seed, chunk)

    def drain(self, most=EVER, seed=0):
        return self.g.go("drain", self.fd, most, seed)

    def shutdown(self, how):
        self.g.call("shutdown", self.fd, how)

    def close(self):
        self.g.call("close", self.fd)

    def name(self, peer=False):
        later = self.g.go("name", self.fd, int(peer))
        later.get()
        return sa_to(bytes.fromhex(later.words[0]))

    def getopt(self, level, name, length=4):
        later = self.g.go("getsockopt", self.fd, level, name, length)
        later.get()
        raw = unhex(later.words[0])
        return struct.unpack("<i", raw)[0] if len(raw) == 4 else raw

    def setopt(self, level, name, value):
        raw = struct.pack("<i", value) if isinstance(value, int) else value
        self.g.call("setsockopt", self.fd, level, name, raw)

    def timeout(self, name, seconds):
        self.setopt(1, name, struct.pack("<qq", int(seconds), int(seconds % 1 * 1e6)))

    def nonblock(self, on=True):
        self.g.call("fcntl", self.fd, 4, NONBLOCK if on else 0)

    def readable(self):
        return self.g.call("readable", self.fd)

    def error(self):
        return self.getopt(1, 4)

    def wait(self, events, timeout=TIMEOUT):
        got = self.g.poll(timeout, (self, events))[0]
        if not got:
            raise AssertionError(f"poll: nothing of {events} in {timeout} s")
        return got


def fails(code, fn, *args, **kw):
    """fn(...) must fail with that errno."""
    try:
        got = fn(*args, **kw)
    except OSError as e:
        eq(errno.errorcode.get(e.errno, e.errno), errno.errorcode[code])
        return
    raise AssertionError(f"expected {errno.errorcode[code]}, got {got!r}")


def links(*names):
    """args= of Proxy: links of these names, cids from 3 on, sockets at p.path_of(name)."""
    def args(p):
        out = []
        for i, name in enumerate(names):
            out += ["--link", f"vhost-user-vsock:{path_of(p, name)},cid={3 + i},name={name}"]
        return out
    return args


def path_of(p, name):
    return os.path.join(p.dir.name, name + ".sock")


def settle(p, n=0):
    """Waits until the links of p together have n offloaded sockets, and no flow if n is 0."""
    deadline = time.monotonic() + TIMEOUT
    links_cnt = sum("--link" == a for a in p.proc.args)
    while True:
        start = len(p.lines)
        p.proc.send_signal(signal.SIGUSR1)
        while True:
            told = [x for x in p.lines[start:] if "counters: link=" in x]
            if len(told) == links_cnt:
                break
            with p.cond:
                p.cond.wait(0.2)
            assert time.monotonic() < deadline, "no counters"
        got = [sum(int(x) for x in re.findall(rf" {k}=([0-9]+)", " ".join(told))) for k in ("sockets", "flows")]
        if got[0] == n and (n or not got[1]):
            return
        assert time.monotonic() < deadline, f"sockets, flows: {got}, not {n}"


# Both halves of a test's machinery end with it.
_stop_proxies = Proxy.stop_all.__func__


def _stop_all(cls):
    while Guest.running:
        g = Guest.running[-1]
        try:
            g.stop()
            print("\n".join("# guest: " + x for x in g.lines[-20:]))
        except AssertionError as e:
            print("\n".join("# stop: " + x for x in str(e).splitlines()))
    _stop_proxies(cls)


Proxy.stop_all = classmethod(_stop_all)


def test(fn):
    """A case; guests are stopped inside of it, so that what a sanitizer says fails it."""
    def run():
        fn()
        while Guest.running:
            Guest.running[-1].stop()
        while Proxy.running:
            Proxy.running[-1].stop()
    run.__doc__, run.__name__ = fn.__doc__, fn.__name__
    return harness.test(run)


def main():
    harness.main()
