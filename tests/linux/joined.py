#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""Two Linux guests, joined: bulk, messages, ends, and what a guest that stalls or dies does to the other."""
import errno
import os
import re
import signal
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import initramfs  # noqa: E402
import uml  # noqa: E402
from agent import PROGRAM, Agent, kept, stop_kept, test  # noqa: E402
from guest import ANY_CID, EVER, IN, MSG_EOR, OUT, SEQPACKET, STREAM, VSOCK, fails, links, main, path_of, pattern  # noqa: E402
from harness import Proxy, Server, eq  # noqa: E402

TIMEOUT = uml.TIMEOUT
MSG_NOSIGNAL = 0x4000
MIB = 1 << 20
BUFFER_SIZE = 0  # SO_VM_SOCKETS_BUFFER_SIZE
ROOM = 16384  # messages: each takes 4 KiB of the guest


def initrd():
    return initramfs.build("vsock", dynamic=["socat", PROGRAM])


def joined(*rules, names=("a", "b"), joins=("a,b",)):
    """A proxy, and a machine and its agent for each name (CID 3, 4, ...)."""
    p = Proxy(*rules, args=lambda p: links(*names)(p) + [x for j in joins for x in ("--join", j)])
    machines = [uml.Guest(initrd(), [path_of(p, n) + ":19"]) for n in names]
    return p, machines, [Agent(m) for m in machines]


def two():
    """joined(), in machines that the cases share."""
    if not kept:
        p, machines, agents = joined()
        kept.extend([*machines, p])
        return p, machines, agents
    *machines, p = kept
    return p, machines, [Agent(m) for m in machines]


def pair(a, b, kind=STREAM, port=5000, cid=4, room=None):
    lis = b.socket(VSOCK, kind).bind((ANY_CID, port))
    if room:
        lis.setopt(VSOCK, BUFFER_SIZE, struct.pack("<Q", room))
    lis.listen(16)
    later = lis.go_accept()
    s = a.socket(VSOCK, kind)
    s.connect((cid, port))
    t, who = lis.accept(later=later)
    lis.close()
    return s, t, who


def silent_send(s):
    return s.send(b"x", MSG_NOSIGNAL)


@test
def ends():
    """names, half-close both ways, close, refusals; ordinary programs at both ends"""
    p, (m, n), (a, b) = two()
    s, t, who = pair(a, b)
    eq(who[0], 3)
    eq(t.name(peer=True), who)
    eq(t.name(), (4, 5000))
    eq(s.name(peer=True), (4, 5000))
    s.send(b"to b")
    s.shutdown(1)
    eq(t.recvall(4), b"to b")
    eq(t.recv(), b"")
    t.send(b"to a")
    eq(s.recvall(4), b"to a")
    t.close()
    eq(s.recv(), b"")
    s.close()
    s, t, _ = pair(b, a, cid=3)
    t.send(b"unread")
    s.wait(IN)
    s.close()
    eq(t.recv(), b"")
    fails(errno.EPIPE, silent_send, t)
    for port in (5002, 0x414d5301, 0x414d5302):  # nobody's, and those of the offload protocol
        fails(errno.ECONNRESET, a.socket(VSOCK).connect, (4, port))
    job = n.go("socat -u -d -d VSOCK-LISTEN:6000 - | md5sum")
    job.expect("listening on")
    text = m.run("head -c 3000000 /dev/urandom >/tmp/f; md5sum </tmp/f; socat -u OPEN:/tmp/f VSOCK-CONNECT:4:6000")
    eq(job.ok().split()[0], text.split()[0])
    p.wait_counter("rx_bad", 0)


@test
def bulk():
    """64 MiB each way at once on a stream, every byte compared"""
    _, _, (a, b) = two()
    s, t, _ = pair(a, b)
    n = 64 * MIB
    laters = [t.drain(n, 1), s.drain(n, 2), s.pump(n, 1), t.pump(n, 2)]
    for later in laters:
        later.get(TIMEOUT)
    eq([x.words for x in laters[:2]], [[str(n), "-1"]] * 2)


