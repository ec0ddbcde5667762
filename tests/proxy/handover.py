#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""A guest outlives the worker, the program and the helper: rings, memory, kicks, connections."""
import errno
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import ctl  # noqa: E402
from harness import TIMEOUT, Proxy, Server, binary, echo, eq, free_port, main, own_host, test  # noqa: E402
from procs import alive, preload, state, until  # noqa: E402
from store import LAUNCH, Store  # noqa: E402
from vguest import REQUEST, RW, Guest, Reset  # noqa: E402
from vrig import conf_of, configured, dial, exposed, published, works, write_conf  # noqa: E402

EVENT = 2


def confinement(pid):
    """What a worker has given up; the same of each."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        said = dict(line.split(":", 1) for line in f)
    keys = ("Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
    root = os.listdir(f"/proc/{pid}/root") if os.geteuid() == 0 else []
    return [said[k].split() for k in keys] + [root]


class Worker:
    """Which process serves guests now, and the next."""

    def __init__(self, proxy):
        self.p = proxy
        self.pid = proxy.worker_pid()

    def idle(self):
        """It has handled what it was sent, to the end, and sleeps."""
        deadline = time.monotonic() + TIMEOUT
        while state(self.pid) != "S":
            if time.monotonic() > deadline:
                raise AssertionError("the worker does not sleep")

    def kill(self, sig=signal.SIGKILL):
        os.kill(self.pid, sig)
        self.gone()

    def gone(self):
        """Waits until another process serves."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            try:
                pid = self.p.worker_pid()
            except (IndexError, FileNotFoundError):
                pid = self.pid
            if pid != self.pid:
                self.pid = pid
                return
            time.sleep(0.002)
        raise AssertionError("no other worker:\n" + "\n".join(self.p.lines))


def expect_reset(c, what):
    try:
        c.wait(lambda: False)
    except Reset:
        return
    raise AssertionError(f"{what}: no reset")


def rings_whole(g):
    """Every buffer that the driver has given out is with the device or has come back once."""
    want = getattr(g, "tx_all", list(range(g.num)))
    g.wait(lambda: len(g.tx_free) == len(want))
    eq(sorted(g.tx_free), want, "transmit buffers")
    eq((g.avail_idx[0] - g.used_seen[0]) & 0xffff, g.num, "receive buffers with the device")


@test
def killed():
    """the worker is killed: the guest's connections are reset, once; rings go on, new ones work"""
    srv = Server(echo)
    port = free_port()
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}",
              f"publish tcp 127.0.0.1:{port} -> vsock:5000")
    g = Guest(p.path, seqpacket=True)
    g.listen(5000)
    w = Worker(p)
    first = confinement(w.pid)
    works(g)
    p.wait_counter("ends", 0)
    sockets = p.fds()
    for n in range(4):
        idle = g.connect(6000)
        busy = g.connect(6000)
        busy.send(b"x" * 3000)
        eq(busy.recv_exact(3000), b"x" * 3000)
        k = dial(port)
        back = g.accept(5000)
        w.kill()
        for c, what in ((idle, "idle"), (busy, "busy"), (back, "published")):
            expect_reset(c, what)
        eq(k.recv(10), b"", "the host's end") if n % 2 else k.close()
        works(g)
        rings_whole(g)
    eq(confinement(w.pid), first, "what the fifth worker has given up")
    p.wait_counter("ends", 0)
    eq(p.fds(), sockets, "descriptors of the fifth worker")
    eq(g.strays, [], "packets of connections that the guest does not know")
    p.log("goes on with the guest that was attached")
    p.wait_counter("ends", 0)
    g.close()
    p.stop()
    srv.close()


@test
def gap():
    """packets and kicks while there is no worker: nothing is lost, in either ring"""
    srv, p, g = exposed(echo)
    w = Worker(p)
    works(g)
    os.kill(p.proc.pid, signal.SIGSTOP)  # no successor yet
    os.kill(w.pid, signal.SIGKILL)
    conns = [g.new(6000) for _ in range(40)]
    for c in conns:
        c.state = "connecting"
        c.post(REQUEST)
    g.flush()
    os.kill(p.proc.pid, signal.SIGCONT)
    w.gone()
    for c in conns:
        c.wait(lambda c=c: c.state == "open")
    for c in conns:
        c.send(b"y" * 500)
    for c in conns:
        eq(c.recv_exact(500), b"y" * 500)
        c.close()
    rings_whole(g)
    p.wait_counter("ends", 0)
    g.close()
    p.stop()
    srv.close()


