#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""ampsockctl capture: what tshark and a reader of our own make of the files."""
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import ctl  # noqa: E402
import sockguest  # noqa: E402
from charkernel import CharRig  # noqa: E402
from harness import TIMEOUT, Proxy, Server, echo, eq, free_port, main, test  # noqa: E402
from procs import preload  # noqa: E402
from rpmsgguest import Raw  # noqa: E402
from rpmsgrig import Rig  # noqa: E402
from vguest import SEND, Guest  # noqa: E402
from vrig import exposed  # noqa: E402

CONTROL = "control DIR/control"
FIELDS = ("vsock.src_cid", "vsock.dst_cid", "vsock.src_port", "vsock.dst_port", "vsock.op",
          "vsock.virtio.op", "vsock.virtio.type", "vsock.virtio.buf_alloc", "frame.len", "frame.cap_len")


def packets(path):
    """(link type, [(ns, full length, bytes)]) of a pcap file with nanoseconds."""
    with open(path, "rb") as f:
        data = f.read()
    magic, major, minor, _, _, snap, dlt = struct.unpack_from("<IHHiIII", data)
    eq((magic, major, minor), (0xa1b23c4d, 2, 4), "pcap header")
    out, at = [], 24
    while at < len(data):
        s, ns, cap, full = struct.unpack_from("<IIII", data, at)
        assert cap <= snap and cap <= full and ns < 10**9, (cap, full, snap, ns)
        out.append((s * 10**9 + ns, full, data[at + 16:at + 16 + cap]))
        at += 16 + cap
    eq(at, len(data), "whole packets")
    return dlt, out


def tshark(path):
    r = subprocess.run(["tshark", "-r", path, "-T", "fields", *[x for f in FIELDS for x in ("-e", f)]],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT * 3, check=False)
    if r.returncode:
        raise AssertionError(r.stderr)
    return [dict(zip(FIELDS, line.split("\t"))) for line in r.stdout.splitlines()]


class Capture:
    """ampsockctl capture, which is at it when this is made."""

    def __init__(self, p, *args):
        self.p = p
        self.file = os.path.join(p.dir.name, "x.pcap")
        before = ctl.ask(p, "status")["captures"]
        self.proc = ctl.start(p, "--json", "capture", "-w", self.file, *args)
        deadline = time.monotonic() + TIMEOUT
        while ctl.ask(p, "status")["captures"] == before and self.proc.poll() is None:
            assert time.monotonic() < deadline, "no capture began"

    def end(self, sig=signal.SIGINT, code=0):
        """The summary."""
        if sig:
            self.proc.send_signal(sig)
        out, err = self.proc.communicate(timeout=TIMEOUT)
        eq((self.proc.returncode, "Sanitizer" in err), (code, False), err)
        return __import__("json").loads(out)

    def packets(self):
        r = packets(self.file)
        os.unlink(self.file)
        return r


@test
def vsock():
    """a connection from REQUEST to RST: tshark names every operation, CIDs and ports, the payload is there"""
    if not shutil.which("tshark"):
        return "tshark is not installed"
    srv, p, g = exposed(echo, CONTROL)
    cap = Capture(p)
    c = g.connect(6000)
    c.send(b"over the wire")
    eq(c.recv_exact(13), b"over the wire")
    c.shutdown(SEND)
    eq(c.recv(1), b"")
    c.close()
    p.wait_counter("ends", 0)
    end = cap.end()
    rows = tshark(cap.file)
    dlt, got = cap.packets()
    eq(dlt, 271, "DLT_VSOCK")
    eq((end["packets"], end["drops"], end["made"]), (len(got), 0, False))
    ops = [(r["vsock.src_cid"] == "3", int(r["vsock.virtio.op"])) for r in rows]
    eq(ops[:4], [(True, 1), (False, 2), (True, 5), (False, 5)], "REQUEST, RESPONSE, RW, RW")
    assert (True, 4) in ops and any(op in (3, 4) for ours, op in ops if not ours), ops
    eq({(r["vsock.src_port"], r["vsock.dst_port"]) for r in rows}, {(str(c.local), "6000"), ("6000", str(c.local))})
    eq([int(r["vsock.op"]) for r in rows[:4]], [1, 1, 4, 4], "connect, payload")
    eq({r["vsock.virtio.type"] for r in rows}, {"1"}, "stream")
    eq([d[76:] for _, _, d in got if len(d) > 76], [b"over the wire"] * 2)
    assert all(a[0] <= b[0] for a, b in zip(got, got[1:])), "time goes back"
    g.close()
    srv.close()
    p.stop()


