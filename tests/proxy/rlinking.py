#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 240
"""rpmsg-shm: whoever comes late, restarts, vanishes or lies, and the neighbours that must not notice."""
import os
import random
import signal
import socket
import statistics
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import offload as off  # noqa: E402
from harness import Proxy, Server, echo, eq, free_port, main, ping, test  # noqa: E402
from rpmsgguest import (ANY, CREDIT, DA, DATA, HDR, NS, NS_ADDR, REQUEST, RPMSG, RX, TX, EventBell, NoBell,  # noqa: E402
                        Remote, UnixBell)
from rpmsgrig import Rig  # noqa: E402
from vguest import Reset  # noqa: E402


def forever(s):
    while True:
        s.sendall(b"f" * 65536)


def link(path, bell, name, more=""):
    return ["--link", f"rpmsg-shm:{path},da={DA:#x},bell={bell},name={name}{more}"]


@test
def late_remote():
    """everything comes after the proxy: bell, file, table, boot; each is named once in the log"""
    srv = Server(echo)
    p = Proxy("expose rpmsg:e -> tcp 127.0.0.1:%d" % srv.port,
              args=lambda p: link(f"{p.dir.name}/ram", f"unix:{p.dir.name}/bell", "g"))
    path = os.path.join(p.dir.name, "ram")
    p.log("waiting for the doorbell .*No such file")
    bell = UnixBell(os.path.join(p.dir.name, "bell"))
    p.log("waiting: .*ram: No such file")
    r = Remote(path, bell, start=False, load=False)
    p.log("waiting: no good resource table at 0x21000000 in .*ram: no resource table")
    r.load()
    p.log("waiting: the remote to start")
    deadline = time.monotonic() + 0.6
    while time.monotonic() < deadline:
        bell.wait(0.05)
    lines = len(p.lines)
    r.boot()
    r.wait_up()
    ping(r.connect("e"))
    eq([x for x in p.lines[lines:] if "waiting" in x], [], "said again")
    eq(lines, 4, "lines while waiting")
    r.close()
    os.unlink(path)
    p.stop()
    srv.close()


@test
def late_proxy():
    """the remote is up long before the proxy; a file that is too short says so and is taken when it has grown"""
    srv = Server(echo)
    g = Rig("expose rpmsg:e -> tcp 127.0.0.1:%d" % srv.port, start=False)
    g.p.stop()
    os.makedirs(g.p.dir.name, exist_ok=True)
    ram, bell = os.path.join(g.p.dir.name, "ram2"), UnixBell(os.path.join(g.p.dir.name, "bell2"))
    r = Remote(ram, bell, start=False)
    r.boot()
    p = Proxy("expose rpmsg:e -> tcp 127.0.0.1:%d" % srv.port,
              args=lambda p: link(ram, bell.arg(), "g", ",size=2M"))
    p.log("ram2 has 1048576 bytes, less than offset and size say .2097152")
    os.truncate(ram, 2 << 20)
    r.wait_up()
    ping(r.connect("e"))
    r.close()
    p.stop()
    srv.close()
    os.unlink(ram)
    os.rmdir(g.p.dir.name)


def restarts(times, act, **kw):
    """Flows run, act(r) restarts the remote, everything works again, nothing is left over."""
    ends = []

    def serve(s):
        try:
            forever(s)
        except OSError as e:
            ends.append(type(e).__name__)
    srv, ok = Server(serve), Server(echo)
    port = free_port()
    g = Rig(f"expose rpmsg:f -> tcp 127.0.0.1:{srv.port}", f"expose rpmsg:e -> tcp 127.0.0.1:{ok.port}",
            f"allow out tcp 127.0.0.1:{srv.port}", f"publish tcp 127.0.0.1:{port} -> rpmsg:web", **kw)
    before = None
    for i in range(times):
        s = off.Session(g.r)
        for c in (g.r.connect("f"), s.connect("127.0.0.1", srv.port)):
            g.r.wait(lambda c=c: len(c.rx) > 20000)
        ping(g.r.connect("e"))
        g.r.listen("web")
        g.r.wait(lambda: False, 0.01)
        k = socket.create_connection(("127.0.0.1", port), timeout=20)
        ping_k = g.r.accept("web")
        k.sendall(b"x")
        eq(ping_k.recv_exact(1), b"x")
        if before is None:
            before = g.p.fds()
        eq(g.p.fds(), before, "descriptors")
        lives = g.p.counters()["attached"]
        act(g.r)
        try:
            eq(k.recv(1), b"not this")
        except ConnectionResetError:
            pass
        k.close()
        g.r.wait_up()
        g.p.wait_counter("attached", lives + 1)
        for name in ("flows", "sockets", "ends"):
            g.p.wait_counter(name, 0)
        try:  # the new life has announced nothing yet
            with socket.create_connection(("127.0.0.1", port), timeout=20) as k:
                raise AssertionError(f"got {k.recv(1)!r}")
        except ConnectionResetError:
            pass
        g.p.log("the remote has not announced it")
    ping(g.r.connect("e"))
    for t in srv.threads:
        t.join(20)
    eq(len(ends), 2 * times)
    g.restart_and_close(srv)
    ok.close()


