#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""Linux's own rpmsg bus and our remote: an unmodified kernel is the host, our process its core."""
import errno
import hashlib
import itertools
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from rpmsg import TIMEOUT, Machine, Shared, alone, eq, main, name  # noqa: E402
from guest import DGRAM, RPMSG, SEQPACKET, fails, pattern  # noqa: E402

KIB = 1 << 10
shared = Shared(Machine)


def text_sha(data):
    return hashlib.sha256(data).hexdigest()


def raw_channel(m):
    """A service called rpmsg-raw: the listener here, the device there."""
    ls = m.listener("rpmsg-raw")
    addr = m.service("rpmsg-raw")
    return ls, m.node(f"virtio0.rpmsg-raw.-1.{addr}")


@shared
def raw(m):
    """a service called rpmsg-raw is /dev/rpmsgN by itself: messages both ways, one opener"""
    ls, dev = raw_channel(m)
    echo = m.g.go(f"chardev echo {dev} 3")
    echo.expect("^open$")
    eq(m.g.go(f"chardev send {dev} 1").wait(), 1)  # EBUSY
    echo.kill()
    echo.wait()
    m.g.run(f"chardev send {dev} 10")
    s, who = ls.accept()
    eq(s.recv(), pattern(0, 10))
    assert who[1] >= 1024, who
    echo = m.g.go(f"chardev echo {dev} 3")
    echo.expect("^open$")
    for n in (1, 17, 496):
        s.send(pattern(n, n))
        eq(s.recv(), pattern(n, n))
    echo.ok()
    s.close()
    ls.close()
    m.gone("rpmsg-raw")
    eq(m.g.go(f"chardev send {dev} 1").wait(), 1)  # ENXIO: the device is gone
    # a reader is woken by that: EPIPE
    ls, dev = raw_channel(m)
    hold = m.g.go(f"chardev hold {dev}")
    hold.expect("^open$")
    ls.close()
    hold.ok()


@shared
def event_index(m):
    """the kernel's rings have the event index (VIRTIO_F_EVENT_IDX, 29) in all that follows"""
    eq(m.g.run("cat /sys/bus/virtio/devices/virtio0/features").strip()[29], "1")


@shared
def create_ept(m):
    """RPMSG_CREATE_EPT_IOCTL: an endpoint with addresses of the program's choice"""
    ls = m.listener("svc")
    dev = m.endpoint("mine", 5000, m.service("svc"))
    m.g.run(f"chardev send {dev} 20")
    s, who = ls.accept()
    eq(who[1], 5000)
    eq(s.recv(), pattern(0, 20))
    sha = m.sink(dev, 100)
    s.send(pattern(3, 100))
    eq(sha(), text_sha(pattern(3, 100)))
    # who does not listen is nobody's: counted here, not an error there
    other = m.endpoint("other", 5001, 9999)
    before = m.r.stats()["rx_bad"]
    m.g.run(f"chardev send {other} 5")
    eq(m.r.stats()["rx_bad"], before)
    m.g.run(f"chardev unept {dev}; chardev unept {other}")
    s.close()
    ls.close()
    m.gone("svc")


@shared
def limits(m):
    """496 bytes are a message, 497 are EMSGSIZE, on both sides"""
    ls = m.listener("svc")
    dev = m.endpoint("limits", 5000, m.service("svc"))
    m.g.run(f"chardev send {dev} 496")
    s, _ = ls.accept()
    eq(s.recv(), pattern(0, 496))
    job = m.g.go(f"chardev send {dev} 497")
    eq(job.wait(), 1)
    assert b"Message too long" in job.err, job
    fails(errno.EMSGSIZE, s.send, bytes(497))
    get = m.g.go(f"chardev recv {dev} 496")
    get.expect("^open$")
    s.send(pattern(9, 496))
    get.wait()
    eq(bytes(get.out), b"open\n" + pattern(9, 496))
    m.g.run(f"chardev unept {dev}")
    s.close()
    ls.close()
    m.gone("svc")