@test
def cut_and_counted():
    """-s cuts packets and keeps their length, -c ends the capture, the flow goes on; odd ring layouts"""
    srv = Server(echo)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", CONTROL)
    g = Guest(p.path, rx_len=4097, num=32)  # receive buffers at odd addresses
    c = g.connect(6000)
    cap = Capture(p, "-c", "5", "-s", "100", "-l", "g")
    data = os.urandom(100000)
    c.send(data)
    eq(c.recv_exact(len(data)), data)
    eq(cap.end(sig=None)["packets"], 5)
    _, got = cap.packets()
    eq(got[0][1], 76 + 65536, "the first packet's length")
    eq([len(d) for _, _, d in got if len(d) != 76], [100] * len([1 for _, _, d in got if len(d) != 76]))
    eq(got[0][2][76:], data[:24])
    eq(ctl.ask(p, "status")["captures"], 0)
    eq(ctl.ask(p, "links")[0]["captured"], False)
    c.send(data)
    eq(c.recv_exact(len(data)), data, "after the capture")
    c.close()
    g.close()
    srv.close()
    p.stop()


@test
def guest_comes_again():
    """a capture begun before there is a guest sees it, and the next one"""
    srv = Server(echo)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", CONTROL)
    cap = Capture(p, "-l", "g")
    for i in range(2):
        g = Guest(p.path)
        c = g.connect(6000)
        c.send(b"life %d" % i)
        eq(c.recv_exact(6), b"life %d" % i)
        c.close()
        g.close()
        p.log("guest detached")
    cap.end()
    _, got = cap.packets()
    eq([d[76:] for _, _, d in got if len(d) > 76], [b"life 0"] * 2 + [b"life 1"] * 2)
    srv.close()
    p.stop()


@test
def link_goes():
    """a capture of a link that a reload takes away ends as it does at a signal; one of all links goes on"""
    def args(p):
        with open(p.path + ".conf", "w", encoding="utf-8") as f:
            f.write(both.replace("DIR", p.dir.name))
        return ["--config", p.path + ".conf", "--control", os.path.join(p.dir.name, "control")]
    h = "[link h]\ntype = vhost-user-vsock\npath = DIR/h.sock\ncid = 4\n"
    both = h.replace("[link h]", "[link g]").replace("h.sock", "g.sock").replace("4", "3") + h
    p = Proxy(args=args)
    g = Guest(p.path)
    every, cap = Capture(p), Capture(p, "-l", "g")
    with open(p.path + ".conf", "w", encoding="utf-8") as f:
        f.write(h.replace("DIR", p.dir.name))
    ctl.ask(p, "reload")
    cap.end(sig=None)
    eq(ctl.ask(p, "status")["captures"], 1)
    every.end()
    g.close()
    p.stop()


@test
def slow_reader():
    """one that does not read loses packets, is told how many, and costs the flow nothing"""
    srv, p, g = exposed(echo, CONTROL)
    c = g.connect(6000)
    r = ctl.Raw(p)
    eq(r.ask({"cmd": "capture"})["result"]["link_type"], 271)
    data = os.urandom(1 << 20)
    for _ in range(4):
        c.send(data)
        eq(c.recv_exact(len(data)), data)
    r.s.shutdown(1)  # no more: what there is, and the end
    body = r.rest()
    at, n, drops, full = 0, 0, 0, 0
    while at < len(body):
        kind, size, whole, _, _, drops = struct.unpack_from("<IIIIQQ", body, at)
        at += 32 + size
        n += kind == 0
        full += whole
    eq((at, kind), (len(body), 1), "an end record")
    assert drops > 0 and n > 0 and full < 8 << 20, (n, drops, full)
    link, = ctl.ask(p, "links")
    eq(link["from_guest_bytes"], 4 << 20)
    c.close()
    g.close()
    srv.close()
    p.stop()


