#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""--check-config: every line that can be wrong is shown, with a mark under the place and what would be right."""
import os
import re
import subprocess
import sys
import tempfile
import unicodedata

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from harness import TIMEOUT, binary, eq, main, test  # noqa: E402

VS = "[link g]\ntype = vhost-user-vsock\npath = /run/g.sock\ncid = 3\n"
SHM = "[link m]\ntype = rpmsg-shm\npath = /dev/shm/m\nbell = poll:5\n"
MARKS = "^~"


def check(text, code=2):
    """What is said of a file, with FILE for its name."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf", encoding="utf-8", errors="surrogateescape") as f:
        f.write(text)
        f.flush()
        r = subprocess.run([binary(), "--config", f.name, "--check-config"], stderr=subprocess.PIPE,
                           timeout=TIMEOUT, check=False)
        said = r.stderr.decode().replace(f.name, "FILE")
    eq(r.returncode, code, said)
    return said


def columns(line):
    """What a terminal has in each of them: a wide character has two, a mark has that of the character before it."""
    got = []
    for ch in line:
        if unicodedata.combining(ch):
            got[-1] += ch
        else:
            got += [ch, ""] if unicodedata.east_asian_width(ch) in "WF" else [ch]
    return got


def marked(said, at):
    """What is marked below the line of the complaint at FILE:at."""
    lines = said.splitlines()
    for i, line in enumerate(lines):
        if line.startswith(f"FILE:{at}: ") and i + 2 < len(lines) and lines[i + 1].startswith("    "):
            shown, mark = columns(lines[i + 1]), lines[i + 2]
            first = mark.index("^")
            eq(mark.strip(" \t").strip(MARKS), "", "a mark")
            # tabs of the line are tabs below it
            eq(len(mark[:first]), first)
            return "".join(shown[first:first + mark.count("^") + mark.count("~")])
    raise AssertionError(f"no line shown for FILE:{at} in:\n{said}")


@test
def each_line():
    """each kind of wrong line: where, what was found, what would be right, and a mark under it"""
    for text, at, what, found in (
            (VS + "allow = out tpc 10.0.0.1:1", 5, "expected tcp, udp or any", "tpc"),
            (VS + "allow = tcp 10.0.0.1:1", 5, "expected `in` or `out`", "tcp"),
            (VS + "allow = out tcp 10.0.0.1", 5, "expected HOST:PORT", "10.0.0.1"),
            (VS + "allow = out tcp 10.0.0.1:99999", 5, "expected a port", "10.0.0.1:99999"),
            (VS + "allow = out tcp 10.0.0.1:90-80", 5, "the smaller port", "10.0.0.1:90-80"),
            (VS + "allow = out tcp 10.0.0.1/8:80", 5, "no bits set behind the prefix", "10.0.0.1/8:80"),
            (VS + "allow = out tcp any:80 lgo", 5, "or `log`", "lgo"),
            (VS + "allow = out tcp any:80 log log", 5, "nothing more", "log"),
            (VS + "allow = out tcp Any:80", 5, "in small letters", "Any:80"),
            (VS + "allow = out tcp 10.0.0.1-10.0.0.9:80", 5, "one address or a prefix", "10.0.0.1-10.0.0.9:80"),
            (VS + "allow = out tcp any:80 # why", 5, "a blank and `;`", "# why"),
            ("[link g]\ntype = vhost-user-vsock\npath = \"/run/g.sock\"\ncid = 3\n", 3, "without quotes", '"/run/g.sock"'),
            ("[proxy]\ncontrol = /run/control # here\n" + VS, 2, "a blank and `;`", "# here"),
            (VS + "allow = in tcp example.com:80", 5, "names are for `out` rules", "example.com:80"),
            (VS + "publish = tcp 127.0.0.1:80 => vsock:1", 5, "expected `->`", "=>"),
            (VS + "publish = tcp localhost:80 -> vsock:1", 5, "numeric address", "localhost:80"),
            (VS + "publish = tcp 127.0.0.1:80 -> vsock:x", 5, "expected a port", "vsock:x"),
            (VS + "publish = udp 127.0.0.1:80 -> vsock:1 proxy-protocol", 5, "expected", "proxy-protocol"),
            (VS + "publish = tcp 127.0.0.1:80 -> inet:1 proxy-protocol", 5, "expected", "proxy-protocol"),
            (VS + "publish = tcp 127.0.0.1:80 -> rpmsg:a", 5, "vsock:PORT", "rpmsg:a"),
            (SHM + "publish = tcp 127.0.0.1:80 -> vsock:1", 5, "rpmsg:NAME", "vsock:1"),
            (VS + "expose = vsock:1 -> unix run/x", 5, "absolute path", "run/x"),
            (VS + "expose = vsock:1 -> unix /a\nexpose = vsock:1 -> unix /b", 6, "exposed already at FILE:5", "vsock:1"),
            (VS + "limit = socket 5", 5, "did you mean `sockets`?", "socket"),
            (VS + "limit = sockets many", 5, "a number from 1 up", "many"),
            (VS + "limit = dns/s 0", 5, "a number from 1 up", "0"),
            (VS + "limit = dns/s 1\nlimit = dns/s 2", 6, "expected dns/s once", "dns/s"),
            (VS + "limit = buffered", 5, "a number from 1 up", ""),
            (VS + "join = nobody", 5, "name of a link that is there", "nobody"),
            (VS + "join = g", 5, "two different links", "g"),
            (VS + "alow = out any any:any", 5, "did you mean `allow`?", "alow"),
            (VS + "ptah = /x", 5, "did you mean `path`?", "ptah"),
            (VS + "cid = 4", 5, "expected this key once", "cid"),
            (VS + "gibberish", 5, "key = value", "gibberish"),
            (VS + "[link g", 5, "expected `]`", "[link g"),
            (VS + "[link h]x", 5, "nothing behind `]`", "x"),
            (VS + "[proxy] # why", 5, "a blank and `;`", "# why"),
            (VS + "[proxy];why", 5, "a blank and `;`", ";why"),
            (VS + "[lnik h]", 5, "expected [proxy] or [link NAME]", "lnik h"),
            (VS + "[link g]", 5, "is there already", "g"),
            (VS + "[link a b]\n", 5, "expected a link name", "a b"),
            ("[link g]\ntype = vhost-vsock", 2, "expected a link type", "vhost-vsock"),
            ("[link g]\ntype = rpmsg-sh", 2, "did you mean `rpmsg-shm`?", "rpmsg-sh"),
            ("[link g]\ncid = two", 2, "expected a CID", "two"),
            ("[link g]\nbell = bong", 2, "expected a doorbell", "bong"),
            ("[link g]\nbuffer = 13", 2, "a multiple of 4", "13"),
            ("[link g]\ntype = vhost-user-vsock\ncid = 3", 1, "this link has no path", "[link g]"),
            (VS + "[link h]\ntype = vhost-user-vsock\npath = /h\ncid = 3", 5, "the same CID as link g at FILE:1", "[link h]"),
            ("[link g]\ntype = vhost-user-vsock\npath = /x\ncid = 2", 4, "a CID from 3", "2"),
            (VS + "elf = /x", 5, "has no key elf", "elf"),
            ("[link g]\ntype = vhost-user-vsock\ncid = 3\npath = /" + "x" * 107, 4, "1 to 107 bytes", "/" + "x" * 107),
            (VS + "publish = tcp 127.0.0.1:80 -> inet:80\npublish = tcp 127.0.0.1:80 -> inet:81", 6, "already at FILE:5", "tcp"),
            (VS + "publish = unix /a -> vsock:80\n[link h]\ntype = vhost-user-vsock\npath = /h\ncid = 4\n"
             "publish = unix /a -> vsock:80", 10, "already at FILE:5", "unix"),
            ("[proxy]\nuser = no-such-user", 2, "a user that there is", "no-such-user"),
            ("[proxy]\ncontrol-group = no-such-group", 2, "a group that there is", "no-such-group"),
            ("[proxy]\ncontrol-read-group = no-such-group", 2, "a group that there is", "no-such-group"),
            ("[proxy]\nloglevel = info", 2, "did you mean `log-level`?", "loglevel"),
            ("[proxy]\nlog-level = loud", 2, "error, warning, info or debug", "loud"),
            ("[proxy]\nconfine = maybe", 2, "expected yes or no", "maybe"),
            ("[proxy]\ndrain = soon", 2, "0 to 3600 seconds", "soon"),
            ("[proxy]\nlease = 0", 2, "1 to 86400 seconds", "0"),
            ("[proxy]\ncontrol = run/x", 2, "absolute path", "run/x"),
            ("[proxy]\nmetrics = udp 127.0.0.1:1", 2, "unix PATH or tcp ADDRESS:PORT", "udp 127.0.0.1:1"),
            ("[proxy]\nmetrics = tcp 127.0.0.1", 2, "unix PATH or tcp ADDRESS:PORT", "tcp 127.0.0.1"),
            ("[proxy]\nruntime-dir = x", 2, "absolute path", "x"),
            ("[proxy]\nuser =", 2, "name of a user", ""),
            ("[proxy]\nnat64 = 2001:db8:64::", 2, "of 32, 40, 48, 56, 64 or 96 bits, such as 2001:db8:64::/96", "2001:db8:64::"),
            ("[proxy]\nnat64 = 2001:db8::/32 2001:db9::/33", 2, "of 32, 40, 48, 56, 64 or 96 bits", "2001:db9::/33"),
            ("[proxy]\nnat64 = 2001:db8::1/96", 2, "behind its length", "2001:db8::1/96"),
            ("[proxy]\nnat64 = ::ffff:0:0/96", 2, "of unicast addresses", "::ffff:0:0/96"),
            ("[proxy]\nnat64 = 2001:db8:0:0:100::/96", 2, "bits 64 to 71 are 0", "2001:db8:0:0:100::/96"),
            ("[proxy]\nnat64 = 2001:db8::/32 2001:db8:1::/96", 2, "none of which is a part of another", "2001:db8:1::/96"),
            ("[proxy]\nnat64 = " + " ".join(f"2001:{i}::/32" for i in range(1, 10)), 2, "at most 8", "2001:9::/32"),
            ("[proxy]\nnat64 =", 2, "IPv6 prefix", ""),
            ("[proxy]\nnat46 = x", 2, "did you mean `nat64`?", "nat46"),
            ("[proxy]\ndrain = 1\ndrain = 2", 3, "once in [proxy]", "drain"),
            ("cid = 3", 1, "inside of [proxy] or [link NAME]", "cid"),
            ("\t[link g]\n\tallow = out\t tcp\tnowhere", 2, "expected HOST:PORT", "nowhere"),
            (VS + "publish = tcp [fe80::1]:80 -> vsock:1", 5, "fe80::/10 is one of an interface", "[fe80::1]:80"),
            (VS + "expose = vsock:1 -> udp [fe80::1]:80", 5, "fe80::/10 is one of an interface", "[fe80::1]:80"),
            (VS + "allow = out tcp [fe80::1%lo]:80", 5, "without `%`", "[fe80::1%lo]:80"),
            (VS + "allow = out tcp [2001:db8::1/64]:80", 5, "in brackets", "[2001:db8::1/64]:80"),
            (VS + "allow = out tcp [2001:db8::1]/64:80", 5, "no bits set behind the prefix", "[2001:db8::1]/64:80"),
            (VS + "publish = tcp 224.0.0.1:80 -> vsock:1", 5, "neither multicast nor broadcast", "224.0.0.1:80"),
            (VS + "publish = tcp 255.255.255.255:80 -> vsock:1", 5, "neither multicast nor broadcast", "255.255.255.255:80"),
            (VS + "expose = vsock:1 -> tcp [ff02::1]:80", 5, "neither multicast nor broadcast", "[ff02::1]:80"),
            (VS + "limit = sockets 1048577G", 5, "from 1 up to 1048576G", "1048577G"),
            (VS + "publish = unix /run/\u00e9\u20ac\U0001f600 -> vsock:x", 5, "expected a port", "vsock:x"),
            (VS + "publish = unix /run/\u65e5\u672c\uff21\U0001f600 -> vsock:x", 5, "expected a port", "vsock:x"),
            (VS + "publish = unix /run/e\u0301u\u0308 -> vsock:x", 5, "expected a port", "vsock:x"),
            (VS + "\u65e5\u672c = x", 5, "expected one of the keys", "\u65e5\u672c"),
            ("[proxy]\nnat64 = 2001:db8:64::/96 " + "\u65e5" * 15 + "e\u0301" * 15, 2, "expected an IPv6 prefix",
             "\u65e5" * 15 + "e\u0301" * 15),
            ("[proxy]\nnat64 = " + "2001:db8:64::/96" * 8, 2, "found `" + "2001:db8:64::/96" * 8 + "`", "2001:db8:64::/96" * 8),
            (VS + "allow = out tcp b\u00fccher.example:80", 5, "a host name in ASCII", "b\u00fccher.example:80"),
            ("\ufeff" + VS + "alow = x", 5, "did you mean", "alow")):
        said = check(text + "\n")
        if what not in said:
            raise AssertionError(f"{text!r}: no `{what}` in:\n{said}")
        got = marked(said, at)
        if found:
            eq(got, found, text)


@test
def long_lines():
    """lines that are longer than inih's: the value is whole, a comment is none of it, and the place is shown"""
    name = ".".join(["x" * 60] * 4) + ".example"
    for blanks in ("", " " * 100):
        eq(check(VS + f"{blanks}allow = out tcp {name}:80 log ; {'why ' * 100}\n# {'x' * 900}\n; {'=' * 900}\n"
                 f"publish = vsock-mux /run/mux -> vsock:{','.join(str(n) for n in range(4000000001, 4000000009))}{' ' * 150}\n", code=0), "")
    said = check(VS + f"allow = out tcp {name}:80 lgo\n")
    eq(marked(said, 5), "lgo")
    said = check(VS + f"allow = out tpc {name}:80 log ; {'why ' * 100}\n")
    eq((marked(said, 5), max(len(x) for x in said.splitlines()[1:])), ("tpc", 167))
    for what, said in (
            ("allow = out tcp " + "x" * 1100 + ":80", "FILE:5: expected a line of at most 1023 bytes"),
            (" " * 900 + "allow = out tcp any:80" + " " * 110, "FILE:5: expected a line of at most 1023 bytes"),
            ("x" * 300 + " = 3", "FILE:5: expected one of the keys"),
            ("key ; " + "x" * 300 + " = 3", "FILE:5: expected [section] or key = value"),
            ("x" * 300 + " ; = 3", "FILE:5: expected [section] or key = value"),
            ("x" * 300, "FILE:5: expected [section], key = value"),
            ("[link " + "x" * 300 + "]", "FILE:5: expected a link name"),
            ("allow = " + "\u00e9" * 300, "FILE:5: allow: expected")):
        got = check(VS + what + "\n")
        eq(got[:len(said)], said)
        if "key = value" not in said:  # of those inih complains, and shows nothing
            marked(got, 5)
    # of one that has a CR in it, or bytes 0xff, the rest is not a line either
    for what in ("\r", "\udcff"):
        got = check(VS + "allow = " + what * 2000 + "x\nallow = out tcp 10.0.0.1:80\n")
        eq(got.count("FILE:"), 1, got)
        eq(got[:len("FILE:5: expected a line of at most")], "FILE:5: expected a line of at most")
    for ends in ("allow = out tcp 10.0.0.1:80\rallow = out tcp 10.0.0.2:80\n", "\r# a comment\rallow = x"):
        got = check(VS + ends)
        eq(got.splitlines()[0], "FILE:5: expected LF or CR LF behind each line, found a CR alone")
    eq(check(VS + "allow = out tcp 10.0.0.1:80\r\r\nallow = out tcp 10.0.0.2:80\r", code=0), "")
    # a line of that length is one: the next is another
    eq(marked(check(VS + "#" + "x" * 1021 + "\r\ncolour = red\n"), 6), "colour")


