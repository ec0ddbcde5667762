#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""ampsockctl --json: its keys are those of docs/control.md, its errors are JSON; and everything an operator can get wrong."""
import json
import os
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import ctl  # noqa: E402
import schema  # noqa: E402
from harness import TIMEOUT, Proxy, Server, echo, eq, free_port, main, test  # noqa: E402
from offload import Session  # noqa: E402
from vguest import Guest  # noqa: E402


def reload_later():
    """A reload with a key that takes a restart."""
    def args(p):
        conf = p.dir.name + "/a.conf"
        with open(conf, "w", encoding="ascii") as f:
            f.write(f"[link g]\ntype = vhost-user-vsock\npath = {p.path}\ncid = 3\n[proxy]\ncontrol = {p.dir.name}/control\n")
        return ["--config", conf]
    p = Proxy(args=args)
    with open(p.dir.name + "/a.conf", "a", encoding="ascii") as f:
        f.write("metrics = tcp 127.0.0.1:9101\n")
    eq(ctl.ask(p, "reload"), {"needs_restart": "metrics"})
    p.stop()


@test
def every_key():
    """each reply has keys that docs/control.md names and no others, and every key named there is in some reply"""
    srv = Server(echo)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", "allow out tcp 127.0.0.1:any", "allow out tcp localhost:80", "control DIR/control")
    g = Guest(p.path)
    c = g.connect(6000)
    c.send(b"abc")
    eq(c.recv_exact(3), b"abc")
    ses = Session(g)
    o = ses.connect("127.0.0.1", srv.port)
    eq(ctl.ask(p, "publish", "add", "g", f"tcp 127.0.0.1:{free_port()} -> vsock:5000"), {})
    for what in ("status", "links", "sockets", "rules"):
        ctl.ask(p, what)
    ctl.ask(p, "top", "-n", "1")
    r = ctl.start(p, "--json", "capture", "-c", "1", "-w", p.dir.name + "/x.pcap")
    while r.poll() is None:
        c.send(b"abc")
        eq(c.recv_exact(3), b"abc")
    schema.check("capture", json.loads(r.communicate()[0]))
    eq(ctl.error(p, "reset", "h")["code"], "ENOENT")
    reload_later()
    missing = {what: sorted(keys - schema.SEEN.get(what, set())) for what, keys in schema.NAMED.items()}
    eq({w: k for w, k in missing.items() if k}, {}, "named, and in no reply")
    eq(len(schema.NAMED), 10, "tables")
    o.close()
    c.close()
    g.close()
    srv.close()
    p.stop()


@test
def errors():
    """--json: usage, refusals, and what the proxy has nothing to do with are one JSON object on standard error, exit status as ever"""
    p = Proxy("control DIR/control")
    for args, code, words in ((("--nothing",), 2, "no such option"), (("dance",), 2, "no such command"), ((), 2, "expected a command"),
                              (("top", "-n", "0"), 2, "from 1 to"), (("capture",), 2, "-w FILE"), (("reset", b"\xff\x1b[2J"), 2, "in UTF-8")):
        e = ctl.error(p, *args, code=code)
        eq(e["code"], "EINVAL", args)
        assert words in e["message"] and "\x1b" not in e["message"], e
    for args, code, words in ((("reset", "h"), "ENOENT", "no link of that name"),
                              (("capture", "-w", "/dev/full"), "ENOSPC", "No space left"), (("capture", "-w", p.dir.name + "/no/x"), "ENOENT", "/no/x")):
        e = ctl.error(p, *args)
        eq(e["code"], code, args)
        assert words in e["message"], e
    # standard output has results alone
    out, err = ctl.start(p, "--json", "reset", "h").communicate(timeout=TIMEOUT)
    eq((out, json.loads(err)["ok"]), ("", False))
    # --json behind what is wrong counts, too
    out, err = ctl.start(p, "dance", "--json").communicate(timeout=TIMEOUT)
    eq((out, json.loads(err)["error"]["code"]), ("", "EINVAL"))
    with open("/dev/full", "w", encoding="ascii") as full:
        c = subprocess.Popen([ctl.program(), "--socket", ctl.path(p), "--json", "links"], stdout=full, stderr=subprocess.PIPE, text=True)
        err = c.communicate(timeout=TIMEOUT)[1]
    eq((c.returncode, json.loads(err)["error"]["code"]), (1, "ENOSPC"))
    p.stop()
    eq(ctl.error(p, "status")["code"], "ENOENT", "nothing there")