@test
def messages():
    """seqpacket: boundaries and MSG_EOR from 1 byte to 65521; 16 MiB of messages each way at once"""
    _, _, (a, b) = two()
    s, t, _ = pair(a, b, SEQPACKET)
    sizes = (1, 3776, 3777, 4096, 65520, 65536, 65537, 200000)
    for x, y in ((s, t), (t, s)):
        for i, n in enumerate(sizes):
            sent = x.pump(n, i, n) if n <= 65536 else x.pump(n, i, 65521)
            sent.get()
            left = n
            while left:  # pump() sends at most 65521 bytes a message
                ret, data, _, flags = y.recvmsg(1 << 17)
                eq((ret, flags & MSG_EOR), (min(left, 65521), 0), f"message of {n}")
                eq(data[:8], pattern(n - left, min(8, left), i))
                left -= ret
        x.send(b"record", MSG_EOR)
        ret, data, _, flags = y.recvmsg(100)
        eq((ret, data, flags & MSG_EOR), (6, b"record", MSG_EOR))
    n = 16 * MIB
    laters = [t.drain(n, 1), s.drain(n, 2), s.pump(n, 1, 50000), t.pump(n, 2, 3000)]
    for later in laters:
        later.get(TIMEOUT)
    # as long as a message fits drain()'s buffer nothing is lost between two reads
    eq([x.words for x in laters[:2]], [[str(n), "-1"]] * 2)


@test
def long_message():
    """seqpacket: one message of 200,000 bytes, which takes many packets, from socat to socat"""
    _, (m, n), _ = two()
    # struct sockaddr_vm behind the family: two zero bytes, port and CID, little-endian
    here, there = ["x" + struct.pack("<HIII", 0, 5000, cid, 0).hex() for cid in (ANY_CID, 4)]
    size = 200000
    # -d -d -d: it says how much each read() had. (-x says so, too, but writes a byte at a time.)
    job = n.go(f"socat -u -d -d -d -b {size + 1} SOCKET-LISTEN:40:0:{here},socktype=5 CREATE:/tmp/g 2>/tmp/pieces; "
               "grep -o 'transferred [0-9]* bytes' /tmp/pieces; md5sum </tmp/g")
    text = m.run(f"head -c {size} /dev/urandom >/tmp/f; md5sum </tmp/f; "
                 f"until socat -u -b {size} OPEN:/tmp/f SOCKET-CONNECT:40:0:{there},socktype=5 2>/dev/null; do :; done")
    eq(job.ok().split("\n")[:2], [f"transferred {size} bytes", text.strip()])


@test
def stalled():
    """a guest that stands still: its peer's streams wait, a third guest's go on; then all of it arrives"""
    _, (_, m, _), (a, b, c) = joined(names=("a", "b", "c"), joins=("a,b", "a,c"))
    s, t, _ = pair(a, b)
    u, v, _ = pair(a, c, port=5001, cid=5)
    s.nonblock()
    m.pause()
    sent = 0
    while a.poll(0.5, (s, OUT))[0]:
        sent += int(s.pump(1 << 30).wait().words[0])
    n = 8 * MIB
    laters = [v.drain(n, 3), u.drain(n, 4), u.pump(n, 3), v.pump(n, 4)]
    for later in laters:
        later.get(TIMEOUT)
    eq([x.words for x in laters[:2]], [[str(n), "-1"]] * 2)
    m.resume()
    later = t.drain()
    s.shutdown(1)
    later.get(TIMEOUT)
    eq(int(later.words[0]), sent)
    assert sent >= 65536, sent