@test
def no_text():
    """bytes that are no UTF-8, and a terminal's own, are shown as `?`: one each, so that the mark stands right"""
    with tempfile.TemporaryDirectory(prefix="ampsock-test-") as d:
        path = os.path.join(d, "x.conf")
        with open(path, "wb") as f:
            f.write(VS.encode() + b"publish = unix /\xff\x1b\x7f\xc2\x9b\xc3\xa9 -> vsock:x\n")
        r = subprocess.run([binary(), "--config", path, "--check-config"], stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)
    shown, mark = r.stderr.decode().splitlines()[1:3]
    eq((shown, shown.index("vsock:x")), ("    publish = unix /????\u00e9 -> vsock:x", mark.index("^")))


@test
def all_of_them():
    """a file's mistakes are said all at once, in their order, and what only follows from them is not"""
    said = check("[proxy]\nloglevel = x\n[link g]\ntype = vhost-user-vsock\npath = /x\ncid = two\nallow = out\nwhat\n"
                 "[link h]\ntype = vhost-user-vsock\npath = /x\n[link i]\ncolour = red\n")
    lines = [x.split(":")[1] for x in said.splitlines() if x.startswith("FILE:")]
    eq(lines, ["2", "6", "7", "8", "13", "9"], said)
    if "no CID" not in said.splitlines()[-3]:
        raise AssertionError(said)


