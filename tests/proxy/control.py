#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""The control socket and ampsockctl: every command, and everything that must be refused."""
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import unittest.mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import ctl  # noqa: E402
from clock import Clock  # noqa: E402
from harness import BUILD, TIMEOUT, Proxy, Server, binary, echo, eq, free_port, main, own_host, test  # noqa: E402
from procs import preload, state, until  # noqa: E402
from offload import CONNECT, INET, STREAM, Session, addr, carrier, open_header  # noqa: E402
from rpmsgrig import Rig  # noqa: E402
from vguest import SEND, SEQPACKET, Guest, Reset  # noqa: E402

CONTROL = "control DIR/control"


class Bed:
    """A proxy with a guest and an echo server exposed at vsock:6000."""

    def __init__(self, *rules, seqpacket=False):
        self.srv = Server(echo)
        self.p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{self.srv.port}", *rules, CONTROL)
        self.g = Guest(self.p.path, seqpacket=seqpacket)

    def close(self):
        self.g.close()
        left = self.p.stop()
        self.srv.close()
        eq(left, [], "left behind")


class Flow:
    """Echoes all the while, in a thread: rounds counts what came back right."""

    def __init__(self, g):
        self.c = g.connect(6000)
        self.rounds, self.stop, self.error = 0, False, None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.stop:
                data = os.urandom(20000)
                self.c.send(data)
                eq(self.c.recv_exact(len(data)), data, "echo")
                self.rounds += 1
        except BaseException as e:  # told by done()
            self.error = e

    def more(self, n=3):
        """So many rounds later."""
        want = self.rounds + n
        deadline = threading.Event()
        for _ in range(int(TIMEOUT * 100)):
            if self.error:
                raise self.error
            if self.rounds >= want:
                return
            deadline.wait(0.01)
        raise AssertionError("the flow stands")

    def done(self):
        self.stop = True
        self.thread.join(TIMEOUT)
        if self.error:
            raise self.error
        self.c.close()


@test
def every_command():
    """status, links, sockets, rules, top, log level: tables and JSON, of what is there"""
    port = free_port()
    b = Bed(f"publish tcp 127.0.0.1:{port} -> vsock:5000", "allow out tcp 192.0.2.0/24:80")
    c = b.g.connect(6000)
    c.send(b"hello")
    eq(c.recv_exact(5), b"hello")
    s = ctl.ask(b.p, "status")
    eq((s["links"], s["links_up"], s["flows"], s["from_guest_bytes"], s["log_level"]), (1, 1, 1, 5, "info"))
    link, = ctl.ask(b.p, "links")
    eq((link["name"], link["cid"], link["up"], link["to_guest_bytes"], link["restarts"]), ("g", 3, True, 5, 0))
    flow, listen = ctl.ask(b.p, "sockets", "-l", "g")
    eq((flow["kind"], flow["proto"], flow["state"]), ("expose", "tcp", "established"))
    eq((flow["guest_peer"], flow["guest_local"]), (f"vsock:3:{c.local}", "vsock:2:6000"))
    eq(flow["host_peer"], f"127.0.0.1:{b.srv.port}")
    eq((flow["from_guest_bytes"], flow["to_guest_bytes"], flow["held_bytes"]), (5, 5, 0))
    eq((flow["credit_bytes"], flow["window_bytes"]), (262144 - 5, 262144), "credit")
    assert flow["rtt_us"] > 0, flow
    eq((listen["kind"], listen["state"], listen["host_local"]), ("publish", "listen", f"127.0.0.1:{port}"))
    kinds = {r["kind"]: r for r in ctl.ask(b.p, "rules")}
    eq(kinds["allow"]["rule"], "out tcp 192.0.2.0/24:80")
    eq((kinds["allow"]["hits"], kinds["default"]["denied"]), (0, 0))
    for what, words in (("status", ["links_up +1"]), ("links", ["LINK +TYPE", "g +vhost-user-vsock +3 +yes"]),
                        ("sockets", ["g +expose +tcp +established"]), ("rules", ["out tcp 192.0.2.0/24:80"])):
        text = ctl.run(b.p, what)
        for w in words:
            assert re.search(w, text), f"{what}: no {w} in\n{text}"
    frames = ctl.run(b.p, "top", "-n", "2", "-i", "1").split("LINK ")
    eq(len(frames), 3, "frames")
    assert re.search(f"expose vsock:3:{c.local} <> 127.0.0.1:{b.srv.port}", frames[2]), frames
    two = [json.loads(x) for x in ctl.run(b.p, "--json", "top", "-n", "2", "-i", "1").splitlines()]
    eq([t["links"][0]["name"] for t in two], ["g", "g"])
    eq(ctl.run(b.p, "log", "level", "debug"), "")
    eq(ctl.ask(b.p, "status")["log_level"], "debug")
    b.p.log(r"control: log-level was done event=control cmd=log-level outcome=done uid=\d+ pid=\d+ level=debug$")
    c.close()
    b.close()


