#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 180
"""rpmsg-char: the kernel is the rpmsg host, with an endpoint device for each connection."""
import contextlib
import hashlib
import os
import select
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import offload as off  # noqa: E402
from charkernel import CharRig, Kernel, KernelRemote  # noqa: E402
from harness import Proxy, Server, echo, eq, fd_limits, free_port, limit_fds, main, ping, test  # noqa: E402
from procs import state, until  # noqa: E402
from rpmsgguest import ANY, HDR, HELLO, MAGIC, REQUEST, RST, Raw  # noqa: E402
from vguest import SEND, Reset  # noqa: E402


def forever(s):
    while True:
        s.sendall(b"f" * 65536)


def dial(r, port, arrived):
    """A connection to a published port, which the proxy takes as soon as it has looked the name up; until then it resets
    who comes. arrived(): the remote has it."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionResetError):  # it was quick
            k = socket.create_connection(("127.0.0.1", port), timeout=20)
            r.wait(lambda k=k: arrived() or select.select([k], [], [], 0)[0])
            if arrived():
                return k
            k.close()
        time.sleep(0.1)  # more often, and the log would hold lines back
    raise AssertionError("the proxy does not find the name")


@test
def expose():
    """expose tcp: told at the front door; one endpoint a connection that the remote opens, none left behind"""
    srv = Server(echo)
    g = CharRig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", f"expose rpmsg:@0x77 -> tcp 127.0.0.1:{srv.port}",
                f"expose rpmsg:no -> tcp 127.0.0.1:{free_port()}")
    g.r.lookup("no~s")
    eq(sorted(g.r.services), ["ampsock~s", "e~s", "no~s"])
    eq({h[3] for h in g.r.heard}, {"door"})
    before = len(g.k.eps)
    c = g.r.connect("e")
    ping(c, os.urandom(100000))
    eq(len(g.k.eps), before + 1)
    d = g.r.connect(0x77)
    ping(d)
    for x in (c, d):
        x.close()
    try:
        g.r.connect("no")
        raise AssertionError("connected")
    except Reset:
        pass
    g.p.wait_counter("endpoints", before)
    g.close()
    srv.close()


@test
def publish():
    """publish tcp by name and address: the second endpoint sends where the answer says; both EOFs; refusals"""
    port, at, nobody = free_port(), free_port(), free_port()
    g = CharRig(f"publish tcp 127.0.0.1:{port} -> rpmsg:web", f"publish tcp 127.0.0.1:{nobody} -> rpmsg:other",
                f"publish tcp 127.0.0.1:{at} -> rpmsg:@0x9999")
    seen = []
    web = g.r.listen("web")
    real = web.input
    web.input = lambda src, data: (seen.append((src, data)), real(src, data))
    data = os.urandom(300000)
    k = dial(g.r, port, lambda: web.accepted)
    c = g.r.accept("web")
    g.p.wait_counter("endpoints", 3)  # our service's, and two for the connection
    op, flags, tag, _ = HDR.unpack(seen[0][1][:8])
    eq((op, flags, tag), (REQUEST, 1, 0), "REQUEST says that more comes from elsewhere")
    eq(HELLO.unpack(seen[0][1][8:])[4], seen[0][0], "and where it is")
    with g.r.pumped():
        k.sendall(data)
        k.shutdown(socket.SHUT_WR)
    eq(hashlib.sha256(c.recv_exact(len(data))).digest(), hashlib.sha256(data).digest())
    eq(c.recv(), b"")
    c.send(b"bye")
    c.shutdown(SEND)
    eq(k.recv(10), b"bye")
    eq(k.recv(1), b"")
    k.close()
    c.close()
    g.p.wait_counter("endpoints", 1)
    try:
        with socket.create_connection(("127.0.0.1", nobody), timeout=20) as k:
            eq(k.recv(1), b"?")
    except ConnectionResetError:
        pass
    g.p.log("the remote has not announced it")
    g.r.listening.clear()
    with g.r.pumped():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as k:
                eq(k.recv(1), b"?")
        except ConnectionResetError:
            pass
    g.p.log("connection reset: Connection refused")
    g.close()


@test
def raw():
    """publish udp: messages as they are, an endpoint a peer; expose udp is refused at start"""
    port = free_port(socket.SOCK_DGRAM)
    g = CharRig(f"publish udp 127.0.0.1:{port} -> rpmsg:@0x30")
    end = Raw(g.r, 0x30)
    a, b = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for s, text in ((a, b"a"), (b, b"b")):
        s.settimeout(20)
        s.sendto(b"from " + text, ("127.0.0.1", port))
        src, data = end.recv()
        eq(data, b"from " + text)
        for n in (1, 496):
            end.send(src, text * n)
            eq(s.recv(1000), text * n)
            s.sendto(text * n, ("127.0.0.1", port))
            eq(end.recv(), (src, text * n))
    drops = g.p.counters()["datagram_drops"]
    a.sendto(b"z" * 497, ("127.0.0.1", port))
    a.sendto(b"", ("127.0.0.1", port))
    a.sendto(b"next", ("127.0.0.1", port))
    eq(end.recv()[1], b"next")
    eq(g.p.counters()["datagram_drops"], drops + 2)
    g.close(ends=2)
    try:
        Proxy(args=lambda p: ["--link", "rpmsg-char:/dev/rpmsg_ctrl0", "--expose", "rpmsg:a -> udp 127.0.0.1:1"])
        raise AssertionError("started")
    except AssertionError as e:
        if "--expose: rpmsg:a to udp cannot be" not in str(e):
            raise
        Proxy.running[-1].stop(signal.SIGKILL)


@test
def restart():
    """the remote goes (all devices with it) and comes back, ten times in mid-transfer"""
    srv, ok = Server(forever), Server(echo)
    g = CharRig(f"expose rpmsg:f -> tcp 127.0.0.1:{srv.port}", f"expose rpmsg:e -> tcp 127.0.0.1:{ok.port}",
                f"allow out tcp 127.0.0.1:{srv.port}")
    before = None
    for i in range(10):
        g.r.lookup("f~s")
        s = off.Session(g.r)
        for c in (g.r.connect("f"), s.connect("127.0.0.1", srv.port)):
            g.r.wait(lambda c=c: len(c.rx) > 20000)
        ping(g.r.connect("e"))
        if before is None:
            before = g.p.fds()
        eq(g.p.fds(), before, "descriptors")
        g.r.reboot()
        g.p.wait_counter("attached", i + 2)
        for name in ("flows", "sockets", "ends"):
            g.p.wait_counter(name, 0)
    g.r.lookup("e~s")
    c = g.r.connect("e")
    ping(c)
    c.close()
    g.close()
    srv.close()
    ok.close()


@test
def late():
    """no device yet: one line, and served when it comes; a front door that comes, goes and moves"""
    srv = Server(echo)
    g = CharRig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", start=False)
    g.p.log("waiting: .*rpmsg_ctrl0: No such file")
    time.sleep(0.6)
    eq(len(g.p.lines), 1)
    g.r = KernelRemote(g.k)
    g.r.wait_up()
    g.r.lookup("e~s")
    ping(g.r.connect("e"))
    name, door = g.r.announced[0]
    for _ in range(3):
        g.r.announce(name, door, gone=True)
        g.p.wait_counter("endpoints", 1)  # the connection's
        g.r.services.clear()
        g.r.forget(door)
        door.addr = g.r.new_addr(door)
        g.k.announce(name, door.addr)
        g.r.lookup("e~s")
    c = g.r.connect("e")
    ping(c)
    g.p.stop()
    eq(g.k.eps, {})
    g.r.close()
    srv.close()


@test
def killed():
    """SIGKILL of the proxy: the endpoints that it left are swept away by the next one, others' are not"""
    srv = Server(echo)
    g = CharRig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}")
    g.r.lookup("e~s")
    g.k.do_create("rpmsg_ctrl0", b"somebody else's".ljust(32, b"\0") + bytes(4) + b"\1\0\0\0", None)
    for _ in range(3):
        for _ in range(5):
            ping(g.r.connect("e"))
        left = len(g.k.eps)
        g.p.proc.send_signal(signal.SIGKILL)
        g.p.proc.wait(20)
        Proxy.running.remove(g.p)
        eq(len(g.k.eps), left)
        g.r.services.clear()
        old = g.p
        g.p = Proxy(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", env=g.k.env(),
                    args=lambda _: ["--link", g.k.args()])
        g.r.lookup("e~s")
        eq(len(g.k.eps), 3, "services and somebody else's")
        ping(g.r.connect("e"))
        g.keep = getattr(g, "keep", []) + [old]
    g.p.stop()
    eq([e.name for e in g.k.eps.values()], ["somebody else's"])
    g.r.close()
    for p in g.keep:
        p.dir.cleanup()
    srv.close()


