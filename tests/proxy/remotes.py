#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 240
"""rpmsg-shm: a remote core in a shared file. Attaching in any order, doorbells, offload."""
import os
import random
import re
import signal
import socket
import struct
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import offload as off  # noqa: E402
from harness import Proxy, Server, echo, eq, main, test  # noqa: E402
from rpmsgguest import DA, DOOR, EventBell, NoBell, Remote  # noqa: E402
from rpmsgrig import Rig  # noqa: E402


def use(r, srv):
    s = off.Session(r)
    c = s.connect("127.0.0.1", srv.port)
    data = os.urandom(100000)
    got = bytearray()
    for at in range(0, len(data), 10000):
        c.send(data[at:at + 10000])
        while len(got) < at + 10000:
            got += c.recv()
    eq(bytes(got), data)
    c.close()
    s.ctl.close()


def attach(bell):
    srv = Server(echo)
    g = Rig(f"allow out tcp 127.0.0.1:{srv.port}", bell=bell)
    use(g.r, srv)
    g.close()
    srv.close()


def elf(path, addr, bits=32, name=b".resource_table"):
    """The least that has a section."""
    names = b"\0.text\0.shstrtab\0" + name + b"\0"
    sections = [(0, 0, 0, 0), (1, 0x1000, 0, 0), (17, addr, 0, 216), (7, 0, 0x100, len(names))]
    ident = b"\x7fELF" + bytes([1 if bits == 32 else 2, 1, 1]) + bytes(9)
    if bits == 32:
        head = ident + struct.pack("<HHIIIIIHHHHHH", 2, 40, 1, 0, 0, 0x200, 0, 52, 0, 0, 40, 4, 3)
        table = b"".join(struct.pack("<10I", n, 1, 0, a, o, s, 0, 0, 1, 0) for n, a, o, s in sections)
    else:
        head = ident + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 0, 0, 0x200, 0, 64, 0, 0, 64, 4, 3)
        table = b"".join(struct.pack("<IIQQQQIIQQ", n, 1, 0, a, o, s, 0, 0, 1, 0) for n, a, o, s in sections)
    with open(path, "wb") as f:
        f.write(head.ljust(0x100, b"\0") + names.ljust(0x100, b"\0") + table)


def starts_not(args, *words):
    """The proxy refuses to start with these words, and with status 1 or 2."""
    try:
        Proxy(args=lambda p: args(p) if callable(args) else args)
    except AssertionError as e:
        for w in words:
            if not re.search(w, str(e)):
                raise AssertionError(f"no `{w}` in {e}") from None
        Proxy.running[-1].stop(signal.SIGKILL)
        return
    raise AssertionError("it started")


@test
def attach_unix():
    """a Unix socket as doorbell: offloaded TCP, 100 kB there and back"""
    attach("unix")


@test
def attach_eventfd():
    """eventfds as doorbell"""
    attach("eventfd")


@test
def attach_poll():
    """no doorbell: polling"""
    attach("poll")


def attach_as(more="", **kw):
    """One flow over a link laid out in this way."""
    srv = Server(echo)
    g = Rig(f"allow out tcp 127.0.0.1:{srv.port}", bell="eventfd", more=more, **kw)
    use(g.r, srv)
    g.close()
    srv.close()


@test
def layouts():
    """rings of all sizes and alignments, fixed addresses, tables anywhere in the window, 64-bit addresses"""
    attach_as(num=2)
    attach_as(num=256, align=4096)
    attach_as(vring=(DA + 0x20000, DA + 0x24000))
    attach_as(more=f",table={DA + 0x400:#x}", table=0x400)
    attach_as(more=",table=0x921000000", table=0, da=0x921000000)
    # a table without a carveout: the link says where
    attach_as(more=f",carveout={DA + 0x80000:#x}:256k", carve=(0x10000, 64))


@test
def window():
    """a window in the middle of the file, at an offset that is not of a page"""
    path = "/dev/shm/ampsock-test-%d" % os.getpid()
    srv, bell = Server(echo), EventBell()
    with open(path, "wb") as f:
        f.truncate(1 << 20)
    r = Remote(path, bell, table=0x1010, start=False, carve=(0x10000, 0x30000))
    p = Proxy(f"allow out tcp 127.0.0.1:{srv.port}", fds=bell.fds, args=lambda _: [
        "--link", f"rpmsg-shm:{path},da={DA:#x},offset=0x1010,size=512k,bell={bell.arg()}"])
    p.log("link rpmsg0: waiting: the remote to start")
    r.boot()
    r.wait_up()
    use(r, srv)
    r.close()
    p.stop()
    os.unlink(path)
    srv.close()


@test
def buffers():
    """buffers of 128 bytes to 64 KiB, few and many"""
    for n, cnt in ((128, 32), (2048, 32), (16384, 16), (65536, 4)):
        srv = Server(echo)
        g = Rig(f"allow out tcp 127.0.0.1:{srv.port}", bell="eventfd", more=f",buffer={n},buffers={cnt}",
                size=4 << 20, carve=(0x10000, 0x300000))
        g.r.room = n - 16
        use(g.r, srv)
        g.close()
        srv.close()


