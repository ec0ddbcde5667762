#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 150
"""Links of type vsock-unix, with monitors that are honest, odd or hostile; publish vsock-mux."""
import array
import hashlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import offload as off  # noqa: E402
import ctl  # noqa: E402
import sockguest  # noqa: E402
from clock import Clock  # noqa: E402
from harness import TIMEOUT, Proxy, Server, binary, echo, eq, free_port, main, test  # noqa: E402
from sockrig import read_at_last, stuff  # noqa: E402
from vguest import SEND, Guest  # noqa: E402

MIB = 1 << 20
LOOP = "127.0.0.1"


def up(*rules, guest=True, **kw):
    p = Proxy(*rules, args=sockguest.link, **kw)
    return (p, sockguest.Guest(p.path)) if guest else p


def tcp(port):
    return socket.create_connection((LOOP, port), timeout=TIMEOUT)


def refused(port):
    """A connection that is reset, as late as connect() may say so, or closed."""
    try:
        eq(take(tcp(port)), b"")
    except ConnectionResetError:
        pass


def unix(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)  # with a time-out it would not wait for room among those not yet accepted
    s.settimeout(TIMEOUT)
    return s


def take(s):
    """Everything until the end, which may be a reset."""
    data = bytearray()
    while True:
        try:
            part = s.recv(MIB)
        except ConnectionResetError:
            return bytes(data)
        if not part:
            return bytes(data)
        data += part


def done(p, g=None):
    """Everything of the guest's is given back."""
    if g:
        g.close()
    p.wait_counter("flows", 0)
    p.wait_counter("ends", 0)
    p.stop()


def line_of(s):
    """What the proxy asks for, at the monitor."""
    text = b""
    while not text.endswith(b"\n"):
        text += s.recv(1)
    return text


# ---- an honest monitor ----

@test
def publish():
    """to the guest: CONNECT, its answer, 4 MiB each way by hash with a half-close between"""
    port = free_port()
    p, g = up(f"publish tcp {LOOP}:{port} -> vsock:5000")
    g.listen(5000)
    data = os.urandom(4 * MIB)
    k = tcp(port)
    t = threading.Thread(target=lambda: (k.sendall(data), k.shutdown(socket.SHUT_WR)), daemon=True)
    t.start()
    c = g.accept(5000)
    h, n = hashlib.sha256(), 0
    while True:
        part = c.recv()
        if not part:
            break
        h.update(part)
        n += len(part)
    t.join(TIMEOUT)
    eq((n, h.digest()), (len(data), hashlib.sha256(data).digest()))
    got = []
    t = threading.Thread(target=lambda: got.append(take(k)), daemon=True)
    t.start()
    c.send(data)
    c.close()
    t.join(TIMEOUT)
    eq(got, [data])
    done(p, g)


@test
def expose():
    """from the guest: PATH_PORT for each exposed port, and no other; a target that refuses is an end"""
    got = []
    srv = Server(lambda s: (got.append(take(s)), s.sendall(b"thanks")))
    p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{srv.port}", f"expose vsock:6001 -> tcp {LOOP}:{free_port()}",
              "expose vsock:6002 -> unix DIR/target")
    eq(sorted(os.listdir(p.dir.name)), ["g.sock"] + [f"g.sock_{n}" for n in (off.PORT, 6000, 6001, 6002)])
    data = os.urandom(3 * MIB)
    c = g.connect(6000)
    c.send(data)
    c.shutdown(SEND)
    eq(c.recv_exact(6), b"thanks")
    eq(c.recv(), b"")
    eq(got, [data])
    c.close()
    eq(g.connect(6001).recv(), b"")
    p.log("expose vsock:6001 .*Connection refused")
    eq(g.connect(6002).recv(), b"")
    u = Server(echo, path=p.dir.name + "/target")
    c = g.connect(6002)
    c.send(b"over two")
    eq(c.recv_exact(8), b"over two")
    c.close()
    u.close()
    srv.close()
    os.unlink(p.dir.name + "/target")
    g.close()
    p.wait_counter("ends", 0)
    eq(p.stop(), ["g.sock"], "the monitor's own")


