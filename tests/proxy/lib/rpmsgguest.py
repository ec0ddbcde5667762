# SPDX-License-Identifier: BSD-3-Clause
"""A remote core in Python: a shared file with a resource table, the device side of the two
vrings, the rpmsg bus, and streams over it.

Shares no code with what it tests, and can lie in every field. One thread; every wait has a
deadline. The wire is docs/protocol.md's; the table Linux's struct resource_table; rings
virtio 1.2, 2.7.
"""
import mmap
import os
import select
import socket
import struct
import time

from guestbase import TIMEOUT, Base, Credited

DA = 0x21000000
MAGIC = 0x53504D41
REQUEST, RESPONSE, DATA, CREDIT, CREDIT_REQUEST, SHUTDOWN, RST, SERVICE = range(1, 9)
HDR = struct.Struct("<BBHI")
HELLO = struct.Struct("<IBBHII")
SERVED = struct.Struct("<IBBHI32s")
RPMSG = struct.Struct("<IIIHH")
NS = struct.Struct("<32sII")
NS_ADDR = 53
ACK, DRIVER, DRIVER_OK = 1, 2, 4
ANY = 0xffffffff
TX, RX = 0, 1  # vring0: to the host

# the offload protocol's names for its two services (offload.py)
PORT, ACCEPT_PORT = 0x414D5301, 0x414D5302
DOOR = "ampsock~s"


class Down(Exception):
    """The host does not serve this remote any more."""


class UnixBell:
    """What QEMU's -serial unix:PATH,server=on,wait=off is."""

    def __init__(self, path):
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.conn = None
        self.rung = 0

    def arg(self):
        return f"unix:{self.path}"

    def ring(self):
        if self.conn:
            try:
                self.conn.send(b"k")
            except OSError:
                pass

    def wait(self, timeout):
        r, _, _ = select.select([self.conn or self.listener], [], [], timeout)
        if not r:
            return
        if not self.conn:
            self.conn, _ = self.listener.accept()
            self.conn.setblocking(False)
            return
        try:
            data = self.conn.recv(4096)
        except ConnectionResetError:
            data = b""
        self.rung += len(data)
        if not data:
            self.hang_up()

    def hang_up(self):
        if self.conn:
            self.conn.close()
        self.conn = None

    def close(self):
        self.hang_up()
        self.listener.close()
        os.unlink(self.path)


class EventBell:
    def __init__(self):
        self.rx, self.tx = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)
        self.rung = 0

    def arg(self):
        return f"eventfd:{self.tx},{self.rx}"

    def fds(self):
        return [self.rx, self.tx]

    def ring(self):
        os.eventfd_write(self.tx, 1)

    def wait(self, timeout):
        if select.select([self.rx], [], [], timeout)[0]:
            self.rung += os.eventfd_read(self.rx)

    def close(self):
        os.close(self.rx)
        os.close(self.tx)


class NoBell:
    """Both sides look at an interval."""
    rung = 0

    def __init__(self, ms=1):
        self.ms = ms

    def arg(self):
        return f"poll:{self.ms}"

    def ring(self):
        pass

    def wait(self, timeout):
        time.sleep(min(timeout, 0.001))

    def close(self):
        pass