@shared
def names(m):
    """the name service, both ways: announced and withdrawn, as often as one likes"""
    longest = "n" * 31
    for text in ("alpha", longest, "alpha"):
        ls = m.listener(text)
        eq(m.service(text), ls.name()[1])
        ls.close()
        m.gone(text)
    socks = [m.listener(f"many{i}") for i in range(40)]
    for i, ls in enumerate(socks):
        eq(m.service(f"many{i}"), ls.name()[1])
    for ls in socks:
        ls.close()
    for i in range(40):
        m.gone(f"many{i}")
    # the kernel's: a channel with an address of its own is announced
    for _ in range(3):
        waits = m.r.socket(RPMSG, SEQPACKET)
        later = waits.go_connect(name("rpmsg-raw"))
        m.g.run("chardev dev /dev/rpmsg_ctrl0 rpmsg-raw 3000 77")
        later.get()
        eq(waits.name(peer=True)[1], 3000)
        dev = m.node("virtio0.rpmsg-raw.3000.77")
        get = m.g.go(f"chardev recv {dev} 5")
        get.expect("^open$")
        waits.send(b"hello")
        get.wait()
        eq(bytes(get.out), b"open\nhello")
        m.g.run("chardev undev /dev/rpmsg_ctrl0 rpmsg-raw 3000 77")
        eq(waits.recv(), b"")  # withdrawn
        waits.close()


@shared
def tty(m):
    """rpmsg_tty: a terminal over a service called rpmsg-tty"""
    ls = m.listener("rpmsg-tty")
    m.service("rpmsg-tty")
    m.g.run("cd /sys/class/tty; while ! [ -e ttyRPMSG0 ]; do sleep 0.05; done;"
            "[ -e /dev/ttyRPMSG0 ] || mknod /dev/ttyRPMSG0 c $(tr : ' ' <ttyRPMSG0/dev);"
            "stty raw -echo </dev/ttyRPMSG0")
    term = m.g.go("exec 3<>/dev/ttyRPMSG0; stty raw -echo <&3; echo hello >&3; head -n 2 <&3")
    s, _ = ls.accept()
    eq(s.recv(), b"hello\n")
    s.send(b"first line\nsecond ")
    s.send(b"line\n")
    eq(term.ok(), "first line\nsecond line\n")
    # more than a buffer is several messages
    m.g.run("yes 0123456789abcde | head -c 1024 >/tmp/t")
    m.g.go("exec 3<>/dev/ttyRPMSG0; stty raw -echo <&3; dd if=/tmp/t bs=1024 >&3 2>/dev/null")
    got = b""
    while len(got) < 1024:
        got += s.recv()
    eq(got, b"0123456789abcde\n" * 64)
    s.close()
    ls.close()
    m.gone("rpmsg-tty")


@shared
def client_sample(m):
    """the kernel's own sample driver: a hundred messages, ping-pong"""
    m.g.run("insmod /lib/rpmsg_client_sample.ko")
    ls = m.listener("rpmsg-client-sample")
    s, _ = ls.accept()
    for i in range(100):
        eq(s.recv(), b"hello world!")
        s.send(b"%d" % i)
    m.g.run("while ! dmesg | grep -q 'rpmsg-client-sample.*goodbye!'; do sleep 0.05; done")
    eq(m.g.run("dmesg | grep -c 'rpmsg-client-sample.*incoming msg'").strip(), "100")
    s.close()
    ls.close()
    m.gone("rpmsg-client-sample")
    m.g.run("rmmod rpmsg_client_sample")


def flood_bytes(count):
    """What `chardev flood` sends."""
    lens = [496 if i % 4 == 0 else 1 + i * 7 % 496 for i in range(count)]
    return b"".join(pattern(at, n) for at, n in zip(itertools.accumulate(lens, initial=0), lens))


@shared
def flood(m):
    """thousands of messages of all lengths there and back at once, and a megabyte to the kernel"""
    count = 4000
    ls = m.listener("flood")
    dev = m.endpoint("flood", 5000, m.service("flood"))
    serve = m.r.go("serve", ls.fd, 1)
    out = m.g.go(f"chardev flood {dev} {count} 24 | sha256sum").ok(120)
    eq(out.split()[0], text_sha(flood_bytes(count)))
    serve.get()
    m.g.run(f"chardev send {dev} 0; chardev unept {dev}")  # an empty message ends the echo
    ls.close()
    m.gone("flood")
    # one way, as fast as it goes: the kernel queues without a bound
    total = 2 * KIB * 496
    ls = m.listener("flood")
    dev = m.endpoint("sink", 5001, m.service("flood"))
    m.g.run(f"chardev send {dev} 1")
    s, _ = ls.accept()
    s.recv()
    sha = m.sink(dev, total)
    s.pump(total, 0, 496).get(60)
    eq(sha(), text_sha(b"".join(pattern(i * 496, 496) for i in range(2 * KIB))))
    m.g.run(f"chardev unept {dev}")
    s.close()
    ls.close()
    m.gone("flood")


