# SPDX-License-Identifier: BSD-3-Clause
"""What runs under ampsock-run: an ordinary Python program that knows nothing of it.

inside.py CASE ARG...: prints what the test looks for; an exception is a failure.
"""
import ctypes
import errno
import fcntl
import hashlib
import os
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

ANY = 0xFFFFFFFF
VSOCK, RPMSG, SEQ = 40, 65, socket.SOCK_SEQPACKET
MB = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)


def say(*what):
    print(*what, flush=True)


def eq(got, want):
    if got != want:
        raise AssertionError(f"{got!r}, not {want!r}")


def fails(err, fn, *args):
    try:
        got = fn(*args)
    except OSError as e:
        eq(errno.errorcode[e.errno], errno.errorcode[err])
        return
    raise AssertionError(f"{fn}: {got!r}, not {errno.errorcode[err]}")


def listener(port=0, kind=socket.SOCK_STREAM, backlog=16):
    s = socket.socket(VSOCK, kind)
    s.bind((ANY, port or ANY))
    s.listen(backlog)
    return s


def loop(kind=socket.SOCK_STREAM):
    """A connected pair through CID 1: client, server."""
    ls = listener(kind=kind)
    c = socket.socket(VSOCK, kind)
    c.connect((1, ls.getsockname()[1]))
    s, _ = ls.accept()
    ls.close()
    return c, s


def block(seed, n=MB):
    return hashlib.shake_128(str(seed).encode()).digest(n)


def pump(s, total):
    """Sends total bytes; returns their hash."""
    h, data = hashlib.sha256(), block(total)
    while total:
        part = data[:min(total, MB)]
        s.sendall(part)
        h.update(part)
        total -= len(part)
    return h.hexdigest()


def drain(s):
    """Receives to the end; returns bytes and hash."""
    h, n = hashlib.sha256(), 0
    while data := s.recv(1 << 16):
        h.update(data)
        n += len(data)
    return n, h.hexdigest()


def readable(s, timeout=10):
    return bool(select.select([s], [], [], timeout)[0])


def wait_gone(s):
    """Until it hangs up."""
    p = select.poll()
    p.register(s, select.POLLRDHUP)
    if not p.poll(10000):
        raise AssertionError("it does not hang up")


# ---- one process, CID 1 ----