@test
def good():
    """a good file says nothing and is exit status 0: every key there is"""
    eq(check("# all\n[proxy] ; what is everybody's\nuser = nobody\nconfine = no\nlog-level = info\ncontrol = /run/x/control\n"
             "control-group = adm\ncontrol-read-group = users\nmetrics = tcp [::1]:9101\ndrain = 30\n"
             "runtime-dir = /run/x\nlease = 60 ; a minute\nnat64 = 2001:db8:64::/96   2001:db9::/32\n\n" + VS +
             "  allow = out tcp any:any log\n\tpublish = unix /run/p -> vsock:1 proxy-protocol\n"
             "expose = vsock:2 -> tcp 127.0.0.1:22 proxy-protocol\nlimit = sockets 10\nlimit = half-open 1\n"
             "limit = buffered 64k\nlimit = connects/s none\nlimit = dns/s 2k\nlimit = datagrams/s 1\njoin = h\n"
             "[link h]\ntype=vhost-user-vsock\npath=/run/h.sock\ncid=4\n" + SHM, code=0), "")


@test
def shipped():
    """the file that is installed is a good one"""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    with open(os.path.join(root, "etc", "proxy.conf"), encoding="utf-8") as f:
        text = f.read()
    # it serves nobody before somebody says whom
    if "nothing to do" not in check(text):
        raise AssertionError("it serves somebody")
    # and its examples, which are comments, are right
    text = re.sub(r"(?m)^#(?=[a-z\[])", "", text)
    eq(check(text.replace("user = ampsock", "user = nobody"), code=0), "")


