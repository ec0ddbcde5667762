#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 240
"""Reload: what a new file changes while guests run, and what it must leave alone."""
import errno
import json
import os
import re
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import ctl  # noqa: E402
import offload as off  # noqa: E402
from harness import TIMEOUT, Proxy, Server, echo, eq, free_port, main, own_host, test  # noqa: E402
from procs import plain, preload  # noqa: E402
from rpmsgguest import DA, EventBell, Remote, UnixBell  # noqa: E402
from vguest import RCV, SEND, SEQPACKET, Gone, Guest, Reset  # noqa: E402


class Rig:
    """A proxy that reads a file; `write()` and `reload()` change it."""

    def __init__(self, text, *options, before=None, **kw):
        def args(p):
            self.p = p
            if before:
                before(p)
            self.file = os.path.join(p.dir.name, "proxy.conf")
            self.write(text)
            return ["--config", self.file, *options]
        self.p = Proxy(args=args, **kw)

    def write(self, text):
        with open(self.file + ".new", "w", encoding="utf-8") as f:
            f.write(text.replace("DIR", self.p.dir.name))
        os.rename(self.file + ".new", self.file)

    def hup(self, wait):
        n = len(self.p.lines)
        self.p.proc.send_signal(signal.SIGHUP)
        return self.p.log(wait, start=n)

    def reload(self, text):
        """A good file. Returns what the proxy says of it, as numbers."""
        self.write(text)
        line = self.hup(r"reload: \d+ links|reload: nothing has changed")
        if "nothing" in line:
            raise AssertionError("\n".join(self.p.lines[-8:]))
        return [int(x) for x in re.findall(r"\d+", line.split("reload: ")[1])]

    def refused(self, text, why):
        """A wrong one."""
        if text is not None:
            self.write(text)
        n = len(self.p.lines)
        self.hup("reload: nothing has changed")
        self.p.log(why, start=n)

    def guest(self, name="g", **kw):
        return Guest(os.path.join(self.p.dir.name, name + ".sock"), **kw)

    def rule(self, text):
        """The counters of the rule with this text."""
        n = len(self.p.lines)
        self.p.counters()
        return self.p.log(r"counters: rule of=.* " + re.escape(text) + " ", start=n)

    def hits(self, text):
        return int(re.search(r"hits=(\d+)", self.rule(text)).group(1))

    def stop(self):
        os.unlink(self.file)
        eq(self.p.stop(), [], "files left behind")


def link(name="g", cid=3, *rules):
    return f"[link {name}]\ntype = vhost-user-vsock\npath = DIR/{name}.sock\ncid = {cid}\n" + "".join(r + "\n" for r in rules)


def works(c, n=1000):
    c.send(b"x" * n)
    eq(c.recv_exact(n), b"x" * n)


def is_reset(c):
    try:
        while c.recv():
            pass
    except Reset:
        return
    raise AssertionError("an end, but no reset")