@test
def other_letters():
    """a path in UTF-8 is whole in answers and tables, and deletes its rule; a mistake's mark stands right behind it and behind tabs"""
    p = Proxy("publish unix DIR/\u00e9\u20ac -> vsock:7", "allow out tcp 127.0.0.1:80", "control DIR/control")
    rule = f"unix {p.dir.name}/\u00e9\u20ac -> vsock:7"
    eq(ctl.ask(p, "sockets")[-1]["host_local"], f"unix:{p.dir.name}/\u00e9\u20ac")
    eq(ctl.ask(p, "rules")[1]["rule"], rule)
    head, *rows = ctl.run(p, "rules").splitlines()
    eq({r[head.index("WHERE") - 2:head.index("WHERE")] for r in rows}, {"  "}, (head, rows))
    assert rule in rows[1], rows
    said = ctl.error(p, "publish", "add", "g", "unix\t/run/\u00e9\u20ac\t-> vsock:x")["message"].splitlines()
    eq(said[1].index("vsock:x"), said[2].index("^"), said)
    eq(said[2][:said[2].index("^")], "".join(c if c == "\t" else " " for c in said[1][:said[2].index("^")]), said)
    eq(ctl.ask(p, "publish", "del", "g", rule), {})
    p.stop()


def other(reply, kind=socket.SOCK_STREAM):
    """A socket that is not a proxy's: its path, and how to end it."""
    d = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"ampsock-test-{os.getpid()}-{threading.get_native_id()}")
    s = socket.socket(socket.AF_UNIX, kind)
    s.bind(d)
    if kind == socket.SOCK_STREAM:
        s.listen(4)

    def serve():
        try:
            c, _ = s.accept()
            c.recv(65536)
            if reply is not None:
                c.sendall(reply)
            c.close()
        except OSError:
            pass
    t = threading.Thread(target=serve, daemon=True)
    if kind == socket.SOCK_STREAM:
        t.start()

    def end():
        s.close()
        os.unlink(d)
    return d, end


@test
def no_proxy():
    """a path that is no socket, a socket of another kind, and answers that are none of a proxy's: said, exit status 1"""
    def run(path, *args):
        c = subprocess.Popen([ctl.program(), "--socket", path, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
        out, err = c.communicate(timeout=TIMEOUT)
        assert "Sanitizer" not in err and "runtime error" not in err, err
        eq(out, "", path)
        return c.returncode, err
    for path, code, words in (("/dev/null", 1, "is ampsock-proxy running"), ("/", 1, "is ampsock-proxy running"), ("", 2, "expected a path behind --socket"),
                              ("x" * 200, 1, "at most 107"), ("x" * 100000, 1, "[cut]"), ("/none/\udcff\x1b", 1, "/none/??: No such file")):
        r, err = run(path, "status")
        eq((r, words in err, len(err.splitlines())), (code, True, 1), err[:300])
    for reply in (b"", b"hello\n", b"{}\n", b"[]\n", b'{"ok":true}\n', b'{"ok":false,"error":{"code":1}}\n', b'{"ok":true,"result":' + b"[" * 5000 + b"\n",
                  b"\xff\x00\x1b\n", b"GET / HTTP/1.0\r\n", b'{"ok":true,"result":{"links":'):
        path, end = other(reply)
        try:
            r, err = run(path, "status")
        finally:
            end()
        eq((r, len(err.splitlines()), "\x1b" in err), (1, 1, False), f"{reply[:40]}: {err}")
        assert ("closed the connection" if b"\n" not in reply else "none of a proxy's") in err, f"{reply[:40]}: {err}"
        eq("is that no control socket" in err, reply == b"", f"{reply[:40]}: {err}")
    # an answer of the right form and the wrong kind
    for cmd, reply in (("links", b'{"ok":true,"result":3}\n'), ("status", b'{"ok":true,"result":"x"}\n'), ("sockets", b'{"ok":true,"result":{}}\n'),
                       ("rules", b'{"ok":true,"result":null}\n'), ("status", b'{"ok":true,"result":[]}\n')):
        path, end = other(reply)
        try:
            r, err = run(path, cmd)
        finally:
            end()
        eq((r, "none of a proxy's" in err), (1, True), f"{cmd} {reply}: {err}")
    path, end = other(None, socket.SOCK_DGRAM)
    r, err = run(path, "status")
    end()
    eq((r, "no control socket" in err), (1, True), err)


@test
def proxy_dies():
    """the proxy ends while it is asked: top and capture say so, exit status 1"""
    p = Proxy("control DIR/control")
    top = ctl.start(p, "--json", "top", "-i", "1")
    top.stdout.readline()
    cap = ctl.start(p, "capture", "-w", p.dir.name + "/x.pcap")
    cap.stderr.readline()  # it is at it
    p.stop()
    out, err = cap.communicate(timeout=TIMEOUT)
    eq((cap.returncode, "closed the connection: did it end? Its log says" in err, "0 packets" in out), (1, True, True), err)
    out, err = top.communicate(timeout=TIMEOUT)
    eq((top.returncode, json.loads(err)["error"]["code"]), (1, "ECONNRESET"), err)


if __name__ == "__main__":
    main()