@test
def offloaded():
    """sockets of the offload protocol: control carrier, connection, UDP, listener; hits and denials by rule"""
    b = Bed("allow out tcp 127.0.0.1:any", "allow out udp 127.0.0.1:any", "allow in tcp 127.0.0.1:0")
    ses = Session(b.g)
    c = ses.connect("127.0.0.1", b.srv.port)
    u = ses.udp(peer=("127.0.0.1", b.srv.port))
    ses.bind("127.0.0.1", 0)
    try:
        ses.connect("192.0.2.1", 80)
        raise AssertionError("192.0.2.1 was allowed")
    except OSError:
        pass
    rows = ctl.ask(b.p, "sockets")
    kinds = sorted(r["kind"] for r in rows)
    assert {"control", "connect", "udp", "bound"} <= set(kinds), kinds
    tcp = next(r for r in rows if r["kind"] == "connect")
    eq((tcp["state"], tcp["host_peer"]), ("established", f"127.0.0.1:{b.srv.port}"))
    udp = next(r for r in rows if r["kind"] == "udp")
    eq((udp["proto"], udp["state"], udp["host_peer"]), ("udp", "connected", f"127.0.0.1:{b.srv.port}"))
    rules = ctl.ask(b.p, "rules")
    assert rules[0]["hits"] >= 1, rules
    eq(rules[-1]["denied"], 1)
    eq(ctl.ask(b.p, "links")[0]["denied"], 1)
    u.close()
    c.close()
    b.close()


@test
def publishing():
    """publish add and del: the port opens and carries, shows in rules and sockets, and is gone; mistakes say what is wrong"""
    b = Bed()
    b.g.listen(5000)
    # whoever is given a free port meanwhile must neither have it first nor answer behind it
    host, port = own_host(), 5000
    rule = f"tcp {host}:{port} -> vsock:5000"
    eq(ctl.run(b.p, "publish", "add", "g", rule), "")
    with socket.create_connection((host, port), timeout=TIMEOUT) as k:
        c = b.g.accept(5000)
        k.sendall(b"published")
        eq(c.recv_exact(9), b"published")
        row = next(r for r in ctl.ask(b.p, "rules") if r["kind"] == "publish")
        eq((row["rule"], row["runtime"], row["hits"]), (rule, True, 1))
        assert any(r["state"] == "listen" and r["host_local"] == f"{host}:{port}" for r in ctl.ask(b.p, "sockets"))
        assert "already" in ctl.run(b.p, "publish", "add", "g", rule, code=1)
    for text, words in (("tcp 127.0.0.1 -> vsock:5000", "expected"), (f"unix {ctl.path(b.p)} -> vsock:1", "the control socket's"),
                        (f"unix {b.p.path} -> vsock:1", "that of link g"), ("what", "expected"), ("tcp 127.0.0.1:1 -> rpmsg:x", "link")):
        assert words in ctl.run(b.p, "publish", "add", "g", text, code=1), text
    k = socket.create_connection((host, port), timeout=TIMEOUT)
    c = b.g.accept(5000)
    k.sendall(b"open")
    eq(c.recv_exact(4), b"open")
    eq(ctl.run(b.p, "publish", "del", "g", rule), "")
    try:  # as after a reload without the rule
        eq(k.recv(1), "a reset")
    except ConnectionResetError:
        k.close()
    assert ctl.ask(b.p, "links")[0]["cut"] > 0
    try:
        socket.create_connection((host, port), timeout=TIMEOUT).close()
        raise AssertionError("it is published still")
    except ConnectionRefusedError:
        pass
    assert "no such rule" in ctl.run(b.p, "publish", "del", "g", rule, code=1)
    eq([r for r in ctl.ask(b.p, "rules") if r["kind"] == "publish"], [])
    b.close()


@test
def published_at():
    """port 0 is any free one: sockets and the log show which; a vsock-mux shows the ports of its rule"""
    b = Bed("publish tcp 127.0.0.1:0 -> vsock:5000", "publish tcp [::1]:0 -> inet:80", "publish udp 127.0.0.1:0 -> vsock:5001", "metrics tcp 127.0.0.1:0",
            "publish vsock-mux DIR/m -> vsock:22,1000-1999", "publish vsock-mux DIR/n -> vsock:any")
    b.g.listen(5000)
    rows = [r for r in ctl.ask(b.p, "sockets") if r["state"] in ("listen", "bound")]
    eq([r["guest_peer"] for r in rows], ["vsock:5000", "inet:80", "vsock:5001", "vsock:22,1000-1999", "vsock:any"])
    ports = [int(r["host_local"].rsplit(":", 1)[1]) for r in rows[:3]]
    assert all(ports) and rows[1]["host_local"].startswith("[::1]:"), rows
    for port, rule in zip(ports, ("tcp 127.0.0.1:0 -> vsock:5000", "tcp ...1.:0 -> inet:80", "udp 127.0.0.1:0 -> vsock:5001")):
        b.p.log(f"publish {rule} .--publish.: its address is .*:{port}$")
    with socket.create_connection(("127.0.0.1", ports[0]), timeout=TIMEOUT):
        b.g.accept(5000)
    at = b.p.log(r"metrics: listening on 127.0.0.1:\d").rsplit(":", 1)[1]
    socket.create_connection(("127.0.0.1", int(at)), timeout=TIMEOUT).close()
    b.close()