def dead(sock):
    """A socket of the host's that the proxy has reset."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass


def closed(port):
    """Nobody listens there: at once, although the helper has a duplicate for a successor."""
    eq(socket.socket().connect_ex(("127.0.0.1", port)), errno.ECONNREFUSED)


@test
def flows_survive():
    """flows whose rules stay are not cut, whatever else changes; counters of those rules go on"""
    srv = Server(echo)
    to = f"allow = out tcp 127.0.0.1:{srv.port}"
    exp = f"expose = vsock:6000 -> tcp 127.0.0.1:{srv.port}"
    port = free_port()
    pub = f"publish = tcp 127.0.0.1:{port} -> vsock:5000"
    r = Rig(link("g", 3, to, exp, pub))
    g = r.guest()
    s = off.Session(g)
    g.listen(5000)
    a, b = s.connect("127.0.0.1", srv.port), g.connect(6000)
    k = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    c = g.accept(5000)
    for _ in range(2):
        works(a)
        works(b)
        k.sendall(b"hello")
        eq(c.recv_exact(5), b"hello")
        # other rules before and behind, the same ones with other blanks, at other lines
        eq(r.reload("# new\n[proxy]\nlog-level = info\n\n" +
                    link("g", 3, "allow = out udp any:53", exp, to.replace("out ", "out  "), pub,
                         "limit = sockets 100", "expose = vsock:7 -> unix /nowhere")), [0, 2, 0, 0, 0])
        eq(r.hits(f"allow out  tcp 127.0.0.1:{srv.port}"), 1)
        eq(r.reload(link("g", 3, to, exp, pub)), [0, 0, 0, 2, 0])
    for x in (f"allow out tcp 127.0.0.1:{srv.port}", exp.replace(" =", ""), pub.replace(" =", "")):
        eq(r.hits(x), 1, x)
    # and what comes anew comes by the same rules
    works(s.connect("127.0.0.1", srv.port))
    works(g.connect(6000))
    eq(r.hits(f"allow out tcp 127.0.0.1:{srv.port}"), 2)
    k.close()
    g.close()
    r.stop()
    srv.close()


@test
def flows_cut():
    """flows that no rule allows any more are reset, their guest hears EACCES, and they are counted"""
    srv, other = Server(lambda s: s.recv(1) and s.recv(1)), Server(echo)
    port, kept = free_port(), free_port()
    keep = [f"allow = out tcp 127.0.0.1:{other.port}", f"expose = vsock:6001 -> tcp 127.0.0.1:{other.port}",
            f"publish = tcp 127.0.0.1:{kept} -> vsock:5001"]
    r = Rig(link("g", 3, f"allow = out tcp 127.0.0.1:{srv.port}", f"expose = vsock:6000 -> tcp 127.0.0.1:{srv.port}",
                 f"publish = tcp 127.0.0.1:{port} -> vsock:5000", *keep))
    g = r.guest()
    s = off.Session(g)
    g.listen(5000)
    g.listen(5001)
    gone = [s.connect("127.0.0.1", srv.port), g.connect(6000)]
    for c in gone:
        c.send(b"x")
    k = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    k.settimeout(TIMEOUT)
    gone.append(g.accept(5000))
    stay = [s.connect("127.0.0.1", other.port), g.connect(6001)]
    k2 = socket.create_connection(("127.0.0.1", kept), TIMEOUT)
    k2.settimeout(TIMEOUT)
    c2 = g.accept(5001)
    eq(r.reload(link("g", 3, *keep)), [0, 0, 0, 3, 3])
    eq(s.reason(gone[0].id), "EACCES")
    for c in gone:
        is_reset(c)
    dead(k)
    for c in stay:
        works(c)
    k2.sendall(b"still")
    eq(c2.recv_exact(5), b"still")
    eq(r.p.counters()["cut"], 3)
    try:
        s.connect("127.0.0.1", srv.port)
        raise AssertionError("connected")
    except off.Refused as e:
        eq(e.status, "EACCES")
    try:
        g.connect(6000)
        raise AssertionError("connected")
    except Reset:
        pass
    closed(port)
    g.close()
    r.stop()
    srv.close()
    other.close()


@test
def other_rule_covers():
    """a flow whose own rule goes stays when another rule, old or new, allows the same"""
    srv = Server(echo)
    r = Rig(link("g", 3, f"allow = out tcp 127.0.0.1:{srv.port}"))
    g = r.guest()
    s = off.Session(g)
    c = s.connect("127.0.0.1", srv.port)
    eq(r.reload(link("g", 3, "allow = out tcp 127.0.0.0/8:any")), [0, 1, 0, 1, 0])
    works(c)
    eq(r.reload(link("g", 3, "allow = out tcp local:any")), [0, 1, 0, 1, 0])
    works(c)
    eq(r.reload(link("g", 3, "allow = out tcp any:any")), [0, 1, 0, 1, 1])
    is_reset(c)
    g.close()
    r.stop()
    srv.close()


@test
def names():
    """flows and addresses that were had by a name stay while a rule has the name"""
    srv = Server(echo)
    r = Rig(link("g", 3, f"allow = out tcp localhost:{srv.port}"))
    g = r.guest()
    s = off.Session(g)
    c = s.connect(None, srv.port, host_name=b"localhost")
    works(c)
    # other ports of the same name, and the address is still that of the name
    eq(r.reload(link("g", 3, f"allow = out tcp localhost:{srv.port}-{srv.port}", "allow = out udp localhost:9")),
       [0, 1, 0, 0, 0])
    works(s.connect("127.0.0.1", srv.port))
    eq(r.reload(link("g", 3, "allow = out any localhost:any")), [0, 1, 0, 2, 0])
    works(c)
    works(s.connect("127.0.0.1", srv.port))
    eq(r.reload(link("g", 3, f"allow = out tcp elsewhere.example:{srv.port}"))[:4], [0, 1, 0, 1])
    is_reset(c)
    try:
        s.connect("127.0.0.1", srv.port)
        raise AssertionError("connected")
    except off.Refused as e:
        eq(e.status, "EACCES")
    g.close()
    r.stop()
    srv.close()


@test
def guests_own_listeners():
    """bound ports, listeners, what they accepted, and UDP sockets: by the `in` rules of the new file"""
    port, uport = free_port(), free_port(socket.SOCK_DGRAM)
    rules = [f"allow = in tcp 127.0.0.1:{port}", f"allow = in udp 127.0.0.1:{uport}"]
    r = Rig(link("g", 3, *rules))
    g = r.guest()
    s = off.Session(g)
    bid, _ = s.bind("127.0.0.1", port)
    lid, _, _ = s.listen(bid, credits=4)
    u = s.udp(local=("127.0.0.1", uport))
    k = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    k.settimeout(TIMEOUT)
    c = s.accept()
    h = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    h.settimeout(TIMEOUT)
    h.sendto(b"in", ("127.0.0.1", uport))
    eq(u.recvfrom()[0], b"in")
    eq(r.reload(link("g", 3, "allow = in any local:any")), [0, 1, 0, 2, 0])
    k.sendall(b"on")
    eq(c.recv_exact(2), b"on")
    h.sendto(b"more", ("127.0.0.1", uport))
    eq(u.recvfrom()[0], b"more")
    k2 = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    c2 = s.accept()
    eq(r.reload(link("g", 3))[4], 4)
    eq(s.reason(lid), "EACCES")
    for x in (c, c2):
        is_reset(x)
    dead(k)
    dead(k2)
    closed(port)
    eq(r.p.counters()["sockets"], 0)
    g.close()
    r.stop()


@test
def left_behind():
    """what a guest that has gone had closed is delivered by the rule that allowed it, and cut when that goes"""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.bind(("127.0.0.1", 0))
    slow.listen()
    kept = f"allow = out tcp 127.0.0.1:{slow.getsockname()[1]}"
    r = Rig(link("g", 3, kept))
    g = r.guest()
    c = off.Session(g).connect(*slow.getsockname())
    k = slow.accept()[0]
    off.stuff(g, c)
    c.shutdown(RCV | SEND)
    g.close()
    r.p.log("guest detached")
    r.reload(link("g", 3, kept, "allow = out tcp 192.0.2.1:1"))
    eq(r.p.counters()["sockets"], 1)
    r.reload(link("g", 3))
    eq((r.p.counters()["sockets"], r.p.counters()["cut"]), (0, 1))
    k.settimeout(TIMEOUT)
    try:
        while k.recv(65536):
            pass
        raise AssertionError("an end, but no reset")
    except ConnectionResetError:
        pass
    k.close()
    slow.close()
    r.stop()


@test
def published_inet():
    """publish to inet: an unchanged port keeps listener and connections, one that goes ends them"""
    a, b = free_port(), free_port()
    keep = f"publish = tcp 127.0.0.1:{a} -> inet:80"
    r = Rig(link("g", 3, keep, f"publish = tcp 127.0.0.1:{b} -> inet:81"))
    g = r.guest()
    s = off.Session(g)
    socks = []
    for port, inet in ((a, 80), (b, 81)):
        bid, _ = s.bind("0.0.0.0", inet)
        lid, _, _ = s.listen(bid, credits=8)
        k = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        k.settimeout(TIMEOUT)
        socks.append((k, s.accept(), lid))
    eq(r.reload(link("g", 3, keep))[3:], [1, 2])
    (k, c, _), (k1, c1, lid1) = socks
    k.sendall(b"on")
    eq(c.recv_exact(2), b"on")
    k2 = socket.create_connection(("127.0.0.1", a), TIMEOUT)
    c2 = s.accept()
    k2.sendall(b"2")
    eq(c2.recv_exact(1), b"2")
    eq(s.reason(lid1), "EACCES")
    is_reset(c1)
    dead(k1)
    g.close()
    r.stop()


@test
def published_udp():
    """publish udp to inet: what the guest sends from there to others is by the `out` rules of the new file"""
    port = free_port(socket.SOCK_DGRAM)
    h = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    h.bind(("127.0.0.1", 0))
    h.settimeout(TIMEOUT)
    to = h.getsockname()
    pub = f"publish = udp 127.0.0.1:{port} -> inet:53"
    r = Rig(link("g", 3, pub, f"allow = out udp 127.0.0.1:{to[1]}"))
    g = r.guest()
    s = off.Session(g)
    u = s.udp(local=("0.0.0.0", 53))
    u.sendto(b"once", to)
    eq(h.recv(10), b"once")
    # not connected: the address was good a moment ago, and is not any more
    eq(r.reload(link("g", 3, pub))[3:], [1, 0])
    u.sendto(b"again", to)
    try:
        u.recvfrom()
        raise AssertionError("sent")
    except off.Refused as e:
        eq(e.status, "EACCES")
    # connected
    eq(r.reload(link("g", 3, pub, f"allow = out udp 127.0.0.1:{to[1]}"))[:2], [0, 1])
    u.connect(*to)
    u.sendto(b"twice")
    eq(h.recv(10), b"twice")
    eq(r.reload(link("g", 3, pub))[3:], [1, 1])
    eq(s.reason(u.id), "EACCES")
    # the port is still the rule's, and whom it hears from it may answer
    u = s.udp(local=("0.0.0.0", 53))
    h.sendto(b"in", ("127.0.0.1", port))
    eq(u.recvfrom()[0], b"in")
    u.connect(*to)
    eq(r.reload(link("g", 3, pub, "allow = out tcp 192.0.2.1:1"))[3:], [0, 0])
    u.sendto(b"out")
    eq(h.recv(10), b"out")
    g.close()
    r.stop()
    h.close()


@test
def listeners_kept():
    """listening sockets of rules that stay, or change hands, are the same ones: nobody is refused meanwhile"""
    port, path = free_port(), "DIR/p.sock"
    tcp, unix = f"publish = tcp 127.0.0.1:{port} -> vsock:", f"publish = unix {path} -> vsock:"
    r = Rig(link("g", 3, tcp + "5000", unix + "5000") + link("h", 4))
    path = path.replace("DIR", r.p.dir.name)
    g, h = r.guest(), r.guest("h")
    for x in (g, h):
        x.listen(5000)
        x.listen(6000)
    ino = os.stat(path).st_ino
    refused, stop = [], threading.Event()

    def knock():
        while not stop.is_set():
            s = socket.socket()
            e = s.connect_ex(("127.0.0.1", port))
            if e:
                refused.append(e)
            s.close()
    t = threading.Thread(target=knock)
    t.start()
    for text, guest, service in (
            (link("g", 3, tcp + "6000", unix + "6000") + link("h", 4), g, 6000),
            (link("g", 3) + link("h", 4, tcp + "5000", unix + "5000"), h, 5000),
            (link("h", 4, tcp + "5000", unix + "5000", "allow = out udp any:53") + link("g", 3), h, 5000)):
        r.reload(text)
        with socket.socket(socket.AF_UNIX) as k:
            k.settimeout(TIMEOUT)
            k.connect(path)
            k.sendall(b"unix")
            while not says(guest.accept(service), b"unix"):
                pass
        eq(os.stat(path).st_ino, ino, "the socket file is another one")
    stop.set()
    t.join()
    eq(refused, [], "refused while the rules changed hands")
    g.close()
    h.close()
    r.stop()


def says(c, what):
    """The first bytes of a connection; False: it was one that only knocked."""
    try:
        return c.recv(len(what)) == what
    except Reset:
        return False


@test
def bad_files():
    """a file that is wrong, or gone, or whose sockets cannot be had, changes nothing, and says why"""
    srv = Server(echo)
    port = free_port()
    good = link("g", 3, f"allow = out tcp 127.0.0.1:{srv.port}", f"publish = tcp 127.0.0.1:{port} -> vsock:5000")
    r = Rig(good)
    g = r.guest()
    g.listen(5000)
    s = off.Session(g)
    c = s.connect("127.0.0.1", srv.port)
    busy = socket.create_server(("127.0.0.1", 0))
    taken = busy.getsockname()[1]
    free = free_port()
    for text, why in (
            ("", "nothing to do"),
            (good + "alow = out tcp any:1\n", r"did you mean `allow`\?"),
            (good + "allow = out tpc any:1\n", r"\^~~"),
            (link("g", 3) + "join = nobody\n", "name of a link that is there"),
            (link("g", 3) + link("h", 3), "same CID"),
            # the first two could be had: they must be given back
            (link("g", 3, f"publish = tcp 127.0.0.1:{free} -> vsock:1", "publish = unix DIR/new.sock -> vsock:2",
                  f"publish = tcp 127.0.0.1:{taken} -> vsock:3") + link("h", 4), f"cannot publish tcp 127.0.0.1:{taken}"),
            (link("g", 3) + "[link h]\ntype = vhost-user-vsock\npath = /nowhere/h.sock\ncid = 4\n", "cannot listen on /nowhere"),
            # links of every type, that were never started: the last rule is in the way
            (link("g", 3) + "[link a]\ntype = vsock\ncid = 5\nexpose = vsock:7 -> tcp 127.0.0.1:9\n"
             "[link b]\ntype = vsock-unix\npath = DIR/b.sock\nexpose = vsock:7 -> tcp 127.0.0.1:9\n"
             "[link c]\ntype = rpmsg-shm\npath = DIR/none\nbell = poll:1000\n[link d]\ntype = rpmsg-char\npath = remoteproc0\n"
             + link("h", 4, f"publish = tcp 127.0.0.1:{taken} -> vsock:3"), f"cannot publish tcp 127.0.0.1:{taken}"),
            (link("g", 3) + "[link r]\ntype = rpmsg-shm\npath = /dev/null\nbell = eventfd:8,9\n", "at the start"),
            ("[link g\n", "expected `]`"),
            (None, "cannot be read: No such file")):
        if text is None:
            os.unlink(r.file)
        r.refused(text, why)
        works(c)
        works(s.connect("127.0.0.1", srv.port))
        k = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        g.accept(5000)
        k.close()
        closed(free)
        left = {f for f in os.listdir(r.p.dir.name) if not f.endswith(".conf")}
        eq(left, {"g.sock"}, "files")
    # and a good one is still taken
    r.write(good)
    eq(r.reload(good), [0, 0, 0, 0, 0])
    works(c)
    g.close()
    r.stop()
    busy.close()
    srv.close()


@test
def new_links_refused():
    """a link of each type that never starts, because of what else is in the file: nothing is left of it"""
    srv = Server(echo)
    keep = f"expose = vsock:6000 -> tcp 127.0.0.1:{srv.port}"
    r = Rig(link("g", 3, keep))
    g = r.guest()
    c = g.connect(6000)
    works(c)
    fds = r.p.fds()
    files = sorted(os.listdir(r.p.dir.name))
    for one in ("vhost-user-vsock\npath = DIR/n.sock\ncid = 9", "vsock\ncid = 4244",
                "vsock-unix\npath = DIR/n.sock\nexpose = vsock:7 -> tcp 127.0.0.1:1",
                f"rpmsg-shm\npath = DIR/shm\nda = {DA}\ntable = {DA}\nbell = unix:DIR/bell",
                "rpmsg-char\npath = DIR/rpmsg_ctrl0"):
        for _ in range(2):
            r.refused(link("g", 3, keep) + f"[link n]\ntype = {one}\n"
                      f"publish = tcp 127.0.0.1:{srv.port} -> inet:80\n", "already in use")
        works(c)
        eq((r.p.fds(), sorted(os.listdir(r.p.dir.name))), (fds, files), one)
    g.close()
    r.stop()
    srv.close()


@test
def links_come_and_go():
    """links added, removed and changed while another guest's flow runs at full tilt"""
    srv = Server(echo)
    base = link("g", 3, f"expose = vsock:6000 -> tcp 127.0.0.1:{srv.port}")
    r = Rig(base + link("h", 4, f"expose = vsock:6000 -> tcp 127.0.0.1:{srv.port}"))
    g, h = r.guest(), r.guest("h")
    c, d = g.connect(6000), h.connect(6000)
    works(d)
    sent, stop, failed = [0], threading.Event(), []

    def run():
        try:
            while not stop.is_set():
                works(c, 50000)
                sent[0] += 1
        except Exception as e:  # told below
            failed.append(e)
    t = threading.Thread(target=run)
    t.start()
    at = 0
    for i in range(12):
        new = link("i", 5 + i, f"expose = vsock:6000 -> tcp 127.0.0.1:{srv.port}")
        said = r.reload(base + new)
        eq(said[0], 1, "added")
        eq(said[2], 1, "removed")
        if i == 0:
            is_gone(h)
        x = r.guest("i")
        eq(x.cid, 5 + i)
        works(x.connect(6000))
        if i % 3 == 0:  # its VMM vanishes before the link does
            x.close()
        deadline = time.monotonic() + TIMEOUT
        while sent[0] == at and t.is_alive():
            if time.monotonic() > deadline:
                raise AssertionError("the other guest's flow stands still")
            time.sleep(0.001)
        at = sent[0]
    eq(r.reload(base)[:4], [0, 0, 1, 0])
    stop.set()
    t.join(TIMEOUT)
    eq(failed, [])
    if os.path.exists(os.path.join(r.p.dir.name, "i.sock")):
        raise AssertionError("the socket of a link that is gone")
    works(c)
    h.close()
    g.close()
    r.stop()
    srv.close()


