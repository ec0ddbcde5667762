# SPDX-License-Identifier: BSD-3-Clause
"""In a Linux guest whose root is the host's file system: ampsock-proxy on the kernel's AF_VSOCK.

CID 1 is the machine itself, so this program is the guest that the proxy has. With the name of
a part as its argument; TAP on standard output.
"""
import os
import signal
import socket
import struct
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
for at in ("../../proxy/lib", "../../proxy"):
    sys.path.insert(0, os.path.join(HERE, at))
import capture  # noqa: E402
import ctl  # noqa: E402
import harness  # noqa: E402
import sockguest  # noqa: E402
import sockrig  # noqa: E402
from harness import TESTS, TIMEOUT, Proxy, Server, eq, free_port, main, test  # noqa: E402

TESTS.clear()  # capture.py's

LOOP, MIB = "127.0.0.1", 1 << 20
ANY = socket.VMADDR_CID_ANY


def link(_):
    return ["--link", "vsock:1,name=g"]


def up(*rules, **kw):
    return Proxy(*rules, args=link, **kw), sockguest.VsockGuest()


class Rig(sockrig.Rig):
    up = staticmethod(up)


def offloading():
    import offloading as cases
    # what a carrier has to do with; the rest is the same on all (hoffloading.py). This kernel has no IPv6.
    cases.Rig, cases.dies, cases.Guest = Rig, sockrig.dies, lambda path: sockguest.VsockGuest()
    kept = ("connect", "early_data", "header_bytewise", "closed_reason", "names", "lease_ends_with_guest", "accept_storm",
            "published_inet", "published_udp", "udp_connected", "udp_truncated", "udp_flood", "udp_bad_frames",
            "bad_headers", "stolen_token", "bad_control", "parallel_connects")
    TESTS[:] = [t for t in TESTS if t.__name__ in kept]
    eq(len(TESTS), len(kept))


def take(s):
    data = bytearray()
    while True:
        part = s.recv(MIB)
        if not part:
            return bytes(data)
        data += part


def vsock(port, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_VSOCK, kind)
    s.settimeout(TIMEOUT)
    s.connect((1, port))
    return s


