# SPDX-License-Identifier: BSD-3-Clause
"""Proxy, guest and a session, for every guest of sockguest.py: a monitor's sockets, or AF_VSOCK."""
import socket
import threading

import offload as off
from guestbase import TIMEOUT, Reset
from harness import eq

MIB = 1 << 20


class Rig:
    """As offloading.Rig. up(*rules, **kw) of the class returns (proxy, guest)."""
    left = []  # in the proxy's directory, at the end

    def __init__(self, *rules, guest=None, env=None, **kw):
        self.p, self.g = self.up(*rules, env=env)
        self.s = off.Session(self.g, **kw)
        self.p.log("guest attached")

    def end(self):
        self.g.close()
        self.p.log("guest detached")
        self.p.wait_counter("sockets", 0)
        self.p.wait_counter("ends", 0)
        eq(self.p.stop(), self.left, "left behind")


def dies(fn):
    """A reset is an end here."""
    try:
        if fn():
            raise AssertionError("not reset")
    except Reset:
        pass


def stuff(client):
    """Sends to a guest that does not read, until it would block: how much."""
    client.setblocking(False)
    sent = 0
    try:
        while sent < 64 * MIB:
            sent += client.send(bytes(65536))
    except BlockingIOError:
        pass
    eq(sent < 32 * MIB, True, "the client has to wait")
    return sent


def read_at_last(conn, client, sent):
    """The guest's end of it reads: nothing was lost, and the end comes behind it."""
    conn.buf_alloc = 262144
    client.settimeout(TIMEOUT)
    threading.Thread(target=lambda: client.shutdown(socket.SHUT_WR), daemon=True).start()
    n = 0
    conn.look(0)
    while True:
        part = conn.recv()
        if not part:
            break
        n += len(part)
    eq(n, sent)