def case_names():
    """names and kinds, as the program sees them"""
    ls = listener()
    port = ls.getsockname()[1]
    eq(ls.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), 1)
    c = socket.socket(VSOCK, socket.SOCK_STREAM)
    fails(errno.ENOTCONN, c.getpeername)
    fails(errno.ENOTCONN, c.shutdown, socket.SHUT_WR)
    eq(c.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE), socket.SOCK_STREAM)
    eq(c.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN), VSOCK)
    eq(c.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), 0)
    fails(errno.EINVAL, c.accept)
    fails(errno.ENOTCONN, c.recv, 1)
    fails(errno.ENOTCONN, os.read, c.fileno(), 1)
    fails(errno.ENOTCONN, c.send, b"x")
    fails(errno.ENOTCONN, os.write, c.fileno(), b"x")
    fails(errno.EAGAIN, c.recvmsg, 1, 99, socket.MSG_ERRQUEUE)
    fails(errno.ENOTCONN, ls.recv, 1)
    c.connect((1, port))
    s, who = ls.accept()
    eq(c.getpeername(), (1, port))
    eq(who, c.getsockname())
    eq(s.getpeername(), c.getsockname())
    fails(errno.EISCONN, c.connect, (1, port))
    other = socket.socket(VSOCK, socket.SOCK_STREAM)
    fails(errno.EADDRINUSE, other.bind, (ANY, port))
    fails(errno.EADDRNOTAVAIL, other.bind, (77, 5))
    fails(errno.ENOPROTOOPT, other.setsockopt, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    eq(other.fileno() >= 3, True)
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    eq(plain.getsockname(), "")
    fails(errno.ESOCKTNOSUPPORT, socket.socket, VSOCK, socket.SOCK_DGRAM)
    # a name is free again when its listener is gone, however it went
    os.close(ls.detach())
    other.bind((ANY, port))
    eq(other.getsockname()[1], port)
    for _ in range(200):
        other.close()
        other = socket.socket(VSOCK, socket.SOCK_STREAM)
        other.bind((ANY, port))
        other.listen()


def case_connect():
    """refused, in progress, and again on the same descriptor"""
    ls = listener()
    port = ls.getsockname()[1]
    gone = listener()
    nobody = gone.getsockname()[1]
    gone.close()
    c = socket.socket(VSOCK, socket.SOCK_STREAM)
    for _ in range(3):
        fails(errno.ECONNREFUSED, c.connect, (1, nobody))
    c.connect((1, port))
    ls.accept()[0].close()
    wait_gone(c)
    eq(c.recv(5), b"")
    n = socket.socket(VSOCK, socket.SOCK_STREAM)
    n.setblocking(False)
    eq(n.connect_ex((1, nobody)) in (errno.EINPROGRESS, errno.ECONNREFUSED), True)
    eq(n.connect_ex((1, port)) in (0, errno.EINPROGRESS, errno.ECONNREFUSED), True)
    eq(select.select([], [n], [], 20)[1], [n])
    n.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    m = socket.socket(VSOCK, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    fails(errno.EAGAIN, ls.accept) if not ls.setblocking(False) and not readable(ls, 0) else ls.accept()
    m.connect_ex((1, port))
    eq(select.select([], [m], [], 20)[1], [m])
    eq(m.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0)
    eq(readable(ls), True)
    s, _ = ls.accept()
    m.send(b"first")
    eq(readable(s), True)
    eq(s.recv(99), b"first")


def case_poll():
    """poll, select and epoll on ours mixed with ordinary descriptors"""
    ls = listener()
    r, w = os.pipe()
    a, b = socket.socketpair()
    sel = selectors.EpollSelector()
    for f in (ls, r, a):
        sel.register(f, selectors.EVENT_READ)
    eq(sel.select(0), [])
    c = socket.socket(VSOCK, socket.SOCK_STREAM)
    c.connect((1, ls.getsockname()[1]))
    eq([k.fileobj for k, _ in sel.select(10)], [ls])
    s, _ = ls.accept()
    eq(sel.select(0), [])
    sel.register(s, selectors.EVENT_READ)
    os.write(w, b"x")
    eq([k.fileobj for k, _ in sel.select(10)], [r])
    os.read(r, 1)
    c.send(b"ours")
    eq([k.fileobj for k, _ in sel.select(10)], [s])
    b.send(b"unix")
    eq(sorted(k.fd for k, _ in sel.select(10)), sorted([s.fileno(), a.fileno()]))
    eq((s.recv(9), a.recv(9)), (b"ours", b"unix"))
    p = select.poll()
    p.register(s, select.POLLIN | select.POLLOUT | select.POLLRDHUP)
    eq(p.poll(0), [(s.fileno(), select.POLLOUT)])
    c.shutdown(socket.SHUT_WR)
    p.modify(s, select.POLLIN | select.POLLRDHUP)
    got = p.poll(10000)[0][1]
    eq(got & (select.POLLIN | select.POLLRDHUP), select.POLLIN | select.POLLRDHUP)
    eq(s.recv(9), b"")
    s.send(b"still")
    eq(select.select([c, r], [], [], 20)[0], [c])
    eq(c.recv(9), b"still")
    p = select.epoll()
    p.register(c, select.EPOLLIN | select.EPOLLET)
    eq(p.poll(0), [])
    s.send(b"edge")
    eq(p.poll(10), [(c.fileno(), select.EPOLLIN)])
    eq(p.poll(0), [])


def case_ends():
    """half-close both ways, EPIPE, reset told once"""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    c, s = loop()
    c.sendall(b"ask")
    c.shutdown(socket.SHUT_WR)
    fails(errno.EPIPE, c.send, b"more")
    eq(drain(s)[0], 3)
    s.sendall(b"answer")
    s.close()
    eq(drain(c)[0], 6)
    c.close()
    c, s = loop()
    s.sendall(b"last words")
    eq(readable(c), True)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 1)  # {1, 0}: Python packs 64 bits for AF_VSOCK
    s.close()
    wait_gone(c)
    eq(c.recv(99), b"last words")
    fails(errno.ECONNRESET, c.recv, 99)
    eq(c.recv(99), b"")
    fails(errno.EPIPE, c.send, b"x")
    c, s = loop()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 1)
    s.close()
    wait_gone(c)
    eq(c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), errno.ECONNRESET)
    eq(c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0)
    eq(os.read(c.fileno(), 9), b"")