def is_gone(g):
    """The proxy has closed the vhost-user socket."""
    try:
        g.wait(lambda: False)
    except (Gone, ConnectionResetError):
        return
    raise AssertionError("the link lives")


@test
def busy_link_goes():
    """a link that goes while all of its kinds of socket are in use, and names are being resolved, takes them with it"""
    srv = Server(echo)
    h = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    h.bind(("127.0.0.1", 0))
    ports = [free_port() for _ in range(3)]
    uports = [free_port(socket.SOCK_DGRAM) for _ in range(3)]
    r = Rig(link("g", 3, f"allow = out tcp 127.0.0.1:{srv.port}", "allow = out any localhost:any",
                 f"allow = in tcp 127.0.0.1:{ports[0]}", f"allow = in udp 127.0.0.1:{uports[0]}",
                 f"expose = vsock:6000 -> tcp 127.0.0.1:{srv.port}", f"expose = vsock:6001 -> udp 127.0.0.1:{h.getsockname()[1]}",
                 f"publish = tcp 127.0.0.1:{ports[1]} -> vsock:5000", f"publish = udp 127.0.0.1:{uports[1]} -> vsock:5001",
                 f"publish = tcp 127.0.0.1:{ports[2]} -> inet:80", f"publish = udp 127.0.0.1:{uports[2]} -> inet:53",
                 "publish = vsock-mux DIR/mux -> vsock:any") + link("h", 4))
    left = r.guest("h")
    fds = None
    for _ in range(3):
        g = r.guest(seqpacket=True)
        s = off.Session(g)
        g.listen(5000)
        g.listen(5001)
        s.connect("127.0.0.1", srv.port)
        g.connect(6000)
        g.connect(6001, SEQPACKET).send_msg(b"x")
        socks = []
        for inet, port in ((ports[0], ports[0]), (80, ports[2])):
            bid, _ = s.bind("127.0.0.1", inet)
            s.listen(bid, credits=4)
            socks.append(socket.create_connection(("127.0.0.1", port), TIMEOUT))
            s.accept()
        socks.append(socket.create_connection(("127.0.0.1", ports[1]), TIMEOUT))
        g.accept(5000)
        for port in (uports[0], 53):
            s.udp(local=("127.0.0.1", port))
        for port in uports:
            h.sendto(b"x", ("127.0.0.1", port))
        g.accept(5001)
        for i in range(12):
            s.send(off.RESOLVE, struct.pack("<BBBBHBB", 0, 0, 0, 9, 1, 0, 0) + b"localhost")
        g.flush()
        text = open(r.file, encoding="utf-8").read()
        r.reload(link("h", 4))
        is_gone(g)
        for k in socks:
            dead(k)
        # the other one is as before
        eq(left.cid, 4)
        r.write(text)
        r.hup("reload: 1 links")
        fds = fds or r.p.fds()
    eq(r.p.fds(), fds, "descriptors")
    left.close()
    r.stop()
    srv.close()
    h.close()


