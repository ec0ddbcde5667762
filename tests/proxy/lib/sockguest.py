# SPDX-License-Identifier: BSD-3-Clause
"""A guest behind a monitor with vsock on Unix sockets, as Firecracker has it, in one thread.

What vguest.Guest is for a ring: the same calls, so that tests written for that one run here.
The monitor listens at `path`, takes `CONNECT <port>` there, and connects to `path_<port>` for the
guest. A reset and an orderly end look the same on such a socket.
"""
import collections
import os
import select
import socket
import time

from guestbase import RCV, SEND, TIMEOUT, Base, Reset, Stream


class Conn(Stream):
    def __init__(self, guest, sock, buf_alloc=262144):
        self.g, self.sock, self.buf_alloc = guest, sock, buf_alloc
        sock.setblocking(False)
        self.rx = bytearray()
        self.peer_shut = 0
        self.state = "open"
        self.stalled = False
        guest.watch(sock, self.look)
        guest.conns.add(self)

    def look(self, events):
        """Whether anything was new."""
        if self.state == "reset":
            return False
        new = False
        while not self.stalled and not self.peer_shut & SEND and len(self.rx) < self.buf_alloc:
            try:
                data = self.sock.recv(min(65536, self.buf_alloc - len(self.rx)))
            except BlockingIOError:
                break
            except OSError:
                self.gone()
                return True
            new = True
            if not data:
                self.peer_shut |= SEND
            self.rx += data
        if events & select.EPOLLHUP and self.peer_shut & SEND:
            self.gone()
        return new

    def gone(self):
        self.peer_shut |= SEND
        self.state = "reset"
        self.g.unwatch(self.sock)
        self.g.conns.discard(self)
        self.sock.close()

    def credit(self):
        return 65536 if self.state == "open" and select.select([], [self.sock], [], 0)[1] else 0

    def send(self, data, flags=0):
        view = memoryview(data)
        deadline = time.monotonic() + TIMEOUT
        while len(view):
            if self.state == "reset":
                raise Reset()
            try:
                view = view[self.sock.send(view):]
            except BlockingIOError:
                self.g.poll(0.05)
                if time.monotonic() > deadline:
                    raise TimeoutError("the proxy takes no bytes") from None
            except OSError:
                raise Reset() from None

    def consumed(self, n):
        """There was no room for more, and nobody says twice that there is something."""
        if n:
            self.look(0)

    def shutdown(self, flags):
        self.sock.shutdown({SEND: socket.SHUT_WR, RCV: socket.SHUT_RD, SEND | RCV: socket.SHUT_RDWR}[flags])

    def close(self):
        if self.state != "reset":
            self.gone()

    reset = close


class Half:
    """Somebody has connected to the monitor, and has not said what for."""

    def __init__(self, guest, sock):
        self.g, self.sock, self.line = guest, sock, b""
        sock.setblocking(False)
        guest.watch(sock, self.look)

    def look(self, _events):
        try:
            data = self.sock.recv(1)
            while data and data != b"\n":
                self.line += data
                data = self.sock.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data and not self.g.input(self):
            return False  # it stays, unanswered
        self.g.unwatch(self.sock)
        if not data:
            self.sock.close()
        return True


class Guest(Base):
    def __init__(self, path, **_kw):
        self.path = path
        self.conns = set()
        self.looks = {}
        self.listening = {}
        self.accepted = collections.defaultdict(list)
        self.ep = select.epoll()
        if os.path.exists(path):
            os.unlink(path)
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind(path)
        self.door.listen(1024)
        self.door.setblocking(False)
        self.watch(self.door, self.knocked)

    def watch(self, sock, look):
        self.looks[sock.fileno()] = look
        self.ep.register(sock, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)

    def unwatch(self, sock):
        self.ep.unregister(sock)
        del self.looks[sock.fileno()]

    def knocked(self, _events):
        new = False
        while True:
            try:
                sock, _ = self.door.accept()
            except OSError:
                return new
            Half(self, sock)
            new = True

    def input(self, half):
        """A whole line. Whether it was answered, or refused: then it is a Half no more."""
        word, _, port = half.line.partition(b" ")
        if word != b"CONNECT":
            raise AssertionError(half.line)
        self.unwatch(half.sock)
        if int(port) not in self.listening:
            half.sock.close()
        else:
            try:
                half.sock.send(b"OK 1073741824\n")
            except OSError:
                half.sock.close()  # it has gone meanwhile
                return False
            self.accepted[int(port)].append(Conn(self, half.sock, **self.listening[int(port)]))
        return False

    def poll(self, timeout):
        for fd, events in self.ep.poll(timeout):
            if fd in self.looks:
                self.looks[fd](events)

    def flush(self):
        pass

    def connect(self, port, **kw):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        try:
            sock.connect(f"{self.path}_{port}")
        except OSError:
            sock.close()
            raise Reset() from None
        return Conn(self, sock, **kw)

    def close(self):
        """The monitor dies: all that it had open is closed, its file stays."""
        for c in list(self.conns):
            c.close()
        for fd in list(self.looks):
            if fd != self.door.fileno():
                os.close(fd)
        self.looks.clear()
        self.door.close()
        self.ep.close()


def link(p):
    """Proxy(args=link)"""
    return ["--link", f"vsock-unix:{p.path},name=g"]


class VsockGuest(Guest):
    """The same on the kernel's AF_VSOCK: who is guest and who is host, this machine is both."""
    last = None

    def __init__(self, cid=1):  # noqa: nobody listens at a path here
        # ports are the machine's: those of a test that failed are not the next one's
        if VsockGuest.last:
            VsockGuest.last.close()
        VsockGuest.last = self
        self.cid = cid
        self.conns = set()
        self.looks = {}
        self.listening = {}
        self.doors = {}
        self.accepted = collections.defaultdict(list)
        self.ep = select.epoll()

    def connect(self, port, kind=socket.SOCK_STREAM, **kw):
        sock = socket.socket(socket.AF_VSOCK, kind)
        sock.settimeout(TIMEOUT)
        try:
            sock.connect((self.cid, port))
        except OSError:
            sock.close()
            raise Reset() from None
        return Conn(self, sock, **kw)

    def listen(self, port, kind=socket.SOCK_STREAM, **kw):
        self.listening[port] = kw
        if port in self.doors:
            return
        door = socket.socket(socket.AF_VSOCK, kind)
        door.bind((socket.VMADDR_CID_ANY, port))
        door.listen(128)
        door.setblocking(False)
        self.doors[port] = door
        self.watch(door, lambda _: self.arrived(port))

    def arrived(self, port):
        new = False
        while True:
            try:
                sock, _ = self.doors[port].accept()
            except OSError:
                return new
            new = True
            if port in self.listening:
                self.accepted[port].append(Conn(self, sock, **self.listening[port]))
            else:
                sock.close()

    def close(self):
        for c in list(self.conns):
            c.close()
        for door in self.doors.values():
            door.close()
        self.doors.clear()
        self.ep.close()