@test
def reset_remote():
    """a machine's reset, ten times in mid-transfer: the table is loaded anew, flows end, TCP peers see a reset"""
    restarts(10, lambda r: r.reboot())


@test
def warm_reset():
    """a warm reset that leaves the table and its DRIVER_OK standing"""
    restarts(10, lambda r: r.reboot(load=False))


@test
def reset_slowly():
    """a reset whose firmware takes a while to boot: the host's question is there when it does"""
    def slow(r):
        r.went_down()
        r.fresh()
        r.load()
        r.ring()
        deadline = time.monotonic() + 20
        while not r.host_epoch() and time.monotonic() < deadline:
            r.bell.wait(0.05)
        r.boot()
    restarts(3, slow)


@test
def reset_polled():
    """resets that nobody rings for"""
    restarts(3, lambda r: r.reboot(), bell="poll")


@test
def many_lives():
    """two hundred lives: no descriptor, end or buffer is lost"""
    srv = Server(echo)
    g = Rig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", num=8)
    ping(g.r.connect("e"))
    before = g.p.fds()
    for _ in range(200):
        g.r.reboot(load=random.random() < 0.5)
        g.r.wait_up()
        c = g.r.connect("e")
        ping(c)
    eq(g.p.fds(), before, "descriptors")
    for _ in range(64):  # eight buffers each way, all still there
        ping(c)
    g.r.reboot()
    g.p.wait_counter("flows", 0)
    eq(g.p.counters()["rx_bad"], 0)
    if len(g.p.lines) > 100:
        raise AssertionError(f"{len(g.p.lines)} lines of log")
    g.r.wait_up()
    g.close()
    srv.close()


@test
def killed_proxy():
    """SIGKILL of the proxy while the remote runs: the next one asks for a new epoch; sockets end once"""
    srv = Server(echo)
    g = Rig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", start=True)
    keep = g.p
    for i in range(5):
        c = g.r.connect("e")
        ping(c)
        lives = g.r.lives
        if i == 0:
            keep.proc.send_signal(signal.SIGKILL)
            keep.proc.wait(20)
            Proxy.running.remove(keep)
        else:
            p.stop(signal.SIGKILL)
        g.r.wait(lambda: False, 0.05)
        p = Proxy(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}",
                  args=lambda _: link(g.r.path, g.bell.arg(), "g"))
        g.r.wait(lambda: g.r.lives > lives)
        eq(g.r.lives, lives + 1)
        eq(c.state, "reset")
    ping(g.r.connect("e"))
    # in good order the remote hears at once
    p.stop()
    g.r.wait(lambda: not g.r.up)
    g.r.close()
    os.unlink(g.r.path)
    keep.dir.cleanup()
    srv.close()


@test
def no_epochs():
    """a remote without our configuration space: its status alone decides; a proxy that restarts serves it again"""
    srv = Server(echo)
    g = Rig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", epochs=False)
    c = g.r.connect("e")
    ping(c)
    g.r.reboot()
    g.r.wait_up()
    ping(g.r.connect("e"))
    g.restart_and_close(srv)


@test
def bell_goes():
    """the doorbell's other end goes and comes back: the remote is asked anew"""
    srv = Server(echo)
    g = Rig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}")
    for _ in range(3):
        c = g.r.connect("e")
        ping(c)
        lives = g.r.lives
        g.bell.hang_up()
        g.p.log("remote detached: its doorbell is gone")
        g.r.wait(lambda: g.r.lives > lives)
        eq(c.state, "reset")
    ping(g.r.connect("e"))
    g.restart_and_close(srv)


