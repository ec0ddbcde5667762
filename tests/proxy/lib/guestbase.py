# SPDX-License-Identifier: BSD-3-Clause
"""What every guest in Python has: streams and how one waits for them, whatever carries them.

The carriers are vguest.py (virtio-vsock), rpmsgguest.py (rpmsg) and sockguest.py (Unix sockets,
the kernel's AF_VSOCK). Tests written for one run on the others. One thread: to wait is to poll
the carrier, with a deadline.
"""
import os
import threading
import time

RCV, SEND = 1, 2  # of a shutdown

TIMEOUT = float(os.environ.get("AMPSOCK_TEST_TIMEOUT", "20"))


class Reset(Exception):
    """The connection was reset, or refused."""


class Stream:
    """A connection. The carrier's has g (its guest), state, rx, peer_shut, and consumed(n)."""

    def wait(self, cond, timeout=None):
        if not self.g.wait(lambda: cond() or self.state == "reset", timeout):
            raise TimeoutError("no answer from the proxy")
        if not cond():
            raise Reset()

    def recv(self, n=65536, timeout=None):
        """b"" at EOF."""
        self.wait(lambda: self.rx or self.peer_shut & SEND, timeout)
        data = bytes(self.rx[:n])
        del self.rx[:n]
        self.consumed(len(data))
        return data

    def recv_exact(self, n):
        data = b""
        while len(data) < n:
            part = self.recv(n - len(data))
            if not part:
                raise EOFError()
            data += part
        return data


class Credited(Stream):
    """One of packets, under credit: the carrier's has post(op), the numbers of its operations, and
    forget(), which takes it out of its guest's table."""
    OP_REQUEST = OP_SHUTDOWN = OP_RST = OP_DATA = OP_CREDIT = 0

    def open(self):
        self.state = "connecting"
        self.request()
        self.wait(lambda: self.state == "open")
        return self

    def request(self):
        self.post(self.OP_REQUEST)

    def send(self, data, flags=0):
        """flags: of the last packet."""
        view = memoryview(data)
        while len(view):
            if self.credit() <= 0:
                self.wait(lambda: self.credit() > 0)
            if self.state == "reset":
                raise Reset()
            n = min(len(view), self.credit(), self.room())
            self.post(self.OP_DATA, bytes(view[:n]), flags if n == len(view) else 0)
            self.tx_cnt += n
            view = view[n:]
        self.g.flush()

    def consumed(self, n):
        self.fwd_cnt += n
        if self.state == "open" and self.fwd_cnt - self.told >= self.buf_alloc // 2:
            self.post(self.OP_CREDIT)

    def shutdown(self, flags):
        self.shut_flags |= flags
        self.post(self.OP_SHUTDOWN, flags=self.shut_flags)
        self.g.flush()

    def close(self):
        """Orderly; waits for the proxy's RST."""
        if self.state == "open":
            self.shutdown(RCV | SEND)
            try:
                self.wait(lambda: False)
            except Reset:
                pass
        self.forget()

    def reset(self):
        self.post(self.OP_RST)
        self.g.flush()
        self.state = "reset"
        self.forget()


class Base:
    """A guest. The carrier's has poll(timeout), flush(), listening and accepted."""
    poll_most_s = TIMEOUT  # at once, however much later a deadline is

    def wait(self, cond, timeout=None):
        deadline = time.monotonic() + (TIMEOUT if timeout is None else timeout)
        while not cond():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.poll(min(left, self.poll_most_s))
        self.flush()
        return True

    def pumped(self):
        """with guest.pumped(): a thread answers for the guest meanwhile."""
        return Pump(self)

    def listen(self, port, **kw):
        self.listening[port] = kw

    def accept(self, port, timeout=None):
        if not self.wait(lambda: self.accepted.get(port), timeout):
            raise TimeoutError("no connection came")
        return self.accepted[port].pop(0)


class Pump:
    def __init__(self, guest):
        self.guest, self.stop = guest, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.stop.is_set():
            self.guest.poll(0.02)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(TIMEOUT)