@test
def published_used():
    """publish: rules count connections, UDP peers, and sockets of the guest at a port that leads to inet"""
    rules = [f"tcp 127.0.0.1:{free_port()} -> inet:80", f"udp 127.0.0.1:{free_port(socket.SOCK_DGRAM)} -> inet:53",
             f"udp 127.0.0.1:{free_port(socket.SOCK_DGRAM)} -> vsock:5353"]
    b = Bed(*("publish " + r for r in rules), seqpacket=True)
    at = [("127.0.0.1", int(re.search(r":(\d+)", r).group(1))) for r in rules]

    def hits():
        return [r["hits"] for r in ctl.ask(b.p, "rules") if r["kind"] == "publish"]
    with contextlib.suppress(ConnectionResetError), socket.create_connection(at[0], timeout=TIMEOUT) as k:
        eq(k.recv(1), b"?")  # nobody listens: not used
    b.g.listen(5353)
    ses = Session(b.g)
    eq(hits(), [0, 0, 0])
    bid, _ = ses.bind("0.0.0.0", 80)
    ses.listen(bid, 4, 2)
    u = ses.udp(local=("0.0.0.0", 53))
    with socket.create_connection(at[0], timeout=TIMEOUT), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as k:
        ses.accept()
        for _ in range(2):
            k.sendto(b"query", at[1])
            eq(u.recvfrom()[0], b"query")
            k.sendto(b"hello", at[2])
        c = b.g.accept(5353)
        eq((c.recv_msg(), c.recv_msg()), (b"hello", b"hello"))
        eq(hits(), [1, 1, 1])
    b.close()


@test
def reloading():
    """reload: what the file says now is in force; a mistake comes back with its line and caret, and changes nothing"""
    conf = tempfile.NamedTemporaryFile("w", prefix="ampsock-test-", suffix=".conf")

    def write(p, rule):
        conf.seek(0)
        conf.truncate()
        conf.write(f"[proxy]\ncontrol = {p.dir.name}/control\n[link g]\ntype = vhost-user-vsock\npath = {p.path}\ncid = 3\n{rule}\n")
        conf.flush()

    def args(p):
        write(p, "allow = out tcp 192.0.2.1:80")
        return ["--config", conf.name]
    p = Proxy(args=args)
    g = Guest(p.path)
    eq(ctl.ask(p, "rules")[0]["rule"], "out tcp 192.0.2.1:80")
    eq(ctl.ask(p, "rules")[0]["where"], f"{conf.name}:7")
    write(p, "allow = out tcp 192.0.2.1:99999")
    err = ctl.run(p, "reload", code=1)
    assert f"{conf.name}:7" in err and "\n" in err.strip() and "^" in err, err
    eq(ctl.ask(p, "rules")[0]["rule"], "out tcp 192.0.2.1:80")
    write(p, "allow = out tcp 192.0.2.2:443")
    eq(ctl.run(p, "reload"), "")
    eq(ctl.ask(p, "rules")[0]["rule"], "out tcp 192.0.2.2:443")
    write(p, "allow = out tcp 192.0.2.2:443\n[proxy]\ncontrol-group = root\nnat64 = 2001:db8::/96")
    eq(ctl.run(p, "reload").split(), ["needs_restart", "control-group", "nat64"])
    eq(ctl.ask(p, "reload"), {"needs_restart": "control-group nat64"})
    g.close()
    p.stop()
    conf.close()