@test
def no_kick_seen():
    """the driver had no room for a notification: the successor rings and looks by itself"""
    srv, p, g = exposed(echo)
    w = Worker(p)
    works(g)
    os.kill(p.proc.pid, signal.SIGSTOP)
    os.kill(w.pid, signal.SIGKILL)
    c = g.new(6000)
    c.state = "connecting"
    c.g.raw_send(c.packet(REQUEST))  # and no kick
    for fd in g.call:
        try:
            os.eventfd_read(fd)
        except BlockingIOError:
            pass
    os.kill(p.proc.pid, signal.SIGCONT)
    c.wait(lambda: c.state == "open")
    w.gone()
    c.close()
    rings_whole(g)
    g.close()
    p.stop()
    srv.close()


@test
def mid_traffic():
    """killed with a full ring under way, again and again: every chain comes back exactly once"""
    srv, p, g = exposed(echo, num=64, tx_len=3000)
    w = Worker(p)
    for _ in range(4):
        conns = [g.connect(6000) for _ in range(8)]
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            for c in conns:
                if g.tx_free and c.credit() > 2000:
                    c.post(RW, b"z" * 2000)
                    c.tx_cnt += 2000
                c.fwd_cnt += len(c.rx)
                c.rx.clear()
            g.poll(0)
        os.kill(w.pid, signal.SIGKILL)
        for c in conns:
            expect_reset(c, "busy")
        w.gone()
        rings_whole(g)
        works(g)
    p.wait_counter("ends", 0)
    g.close()
    p.stop()
    srv.close()


@test
def no_receive_buffers():
    """a guest without receive buffers at the time hears of every reset when it has some"""
    srv, p, g = exposed(echo, num=16)
    w = Worker(p)
    conns = [g.connect(6000) for _ in range(100)]
    real, held = g.post_rx, []
    g.post_rx = held.append
    # the proxy's answers eat all of them
    for c in conns:
        c.send(b"q")
    g.wait(lambda: len(held) == 16)
    w.kill()
    for i in range(16):
        real(held[i])
    g.post_rx = real
    g.notify(0)
    for c in conns:
        expect_reset(c, "one of a hundred")
    works(g)
    rings_whole(g)
    g.close()
    p.stop()
    srv.close()


@test
def two_guests():
    """two guests, one of them idle since it was set up, and joined: both go on, with each other too"""
    p = Proxy(args=lambda p: ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g",
                              "--link", f"vhost-user-vsock:{p.path}2,cid=4,name=h", "--join", "g,h"])
    g, h = Guest(p.path), Guest(p.path + "2")
    g.others, h.others = [h], [g]
    h.listen(700)
    w = Worker(p)
    for _ in range(2):
        c = g.new(700, cid=4).open()
        d = h.accept(700)
        c.send(b"hello")
        eq(d.recv_exact(5), b"hello")
        w.kill()
        expect_reset(c, "who asked")
        expect_reset(d, "who was asked")
    rings_whole(g)
    rings_whole(h)
    g.close()
    h.close()
    p.stop()


@test
def clogged_call():
    """a guest whose call makes the writer wait when another worker goes on with it: it alone loses its link"""
    srv = Server(echo)
    p = Proxy(args=lambda p: ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g",
                              "--link", f"vhost-user-vsock:{p.path}2,cid=4,name=h",
                              "--expose", f"vsock:6000 -> tcp 127.0.0.1:{srv.port}"],
              env={"LD_PRELOAD": preload("quicker"), "ASAN_OPTIONS": "verify_asan_link_order=0"})
    g, h = Guest(p.path), Guest(p.path + "2")
    works(h)
    w = Worker(p)
    w.idle()
    if select.select([g.call[0]], [], [], 0)[0]:
        os.eventfd_read(g.call[0])
    os.eventfd_write(g.call[0], 2**64 - 2)
    os.set_blocking(g.call[0], True)
    w.kill()
    works(h)
    p.log("link g: link reset: a call descriptor that makes the writer wait")
    g.close()
    h.close()
    p.stop()
    srv.close()


@test
def before_driver():
    """killed while a VMM is attached whose guest has no driver yet: it is set up afterwards"""
    srv, p, g = exposed(echo, handshake=False)
    w = Worker(p)
    g.request(1, reply=True)
    w.idle()
    w.kill()
    g.handshake()
    works(g)
    # ... and when one ring was stopped: it stays so, and goes on where it was
    base = g.stop_queue(1)
    w.idle()
    w.kill()
    g.start_queue(1, base)
    g.notify(1)
    works(g)
    rings_whole(g)
    g.close()
    p.stop()
    srv.close()