def forwards():
    @test
    def streams():
        """publish and expose of streams: 2 MiB each way, half-close; refused, not exposed; vsock-mux"""
        got, port = [], free_port()
        data = os.urandom(2 * MIB)
        srv = Server(lambda s: (got.append(take(s)), s.sendall(data)))
        p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{srv.port}", f"expose vsock:6001 -> tcp {LOOP}:{free_port()}",
                  f"publish tcp {LOOP}:{port} -> vsock:7000", "publish vsock-mux DIR/mux -> vsock:7000-7001")
        s = vsock(6000)
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        eq(take(s) == data, True)
        eq(got == [data], True)
        s.close()
        eq(vsock(6001).recv(1), b"")
        try:
            vsock(6002)
            raise AssertionError("not exposed, and there")
        except ConnectionResetError:
            pass
        g.listen(7000)
        k = socket.create_connection((LOOP, port), timeout=TIMEOUT)
        m = socket.socket(socket.AF_UNIX)
        m.settimeout(TIMEOUT)
        m.connect(p.dir.name + "/mux")
        m.sendall(b"CONNECT 7000\n")
        for k in (k, m):
            k.sendall(b"to the guest")
            k.shutdown(socket.SHUT_WR)
            c = g.accept(7000)
            eq(c.recv_exact(12), b"to the guest")
            eq(c.recv(), b"")
            got = []
            t = threading.Thread(target=lambda k=k, got=got: got.append(take(k)), daemon=True)
            t.start()
            c.send(data)
            c.close()
            t.join(TIMEOUT)
            back = got[0]
            eq(back[:8 if k is m else 0], b"OK 7000\n" if k is m else b"")
            eq(back[8 if k is m else 0:] == data, True)
        # nobody listens
        k = socket.socket(socket.AF_UNIX)
        k.settimeout(TIMEOUT)
        k.connect(p.dir.name + "/mux")
        k.sendall(b"CONNECT 7001\n")
        eq(k.recv(1), b"")
        p.log("publish vsock-mux .*connection closed: Connection refused")
        g.close()
        p.wait_counter("ends", 0)
        p.stop()
        srv.close()

    @test
    def captured():
        """ampsockctl capture: packets made of what passes, with the kernel's addresses; what sockets shows"""
        srv, port = Server(lambda s: s.sendall(take(s))), free_port()
        half = Server(lambda s: (s.shutdown(socket.SHUT_WR), take(s)))
        p, g = up(f"expose vsock:6000 -> tcp {LOOP}:{srv.port}", f"expose vsock:6001 -> tcp {LOOP}:{half.port}",
                  f"publish tcp {LOOP}:{port} -> vsock:7000", "control DIR/control")
        cap = capture.Capture(p)
        s = vsock(6000)
        mine = s.getsockname()[1]
        s.sendall(b"ab")
        row, = (r for r in ctl.ask(p, "sockets") if r["kind"] == "expose")
        eq((row["guest_peer"], row["guest_local"]), (f"vsock:1:{mine}", "vsock:1:6000"))
        s.shutdown(socket.SHUT_WR)
        eq(take(s), b"ab")
        s.close()
        p.wait_counter("ends", 0)
        # behind a shutdown() of the proxy's the kernel does not say any more who is there
        s = vsock(6001)
        halved = s.getsockname()[1]
        eq(s.recv(1), b"")
        eq([r["guest_peer"] for r in ctl.ask(p, "sockets") if r["kind"] == "expose"], [f"vsock:1:{halved}"])
        s.sendall(b"ef")
        s.close()
        p.wait_counter("ends", 0)
        g.listen(7000)
        k = socket.create_connection((LOOP, port), timeout=TIMEOUT)
        c = g.accept(7000)
        c.send(b"cd")
        eq(k.recv(2), b"cd")
        k.close()
        c.close()
        p.wait_counter("ends", 0)
        eq(cap.end()["drops"], 0)
        dlt, got = cap.packets()
        eq(dlt, 271)
        rows = [(*struct.unpack_from("<QQII", d, 32), struct.unpack_from("<H", d, 62)[0], d[76:]) for _, _, d in got]
        theirs = next(r[2] for r in rows if r[3] == 7000)
        ways = {mine: 6000, 6000: mine, halved: 6001, 6001: halved, theirs: 7000, 7000: theirs}
        eq([r for r in rows if r[:2] != (1, 1) or ways.get(r[2]) != r[3]], [], "addresses")
        req, resp, shut, rw = 1, 2, 4, 5
        eq([r[4] for r in rows if 6000 in r[2:4]][:4], [req, resp, rw, shut])
        eq([r[4] for r in rows if 7000 in r[2:4]][:3], [req, resp, rw])
        eq([r[5] for r in rows if r[4] == rw], [b"ab", b"ab", b"ef", b"cd"])
        g.close()
        p.stop()
        srv.close()
        half.close()

    @test
    def reloaded():
        """a reload makes of a port of streams one of messages and back; ports come and go with it"""
        d = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        d.settimeout(TIMEOUT)
        d.bind((LOOP, 0))
        srv = Server(lambda s: s.sendall(b"a stream"))
        tcp, udp = f"tcp {LOOP}:{srv.port}", f"udp {LOOP}:{d.getsockname()[1]}"
        file = tempfile.NamedTemporaryFile("w", suffix=".conf")
        os.chmod(file.name, 0o644)

        def write(*rules):
            file.seek(0)
            file.truncate()
            file.write("[link g]\ntype = vsock\ncid = 1\n" + "".join(f"expose = vsock:{r}\n" for r in rules))
            file.flush()
            return file.name

        def hup(*rules):
            write(*rules)
            n = len(p.lines)
            p.proc.send_signal(signal.SIGHUP)
            p.log("reload: 0 links and 2 rules added, 0 links and 2 rules removed", start=n)
        before, after = (f"6000 -> {tcp}", f"6001 -> {tcp}"), (f"6000 -> {udp}", f"6002 -> {tcp}")
        p = Proxy(args=lambda _: ["--config", write(*before)])
        for _ in range(2):
            eq(take(vsock(6000)), b"a stream")
            hup(*after)
            eq(take(vsock(6002)), b"a stream")
            try:
                vsock(6001)
                raise AssertionError("not exposed any more, and there")
            except ConnectionResetError:
                pass
            s = vsock(6000, socket.SOCK_SEQPACKET)
            s.send(b"a message")
            eq(d.recv(100), b"a message")
            s.close()
            hup(*before)
        # somebody else has one: nothing changes, and the port of the other new rule is free again
        other = socket.socket(socket.AF_VSOCK)
        other.bind((ANY, 6004))
        other.listen(1)
        write(f"6000 -> {tcp}", f"6003 -> {tcp}", f"6004 -> {tcp}")
        p.proc.send_signal(signal.SIGHUP)
        p.log("cannot listen on AF_VSOCK port 6004: another process listens there")
        p.log("reload: nothing has changed")
        eq(take(vsock(6001)), b"a stream")
        try:
            vsock(6003)
            raise AssertionError("a rule of a refused file")
        except ConnectionResetError:
            pass
        other.close()
        p.wait_counter("ends", 0)
        p.stop()
        file.close()
        srv.close()

    @test
    def messages():
        """SOCK_SEQPACKET for UDP, both ways: boundaries, 1 to 60,000 bytes"""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((LOOP, 0))
        server.settimeout(TIMEOUT)
        port = free_port(socket.SOCK_DGRAM)
        p, _ = up(f"expose vsock:6000 -> udp {LOOP}:{server.getsockname()[1]}", f"publish udp {LOOP}:{port} -> vsock:7000")
        s = vsock(6000, socket.SOCK_SEQPACKET)
        door = socket.socket(socket.AF_VSOCK, socket.SOCK_SEQPACKET)
        door.bind((ANY, 7000))
        door.listen(4)
        door.settimeout(TIMEOUT)
        c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        c.settimeout(TIMEOUT)
        c.connect((LOOP, port))
        c.send(b"hello")
        t, peer = door.accept()
        eq(peer[0], 1)
        t.settimeout(TIMEOUT)
        eq(t.recv(65536), b"hello")
        for n in (1, 2, 44, 4096, 4097, 32769, 60000):
            data = os.urandom(n)
            s.send(data)
            got, source = server.recvfrom(65536)
            eq(got == data, True, n)
            server.sendto(data[::-1], source)
            eq(s.recv(65536) == data[::-1], True, n)
            t.send(data)
            eq(c.recv(65536) == data, True, n)
        # the wrong kind of socket
        try:
            vsock(6000)
            raise AssertionError("a stream where messages are")
        except ConnectionResetError:
            pass
        for x in (s, t):
            x.close()
        p.wait_counter("ends", 0)
        p.stop()

    @test
    def pressure():
        """who does not read stops who writes, another flow goes on; 100 connections at once"""
        port, srv = free_port(), Server(lambda s: s.sendall(s.recv(100)))
        p, g = up(f"publish tcp {LOOP}:{port} -> vsock:7000", f"expose vsock:6000 -> tcp {LOOP}:{srv.port}")
        g.listen(7000, buf_alloc=0)
        k = socket.create_connection((LOOP, port), timeout=TIMEOUT)
        c = g.accept(7000)
        sent = sockrig.stuff(k)
        socks = [vsock(6000) for _ in range(100)]
        for i, s in enumerate(socks):
            s.sendall(b"%03d" % i)
        for i, s in enumerate(socks):
            eq(take(s), b"%03d" % i)
            s.close()
        sockrig.read_at_last(c, k, sent)
        c.close()
        k.close()
        srv.close()
        p.wait_counter("ends", 0)
        p.stop()

    @test
    def two_links():
        """links share a port and are told apart by CID; a port for both kinds, and one in use: said"""
        a, b = Server(lambda s: s.sendall(b"a")), Server(lambda s: s.sendall(b"b"))
        p = Proxy("expose vsock:6000 -> tcp 127.0.0.1:%d" % b.port,
                  args=lambda _: ["--link", "vsock:2,name=host", "--expose", f"vsock:6000 -> tcp {LOOP}:{a.port}",
                                  "--expose", f"vsock:6005 -> tcp {LOOP}:{a.port}", "--link", "vsock:1,name=self"])
        eq(take(vsock(6000)), b"b")
        eq(take(vsock(6005)), b"")
        p.log("link self: the guest asked for vsock:6005")
        for args, text in ((["--expose", "vsock:6005 -> udp 127.0.0.1:1", "--link", "vsock:2", "--expose",
                             "vsock:6005 -> tcp 127.0.0.1:1"], "is another link's for udp"), ([], "another process listens")):
            r = harness.subprocess.run([harness.binary(), "--link", "vsock:1", *args], capture_output=True,
                                       timeout=TIMEOUT, check=False)
            eq(r.returncode, 1)
            if not args and text not in r.stderr.decode():
                raise AssertionError(r.stderr.decode())
        p.stop()
        r = harness.subprocess.run([harness.binary(), "--link", "vsock:1", "--expose", "vsock:6005 -> udp 127.0.0.1:1",
                                    "--link", "vsock:2", "--expose", "vsock:6005 -> tcp 127.0.0.1:1"],
                                   capture_output=True, timeout=TIMEOUT, check=False)
        eq((r.returncode, b"is another link's for udp" in r.stderr), (1, True), r.stderr)
        a.close()
        b.close()


{"offloading": offloading, "forwards": forwards}[sys.argv.pop(1)]()
main()
