#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""The production topology: Linux is the rpmsg host, ampsock-proxy runs there over its character
devices, and sockets of the remote are real TCP and UDP of that Linux."""
import errno
import hashlib
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from rpmsg import RPMSG, TIMEOUT, Machine, Shared, alone, eq, main, name, until  # noqa: E402
from guest import DGRAM, IN, INET, INET6, STREAM, fails, pattern  # noqa: E402

LOOP = "127.0.0.1"
MB = 1 << 20
RULES = ("--allow 'out tcp local:any' --allow 'out udp local:any' --allow 'out tcp here:any' --allow 'in tcp local:any' --allow 'in udp local:any' "
         "--publish 'tcp 127.0.0.1:8081 -> inet:80' --publish 'tcp 127.0.0.1:8082 -> rpmsg:web' "
         "--publish 'udp 127.0.0.1:8083 -> rpmsg:raw' --expose 'rpmsg:files -> tcp 127.0.0.1:80'")


class Topology(Machine):
    """With servers in the guest, and a proxy that can be killed and started."""

    def __init__(self, proxy=True, **kw):
        super().__init__(proxy=True, **kw)
        self.p = None
        if proxy:
            self.start_proxy()

    def prepare(self):
        super().prepare()
        self.g.run("mkdir -p /etc /tmp/www; seq 50000 >/tmp/www/big; echo hello >/tmp/www/index.html;"
                   "echo 127.0.0.1 localhost here >/etc/hosts; echo hosts: files >/etc/nsswitch.conf;"
                   "httpd -p 127.0.0.1:80 -h /tmp/www")
        # cat, for socat's PIPE is full before its only reader, socat itself, reads it: it waits for ever
        self.servers = [self.g.go(f"exec socat -t {TIMEOUT} {a} {b}") for a, b in (
            ("TCP-LISTEN:7,bind=127.0.0.1,fork,reuseaddr,backlog=64", "EXEC:cat"),
            ("TCP6-LISTEN:7,bind=[::1],ipv6only=1,fork,reuseaddr", "EXEC:cat"),
            ("UDP-RECVFROM:7,bind=127.0.0.1,fork", "PIPE"))]
        self.g.run("for a in 127.0.0.1:7 [::1]:7 127.0.0.1:80; do"
                   " while ! socat -u /dev/null TCP:$a 2>/dev/null; do sleep 0.05; done; done")

    def start_proxy(self):
        self.p = self.g.go(f"exec ampsock-proxy --verbose --link rpmsg-char:/dev/rpmsg_ctrl0,name=g {RULES} --ready-fd 3 3>&1")
        self.p.expect("\n")

    def change_remote(self, kind=None):
        """It is killed, and the next one comes."""
        seen = self.p.err.count(b"remote detached")
        self.r.kill()
        self.p.until(lambda: self.p.err.count(b"remote detached") > seen, "the proxy sees that the remote is gone", TIMEOUT)
        self.kind = kind or self.kind
        self.start_remote()
        self.attach()
        # the kernel warns of the messages that it could not send to who has gone
        self.g.lines[:] = [x for x in self.g.lines if "virtio_uml.c" not in x]

    def carrier(self):
        """Waits until AF_INET works: the proxy has found the front door and told its services. A guest that is slow right
        then may answer too late for the remote, whose next session has another try."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            s = self.r.socket()
            s.timeout(21, TIMEOUT)
            try:
                s.connect((LOOP, 7))
                return
            except OSError as e:
                if e.errno not in (errno.ETIMEDOUT, errno.ECONNRESET) or time.monotonic() > deadline:
                    raise
            finally:
                s.close()

    def endpoints(self):
        return int(self.g.run("ls /sys/class/rpmsg | grep -c 'rpmsg[0-9]'; true"))

    def stop(self):
        if self.p:
            self.p.kill(15)
            eq(self.p.wait(), 0)
            eq(self.endpoints(), 0)
        super().stop()

    def kill(self):
        if self.p:
            print("\n".join("# proxy: " + x for x in self.p.err.decode(errors="replace").splitlines()[-30:]))
        super().kill()