def case_messages():
    """seqpacket keeps its boundaries; too long is EMSGSIZE"""
    c, s = loop(SEQ)
    for n in (1, 100, 464, 465, 65536, 100000):
        c.send(block(n, n))
    for n in (1, 100, 464, 465, 65536, 100000):
        eq(s.recv(MB), block(n, n))
    fails(errno.EMSGSIZE, c.send, bytes(140000))
    fails(errno.EMSGSIZE, c.sendmsg, [bytes(70000), bytes(70000)])
    fails(errno.EMSGSIZE, os.write, c.fileno(), bytes(140000))
    c.send(b"long enough")
    data, _, flags, _ = s.recvmsg(4)
    eq((data, flags & socket.MSG_TRUNC), (b"long", socket.MSG_TRUNC))
    c.send(b"next")
    eq(s.recv(99, socket.MSG_PEEK), b"next")
    eq(s.recv(99), b"next")
    c.close()
    eq(s.recv(99), b"")


def case_fds():
    """dup, dup2, fcntl, close-on-exec, FIONREAD, readv and writev, sendfile, splice"""
    c, s = loop()
    d = os.dup(c.fileno())
    c2 = socket.socket(fileno=d)
    eq((c2.family, c2.getpeername()), (VSOCK, c.getpeername()))
    c.close()
    c2.send(b"dup")
    eq(s.recv(9), b"dup")
    r, w = os.pipe()
    os.close(r)
    os.dup2(c2.fileno(), w)
    os.write(w, b"dup2")
    eq(s.recv(9), b"dup2")
    f = fcntl.fcntl(w, fcntl.F_DUPFD, 200)
    eq(f >= 200, True)
    eq(socket.socket(fileno=os.dup(f)).getsockname(), c2.getsockname())
    os.close(w)
    c2.close()
    eq(os.writev(f, [b"a" * 10, b"b" * 10]), 20)
    eq(readable(s), True)
    buf = bytearray(4)
    fcntl.ioctl(s.fileno(), termios.FIONREAD, buf)
    eq(struct.unpack("i", buf)[0], 20)
    a, b = bytearray(15), bytearray(15)
    eq(os.readv(s.fileno(), [a, b]), 20)
    eq(bytes(a[10:] + b[:5]), b"b" * 10)
    eq(fcntl.fcntl(s.fileno(), fcntl.F_GETFD), fcntl.FD_CLOEXEC)
    eq(os.get_inheritable(f), True)
    with open(__file__, "rb") as me:
        want = me.read()
        size = len(want)
        eq(os.sendfile(f, me.fileno(), 0, size), size)
    eq(s.recv(size, socket.MSG_WAITALL), want)
    r, w = os.pipe()
    os.write(w, b"spliced")
    eq(os.splice(r, f, 7), 7)
    eq(s.recv(9), b"spliced")
    os.close(f)
    eq(s.recv(9), b"")
    x = [socket.socket(VSOCK, socket.SOCK_STREAM) for _ in range(3)]
    os.closerange(x[0].fileno(), x[2].fileno() + 1)
    for one in x:
        one.detach()
    n = os.open("/dev/null", os.O_RDWR)  # the numbers are ordinary ones again
    eq(os.write(n, b"x"), 1)
    eq(os.read(n, 1), b"")
    c, s = loop()
    s.settimeout(0.05)
    try:
        s.recv(1)
        raise AssertionError("no time-out")
    except TimeoutError:
        pass
    s.setblocking(False)
    fails(errno.EAGAIN, s.recv, 1)


def raw_connect(s, length):
    """connect() with so many bytes of an address: what it says."""
    addr = ctypes.create_string_buffer(struct.pack("<HHIII", VSOCK, 0, 1, 1, 0), 16)
    return ctypes.get_errno() if libc.connect(s.fileno(), addr, length) < 0 else 0