@test
def joins():
    """joins come and go: connections between guests end with theirs, and others go on"""
    def text(*joins):
        return link("g", 3) + link("h", 4) + link("i", 5) + "".join(f"join = {j}\n" for j in joins)
    r = Rig(text("g", "h"))
    g, h, i = r.guest(), r.guest("h"), r.guest("i")
    i.listen(5000)
    pairs = []
    for x in (g, h):
        with i.pumped():
            c = x.connect(5000, cid=5)
        pairs.append((c, i.accept(5000)))
    for c, d in pairs:
        c.send(b"hello")
        eq(d.recv_exact(5), b"hello")
    eq(r.reload(text("h"))[4], 1)
    is_reset(pairs[0][0])
    is_reset(pairs[0][1])
    pairs[1][0].send(b"still")
    eq(pairs[1][1].recv_exact(5), b"still")
    try:
        g.connect(5000, cid=5)
        raise AssertionError("connected")
    except Reset:
        pass
    r.reload(text("h", "g"))
    with i.pumped():
        c = g.connect(5000, cid=5)
    c.send(b"again")
    eq(i.accept(5000).recv_exact(5), b"again")
    pairs[1][0].send(b"still")
    eq(pairs[1][1].recv_exact(5), b"still")
    for x in (g, h, i):
        x.close()
    r.stop()