@test
def stopped():
    """a proxy that ends in good order says so to each connection: nobody waits for a ping"""
    srv = Server(echo)
    g = CharRig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", f"allow out tcp 127.0.0.1:{srv.port}")
    g.r.lookup("e~s")
    conns = [g.r.connect("e") for _ in range(20)]
    s = off.Session(g.r)
    conns += [s.connect("127.0.0.1", srv.port), s.ctl]
    ping(conns[0])
    g.p.stop()
    if not g.r.wait(lambda: all(c.state == "reset" for c in conns)):
        raise AssertionError([c.state for c in conns])
    eq(g.r.services, {}, "services that are not withdrawn")
    eq(g.k.eps, {}, "endpoints left in the kernel")
    eq(g.k.oopses, [], "oopses")
    g.r.close()
    srv.close()


@test
def no_buffers():
    """a kernel without buffers: what waits goes out in order when it has some again, and nobody spins"""
    srv = Server(forever)
    g = CharRig(f"expose rpmsg:f -> tcp 127.0.0.1:{srv.port}", f"allow out tcp 127.0.0.1:{srv.port}")
    g.r.lookup("f~s")
    c = g.r.connect("f")
    h = hashlib.sha256()
    total = 0
    for i in range(10):
        g.k.stalled = True
        time.sleep(0.1)
        g.k.stalled = False
        while total < (i + 1) * 200000:
            data = c.recv()
            total += len(data)
            h.update(data)
    eq(h.digest(), hashlib.sha256(b"f" * total).digest())
    g.k.stalled = True
    used = []
    for _ in range(2):
        with open(f"/proc/{g.p.worker_pid()}/stat", encoding="ascii") as f:
            v = f.read().rsplit(")", 1)[1].split()
        used.append((int(v[11]) + int(v[12])) / os.sysconf("SC_CLK_TCK"))
        time.sleep(1)
    if used[1] - used[0] > 0.3:
        raise AssertionError(f"{used[1] - used[0]} s of a second")
    g.k.stalled = False
    c.reset()
    g.p.wait_counter("ends", 0)
    g.close()
    srv.close()


