#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 60
"""What a person may get wrong: each has its exit status and a message that says what to do."""
import os
import re
import socket
import subprocess
import tempfile

from guest import main, test
from harness import TIMEOUT, Proxy, binary, eq

LINK = ["--link", "vhost-user-vsock:DIR/g.sock,cid=3"]


class Case:
    def __init__(self):
        self.tmp = tempfile.TemporaryDirectory(prefix="ampsock-test-")
        self.dir = self.tmp.name

    def run(self, *args):
        """(exit status, what it said); a proxy that starts after all is a failure."""
        argv = [binary()] + [a.replace("DIR", self.dir) for a in args]
        r = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=TIMEOUT, check=False)
        return r.returncode, r.stdout.decode()

    def wrong(self, code, pattern, *args):
        got, text = self.run(*args)
        if got != code or not re.search(pattern.replace("DIR", re.escape(self.dir)), text):
            raise AssertionError(f"{args}: exit {got}, want {code}; no /{pattern}/ in:\n{text}")
        eq("Sanitizer" in text, False, text)

    def file(self, text):
        path = os.path.join(self.dir, "a.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace("DIR", self.dir))
        return path


@test
def options():
    """options: unknown ones, without value, strays: exit 2, and what was meant"""
    c = Case()
    c.wrong(2, "--allwo: no such option.*did you mean --allow", "--allwo", "x")
    c.wrong(2, "--link: expected a value", "--link")
    c.wrong(2, "expected only options, found `stray`", *LINK, "stray")
    c.wrong(2, "nothing to do: expected --link or", "--verbose")
    c.wrong(2, "expected a --link before it", "--allow", "out any any:any")
    c.wrong(2, "expected error, warning, info or debug, found `loud`", *LINK, "--log-level", "loud")
    for fd in ("x", "1", "-1", "99"):
        c.wrong(2, f"--ready-fd: expected an open descriptor.*found `{fd}`", *LINK, "--ready-fd", fd)
    c.wrong(0, "^ampsock-proxy [0-9]", "--version")
    code, text = c.run("--help")
    eq((code, "--publish" in text, "Exit status" in text), (0, True, True))


@test
def link_options():
    """--link: every part of it"""
    c = Case()
    c.wrong(2, "expected TYPE:PATH.*such as.*cid=3, found `foo`", "--link", "foo")
    c.wrong(2, "expected a link type: vhost-user-vsock, .*found `tcp`", "--link", "tcp:DIR/a,cid=3")
    for cid in ("0", "2", "4294967295", "x", "-3", ""):
        c.wrong(2, "expected a CID from 3 to", "--link", f"vhost-user-vsock:DIR/a,cid={cid}")
    c.wrong(2, "has no CID", "--link", "vhost-user-vsock:DIR/a")
    c.wrong(2, "expected name=NAME, or KEY=VALUE with a key of cid, found `colour", "--link", "vhost-user-vsock:DIR/a,cid=3,colour=red")
    c.wrong(2, "1 to 107 bytes", "--link", "vhost-user-vsock:/" + "x" * 120 + ",cid=3")
    c.wrong(2, "expected a link name", "--link", "vhost-user-vsock:DIR/a,cid=3,name=a b")
    c.wrong(2, "the same CID as link", *LINK, "--link", "vhost-user-vsock:DIR/h.sock,cid=3,name=h")
    c.wrong(2, "the same path as link", *LINK, "--link", "vhost-user-vsock:DIR/g.sock,cid=4")
    c.wrong(2, "the same name as link", *LINK, "--link", "vhost-user-vsock:DIR/h.sock,cid=4,name=cid3")


@test
def rules():
    """rules: each kind of mistake is shown where it is"""
    c = Case()
    for key, text, what in (
            ("allow", "tcp 127.0.0.1:80", "expected `in` or `out`"),
            ("allow", "out sctp 127.0.0.1:80", "expected tcp, udp or any"),
            ("allow", "out tcp", "expected HOST:PORT"),
            ("allow", "out tcp 127.0.0.1", "expected HOST:PORT"),
            ("allow", "out tcp 127.0.0.1:99999", "expected a port"),
            ("allow", "out tcp 127.0.0.1:0", "port 0 cannot be reached"),
            ("allow", "out tcp 127.0.0.1:90-80", "smaller port"),
            ("allow", "out tcp 10.0.0.1/8:80", "no bits set behind the prefix"),
            ("allow", "out tcp 300.0.0.1:80", "expected an IPv4 address"),
            ("allow", "out tcp [::g]:80", "expected an IPv6 address"),
            ("allow", "out tcp ex ample.com:80", "expected HOST:PORT"),
            ("allow", "in tcp example.com:80", "names are for `out` rules"),
            ("allow", "out tcp -$-:80", "expected any, local, an address"),
            ("allow", "out tcp 127.0.0.1:80 now", "expected"),
            ("publish", "tcp 127.0.0.1:80", "expected `->`"),
            ("publish", "tcp localhost:80 -> vsock:5", "numeric address"),
            ("publish", "http 127.0.0.1:80 -> vsock:5", "expected tcp, udp, unix or vsock-mux"),
            ("publish", "tcp 127.0.0.1:80 -> 5000", "expected vsock:PORT, .*or inet:PORT"),
            ("publish", "tcp 127.0.0.1:80 -> inet:70000", "expected a port from 1 to 65535"),
            ("publish", "unix rel/path -> vsock:5", "absolute path"),
            ("publish", "unix /tmp/x -> inet:5", "expected vsock:PORT"),
            ("publish", "tcp 127.0.0.1:80 -> vsock:5 x", "expected"),
            ("expose", "vsock:5", "expected `->`"),
            ("expose", "inet:5 -> tcp 127.0.0.1:80", "expected vsock:PORT"),
            ("expose", "vsock:x -> tcp 127.0.0.1:80", "expected a port"),
            ("expose", "vsock:5 -> tcp 127.0.0.1:x", "expected a port")):
        c.wrong(2, f"--{key}: .*{what}", *LINK, "--" + key, text)
    twice = ["--expose", "vsock:5 -> tcp 127.0.0.1:80"]
    c.wrong(2, "vsock:5 is exposed already", *LINK, *twice, *twice)


@test
def own_ports():
    """the offload ports cannot be published to or exposed: nobody can forge an accept that way"""
    c = Case()
    for port in (0x414D5301, 0x414D5302):
        c.wrong(2, "the proxy's own", *LINK, "--publish", f"tcp 127.0.0.1:8080 -> vsock:{port}")
        c.wrong(2, "the proxy's own", *LINK, "--expose", f"vsock:{port} -> tcp 127.0.0.1:22")


@test
def files():
    """the configuration file: unknown keys, sections and values with file and line"""
    c = Case()
    head = "[link a]\ntype = vhost-user-vsock\npath = DIR/a.sock\ncid = 3\n"
    for text, line, what in (
            (head + "allwo = out any any:any\n", 5, "expected one of the keys.*found `allwo`"),
            (head + "allow = out tcp nowhere\n", 5, "expected HOST:PORT"),
            (head + "\n# remark\npublish = tcp 1.2.3.4:5 -> vsock:x\n", 7, "expected a port"),
            (head + "expose = vsock:5 tcp 127.0.0.1:1\n", 5, "expected `->`"),
            ("[link a]\ntype = serial\n", 2, "expected a link type"),
            ("[link a]\ncid = two\n", 2, "expected a CID"),
            ("[link a b]\ncid = 3\n", 1, "expected a link name"),
            ("[proxy]\ncolour = red\n", 2, "expected one of the keys user, .*log-level.* found `colour`"),
            ("[proxy]\nlog-level = loud\n", 2, "expected error, warning"),
            ("[elsewhere]\na = b\n", 1, r"expected \[proxy\] or \[link NAME\], found `elsewhere`"),
            ("cid = 3\n", 1, "expected a key inside"),
            (head + "nonsense\n", 5, "expected .section., key = value"),
            (head + head, 5, r"\[link a\] is there already"),
            (head + "cid = 4\n", 5, "expected this key once in a link, found `cid`"),
            (head + "[link b]\ncid = 4\n" + head, 7, r"\[link a\] is there already"),
            (head + "allow = out tcp " + "x" * 1100 + ":80\n", 5, "expected a line of at most")):
        path = c.file(text)
        c.wrong(2, rf"{re.escape(path)}:{line}: .*{what}", "--config", path)
    c.wrong(2, r"a.conf:1: this link has no path", "--config", c.file("[link a]\ntype = vhost-user-vsock\n"))
    for what in ("a.conf:5: a link of type vhost-user-vsock has no key bell", "a.conf:6: .* has no key da"):
        c.wrong(2, what, "--config", c.file(head + "bell = poll:10\nda = 3\n"))
    c.wrong(2, "DIR/a.conf: nothing to do: expected a .link NAME. section", "--config", c.file("[proxy]\n"))
    c.wrong(2, "DIR/a.conf: control and metrics have the same path", "--config",
            c.file("[proxy]\ncontrol = /run/x\nmetrics = unix /run/x\n" + head))
    c.wrong(2, "/dev/zero: expected a file of at most", "--config", "/dev/zero")
    c.wrong(2, "DIR/none.conf: No such file", "--config", "DIR/none.conf")
    eq(c.run("--config", c.file(head + "allow = out tcp local:80\n"), "--check-config"), (0, ""))


@test
def places():
    """sockets and ports that cannot be had: exit 1 and what to do about it"""
    c = Case()
    c.wrong(1, "directory DIR/no does not exist: create it", "--link", "vhost-user-vsock:DIR/no/a.sock,cid=3")
    c.file("not a socket")
    c.wrong(1, "a.conf exists and is no socket: remove it", "--link", "vhost-user-vsock:DIR/a.conf,cid=3")
    p = Proxy()
    c.wrong(1, "g.sock.*(in use|already|listens)", "--link", f"vhost-user-vsock:{p.path},cid=3")
    for kind, proto in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
        s = socket.socket(socket.AF_INET, kind)
        s.bind(("127.0.0.1", 0))
        if proto == "tcp":
            s.listen(1)
        port = s.getsockname()[1]
        c.wrong(1, f"127.0.0.1:{port}.*in use", *LINK, "--publish", f"{proto} 127.0.0.1:{port} -> inet:5000")
        s.close()
    c.wrong(1, "192.0.2.1:80.*", *LINK, "--publish", "tcp 192.0.2.1:80 -> inet:5000")
    c.wrong(1, "directory DIR/no does not exist", *LINK, "--publish", "unix DIR/no/p.sock -> vsock:5")
    eq(os.listdir(c.dir), ["a.conf"], "left behind")
    # a socket that a dead proxy left is no obstacle
    q = Proxy()
    path = os.path.join(c.dir, "old.sock")
    old = socket.socket(socket.AF_UNIX)
    old.bind(path)
    old.close()
    Proxy(args=lambda _: ["--link", f"vhost-user-vsock:{path},cid=3"]).stop()
    eq(os.path.exists(path), False)
    q.stop()


if __name__ == "__main__":
    main()