@test
def truncated():
    """the file is cut short under a running link: only that link ends, and works again when it is whole"""
    srv = Server(forever)
    ok = Server(echo)
    bells = []

    def args(p):
        bells.extend([NoBell(), UnixBell(f"{p.dir.name}/bell")])
        a = []
        for name, bell in zip("gh", bells):
            a += link(f"{p.dir.name}/{name}", bell.arg(), name)
            a += ["--expose", f"rpmsg:e -> tcp 127.0.0.1:{ok.port}", "--expose",
                  f"rpmsg:f -> tcp 127.0.0.1:{srv.port}"]
        return a
    p = Proxy(args=args)
    g = Remote(f"{p.dir.name}/g", bells[0])
    h = Remote(f"{p.dir.name}/h", bells[1])
    c = h.connect("e")
    for i in range(3):
        f = g.connect("f")
        g.wait(lambda: len(f.rx) > 20000)
        n = len(p.lines)
        os.truncate(g.path, 4096 if i else 0)
        p.log("link g: link reset: .*cut short by its owner", start=n)
        p.log("link g: waiting: .* bytes, none at|link g: waiting: no good", start=n)
        ping(c)
        os.truncate(g.path, 1 << 20)
        g.reboot()
        g.wait_up()
        ping(g.connect("e"))
    ping(c)
    g.close()
    h.close()
    p.stop()
    srv.close()
    ok.close()


@test
def replaced():
    """another file under the same name: the link moves there"""
    srv = Server(echo)
    g = Rig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", bell="poll")
    ping(g.r.connect("e"))
    os.unlink(g.r.path)
    r = Remote(g.r.path, NoBell())
    g.p.log("link reset: .*replaced")
    ping(r.connect("e"))
    r.reboot()
    r.wait_up()
    r.close()
    g.close()
    srv.close()


@test
def replaced_by_less():
    """a smaller file before the remote started, in which the table cannot be: it waits, and stops in good order"""
    path = []

    def args(p):
        path.append(f"{p.dir.name}/ram")
        return link(path[0], "poll:1", "g", f",table={DA + 0x800000:#x}")
    p = Proxy(args=args)
    r = Remote(path[0], NoBell(), start=False, table=0x800000, size=16 << 20)
    p.log("waiting: the remote to start")
    os.unlink(path[0])
    with open(path[0], "wb") as f:
        f.truncate(4096)
    p.log("the resource table's address .* is outside of the window")
    r.close()
    p.stop()


@test
def two_hosts():
    """a second link or process at the same table: it waits and says so, the first is not disturbed"""
    srv = Server(echo)
    g = Rig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", bell="poll")
    c = g.r.connect("e")
    ping(c)
    os.symlink(g.r.path, g.r.path + "2")
    p = Proxy(args=lambda _: link(g.r.path, "poll:1", "second") +
              link(g.r.path + "2", "poll:1", "third", f",table={DA:#x}"))
    p.log("link second: waiting: another link or process serves the resource table in")
    p.log("link third: waiting: another link or process serves the resource table in")
    lives = g.r.lives
    for _ in range(50):
        ping(c)
    eq(g.r.lives, lives)
    g.p.stop(signal.SIGKILL)
    g.r.wait(lambda: g.r.lives > lives)  # one of them has it now
    p.log("remote attached")
    eq(sum("remote attached" in x for x in p.lines), 1)
    g.r.close()
    p.stop()
    srv.close()