@test
def no_endpoint():
    """an endpoint that cannot be made costs its connection, is said, and nothing else"""
    srv = Server(echo)
    g = CharRig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}")
    g.r.lookup("e~s")
    c = g.r.connect("e")
    for _ in range(3):
        g.k.fail = 1
        try:
            g.r.connect("e")
            raise AssertionError("connected")
        except Reset:
            pass
        ping(c)
    g.p.log("no endpoint at .*rpmsg_ctrl0: No such device")
    ping(g.r.connect("e"))
    g.restart_and_close(srv)


@test
def quick_restart():
    """a remote that is back before the proxy has looked: the same number, and nothing asked of what has gone"""
    srv = Server(echo)
    g = CharRig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}")
    for i in range(20):
        ping(g.r.connect("e"))
        g.r.reboot()
        eq(g.k.ctrl, 0, "number of the control device")
        g.r.wait_up()
    g.close()
    srv.close()


@test
def ended_by_both():
    """the remote ends a connection and goes at once: its endpoint, which the kernel ends, is not taken away a second time"""
    srv = Server(echo)
    g = CharRig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", env={"CHARKERNEL_STOPS": str(RST)})
    for _ in range(3):
        c = g.r.connect("e")
        ping(c)
        pid, start = g.p.worker_pid(), len(g.p.lines)
        c.reset()
        until(lambda p=pid: state(p) == "T", "nobody has read that the connection ends")
        g.k.detach()
        os.kill(pid, signal.SIGCONT)
        g.p.log("remote detached", start=start)
        g.r.went_down()
        g.r.fresh()
        g.r.boot()
        g.r.wait_up()
    ping(g.r.connect("e"))
    g.restart_and_close(srv)


