#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 170
"""A guest that lies to the proxy in the offload protocol. Each time: it loses what it lied on, a second guest
notices nothing, and the proxy gives everything back."""
import errno
import random
import socket
import struct
import time

from guest import INET, VSOCK, Guest, fails, links, main, path_of, settle, test
import harness
from harness import TIMEOUT, Proxy, Server, eq
from offload import (BIND, CLOSED, CONNECT, CREDIT, DGRAM, GETOPT, HELLO, LISTEN, MAGIC, PING, PONG, PORT, RELEASE,
                     REPLY, RESOLVE, RNAME, SETOPT, STREAM, UDP, UDP_CONNECT, Answer, addr, name, open_header)

LOOP = "127.0.0.1"


def echo(c):
    c.settimeout(None)
    harness.echo(c)


class Stage:
    """A proxy, a bad guest and a good one, and what things were before."""

    def __init__(self):
        def args(p):
            out = []
            part = links("bad", "good")(p)
            for i in range(0, len(part), 2):
                out += part[i:i + 2] + ["--allow", "out any 127.0.0.1:any", "--allow", "in any 127.0.0.1:any",
                                        "--allow", "out any localhost:any"]
            return out
        self.p = Proxy(args=args)
        self.bad = Guest(path_of(self.p, "bad"))
        self.good = Guest(path_of(self.p, "good"))
        self.server = Server(echo)
        self.idle = self.good.tcp((LOOP, self.server.port))
        self.work()
        settle(self.p, 1)
        self.fds = self.p.fds()

    def work(self):
        """The good guest's sockets work, old and new."""
        self.idle.send(b"old")
        eq(self.idle.recvall(3), b"old")
        s = self.good.tcp((LOOP, self.server.port))
        s.send(b"new")
        eq(s.recvall(3), b"new")
        s.close()
        eq(self.good.getaddrinfo("localhost", "80", INET, STREAM), [(LOOP, 80)])

    def carrier(self, guest=None):
        s = (guest or self.bad).socket(VSOCK)
        s.connect((2, PORT))
        s.timeout(socket.SO_RCVTIMEO, TIMEOUT)
        return s

    def after(self, alive=True):
        """The proxy lives, the other guest works, and once the bad one is gone nothing of it is left."""
        self.work()
        if alive:
            s = Session(self)
            s.ping()
        n = len(self.p.lines)
        self.bad.kill()
        self.p.log("link bad: (guest detached|link reset)", start=n)
        deadline = time.monotonic() + TIMEOUT
        while self.p.fds() > self.fds:  # threads of the resolver hold none, connections do
            assert time.monotonic() < deadline, (self.p.fds(), self.fds)
            self.work()
        self.bad = Guest(path_of(self.p, "bad"))
        Session(self).ping()
        self.server.close()


class Session:
    """The offload protocol by hand, over a plain AF_VSOCK socket."""

    def __init__(self, st, guest=None):
        self.st, self.g = st, guest or st.bad
        self.ctl, a = opened(st, open_header(HELLO, max_frame=768), guest)
        eq(name(a.status), "OK")
        self.token = a.token
        self.seq = 0

    def send(self, op, body=b"", length=None, status=0):
        self.seq += 1
        self.ctl.sendall(struct.pack("<HBBI", 8 + len(body) if length is None else length, op, status, self.seq) +
                         body)

    def frame(self):
        head = self.ctl.recvall(8)
        if len(head) < 8:
            raise EOFError
        length, op, status, seq = struct.unpack("<HBBI", head)
        return op, status, seq, self.ctl.recvall(length - 8)

    def ask(self, op, body=b""):
        self.send(op, body)
        while True:
            got, status, seq, data = self.frame()
            if got == CLOSED:
                continue
            eq((got, seq), (op | REPLY if op != PING else PONG, self.seq))
            return name(status), data

    def ping(self):
        eq(self.ask(PING)[0], "OK")

    def bind(self, port=0):
        status, data = self.ask(BIND, struct.pack("<BBHII", INET_, STREAM, 0, 0, 0) + addr(LOOP, port))
        return status, struct.unpack("<I", data[:4])[0] if data else 0

    def listen(self, bound, credits=0):
        status, data = self.ask(LISTEN, struct.pack("<III", bound, 16, credits))
        return status, struct.unpack("<I", data[:4])[0] if data else 0

    def alive(self):
        self.ping()

    def dead(self):
        gone(self.ctl)