@test
def killed():
    """a guest killed in mid-transfer: the other's sockets end, its flows with a third go on; it is reached anew"""
    p, (m, _, _), (a, b, c) = joined(names=("a", "b", "c"), joins=("a,b", "b,c"))
    u, v, _ = pair(b, c, port=5001, cid=5)
    n = 16 * MIB
    others = [v.drain(n, 3), u.drain(n, 4), u.pump(n, 3), v.pump(n, 4)]
    for i in range(2):
        s, t, _ = pair(a, b, port=5000 + 10 * i)
        w, _, _ = pair(b, a, port=6000, cid=3)
        later, start = t.drain(EVER), len(p.lines)
        s.pump(1 << 40)
        t.wait(IN)
        m.kill()
        p.log("link a: guest detached", start=start)
        # Linux 6.1 has no error for a socket that an RST finds connected
        later.get(TIMEOUT)
        eq(w.recv(timeout=TIMEOUT), b"")
        fails(errno.EPIPE, silent_send, w)
        x = b.socket(VSOCK)
        fails(errno.ECONNRESET, x.connect, (3, 6000))
        m.boot()
        a = Agent(m)
    for later in others:
        later.get(TIMEOUT)
    eq([x.words for x in others[:2]], [[str(n), "-1"]] * 2)
    s, t, _ = pair(a, b)
    s.send(b"again")
    eq(t.recvall(5), b"again")


def pairs(p):
    """Connections that the join knows."""
    n = len(p.lines)
    p.proc.send_signal(signal.SIGUSR1)
    return int(re.search(r" pairs=(\d+)", p.log("counters: join=", start=n))[1])


@test
def small():
    """writes of 1 to 7 bytes into a reader that waits, stream and messages: nothing is lost, nothing reset"""
    _, _, (a, b) = two()
    for kind, port in ((STREAM, 5000), (SEQPACKET, 5001)):
        s, t, _ = pair(a, b, kind, port, room=ROOM)
        s.nonblock()
        sent = int(s.pump(1 << 20, 0, 1).wait().words[0])
        eq(sent, ROOM, "to the end of the peer's credit")
        s.nonblock(False)
        later, pump = t.drain(EVER, 0), s.pump(20000, sent, 7)
        pump.get(TIMEOUT)
        s.shutdown(1)
        later.get(TIMEOUT)
        eq(later.words, [str(sent + 20000), "-1"], f"type {kind}")
        s.close()
        t.close()


@test
def come_and_go():
    """300 connections one after the other, closed by either end: no state is left"""
    p, _, (a, b) = two()
    lis = b.socket(VSOCK).bind((ANY_CID, 5000)).listen(16)
    for i in range(300):
        s = a.socket(VSOCK)
        s.connect((4, 5000))
        t, _ = lis.accept()
        if i % 3 == 0:
            s.send(b"unread")
        first, last = (s, t) if i % 2 else (t, s)
        first.close()
        last.close()
    deadline = time.monotonic() + TIMEOUT
    while pairs(p) and time.monotonic() < deadline:  # Linux waits 8 s for the end of a close
        threading.Event().wait(0.1)
    eq(pairs(p), 0)


@test
def all_well():
    """the machines that the cases before shared power off in good order, no kernel has complained; so does the proxy"""
    stop_kept()


@test
def many():
    """100 connections each way between two guests beside ones to the host; all at once"""
    def echo(c):
        while True:
            data = c.recv(65536)
            if not data:
                return
            c.sendall(data)

    server = Server(echo)

    def args(p):
        return links("a", "b")(p) + ["--expose", f"vsock:7000 -> tcp 127.0.0.1:{server.port}", "--join", "a,b"]

    p = Proxy(args=args)
    machines = [uml.Guest(initrd(), [path_of(p, n) + ":19"]) for n in "ab"]
    a, b = [Agent(m) for m in machines]
    serves = []
    for g in (a, b):
        lis = g.socket(VSOCK).bind((ANY_CID, 5000)).listen(128)
        serves.append(g.go("serve", lis.fd, 100))
    socks = [(g, cid, g.socket(VSOCK)) for g, cid in ((a, 4), (b, 3)) for _ in range(100)]
    for later in [s.go_connect((cid, 5000)) for _, cid, s in socks]:
        later.get(TIMEOUT)
    host = b.socket(VSOCK)
    host.connect((2, 7000))
    for i, (_, _, s) in enumerate(socks):
        s.send(pattern(i, 40))
    for i, (_, _, s) in enumerate(socks):
        eq(s.recvall(40), pattern(i, 40))
    host.send(b"host")
    eq(host.recvall(4), b"host")
    for later in serves:
        later.get(TIMEOUT)
    server.close()


if __name__ == "__main__":
    main()