@test
def lies():
    """messages that lie, to services and connections, from a remote whose address nobody sees"""
    srv = Server(echo)
    g = CharRig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}")
    e = g.r.lookup("e~s")
    c = g.r.connect("e")
    before = g.p.counters()["endpoints"]
    hello = HELLO.pack(MAGIC, 1, 0, 77, 0x500, 1000)
    for dst, data in [(e, b"x"), (e, HDR.pack(REQUEST, 0, 0, 0)), (e, HDR.pack(REQUEST, 0, 0, 0) + b"y" * 16),
                      (e, HDR.pack(RST, 0, 0, 0) + hello), (e, HDR.pack(99, 0, 0, 0)),
                      (e, HDR.pack(REQUEST, 0, 0, 0) + HELLO.pack(MAGIC, 1, 0, 0, 0x500, 1)),
                      (e, HDR.pack(REQUEST, 0, 0, 0) + HELLO.pack(MAGIC, 1, 0, 5, ANY, 1)),
                      (e, HDR.pack(REQUEST, 0, 9, 0) + hello), (e, HDR.pack(REQUEST, 0, 0, 0) +
                                                                HELLO.pack(MAGIC, 9, 0, 5, 0x500, 1)),
                      (c.peer, b"123"), (c.peer, HDR.pack(3, 0, c.tag ^ 1, 0) + b"data"), (e, os.urandom(496))]:
        g.r.post(1, dst, data)
    ping(c)
    g.p.wait_counter("endpoints", before)
    # refusals to thousands of strangers: an endpoint each, and no longer than it takes
    for i in range(2000):
        g.r.post(1, e, HDR.pack(REQUEST, 0, 0, 0) + HELLO.pack(MAGIC, 9, 0, 5, 0x1000 + i, 1))
    ping(c)
    if not [x for x in g.r.unknown if x[1] >= 0x1000 and x[2][0] == RST]:
        raise AssertionError("nobody was refused")
    g.p.wait_counter("endpoints", before)
    g.restart_and_close(srv)


@test
def many_announced():
    """thousands of services that nobody asked for: they cost no time to speak of; a wanted one among them is found"""
    port, srv = free_port(), Server(echo)
    g = CharRig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", f"publish tcp 127.0.0.1:{port} -> rpmsg:a/w.x")
    g.k.crowd(3000)

    def cpu():
        with open(f"/proc/{g.p.worker_pid()}/stat", encoding="ascii") as f:
            v = f.read().rsplit(")", 1)[1].split()
        return (int(v[11]) + int(v[12])) / os.sysconf("SC_CLK_TCK")
    before = cpu()
    time.sleep(2)
    used = cpu() - before
    if used > 0.2:
        raise AssertionError(f"{used} s of 2")
    ping(g.r.connect("e"))
    g.k.announce("a!w.x~s", 0x5555)  # as the kernel calls the device; the attribute has the name
    with open(f"{g.k.root}/sys/bus/rpmsg/devices/virtio0.a!w.x~s.-1.{0x5555}/name", "w", encoding="ascii") as f:
        f.write("a/w.x~s\n")
    dial(g.r, port, lambda: any(m[1] == 0x5555 for m in g.r.unknown)).close()
    g.restart_and_close(srv)


@test
def too_many_announced():
    """more services than are looked at: said, and said once"""
    g = CharRig("expose rpmsg:e -> unix DIR/x")
    g.k.crowd(4200)
    g.p.log("sys/bus/rpmsg/devices has more than 4096 entries: those behind are not seen")
    time.sleep(1.2)  # two looks more
    eq(sum("more than 4096" in x for x in g.p.lines), 1, "lines")
    g.r.reboot()
    g.r.wait_up()
    g.close()