@test
def limits_and_levels():
    """limits, lease and log level of the new file are in force at once"""
    srv = Server(echo)
    to = f"allow = out tcp 127.0.0.1:{srv.port}"
    r = Rig(link("g", 3, to, "limit = sockets 1"))
    g = r.guest()
    s = off.Session(g)
    a = s.connect("127.0.0.1", srv.port)
    try:
        s.connect("127.0.0.1", srv.port)
        raise AssertionError("connected")
    except off.Refused as e:
        eq(e.status, "EMFILE")
    r.reload("[proxy]\nlog-level = debug\nlease = 7\n" + link("g", 3, to, "limit = sockets 2"))
    b = s.connect("127.0.0.1", srv.port)
    r.reload(link("g", 3, to, "limit = sockets 1"))
    works(a)
    works(b)  # what is there stays
    b.close()
    g.close()
    r.stop()
    srv.close()


@test
def options_stay():
    """what the command line says stays in force, whatever the file comes to say"""
    srv = Server(echo)
    r = Rig(link("g", 3), "--allow", f"out tcp 127.0.0.1:{srv.port}", "--log-level", "warning", "--limit", "sockets 3")
    g = r.guest()
    s = off.Session(g)
    c = s.connect("127.0.0.1", srv.port)
    r.write("[proxy]\nlog-level = debug\n" + link("g", 3, "allow = out udp any:53"))
    r.p.proc.send_signal(signal.SIGHUP)  # at that level it says nothing
    deadline = time.monotonic() + TIMEOUT
    while not any("allow out udp any:53" in x for x in r.p.lines):
        if time.monotonic() > deadline:
            raise AssertionError("not reloaded")
        r.p.counters()
    works(c)
    works(s.connect("127.0.0.1", srv.port))
    r.refused(link("g", 3, "limit = sockets 5"), "expected sockets once in a link")
    works(c)
    g.close()
    r.stop()
    srv.close()


@test
def storm():
    """SIGHUP without end, good files and bad ones in turn: nothing lost, no descriptor left over"""
    srv = Server(echo)
    keep = f"expose = vsock:6000 -> tcp 127.0.0.1:{srv.port}"
    port = free_port()
    r = Rig(link("g", 3, keep))
    g = r.guest()
    c = g.connect(6000)
    texts = [link("g", 3, keep, f"publish = tcp 127.0.0.1:{port} -> vsock:1"), link("g", 3, keep) + link("h", 4),
             "[link", link("g", 3, keep)]
    before = r.p.fds()
    for i in range(60):
        r.write(texts[i % len(texts)])
        for _ in range(3):
            r.p.proc.send_signal(signal.SIGHUP)
        works(c)
    eq(r.reload(link("g", 3, keep))[4], 0)
    works(c)
    r.p.wait_counter("flows", 1)
    eq(r.p.fds(), before, "descriptors")
    g.close()
    r.stop()
    srv.close()


class Control:
    """The control socket: one request, one answer."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")

    def ask(self, **kw):
        self.sock.sendall((json.dumps(kw) + "\n").encode())
        return json.loads(self.file.readline())

    def good(self, **kw):
        a = self.ask(**kw)
        if not a["ok"]:
            raise AssertionError(a)
        return a

    def bad(self, why, **kw):
        a = self.ask(**kw)
        if a["ok"] or why not in json.dumps(a):
            raise AssertionError(f"no `{why}` in {a}")


@test
def run_time():
    """publish at run time: it works, stays through reloads, is the file's when that has it, and goes when told"""
    port, other = free_port(), free_port()
    head = "[proxy]\ncontrol = DIR/control\nruntime-dir = DIR\n"
    r = Rig(head + link("g", 3, f"publish = tcp 127.0.0.1:{other} -> vsock:5001"))
    g = r.guest()
    g.listen(5000)
    g.listen(5001)
    d = r.p.dir.name
    c = Control(os.path.join(d, "control"))
    tcp, unix = f"tcp 127.0.0.1:{port} -> vsock:5000", f"unix {d}/rt.sock -> vsock:5000"
    for rule in (tcp, unix):
        c.good(cmd="publish-add", link="g", rule=rule)
    for rule, why in ((tcp, "published already at"), (f"tcp 127.0.0.1:{other} -> vsock:1", "published already at"),
                      ("tcp 127.0.0.1:1", "expected `->`"), ("tcp 127.0.0.1:5 -> rpmsg:a", "vsock:PORT"),
                      (f"unix {d}/a/b -> vsock:1", "cannot listen"), (f"unix {d}/../rt2 -> vsock:1", "cannot listen"),
                      ("unix /tmp/elsewhere -> vsock:1", "cannot listen")):
        c.bad(why, cmd="publish-add", link="g", rule=rule)
    c.bad("link", cmd="publish-add", link="x", rule=tcp)

    def use():
        k = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        k.settimeout(TIMEOUT)
        k.sendall(b"hello")
        x = g.accept(5000)
        eq(x.recv_exact(5), b"hello")
        return k, x
    k, x = use()
    eq(r.reload(head + link("g", 3, f"publish = tcp 127.0.0.1:{other} -> vsock:5001", "allow = out any any:any"))[4], 0)
    use()
    k.sendall(b"still")
    eq(x.recv_exact(5), b"still")
    eq(r.hits(f"publish {tcp}"), 2)
    # the file's from now on: the next file decides
    eq(r.reload(head + link("g", 3, f"publish = {tcp}"))[4], 0)
    eq(r.hits(f"publish {tcp}"), 2)
    k.sendall(b"still")
    eq(x.recv_exact(5), b"still")
    # elsewhere to, while it is there at run time: no
    r.refused(head + link("g", 3, f"publish = {tcp}", f"publish = unix {d}/rt.sock -> vsock:5001"), "published at run time")
    # nor all of what it has a part of; another port 0 is another port
    part, free = f"tcp 127.0.0.1:{other} -> vsock:5000", "tcp 127.0.0.1:0 -> vsock:5000"
    for rule in (part, free):
        c.good(cmd="publish-add", link="g", rule=rule)
    r.refused(head + link("g", 3, f"publish = {tcp}", f"publish = tcp 0.0.0.0:{other} -> vsock:5001"), f"`{part}` was published at run time")
    r.reload(head + link("g", 3, f"publish = {tcp}", "publish = tcp 127.0.0.1:0 -> vsock:5001"))
    r.reload(head + link("g", 3, f"publish = {tcp}"))
    for rule in (part, free):
        c.good(cmd="publish-del", link="g", rule=rule)
    c.good(cmd="publish-del", link="g", rule=unix)
    eq(os.path.exists(f"{d}/rt.sock"), False)
    c.bad("publishes no such rule", cmd="publish-del", link="g", rule=unix)
    c.bad("publishes no such rule", cmd="publish-del", link="g", rule="4711")
    # any free port is another one each time
    for _ in range(2):
        c.good(cmd="publish-add", link="g", rule="tcp 127.0.0.1:0 -> vsock:5000")
    for _ in range(2):
        c.good(cmd="publish-del", link="g", rule="tcp 127.0.0.1:0 -> vsock:5000")
    n = re.search(r"id=(\d+)", r.rule(f"publish {tcp}")).group(1)
    c.good(cmd="publish-del", link="g", rule=n)
    is_reset(x)
    dead(k)
    closed(port)
    # in the file still, so it comes back
    c.good(cmd="reload")
    use()
    r.write("[link")
    c.bad("expected `]`", cmd="reload")
    use()
    g.close()
    r.stop()