class EventGuest(Guest):
    """With an event queue of its own, as User-mode Linux has it: 4 buffers, or none yet."""

    def __init__(self, *a, buffers=4, **kw):
        self.buffers = buffers
        self.events = []
        super().__init__(*a, **kw)

    def handshake(self):
        self.tx_free.remove(self.num - 1)  # its memory is the event queue's
        self.tx_all = list(self.tx_free)
        self.event_at = self.tx_base + (self.num - 1) * self.tx_len
        self.kick.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        self.call.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        self.avail_idx.append(0)
        self.used_seen.append(0)
        super().handshake()
        self.start_queue(EVENT)
        for i in range(self.buffers):
            self.post_event(i)
        self.notify(EVENT)

    def parts(self, q):
        if q != EVENT:
            return super().parts(q)
        desc = (self.event_at + 127) & ~127
        return desc, desc + 16 * self.num, (desc + 18 * self.num + 6 + 3) & ~3

    def post_event(self, i):
        addr = self.base + self.event_at + self.tx_len - 64 + 8 * i
        self.put_desc(EVENT, i, addr, 8, 2)
        self.offer(EVENT, i)

    def look(self):
        n = super().look()
        for i, length in self.used(EVENT):
            at = self.event_at + self.tx_len - 64 + 8 * i
            self.events.append((length, struct.unpack_from("<I", self.mem, at)[0]))
            n += 1
        return n


@test
def reset_event():
    """a transport reset event where the event queue is ours, also if it has no buffer at the time;
    until the driver has given the buffer back nothing new begins"""
    srv = Server(echo)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}")
    g = EventGuest(p.path, buffers=4)
    w = Worker(p)
    c = g.connect(6000)
    w.kill()
    expect_reset(c, "before the event")
    g.wait(lambda: g.events)
    eq(g.events, [(4, 0)], "events")
    d = g.new(6000)
    d.state = "connecting"
    d.post(REQUEST)
    g.flush()
    eq(g.wait(lambda: d.state == "open", 0.2), False, "answered although the event is not read")
    g.post_event(0)
    g.notify(EVENT)
    d.wait(lambda: d.state == "open")
    d.close()
    g.close()
    p.stop()
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}")
    g = EventGuest(p.path, buffers=0)
    w = Worker(p)
    works(g)
    w.kill()
    g.post_event(0)
    g.notify(EVENT)
    g.wait(lambda: g.events)
    eq(g.events, [(4, 0)], "events of the late buffer")
    g.post_event(0)
    g.notify(EVENT)
    works(g)
    w.kill()  # and one that never gives it back is served nevertheless
    g.wait(lambda: len(g.events) == 2)
    works(g)
    rings_whole(g)
    g.close()
    p.stop()
    srv.close()


@test
def reset_event_late():
    """a guest with an event queue that stood still when the worker was killed, its receive ring full:
    it hears of every reset when it goes on"""
    srv = Server(echo)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", "log-level debug")
    g = EventGuest(p.path, num=16)
    conns = [g.connect(6000) for _ in range(40)]
    real, held = g.post_rx, []
    g.post_rx = held.append
    for c in conns:
        c.send(b"q")
    g.wait(lambda: len(held) == 16)
    Worker(p).kill()
    p.log("the guest does not take its reset event")
    g.post_rx = real
    for i in held:
        real(i)
    g.notify(0)
    for c in conns:
        expect_reset(c, "one of forty")
    works(g)
    rings_whole(g)
    g.close()
    p.stop()
    srv.close()


@test
def published_port():
    """a connection to the guest after a take-over is not taken for one before it, which the guest
    answers only now: it has another port"""
    port, p, g = published()
    g.listen(5000)
    w = Worker(p)

    def received(n):  # packets that lie in the ring
        deadline = time.monotonic() + TIMEOUT
        while (struct.unpack_from("<H", g.mem, g.parts(0)[2] + 2)[0] - g.used_seen[0]) & 0xffff != n:
            if time.monotonic() > deadline:
                raise AssertionError(f"no packet {n}")
            time.sleep(0.002)
    first = dial(port)
    received(1)  # its request
    w.kill()
    received(2)  # its reset
    second = dial(port)
    received(3)
    expect_reset(g.accept(5000), "of the worker before")
    c = g.accept(5000)
    second.sendall(b"question")
    eq(c.recv_exact(8), b"question")
    c.send(b"answer")
    eq(second.recv(100), b"answer")
    eq(first.recv(100), b"", "the first one")
    first.close()
    second.close()
    c.close()
    g.close()
    p.stop()