@test
def audit():
    """what is asked for is in the log with its outcome, who asked, and why it was refused; strangers and lookers do not flood it"""
    b = Bed("control-group 4242", "control-read-group 4243")
    r = ctl.Raw(b.p)
    me = f"uid={os.getuid()} pid={os.getpid()}"

    def said(req, line):
        start = len(b.p.lines)
        ok = r.ask(req)["ok"]
        # that there is no line of what became of it before it is known: it is the next one
        eq(b.p.log("event=control", start=start).split("control: ", 1)[1], line)
        return ok
    rule = f"tcp {own_host()}:5001 -> vsock:5000"
    for cmd in ("publish-add", "publish-del"):
        eq(said({"cmd": cmd, "link": "g", "rule": rule},
                f'{cmd} was done event=control cmd={cmd} outcome=done {me} link=g rule="{rule}"'), True)
    eq(said({"cmd": "publish-del", "link": "g", "rule": rule},
            f'publish-del was refused event=control cmd=publish-del outcome=refused {me} link=g rule="{rule}" why="link g publishes no such rule: expected its number, or its text as it was given"'), False)
    eq(said({"cmd": "reset", "link": "h"}, f'reset was refused event=control cmd=reset outcome=refused {me} link=h why="there is no link of that name: expected g"'),
       False)
    eq(said({"cmd": "reset", "link": "g"}, f"reset was done event=control cmd=reset outcome=done {me} link=g"), True)
    eq(said({"cmd": "log-level"}, f'log-level was refused event=control cmd=log-level outcome=refused {me} '
            'why="the request has keys that this command does not take, or lacks one that it needs: see docs/control.md"'), False)
    # what the helper does not open is no misdeed of the worker's, who was asked for it
    rule = "unix /run/no-rule-has-this -> vsock:9"
    eq(said({"cmd": "publish-add", "link": "g", "rule": rule},
            f'publish-add was refused event=control cmd=publish-add outcome=refused {me} link=g rule="{rule}" '
            'why="cannot listen: expected a path in runtime-dir, or one that a rule of the configuration has"'), False)
    eq([x for x in b.p.lines if "no-rule-has-this" in x and "event=control" not in x], [], "told besides")
    # silence is told before it falls, and what ends it is told, too
    for level in ("error", "info"):
        eq(said({"cmd": "log-level", "level": level}, f"log-level was done event=control cmd=log-level outcome=done {me} level={level}"), True)
    for _ in range(12):  # none of these is suppressed
        eq(said({"cmd": "reset", "link": "g"}, f"reset was done event=control cmd=reset outcome=done {me} link=g"), True)
    # who only looks is no event
    start = len(b.p.lines)
    r.ask({"cmd": "status"})
    eq([x for x in b.p.lines[start:] if "event=control" in x], [])
    eq(r.ask({"cmd": "capture", "count": 1})["ok"], True)
    b.p.log(f"control: capture was begun event=control cmd=capture outcome=begun {me}$", start=start)
    r.close()
    b.p.log(f"control: capture has ended event=control cmd=capture outcome=ended {me} packets=0 drops=0$", start=start)
    if not os.getuid():
        os.chmod(b.p.dir.name, 0o755)
        start = len(b.p.lines)
        for _ in range(10):
            eq(as_user(4000, 4243, [], ctl.path(b.p), {"cmd": "reset", "link": "g"})["error"]["code"], "EPERM")
            eq(as_user(4001, 4001, [], ctl.path(b.p), {"cmd": "status"})["error"]["code"], "EACCES")
        b.p.log(r"control: reset was refused event=control cmd=reset outcome=refused uid=4000 pid=\d+ link=g why=\"you may look, but not", start=start)
        b.p.log(r"control: uid 4001 .pid \d+. was refused event=control outcome=refused uid=4001 pid=\d+ why=\"you are neither", start=start)
        eq(b.p.stop(), [])
        b.p.log("10 more suppressed", start=start)
        eq(len([x for x in b.p.lines[start:] if "event=control" in x]), 10)
    b.g.close()
    b.p.stop()
    b.srv.close()


@contextlib.contextmanager
def by_a_user(lib=None):
    """A proxy that user 4100 has started. lib: to be loaded before the C library."""
    with tempfile.TemporaryDirectory(prefix="ampsock-test-") as d:
        os.chmod(d, 0o755)
        shutil.copy(binary(), d + "/proxy")
        with open(d + "/as-user", "w", encoding="ascii") as f:
            f.write(f'#!/bin/sh\nexec setpriv --reuid=4100 --regid=4100 --clear-groups {d}/proxy "$@"\n')
        os.chmod(d + "/as-user", 0o755)

        def args(p):
            os.chown(p.dir.name, 4100, 4100)
            os.chmod(p.dir.name, 0o755)
            return ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g", "--control-group", "4242", "--control-read-group", "4243"]
        with unittest.mock.patch.dict(os.environ, AMPSOCK_PROXY=d + "/as-user"):
            p = Proxy(CONTROL, args=args, env={"LD_PRELOAD": shutil.copy(lib, d)} if lib else None)
        yield p


@test
def unprivileged():
    """started by a user: that user and root may everything, strangers nothing, groups what they may"""
    if os.getuid():
        return "only root can be several users"
    with by_a_user() as p:
        where = ctl.path(p)
        look, change = {"cmd": "status"}, {"cmd": "log-level", "level": "debug"}
        eq(ctl.ask(p, "status")["uid"], 4100)
        eq(ctl.run(p, "log", "level", "info"), "", "root")
        eq(as_user(4100, 4100, [], where, change)["ok"], True, "the user")
        for uid, gid, groups in ((4000, 4000, []), (65534, 65534, []), (4000, 65534, [65534])):
            eq(as_user(uid, gid, groups, where, look)["error"]["code"], "EACCES", (uid, gid))
        eq(as_user(4000, 4000, [4243], where, look)["ok"], True)
        eq(as_user(4000, 4243, [], where, change)["error"]["code"], "EPERM")
        eq(as_user(4000, 4000, [4242], where, change)["ok"], True)
        p.log(r"control: uid 4000 \(pid \d+\) was refused")
        p.stop()


@test
def helper_full():
    """a helper that has no descriptor left says so at once: nobody is kept waiting, and nobody is told that he is not root"""
    if os.getuid():
        return "only root can be several users"
    with unittest.mock.patch.dict(os.environ, AMPSOCK_PROXY=os.path.join(BUILD, "ampsock-proxy")), by_a_user(preload("noroom")) as p:
        eq(as_user(0, 0, [], ctl.path(p), {"cmd": "status"})["error"],
           {"code": "EMFILE", "message": "the helper process cannot say who you are: Too many open files"})
        p.log("no descriptor is left for a request of the worker process")
        eq([x for x in p.lines if "does not answer" in x or "malformed" in x], [])
        p.stop()
    return None