@test
def full_bell():
    """a remote that fills the eventfd that we ring: it alone hears nothing, neighbours go on"""
    srv = Server(echo)
    bells = []

    def args(p):
        bells.extend([EventBell(), UnixBell(f"{p.dir.name}/b1")])
        os.set_blocking(bells[0].rx, True)
        return link(f"{p.dir.name}/g", bells[0].arg(), "g") + link(f"{p.dir.name}/h", bells[1].arg(), "h") + \
            ["--expose", f"rpmsg:e -> tcp 127.0.0.1:{srv.port}"]
    p = Proxy(args=args, fds=lambda: bells[0].fds())
    h = Remote(f"{p.dir.name}/h", bells[1])
    c = h.connect("e")
    ping(c)
    bells[0].wait(0)
    os.eventfd_write(bells[0].rx, 0xfffffffffffffffe)
    time.sleep(0.5)  # the loop sleeps, its alarm, too
    g = Remote(f"{p.dir.name}/g", bells[0], start=False)  # it is asked to start, and the bell is rung
    p.log("link g: waiting: the remote to start")


    def usual(ring):
        """the time of the usual answer, which is that of one to wait for if half of them have to wait"""
        took = []
        for _ in range(60):
            t = time.monotonic()
            ring()
            ping(c)
            took.append(time.monotonic() - t)
        return statistics.median(took)

    def restart():
        g.u32[g.vdev(g.CONFIG + 8) // 4] = random.getrandbits(32)
        g.ring()
    # a call that blocks ends with the loop's alarm, 100 ms later; a slow machine is slow with and without
    alone, beside = usual(lambda: None), usual(restart)
    if beside > 10 * alone + 0.05:
        raise AssertionError(f"an answer took {beside} s, without the full bell {alone} s")
    g.close()
    h.close()
    p.stop()
    srv.close()


@test
def isolated():
    """two remotes in one file: no service, rule or session of the other; a liar's neighbour goes on"""
    srv = Server(echo)
    bells = []

    def args(p):
        bells.extend([UnixBell(f"{p.dir.name}/bell0"), UnixBell(f"{p.dir.name}/bell1")])
        return link(f"{p.dir.name}/ram", bells[0].arg(), "g", ",table=0x21000000") + \
            ["--expose", f"rpmsg:mine -> tcp 127.0.0.1:{srv.port}", "--allow", f"out tcp 127.0.0.1:{srv.port}"] + \
            link(f"{p.dir.name}/ram", bells[1].arg(), "h", ",table=0x21080000") + \
            ["--expose", f"rpmsg:yours -> tcp 127.0.0.1:{srv.port}"]
    p = Proxy(args=args)
    g = Remote(f"{p.dir.name}/ram", bells[0], carve=(0x10000, 0x60000))
    h = Remote(f"{p.dir.name}/ram", bells[1], table=0x80000, carve=(0x90000, 0x60000))
    c = h.connect("yours")
    ping(c)
    g.lookup("mine~s")
    eq(sorted(g.services), ["ampsock~s", "mine~s"])
    eq(sorted(h.services), ["ampsock~s", "yours~s"])
    gs, hs = off.Session(g), off.Session(h)
    hs.token = gs.token
    try:
        hs.connect("127.0.0.1", srv.port)
        raise AssertionError("used the other's session")
    except off.Refused as e:
        eq(e.status, "ESTALE")
    for _ in range(3):
        lives = g.lives
        g.raw_post(b"short")
        g.ring()
        g.wait(lambda: g.lives > lives)
        ping(c)
    g.close()
    ping(c)
    h.close()
    p.stop()
    srv.close()


# ---- lies ----

def used_id(r):
    """a used entry whose id is no descriptor"""
    r.next(TX)
    r.give(TX, 0x7fff, 100)
    r.ring()


def used_jump(r):
    """a used index beyond what was ever offered"""
    r.used_idx[TX] = (r.used_idx[TX] + 1000) & 0xffff
    r.u16[r.base[TX][2] // 2 + 1] = r.used_idx[TX]
    r.ring()


def used_back(r):
    """a used index that goes backwards"""
    r.u16[r.base[TX][2] // 2 + 1] = (r.used_idx[TX] - 5) & 0xffff
    r.ring()


def used_len(r):
    """more bytes used than the buffer has"""
    i, _, _ = r.next(TX)
    r.give(TX, i, 0xffffffff)
    r.ring()


def rx_id(r):
    """the other ring: a buffer back that was not sent"""
    r.give(RX, 0x7fff, 0)
    for i in range(40):  # each is answered at that door, until the proxy wants buffers back
        r.raw_post(RPMSG.pack(i + 1, NS_ADDR, 0, 40, 0) + NS.pack(b"ampsock~s", i + 1, 0))
        r.ring()
        r.bell.wait(0.01)


def hdr_len(r):
    """a header that claims 65535 bytes"""
    r.raw_post(RPMSG.pack(5, 6, 0, 0xffff, 0))
    r.ring()


def hdr_short(r):
    """a message shorter than a header"""
    r.raw_post(b"0123456789")
    r.ring()


RING_LIES = [used_id, used_jump, used_back, used_len, rx_id, hdr_len, hdr_short]


@test
def ring_lies():
    """rings and headers that lie: the link is reset with one line, and serves again in the next epoch"""
    srv = Server(echo)
    g = Rig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}")
    for lie in RING_LIES:
        c = g.r.connect("e")
        ping(c)
        n, lives = len(g.p.lines), g.r.lives
        lie(g.r)
        if not g.r.wait(lambda: g.r.lives > lives):
            raise AssertionError(f"{lie.__doc__}: not served again")
        eq(c.state, "reset", lie.__doc__)
        resets = [x for x in g.p.lines[n:] if "link reset" in x or "broke a rule" in x]
        eq(len(resets), 1, f"{lie.__doc__}: {resets}")
    ping(g.r.connect("e"))
    g.restart_and_close(srv)


@test
def message_lies():
    """malformed announcements and stream messages: counted, said, and the link goes on"""
    srv = Server(echo)
    g = Rig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", f"publish tcp 127.0.0.1:{free_port()} -> rpmsg:web")
    c = g.r.connect("e")
    ping(c)
    e = g.r.lookup("e~s")
    lies = [(NS_ADDR, b""), (NS_ADDR, b"x" * 39), (NS_ADDR, b"n" * 32 + bytes(8)), (NS_ADDR, bytes(40)),
            (NS_ADDR, NS.pack(b"web~s", ANY, 0)), (0x99999, b"to nobody"), (e, b""), (e, b"1234567"),
            (e, HDR.pack(REQUEST, 0, 0, 0)), (e, HDR.pack(REQUEST, 0, 0, 0) + b"x" * 16),
            (e, HDR.pack(DATA, 0, 0, 0) + b"data"), (e, HDR.pack(99, 0, 0, 0)),
            (c.peer, HDR.pack(DATA, 0, c.peer_tag ^ 1, 0) + b"another tag"), (c.peer, b"")]
    for dst, data in lies:
        g.r.post(c.addr, dst, data)
    g.r.flush()
    ping(c)
    # what is for the connection and wrong costs the connection
    for bad in (HDR.pack(CREDIT, 0, c.peer_tag, 0x7fffffff), HDR.pack(REQUEST + 0x60, 0, c.peer_tag, 0)):
        c = g.r.connect("e")
        ping(c)
        bad = bad[:2] + struct.pack("<H", c.peer_tag) + bad[4:]
        g.r.post(c.addr, c.peer, bad)
        g.r.flush()
        try:
            c.wait(lambda: False)
        except Reset:
            pass
    # announcements without end: only the names of rules are kept
    for i in range(3000):
        g.r.post(7, NS_ADDR, NS.pack(b"svc%d" % i, i + 1, 0))
    g.r.flush()
    c = g.r.connect("e")
    ping(c)
    eq(g.p.counters()["attached"], 1)
    g.restart_and_close(srv)


@test
def more_than_credit():
    """a remote that sends more than its credit: the connection is reset, the link goes on"""
    port = free_port()
    quiet = Server(lambda s: time.sleep(20) if s.recv(1) == b"never" else s.recv(1))
    g = Rig(f"expose rpmsg:q -> tcp 127.0.0.1:{quiet.port}", f"publish tcp 127.0.0.1:{port} -> rpmsg:w")
    g.r.listen("w")
    g.r.wait(lambda: False, 0.05)
    k = socket.create_connection(("127.0.0.1", port), timeout=20)
    k.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    c = g.r.accept("w")
    c.peer_window = 1 << 30  # ignores what it was given
    try:
        for _ in range(20000):
            c.post(DATA, b"x" * 480)
            if c.state == "reset":
                break
        g.r.flush()
        c.wait(lambda: False)
    except Reset:
        pass
    eq(c.state, "reset")
    eq(g.p.counters()["attached"], 1)
    k.close()
    g.close()
    quiet.close()


def mutations(image):
    """Tables that are wrong in one word, and some that are random."""
    rnd = random.Random(7)
    for at in range(0, len(image), 4):
        for v in (0, 1, 3, 0x7fffffff, 0x80000000, ANY - 3, ANY, rnd.getrandbits(32)):
            t = bytearray(image)
            struct.pack_into("<I", t, at, v)
            yield bytes(t)
    for _ in range(200):
        t = bytearray(image)
        for _ in range(rnd.randrange(1, 8)):
            t[rnd.randrange(len(t))] = rnd.getrandbits(8)
        yield bytes(t)


@test
def table_lies():
    """resource tables wrong in any word, before and while the link is up: nothing happens to the proxy"""
    srv = Server(echo)
    g = Rig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", bell="eventfd")
    good = g.r.image()
    for i, t in enumerate(mutations(good)):
        g.r.mem[:len(t)] = t
        if i % 3 == 0:  # and a remote that repeats whatever stands there
            g.r.u32[g.r.vdev(g.r.CONFIG + 4) // 4] = g.r.host_epoch()
        g.r.ring()
        if i % 16 == 0:
            g.p.counters()  # it has looked
    g.r.mem[:] = bytes(g.r.size)
    g.r.reboot()
    g.r.wait_up()
    ping(g.r.connect("e"))
    g.restart_and_close(srv)


@test
def random_memory():
    """a remote that writes noise into rings and table while flows run: its own link, nobody else's"""
    srv, ok = Server(forever), Server(echo)
    bells = []

    def args(p):
        bells.extend([UnixBell(f"{p.dir.name}/b0"), UnixBell(f"{p.dir.name}/b1")])
        return link(f"{p.dir.name}/g", bells[0].arg(), "g") + \
            ["--expose", f"rpmsg:f -> tcp 127.0.0.1:{srv.port}"] + \
            link(f"{p.dir.name}/h", bells[1].arg(), "h") + ["--expose", f"rpmsg:e -> tcp 127.0.0.1:{ok.port}"]
    p = Proxy(args=args)
    h = Remote(f"{p.dir.name}/h", bells[1])
    g = Remote(f"{p.dir.name}/g", bells[0])
    c = h.connect("e")
    rnd = random.Random(11)
    for i in range(30):
        try:
            f = g.connect("f")
            g.wait(lambda: len(f.rx) > 5000, 2)
        except (Reset, TimeoutError):
            pass
        desc = g.base[0][0]
        for _ in range(rnd.choice((1, 3, 50))):
            at = rnd.choice((desc + rnd.randrange(4096), rnd.randrange(216), g.carve[0] + rnd.randrange(0x20000)))
            g.mem[at] = rnd.getrandbits(8)
        g.ring()
        ping(c)
        g.reboot()
        g.wait(lambda: g.up)
        if not g.up:
            raise AssertionError(f"not served again after {i}")
    g.close()
    ping(c)
    h.close()
    p.stop()
    srv.close()
    ok.close()


@test
def flip_flop():
    """epochs that change without end: lives are counted, the log is bounded, the loop sleeps in between"""
    g = Rig("expose rpmsg:e -> tcp 127.0.0.1:1", bell="eventfd")
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        g.r.u32[g.r.vdev(g.r.CONFIG + 4) // 4] = random.choice((0, g.r.host_epoch()))
        g.r.ring()
    if len(g.p.lines) > 60:
        raise AssertionError(f"{len(g.p.lines)} lines of log")
    if g.p.counters()["attached"] > 400:
        raise AssertionError("lives without pause")
    g.r.reboot()
    g.r.wait_up()
    g.close()


@test
def idle():
    """a link that waits for its file, table or remote takes no time to speak of"""
    def cpu(p):
        with open(f"/proc/{p.worker_pid()}/stat", encoding="ascii") as f:
            v = f.read().rsplit(")", 1)[1].split()
        return (int(v[11]) + int(v[12])) / os.sysconf("SC_CLK_TCK")
    p = Proxy(args=lambda p: link(f"{p.dir.name}/ram", f"unix:{p.dir.name}/bell", "g") +
              link(f"{p.dir.name}/ram2", f"unix:{p.dir.name}/bell2", "h"))
    bell = UnixBell(f"{p.dir.name}/bell2")
    r = Remote(f"{p.dir.name}/ram2", bell, start=False)
    r.wait(lambda: bell.conn)
    before = cpu(p)
    time.sleep(1.5)
    used = cpu(p) - before
    if used > 0.15:
        raise AssertionError(f"{used} s")
    r.close()
    p.stop()


main()