@test
def named_by_link():
    """a link to the control device, as udev makes them: followed, also to another number after a restart"""
    srv = Server(echo)
    k = []

    def args(p):
        k.append(Kernel(f"{p.dir.name}/k"))
        p.env = k[0].env()
        os.symlink("k/dev/rpmsg_ctrl0", f"{p.dir.name}/m4")
        return ["--link", f"rpmsg-char:{p.dir.name}/m4,sysfs={k[0].root}/sys,name=g"]
    p = Proxy(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", args=args)
    r = KernelRemote(k[0])
    ping(r.wait_up().connect("e"))
    k[0].detach()
    p.log("remote detached")
    r.went_down()
    r.fresh()
    os.unlink(f"{p.dir.name}/m4")
    os.symlink("k/dev/rpmsg_ctrl7", f"{p.dir.name}/m4")
    attach = k[0].attach
    k[0].attach = lambda: attach(7)
    r.boot()
    ping(r.wait_up().connect("e"))
    os.unlink(f"{p.dir.name}/m4")
    p.stop()
    r.close()
    srv.close()


@test
def no_descriptors():
    """REQUESTs while the process has no descriptor left: refused, and no endpoint stays in the kernel for them"""
    srv = Server(echo)
    g = CharRig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}")
    e = g.r.lookup("e~s")
    c = g.r.connect("e")
    ping(c)
    pid, before = g.p.worker_pid(), set(g.k.eps)
    soft, hard = fd_limits(pid)
    for free in (0, 1, 2):
        top = max(int(x) for x in os.listdir(f"/proc/{pid}/fd")) + 1
        used = len(os.listdir(f"/proc/{pid}/fd"))
        limit_fds(pid, top + free, hard)
        for i in range(50 + top - used):
            g.r.post(1, e, HDR.pack(REQUEST, 0, 0, 0) + HELLO.pack(MAGIC, 1, 0, 5, 0x2000 + i, 1000))
        ping(c)
        left = [x for x in g.k.eps.values() if not x.sock]
        eq(left, [], "endpoints that nobody has")
        limit_fds(pid, soft, hard)
        for i in range(50 + top - used):  # whoever got in goes
            g.r.post(1, e, HDR.pack(RST, 0, 0, 0) + HELLO.pack(MAGIC, 1, 0, 5, 0x2000 + i, 1000))
        g.p.wait_counter("ends", 1)
    eq(set(g.k.eps), before)
    ping(g.r.connect("e"))
    g.restart_and_close(srv)


@test
def endless():
    """a worker that has endpoints made and lets go of none: as many as the configuration leaves room for, and then
    none; its successor takes them all away"""
    srv = Server(echo)
    g = CharRig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", "limit sockets 4", env={"CHARKERNEL_LEAK": "1"})
    e = g.r.lookup("e~s")
    most = 2 * 4 + 1 + 32  # twice the sockets, the service, and some to spare
    while len(g.k.eps) < most:
        c = g.r.connect("e")
        ping(c)
        c.close()
        g.p.wait_counter("ends", 0)
    for i in range(3):  # not even a refusal can be sent
        g.r.post(1, e, HDR.pack(REQUEST, 0, 0, 0) + HELLO.pack(MAGIC, 1, 0, 5, 0x2000 + i, 1000))
    g.p.log("link g: no endpoint at .*: No buffer space available")
    eq(len(g.k.eps), most, "endpoints")
    g.r.services.clear()
    os.kill(g.p.worker_pid(), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while len(g.k.eps) > 2:
        eq(time.monotonic() < deadline, True, f"{len(g.k.eps)} endpoints are left")
        time.sleep(0.01)
    ping(g.r.connect("e"))
    g.p.proc.kill()  # at its end it would leave some, too
    g.p.proc.wait(20)
    Proxy.running.remove(g.p)
    g.p.thread.join(20)
    g.p.proc.stderr.close()
    g.p.dir.cleanup()
    g.r.close()
    srv.close()


@test
def longer_than_buffer():
    """messages longer than buffer= says, which a read cuts: said, counted, and a stream ends instead of missing bytes"""
    srv = Server(echo)
    g = CharRig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}", more=",buffer=256")
    c = g.r.connect("e")
    g.r.room = 240
    ping(c, os.urandom(5000))
    d = g.r.connect("e")
    ping(d)
    g.r.room = 241
    try:
        d.send(bytes(1000))
        d.recv_exact(1000)
        raise AssertionError("arrived")
    except Reset:
        pass
    g.p.log("the remote broke a rule: a message longer than this link's buffers")
    g.r.room = 240
    ping(c)
    g.restart_and_close(srv)


@test
def isolated():
    """two remotes behind two control devices: the same names, no way between them"""
    srv = Server(echo)
    g = CharRig(f"expose rpmsg:e -> tcp 127.0.0.1:{srv.port}")
    g.r.lookup("e~s")
    # another device's channels on the same bus are not this remote's
    os.makedirs(f"{g.k.root}/sys/bus/rpmsg/devices/virtio1.ampsock~s.-1.5")
    for attr, v in (("name", "ampsock~s"), ("dst", "0x5")):
        with open(f"{g.k.root}/sys/bus/rpmsg/devices/virtio1.ampsock~s.-1.5/{attr}", "w", encoding="ascii") as f:
            f.write(v)
    time.sleep(0.6)
    eq({x.dst for x in g.k.eps.values()}, {g.r.announced[0][1].addr})
    ping(g.r.connect("e"))
    g.restart_and_close(srv)


main()