@test
def listeners():
    """an offloaded listener: accept carriers to the guest's accept port, and their end is the client's"""
    p, g = up("allow in tcp 127.0.0.1:0")
    s = off.Session(g)
    bid, name = s.bind(LOOP, 0)
    lid, token, _ = s.listen(bid, 16, 2)
    k = socket.create_connection(name, timeout=TIMEOUT)
    k.sendall(b"hello")
    c = s.accept()
    eq((c.listener, c.token, c.peername, c.name), (lid, token, k.getsockname(), name))
    eq(c.recv_exact(5), b"hello")
    c.send(b"bye")
    c.close()
    eq(take(k), b"bye")
    # one that leaves bytes unread has reset it: so is the client
    k = socket.create_connection(name, timeout=TIMEOUT)
    c = s.accept()
    k.sendall(b"nobody reads this")
    c.close()
    eq(take(k), b"")
    p.wait_counter("sockets", 1)
    done(p, g)


@test
def monitor_restarts():
    """no monitor, a monitor, its death with connections open, its file without it, the next one"""
    port, srv = free_port(), Server(echo)
    p = up(f"publish tcp {LOOP}:{port} -> vsock:5000", f"allow out tcp {LOOP}:{srv.port}", guest=False)
    refused(port)
    p.log("publish .*connection reset: no guest is attached")
    for life in range(3):
        g = sockguest.Guest(p.path)
        g.listen(5000)
        s = off.Session(g)
        away = s.connect(LOOP, srv.port)
        k = tcp(port)
        c = g.accept(5000)
        k.sendall(b"%d" % life)
        eq(c.recv_exact(1), b"%d" % life)
        away.send(b"a")
        eq(away.recv_exact(1), b"a")
        eq(p.counters()["up"], 1)
        g.close()
        eq(take(k), b"")
        p.wait_counter("up", 0)
        p.wait_counter("sockets", 0)
        refused(port)
    eq(p.counters()["attached"] >= 3, True)
    srv.close()
    done(p)


@test
def proxy_restarts():
    """a proxy that was killed: its files are taken over by the next, the guest opens a session again"""
    with tempfile.TemporaryDirectory() as d:
        def args(_):
            return ["--link", f"vsock-unix:{d}/v,name=g", "--allow", "out tcp 127.0.0.1:any"]
        p = Proxy(args=args)
        g = sockguest.Guest(d + "/v")
        s = off.Session(g)
        p.stop(signal.SIGKILL)
        eq(s.ctl.recv(), b"")
        p = Proxy(args=args)
        srv = Server(echo)
        c = off.Session(g).connect(LOOP, srv.port)
        c.send(b"again")
        eq(c.recv_exact(5), b"again")
        srv.close()
        done(p, g)


# ---- hostile and odd monitors ----

class Monitor:
    """A proxy with one published port, and a monitor whose handler gets each connection behind CONNECT."""

    def __init__(self, handler, *rules, **kw):
        self.port = free_port()
        self.p = up(f"publish tcp {LOOP}:{self.port} -> vsock:5000", *rules, guest=False, **kw)
        self.asked = []

        def serve(s):
            self.asked.append(line_of(s))
            handler(s)
        self.srv = Server(serve, path=self.p.path)

    def end(self):
        self.srv.close()
        done(self.p)


@test
def answer_in_pieces():
    """an answer byte by byte, with data behind it in the same piece, without a port worth its name"""
    def bytewise(s):
        for b in b"OK 1073741824\n":
            s.sendall(bytes([b]))
        echo(s)

    def at_once(s):
        s.sendall(b"OK 0\nthe first bytes")
        echo(s)

    def loosely(s):
        s.sendall(b"ok 7\r\nx")
        while s.recv(65536):  # an end with something unread would be a reset
            pass

    for handler, first in ((bytewise, b""), (at_once, b"the first bytes"), (loosely, b"x")):
        m = Monitor(handler)
        k = tcp(m.port)
        k.sendall(b"and more")
        k.shutdown(socket.SHUT_WR)
        eq(take(k)[:len(first)], first)
        m.srv.check()
        eq(m.asked, [b"CONNECT 5000\n"])
        m.end()