@test
def file_full():
    """a full disk ends the capture with a message, not the proxy"""
    srv, p, g = exposed(echo, CONTROL)
    c = g.connect(6000)
    err = ctl.run(p, "capture", "-w", "/dev/full", code=1)
    assert "No space left on device" in err, err
    # a limit on the file's size is a disk that fills up in mid-capture
    proc = subprocess.Popen(["sh", "-c", 'ulimit -f 64; exec "$@"', "sh", ctl.program(), "--socket", ctl.path(p), "capture",
                             "-w", p.dir.name + "/x.pcap"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    data = os.urandom(1 << 16)
    deadline = time.monotonic() + TIMEOUT
    while proc.poll() is None:
        assert time.monotonic() < deadline, "it captures for ever"
        c.send(data)
        eq(c.recv_exact(len(data)), data)
    out, err = proc.communicate()
    eq(proc.returncode, 1)
    assert "File too large: the capture ends here" in err and "packets" in out, err + out
    c.send(b"alive")
    eq(c.recv_exact(5), b"alive")
    deadline = time.monotonic() + TIMEOUT
    while ctl.ask(p, "status")["captures"]:
        assert time.monotonic() < deadline, "the capture goes on"
    os.unlink(p.dir.name + "/x.pcap")
    assert "No such file" in ctl.run(p, "capture", "-w", p.dir.name + "/no/x", code=1)
    c.close()
    g.close()
    srv.close()
    p.stop()


@test
def signal_while_nothing_comes():
    """a signal in the moment before it waits ends it, although no packet comes"""
    srv, p, g = exposed(echo, CONTROL)
    env = {**os.environ, "LD_PRELOAD": preload("signals"), "ASAN_OPTIONS": "verify_asan_link_order=0"}
    assert "0 packets" in ctl.run(p, "capture", "-w", p.dir.name + "/x.pcap", env=env)
    os.unlink(p.dir.name + "/x.pcap")
    g.close()
    srv.close()
    p.stop()


@test
def limits():
    """four captures at a time; links of two kinds want one of them named; who may only look sees no packets"""
    p = Proxy(CONTROL, args=lambda p: ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g",
                                       "--link", f"rpmsg-shm:{p.dir.name}/ram,bell=poll:1000,da=0x1000,table=0x1000,name=r"])
    err = ctl.run(p, "capture", "-w", p.dir.name + "/x", code=1)
    assert "expected the name of one link" in err, err
    rs = [ctl.Raw(p) for _ in range(5)]
    for r in rs[:4]:
        eq(r.ask({"cmd": "capture", "link": "r"})["result"]["link_type"], 147)
    eq(rs[4].ask({"cmd": "capture", "link": "g"})["error"]["code"], "EBUSY")
    for r in rs:
        r.close()
    deadline = time.monotonic() + TIMEOUT
    while ctl.ask(p, "status")["captures"]:
        assert time.monotonic() < deadline, "captures without anybody"
    p.stop()


@test
def made_packets():
    """a vsock-unix link has no packets: they are made of what passes, and tshark decodes connections of both sides"""
    if not shutil.which("tshark"):
        return "tshark is not installed"
    srv, port, no, dead = Server(echo), free_port(), free_port(), free_port()
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", f"expose vsock:6001 -> tcp 127.0.0.1:{dead}",
              f"publish tcp 127.0.0.1:{port} -> vsock:5000", f"publish tcp 127.0.0.1:{no} -> vsock:5001", CONTROL, args=sockguest.link)
    g = sockguest.Guest(p.path)
    cap = Capture(p)
    # from the guest, which ends it in order
    c = g.connect(6000)
    c.send(b"from the guest")
    eq(c.recv_exact(14), b"from the guest")
    row = next(r for r in ctl.ask(p, "sockets") if r["kind"] == "expose")
    eq(row["guest_local"], "vsock:6000")
    one = 0x80000000 + row["id"]
    c.shutdown(SEND)
    eq(c.recv(1), b"")
    c.close()
    p.wait_counter("ends", 0)
    # to the guest, which is reset
    g.listen(5000)
    k = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    k.sendall(b"to the guest")
    c = g.accept(5000)
    eq(c.recv_exact(12), b"to the guest")
    row = next(r for r in ctl.ask(p, "sockets") if r.get("state") == "established")
    eq(row["guest_peer"], "vsock:5000")
    two = 0x80000000 + row["id"]
    k.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    k.close()
    p.wait_counter("ends", 0)
    # nobody there: on the host, in the guest
    eq(g.connect(6001).recv(1), b"")
    p.wait_counter("ends", 0)
    with g.pumped():
        try:  # the reset may be here before connect() has returned
            with socket.create_connection(("127.0.0.1", no), timeout=TIMEOUT) as k:
                eq(k.recv(1), b"")
        except ConnectionResetError:
            pass
    p.wait_counter("ends", 0)
    end = cap.end()
    rows = tshark(cap.file)
    dlt, got = cap.packets()
    eq((dlt, end["packets"], len(rows), end["made"]), (271, len(got), len(got), True))

    def seen(host_port, guest_port):
        """(from the guest, operation, flags, bytes) of a connection, all with the right addresses."""
        out = []
        for r, (_, _, d) in zip(rows, got):
            src, dst = ((r[f"vsock.{x}_cid"], int(r[f"vsock.{x}_port"])) for x in ("src", "dst"))
            if {src, dst} == {("2", host_port), ("3", guest_port)}:
                out.append((src[0] == "3", int(r["vsock.virtio.op"]), struct.unpack_from("<I", d, 64)[0], d[76:]))
        return out
    req, resp, rst, shut, rw = 1, 2, 3, 4, 5
    eq(seen(6000, one), [(True, req, 0, b""), (False, resp, 0, b""), (True, rw, 0, b"from the guest"), (False, rw, 0, b"from the guest"),
                         (True, shut, 2, b""), (False, shut, 3, b"")])
    eq(seen(two, 5000), [(False, req, 0, b""), (True, resp, 0, b""), (False, rw, 0, b"to the guest"), (False, rst, 0, b"")])
    eq(seen(6001, two + 1), [(True, req, 0, b""), (False, rst, 0, b"")])
    eq(seen(two + 2, 5001), [(False, req, 0, b""), (True, rst, 0, b"")])
    eq(len(got), 6 + 4 + 2 + 2, "and no more")
    eq([int(r["vsock.op"]) for r in rows[:5]], [1, 1, 4, 4, 2], "connect, payload, disconnect")
    g.close()
    srv.close()
    p.stop()