INET_ = 1


def opened(st, header, guest=None):
    c = st.carrier(guest)
    c.sendall(header)
    raw = c.recvall(88)
    if len(raw) < 88:
        raise EOFError
    return c, Answer(raw)


def status_of(st, header, guest=None):
    c, a = opened(st, header, guest)
    gone(c)
    return name(a.status)


def gone(c):
    """The proxy ends it, one way or the other."""
    try:
        while c.recv():
            pass
    except ConnectionResetError:
        pass
    c.close()


def tcp_header(st, token, port=None, **kw):
    return open_header(CONNECT, token, INET_, STREAM, peer=addr(LOOP, port or st.server.port), **kw)


@test
def header_lies():
    """OPEN: wrong magic, version, lengths, families, flags, names: answered or reset, each alone"""
    st = Stage()
    ses = Session(st)
    token = ses.token
    eq(status_of(st, open_header(HELLO, version=2, max_frame=768)), "EPROTONOSUPPORT")
    eq(status_of(st, open_header(HELLO, version=0)[:8]), "EPROTONOSUPPORT")
    eq(status_of(st, tcp_header(st, token, version=255)), "EPROTONOSUPPORT")
    good = tcp_header(st, token)

    def with_byte(at, value):
        return good[:at] + bytes([value]) + good[at + 1:]

    bad = [tcp_header(st, token, magic=MAGIC ^ 1), with_byte(5, 9), with_byte(5, 4), with_byte(16, 7), with_byte(17, 9),
           with_byte(18, 1), with_byte(47, 1), with_byte(48, 99), with_byte(49, 1), with_byte(97, 1),
           with_byte(119, 1), tcp_header(st, token, length=119), tcp_header(st, token, length=0),
           tcp_header(st, token, length=65535), tcp_header(st, token, length=121), with_byte(96, 255), with_byte(96, 1),
           open_header(CONNECT, token, INET_, STREAM, peer=addr("::1", 80)),
           open_header(CONNECT, token, INET_, STREAM), open_header(CONNECT, token, INET_, DGRAM, peer=addr(LOOP, 80)),
           open_header(CONNECT, token, INET_, STREAM, host=b"local\0host"),
           open_header(CONNECT, token, INET_, STREAM, peer=addr(LOOP, 80), opts_set=1 << 31),
           open_header(CONNECT, token, INET_, STREAM, peer=addr(LOOP, 80), opts=4),
           open_header(HELLO, token, max_frame=768), bytes(120), b"\xff" * 400,
           b"GET / HTTP/1.0\r\n\r\n" + b"\r\n" * 200]
    for i, header in enumerate(bad):
        try:
            got = status_of(st, header)
        except (EOFError, ConnectionResetError):
            continue
        assert got not in ("OK",), (i, got)
    ses.alive()
    st.p.log("link bad: offload carrier reset")
    assert not [x for x in st.p.lines if "link good: offload" in x]
    st.after()


@test
def half_header():
    """half a header and then silence: dropped in about 10 s, whole ones meanwhile are served"""
    st = Stage()
    half = [st.carrier() for _ in range(20)]
    for i, c in enumerate(half):
        if i:
            c.sendall(open_header(HELLO, max_frame=768)[:i * 6])
    Session(st).ping()
    st.work()
    start = time.monotonic()
    for c in half:
        gone(c)
    took = time.monotonic() - start
    assert 5 < took < 15, took
    st.p.log("no header in time")
    # a slow one is no bad one
    c = st.carrier()
    header = open_header(HELLO, max_frame=768)
    for at in range(0, 120, 7):
        c.sendall(header[at:at + 7])
    eq(name(Answer(c.recvall(88)).status), "OK")
    st.after()