shared = Shared(Topology)


def fetch(m, path, addr=(LOOP, 80), family=INET):
    """The body of a file of the guest's web server, by a socket of the remote."""
    s = m.r.tcp(addr, family)
    s.send(b"GET /%s HTTP/1.0\r\n\r\n" % path.encode())
    got = b""
    while part := s.recv(timeout=TIMEOUT):
        got += part
    s.close()
    head, _, body = got.partition(b"\r\n\r\n")
    assert b" 200 " in head, head
    return body


def echo(m, total=1000, addr=(LOOP, 7), family=INET, seed=0):
    s = m.r.tcp(addr, family)
    a, b = s.pump(total, seed), s.drain(total, seed)
    a.get(120)
    b.get(120)
    eq(b.words, [str(total), "-1"])
    s.shutdown(1)
    eq(s.recv(timeout=TIMEOUT), b"")
    s.close()


@shared
def tcp(m):
    """AF_INET and AF_INET6 of the remote: a page, a file by its hash, an echo, half-close, refused"""
    m.carrier()
    eq(fetch(m, ""), b"hello\n")
    eq(hashlib.sha256(fetch(m, "big")).hexdigest(), m.g.run("sha256sum </tmp/www/big").split()[0])
    echo(m, MB)
    echo(m, 1000, ("::1", 7), INET6)
    fails(errno.ECONNREFUSED, m.r.tcp, (LOOP, 9))
    fails(errno.EACCES, m.r.tcp, ("192.0.2.1", 9))


@shared
def names(m):
    """getaddrinfo asks the guest's resolver"""
    eq(set(m.r.getaddrinfo("here", "7", INET, STREAM)), {(LOOP, 7)})


@shared
def many(m):
    """40 connections at once, each echoed, and no endpoint is left"""
    s = m.r.tcp((LOOP, 7))  # which brings the control carrier, that stays
    with_one = m.endpoints()
    s.close()
    until(lambda: m.endpoints() < with_one, "an endpoint less")
    idle = m.endpoints()
    socks = [m.r.tcp((LOOP, 7)) for _ in range(40)]
    jobs = [(s.pump(20000, i), s.drain(20000, i)) for i, s in enumerate(socks)]
    for a, b in jobs:
        a.get(120)
        b.get(120)
        eq(b.words, ["20000", "-1"])
    for s in socks:
        s.close()
    until(lambda: m.endpoints() == idle, f"{idle} endpoints")


@shared
def udp(m):
    """datagrams: offloaded, connected and refused; published ones are rpmsg messages"""
    s = m.r.socket(INET, DGRAM)
    for n in (1, 200, 1400):
        s.sendto(pattern(n, n), (LOOP, 7))
        _, data, who, _ = s.recvmsg()
        eq((data, who), (pattern(n, n), (LOOP, 7)))
    s.close()
    raw = m.r.socket(RPMSG, DGRAM).bind(name("raw"))
    m.service("raw")
    # until the proxy has looked for the name, what comes is lost; each that arrives is answered, however late
    c = m.g.go("while sleep 0.2; do echo hello; done | socat - UDP:127.0.0.1:8083 | grep -m 1 'you too'")
    while not c.ended():
        if m.r.poll(0.2, (raw, IN))[0]:
            _, data, who, _ = raw.recvmsg()
            eq(data.replace(b"hello\n", b""), b"")  # one or, where socat was held up, some
            raw.sendto(b"you too\n", who)
    c.ok()
    raw.close()