@test
def wrong_answers():
    """garbage, lines too long, an end at each byte of the answer: the client is reset, nothing else"""
    answers = [b"NO\n", b"OK\n", b"OK x\n", b"OK 99999999999\n", b"\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(40),
               b"OK 1" + b" " * 5000, b"O" * 100000, b"OK 1\r1\n"]
    answers += [b"OK 1\n"[:n] for n in range(5)]
    left = list(answers)
    m = Monitor(lambda s: s.sendall(left.pop(0)))
    for i, a in enumerate(answers):
        refused(m.port)
        m.srv.check(i + 1)
    m.p.log("publish .*connection reset: Protocol error")
    eq(m.p.counters()["refused"], len(answers))
    left.append(b"OK 1\nwell")
    eq(take(tcp(m.port)), b"well")
    m.end()


@test
def silence():
    """a monitor that never answers: refused when its time is over; others are served meanwhile"""
    clock, held = Clock(), []
    m = Monitor(lambda s: held.append(s.dup()) if not held else s.sendall(b"OK 1\nhere"), env=clock.env)
    k = tcp(m.port)
    k.sendall(b"x")
    m.srv.check()
    eq(take(tcp(m.port)), b"here")
    eq(m.p.counters()["ends"], 1)
    clock.forward(9)
    eq(m.p.counters()["ends"], 1)
    clock.forward(2)
    m.p.wait_counter("ends", 0)
    eq(take(k), b"")
    m.p.log("publish .*connection reset: Connection timed out")
    held[0].close()
    m.end()


@test
def early_end():
    """a guest's connection that ends before anybody looked: what it said is served all the same"""
    got = []
    srv = Server(lambda s: got.append(take(s)))
    p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{srv.port}")
    for n in range(50):
        s = unix(p.path + "_6000")
        s.sendall(b"%04d" % n)
        s.close()
    srv.check(50)
    eq(sorted(got), [b"%04d" % n for n in range(50)])
    for _ in range(50):
        unix(p.path + "_6000").close()
    srv.check(100)
    for cut in (0, 1, 119):
        s = unix(f"{p.path}_{off.PORT}")
        s.sendall(off.open_header(off.HELLO)[:cut])
        s.close()
    p.wait_counter("ends", 0)
    srv.close()
    done(p, g)