@test
def stolen_token():
    """tokens: another link's, an ended session's, a guessed one: ESTALE; an OPEN sent twice is two sockets"""
    st = Stage()
    other = Session(st, st.good)
    mine = Session(st)
    for token in (other.token, mine.token ^ 1, 0, 1, (1 << 64) - 1):
        eq(status_of(st, tcp_header(st, token)), "ESTALE", hex(token))
        eq(status_of(st, open_header(UDP, token, INET_, DGRAM, max_frame=4096)), "ESTALE")
    old = Session(st)
    c, a = opened(st, tcp_header(st, old.token))
    eq(name(a.status), "OK")
    old.ctl.close()
    gone(c)
    eq(status_of(st, tcp_header(st, old.token)), "ESTALE")
    header = tcp_header(st, mine.token)
    one, two = opened(st, header), opened(st, header)
    assert one[1].id != two[1].id
    one[0].send(b"1")
    two[0].send(b"2")
    eq((one[0].recv(), two[0].recv()), (b"1", b"2"))
    # a second header on an open carrier is nothing but bytes
    one[0].sendall(header)
    eq(one[0].recvall(120), header)
    eq(st.p.counters()["stale"] > 0, True)
    mine.alive()
    other.alive()
    st.after()


@test
def foreign_ids():
    """ids of another session or link, used-up ids, ids never given: ESTALE, nothing of anybody else moves"""
    st = Stage()
    a, b, good = Session(st), Session(st), Session(st, st.good)
    status, bound = a.bind()
    eq(status, "OK")
    eq(good.bind()[0], "OK")
    for s in (b, good):
        s2 = status_of(st, tcp_header(st, s.token, bound=bound), s.g)
        eq(s2, "ESTALE")
    for i in (bound, bound + 1000, 0, 0xFFFFFFFF):
        eq(b.listen(i)[0], "ESTALE")
        eq(b.ask(SETOPT, struct.pack("<IHHi", i, 1, 4, 1))[0], "ESTALE")
        eq(b.ask(GETOPT, struct.pack("<IHH", i, 1, 0))[0], "ESTALE")
        eq(b.ask(UDP_CONNECT, struct.pack("<II", i, 0) + addr(LOOP, 9))[0], "ESTALE")
        b.send(RELEASE, struct.pack("<I", i))
        b.send(CREDIT, struct.pack("<II", i, 5))
        b.alive()
    status, lid = a.listen(bound)
    eq(status, "OK")
    eq(a.listen(bound)[0], "ESTALE")
    b.send(RELEASE, struct.pack("<I", lid))
    b.alive()
    eq(a.ask(GETOPT, struct.pack("<IHH", lid, 1, 0))[0], "OK")
    # CREDIT beyond every bound; an id of the wrong kind
    for n in (0xFFFFFFFF, 0xFFFFFFFF, 1, 0):
        a.send(CREDIT, struct.pack("<II", lid, n))
    a.alive()
    eq(a.ask(UDP_CONNECT, struct.pack("<II", lid, 0) + addr(LOOP, 9))[0], "EINVAL")
    a.send(RELEASE, struct.pack("<I", lid))
    a.send(RELEASE, struct.pack("<I", lid))
    a.alive()
    st.after()