@test
def restarted_unheard():
    """a guest that restarts before it could be told: its new driver hears of no connection of the old"""
    srv, p, g = exposed(echo, num=16)
    conns = [g.connect(6000) for _ in range(40)]
    real, held = g.post_rx, []
    g.post_rx = held.append
    for c in conns:
        c.send(b"q")
    g.wait(lambda: len(held) == 16)
    Worker(p).kill()
    p.log("goes on with the guest that was attached")
    for q in (0, 1):
        g.stop_queue(q)
    for q in (0, 1):
        at = g.parts(q)[1:]
        for part in at:
            g.mem[part:part + 4] = bytes(4)
        g.avail_idx[q] = g.used_seen[q] = 0
    for q in (0, 1):
        g.start_queue(q)
    p.log("the guest restarted")
    g.conns.clear()
    heard, real_input = [], g.input
    g.input = lambda packet: (heard.append(struct.unpack_from("<H", packet, 30)[0]), real_input(packet))
    g.post_rx = real
    for i in range(16):
        real(i)
    g.notify(0)
    works(g)
    eq(heard.count(3), 1, "resets: of the one connection that there was")
    g.close()
    p.stop()
    srv.close()


@test
def upgrade():
    """SIGUSR2: the same process is another program, the guest goes on, no connect is refused"""
    srv = Server(echo)
    port, udp = free_port(), free_port(socket.SOCK_DGRAM)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}",
              f"publish tcp 127.0.0.1:{port} -> vsock:5000",
              f"publish udp 127.0.0.1:{udp} -> vsock:5001", "publish unix DIR/pub -> vsock:5000")
    pub = os.path.join(p.dir.name, "pub")
    inode = os.stat(pub).st_ino
    g = Guest(p.path, seqpacket=True)
    g.listen(5000)
    w = Worker(p)
    first = confinement(w.pid)
    for n in range(2):
        c = g.connect(6000)
        stop, bad, good = threading.Event(), [], []

        def dial_on(stop=stop, bad=bad, good=good):
            while not stop.is_set():
                for where in (("127.0.0.1", port), pub):
                    try:
                        s = socket.socket(socket.AF_INET if isinstance(where, tuple) else socket.AF_UNIX)
                        s.settimeout(TIMEOUT)
                        s.connect(where)
                        s.close()
                        good.append(where)
                    except ConnectionResetError:
                        pass  # it was taken, and its flow ended with the worker
                    except OSError as e:
                        bad.append((where, e))
                stop.wait(0.002)
        t = threading.Thread(target=dial_on)
        t.start()
        p.proc.send_signal(signal.SIGUSR2)
        w.gone()
        expect_reset(c, "over the upgrade")
        works(g)
        eq(confinement(w.pid), first, "what the new program's worker has given up")
        stop.set()
        t.join(TIMEOUT)
        eq(bad, [], "connects refused")
        if len(good) < 4:
            raise AssertionError(f"only {len(good)} connects")
        eq(os.stat(pub).st_ino, inode, "the socket's file")
        p.log(r"upgrade: executing")
    k = dial(port)
    k.sendall(b"now")
    got = b""
    while got != b"now":  # before it come those that were closed again
        try:
            got = g.accept(5000).recv(3)
        except Reset:
            pass
    k.close()
    rings_whole(g)
    g.close()
    eq(p.stop(), [], "files that are left")
    srv.close()


@test
def upgrade_by_control():
    """ampsockctl upgrade, three times; the control socket and the metrics' answer before and after"""
    srv = Server(echo)
    port = free_port()
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}",
              args=lambda p: ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g", "--control", ctl.path(p),
                              "--metrics", f"tcp 127.0.0.1:{port}"])
    g = Guest(p.path)
    w = Worker(p)
    for _ in range(3):
        c = g.connect(6000)
        eq([x["up"] for x in ctl.ask(p, "links")], [True], "links")
        ctl.run(p, "upgrade")
        w.gone()
        expect_reset(c, "over the upgrade")
        works(g)
        with dial(port) as s:
            s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            eq(s.recv(12), b"HTTP/1.0 200", "metrics")
    eq([x["up"] for x in ctl.ask(p, "links")], [True], "links")
    rings_whole(g)
    g.close()
    eq(p.stop(), [], "files that are left")
    srv.close()


@test
def log_level_stays():
    """a level that was set at run time is the next worker's and the next program's, until the configuration has another"""
    conf = tempfile.NamedTemporaryFile("w", prefix="ampsock-test-", suffix=".conf")

    def write(p, level):
        conf.seek(0)
        conf.truncate()
        conf.write(f"[proxy]\ncontrol = {ctl.path(p)}\nlog-level = {level}\n[link g]\ntype = vhost-user-vsock\npath = {p.path}\ncid = 3\n")
        conf.flush()

    def args(p):
        write(p, "info")
        return ["--config", conf.name]
    p = Proxy(args=args)
    w = Worker(p)

    def upgraded(level, said):
        """said: the helper, too, says what it says at level info."""
        start = len(p.lines)
        ctl.run(p, "upgrade")
        w.gone()
        eq(ctl.ask(p, "status")["log_level"], level)
        if said:
            p.log("upgrade: executing", start=start)
        eq([x for x in p.lines[start:] if "upgrade: executing" in x and not said], [])
    upgraded("info", True)
    ctl.run(p, "log", "level", "debug")
    w.kill()
    eq(ctl.ask(p, "status")["log_level"], "debug", "after a crash")
    upgraded("debug", True)
    upgraded("debug", True)  # and the one after it
    ctl.run(p, "log", "level", "error")
    upgraded("error", False)
    w.kill()
    eq(ctl.ask(p, "status")["log_level"], "error", "after a crash")
    # what the file says new is what holds
    write(p, "warning")
    upgraded("warning", False)
    ctl.run(p, "log", "level", "error")
    write(p, "debug")
    ctl.run(p, "reload")
    eq(ctl.ask(p, "status")["log_level"], "debug")
    upgraded("debug", True)
    p.stop()
    conf.close()