@test
def from_elf():
    """the table's address from the firmware's ELF file, 32 and 64 bits; a file that has none says so, once"""
    for bits in (32, 64):
        srv = Server(echo)
        bell = EventBell()
        p = Proxy(f"allow out tcp 127.0.0.1:{srv.port}", fds=bell.fds, args=lambda p, b=bell: [
            "--link", f"rpmsg-shm:{p.dir.name}/ram,da={DA:#x},bell={b.arg()},elf={p.dir.name}/fw.elf,name=g"])
        fw = os.path.join(p.dir.name, "fw.elf")
        r = Remote(os.path.join(p.dir.name, "ram"), bell, table=0x8000, start=False)
        r.ring()
        p.log("waiting: .*fw.elf: No such file")
        with open(fw, "wb") as f:
            f.write(b"#!/bin/sh\n")
        p.log("waiting: .*fw.elf is no little-endian ELF file")
        elf(fw, DA, bits, name=b".resource_tablf")
        p.log("waiting: .*fw.elf has no section .resource_table")
        elf(fw, DA - 16, bits)
        p.log("waiting: the resource table's address 0x20fffff0 is outside of the window .0x21000000 to 0x21100000")
        elf(fw, DA + 0x8000, bits)
        r.boot()
        r.wait_up()
        use(r, srv)
        r.close()
        p.stop()
        srv.close()


@test
def elf_lies():
    """ELF files that are cut short or wrong in any byte are looked at and nothing happens"""
    with tempfile.TemporaryDirectory() as d:
        fw, ram = os.path.join(d, "fw.elf"), os.path.join(d, "ram")
        r = Remote(ram, NoBell(), table=0x8000, start=False)
        p = Proxy(args=lambda _: ["--link", f"rpmsg-shm:{ram},da={DA:#x},bell=poll:1,elf={fw}"])
        rnd = random.Random(3)
        for bits in (32, 64):
            elf(fw, DA + 0x8000, bits)
            with open(fw, "rb") as f:
                good = f.read()
            for i in range(300):
                bad = bytearray(good)
                if i % 3 == 0:
                    bad = bad[:rnd.randrange(len(bad))]
                else:
                    bad[rnd.choice((rnd.randrange(64), rnd.randrange(len(bad))))] = rnd.getrandbits(8)
                with open(fw + ".new", "wb") as f:
                    f.write(bad)
                os.rename(fw + ".new", fw)
                if i % 10 == 0:
                    p.counters()
        elf(fw, DA + 0x8000)
        r.boot()
        r.wait_up()
        r.close()
        p.stop()


@test
def inherited_memory():
    """a memfd that this process inherits, by its path below /proc"""
    srv, bell = Server(echo), EventBell()
    fd = os.memfd_create("remote")
    path = f"/proc/self/fd/{fd}"
    r = Remote(path, bell, start=False)
    p = Proxy(f"allow out tcp 127.0.0.1:{srv.port}", fds=lambda: bell.fds() + [fd], args=lambda _: [
        "--link", f"rpmsg-shm:{path},da={DA:#x},bell={bell.arg()}"])
    r.boot()
    r.wait_up()
    use(r, srv)
    r.close()
    p.stop()
    os.close(fd)
    srv.close()


@test
def bad_start():
    """what cannot work says what would: no doorbell, a descriptor that is none, a rule of the other kind"""
    starts_not(["--link", "rpmsg-shm:/x,da=1"], "no doorbell: expected bell = unix:PATH")
    starts_not(["--link", "rpmsg-shm:/x,bell=eventfd:3,99"], "descriptor 99 is not an open eventfd|descriptor 3 is")
    starts_not(["--link", "rpmsg-shm:/x,bell=poll:5", "--expose", "vsock:5 -> unix /x"],
               "--expose: vsock:5 is no service of a link of type rpmsg-shm: expected rpmsg:NAME")
    starts_not(["--link", "rpmsg-shm:/x,bell=poll:5", "--publish", "tcp 127.0.0.1:1 -> rpmsg:ampsock"],
               "the name ampsock is the proxy's own")
    starts_not(["--link", "rpmsg-shm:/x,bell=poll:5,cid=3"], "rpmsg-shm has no key cid")
    # a directory, a device without size: said, and looked at again
    p = Proxy(args=lambda p: ["--link", f"rpmsg-shm:{p.dir.name},bell=poll:5", "--link",
                              "rpmsg-shm:/dev/zero,bell=poll:5,name=z"])
    p.log("link rpmsg0: waiting: .*Is a directory")
    p.log("link z: waiting: /dev/zero is a device: its size must be given")
    p.stop()


@test
def front_door_late():
    """a connection accepted before the remote has a front door is reset; later ones arrive"""
    g = Rig("allow in tcp 127.0.0.1:any")
    g.r.listening[off.ACCEPT_PORT] = {}
    g.r.announced.append((DOOR, None))  # so that the session does not announce it
    s = off.Session(g.r)
    g.r.announced.clear()
    bid, name = s.bind("127.0.0.1", 0)
    s.listen(bid, 4, 1)
    try:
        with socket.create_connection(name, timeout=20) as k:
            eq(k.recv(1), b"?")
    except ConnectionResetError:
        pass
    g.p.log("accept: the remote has not announced it")
    g.r.listen(off.ACCEPT_PORT)
    g.r.wait(lambda: False, 0.05)
    with socket.create_connection(name, timeout=20) as k:
        eq(s.accept().peername, k.getsockname())
    s.ctl.close()
    g.close()


main()