@test
def control_lies():
    """control frames: wrong lengths, unknown ops, answers nobody asked for: the session ends, no other does"""
    st = Stage()
    keep = Session(st)
    body = {BIND: bytes(36), LISTEN: bytes(12), CREDIT: bytes(8), RELEASE: bytes(4), SETOPT: bytes(8),
            GETOPT: bytes(8), RNAME: bytes(28), UDP_CONNECT: bytes(32), PING: b"", PONG: b""}
    lies = [(op, b[:-1], None) for op, b in body.items() if b] + [(op, b + b"x", None) for op, b in body.items()]
    lies += [(PING, b"", n) for n in (0, 1, 7, 769, 65535)] + [(op, b"", None) for op in (0, 1, 4, 28, 99, 127)]
    lies += [(PING | REPLY, b"", None), (CLOSED, bytes(8), None), (255, b"", None)]
    lies += [(RESOLVE, struct.pack("<BBBBHBB", 0, 0, 0, n, 0, m, 0) + b"x" * k, None)
             for n, m, k in ((5, 0, 4), (5, 0, 6), (255, 255, 10), (0, 0, 0), (0, 1, 0), (1, 0, 0))]
    lies += [(RESOLVE, struct.pack("<BBBBHBB", 9, 0, 0, 1, 0, 0, 0) + b"x", None), (RESOLVE, b"", None)]
    for i, (op, data, length) in enumerate(lies):
        s = Session(st)
        c, a = opened(st, tcp_header(st, s.token))
        s.send(op, data, length)
        s.dead()
        gone(c)
        eq(status_of(st, tcp_header(st, s.token)), "ESTALE", f"lie {i}")
        if i % 10 == 0:
            keep.alive()
    s = Session(st)
    s.send(PING, status=1)
    s.dead()
    # names that lie in their text
    eq(keep.ask(RESOLVE, struct.pack("<BBBBHBB", 0, 0, 0, 4, 0, 0, 0) + b"a\0b\0")[0], "EAI_NONAME")
    eq(keep.ask(RESOLVE, struct.pack("<BBBBHBB", 0, 0, 0, 255, 0, 255, 0) + b"x" * 510)[0] in
       ("EAI_NONAME", "EACCES"), True)
    eq(keep.ask(RESOLVE, struct.pack("<BBBBHBB", 0, 0, 0, 11, 0, 0, 0) + b"\x1b[31m\n\r%s%n")[0], "EACCES")
    keep.alive()
    st.p.log("link bad: offload session reset")
    assert not [x for x in st.p.lines if "\x1b" in x], "a guest's bytes reached the terminal"
    st.after()


@test
def udp_lies():
    """UDP frames: too long, empty lengths, kinds and flags a guest may not send, a denied address"""
    st = Stage()
    ses = Session(st)
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind((LOOP, 0))
    peer.settimeout(TIMEOUT)

    def udp():
        c, a = opened(st, open_header(UDP, ses.token, INET_, DGRAM, max_frame=65535))
        eq(name(a.status), "OK")
        return c

    def frame(length, kind=0, flags=0, arg=0, to=peer.getsockname(), data=b""):
        return struct.pack("<HBBI", length, kind, flags, arg) + (addr(*to) if to else bytes(24)) + data

    for bad in (frame(0), frame(1), frame(31), frame(33, arg=0, data=b"x"), frame(32, arg=1), frame(32, kind=1),
                frame(32, kind=2, arg=9), frame(32, kind=77), frame(32, flags=1), frame(33, flags=1, arg=9, data=b"x"),
                frame(32, flags=0x80), frame(32, to=None)[:8] + b"\x63" + bytes(23), frame(65535, arg=9, data=b"x" * 9)):
        c = udp()
        c.sendall(bad)
        gone(c)
    c = udp()
    c.sendall(frame(33, arg=1, data=b"!"))
    eq(peer.recv(9), b"!")
    # forbidden, not there, of the wrong family, none: an ERROR frame each, and the carrier lives
    for to, want in ((("192.0.2.1", 9), "EACCES"), (("::1", 9), "EAFNOSUPPORT"), (None, "EDESTADDRREQ"),
                     ((LOOP, 0), "EACCES EINVAL")):
        c.sendall(frame(33, arg=1, to=to, data=b"x"))
        raw = c.recvall(32)
        length, kind, _, arg = struct.unpack("<HBBI", raw[:8])
        eq((length, kind, name(arg) in want.split()), (32, 1, True), f"{to}: {name(arg)}")
    st.p.log("denied send: out udp 192.0.2.1:9")
    c.sendall(frame(33, arg=1, data=b"?"))
    eq(peer.recv(9), b"?")
    for max_frame in (0, 1, 32):
        eq(status_of(st, open_header(UDP, ses.token, INET_, DGRAM, max_frame=max_frame)), "EINVAL")
    ses.alive()
    st.after()


@test
def listen_flood():
    """BIND and LISTEN up to the limit: then EMFILE, and the others work"""
    st = Stage()
    ses = Session(st)
    got = 0
    while True:
        status, bound = ses.bind()
        if status == "OK":
            got += 1
            status, _ = ses.listen(bound)
        if status != "OK":
            break
        assert got < 5000
    assert status in ("EMFILE", "ENOBUFS"), status
    assert got > 500, got
    eq(status_of(st, tcp_header(st, ses.token)) in ("EMFILE", "ENOBUFS"), True)
    st.p.log("link bad: limit sockets 2048 reached")
    st.work()
    ses.ctl.close()
    st.after()