@test
def published_at_run_time():
    """what was published at run time is the next worker's and the next program's, until it is deleted or a reload takes it over"""
    conf = tempfile.NamedTemporaryFile("w", prefix="ampsock-test-", suffix=".conf")

    def write(p, *rules, runtime=None):
        conf.seek(0)
        conf.truncate()
        conf.write("\n".join(["[proxy]", f"control = {ctl.path(p)}", f"runtime-dir = {runtime or p.dir.name}", "[link g]", "type = vhost-user-vsock",
                              f"path = {p.path}", "cid = 3", *rules, ""]))
        conf.flush()

    def args(p):
        write(p)
        return ["--config", conf.name]
    p = Proxy(args=args)
    g = Guest(p.path)
    g.listen(5000)
    w = Worker(p)
    ports = [free_port() for _ in range(3)]
    rules = [f"tcp 127.0.0.1:{port} -> vsock:5000" for port in ports]
    # longer than a message of the helper's has room for
    rules.append(f"vsock-mux {p.dir.name}/{'m' * 40} -> vsock:" + ",".join(f"429496{n}000-429496{n}099" for n in range(8)) + " " * 300)
    for rule in rules:
        ctl.run(p, "publish", "add", "g", rule)
    ctl.run(p, "publish", "del", "g", rules[2])

    def there(*want):
        eq([(r["rule"], r.get("runtime", False)) for r in ctl.ask(p, "rules") if r["kind"] == "publish"], list(want))
        for i, port in enumerate(ports):
            if not any(rules[i] == r for r, _ in want):
                with socket.socket() as s:
                    eq(s.connect_ex(("127.0.0.1", port)), errno.ECONNREFUSED)
                continue
            with dial(port) as k:
                c = g.accept(5000)
                k.sendall(b"hello")
                eq(c.recv_exact(5), b"hello")
                c.close()
    all_of_it = [(rules[0], True), (rules[1], True), (rules[3], True)]
    there(*all_of_it)
    for _ in range(2):
        w.kill()
        there(*all_of_it)
        ctl.run(p, "upgrade")
        w.gone()
        there(*all_of_it)
    # the file has one of them now; another comes after a crash and goes with the next
    write(p, f"publish = {rules[1]}")
    ctl.run(p, "reload")
    w.kill()
    there((rules[1], False), (rules[0], True), (rules[3], True))
    ctl.run(p, "publish", "del", "g", rules[0])
    ctl.run(p, "upgrade")
    w.gone()
    there((rules[1], False), (rules[3], True))
    assert "control characters" in ctl.run(p, "publish", "add", "g", f"unix {p.dir.name}/a\nb -> vsock:1", code=1)
    # what cannot be had any more is said
    unix = f"unix {p.dir.name}/u -> vsock:5000"
    ctl.run(p, "publish", "add", "g", unix)
    ctl.run(p, "publish", "del", "g", rules[3])
    write(p, f"publish = {rules[1]}", runtime="/nowhere")
    ctl.run(p, "upgrade")
    w.gone()
    p.log(f"`{unix}`, published at run time, is no more: cannot listen: expected a path in runtime-dir")
    there((rules[1], False))
    g.close()
    p.stop()
    conf.close()


@test
def control_left_out():
    """a reload without `control`, which takes a restart to change: what was published at run time is the next worker's still"""
    conf = tempfile.NamedTemporaryFile("w", prefix="ampsock-test-", suffix=".conf")

    def write(p, control):
        conf.seek(0)
        conf.truncate()
        conf.write("\n".join(["[proxy]", f"control = {ctl.path(p)}" if control else "", f"runtime-dir = {p.dir.name}", "[link g]",
                              "type = vhost-user-vsock", f"path = {p.path}", "cid = 3", ""]))
        conf.flush()

    def args(p):
        write(p, True)
        return ["--config", conf.name]
    p = Proxy(args=args)
    w = Worker(p)
    rules = [f"tcp 127.0.0.1:{free_port()} -> vsock:5000" for _ in range(2)]
    ctl.run(p, "publish", "add", "g", rules[0])
    write(p, False)
    ctl.run(p, "reload")
    p.log("control takes a restart to change")
    ctl.run(p, "publish", "add", "g", rules[1])  # the helper hears of all of them once more
    for _ in range(2):
        w.kill()
        eq([r["rule"] for r in ctl.ask(p, "rules") if r["kind"] == "publish"], rules)
    ctl.run(p, "upgrade")  # which is a restart
    w.gone()
    until(lambda: not os.path.exists(ctl.path(p)), "the control socket is still there")
    p.stop()
    conf.close()


