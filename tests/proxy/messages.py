#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the proxy says: options, rules, files, ports and paths that are wrong."""
import os
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from harness import Proxy, binary, eq, free_port, main, test  # noqa: E402
from vguest import Guest  # noqa: E402

LINK = ["--link", "vhost-user-vsock:/nowhere/g.sock,cid=3"]


def run(*args, code, text, out=False):
    r = subprocess.run([binary(), *args], capture_output=True, timeout=20, check=False)
    said = (r.stdout if out else r.stderr).decode()
    if r.returncode != code or text not in said:
        raise AssertionError(f"{args}: exit {r.returncode}, said: {said}")
    return said


def conf(text):
    f = tempfile.NamedTemporaryFile("w", prefix="ampsock-", suffix=".conf", delete=True)
    f.write(text)
    f.flush()
    return f


GOOD = "[link g]\ntype = vhost-user-vsock\npath = %s\ncid = 3\n"


@test
def help_and_version():
    """--help names every option, --version the version; exit 0"""
    said = run("--help", code=0, text="usage:", out=True)
    for opt in ("link", "allow", "publish", "expose", "config", "check-config", "log-level", "verbose", "ready-fd",
                "version", "help"):
        if f"--{opt}" not in said:
            raise AssertionError(opt)
    run("--version", code=0, text="ampsock-proxy ", out=True)


@test
def wrong_options():
    """wrong options: exit 2, and what would be right"""
    run("--lnik", code=2, text="did you mean --link")
    run("--allwo", "x", code=2, text="did you mean --allow")
    run("--link", code=2, text="expected a value")
    run("--verbose=1", code=2, text="--verbose=1: expected no value with it; see --help")
    run("-xv", code=2, text="-x: no such option; see --help")
    run("--nothing", code=2, text="--nothing: no such option: did you mean --no-confine; see --help")
    run("--x", code=2, text="--x: no such option; see --help")
    run("stray", code=2, text="found `stray`")
    run(code=2, text="expected --link")
    run(*LINK, "--log-level", "loud", code=2, text="error, warning, info or debug")
    run(*LINK, "--ready-fd", "x", code=2, text="descriptor")
    run("--allow", "out any any:any", code=2, text="--link before it")
    run(*LINK, "--allow", "out tcp 10.0.0.1:99999", code=2, text="--allow: at `10.0.0.1:99999`: expected a port")
    run(*LINK, "--publish", "tcp 127.0.0.1:80 => vsock:1", code=2, text="expected `->`")
    run(*LINK, "--expose", "vsock:1 -> ftp 127.0.0.1:80", code=2, text="tcp, udp or unix")
    run("--link", "vhost-user-vsock:/x,cid=2", code=2, text="3 to 4294967294")
    run("--link", "vhost:/x,cid=3", code=2, text="vhost-user-vsock")
    run(*LINK, *LINK, code=2, text="same name")


@test
def wrong_files():
    """wrong files: file:line, what was expected, exit 2; every mistake of a file at once"""
    with conf(GOOD % "/x" + "allow = out tcp 10.0.0.1:x\ncolour = red\n") as f:
        said = run("--config", f.name, code=2, text=f"{f.name}:5: allow:")
        if f"{f.name}:6: expected one of the keys" not in said:
            raise AssertionError(said)
    run("--config", "/nowhere.conf", code=2, text="/nowhere.conf: No such file")
    with conf(GOOD % "/nowhere/x") as f:
        run("--config", f.name, "--check-config", code=0, text="")
        # rules behind --config belong to its last link
        run("--config", f.name, "--allow", "out tcp x", "--check-config", code=2, text="HOST:PORT")


@test
def file_runs():
    """a file does what the same options do"""
    with tempfile.TemporaryDirectory() as d:
        port = free_port()
        with conf(GOOD % (d + "/g.sock") + f"publish = tcp 127.0.0.1:{port} -> vsock:5000 ; comment\n"
                  "[proxy]\nlog-level = debug\n") as f:
            p = Proxy(args=lambda _: ["--config", f.name])
            g = Guest(d + "/g.sock")
            g.listen(5000)
            k = socket.create_connection(("127.0.0.1", port), timeout=20)
            k.sendall(b"hi")
            eq(g.accept(5000).recv_exact(2), b"hi")
            g.close()
            p.stop()


@test
def no_directory():
    """a socket path in a directory that is not there: exit 1, the directory's name, what to do"""
    run(*LINK, code=1, text="error: link cid3: directory /nowhere does not exist: create it")
    with tempfile.TemporaryDirectory() as d:
        for key, path in (("control", ""), ("metrics", "unix ")):
            run("--link", f"vhost-user-vsock:{d}/g.sock,cid=3", f"--{key}", path + "/nowhere/c", code=1,
                text=f"error: {key}: directory /nowhere does not exist: create it")


