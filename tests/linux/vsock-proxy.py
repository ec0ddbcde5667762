#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""ampsock-proxy in a Linux guest, on the kernel's AF_VSOCK: its own CID, its host's, a stranger's."""
import os
import re
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import initramfs  # noqa: E402
import uml  # noqa: E402
from agent import test  # noqa: E402
from guest import links, main, path_of  # noqa: E402
from harness import Proxy, Server, eq, free_port  # noqa: E402

LOOP = "127.0.0.1"
HERE = os.path.dirname(os.path.abspath(__file__))
# The host's file system is read; what is written goes into memory. Its /sys is not needed.
ENTER = "cd / && exec chroot /host env -u LD_PRELOAD TMPDIR=/sys AMPSOCK_TEST_TIMEOUT=60 BUILD={build} AMPSOCK_PROXY={proxy} AMPSOCK_CTL={ctl} PATH=$PATH:/usr/bin "


def boot(p):
    g = uml.Guest(initramfs.build("vsock-proxy"), [path_of(p, "g") + ":19"], hostfs="/", mem="256M",
                  modules=("vmw_vsock_virtio_transport", "vsock_loopback"))
    g.run("mount -t proc proc /host/proc && mount -t tmpfs tmpfs /host/sys && mount --bind /dev /host/dev")
    return g


def enter(text):
    proxy = os.path.join(initramfs.BUILD, "ampsock-proxy")
    return ENTER.format(build=initramfs.BUILD, proxy=proxy, ctl=os.path.join(initramfs.BUILD, "ampsockctl")) + text


def inside(g, part):
    """Runs a part of inside_vsock.py, and believes its TAP."""
    job = g.go(enter(f"python3 {HERE}/lib/inside_vsock.py {part}"))
    try:
        job.wait(110)
    except AssertionError:
        raise AssertionError("too late:\n" + job.out.decode(errors="replace")) from None
    text = job.out.decode(errors="replace")
    plan = re.match(r"1\.\.(\d+)$", text.split("\n", 1)[0])
    good = len(re.findall(r"^ok \d+ - (?!.*# SKIP)", text, re.MULTILINE))
    if job.status or not plan or not good or good != int(plan.group(1)):
        raise AssertionError(text + job.err.decode(errors="replace"))


@test
def offload():
    """the offload protocol with carriers on AF_VSOCK: sessions, TCP, UDP, listeners, names, lies"""
    p = Proxy(args=links("g"))
    inside(boot(p), "offloading")


@test
def forward():
    """publish, expose, vsock-mux on AF_VSOCK: streams and messages, links that share a port"""
    p = Proxy(args=links("g"))
    inside(boot(p), "forwards")


@test
def host():
    """a proxy in a guest serves its host, CID 2; a CID that no link has is refused and counted"""
    srv = Server(lambda s: s.sendall(b"from the outer host: " + s.recv(100)))
    to, stranger = free_port(), free_port()
    p = Proxy(f"publish tcp {LOOP}:{to} -> vsock:6000", f"publish tcp {LOOP}:{stranger} -> vsock:6001",
              f"expose vsock:7000 -> tcp {LOOP}:{srv.port}", args=links("g"))
    g = boot(p)
    g.go(enter("socat -t 60 -d -d TCP-LISTEN:8000,bind=127.0.0.1,fork,reuseaddr EXEC:cat")).expect("listening on")
    b = g.go(enter(f"{initramfs.BUILD}/ampsock-proxy --link vsock:2,name=host --expose 'vsock:6000 -> tcp 127.0.0.1:8000' "
                   "--publish 'tcp 127.0.0.1:8001 -> vsock:7000' --ready-fd 3 3>&1"))
    b.expect("waiting for cid 2")
    k = socket.create_connection((LOOP, to), timeout=uml.TIMEOUT)
    k.settimeout(uml.TIMEOUT)
    k.sendall(b"through both")
    k.shutdown(socket.SHUT_WR)
    data = b""
    while len(data) < 12:
        part = k.recv(100)
        if not part:
            break
        data += part
    eq(data, b"through both")
    k.close()
    eq(g.run(enter("socat -t 60 - TCP:127.0.0.1:8001"), data=b"hello\n"), "from the outer host: hello\n")
    b.kill(15)
    b.wait()
    b = g.go(enter(f"{initramfs.BUILD}/ampsock-proxy --link vsock:1,name=self --expose 'vsock:6001 -> tcp 127.0.0.1:8000' "
                   "--ready-fd 3 3>&1"))
    b.expect("waiting for cid 1")
    try:  # the reset may be here before connect() has returned
        k = socket.create_connection((LOOP, stranger), timeout=uml.TIMEOUT)
        eq(k.recv(1), b"")
    except ConnectionResetError:
        pass
    b.expect("AF_VSOCK port 6001: CID 2 connected, which no link has: refused .1 so far")
    b.kill(15)
    b.wait()
    srv.close()


main()
