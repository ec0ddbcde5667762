# SPDX-License-Identifier: BSD-3-Clause
"""A guest in Python: vhost-user front-end, split ring, virtio-vsock driver.

Shares no code with what it tests, and can lie in every field. One thread; every wait
has a deadline. Sections are those of virtio 1.2 and of QEMU's vhost-user.rst.
"""
import array
import collections
import mmap
import os
import select
import socket
import struct
import time

from guestbase import RCV, SEND, TIMEOUT, Base, Credited, Reset  # noqa: F401: tests have two of them from here

HDR = struct.Struct("<QQIIIHHIII")  # 5.10.6
REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)
STREAM, SEQPACKET = 1, 2
EOM, EOR = 1, 2
HOST = 2

F_EVENT_IDX = 1 << 29
F_INDIRECT = 1 << 28
F_VERSION_1 = 1 << 32
F_PROTOCOL = 1 << 30
F_SEQPACKET = 1 << 1

(GET_FEATURES, SET_FEATURES, SET_OWNER) = (1, 2, 3)
SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE = 5, 8, 9, 10
GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL = 11, 12, 13
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, SET_VRING_ENABLE, GET_CONFIG = 15, 16, 18, 24


class Gone(Exception):
    """The proxy closed the connection."""


class Front:
    """vhost-user and the two rings."""

    def __init__(self, path, num=256, rx_len=4096, tx_len=65536 + 44, seqpacket=False, sock=None,
                 event_idx=True, handshake=True):
        self.num, self.rx_len, self.tx_len = num, rx_len, tx_len
        self.event_idx = event_idx
        if sock is None:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(TIMEOUT)
            sock.connect(path)
        self.sock = sock
        self.ring_len = 16 * num + 4096 + 8 * num + 4096
        self.ring_len = (self.ring_len + 4095) & ~4095
        size = 2 * self.ring_len + num * rx_len + num * tx_len
        size = (size + 4095) & ~4095
        self.memfd = os.memfd_create("guest", os.MFD_ALLOW_SEALING)
        os.ftruncate(self.memfd, size)
        self.size = size
        self.mem = mmap.mmap(self.memfd, size)
        # indices are read and written whole: struct's "<H" goes byte by byte
        self.u16 = memoryview(self.mem).cast("H")
        self.base = 0x40000000  # guest-physical
        self.user = 0x7f0000000000  # front-end's address space: any number will do
        self.kick = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)]
        self.call = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)]
        self.avail_idx = [0, 0]
        self.used_seen = [0, 0]
        self.kicks = 0
        self.rx_base = 2 * self.ring_len
        self.tx_base = self.rx_base + num * rx_len
        self.tx_free = list(range(num))
        self.features = F_VERSION_1 | (F_EVENT_IDX if event_idx else 0) | (F_SEQPACKET if seqpacket else 0)
        if handshake:
            self.handshake()

    def close(self):
        for fd in self.kick + self.call + [self.memfd]:
            os.close(fd)
        self.sock.close()

    # -- messages --

    def request(self, req, payload=b"", fds=(), reply=False):
        hdr = struct.pack("<III", req, 1, len(payload))
        anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([hdr + payload], anc)
        if reply:
            return self.reply()
        return None

    def reply(self):
        def take(n):
            data = b""
            while len(data) < n:
                part = self.sock.recv(n - len(data))
                if not part:
                    raise Gone()
                data += part
            return data
        req, flags, size = struct.unpack("<III", take(12))
        return take(size)

    def handshake(self):
        have, = struct.unpack("<Q", self.request(GET_FEATURES, reply=True))
        self.offered = have
        proto, = struct.unpack("<Q", self.request(GET_PROTOCOL_FEATURES, reply=True))
        self.request(SET_PROTOCOL_FEATURES, struct.pack("<Q", proto & (1 << 9)))
        self.request(SET_OWNER)
        cfg = self.request(GET_CONFIG, struct.pack("<III", 0, 8, 0) + bytes(8), reply=True)
        self.cid, = struct.unpack("<Q", cfg[12:20])
        self.request(SET_FEATURES, struct.pack("<Q", (self.features & have) | F_PROTOCOL))
        self.mem_table()
        for q in range(2):
            self.start_queue(q)
        for i in range(self.num):
            self.post_rx(i)
        self.notify(0)

    def mem_table(self, regions=None, fds=None):
        regions = regions or [(self.base, self.size, self.user, 0)]
        payload = struct.pack("<II", len(regions), 0)
        for r in regions:
            payload += struct.pack("<QQQQ", *r)
        self.request(SET_MEM_TABLE, payload, fds or [self.memfd])

    def parts(self, q):
        desc = q * self.ring_len
        avail = desc + 16 * self.num
        used = (avail + 6 + 2 * self.num + 4095) & ~4095
        return desc, avail, used

    def start_queue(self, q, base=0):
        desc, avail, used = self.parts(q)
        self.request(SET_VRING_NUM, struct.pack("<II", q, self.num))
        self.request(SET_VRING_BASE, struct.pack("<II", q, base))
        self.request(SET_VRING_ADDR, struct.pack("<IIQQQQ", q, 0, self.user + desc, self.user + used,
                                                 self.user + avail, 0))
        self.request(SET_VRING_CALL, struct.pack("<Q", q), [self.call[q]])
        self.request(SET_VRING_KICK, struct.pack("<Q", q), [self.kick[q]])
        self.request(SET_VRING_ENABLE, struct.pack("<II", q, 1))

    def stop_queue(self, q):
        self.request(SET_VRING_ENABLE, struct.pack("<II", q, 0))
        return struct.unpack("<II", self.request(GET_VRING_BASE, struct.pack("<II", q, 0), reply=True))[1]

    # -- rings --

    def put_desc(self, q, i, addr, length, flags, nxt=0):
        struct.pack_into("<QIHH", self.mem, self.parts(q)[0] + 16 * i, addr, length, flags, nxt)

    def offer(self, q, head):
        _, avail, used = self.parts(q)
        self.u16[avail // 2 + 2 + self.avail_idx[q] % self.num] = head
        self.avail_idx[q] = (self.avail_idx[q] + 1) & 0xffff
        self.u16[avail // 2 + 1] = self.avail_idx[q]

    def notify(self, q):
        self.kicks += 1
        os.eventfd_write(self.kick[q], 1)

    def post_rx(self, i):
        self.put_desc(0, i, self.base + self.rx_base + i * self.rx_len, self.rx_len, 2)
        self.offer(0, i)

    def arm(self):
        for q in range(2):
            _, avail, _ = self.parts(q)
            if self.event_idx:  # 2.7.7.2 used_event
                self.u16[avail // 2 + 2 + self.num] = self.used_seen[q]

    def used(self, q):
        _, _, used = self.parts(q)
        idx = self.u16[used // 2 + 1]
        while self.used_seen[q] != idx:
            i, n = struct.unpack_from("<II", self.mem, used + 4 + 8 * (self.used_seen[q] % self.num))
            self.used_seen[q] = (self.used_seen[q] + 1) & 0xffff
            yield i, n

    def raw_send(self, packet):
        """False: no free buffer."""
        if not self.tx_free:
            return False
        i = self.tx_free.pop()
        at = self.tx_base + i * self.tx_len
        self.mem[at:at + len(packet)] = packet
        self.put_desc(1, i, self.base + at, len(packet), 0)
        self.offer(1, i)
        self.tx_dirty = True
        return True


class Conn(Credited):
    OP_REQUEST, OP_SHUTDOWN, OP_RST, OP_DATA, OP_CREDIT = REQUEST, SHUTDOWN, RST, RW, CREDIT_UPDATE

    def __init__(self, guest, local, peer, type_=STREAM, buf_alloc=262144, cid=HOST):
        self.g, self.local, self.peer, self.type = guest, local, peer, type_
        self.cid = cid  # the peer's
        self.buf_alloc = buf_alloc
        self.state = "new"
        self.rx = bytearray()
        self.msgs = []
        self.part = bytearray()
        self.ends = []  # flags of each message's last packet
        self.tx_cnt = self.fwd_cnt = 0
        self.told = 0
        self.peer_alloc = self.peer_fwd = 0
        self.peer_shut = 0
        self.shut_flags = 0
        self.stalled = False  # do not read: the credit stays used

    def key(self):
        return (self.cid, self.local, self.peer, self.type)

    def packet(self, op, data=b"", flags=0, **over):
        f = dict(src_cid=self.g.cid, dst_cid=self.cid, src_port=self.local, dst_port=self.peer, len=len(data),
                 type=self.type, op=op, flags=flags, buf_alloc=self.buf_alloc, fwd_cnt=self.fwd_cnt & 0xffffffff)
        f.update(over)
        self.told = self.fwd_cnt
        return HDR.pack(f["src_cid"], f["dst_cid"], f["src_port"], f["dst_port"], f["len"], f["type"], f["op"],
                        f["flags"], f["buf_alloc"], f["fwd_cnt"]) + data

    def post(self, op, data=b"", flags=0, **over):
        self.g.send_packet(self.packet(op, data, flags, **over))

    def credit(self):
        return self.peer_alloc - ((self.tx_cnt - self.peer_fwd) & 0xffffffff)

    def room(self):
        return self.g.tx_len - 44

    def send_msg(self, data):
        self.wait(lambda: self.credit() >= len(data))
        self.post(RW, data, EOM)
        self.tx_cnt += len(data)
        self.g.flush()

    def recv_msg(self, timeout=None):
        self.wait(lambda: self.msgs, timeout)
        return self.msgs.pop(0)

    def forget(self):
        self.g.conns.pop(self.key(), None)


class Guest(Base, Front):
    def __init__(self, path, **kw):
        self.conns = {}
        self.listening = {}
        self.accepted = {}
        self.strays = []
        self.next_port = 1024
        self.tx_dirty = False
        self.looking = False
        self.owed = collections.deque()
        self.others = []  # guests that this one talks to: looked at whenever this one is
        super().__init__(path, **kw)

    def send_packet(self, packet):
        if self.looking:  # an answer to what came: goes when there is room
            self.owed.append(packet)
            return
        deadline = time.monotonic() + TIMEOUT
        while not self.raw_send(packet):
            self.flush()
            if time.monotonic() > deadline:
                raise TimeoutError("the proxy takes no packets")
            self.poll(0.05)

    def flush(self):
        while self.owed and self.raw_send(self.owed[0]):
            self.owed.popleft()
        if self.tx_dirty:
            self.tx_dirty = False
            self.notify(1)

    def poll(self, timeout):
        """One look at both rings; sleeps up to timeout when there was nothing."""
        group = [self] + self.others
        for g in group:
            g.flush()
        if sum(g.look() for g in group):
            return
        for g in group:
            g.arm()
        if sum(g.look() for g in group):
            return
        ready, _, _ = select.select([x for g in group for x in g.call + [g.sock]], [], [], timeout)
        for fd in ready:
            if isinstance(fd, socket.socket):
                if fd.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b"":
                    raise Gone()
            else:
                os.eventfd_read(fd)
        for g in group:
            g.look()

    def look(self):
        n = 0
        self.looking = True
        for i, _ in self.used(1):
            self.tx_free.append(i)
            n += 1
        for i, length in self.used(0):
            at = self.rx_base + i * self.rx_len
            packet = self.mem[at:at + length]
            self.post_rx(i)
            n += 1
            self.input(packet)
        self.looking = False
        if n:
            self.notify(0)
            self.flush()
        return n

    def input(self, packet):
        (src, dst, sport, dport, length, type_, op, flags, alloc, fwd) = HDR.unpack(packet[:44])
        data = packet[44:44 + length]
        c = self.conns.get((src, dport, sport, type_))
        if c is None:
            if op == REQUEST and dport in self.listening:
                c = Conn(self, dport, sport, type_, cid=src, **self.listening[dport])
                c.peer_alloc, c.peer_fwd, c.state = alloc, fwd, "open"
                self.conns[c.key()] = c
                c.post(RESPONSE)
                self.accepted.setdefault(dport, []).append(c)
            elif op != RST:
                self.strays.append((sport, dport, op))
                self.send_packet(HDR.pack(self.cid, src, dport, sport, 0, type_, RST, 0, 0, 0))
            return
        c.peer_alloc, c.peer_fwd = alloc, fwd
        if op == RESPONSE:
            c.state = "open"
        elif op == RST:
            c.state = "reset"
            c.forget()
        elif op == RW:
            if type_ == SEQPACKET:
                c.part += data
                if flags & EOM:
                    c.msgs.append(bytes(c.part))
                    c.ends.append(flags)
                    c.part = bytearray()
                c.consumed(len(data))
            else:
                c.rx += data
        elif op == SHUTDOWN:
            c.peer_shut |= flags
        elif op == CREDIT_REQUEST:
            c.post(CREDIT_UPDATE)

    # -- sockets --

    def new(self, port, type_=STREAM, **kw):
        self.next_port += 1
        c = Conn(self, self.next_port, port, type_, **kw)
        self.conns[c.key()] = c
        return c

    def connect(self, port, type_=STREAM, **kw):
        return self.new(port, type_, **kw).open()