@test
def descriptors():
    """descriptors that a monitor passes along are thrown away, and the bytes behind them arrive"""
    got = []
    srv = Server(lambda s: got.append(take(s)))
    p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{srv.port}")
    before = p.fds()
    s = unix(p.path + "_6000")
    for i in range(20):
        s.sendmsg([b"%02d" % i], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    p.wait_counter("flows", 1)
    eq(p.fds() <= before + 2, True)
    s.close()
    srv.check()
    eq(got, [b"".join(b"%02d" % i for i in range(20))])
    srv.close()
    done(p, g)


@test
def flood():
    """connections without end: the link's share and no more, and another link is served"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 5000:
        return f"needs 5000 descriptors, has {hard}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    srv = Server(echo)
    with tempfile.TemporaryDirectory() as d:
        p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{srv.port}", f"link vsock-unix:{d}/other,name=other",
                  f"expose vsock:6000 -> tcp {LOOP}:{srv.port}")
        path = f"{p.path}_{off.PORT}"
        held = [unix(path) for _ in range(4200)]
        p.log("link g: more than 4096 connections")
        p.first = ""
        eq(p.counters()["ends"], 4096)
        c = sockguest.Guest(d + "/other")
        s = c.connect(6000)
        s.send(b"served")
        eq(s.recv_exact(6), b"served")
        c.close()
        for s in held:
            s.close()
        p.wait_counter("ends", 0)
        s = g.connect(6000)
        s.send(b"again")
        eq(s.recv_exact(5), b"again")
        s.close()
        srv.close()
        done(p, g)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return None


@test
def stalled():
    """a monitor that does not read stops its own flow, bounded; another goes on; nothing is lost"""
    port = free_port()
    srv = Server(echo)
    p, g = up(f"publish tcp {LOOP}:{port} -> vsock:5000", f"expose vsock:6000 -> tcp {LOOP}:{srv.port}")
    g.listen(5000, buf_alloc=0)  # answers, and reads nothing
    k = tcp(port)
    c = g.accept(5000)
    sent = stuff(k)
    fast = g.connect(6000)
    for _ in range(20):
        fast.send(b"f" * 65536)
        eq(len(fast.recv_exact(65536)), 65536)
    read_at_last(c, k, sent)
    k.close()
    c.close()
    fast.close()
    srv.close()
    done(p, g)


@test
def too_much():
    """bytes for the guest that may not be kept: the client is reset, and never told that all is well"""
    port, srv = free_port(), Server(echo)
    p, g = up("limit buffered 1", f"publish tcp {LOOP}:{port} -> vsock:5000",
              f"expose vsock:6000 -> tcp {LOOP}:{srv.port}")
    g.listen(5000, buf_alloc=0)  # answers, and reads nothing
    k = tcp(port)
    g.accept(5000)
    try:
        while True:
            k.sendall(bytes(65536))
    except (ConnectionResetError, BrokenPipeError):
        pass
    p.log("limit buffered 1 reached")
    p.wait_counter("flows", 0)
    c = g.connect(6000)
    c.send(b"others go on")
    eq(c.recv_exact(12), b"others go on")
    c.close()
    srv.close()
    done(p, g)


# ---- publish vsock-mux ----

def call(path, port, data=b""):
    s = unix(path)
    s.sendall(b"CONNECT %d\n" % port + data)
    return s


def mux_rig(kind):
    rule = "publish vsock-mux DIR/mux -> vsock:22,5000-5010"
    if kind == "unix":
        p, g = up(rule)
    else:
        p = Proxy(rule)
        g = Guest(p.path)
        p.log("guest attached")
    return p, g, p.dir.name + "/mux"


def mux(kind):
    p, g, path = mux_rig(kind)
    for port in (22, 5000, 5010):
        g.listen(port)
        k = call(path, port, b"early ")
        c = g.accept(port)
        eq(line_of(k), b"OK %d\n" % port)
        k.sendall(b"bytes")
        k.shutdown(socket.SHUT_WR)
        eq(c.recv_exact(11), b"early bytes")
        eq(c.recv(), b"")
        c.send(b"answer")
        c.close()
        eq(take(k), b"answer")
    # nobody listens there; not of the rule; the proxy's own
    for port in (5001, 21, 23, 4999, 5011, 0, off.PORT, off.ACCEPT_PORT, 4294967295):
        k = call(path, port)
        with g.pumped():
            eq(take(k), b"", port)
    p.log("CONNECT 21: no port of this rule")
    eq(p.counters()["denied"], 8)
    g.close()
    k = call(path, 22)
    eq(take(k), b"")
    p.log("publish .*connection closed: no guest is attached")
    p.wait_counter("flows", 0)
    p.wait_counter("ends", 0)
    eq(p.stop(), ["g.sock"] if kind == "unix" else [])


@test
def mux_on_unix():
    """vsock-mux in front of a monitor: CONNECT, OK, bytes, half-close; ports of the rule alone"""
    mux("unix")


@test
def mux_on_ring():
    """the same in front of a vhost-user guest, which so has what Firecracker's have"""
    mux("ring")


@test
def mux_callers():
    """callers that say it byte by byte, something else, nothing, or go: none of them is in the way"""
    clock = Clock()
    p, g = up("publish vsock-mux DIR/mux -> vsock:any", env=clock.env)
    path = p.dir.name + "/mux"
    g.listen(7)
    p.counters()  # its start is over
    before = p.fds()
    k = unix(path)
    for b in b"connect 7\n":
        k.sendall(bytes([b]))
    c = g.accept(7)
    eq(line_of(k), b"OK 7\n")
    c.close()
    eq(take(k), b"")
    for text in (b"GET / HTTP/1.0\r\n\r\n", b"CONNECT\n", b"CONNECT x\n", b"CONNECT 7 8\n", b"CONNECT 4294967296\n",
                 b"\n", b"C" * 100000, b"CONNECT 7" + b" " * 100):
        k = unix(path)
        try:
            k.sendall(text)
        except OSError:
            pass
        eq(take(k), b"", text)
    p.log("expected `CONNECT PORT`")
    for n in range(len(b"CONNECT 7")):
        k = unix(path)
        k.sendall(b"CONNECT 7"[:n])
        k.close()
    # it goes while the guest is asked
    real, g.input = g.input, lambda half: False
    k = call(path, 7)
    p.wait_counter("ends", 1)
    k.close()
    p.wait_counter("ends", 0)
    g.input = real
    # 256 that say nothing, one more, and time
    held = [unix(path) for _ in range(256)]
    eq(take(unix(path)), b"")
    p.log("more than 256 wait")
    clock.forward(11)
    p.counters()
    eq([take(k) for k in held], [b""] * 256)
    p.log("no `CONNECT PORT` in time")
    # each has its own time
    first = unix(path)
    for _ in range(2):
        p.counters()
    clock.forward(6)
    last = unix(path)
    for _ in range(2):
        p.counters()
    clock.forward(6)
    p.counters()
    eq(take(first), b"")
    eq(select.select([last], [], [], 0)[0], [])
    clock.forward(6)
    p.counters()
    eq(take(last), b"")
    k = call(path, 7)
    c = g.accept(7)
    eq(line_of(k), b"OK 7\n")
    c.close()
    k.close()
    p.wait_counter("ends", 0)
    eq(p.fds(), before)
    done(p, g)


@test
def mux_command():
    """what ssh's ProxyCommand does: a program with the line before its own bytes, through pipes"""
    p, g = up("publish vsock-mux DIR/mux -> vsock:22")
    g.listen(22)
    # systemd-ssh-proxy's way: say CONNECT, read the answer, hand the socket over
    child = subprocess.Popen([sys.executable, "-c", """
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"CONNECT 22\\n")
while s.recv(1) != b"\\n":
    pass
s.sendall(b"SSH-2.0-client\\r\\n")
sys.stdout.buffer.write(s.makefile("rb").readline())
""", p.dir.name + "/mux"], stdout=subprocess.PIPE)
    c = g.accept(22)
    eq(c.recv_exact(16), b"SSH-2.0-client\r\n")
    c.send(b"SSH-2.0-guest\r\n")
    eq(child.communicate(timeout=TIMEOUT)[0], b"SSH-2.0-guest\r\n")
    eq(child.returncode, 0)
    c.close()
    done(p, g)


# ---- what an operator can get wrong ----

def wrong(*args, text):
    r = subprocess.run([binary(), *args, "--check-config"], capture_output=True, timeout=TIMEOUT, check=False)
    if r.returncode != 2 or text not in r.stderr.decode():
        raise AssertionError(f"{args}: exit {r.returncode}, said: {r.stderr.decode()}")


@test
def wrong_at_run_time():
    """a rule that the link's type cannot serve is refused at run time as in the file"""
    with tempfile.TemporaryDirectory() as d:
        p = Proxy(args=lambda p: ["--link", f"vsock-unix:{d}/v,name=g", "--control", ctl.path(p)])
        assert "have no messages" in ctl.run(p, "publish", "add", "g", "udp 127.0.0.1:0 -> vsock:1", code=1)
        assert "no service of a link" in ctl.run(p, "publish", "add", "g", "udp 127.0.0.1:0 -> rpmsg:x", code=1)
        p.stop()


@test
def wrong_lines():
    """links and rules that cannot be: exit 2, and what would be right"""
    a, b = "vsock-unix:/x/v", "vsock:3"
    wrong("--link", "vsock-unix:", text="expected a path")
    wrong("--link", "vsock-unix:/" + "x" * 96, text="1 to 96 bytes")
    wrong("--link", a + ",cid=3", text="no key cid")
    wrong("--link", a, "--link", a + ",name=b", text="same path")
    wrong("--link", a, "--expose", "vsock:1 -> udp 127.0.0.1:5", text="have no messages")
    wrong("--link", a, "--publish", "udp 127.0.0.1:5 -> vsock:1", text="have no messages")
    wrong("--link", a, "--publish", "tcp 127.0.0.1:5 -> rpmsg:x", text="no service of a link of type vsock-unix")
    wrong("--link", "vsock:0", text="expected a CID")
    wrong("--link", "vsock:x", text="expected a CID")
    wrong("--link", "vsock:/x", text="expected a CID")
    wrong("--link", "vsock:3,cid=3", text="once")
    wrong("--link", "vsock:3,path=/x", text="KEY=VALUE")
    wrong("--link", b, "--link", b + ",name=b", text="same CID")
    wrong("--link", "vhost-user-vsock:/x,cid=1", text="3 to 4294967294")
    wrong("--link", "vsok:3", text="vhost-user-vsock, vsock, vsock-unix, rpmsg-shm or rpmsg-char")
    wrong("--link", a, "--link", b, "--join", "unix0,cid3", text="cannot be joined")
    wrong("--link", a, "--link", "vsock-unix:/y,name=y", "--join", "unix0,y", text="cannot be joined")
    for ports, text in (("", "ports and ranges"), ("x", "ports and ranges"), ("5-4", "ports and ranges"),
                        ("1,,2", "ports and ranges"), ("1,2,3,4,5,6,7,8,9", "at most 8"), ("4294967295", "4294967294")):
        wrong("--link", a, "--publish", f"vsock-mux /x/m -> vsock:{ports}", text=text)
    wrong("--link", a, "--publish", "vsock-mux m -> vsock:1", text="absolute path")
    wrong("--link", a, "--publish", "vsock-mux /x/m -> inet:1", text="expected vsock:PORTS")
    wrong("--link", a, "--publish", "tcp 127.0.0.1:1 -> vsock:1,2", text="expected a port")
    wrong("--link", a, "--expose", "vsock:1 -> vsock-mux /x", text="tcp, udp or unix")
    wrong("--link", "rpmsg-char:/dev/rpmsg_ctrl0", "--publish", "vsock-mux /x/m -> vsock:1", text="no service of a link")


@test
def right_lines():
    """links in a file, with names of their own and without"""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        f.write("[link a]\ntype = vsock-unix\npath = /nowhere/v\nexpose = vsock:1 -> tcp 127.0.0.1:1\n"
                "publish = vsock-mux /nowhere/m -> vsock:1,2,3,4,5,6,7,8-9\n"
                "[link b]\ntype = vsock\ncid = 2\nexpose = vsock:1 -> udp 127.0.0.1:1\n"
                "[link c]\ntype = vsock\ncid = 1\npublish = vsock-mux /nowhere/n -> vsock:any\n")
        f.flush()
        r = subprocess.run([binary(), "--config", f.name, "--check-config"], capture_output=True, check=False)
        eq((r.returncode, r.stderr), (0, b""))


@test
def paths():
    """a socket that somebody has is left alone, one that nobody has is replaced"""
    with tempfile.TemporaryDirectory() as d:
        live = socket.socket(socket.AF_UNIX)
        live.bind(f"{d}/v_{off.PORT}")
        live.listen()
        r = subprocess.run([binary(), "--link", f"vsock-unix:{d}/v"], capture_output=True, timeout=TIMEOUT, check=False)
        eq((r.returncode, b"already in use" in r.stderr), (1, True), r.stderr)
        eq(os.listdir(d), [f"v_{off.PORT}"])
        live.close()
        p = Proxy(args=lambda _: ["--link", f"vsock-unix:{d}/v"])
        p.stop()
        eq(os.listdir(d), [])
    r = subprocess.run([binary(), "--link", "vsock-unix:/nowhere/v"], capture_output=True, timeout=TIMEOUT, check=False)
    eq((r.returncode, b"directory /nowhere does not exist" in r.stderr), (1, True), r.stderr)


main()