@shared
def no_reader(m):
    """a raw socket that nobody reads is told of what it lost, and the bus goes on"""
    kept = 262144 // (8 + 496)  # what a receive ring has room for (src/port/hosted_config.h)
    ls, other = m.listener("slow"), m.listener("quick")
    dev = m.endpoint("slow", 5000, m.service("slow"))
    quick = m.endpoint("quick", 5001, m.service("quick"))
    m.g.run(f"chardev pour {dev} {kept + 8} 496")
    s, _ = ls.accept()
    m.g.run(f"chardev send {quick} 7")
    q, _ = other.accept()
    eq(q.recv(), pattern(0, 7))
    for _ in range(kept):
        eq(s.recv(), pattern(0, 496))
    fails(errno.ENOBUFS, s.recv)
    m.g.run(f"chardev unept {dev}; chardev unept {quick}")
    for x in (s, q, ls, other):
        x.close()
    m.gone("slow")
    m.gone("quick")


@shared
def driver_unbound(m):
    """the kernel's driver is taken off the device and bound again, many times"""
    ls, d = m.listener("again"), m.r.socket(RPMSG, DGRAM).bind(name("d"))
    for i in range(10):
        dev = m.endpoint("again", 5000 + i, m.service("again"))
        m.g.run(f"chardev send {dev} 3")
        s, _ = ls.accept()
        eq(s.recv(), pattern(0, 3))
        hold = m.g.go(f"chardev hold {dev}")
        hold.expect("^open$")
        m.g.run("echo virtio0 >/sys/bus/virtio/drivers/virtio_rpmsg_bus/unbind")
        hold.ok()
        fails(errno.ECONNRESET, s.recv)
        eq(s.recv(), b"")
        s.close()
        m.forget()
        m.g.run("echo virtio0 >/sys/bus/virtio/drivers/virtio_rpmsg_bus/bind")
    eq(m.service("d"), d.name()[1])
    d.close()
    ls.close()
    m.gone("again")


@shared
def last(m):
    """the kernel has complained of nothing, the remote of no lie"""
    eq(m.r.stats()["rx_bad"], 0)
    shared.end()


@alone
def guest_reboots(make):
    """killed and booted again: ECONNRESET once, listeners are announced anew"""
    m = make()
    ls, d = m.listener("svc"), m.r.socket(RPMSG, DGRAM).bind(name("d"))
    late = None
    for i in range(2):
        dev = m.endpoint("e", 5000, m.service("svc"))
        m.g.run(f"chardev send {dev} 3")
        s, _ = ls.accept()
        eq(s.recv(), pattern(0, 3))
        waits = s.go_recv()
        late = m.r.socket(RPMSG, SEQPACKET)
        m.g.kill()
        fails(errno.ECONNRESET, waits.get)
        eq(s.recv(), b"")
        fails(errno.EPIPE, s.send, b"x", 0x4000)
        s.close()
        waits = late.go_connect(name("rpmsg-raw"))  # a name of the next life
        m.start_guest()
        m.g.run("chardev dev /dev/rpmsg_ctrl0 rpmsg-raw 3000 77")
        waits.get()
        late.close()
        eq(m.service("d"), d.name()[1])
    eq(m.r.stats()["link_resets"], 2)


@alone
def remote_restarts(make):
    """killed and started again: its channels go from the kernel, and come with the new one"""
    m = make()
    for i in range(3):
        ls = m.listener("svc")
        dev = m.endpoint(f"e{i}", 5000, m.service("svc"))
        m.g.run(f"chardev send {dev} 3")
        s, _ = ls.accept()
        eq(s.recv(), pattern(0, 3))
        hold = m.g.go(f"chardev hold {dev}")
        hold.expect("^open$")
        m.r.kill()
        hold.ok()
        m.g.run("while [ -e /sys/class/rpmsg/rpmsg_ctrl0 ]; do sleep 0.05; done")
        m.start_remote()
        m.attach()
    # the kernel warns of the messages that it could not send to who has gone
    m.g.lines[:] = [x for x in m.g.lines if "virtio_uml.c" not in x]


@alone
def late(make):
    """a remote that comes when Linux has long been up, and names that are there before"""
    m = make(remote=False)
    m.start_remote()
    ls = m.listener("early")
    m.attach()
    dev = m.endpoint("e", 5000, m.service("early"))
    m.g.run(f"chardev send {dev} 3")
    s, _ = ls.accept()
    eq(s.recv(timeout=TIMEOUT), pattern(0, 3))
    more = m.listener("later")
    eq(m.service("later"), more.name()[1])


if __name__ == "__main__":
    main()
