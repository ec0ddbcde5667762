# SPDX-License-Identifier: BSD-3-Clause
"""The guest's side of the offload protocol (docs/protocol.md), on a vguest.Guest."""
import errno
import ipaddress
import select
import struct

from vguest import SEND, Reset

MAGIC = 0x50534D41
PORT, ACCEPT_PORT = 0x414D5301, 0x414D5302
INET, INET6 = 1, 2
STREAM, DGRAM = 1, 2
HELLO, CONNECT, UDP, ACCEPT = 1, 2, 3, 4
(PING, PONG, BIND, LISTEN, CREDIT, RELEASE, SETOPT, GETOPT, RESOLVE, RNAME, CLOSED, UDP_CONNECT) = range(16, 28)
REPLY = 128
STATUS = ["OK", "EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "EAFNOSUPPORT", "ECONNABORTED", "ECONNREFUSED",
          "ECONNRESET", "EHOSTUNREACH", "EINVAL", "EMFILE", "EMSGSIZE", "ENETDOWN", "ENETUNREACH", "ENOBUFS",
          "ENOPROTOOPT", "ENOTCONN", "EOPNOTSUPP", "EPERM", "EPIPE", "EPROTO", "EPROTONOSUPPORT", "ETIMEDOUT",
          "EHOSTDOWN", "EAGAIN", "EIO", "EISCONN", "EDESTADDRREQ", "ESTALE"]
EAI = ["EAI_AGAIN", "EAI_FAIL", "EAI_FAMILY", "EAI_NONAME", "EAI_SERVICE", "EAI_SOCKTYPE", "EAI_MEMORY"]
OPT = {n: i for i, n in enumerate(
    ["", "SO_REUSEADDR", "SO_KEEPALIVE", "SO_BROADCAST", "TCP_NODELAY", "TCP_KEEPIDLE", "TCP_KEEPINTVL",
     "TCP_KEEPCNT", "IPV6_V6ONLY", "SO_LINGER", "IP_TTL", "IPV6_UNICAST_HOPS", "IP_MULTICAST_TTL",
     "IP_MULTICAST_LOOP", "IP_MULTICAST_IF", "IP_ADD_MEMBERSHIP", "IP_DROP_MEMBERSHIP", "IPV6_MULTICAST_HOPS",
     "IPV6_MULTICAST_LOOP", "IPV6_MULTICAST_IF", "IPV6_JOIN_GROUP", "IPV6_LEAVE_GROUP", "SO_REUSEPORT"])}


def name(status):
    if status >= 64:
        return EAI[status - 64]
    return STATUS[status]


class Refused(OSError):
    def __init__(self, status):
        self.status = name(status)
        super().__init__(getattr(errno, self.status, 0), self.status)


def addr(host=None, port=0):
    if host is None:
        return bytes(24)
    ip = ipaddress.ip_address(host)
    return struct.pack("<BBHI", INET if ip.version == 4 else INET6, 0, port, 0) + ip.packed.ljust(16, b"\0")


def unaddr(b):
    family, _, port, scope = struct.unpack("<BBHI", b[:8])
    if not family:
        return None
    ip = ipaddress.ip_address(b[8:12] if family == INET else b[8:24])
    mapped = ip.ipv4_mapped if family == INET6 else None
    return (f"::ffff:{mapped}" if mapped else str(ip), port)


def open_header(op, token=0, family=0, type_=0, max_frame=0, bound=0, features=0, opts_set=0, opts=0,
                keep=(0, 0, 0), linger=0, peer=bytes(24), local=bytes(24), host=b"", version=1, magic=MAGIC,
                flags=0, length=None):
    return struct.pack("<IBBHQBBHIIIIIHHHBB", magic, version, op, 120 + len(host) if length is None else length,
                       token, family, type_, flags, max_frame, bound, features, opts_set, opts, *keep, linger,
                       0) + peer + local + bytes([len(host)]) + bytes(23) + host


class Answer:
    def __init__(self, b):
        self.magic, self.version, self.op, self.status, self.id, self.arg, self.token, self.max_frame = \
            struct.unpack("<IBBHIIQI", b[:28])
        self.local, self.peer = unaddr(b[40:64]), unaddr(b[64:88])


def carrier(guest, header, **kw):
    """Sends a header; returns (connection, answer)."""
    c = guest.connect(PORT, **kw)
    c.send(header)
    return c, Answer(c.recv_exact(88))


def opened(c, a):
    if a.status:
        try:
            while c.recv():
                pass
        except Reset:
            pass
        c.close()
        raise Refused(a.status)
    c.id, c.name, c.peername = a.id, a.local, a.peer
    return c