@test
def many_published_at_run_time():
    """more rules than the helper's socket has room for while it does not listen: told when it does; more text than exec() takes: said, and upgraded"""
    p = Proxy("control DIR/control")
    g = Guest(p.path)
    w = Worker(p)
    c = ctl.Raw(p)
    rules = [f"tcp {own_host()}:{6000 + n} -> vsock:5000".ljust(1000) for n in range(135)]

    def add(some):
        for rule in some:
            assert c.ask({"cmd": "publish-add", "link": "g", "rule": rule})["ok"]

    def upgrade():
        c.ask({"cmd": "upgrade"})
        w.gone()
        return [r["rule"] for r in ctl.ask(p, "rules") if r.get("runtime")]
    p.proc.send_signal(signal.SIGSTOP)
    try:
        add(rules[:20])
    finally:
        p.proc.send_signal(signal.SIGCONT)
    eq(upgrade(), rules[:20])
    c = ctl.Raw(p)
    add(rules[20:])
    kept = upgrade()
    eq(kept, rules[:len(kept)])
    assert 50 < len(kept) < len(rules), len(kept)
    p.log("published at run time, is not kept: there is no room")
    eq([x for x in p.lines if "going on with the present program" in x], [])
    g.close()
    p.stop()


@test
def path_spelled_otherwise():
    """the next program's file has other paths to the same sockets: it goes on listening there, and so do those after it
    (where the old path is gone the sockets are made anew)"""
    def conf(p, via):
        with open(conf_of(p), "w", encoding="ascii") as f:
            f.write(f"[link g]\ntype = vhost-user-vsock\npath = {p.dir.name}/{via}/g.sock\ncid = 3\n"
                    f"publish = unix {p.dir.name}/{via}/pub -> vsock:5000\n")
        return conf_of(p)

    def first(p):
        os.mkdir(f"{p.dir.name}/real")
        os.symlink("real", f"{p.dir.name}/link")
        return ["--config", conf(p, "real")]

    def upgrade(p, w, via):
        conf(p, via)
        at = len(p.lines)
        p.proc.send_signal(signal.SIGUSR2)
        w.gone()
        p.log("goes on with the guest that was attached", start=at)
        p.counters()  # all that it starts is started

    def files(p):
        """Which they are: a new one is younger."""
        return [(st.st_ino, st.st_ctime_ns) for st in (os.stat(f"{p.dir.name}/real/{x}") for x in ("g.sock", "pub"))]

    p = Proxy(args=first)
    g = Guest(f"{p.dir.name}/real/g.sock")
    g.listen(5000)
    w = Worker(p)
    made = files(p)
    upgrade(p, w, "link")
    eq(files(p), made, "other files")
    os.kill(w.pid, signal.SIGSTOP)
    with socket.socket(socket.AF_UNIX) as k:
        k.connect(f"{p.dir.name}/real/pub")
        k.send(b"in the queue")
        w.kill()
        eq(g.accept(5000).recv_exact(12), b"in the queue")
    eq(files(p), made, "other files after a worker's death")
    os.unlink(f"{p.dir.name}/link")
    os.rename(f"{p.dir.name}/real", f"{p.dir.name}/moved")
    os.symlink("moved", f"{p.dir.name}/real")
    upgrade(p, w, "moved")
    with socket.socket(socket.AF_UNIX) as k:
        k.connect(f"{p.dir.name}/moved/pub")
        k.send(b"new")
        eq(g.accept(5000).recv_exact(3), b"new")
    g.close()
    p.proc.terminate()
    eq((p.proc.wait(TIMEOUT), os.listdir(f"{p.dir.name}/moved")), (0, []), "exit status, files that are left")
    eq([x for x in p.lines if "error: " in x and "killed by SIGKILL" not in x], [])
    p.stop()