@test
def remotes():
    """rpmsg links: services and ports come and go; a stream that stays is not touched"""
    srv = Server(echo)
    port, late = free_port(), free_port()
    keep = f"publish = tcp 127.0.0.1:{port} -> rpmsg:web"
    exp = f"expose = rpmsg:out -> tcp 127.0.0.1:{srv.port}"

    def text(*rules):
        return (f"[link g]\ntype = rpmsg-shm\npath = DIR/ram\nda = {DA:#x}\nbell = unix:DIR/bell\n" +
                "".join(x + "\n" for x in rules))
    bells = []

    def before(p):
        bells.append(UnixBell(os.path.join(p.dir.name, "bell")))
    r = Rig(text(keep, exp), before=before)
    m = Remote(os.path.join(r.p.dir.name, "ram"), bells[0])
    m.wait_up()
    m.listen("web")
    m.listen("late")
    m.wait(lambda: False, 0.05)
    k = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    k.settimeout(TIMEOUT)
    c = m.accept("web")
    lives = m.lives

    def still():
        k.sendall(b"hello")
        eq(c.recv_exact(5), b"hello")
        eq(m.lives, lives, "the remote had to begin anew")
    still()
    # a name that was announced before any rule asked for it
    eq(r.reload(text(keep, exp, f"publish = tcp 127.0.0.1:{late} -> rpmsg:late"))[2:], [0, 0, 0])
    still()
    with socket.create_connection(("127.0.0.1", late), TIMEOUT) as x:
        y = m.accept("late")
        x.sendall(b"late")
        eq(y.recv_exact(4), b"late")
    still()
    eq(r.reload(text(keep, exp, "allow = out udp any:53"))[2:4], [0, 1])
    still()
    # another service of ours: the remote begins anew
    eq(r.reload(text(keep, exp, f"expose = rpmsg:more -> tcp 127.0.0.1:{srv.port}"))[0], 1)
    dead(k)
    m.wait(lambda: m.lives > lives, TIMEOUT)
    m.close()
    os.unlink(m.path)
    r.stop()
    srv.close()


@test
def eventfd_doorbell():
    """a link whose doorbell is a pair of eventfds becomes another, goes, and comes back: the descriptors are there still"""
    srv, bell = Server(echo), EventBell()

    def text(more):
        return (f"[link m]\ntype = rpmsg-shm\npath = DIR/ram\nda = {DA:#x}\nbell = {bell.arg()}\n{more}"
                f"allow = out tcp 127.0.0.1:{srv.port}\n")
    r = Rig(text(""), fds=bell.fds)
    m = Remote(os.path.join(r.p.dir.name, "ram"), bell)

    def use(lives=0):
        m.wait(lambda: m.lives > lives, TIMEOUT)
        works(off.Session(m).connect("127.0.0.1", srv.port))
    use()
    for other in (text("buffers = 16\n"), link("g", 3), text("")):
        lives = m.lives
        r.reload(other)
        if "rpmsg" in other:
            use(lives)
    assert not any("did not start" in x for x in r.p.lines)
    m.close()
    os.unlink(m.path)
    r.stop()
    srv.close()