def rpmsg(rig, cap, remote_src):
    """Raw messages there and back, in a file of DLT_USER0."""
    eq(cap.end()["drops"], 0)
    dlt, got = cap.packets()
    eq(dlt, 147, "DLT_USER0")
    found = []
    for _, full, d in got:
        eq(full, len(d))
        version, out, head, link, src, dst, zero, size, flags = struct.unpack_from("<BBHIIIIHH", d)
        eq((version, head, link, zero, size, flags), (1, 8, 1, 0, len(d) - 24, 0), "header")
        found.append((out, src, dst, d[24:]))
    assert (0, remote_src, 77, b"from the remote") in found, found
    assert (1, 77, remote_src, b"from the remote") in found, found


@test
def rpmsg_shm():
    """rpmsg messages both ways, with the header that docs/control.md describes"""
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    u.settimeout(TIMEOUT)
    rig = Rig(f"expose rpmsg:@77 -> udp 127.0.0.1:{u.getsockname()[1]}", CONTROL)
    cap = Capture(rig.p)
    raw = Raw(rig.r)
    raw.send(77, b"from the remote")
    data, who = u.recvfrom(100)
    u.sendto(data, who)
    eq(raw.recv(), (77, data))
    rpmsg(rig, cap, raw.addr)
    u.close()
    rig.close(ends=1)


@test
def rpmsg_char():
    """the same where the kernel has the rings: streams and their bytes"""
    srv = Server(echo)
    rig = CharRig(f"expose rpmsg:echo -> tcp 127.0.0.1:{srv.port}", CONTROL)
    cap = Capture(rig.p)
    c = rig.r.connect("echo")
    c.send(b"some bytes")
    eq(c.recv_exact(10), b"some bytes")
    eq(cap.end()["drops"], 0)
    dlt, got = cap.packets()
    eq(dlt, 147)
    ways = {d[1] for _, _, d in got if b"some bytes" in d}
    eq(ways, {0, 1}, "both ways")
    c.close()
    rig.close()
    srv.close()


if __name__ == "__main__":
    main()