@test
def any_port():
    """rules with port 0 have the ports that they had, whatever their order is: after an upgrade, a worker's death, a reload"""
    rules = [f"publish = {what} -> {where}" for what in ("tcp 127.0.0.1:0", "udp 127.0.0.1:0", "tcp [::1]:0")
             for where in ("vsock:1", "vsock:2", "inet:3")]
    rules += rules[:1]  # another port for the same
    p = configured("[proxy]", "metrics = tcp 127.0.0.1:0", "[link h]", "type = vhost-user-vsock", "path = DIR/h", "cid = 4", *rules)
    w = Worker(p)
    seen = 0

    def ports():
        """The addresses that it says it has, of each rule, since the last time."""
        nonlocal seen
        p.counters()
        said = [re.search(r": (publish .*) \(.*\): its address is (\S+)|(metrics): listening on (\S+)", x) for x in p.lines[seen:]]
        seen = len(p.lines)
        return sorted((m.group(1) or m.group(3), m.group(2) or m.group(4)) for m in said if m)

    def write(more):
        with open(conf_of(p), "r+", encoding="ascii") as f:
            text = f.read().split("publish")[0]
            f.seek(0)
            f.write(text + "\n".join(more) + "\n")
            f.truncate()
    first = ports()
    eq(len(first), len(rules) + 1)
    write(rules[::-1])
    for how in (signal.SIGUSR2, signal.SIGKILL):
        os.kill(p.proc.pid if how == signal.SIGUSR2 else w.pid, how)
        w.gone()
        eq(ports(), first, how.name)
    # what leads elsewhere has the port from what led here, and keeps it
    write([rules[1].replace("vsock:2", "vsock:7")])
    p.proc.send_signal(signal.SIGHUP)
    p.log("reload: .* rules removed", start=seen)
    (moved,) = ports()
    assert moved[1] in [x[1] for x in first if "tcp 127" in x[0]], (moved, first)
    w.kill()
    eq([x for x in ports() if x[0] != "metrics"], [moved], "after a reload, and a worker's death")
    os.unlink(conf_of(p))
    eq(p.stop(), [], "files that are left")


@test
def upgrade_refused():
    """a program or a configuration that is no good: nothing happens, the log says why"""
    p = configured()
    g = Guest(p.path)
    w = Worker(p)
    write_conf(p, "nonsense = yes")
    p.proc.send_signal(signal.SIGUSR2)
    p.log("upgrade: the program does not take these options")
    eq(p.worker_pid(), w.pid, "worker")
    g.poll(0)
    os.unlink(conf_of(p))
    g.close()
    p.stop()


@test
def crash_loop():
    """a worker that dies again and again is given up after five; the log says how often"""
    p = Proxy()
    g = Guest(p.path)
    w = Worker(p)
    for _ in range(5):
        w.kill(signal.SIGSEGV if "san" not in binary() else signal.SIGKILL)
    os.kill(w.pid, signal.SIGKILL)
    eq(p.proc.wait(TIMEOUT), 1, "exit status")
    p.log("6 worker processes were killed within 60 s: giving up")
    g.close()
    Proxy.running.remove(p)
    p.thread.join(TIMEOUT)
    p.proc.stderr.close()
    eq([x for x in os.listdir(p.dir.name)], [], "files that are left")
    p.dir.cleanup()


class Manager(Store):
    def successor(self, proxy, change=None):
        """What Restart=on-failure does: the same command with LISTEN_FDS. Replaces proxy.proc."""
        argv = list(proxy.proc.args)
        if "--ready-fd" in argv:
            at = argv.index("--ready-fd")
            del argv[at:at + 2]
            self.argv = argv
        proxy.thread.join(TIMEOUT)
        proxy.proc.stderr.close()
        with self.given() as own:
            fds = change(own) if change else own
            proxy.proc = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, ",".join(str(fd) for _, fd in fds),
                 ":".join(name for name, _ in fds)] + self.argv, pass_fds=[fd for _, fd in fds],
                stderr=subprocess.PIPE, env={**os.environ, **self.env()})
        at = len(proxy.lines)
        proxy.thread = threading.Thread(target=proxy.read, daemon=True)
        proxy.thread.start()
        return at


def managed(*rules):
    where = {}

    def args(p):
        where["m"] = Manager(os.path.join(p.dir.name, "notify"))
        p.env.update(where["m"].env())
        return ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g"]
    p = Proxy(*rules, args=args, env={})
    return p, where["m"]


def finish(p, m):
    p.proc.send_signal(signal.SIGTERM)
    p.proc.wait(TIMEOUT)
    m.wait(lambda names: not names)
    m.close()
    os.unlink(m.path)
    return p.stop()