@test
def many_sockets():
    """a list of 600 sockets comes whole, each once, while it is read slowly and flows come and go"""
    b = Bed()
    conns = [b.g.connect(6000) for _ in range(600)]
    flow = Flow(b.g)
    r = ctl.Raw(b.p)
    r.send(b'{"cmd":"sockets"}\n')
    data = b""
    while not data.endswith(b"\n"):
        part = r.s.recv(2000)
        assert part, "it ended early"
        data += part
        if len(data) % 7 == 0:
            flow.more(1)
    rows = [x for x in json.loads(data)["result"] if "id" in x]
    eq(len({x["id"] for x in rows}), len(rows), "each once")
    assert len(rows) >= 601, len(rows)
    r.close()
    flow.done()
    eq(len(conns), 600)
    b.close()


@test
def closing():
    """connections that nobody uses any more and whose guest keeps quiet are listed as closing, and the list is sound"""
    b = Bed("allow out tcp 127.0.0.1:any", "allow out udp 127.0.0.1:any")
    dead = socket.socket()  # bound, and nobody listens
    dead.bind(("127.0.0.1", 0))
    ses = Session(b.g)
    flow = b.g.connect(6000)
    flow.shutdown(SEND)
    eq(flow.recv(), b"", "the end of the echo")
    udp = ses.udp(peer=("127.0.0.1", b.srv.port)).c
    udp.shutdown(SEND)
    eq(udp.recv(), b"", "the end of the datagrams")
    refused, answer = carrier(b.g, open_header(CONNECT, ses.token, INET, STREAM, peer=addr(*dead.getsockname())))
    assert answer.status
    eq(refused.recv(), b"", "the end of the carrier")
    rows = [r for r in ctl.ask(b.p, "sockets") if r["state"] == "closing"]
    eq([(r["kind"], "host_peer" in r) for r in rows], [("closing", False)] * 3)
    dead.close()
    b.close()


@test
def malformed():
    """what is no request is refused with a reason, and the connection goes on; a flow is unharmed"""
    b = Bed()
    flow = Flow(b.g)
    r = ctl.Raw(b.p)
    for text in (b"", b"x", b"{", b"[]", b'"status"', b"null", b"{}", b'{"cmd":1}', b'{"cmd":"status"} x',
                 b'{"cmd":"status"}{"cmd":"status"}', b'{"cmd":"status","cmd":"links"}', b'{"cmd":["status"]}',
                 b'{"cmd":{"cmd":"status"}}', b'{"cmd":"status","nothing":1}', b'{"cmd":"sta\x01tus"}',
                 b'{"cmd":"status\\u0000"}', b'{"cmd":"status\x00"}', b'{"cmd":"\xff\xfe"}', b'{"cmd":"\xc0\xaf"}',
                 b'{"cmd":"\xed\xa0\x80"}', b'{"cmd":"\\ud800"}', b"[" * 4000, b'{"a":' * 700, b'{"cmd":"' + b"x" * 40 + b'"}',
                 b'{"cmd":"capture","count":-1}', b'{"cmd":"capture","count":1.5}', b'{"cmd":"capture","count":1e400}',
                 b'{"cmd":"capture","count":4294967296}', b'{"cmd":"capture","count":"1"}', b'{"cmd":"capture","snap":65536}',
                 b'{"cmd":"links","link":true}', b'{"cmd":"links","link":"' + b"l" * 32 + b'"}'):
        eq(r.error(text + b"\n"), "EBADMSG", text[:50])
    for text, code in ((b'{"cmd":"nothing"}', "ENOSYS"), (b'{"cmd":"links","link":"h"}', "ENOENT"),
                       (b'{"cmd":"status","link":"g"}', "EINVAL"), (b'{"cmd":"reset"}', "EINVAL"),
                       (b'{"cmd":"log-level","level":"loud"}', "EINVAL"), (b'{"cmd":"capture","snap":0}', "EINVAL"),
                       (b'{"cmd":"links","link":"../g"}', "ENOENT")):
        eq(r.error(text + b"\n"), code, text)
    eq(r.ask({"cmd": "status"})["ok"], True, "and a good one")
    r.send(b'\t {"cmd" : "status" , "cmd2":0 }\r\n')
    eq(r.line()["error"]["code"], "EBADMSG")
    # many requests in one packet are answered in order, each in its turn
    r.send(b'{"cmd":"status"}\n{"cmd":"x"}\n' * 60)
    eq([r.line()["ok"] for _ in range(120)], [True, False] * 60)
    flow.more()
    flow.done()
    r.close()
    b.close()


@test
def oversize():
    """a request of more than 4 KiB, or one whose line has no end, ends its connection with a reason"""
    b = Bed()
    flow = Flow(b.g)
    r = ctl.Raw(b.p)
    r.send(b'{"cmd":"status"' + b" " * 4079 + b"}\n")  # 4096 bytes: the last that is good
    eq(r.line()["ok"], True)
    eq(r.error(b'{"cmd":"status"' + b" " * 4080 + b"}\n"), "E2BIG")
    eq(r.rest(), b"")
    r.close()
    r = ctl.Raw(b.p)
    r.send(b'{"cmd":"status"}')
    r.s.shutdown(socket.SHUT_WR)
    eq(r.line()["error"]["code"], "EBADMSG")
    eq(r.rest(), b"")
    r.close()
    r = ctl.Raw(b.p)
    r.send(b'{"cmd":"links"}\n')  # all that was asked is answered, too, when no more comes
    r.s.shutdown(socket.SHUT_WR)
    eq(r.line()["ok"], True)
    eq(r.line(), None)
    r.close()
    flow.more()
    flow.done()
    b.close()