@shared
def listen(m):
    """the remote's listeners: published, offloaded with a port of the guest's, and rpmsg's"""
    ls = m.r.socket().bind(("0.0.0.0", 80)).listen()
    c = m.g.go("echo GET | socat -t 20 - TCP:127.0.0.1:8081")
    s, who = ls.accept()
    eq(who[0], LOOP)
    eq(s.recvall(4), b"GET\n")
    eq(s.recv(), b"")
    s.send(b"published\n")
    s.close()
    eq(c.ok(), "published\n")
    ls.close()
    ls = m.r.socket().bind((LOOP, 0)).listen()
    c = m.g.go(f"head -c 100000 /tmp/www/big | socat -t 20 - TCP:127.0.0.1:{ls.name()[1]} | sha256sum")
    s, _ = ls.accept()
    got = b""
    while part := s.recv():
        got += part
    s.sendall(got)
    s.close()
    eq(c.ok(), m.g.run("head -c 100000 /tmp/www/big | sha256sum"))
    ls.close()
    web = m.listener("web", STREAM)
    m.service("web~s")
    # until the proxy has looked for the name, who comes is reset
    c = m.g.go("while ! socat -u TCP:127.0.0.1:8082 - | grep 'by name'; do sleep 0.1; done")
    s, _ = web.accept()
    s.send(b"by name\n")
    s.close()
    c.ok()
    web.close()


@shared
def expose(m):
    """a service of the proxy: the guest's web server by an rpmsg name"""
    s = m.r.socket(RPMSG, STREAM)
    s.connect(name("files"))
    s.send(b"GET / HTTP/1.0\r\n\r\n")
    got = b""
    while part := s.recv():
        got += part
    assert got.endswith(b"\r\n\r\nhello\n"), got
    s.close()


@shared
def proxy_killed(m):
    """kill -9: ECONNRESET once, and the next one sweeps and serves; in the middle of a transfer"""
    m.change_remote("san")  # which is to miss its answers soon
    for i in range(4):
        m.carrier()
        s = m.r.tcp((LOOP, 7))
        s.send(b"abc")
        eq(s.recvall(3), b"abc")
        busy = m.r.tcp((LOOP, 7))
        pump, drain = busy.pump(64 * MB), busy.drain(64 * MB)
        until(lambda: busy.readable() >= 0 and not pump.done.is_set(), "a transfer")
        waits = s.go_recv()
        m.p.kill()
        m.p.wait()
        m.start_proxy()
        fails(errno.ECONNRESET, waits.get)
        eq(s.recv(), b"")
        pump.wait()  # one of the two is told; neither has all
        drain.wait()
        assert -1 in (pump.ret, drain.ret) and int(drain.words[0]) < 64 * MB, (pump.words, drain.words)
        eq(drain.words[1], "-1")
        s.close()
        busy.close()
        m.carrier()
        echo(m, 100000, seed=i)
        eq(fetch(m, ""), b"hello\n")


@shared
def remote_restarts(m):
    """the remote is killed in a transfer and started again: the same proxy serves the new one"""
    for i in range(3):
        m.carrier()
        ls = m.r.socket().bind(("0.0.0.0", 80)).listen()
        c = m.g.go("socat - TCP:127.0.0.1:8081")
        s, _ = ls.accept()
        s.send(b"there\n")
        c.expect("there")
        busy = m.r.tcp((LOOP, 7))
        busy.pump(64 * MB)
        drain = busy.drain(64 * MB)
        until(lambda: not drain.done.is_set(), "a transfer")
        m.change_remote("patient")
        c.wait()  # the client hears of it
        echo(m, 100000, seed=i)


@shared
def last(m):
    """nothing is left: no endpoint, no complaint of the kernel, the remote or the proxy"""
    eq(m.r.stats()["rx_bad"], 0)
    shared.end()


@alone
def orders(_make):
    """remote, Linux and proxy come in every order that there is"""
    m = Topology(remote=False, proxy=False)
    try:
        m.start_proxy()  # no control device yet
        m.p.expect("waiting: /dev/rpmsg_ctrl0: ")
        m.start_remote()
        m.attach()
        echo(m)
        m.p.kill(15)
        eq(m.p.wait(), 0)
        m.start_proxy()  # the front door has long been announced
        echo(m)
        m.p.kill(15)
        eq(m.p.wait(), 0)
        waits = m.r.socket()  # a connect that waits for a proxy
        waits.nonblock()
        fails(errno.EINPROGRESS, waits.connect, (LOOP, 7))
        m.start_proxy()
        waits.wait(4)
        eq(waits.error(), 0)
        waits.close()
        m.stop()
    except BaseException:
        m.kill()
        raise


if __name__ == "__main__":
    main()