class Session:
    def __init__(self, guest, max_frame=768):
        self.g = guest
        self.ctl, a = carrier(guest, open_header(HELLO, max_frame=max_frame))
        if a.status:
            raise Refused(a.status)
        self.token = a.token
        self.seq = 0
        self.closed = {}
        guest.listen(ACCEPT_PORT)

    # -- control frames --

    def send(self, op, body=b"", seq=None):
        if seq is None:
            self.seq += 1
            seq = self.seq
        self.ctl.send(struct.pack("<HBBI", 8 + len(body), op, 0, seq) + body)
        return seq

    def frame(self, timeout=None):
        length, op, status, seq = struct.unpack("<HBBI", self.exact(8, timeout))
        return op, status, seq, self.exact(length - 8)

    def exact(self, n, timeout=None):
        self.ctl.wait(lambda: len(self.ctl.rx) >= n, timeout)
        data = bytes(self.ctl.rx[:n])
        del self.ctl.rx[:n]
        self.ctl.consumed(n)
        return data

    def request(self, op, body=b""):
        seq = self.send(op, body)
        while True:
            got, status, s, data = self.frame()
            if got == CLOSED:
                self.closed[struct.unpack("<I", data[:4])[0]] = name(struct.unpack("<I", data[4:])[0])
                continue
            if (got, s) != (op | REPLY, seq):
                raise AssertionError(f"answer {got} {s} to {op} {seq}")
            if status:
                raise Refused(status)
            return data

    def reason(self, id_):
        while id_ not in self.closed:
            op, _, _, data = self.frame()
            if op == CLOSED:
                self.closed[struct.unpack("<I", data[:4])[0]] = name(struct.unpack("<I", data[4:])[0])
        return self.closed[id_]

    # -- sockets --

    def connect(self, host, port, family=INET, bound=0, host_name=b"", local=bytes(24), carrier_kw=None, **kw):
        peer = addr(host, port) if host else struct.pack("<BBHI", family, 0, port, 0) + bytes(16)
        return opened(*carrier(self.g, open_header(CONNECT, self.token, family, STREAM, bound=bound, peer=peer,
                                                   local=local, host=host_name, **kw), **(carrier_kw or {})))

    def bind(self, host, port, family=INET, opts_set=0, opts=0):
        b = self.request(BIND, struct.pack("<BBHII", family, STREAM, 0, opts_set, opts) + addr(host, port))
        return struct.unpack("<I", b[:4])[0], unaddr(b[4:28])

    def listen(self, bound, backlog=16, credits=0):
        b = self.request(LISTEN, struct.pack("<III", bound, backlog, credits))
        lid, _, token = struct.unpack("<IIQ", b[:16])
        return lid, token, unaddr(b[16:40])

    def credit(self, lid, n):
        self.send(CREDIT, struct.pack("<II", lid, n))

    def release(self, id_):
        self.send(RELEASE, struct.pack("<I", id_))

    def accept(self, timeout=None):
        c = self.g.accept(ACCEPT_PORT, timeout)
        a = Answer(c.recv_exact(88))
        c.id, c.name, c.peername, c.listener, c.token = a.id, a.local, a.peer, a.arg, a.token
        return c

    def setopt(self, id_, opt, value):
        if isinstance(value, int):
            value = struct.pack("<i", value)
        self.request(SETOPT, struct.pack("<IHH", id_, OPT[opt], len(value)) + value)

    def getopt(self, id_, opt):
        b = self.request(GETOPT, struct.pack("<IHH", id_, OPT[opt], 0))
        n, = struct.unpack("<H", b[2:4])
        v = b[4:4 + n]
        return struct.unpack("<i", v)[0] if n == 4 else v

    def resolve(self, host, port=0, family=0, type_=0, flags=0, service=b""):
        b = self.request(RESOLVE, struct.pack("<BBBBHBB", family, type_, flags, len(host), port, len(service), 0) +
                         host + service)
        n, canon, lease = b[0], b[1], struct.unpack("<I", b[4:8])[0]
        addrs = [unaddr(b[8 + 24 * i:32 + 24 * i]) for i in range(n)]
        return addrs, b[8 + 24 * n:8 + 24 * n + canon].decode(), lease

    def rname(self, host, port=0, flags=0):
        b = self.request(RNAME, bytes([flags, 0, 0, 0]) + addr(host, port))
        return b[4:4 + b[0]].decode(), b[4 + b[0]:4 + b[0] + b[1]].decode()

    def udp(self, local=None, peer=None, family=INET, max_frame=65535, carrier_kw=None, **kw):
        c, a = carrier(self.g, open_header(UDP, self.token, family, DGRAM, max_frame=max_frame,
                                           local=addr(*local) if local else bytes(24),
                                           peer=addr(*peer) if peer else bytes(24), **kw), **(carrier_kw or {}))
        return Udp(self, opened(c, a))


class Udp:
    def __init__(self, ses, c):
        self.ses, self.c, self.id, self.name = ses, c, c.id, c.name

    def sendto(self, data, to=None):
        self.c.send(struct.pack("<HBBI", 32 + len(data), 0, 0, len(data)) + (addr(*to) if to else bytes(24)) + data)

    def frame(self, timeout=None):
        """(kind, flags, arg, address, payload)"""
        self.c.wait(lambda: len(self.c.rx) >= 32, timeout)
        n, kind, flags, arg = struct.unpack("<HBBI", bytes(self.c.rx[:8]))
        a = unaddr(bytes(self.c.rx[8:32]))
        self.c.consumed(32)
        del self.c.rx[:32]
        data = self.c.recv_exact(n - 32)
        return kind, flags, arg, a, data

    def recvfrom(self, timeout=None):
        kind, _, arg, a, data = self.frame(timeout)
        if kind == 1:
            raise Refused(arg)
        if kind == 2:
            return self.recvfrom(timeout)
        return data, a

    def connect(self, host=None, port=0):
        return unaddr(self.ses.request(UDP_CONNECT, struct.pack("<II", self.id, 0) + addr(host, port)))

    def close(self):
        self.c.close()


__all__ = [n for n in dir() if not n.startswith("_")] + ["SEND"]


def stuff(g, c, fill=b"x" * 16384):
    """Sends until neither the kernel nor the window takes more: how much that was."""
    total = 0
    while True:
        if hasattr(c, "sock"):  # not ours: its buffers are the kernel's
            if not select.select([], [c.sock], [], 0.3)[1]:
                return total
            total += c.sock.send(fill)
        elif c.credit() >= len(fill) or g.wait(lambda: c.credit() >= len(fill), 0.3):
            c.send(fill)
            total += len(fill)
        else:
            return total