@test
def slow():
    """one that asks a byte at a time, and one that does not read its answers, are dropped in time"""
    b = Bed()
    flow = Flow(b.g)
    deaf = ctl.Raw(b.p)
    deaf.s.setblocking(False)
    try:
        while True:
            deaf.s.send(b'{"cmd":"links"}\n' * 100)
    except BlockingIOError:
        pass
    r = ctl.Raw(b.p)
    gone = False
    for ch in b'{"cmd":"status"' + b" " * 400:
        try:
            r.s.sendall(bytes([ch]))
        except OSError:
            gone = True
            break
        if select.select([r.s], [], [], 0.1)[0]:
            gone = True
            break
        flow.more(0)
    assert gone, "it was never dropped"
    eq(r.rest(), b"")
    b.p.log("control: a client was too slow asking")
    b.p.log("control: a client was too slow reading")
    flow.more()
    flow.done()
    deaf.close()
    r.close()
    b.close()


@test
def thousand():
    """1,000 connections: 16 are served, the others are told so; a flow runs, no descriptor is left"""
    b = Bed()
    flow = Flow(b.g)
    before = b.p.fds()
    socks, served, busy, cut = [], 0, 0, 0
    for _ in range(1000):
        socks.append(ctl.Raw(b.p))
    for s in socks:
        try:
            a = s.ask({"cmd": "status"})
        except (ConnectionError, BrokenPipeError):
            a = s.line() if s.buf else None
        if a is None:
            cut += 1
        elif a["ok"]:
            served += 1
        else:
            eq(a["error"]["code"], "EBUSY")
            busy += 1
    assert served == 16 and served + busy + cut == 1000, (served, busy, cut)
    b.p.log(r'was refused event=control outcome=refused uid=\d+ pid=\d+ why="too many control connections: try again"$')
    b.p.log("control: more than 32 connections, or no memory: closed")
    flow.more()
    for s in socks:
        s.close()
    r = None
    for _ in range(500):  # those that are gone make room
        r = ctl.Raw(b.p)
        try:
            if r.ask({"cmd": "status"})["ok"]:
                break
        except (ConnectionError, TypeError):
            pass
        r.close()
    eq(r.ask({"cmd": "status"})["ok"], True)
    r.close()
    flow.more()
    flow.done()
    for _ in range(int(TIMEOUT * 100)):
        if b.p.fds() <= before:
            break
        threading.Event().wait(0.01)
    assert b.p.fds() <= before, (b.p.fds(), before)
    b.close()