@test
def ends_at_once():
    """a published port that ends refuses at once, also while the helper, which has a duplicate, is busy; and can come again"""
    port = free_port()
    r = Rig(f"[proxy]\ncontrol = DIR/control\n" +
            link("g", 3, *(f"publish = {kind} 127.0.0.1:{port} -> vsock:1" for kind in ("tcp", "udp"))))
    c = ctl.Raw(r.p)
    rules = [x["rule"] for x in c.ask({"cmd": "rules"})["result"][:2]]
    r.p.proc.send_signal(signal.SIGSTOP)
    try:
        for rule in rules:
            assert c.ask({"cmd": "publish-del", "link": "g", "rule": rule})["ok"]
        closed(port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as k:
            k.settimeout(TIMEOUT)
            k.connect(("127.0.0.1", port))
            k.send(b"nobody")
            try:
                raise AssertionError(k.recv(1))
            except ConnectionRefusedError:
                pass
    finally:
        r.p.proc.send_signal(signal.SIGCONT)
    for rule in rules:
        assert c.ask({"cmd": "publish-add", "link": "g", "rule": rule})["ok"]
    for _ in range(5):  # which no file has, and the helper may still have a duplicate of
        for what in ("add", "del"):
            assert c.ask({"cmd": f"publish-{what}", "link": "g", "rule": f"udp {own_host()}:{port} -> vsock:1"})["ok"], what
    assert socket.socket().connect_ex(("127.0.0.1", port)) != errno.ECONNREFUSED
    c.close()
    r.stop()


def not_shared(r, host, port, kind=socket.SOCK_STREAM):
    """No other process of the worker's user comes in where it listens, however it asks."""
    user = os.geteuid()
    with open(f"/proc/{r.p.worker_pid()}/status", encoding="ascii") as f:
        its = int(next(x for x in f if x.startswith("Uid:")).split()[1])
    for at in {"0.0.0.0", host} if host != "0.0.0.0" else ("0.0.0.0", "127.0.0.1", "127.0.0.2"):
        os.seteuid(its)
        try:
            third = socket.socket(socket.AF_INET, kind)
        finally:
            os.seteuid(user)
        with third:
            third.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            third.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                third.bind((at, port))
                raise AssertionError(f"another process may listen at {at}:{port}, too")
            except OSError as e:
                eq(e.errno, errno.EADDRINUSE)


@test
def wider_and_narrower():
    """a port published at the wildcard, then at one address, and back: in one reload each"""
    port = free_port()

    def conf(host):
        return link("g", 3, f"publish = tcp {host}:{port} -> vsock:1")
    r = Rig(conf("0.0.0.0"))
    for host in ("127.0.0.1", "0.0.0.0", "127.0.0.2"):
        eq(r.reload(conf(host)), [0, 1, 0, 1, 0])
        not_shared(r, host, port)
        for at in ("127.0.0.1", "127.0.0.2"):
            eq(socket.socket().connect_ex((at, port)) != errno.ECONNREFUSED, host in (at, "0.0.0.0"), (host, at))
    # the new one listened already when something else was wrong
    r.refused(conf("0.0.0.0") + link("h", 4, f"publish = unix {r.p.dir.name}/no/such -> vsock:1"), "cannot publish unix")
    not_shared(r, "127.0.0.2", port)
    # said where it cannot be had: both wildcards are taken
    both = f"publish = tcp [::]:{port} -> vsock:1\n"
    r.reload(conf("127.0.0.2") + both)
    assert not any("may listen there, too" in x for x in r.p.lines)
    r.reload(conf("0.0.0.0") + both)
    r.p.log(f"port {port}: until a restart")
    r.reload(conf("127.0.0.1") + both)
    not_shared(r, "127.0.0.1", port)
    r.stop()


@test
def wider_than_there_is_room():
    """a published address that becomes the wildcard, of which another process has a part: refused, and it stays"""
    with socket.create_server(("127.0.0.2", 0)) as other:
        port = other.getsockname()[1]

        def conf(host):
            return link("g", 3, f"publish = tcp {host}:{port} -> vsock:1")
        r = Rig(conf("127.0.0.1"))
        g = r.guest()
        g.listen(1)
        for _ in range(2):
            r.refused(conf("0.0.0.0"), f"0.0.0.0:{port}: the port is already in use by another process")
            with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as k:
                c = g.accept(1)
                k.sendall(b"stays")
                eq(c.recv_exact(5), b"stays")
        not_shared(r, "127.0.0.1", port)
    eq(r.reload(conf("0.0.0.0"))[:4], [0, 1, 0, 1])
    with socket.create_connection(("127.0.0.2", port), timeout=TIMEOUT):
        g.accept(1)
    r.stop()


@test
def udp_wider_and_narrower():
    """the same of UDP: no datagram is lost behind the reload; of an address that another process has a part of, nothing changes"""
    port = free_port(socket.SOCK_DGRAM)
    r = Rig(link("g", 3, f"publish = udp 127.0.0.1:{port} -> vsock:1"))
    g = r.guest(seqpacket=True)
    g.listen(1)

    def heard(at, text):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as k:
            k.settimeout(TIMEOUT)
            k.sendto(text, (at, port))
            c = g.accept(1)
            eq(c.recv_msg(), text)
            c.send_msg(text[::-1])
            eq(k.recvfrom(100), (text[::-1], (at, port)))
    heard("127.0.0.1", b"first")
    for host in ("0.0.0.0", "127.0.0.2", "0.0.0.0", "127.0.0.1"):
        eq(r.reload(link("g", 3, f"publish = udp {host}:{port} -> vsock:1"))[:4], [0, 1, 0, 1])
        heard(host if host != "0.0.0.0" else "127.0.0.1", host.encode())
        not_shared(r, host, port, socket.SOCK_DGRAM)
    for older, family, at in ((True, socket.AF_INET, "127.0.0.3"), (False, socket.AF_INET, "127.0.0.3"),
                              (True, socket.AF_INET6, "::ffff:127.0.0.3")):
        with socket.socket(family, socket.SOCK_DGRAM) as other:
            if older:
                r.reload(link("g", 3))
            other.bind((at, port))
            if older:
                r.reload(link("g", 3, f"publish = udp 127.0.0.1:{port} -> vsock:1"))
            heard("127.0.0.1", b"stays")
            r.refused(link("g", 3, f"publish = udp 0.0.0.0:{port} -> vsock:1"), f"0.0.0.0:{port}: the port is already in use by another process")
            heard("127.0.0.1", b"and stays")
            not_shared(r, "127.0.0.1", port, socket.SOCK_DGRAM)
    g.close()
    r.stop()


@test
def udp_wider_without_net():
    """the same where /proc has processes alone, as in our unit for systemd"""
    if os.geteuid():
        return "only root can mount /proc"
    port = free_port(socket.SOCK_DGRAM)
    with plain():
        r = Rig(link("g", 3, f"publish = udp 127.0.0.1:{port} -> vsock:1"), env={"LD_PRELOAD": preload("pidproc")})
    eq(r.reload(link("g", 3, f"publish = udp 0.0.0.0:{port} -> vsock:1"))[:4], [0, 1, 0, 1])
    r.stop()
    return None


@test
def too_many_links():
    """more links than one process serves: refused, and what runs goes on"""
    srv = Server(echo)
    rule = f"expose = vsock:6000 -> tcp 127.0.0.1:{srv.port}"
    r = Rig(link("g", 3, rule))
    c = r.guest().connect(6000)
    more = "".join(f"[link r{i}]\ntype = rpmsg-shm\npath = DIR/ram{i}\nda = {DA:#x}\nbell = poll:1000\n" for i in range(257))
    for _ in range(2):
        r.refused(link("g", 3, rule) + more, "expected at most 256 links of type rpmsg-shm in one process")
    works(c)
    eq(r.reload(link("g", 3, rule) + more.split("[link r9]")[0])[0], 9)
    works(c)
    r.stop()
    srv.close()


@test
def not_all_of_it():
    """what cannot be started for all that was tried before is told to who asked, counted, and the rest is in force"""
    good, bad = free_port(), free_port()
    with tempfile.NamedTemporaryFile(prefix="ampsock-nowatch-") as none:
        def say(byte):
            none.seek(0)
            none.write(byte)
            none.flush()
        say(b"\0")
        head = "[proxy]\ncontrol = DIR/control\nmetrics = unix DIR/metrics\n"
        r = Rig(head + link("g", 3), env={"LD_PRELOAD": preload("nowatch"), "NO_WATCH": none.name,
                                        "ASAN_OPTIONS": "verify_asan_link_order=0"})

        def metric(name):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(os.path.join(r.p.dir.name, "metrics"))
                s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                data = b"".join(iter(lambda: s.recv(65536), b""))
            return int(re.search(rf"(?m)^{name} (\d+)$", data.decode()).group(1))
        rules = [f"publish = tcp 127.0.0.1:{bad} -> vsock:1", "allow = out udp any:53"]
        whole = head + link("g", 3, *rules) + link("h", 4, "join = g")
        r.write(whole)
        say(b"\1")
        err = ctl.run(r.p, "reload", code=1)
        say(b"\0")
        for words in ("is in force, but not all of it", f"publish tcp 127.0.0.1:{bad} -> vsock:1: No space left",
                      "link h did not start: No space left"):
            assert words in err, err
        assert "out udp any:53" in [x["rule"] for x in ctl.ask(r.p, "rules")]
        eq([metric("ampsock_" + x) for x in ("reloads_total", "reloads_refused_total", "reload_failures_total")], [1, 0, 2])
        r.write(head + "what")
        ctl.run(r.p, "reload", code=1)
        eq([metric("ampsock_" + x) for x in ("reloads_total", "reloads_refused_total", "reload_failures_total")], [2, 1, 2])
        eq([x["name"] for x in ctl.ask(r.p, "links")], ["g"])
        # and is tried again the next time
        r.write(whole + f"publish = tcp 127.0.0.1:{good} -> vsock:1\n")
        eq(ctl.run(r.p, "reload"), "")
        eq([x["name"] for x in ctl.ask(r.p, "links")], ["g", "h"])
        for port in (good, bad):
            assert socket.socket().connect_ex(("127.0.0.1", port)) != errno.ECONNREFUSED
        r.stop()


@test
def kernel_vsock():
    """vsock: a port that cannot be had changes nothing; ports that come, go and change their kind"""
    def listens(port):
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as k:
            try:
                k.bind((socket.VMADDR_CID_ANY, port))
            except OSError as e:
                eq(e.errno, errno.EADDRINUSE)
                return True
        return False
    try:
        taken = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    except OSError as e:
        return f"no AF_VSOCK here: {e.strerror}"
    taken.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
    taken.listen(1)
    one, two, three = range(taken.getsockname()[1] + 1, taken.getsockname()[1] + 4)

    def conf(*exposed):
        return "[link v]\ntype = vsock\ncid = 4242\n" + \
            "".join(f"expose = vsock:{port} -> {kind} 127.0.0.1:1\n" for port, kind in exposed)
    r = Rig(conf((one, "tcp"), (two, "tcp")))
    # the port of one is somebody else's
    r.refused(conf((three, "tcp"), (taken.getsockname()[1], "tcp")), "link v: cannot listen on AF_VSOCK port")
    eq([listens(x) for x in (one, two, three)], [True, True, False])
    # of another kind, which the kernel does not have beside the old one
    eq(r.reload(conf((one, "udp"), (two, "tcp"))), [0, 1, 0, 1, 0])
    eq([listens(x) for x in (one, two, three)], [True, True, False])
    if any("expected one kind" in x for x in r.p.lines):
        raise AssertionError("\n".join(r.p.lines))
    eq(r.reload(conf((three, "tcp"))), [0, 1, 0, 2, 0])
    eq([listens(x) for x in (one, two, three)], [False, False, True])
    # links share a port, but not for two kinds
    r.refused(conf((three, "tcp")) + "[link w]\ntype = vsock\ncid = 4243\n"
              f"expose = vsock:{three} -> udp 127.0.0.1:1\n", "link w: AF_VSOCK port .* link v's for another kind")
    # a link that comes
    eq(r.reload(conf((three, "tcp")) + "[link w]\ntype = vsock\ncid = 4243\n"
                f"expose = vsock:{one} -> tcp 127.0.0.1:1\n")[:2], [1, 0])
    eq([listens(x) for x in (one, two, three)], [True, False, True])
    # and both take another kind at once, or what the other had

    def both(*kinds):
        return "".join(f"[link {n}]\ntype = vsock\ncid = {4242 + i}\n" +
                       "".join(f"expose = vsock:{port} -> {k} 127.0.0.1:1\n" for port, k in kinds[i])
                       for i, n in enumerate("vw"))
    for kinds in ([((one, "tcp"),), ((one, "tcp"),)], [((one, "udp"),), ((one, "udp"),)],
                  [((one, "tcp"),), ((two, "udp"),)], [((two, "tcp"),), ((one, "udp"),)],
                  [((one, "tcp"), (three, "udp")), ((one, "tcp"), (two, "tcp"))]):
        r.reload(both(*kinds))
        eq([listens(x) for x in (one, two, three)], [any(x == p for k in kinds for p, _ in k) for x in (one, two, three)])
        n = len(r.p.lines)
        r.p.counters()
        for i, name in enumerate("vw"):
            line = r.p.log(f"counters: link={name}", start=n)
            eq(re.search(r" ports=(\d+)", line).group(1), str(len(kinds[i]) + 1), line)
    taken.close()
    r.stop()


@test
def no_file():
    """SIGHUP without --config: said, and nothing else happens"""
    srv = Server(echo)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}")
    g = Guest(p.path)
    c = g.connect(6000)
    p.proc.send_signal(signal.SIGHUP)
    p.log("there is no file to read again")
    works(c)
    g.close()
    p.stop()
    srv.close()


@test
def groups():
    """a multicast group that no rule has any more is left, and its guest told; the socket and other groups stay"""
    port, lo = free_port(socket.SOCK_DGRAM), socket.if_nametoindex("lo")
    gone, stays = "239.255.77.10", "239.255.77.11"
    rules = [f"allow = in udp 0.0.0.0:{port}", f"allow = out udp {stays}:any", f"allow = out udp {gone}:any"]
    r = Rig(link("g", 3, *rules))
    s = off.Session(r.guest())
    u = s.udp(local=("0.0.0.0", port))
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    a.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", bytes(4), bytes(4), lo))
    for x in (gone, stays):
        s.setopt(u.id, "IP_ADD_MEMBERSHIP", off.addr(x) + struct.pack("<I", lo) + bytes(4))
        a.sendto(b"one", (x, port))
        eq(u.recvfrom()[0], b"one")
    eq(r.reload(link("g", 3, *rules[:2])), [0, 0, 0, 1, 1])
    kind, _, arg, to, _ = u.frame()
    eq((kind, off.name(arg), to[0]), (1, "EACCES", gone))
    a.sendto(b"nobody's", (gone, port))
    a.sendto(b"two", (stays, port))
    eq(u.recvfrom()[0], b"two")
    r.stop()


main()