@test
def one_socket_by_two_paths():
    """two links whose paths lead to one socket by way of a symbolic link, or of `..`: told whose it is"""
    with tempfile.TemporaryDirectory() as d:
        os.mkdir(f"{d}/real")
        os.symlink("real", f"{d}/link")
        for alias in (f"{d}/link/x.sock", f"{d}/link/../real/x.sock"):
            run("--link", f"vhost-user-vsock:{d}/real/x.sock,cid=3,name=a", "--link", f"vhost-user-vsock:{alias},cid=4,name=b",
                code=1, text=f"link b: {alias} is the same socket as {d}/real/x.sock of link a: give another path")
            eq(os.listdir(f"{d}/real"), [])
            run("--link", f"vhost-user-vsock:{d}/real/x.sock,cid=3,name=a", "--publish", f"unix {alias} -> vsock:1",
                code=1, text=f"{alias} is the same socket as")
        run("--link", f"vhost-user-vsock:{d}/real/x.sock,cid=3,name=a", "--link", f"vhost-user-vsock:{d}//real/./x.sock,cid=4,name=b",
            code=2, text="link b has the same path as link a")


@test
def path_in_use():
    """a socket path that somebody listens on is left alone; a file that is no socket, too"""
    with tempfile.TemporaryDirectory() as d:
        s = socket.socket(socket.AF_UNIX)
        s.bind(d + "/live")
        s.listen()
        run("--link", f"vhost-user-vsock:{d}/live,cid=3", code=1, text="already in use")
        eq(os.path.exists(d + "/live"), True)
        with open(d + "/file", "w", encoding="utf-8"):
            pass
        run("--link", f"vhost-user-vsock:{d}/file,cid=3", code=1, text="is no socket")
        eq(os.path.exists(d + "/file"), True)
        # stale: nobody listens any more
        s.close()
        p = Proxy(args=lambda _: ["--link", f"vhost-user-vsock:{d}/live,cid=3"])
        eq(p.stop(), [])
        eq(os.path.exists(d + "/live"), False)


@test
def port_in_use():
    """a published port that is taken: exit 1, the port named, nothing left behind"""
    with tempfile.TemporaryDirectory() as d:
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        run("--link", f"vhost-user-vsock:{d}/g.sock,cid=3", "--publish", f"tcp 127.0.0.1:{port} -> vsock:1",
            code=1, text=f"127.0.0.1:{port}: the port is already in use")
        eq(os.listdir(d), [])
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        u.bind(("127.0.0.1", 0))
        run("--link", f"vhost-user-vsock:{d}/g.sock,cid=3", "--publish",
            f"udp 127.0.0.1:{u.getsockname()[1]} -> vsock:1", code=1, text="already in use")


@test
def signals():
    """SIGUSR1 prints counters, SIGINT and SIGTERM stop with 0"""
    for sig in (signal.SIGTERM, signal.SIGINT):
        p = Proxy()
        eq(p.counters()["attached"], 0)
        p.stop(sig)
        eq(p.proc.returncode, 0)


@test
def journal():
    """what keeps it from starting has the priority of an error in the journal, every line of it"""
    with conf(GOOD % "/nowhere/g" + "alow = x\n") as f:
        path = f.name
        for args, lines in ((["--config", path], ["FILE:5: expected one of the keys", "    alow = x", "    ^~~~"]), (["--dance"], ["ampsock-proxy: --dance:"])):
            r, w = os.pipe()
            st = os.fstat(w)
            p = subprocess.run([binary(), *args], stderr=w, env={**os.environ, "JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"}, timeout=60, check=False)
            os.close(w)
            with os.fdopen(r) as pipe:
                said = pipe.read().replace(path, "FILE").splitlines()
            eq((p.returncode, [x[:len(y) + 3] for x, y in zip(said, lines)], len(said)), (2, ["<3>" + x for x in lines], len(lines)), said)


@test
def lines_are_limited():
    """a guest that is denied a thousand times fills no disk"""
    import offload as off
    p = Proxy()
    g = Guest(p.path)
    s = off.Session(g)
    for _ in range(200):
        try:
            s.connect("198.51.100.1", 80)
        except off.Refused as e:
            eq(e.status, "EACCES")
    n = len([x for x in p.lines if "denied" in x and "counters" not in x])
    eq(1 <= n <= 20, True, n)
    eq(p.counters()["denied"], 200)
    g.close()


main()