@test
def helper_killed():
    """the helper is killed: the service manager's store has everything, the guest goes on, and a
    stop in good order leaves the store empty"""
    srv = Server(echo)
    port = free_port()
    p, m = managed(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}",
                   f"publish tcp 127.0.0.1:{port} -> vsock:5000")
    g = Guest(p.path)
    g.listen(5000)
    for _ in range(2):
        c = g.connect(6000)
        m.wait(lambda names: sum("-kick" in x for x in names) == 2 and "ampsock-g-journal" in names)
        old = p.worker_pid()
        p.proc.kill()
        p.proc.wait(TIMEOUT)
        at = m.successor(p)
        p.log("goes on with the guest that was attached", start=at)
        expect_reset(c, "over the helper's death")
        k = dial(port)
        g.accept(5000)
        k.close()
        works(g)
        rings_whole(g)
        eq(alive(old), False, "the old worker is alive")
    g.close()
    m.wait(lambda names: not any("-kick" in x for x in names))
    eq(finish(p, m), [], "files that are left")
    srv.close()


def killed():
    """A server, a proxy that is killed when the manager has all of its guest, the manager, and the guest."""
    srv = Server(echo)
    p, m = managed(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}")
    g = Guest(p.path)
    works(g)
    m.wait(lambda names: sum("-kick" in x for x in names) == 2)
    p.proc.kill()
    p.proc.wait(TIMEOUT)
    return srv, p, m, g


@test
def failed_start():
    """a successor that cannot start, as a new rule's port is another's: the store stays for the next, the guest goes on"""
    srv, p, m, g = killed()
    m.successor(p)
    p.log("goes on with the guest that was attached")
    works(g)
    p.proc.kill()
    p.proc.wait(TIMEOUT)
    good = m.argv
    with socket.create_server(("127.0.0.1", 0)) as other:
        p.proc.args = m.argv = good + ["--publish", f"tcp 127.0.0.1:{other.getsockname()[1]} -> vsock:5000"]
        m.successor(p)
        eq(p.proc.wait(TIMEOUT), 1, "exit status")
    p.proc.args = m.argv = good
    at = m.successor(p)
    p.log("goes on with the guest that was attached", start=at)
    works(g)
    rings_whole(g)
    g.close()
    m.wait(lambda names: not any("-kick" in x for x in names))
    eq(finish(p, m), [], "files that are left")
    srv.close()


def refused(change, why):
    """A successor with a store that is no good: the link is given up, another VMM can come."""
    srv, p, m, g = killed()
    at = m.successor(p, lambda pairs: change(pairs, g))
    p.log(why, start=at)
    p.log("waiting for a VMM", start=at)
    g.close()
    h = Guest(p.path)
    works(h)
    h.close()
    finish(p, m)
    srv.close()


def journal_of(pairs):
    return next(fd for name, fd in pairs if name == "ampsock-g-journal")


def poke(at, data):
    def change(pairs, _g):
        os.pwrite(journal_of(pairs), data, at)
        return pairs
    return change


def missing(what):
    return lambda pairs, g: [x for x in pairs if what not in x[0]]


def swap(a, b):
    """Another descriptor than the one that the name says."""
    def change(pairs, _g):
        fds = dict(pairs)
        other = next(fd for name, fd in pairs if b in name)
        return [(n, other if a in n else fd) for n, fd in fds.items()]
    return change


@test
def garbage():
    """a store that was tampered with: wrong version, missing or exchanged descriptors, nonsense in
    every field: refused with a reason, and the process serves on"""
    no = "cannot go on with the guest that was attached"
    refused(poke(4, b"\xff"), no)                       # version
    refused(poke(12, b"\x09"), "CID is another one")
    refused(poke(16, b"\x01"), "while its VMM was setting the device up")
    refused(poke(20, b"\x07"), "none of this version")
    refused(missing("-kick"), "was not kept")
    refused(swap("-mem", "-kick"), "link reset: memory region 0: not a file")
    refused(swap("-conn", "-mem"), no)


@test
def garbage_record():
    """every byte of the record is 0xff once: what comes of it is the link's affair"""
    rng = __import__("random").Random(7)
    p, m = managed()
    g = Guest(p.path)
    m.wait(lambda names: sum("-kick" in x for x in names) == 2)
    for n in range(12):
        p.proc.kill()
        p.proc.wait(TIMEOUT)

        def change(pairs):
            fd = journal_of(pairs)
            size = 56 + 36 * 8 + 40 * 4
            for _ in range(1 + n % 3):
                at = 32 + rng.randrange(2) * size + rng.randrange(12, size)
                os.pwrite(fd, bytes([rng.choice((0xff, 0x80, 1, 0x7f))]), at)
            for _ in range(50):  # connections, too
                os.pwrite(fd, rng.randbytes(4), 32 + 2 * size + 4 * rng.randrange(60000))
            return pairs
        at = m.successor(p, change)
        p.log("waiting for a VMM|goes on with the guest", start=at)
        g.close()
        m.wait(lambda names: "ampsock-g-journal" not in names)
        g = Guest(p.path)
        m.wait(lambda names: sum("-kick" in x for x in names) == 2)
    g.close()
    finish(p, m)


if __name__ == "__main__":
    main()