def as_user(uid, gid, groups, where, req):
    """The first line that this user gets, as JSON; None: it may not even connect."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        out = b"null"
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            c = ctl.Raw(None, where)
            out = json.dumps(c.ask(req)).encode()
        except PermissionError:
            pass
        except BaseException as e:  # told to the parent
            out = json.dumps(repr(e)).encode()
        os.write(w, out)
        os._exit(0)
    os.close(w)
    data = b""
    while part := os.read(r, 65536):
        data += part
    os.close(r)
    os.waitpid(pid, 0)
    return json.loads(data)


@test
def credentials():
    """strangers are refused, the read group may look, the control group may change things"""
    if os.getuid():
        return "only root can be several users"
    b = Bed("control-group 4242", "control-read-group 4243")
    flow = Flow(b.g)
    os.chmod(b.p.dir.name, 0o755)
    where = ctl.path(b.p)
    look, change = {"cmd": "status"}, {"cmd": "log-level", "level": "debug"}
    eq(as_user(4000, 4000, [], where, look)["error"]["code"], "EACCES")
    eq(as_user(4000, 4000, [1, 2, 3], where, change)["error"]["code"], "EACCES")
    for gid, groups in ((4243, []), (4000, [5, 4243])):
        eq(as_user(4000, gid, groups, where, look)["ok"], True, "look")
        for what in (change, {"cmd": "reset", "link": "g"}, {"cmd": "capture"}, {"cmd": "reload"}, {"cmd": "upgrade"},
                     {"cmd": "publish-add", "link": "g", "rule": "tcp 127.0.0.1:1 -> vsock:1"}):
            eq(as_user(4000, gid, groups, where, what)["error"]["code"], "EPERM", what)
    eq(ctl.ask(b.p, "status")["log_level"], "info", "without effect")
    for gid, groups in ((4242, []), (4000, [4242])):
        eq(as_user(4000, gid, groups, where, change)["ok"], True, "change")
    eq(ctl.ask(b.p, "status")["log_level"], "debug")
    b.p.log(r"control: uid 4000 \(pid \d+\) was refused")
    flow.more()
    flow.done()
    b.close()
    # without groups nobody else gets as far as that
    b = Bed()
    os.chmod(b.p.dir.name, 0o755)
    eq(as_user(4000, 4000, [], ctl.path(b.p), look), None)
    b.close()


@test
def reset():
    """reset: every flow of the link ends for both sides, the guest stays and opens new ones"""
    b = Bed()
    c = b.g.connect(6000)
    c.send(b"x")
    eq(c.recv_exact(1), b"x")
    eq(ctl.run(b.p, "reset", "g"), "")
    try:
        c.recv(1)
        raise AssertionError("the flow lives")
    except Reset:
        pass
    b.srv.threads[0].join(TIMEOUT)
    eq([type(e) for e in b.srv.errors], [ConnectionResetError], "the host's side")
    c = b.g.connect(6000)
    c.send(b"again")
    eq(c.recv_exact(5), b"again")
    link, = ctl.ask(b.p, "links")
    eq((link["up"], link["flows"], link["resets"], link["restarts"]), (True, 1, 1, 0))
    c.close()
    b.p.wait_counter("ends", 0)
    b.close()


@test
def reset_datagrams():
    """reset: datagram peers of an exposed port end, too"""
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    b = Bed(f"expose vsock:7000 -> udp 127.0.0.1:{u.getsockname()[1]}", seqpacket=True)
    c = b.g.connect(7000, SEQPACKET)
    c.send_msg(b"datagram")
    eq(u.recv(100), b"datagram")
    kinds = [(r["kind"], r["proto"]) for r in ctl.ask(b.p, "sockets") if r.get("message")]
    eq(kinds, [("expose", "udp")])
    ctl.run(b.p, "reset", "g")
    try:
        c.recv_msg()
        raise AssertionError("the peer lives")
    except Reset:
        pass
    b.p.wait_counter("ends", 0)
    u.close()
    b.close()


@test
def reset_joined():
    """reset ends connections with joined guests, for both; others of theirs stay"""
    p = Proxy("join g,h", "join h,i", CONTROL, args=lambda p: [x for n, cid in (("g", 3), ("h", 4), ("i", 5)) for x in (
        "--link", f"vhost-user-vsock:{p.dir.name}/{n}.sock,cid={cid},name={n}")])
    g, h, i = (Guest(f"{p.dir.name}/{n}.sock") for n in "ghi")
    g.others, h.others, i.others = [h], [g, i], [h]
    h.listen(7000)
    a = g.connect(7000, cid=4)
    b = h.accept(7000)
    j = i.connect(7000, cid=4)
    k = h.accept(7000)
    ctl.run(p, "reset", "g")
    for guest, c in ((g, a), (h, b)):
        assert guest.wait(lambda: c.state == "reset"), c.state
    j.send(b"still")
    eq(k.recv_exact(5), b"still")
    for guest in (g, h, i):
        guest.close()
    p.stop()


@test
def reset_rpmsg():
    """reset of an rpmsg-shm link: the remote goes through its handshake again"""
    srv = Server(echo)
    rig = Rig(f"expose rpmsg:echo -> tcp 127.0.0.1:{srv.port}", CONTROL)
    c = rig.r.connect("echo")
    c.send(b"abc")
    eq(c.recv_exact(3), b"abc")
    row = next(r for r in ctl.ask(rig.p, "sockets") if r["kind"] == "expose")
    eq(row["guest_peer"][:7], "rpmsg:@")
    eq(row["from_guest_bytes"], 3)
    lives = rig.r.lives
    ctl.run(rig.p, "reset", "g")
    rig.p.log("link reset: an operator asked for it")
    rig.r.wait(lambda: rig.r.lives > lives)
    rig.r.wait_up()
    c = rig.r.connect("echo")
    c.send(b"new")
    eq(c.recv_exact(3), b"new")
    c.close()
    eq(ctl.ask(rig.p, "links")[0]["restarts"], 1)
    rig.close()
    srv.close()


def frame_on(rows, columns, p, *args, term="xterm"):
    """What `top` puts on a terminal of that size: its bytes."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
    c = subprocess.Popen([ctl.program(), "--socket", ctl.path(p), "top", *args], stdout=slave, stderr=subprocess.PIPE, env={**os.environ, "TERM": term})
    os.close(slave)
    out = b""
    with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
        while part := os.read(master, 65536):
            out += part
    os.close(master)
    eq((c.communicate(timeout=TIMEOUT)[1], c.returncode), (b"", 0))
    return out.decode()