@test
def unreadable():
    """what is no file at all is said, not taken for an empty one"""
    r = subprocess.run([binary(), "--config", "/", "--check-config"], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    eq((r.returncode, r.stderr.splitlines()[:1]), (2, ["/: cannot be read: Is a directory"]), "a directory")
    with tempfile.TemporaryDirectory(prefix="ampsock-test-") as d:
        path = os.path.join(d, "pipe")
        os.mkfifo(path)
        r = subprocess.run([binary(), "--config", path, "--check-config"], capture_output=True, text=True, timeout=TIMEOUT, check=False)
        eq((r.returncode, r.stderr.splitlines()[:1]), (2, [path + ": is a pipe with nothing in it: expected a file"]), "a pipe")
    r, w = os.pipe()
    os.write(w, VS.encode())
    os.close(w)
    eq(subprocess.run([binary(), "--config", f"/dev/fd/{r}", "--check-config"], pass_fds=[r], timeout=TIMEOUT, check=False).returncode, 0)
    os.close(r)


@test
def one_listener():
    """an address that two would listen at: published, of the control socket, metrics, links; and what only looks like it"""
    unix = "publish = unix /run/x -> vsock:1\n"
    for text, said in (
            ("[proxy]\ncontrol = /run/x\n" + VS + unix, "FILE:7: publish: this address is the control socket's"),
            ("[proxy]\nmetrics = unix /run/x\n" + VS + unix, "FILE:7: publish: this address is that of metrics"),
            ("[proxy]\nmetrics = tcp 127.0.0.1:91\n" + VS + "publish = tcp 0.0.0.0:91 -> vsock:1\n",
             "FILE:7: publish: this address is that of metrics"),
            (VS + "publish = unix /run/g.sock -> vsock:1\n", "FILE:5: publish: this address is that of link g"),
            (VS + "publish = unix /run/v_7 -> vsock:1\n[link v]\ntype = vsock-unix\npath = /run/v\nexpose = vsock:7 -> unix /run/o\n",
             "FILE:5: publish: this address is that of link v"),
            ("[proxy]\ncontrol = /run/x\nmetrics = unix /run/x\n" + VS, "FILE: control and metrics have the same path: expected two"),
            ("[proxy]\ncontrol = /run/g.sock\n" + VS, "FILE:3: the control socket has this link's path: expected another"),
            (VS + "publish = tcp 127.0.0.1:80 -> vsock:1\npublish = tcp 0.0.0.0:80 -> vsock:2\n",
             "FILE:6: publish: this address is published already at FILE:5"),
            (VS + "publish = udp [::]:80 -> vsock:1\npublish = udp [::1]:80 -> vsock:2\n",
             "FILE:6: publish: this address is published already at FILE:5"),
            (VS + "publish = udp 127.0.0.1:53 -> inet:53\npublish = udp [::1]:53 -> inet:53\n",
             "FILE:6: publish: udp to inet:53 is published already at FILE:5")):
        eq(check(text).splitlines()[0][:len(said)], said)
    eq(check("[proxy]\ncontrol = /run/x\nmetrics = tcp 127.0.0.1:91\n" + VS +
             "publish = udp 127.0.0.1:91 -> vsock:1\npublish = tcp [::]:91 -> vsock:1\npublish = tcp 127.0.0.1:0 -> vsock:1\n"
             "publish = tcp 0.0.0.0:0 -> vsock:1\npublish = unix /run/g.sock_7 -> vsock:1\npublish = tcp 127.0.0.2:91 -> vsock:2\n",
             code=0), "")


@test
def zero_byte():
    """a zero byte hides nothing: it is marked, and a file in UTF-16 is no text"""
    said = check(VS + "allow = out tcp 10.0.0.1:80\0 and more\n")
    eq(marked(said, 5), "?")
    eq(said.splitlines()[:2], ["FILE:5: expected text (ASCII or UTF-8), found a zero byte", "    allow = out tcp 10.0.0.1:80? and more"])
    eq(check("\0\n" + VS + "cid = 5\n").count("FILE:"), 2)
    for line in check("\0".join(VS)).splitlines()[::3][:4]:
        assert "found a zero byte" in line, line


@test
def option_once():
    """what an option says wrong is told with its name once"""
    for option, text, said in (
            ("allow", "allow: out tcp 1.2.3.4:80", "--allow: at `allow: out"),
            ("publish", "tpc", "--publish: at `tpc`"),
            ("expose", "x", "--expose: at `x`"),
            ("expose", "rpmsg:x -> tcp 127.0.0.1:80", "--expose: rpmsg:x is no service"),
            ("limit", "sockets", "--limit: expected a number"),
            ("limit", "x 3", "--limit: expected sockets"),
            ("join", "g,nobody", "--join: expected the name of a link that is there")):
        r = subprocess.run([binary(), "--link", "vhost-user-vsock:/run/g.sock,cid=3,name=g", "--" + option, text,
                            "--check-config"], capture_output=True, text=True, timeout=TIMEOUT, check=False)
        eq(r.returncode, 2)
        assert r.stderr.startswith(said), r.stderr


main()