class Shared:
    """The file, the table and the handshake of epochs."""

    def __init__(self, path, bell, size=1 << 20, num=32, align=16, table=0, da=DA, epochs=True, ns=True,
                 carve=(0x10000, 0xe0000), vring=(ANY, ANY), load=True):
        self.path, self.bell, self.size, self.num, self.align = path, bell, size, num, align
        self.table, self.da, self.epochs, self.ns, self.carve, self.vring = table, da, epochs, ns, carve, vring
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self.fd, size)
        self.mem = mmap.mmap(self.fd, size)
        # indices are read and written whole: struct's "<H" goes byte by byte
        self.u16 = memoryview(self.mem).cast("H")
        self.u32 = memoryview(self.mem).cast("I")
        self.up = False
        self.epoch = None
        self.kicks = 0
        if load:
            self.load()

    # where things are in the table that image() makes
    def vdev(self, off):
        return self.table + 0x84 + off

    STATUS, RINGS, CONFIG = 0x18, 0x1c, 0x44

    def image(self):
        """struct amp_rsc_table, as a firmware's ELF file has it."""
        t = struct.pack("<IIII3I", 1, 3, 0, 0, 28, 84, 132)
        t += struct.pack("<6I32s", 0, (self.da + self.carve[0]) & ANY, ANY, self.carve[1], 0, 0, b"rpmsg")
        t += struct.pack("<4I32s", 2, (self.da + 0x1000) & ANY, 0x100, 0, b"trace")
        t += struct.pack("<6IBBBB", 3, 7, 0, int(self.ns), 0, 16 if self.epochs else 0, 0, 2, 0, 0)
        for i in range(2):
            t += struct.pack("<5I", self.vring[i], self.align, self.num, i, 0)
        return t + (struct.pack("<4I", 0x45504d41, 0, 0, 0) if self.epochs else b"")

    def load(self):
        t = self.image()
        self.mem[self.table:self.table + len(t)] = t

    def word(self, off):
        return self.u32[self.vdev(off) // 4]

    def status(self):
        return self.mem[self.vdev(self.STATUS)]

    def set_status(self, v):
        self.mem[self.vdev(self.STATUS)] = v

    def host_epoch(self):
        return self.word(self.CONFIG + 8)

    def boot(self):
        """A new life of the link: the host's epoch is repeated."""
        self.up = False
        if self.epochs:
            self.epoch = self.host_epoch()
            if self.epoch:
                self.set_status(0)
            self.u32[self.vdev(self.CONFIG + 4) // 4] = self.epoch
        self.ring()

    def ring(self):
        self.kicks += 1
        self.bell.ring()

    def served(self):
        if self.epochs:
            return self.host_epoch() == self.epoch and self.epoch and self.status() & DRIVER_OK
        return self.status() & DRIVER_OK

    def close(self):
        for m in (self.u16, self.u32):
            m.release()
        self.mem.close()
        os.close(self.fd)
        self.bell.close()

    # -- rings --

    def start_rings(self):
        self.base = []
        for q in range(2):
            da, align, num = struct.unpack_from("<III", self.mem, self.vdev(self.RINGS + 20 * q))
            desc = (da - self.da) & ANY
            avail = desc + 16 * num
            self.base.append((desc, avail, (avail + 6 + 2 * num + align - 1) & ~(align - 1)))
        self.avail_seen, self.used_idx = [0, 0], [0, 0]
        self.dirty = False
        self.up = True

    def next(self, q):
        """Head of the next buffer of the host's: (id, offset, length), or None."""
        desc, avail, _ = self.base[q]
        if self.avail_seen[q] == self.u16[avail // 2 + 1]:
            return None
        i = self.u16[avail // 2 + 2 + self.avail_seen[q] % self.num]
        self.avail_seen[q] = (self.avail_seen[q] + 1) & 0xffff
        addr, length = struct.unpack_from("<QI", self.mem, desc + 16 * i)
        return i, addr - self.da, length

    def give(self, q, i, length):
        _, avail, used = self.base[q]
        struct.pack_into("<II", self.mem, used + 4 + 8 * (self.used_idx[q] % self.num), i, length)
        self.used_idx[q] = (self.used_idx[q] + 1) & 0xffff
        self.u16[used // 2 + 1] = self.used_idx[q]
        if not self.u16[avail // 2] & 1:
            self.dirty = True

    def awake(self, yes):
        """NO_NOTIFY: the host need not ring."""
        for q in range(2):
            self.u16[self.base[q][2] // 2] = 1 if yes else 0

    def flush(self):
        if self.up and self.dirty:
            self.dirty = False
            self.ring()


class Conn(Credited):
    """A stream connection."""
    OP_REQUEST, OP_SHUTDOWN, OP_RST, OP_DATA, OP_CREDIT = REQUEST, SHUTDOWN, RST, DATA, CREDIT

    def __init__(self, remote, peer, buf_alloc=262144):
        self.g, self.peer, self.buf_alloc = remote, peer, buf_alloc
        self.addr, self.tag = remote.new_addr(self), remote.new_tag()
        self.peer_tag = self.peer_window = self.peer_fwd = 0
        self.tx_cnt = self.fwd_cnt = self.told = 0
        self.rx = bytearray()
        self.peer_shut = self.shut_flags = 0
        self.state = "new"
        self.refused_at = None

    def post(self, op, data=b"", flags=0, tag=None):
        self.told = self.fwd_cnt
        self.g.post(self.addr, self.peer, HDR.pack(op, flags, self.peer_tag if tag is None else tag,
                                                   self.fwd_cnt & ANY) + data)

    def hello(self, version=1, magic=MAGIC):
        return HELLO.pack(magic, version, 0, self.tag, self.addr, self.buf_alloc)

    def input(self, src, data):
        op, flags, tag, fwd = HDR.unpack(data[:8])
        if tag != self.tag:
            self.g.strays.append((src, data))
            return
        self.peer_fwd = fwd
        body = data[8:]
        if op == RESPONSE:
            _, _, _, self.peer_tag, self.peer, self.peer_window = HELLO.unpack(body)
            self.state = "open"
        elif op == RST:
            self.state = "reset"
            self.forget()
        elif op == DATA:
            self.rx += body
        elif op == SHUTDOWN:
            self.peer_shut |= flags
        elif op == CREDIT_REQUEST:
            self.post(CREDIT)

    def credit(self):
        return self.peer_window - ((self.tx_cnt - self.peer_fwd) & ANY)

    def request(self):
        self.post(REQUEST, self.hello())

    def room(self):
        return self.g.room - 8

    def forget(self):
        self.g.forget(self)


class Raw:
    """A raw endpoint: messages as they are."""

    def __init__(self, remote, addr=None):
        self.g, self.msgs = remote, []
        self.addr = remote.new_addr(self, addr)

    def input(self, src, data):
        self.msgs.append((src, data))

    def send(self, dst, data):
        self.g.post(self.addr, dst, data)
        self.g.flush()

    def recv(self, timeout=None):
        if not self.g.wait(lambda: self.msgs, timeout):
            raise TimeoutError("no message came")
        return self.msgs.pop(0)


class Service:
    """A stream service, or the front door."""

    def __init__(self, remote, port=None):
        self.g, self.port, self.accepted = remote, port, []
        if port is not None:
            self.accepted = remote.accepted.setdefault(port, [])
        self.addr = remote.new_addr(self)

    def input(self, src, data):
        op, _, _, _ = HDR.unpack(data[:8])
        if op == SERVICE:
            _, _, gone, _, addr, name = SERVED.unpack(data[8:])
            self.g.service(name.rstrip(b"\0").decode(), addr, gone, "door")
            return
        if op != REQUEST:
            return
        _, _, _, tag, addr, window = HELLO.unpack(data[8:])
        if self.port is not None and self.port not in self.g.listening:
            self.g.post(self.addr, addr, HDR.pack(RST, 0, tag, 0))
            return
        c = Conn(self.g, addr, **self.g.listening.get(self.port, {}))
        c.peer_tag, c.peer_window, c.state = tag, window, "open"
        c.post(RESPONSE, c.hello())
        self.accepted.append(c)


class Remote(Base, Shared):
    poll_most_s = 0.05

    def __init__(self, path, bell, start=True, **kw):
        super().__init__(path, bell, **kw)
        self.room = 496
        self.tags = 0
        self.lives = 0
        self.others = []  # remotes that this one talks to: looked at whenever this one is
        self.fresh()
        if start:
            self.boot()
            self.wait_up()

    def fresh(self):
        self.eps = {}
        self.next_addr = 0x400
        self.listening, self.accepted = {}, {}
        self.announced = []  # (name, endpoint): again in every life
        self.services = {}
        self.heard = []
        self.strays = []
        self.unknown = []
        self.owed = []
        self.looking = False

    # -- endpoints --

    def new_addr(self, ep, addr=None):
        if addr is None:
            addr = self.next_addr
            self.next_addr += 1
        self.eps[addr] = ep
        return addr

    def new_tag(self):
        self.tags = self.tags % 0xffff + 1
        return self.tags

    def forget(self, ep):
        self.eps.pop(ep.addr, None)

    def announce(self, name, ep, gone=False):
        if not gone:
            self.announced.append((name, ep))
        self.post(ep.addr, NS_ADDR, NS.pack(name.encode(), ep.addr, int(gone)))
        self.flush()

    def service(self, name, addr, gone, how):
        self.heard.append((name, addr, gone, how))
        if gone:
            self.services.pop(name, None)
        else:
            self.services[name] = addr

    # -- messages --

    def raw_post(self, message):
        """Any bytes as a buffer of the host's. False: none free."""
        b = self.next(TX) if self.up else None
        if b is None:
            return False
        i, off, length = b
        self.mem[off:off + len(message)] = message
        self.give(TX, i, len(message))
        return True

    def post(self, src, dst, data, length=None):
        message = RPMSG.pack(src, dst, 0, len(data) if length is None else length, 0) + data
        if self.looking:  # an answer to what came: goes when there is room
            self.owed.append(message)
            return
        deadline = time.monotonic() + TIMEOUT
        while not self.raw_post(message):
            self.flush()
            if time.monotonic() > deadline:
                raise TimeoutError("the proxy takes no messages")
            self.poll(0.02)

    def input(self, message):
        src, dst, _, length, _ = RPMSG.unpack(message[:16])
        data = message[16:16 + length]
        ep = self.eps.get(dst)
        if dst == NS_ADDR:
            name, addr, gone = NS.unpack(data)
            self.service(name.rstrip(b"\0").decode(), addr, gone & 1, "ns")
        elif ep:
            ep.input(src, data)
        else:
            self.unknown.append((src, dst, data))

    def look(self):
        """What came, and whether the host still serves."""
        if self.up and not self.served():
            self.went_down()
        if not self.up:
            if self.epochs and self.host_epoch() != self.epoch:
                self.boot()
            if self.served():
                self.start_rings()
                self.lives += 1
                for name, ep in self.announced:
                    self.post(ep.addr, NS_ADDR, NS.pack(name.encode(), ep.addr, 0))
                self.flush()
            else:
                return 0
        n = 0
        self.looking = True
        while True:
            b = self.next(RX)
            if b is None:
                break
            i, off, length = b
            message = self.mem[off:off + length]
            self.give(RX, i, 0)
            self.input(message)
            n += 1
        self.looking = False
        while self.owed and self.raw_post(self.owed[0]):
            self.owed.pop(0)
        self.flush()
        return n

    def went_down(self):
        self.up = False
        self.owed.clear()
        self.services.clear()
        for ep in list(self.eps.values()):
            if isinstance(ep, Conn):
                ep.state = "reset"
                self.forget(ep)

    def poll(self, timeout=0):
        if sum(r.look() for r in [self] + self.others) == 0:
            self.bell.wait(min(timeout, 0.002) if self.others else timeout)
            for r in [self] + self.others:
                r.look()

    def wait_up(self, timeout=None):
        if not self.wait(lambda: self.up, timeout):
            raise TimeoutError("the proxy does not serve this remote")
        return self

    def reboot(self, load=True):
        """As a machine's reset does it: the table from its file, all state gone."""
        self.went_down()
        self.fresh()
        if load:
            self.load()
        self.boot()

    # -- streams --

    def lookup(self, name, timeout=None):
        if not self.wait(lambda: name in self.services, timeout):
            raise TimeoutError(f"nobody announced {name}")
        return self.services[name]

    def connect(self, port, **kw):
        """port: offload's, a service's name (a stream's without its suffix), or an address."""
        if isinstance(port, str):
            port = self.lookup(port + "~s")
        elif port == PORT:
            port = self.lookup(DOOR)
        return Conn(self, port, **kw).open()

    def new(self, port, **kw):
        return Conn(self, self.lookup(DOOR) if port == PORT else port, **kw)

    def listen(self, port, **kw):
        """A service; its REQUESTs are refused while port is not in self.listening."""
        self.listening[port] = kw
        name = DOOR if port == ACCEPT_PORT else port + "~s"
        for n, s in self.announced:
            if n == name:
                return s
        s = Service(self, port)
        self.announce(name, s)
        return s

    def accept(self, port, timeout=None):
        s = self.listen(port)
        if not self.wait(lambda: s.accepted, timeout):
            raise TimeoutError("no connection came")
        return s.accepted.pop(0)