@test
def session_flood():
    """sessions up to the limit: then refused; their ends give them back"""
    st = Stage()
    all_of_them = []
    while True:
        c, a = opened(st, open_header(HELLO, max_frame=768))
        if a.status:
            break
        all_of_them.append(c)
        assert len(all_of_them) < 5000
    eq(name(a.status) in ("ENOBUFS", "EMFILE"), True)
    st.work()
    for c in all_of_them:
        c.close()
    st.after()


@test
def carrier_flood():
    """hundreds of carriers without a header, all that the guest has: others work, and are not waited for"""
    st = Stage()
    socks = []
    try:
        for _ in range(900):
            socks.append(st.carrier())
    except OSError as e:
        assert e.errno in (errno.EMFILE, errno.ENOBUFS, errno.ECONNREFUSED, errno.ECONNRESET), e
    assert len(socks) > 400, len(socks)
    st.work()
    for c in socks:
        c.close()
    st.after()


@test
def answers_unread():
    """a guest that asks and never reads: bounded, then its session ends or stalls; others work"""
    st = Stage()
    ses = Session(st)
    ses.ctl.nonblock()
    frame = struct.pack("<HBBI", 8, PING, 0, 1) * 1000
    sent = 0
    for _ in range(2000):
        try:
            sent += ses.ctl.send(frame)
        except BlockingIOError:
            if not st.bad.poll(0.3, (ses.ctl, 4))[0]:
                break
        except OSError:
            break
    st.work()
    rss = int(open(f"/proc/{st.p.worker_pid()}/statm", encoding="ascii").read().split()[1]) * 4096
    assert rss < 1 << 30, rss
    st.after()


@test
def resolve_flood():
    """hundreds of look-ups at once: some EAI_AGAIN, every one answered, the other guest's served"""
    st = Stage()
    ses = Session(st)
    for i in range(200):
        ses.send(RESOLVE, struct.pack("<BBBBHBB", 1, 1, 0, 9, 80, 0, 0) + b"localhost")
    st.work()
    seen = {}
    for _ in range(200):
        op, status, seq, _ = ses.frame()
        eq(op, RESOLVE | REPLY)
        assert seq not in seen
        seen[seq] = name(status)
    assert set(seen.values()) <= {"OK", "EAI_AGAIN"}, set(seen.values())
    assert "OK" in seen.values()
    # asked, and gone before the answer
    for _ in range(20):
        s = Session(st)
        s.send(RESOLVE, struct.pack("<BBBBHBB", 1, 1, 0, 9, 80, 0, 0) + b"localhost")
        s.ctl.close()
    ses.alive()
    st.after()


@test
def noise():
    """random bytes on carriers, on control carriers and behind good frames"""
    st = Stage()
    rnd = random.Random(7)
    for i in range(60):
        kind = i % 3
        if kind == 0:
            c = st.carrier()
            c.sendall(rnd.randbytes(rnd.randrange(1, 600)))
        else:
            s = Session(st)
            c = s.ctl
            if kind == 1:
                c.sendall(rnd.randbytes(rnd.randrange(8, 600)))
            else:
                op = rnd.randrange(16, 28)
                data = rnd.randbytes(rnd.randrange(0, 64))
                s.send(op, data)
        if kind:
            try:
                c.shutdown(1)
            except OSError as e:  # it is over already
                eq(e.errno, errno.ENOTCONN)
            gone(c)
        else:
            c.close()
    st.after()


@test
def front_door():
    """the offload ports: no seqpacket, no expose of them, and nobody else's to listen at"""
    st = Stage()
    s = st.bad.socket(VSOCK, 5)
    fails(errno.ECONNREFUSED, s.connect, (2, PORT))
    s = st.bad.socket(VSOCK)
    fails(errno.ECONNREFUSED, s.connect, (2, PORT + 1))
    st.after()


if __name__ == "__main__":
    main()