@test
def terminals():
    """top: a frame is no higher and no wider than the terminal, and shows what moves; one that cannot be cleared is not"""
    srv = Server(echo)
    link = [x for i in range(30) for x in ("--link", "vhost-user-vsock:DIR/%d.sock,cid=%d,name=link-%d" % (i, i + 3, i))]
    p = Proxy(CONTROL, args=lambda p: [x.replace("DIR", p.dir.name) for x in link] + ["--expose", f"vsock:6000 -> tcp 127.0.0.1:{srv.port}"])
    g = Guest(p.dir.name + "/29.sock")
    flows = [g.connect(6000) for _ in range(20)]
    for f in flows:
        f.send(b"x" * 3000)
        f.recv_exact(3000)
    for rows, columns, links in ((24, 80, 10), (50, 200, 30), (10, 40, 3), (6, 20, 1), (1, 1, 0)):
        out = frame_on(rows, columns, p, "-n", "1")
        assert out.startswith("\033[H\033[J"), out
        lines = out[6:].split("\r\n")
        assert len(lines) <= max(rows, 2) and max(map(len, lines)) <= columns, (rows, columns, lines)
        if links:
            eq(len([x for x in lines if x.startswith("link-")]), min(rows - 4, links + 15), lines)
            eq(lines[1].split()[0], "link-29" if links < 30 else "link-0", lines)  # the one that moved
            eq(lines[0][:16].strip(), f"LINK ({links} of 30)" if links < 30 else "LINK")
    out = frame_on(24, 80, p, "-n", "1", term="dumb")
    eq(("\033" in out, out.count("\nlink-"), max(map(len, out.split("\r\n")))), (False, 45, 80))
    eq(frame_on(0, 0, p, "-n", "1").count("\nlink-"), 45, "a terminal that does not say")
    for f in flows:
        f.close()
    g.close()
    p.stop()
    srv.close()


@test
def long_pauses():
    """top -i: over a pause that is longer than the proxy lets a connection be silent"""
    clock = Clock()
    p = Proxy(CONTROL, env=clock.env)
    where = f"/proc/{p.worker_pid()}/fd/"

    def sockets():
        return sum(os.readlink(where + fd).startswith("socket") for fd in os.listdir(where))

    before = sockets()
    c = ctl.start(p, "top", "-n", "2", "-i", "61", env={**os.environ, **clock.env, "LD_PRELOAD": preload("pauses")})
    until(lambda: state(c.pid) == "T", "it does not pause")
    clock.forward(61)
    until(lambda: sockets() == before, "the connection stays")
    c.send_signal(signal.SIGCONT)
    out, err = c.communicate(timeout=TIMEOUT)
    eq((c.returncode, err, out.count("LINK")), (0, "", 2))
    p.stop()


@test
def usage():
    """ampsockctl: wrong words are exit status 2, refusals 1, each with what was expected"""
    b = Bed()
    for args, words in (((), "expected a command"), (("dance",), "no such command, found `dance`"), (("publish",), "expected add or del"), (("log", "x"), "expected level behind log, found `x`"),
                        (("publish", "add"), "expected the name of a link"), (("publish", "add", "g"), "expected a rule"),
                        (("publish", "add", "g", "a", "b"), "one argument"), (("reset",), "expected the name of a link"),
                        (("links", "-n", "1"), "-n is not for this command"), (("top", "-n", "0"), "from 1 to"),
                        (("top", "-n", "x"), "found `x`"), (("capture",), "expected -w FILE"), (("capture", "-w"), "expected a value"),
                        (("--nothing",), "no such option"), (("-xv",), "ampsockctl: -x: no such option; see --help"), (("publish", "add", "g", "tcp", "1.2.3.4:5", "->", "vsock:9"), "a rule goes in quotes"), (("log", "level"), "error, warning, info or debug"),
                        (("status", "now"), "found `now`"), (("log", "level", "loud"), "expected error, warning, info or debug behind level, found `loud`"),
                        (("--json=1", "status"), "expected no value"), (("links", "-l", ""), "name of a link behind -l"), (("reset", ""), "found ``"),
                        (("publish", "add", "g", ""), "expected a rule"), (("capture", "-w", ""), "name of a file"),
                        (("top", "-i", "99999999999999999999"), "from 1 to 86400"), (("--js", "links", "x"), "found `x`")):
        err = ctl.run(b.p, *args, code=2)
        assert words in err and "--help" in err, f"{args}: {err}"
    for args, words in ((("reset", "h"), "no link of that name: expected g"),
                        (("publish", "add", "g", "unix /run/x -> vsock:9"), "cannot listen: expected a path in runtime-dir"),
                        (("publish", "add", "g", "tcp 203.0.113.9:80 -> vsock:9"), "no interface of this host has that address"),
                        (("links", "-l", "x" * 40), "at most 31"),
                        (("publish", "add", "g", "x" * 2000), "at most 1023"), (("publish", "add", "g", "x" * 100000), "at most 4096")):
        assert words in ctl.run(b.p, *args, code=1), args
    assert "usage:" in ctl.run(b.p, "--help") and "ampsockctl 0" in ctl.run(b.p, "--version")
    assert "is ampsock-proxy running" in ctl.run(b.p, "--socket", b.p.dir.name + "/none", "status", code=1)
    eq(json.loads(ctl.run(b.p, "--json", "reset", "g")), {})
    # without standard output the proxy is not sent the table
    c = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", ctl.program(), "--socket", ctl.path(b.p), "links"], stderr=subprocess.PIPE, text=True,
                       timeout=TIMEOUT, check=False)
    eq((c.returncode, "cannot write the answer: Bad file descriptor" in c.stderr), (1, True), c.stderr)
    b.close()
    # a cell that has too much for its table says so, and what has a rule's length is whole
    rule = f"out tcp {'.'.join(['a' * 60] * 4)}.test:80"
    b = Bed(f"allow {rule}")
    assert rule + "  --allow" in ctl.run(b.p, "rules"), ctl.run(b.p, "rules")
    b.close()


if __name__ == "__main__":
    main()