def case_abandoned():
    """a connect() that came to nothing before it began leaves no bytes for the peer"""
    for blocking in (True, False):
        ls = listener()
        c = socket.socket(VSOCK, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        eq(errno.errorcode[raw_connect(c, 1)], "EINVAL")
        c.setblocking(blocking)
        c.connect_ex((1, ls.getsockname()[1]))
        s, _ = ls.accept()
        eq(select.select([], [c], [], 20)[1], [c])
        c.sendall(b"mine")
        c.shutdown(socket.SHUT_WR)
        eq(drain(s), (4, hashlib.sha256(b"mine").hexdigest()))


def case_crowd():
    """threads that connect() the same socket at once: one connection, and no bytes but those that were sent"""
    ls = listener(backlog=64)
    addr = ctypes.create_string_buffer(struct.pack("<HHIII", VSOCK, 0, ls.getsockname()[1], 1, 0), 16)
    for _ in range(40):
        c = socket.socket(VSOCK, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        start, said = threading.Barrier(6), []

        def call():
            start.wait()
            said.append(ctypes.get_errno() if libc.connect(c.fileno(), addr, 16) < 0 else 0)
        threads = [threading.Thread(target=call) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        eq({errno.errorcode.get(e, e) for e in said} <= {0, "EINPROGRESS", "EALREADY", "EISCONN"}, True)
        eq(readable(ls), True)
        s, _ = ls.accept()
        eq(select.select([], [c], [], 20)[1], [c])
        c.setblocking(True)
        c.sendall(b"mine")
        c.shutdown(socket.SHUT_WR)
        eq(drain(s)[0], 4)
        s.close()
        c.close()


def case_parting(port):
    """sends what fills the other's descriptor and more, and waits to be killed"""
    ls = listener(int(port))
    say("ready")
    s, _ = ls.accept()
    s.sendall(block(7, 300000))
    buf = bytearray(4)
    while fcntl.ioctl(s.fileno(), termios.TIOCOUTQ, buf) == 0 and struct.unpack("i", buf)[0]:
        select.select([], [], [], 0.01)
    say("sent")
    sys.stdin.read()


def case_left_behind(cid, port):
    """its peer dies; it writes first, and reads then"""
    c = socket.socket(VSOCK, socket.SOCK_STREAM)
    c.connect((int(cid), int(port)))
    say("up")
    sys.stdin.readline()
    deadline = time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            c.send(b"x")
            select.select([], [], [], 0.01)
        raise AssertionError("its peer lives")
    except BrokenPipeError:
        pass
    got = b""
    try:
        while data := c.recv(65536):
            got += data
        raise AssertionError(f"an end in good order, after {len(got)} bytes")
    except ConnectionResetError:
        eq(len(got), 300000)
        eq(got, block(7, 300000))


def case_interrupted():
    """signals without end: connect() that does not block is not interrupted"""
    signal.signal(signal.SIGALRM, lambda *_: None)
    ls = listener(backlog=64)
    addr = ctypes.create_string_buffer(struct.pack("<HHIII", VSOCK, 0, ls.getsockname()[1], 1, 0), 16)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    for _ in range(300):
        c = socket.socket(VSOCK, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        err = ctypes.get_errno() if libc.connect(c.fileno(), addr, 16) < 0 else 0
        eq(err in (0, errno.EINPROGRESS), True)
        ls.accept()[0].close()
        c.close()
    signal.setitimer(signal.ITIMER_REAL, 0)


def case_numbers():
    """what a descriptor's number was, seen by nobody, does not cling to its next owner"""
    syscall = libc.syscall
    close_nr, dup3_nr = (3, 292) if os.uname().machine == "x86_64" else (57, 24)
    c, s = loop(SEQ)
    c.send(bytes(60000))  # how long a message may be was asked for
    eq(len(s.recv(MB)), 60000)
    fails(errno.EMSGSIZE, c.send, bytes(140000))
    n = c.detach()
    null = os.open("/dev/null", os.O_WRONLY)
    eq(syscall(dup3_nr, null, n, 0), n)
    eq(os.write(n, bytes(140000)), 140000)
    os.close(n)
    # a descriptor that comes by recvmmsg() is looked at anew
    a, b = socket.socketpair()
    c, s = loop()
    n = os.dup(0)
    eq(os.read(n, 1), b"")  # an ordinary one
    eq(syscall(close_nr, n), 0)
    socket.send_fds(a, [b"x"], [c.fileno()])
    control = ctypes.create_string_buffer(64)
    data = ctypes.create_string_buffer(8)
    iov = struct.pack("PN", ctypes.addressof(data), 8)
    iov = ctypes.create_string_buffer(iov, len(iov))
    msg = struct.pack("PIxxxxPNPNixxxxIxxxx", 0, 0, ctypes.addressof(iov), 1, ctypes.addressof(control), 64, 0, 0)
    msg = ctypes.create_string_buffer(msg, len(msg))
    eq(libc.recvmmsg(b.fileno(), msg, 1, 0, None), 1)
    eq(struct.unpack("<i", control.raw[16:20])[0], n)
    eq(socket.socket(VSOCK, socket.SOCK_STREAM, fileno=n).getpeername(), s.getsockname())


def case_vforked():
    """what a child does with its descriptors before exec is not true of its parent's"""
    c, s = loop()
    at = fcntl.fcntl(c.fileno(), fcntl.F_DUPFD, 0)
    saved = os.dup(0)
    os.dup2(at, 0)  # ours is 0 here, as under inetd
    eq(os.fstat(0).st_ino, os.fstat(c.fileno()).st_ino)
    s.send(b"a")
    eq(os.read(0, 9), b"a")
    null = os.open("/dev/null", os.O_RDONLY)
    eq(os.read(null, 1), b"")  # it was seen not to be ours
    subprocess.run(["true"], stdin=null, check=True)  # vfork(), dup2() to 0, exec
    mine = socket.socket(VSOCK, socket.SOCK_STREAM, fileno=0)
    eq(mine.getpeername(), s.getsockname())
    mine.detach()
    os.dup2(saved, 0)


def case_fork():
    """children share listeners and connections; exec passes them on"""
    ls = listener()
    port = ls.getsockname()[1]
    kids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            for _ in range(8):
                s, _ = ls.accept()
                s.sendall(b"%d" % os.getpid())
                s.close()
            os._exit(0)
        kids.append(pid)
    ls.close()
    seen = set()
    for _ in range(32):
        c = socket.socket(VSOCK, socket.SOCK_STREAM)
        c.connect((1, port))
        seen.add(int(c.makefile().read()))
        c.close()
    for pid in kids:
        eq(os.waitpid(pid, 0)[1], 0)
    eq(seen <= set(kids), True)
    c, s = loop()
    pid = os.fork()
    if pid == 0:
        c.close()
        n = socket.socket(VSOCK, socket.SOCK_STREAM)  # a child has the link, too
        fails(errno.ECONNREFUSED, n.connect, (1, port))
        s.sendall(b"from the child")
        os._exit(0)
    s.close()
    eq(drain(c)[0], 14)
    os.waitpid(pid, 0)
    c, s = loop()
    with s:
        kid = subprocess.Popen(["tr", "a-z", "A-Z"], stdin=s, stdout=s)
    c.sendall(b"exec passes it on")
    c.shutdown(socket.SHUT_WR)
    eq(c.makefile().read(), "EXEC PASSES IT ON")
    eq(kid.wait(), 0)
    left, right = socket.socketpair()
    c, s = loop()
    socket.send_fds(left, [b"x"], [s.fileno()])
    s.close()
    got = socket.socket(fileno=socket.recv_fds(right, 1, 1)[1][0])
    eq((got.family, got.getpeername()), (VSOCK, c.getsockname()))
    c.close()


def case_threads(threads, rounds):
    """each its own connections, all at once"""
    ls = listener(backlog=255)
    port = ls.getsockname()[1]
    bad = []

    def serve(s):
        try:
            with s:
                while data := s.recv(65536):
                    s.sendall(data)
        except OSError as e:
            bad.append(e)

    def accept():
        for _ in range(threads * rounds):
            threading.Thread(target=serve, args=(ls.accept()[0],), daemon=True).start()

    def ask(k):
        try:
            for i in range(rounds):
                c = socket.socket(VSOCK, socket.SOCK_STREAM)
                c.connect((1, port))
                data = block(f"{k}.{i}", 20000 + k)
                c.sendall(data)
                c.shutdown(socket.SHUT_WR)
                eq(drain(c), (len(data), hashlib.sha256(data).hexdigest()))
                c.close()
        except (OSError, AssertionError) as e:
            bad.append(e)

    all_of = [threading.Thread(target=accept)] + [threading.Thread(target=ask, args=(k,)) for k in range(threads)]
    for t in all_of:
        t.start()
    for t in all_of:
        t.join()
    eq(bad, [])


def case_pressure():
    """who does not read stops who writes, bounded; nothing is lost"""
    c, s = loop()
    c.setblocking(False)
    sent, data = 0, block(1)
    h = hashlib.sha256()
    # that it has stopped has no event; that it must not stop yet has
    while select.select([], [c], [], 1 if sent > MB // 8 else 20)[1]:
        n = c.send(data[sent % MB:])
        h.update(data[sent % MB:][:n])
        sent += n
    eq(MB // 8 < sent < 4 * MB, True)
    c.close()
    eq(drain(s), (sent, h.hexdigest()))


def case_closed_while_waiting():
    """accept() in one thread, shutdown() of the listener in another"""
    ls = listener()
    got = []

    def wait():
        try:
            ls.accept()
        except OSError as e:
            got.append(e.errno)
    t = threading.Thread(target=wait)
    t.start()
    ls.shutdown(socket.SHUT_RDWR)
    t.join(20)
    eq(got, [errno.EINVAL])


# ---- two sides of a link ----

def case_serve(port, total):
    """accepts one: takes all, then sends total bytes"""
    ls = listener(int(port))
    say("ready")
    s, _ = ls.accept()
    say(*drain(s))
    say(pump(s, int(total)))


def case_dial(cid, port, total):
    c = socket.socket(VSOCK, socket.SOCK_STREAM)
    c.connect((int(cid), int(port)))
    say(pump(c, int(total)))
    c.shutdown(socket.SHUT_WR)
    say(*drain(c))


def case_blurt(cid, port, total, how):
    """writes and is gone"""
    c = socket.socket(VSOCK, socket.SOCK_STREAM)
    c.connect((int(cid), int(port)))
    say(pump(c, int(total)))
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)


def case_slow(port):
    """reads only when told to"""
    ls = listener(int(port))
    say("ready")
    s, _ = ls.accept()
    sys.stdin.readline()
    say(*drain(s))


def case_orphan(cid, port):
    """connected, then the other side dies"""
    c = socket.socket(VSOCK, socket.SOCK_STREAM)
    c.connect((int(cid), int(port)))
    ls = listener(4000)
    say("up")
    p = select.poll()
    p.register(c, select.POLLIN)
    eq(len(p.poll(20000)), 1)
    fails(errno.ECONNRESET, c.recv, 9)
    eq(c.recv(9), b"")
    say("told")
    c.close()
    # the link comes again, and the listener is still there
    s, _ = ls.accept()
    say(s.recv(99, socket.MSG_WAITALL).decode())


# ---- AF_RPMSG: Python has no address of that family ----

def rp(name, addr=ANY, link=0xFFFF):
    return struct.pack("<HHI32s", RPMSG, link, addr, name.encode())


def call(fn, *args):
    r = fn(*args)
    if r < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return r


def rsocket(kind, name=None):
    s = socket.socket(RPMSG, kind)
    if name:
        call(libc.bind, s.fileno(), rp(name), 40)
    return s


def raccept(ls):
    addr, length = ctypes.create_string_buffer(40), ctypes.c_uint(40)
    fd = call(libc.accept4, ls.fileno(), addr, ctypes.byref(length), socket.SOCK_CLOEXEC)
    eq(struct.unpack("<H", addr.raw[:2])[0], RPMSG)
    return socket.socket(fileno=fd)


def case_rserve(kind, name):
    kind = int(kind)
    s = rsocket(kind, name)
    if kind == socket.SOCK_DGRAM:
        say("ready")
        while True:
            buf = ctypes.create_string_buffer(600)
            addr, length = ctypes.create_string_buffer(40), ctypes.c_uint(40)
            n = call(libc.recvfrom, s.fileno(), buf, 600, 0, addr, ctypes.byref(length))
            if n == 0:
                return
            call(libc.sendto, s.fileno(), buf.raw[:n][::-1], n, 0, addr, length.value)
    s.listen(4)
    say("ready")
    c = raccept(s)
    eq(c.family, RPMSG)
    while data := c.recv(65536):
        c.sendall(data)
    if kind == SEQ:  # whose peer's end is the link's, and takes unread messages along
        c.sendall(b"heard")
        fails(errno.ECONNRESET, c.recv, 9)


def case_rdial(kind, name):
    kind = int(kind)
    s = rsocket(kind)
    call(libc.connect, s.fileno(), rp(name), 40)
    if kind == socket.SOCK_STREAM:
        data = block("stream", MB)
        t = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
        t.start()
        eq(drain(s), (MB, hashlib.sha256(data).hexdigest()))
        t.join()
        return
    for k in range(200):
        data = block(k, 1 + k * 37 % 496)
        s.send(data)
        eq(s.recv(600), data[::-1] if kind == socket.SOCK_DGRAM else data)
    if kind == SEQ:
        fails(errno.EMSGSIZE, s.send, bytes(497))
    else:
        s.send(bytes(497))
        fails(errno.EMSGSIZE, s.recv, 600)
    s.send(b"")
    if kind == SEQ:
        eq(s.recv(9), b"heard")


# ---- AF_INET, carried to the proxy ----

def case_udp(host, port):
    """a server that echoes: connected and not, addresses, truncation, refused"""
    to = (host, int(port))
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for n in (0, 1, 1400, 9000):
        s.sendto(block(n, n), to)
        eq(readable(s), True)
        eq(s.recvfrom(65536), (block(n, n), to))
    s.sendto(b"twelve bytes", to)
    eq(readable(s), True)
    buf = bytearray(4)
    fcntl.ioctl(s.fileno(), termios.FIONREAD, buf)
    eq(struct.unpack("i", buf)[0], 12)
    data, _, flags, who = s.recvmsg(6)
    eq((data, flags & socket.MSG_TRUNC, who), (b"twelve", socket.MSG_TRUNC, to))
    s.connect(to)
    eq(s.getpeername(), to)
    eq(s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE), socket.SOCK_DGRAM)
    s.send(b"connected")
    eq(os.read(s.fileno(), 99), b"connected")
    fails(errno.EMSGSIZE, s.send, bytes(70000))
    s.setblocking(False)
    fails(errno.EAGAIN, s.recv, 9)


def case_udp_gone(host, port):
    """the proxy dies: each error is told once; it comes again: the socket works"""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((host, int(port)))
    s.send(b"one")
    eq(s.recv(9), b"one")
    say("up")
    fails(errno.ECONNRESET, s.recv, 9)
    told, p = 0, select.poll()
    p.register(s, select.POLLIN)
    while p.poll(2000):
        fails(errno.ENETUNREACH, s.recv, 9)
        told += 1
        eq(told, 1)
    say("told")
    sys.stdin.readline()
    s.settimeout(0.2)
    deadline, got = time.monotonic() + 30, b""
    while got != b"two":
        eq(time.monotonic() < deadline, True)
        try:
            s.send(b"two")
            got = s.recv(9)
        except OSError:
            p.poll(50)


def case_tcp_errors(closed, denied):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    fails(errno.ECONNREFUSED, s.connect, ("127.0.0.1", int(closed)))
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    fails(errno.EACCES, s.connect, ("127.0.0.1", int(denied)))
    n = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    n.setblocking(False)
    eq(n.connect_ex(("127.0.0.1", int(closed))), errno.EINPROGRESS)
    eq(n.connect_ex(("127.0.0.1", int(closed))) in (errno.EALREADY, errno.ECONNREFUSED), True)
    p = select.poll()
    p.register(n, select.POLLOUT)
    eq(len(p.poll(10000)), 1)
    eq(n.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, errno.ECONNREFUSED), True)
    n.close()
    n = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    fails(errno.EACCES, n.connect, ("::1", int(denied)))


def case_in_progress(port):
    """not writable before it is connected; then at once, and again on the same descriptor"""
    for _ in range(20):
        n = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        n.setblocking(False)
        eq(n.connect_ex(("127.0.0.1", int(port))), errno.EINPROGRESS)
        ep = select.epoll()
        ep.register(n, select.EPOLLOUT | select.EPOLLET)
        eq(ep.poll(10), [(n.fileno(), select.EPOLLOUT)])
        eq(n.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0)
        n.setblocking(True)
        n.sendall(b"hello")
        n.shutdown(socket.SHUT_WR)
        eq(drain(n)[0], 5)
        n.close()


def case_names_of(name, port):
    got = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    say([x[4][0] for x in got])
    eq(socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)[0][4], ("127.0.0.1", 80))
    try:
        socket.getaddrinfo("no.such.name.invalid", 80)
        raise AssertionError("it resolves")
    except socket.gaierror as e:
        say(e)


def case_inet_serve(port, count):
    """echoes count connections"""
    ls = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    ls.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ls.bind(("127.0.0.1", int(port)))
    ls.listen(16)
    say("ready", *ls.getsockname())
    for _ in range(int(count)):
        eq(readable(ls), True)
        s, who = ls.accept()
        eq(s.getpeername(), who)
        while data := s.recv(65536):
            s.sendall(data)
        s.close()


if __name__ == "__main__":
    case = sys.argv[1]
    if case == "threads":
        case_threads(int(sys.argv[2]), int(sys.argv[3]))
    else:
        globals()["case_" + case](*sys.argv[2:])
