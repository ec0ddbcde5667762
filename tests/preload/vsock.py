#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 150
"""AF_VSOCK in unmodified programs: Python, socat, against each other and hosted firmware."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from prig import (MB, Prog, Wire, children_of, cleaned, eq, hosted, inside, main, rp, run, sha, signal,  # noqa: E402
                  subprocess, time, vm)


def alone(case, what, *args):
    """A case of inside.py that needs nobody else: through CID 1."""
    def fn():
        inside(case, *args).end()
    fn.__name__, fn.__doc__ = case, what
    cleaned(fn)


alone("names", "names, kinds and refusals as the program sees them")
alone("connect", "connect: refused, in progress, again on the same descriptor")
alone("poll", "poll, select and epoll on ours mixed with ordinary descriptors")
alone("ends", "half-close, EPIPE, a reset told once")
alone("messages", "seqpacket: boundaries, truncation, EMSGSIZE")
alone("fds", "dup, fcntl, FIONREAD, readv, sendfile, splice")
alone("abandoned", "a connect() that came to nothing before it began leaves no bytes for the peer")
alone("crowd", "threads that connect() the same socket at once: one connection, no foreign bytes")
alone("interrupted", "signals without end: connect() that does not block is not interrupted")
alone("numbers", "what a number was, seen by nobody, does not cling to its next owner")
alone("vforked", "what a child does with its descriptors before exec is not true of its parent's")
alone("fork", "fork with a shared listener, exec and SCM_RIGHTS pass descriptors on")
alone("threads", "24 threads of 8 connections each", 24, 8)
alone("pressure", "who does not read stops who writes, bounded; nothing is lost")
alone("closed_while_waiting", "accept() ends when its listener is shut down")


@cleaned
def big():
    """64 MiB each way between two programs, hashes equal"""
    with Wire() as w:
        a = inside("serve", 900, 64 * MB, link=w.host).wait_for("ready")
        b = inside("dial", 2, 900, 64 * MB, link=w.guest).end()
        a.end()
        eq(a.lines[1], f"{64 * MB} {b.lines[0]}")
        eq(b.lines[1], f"{64 * MB} {a.lines[2]}")


def blurt(how, want):
    with Wire() as w:
        a = inside("slow", 901, link=w.host, stdin=subprocess.PIPE).wait_for("ready")
        b = inside("blurt", 2, 901, 560000, how, link=w.guest).wait_for("")
        while not b.lines:
            b.wait_for("\n")
        if how == "kill":
            eq(b.proc.poll(), None)
        a.proc.stdin.write(b"go\n")
        a.proc.stdin.flush()
        b.end(want)
        a.end()
        eq(a.lines[1], f"560000 {b.lines[0]}")


@cleaned
def exit_with_data():
    """a program that writes and _exits: all of it arrives"""
    blurt("exit", 0)


@cleaned
def killed_with_data():
    """a program that writes and is killed: all of it arrives"""
    blurt("kill", -signal.SIGKILL)


@cleaned
def linger_bound():
    """nobody takes what the program left: said, after the time for it"""
    with Wire() as w:
        a = inside("slow", 902, link=w.host, stdin=subprocess.PIPE).wait_for("ready")
        inside("blurt", 2, 902, 560000, "exit", link=w.guest, linger=1).end(0, lost=True)
        a.proc.stdin.close()
        a.end(1)
        eq("ConnectionResetError" in a.err.decode(), True)


@cleaned
def given_up():
    """a program that is killed in connect() keeps nobody waiting"""
    with Wire() as w:
        b = run("socat", "-dd", "-u", "-", f"SOCKET-CONNECT:65:0:{rp('nobody')}", link=w.rhost).wait_err("opening connection")
        kid = children_of(b.proc.pid)[0]
        while syscall(kid) not in ("47", "212"):  # recvmsg: it waits for an answer
            time.sleep(0.01)
        start = time.monotonic()
        b.proc.send_signal(signal.SIGTERM)
        b.end(None)
        eq(time.monotonic() - start < 8, True)


def syscall(pid):
    """The number of the one that it is in."""
    with open(f"/proc/{pid}/syscall", encoding="ascii") as f:
        return f.read().split()[0]


@cleaned
def peer_dies():
    """the other side is killed: ECONNRESET once; it comes again: so does the link"""
    with Wire() as w:
        a = inside("serve", 903, 0, link=w.host).wait_for("ready")
        b = inside("orphan", 2, 903, link=w.guest).wait_for("up")
        a.kill()
        b.wait_for("told")
        c = run("socat", "-dd", "-u", "-", f"SOCKET-CONNECT:40:0:{vm(4000, 3)},retry=100,interval=0.1", link=w.host,
                stdin=subprocess.PIPE)
        c.proc.stdin.write(b"back again")
        c.proc.stdin.close()
        c.end()
        b.end()
        eq(b.lines[-1], "back again")


@cleaned
def last_words():
    """the other side is killed, and it is a write that finds out: what had come is read nevertheless"""
    with Wire() as w:
        a = inside("parting", 904, link=w.host, stdin=subprocess.PIPE).wait_for("ready")
        b = inside("left_behind", 2, 904, link=w.guest, stdin=subprocess.PIPE).wait_for("up")
        a.wait_for("sent")
        a.kill()
        b.proc.stdin.write(b"\n")
        b.proc.stdin.flush()
        b.end()


@cleaned
def socat_to_firmware():
    """socat SOCKET-CONNECT to hosted vsock_echo, half-closed at the end, which then ends at once"""
    for _ in range(4):
        socat_once()


def socat_once():
    with Wire() as w:
        a = Prog(hosted("vsock_echo"), "serve", "7", "1", env={"AMPSOCK_LINK": w.host}).wait_for("port 7")
        data = os.urandom(300000)
        b = run("socat", "-t20", "-", f"SOCKET-CONNECT:40:0:{vm(7, 2)}", link=w.guest, stdin=subprocess.PIPE, binary=True)
        out, _ = b.proc.communicate(data, 20)
        eq(sha(out), sha(data))
        b.end()
        a.end()


@cleaned
def firmware_to_socat():
    """hosted vsock_echo as client of socat SOCKET-LISTEN with fork and EXEC, three times"""
    with Wire() as w:
        a = run("socat", "-dd", "-t20", f"SOCKET-LISTEN:40:0:{vm(8)},fork", "EXEC:cat", link=w.host).wait_err("listening")
        for _ in range(3):
            Prog(hosted("vsock_echo"), "2", "8", "500000", env={"AMPSOCK_LINK": w.guest}).end()
        a.proc.send_signal(signal.SIGTERM)
        a.end(None)


@cleaned
def socat_seqpacket():
    """socat's type=5 keeps messages apart"""
    with Wire() as w:
        a = run("socat", "-dd", "-u", f"SOCKET-LISTEN:40:0:{vm(9)},type=5", "-", link=w.host).wait_err("listening")
        run("socat", "-u", "-b", "100", "-", f"SOCKET-CONNECT:40:0:{vm(9, 2)},type=5", link=w.guest,
            stdin=subprocess.PIPE, binary=True).proc.communicate(b"m" * 1000, 20)
        eq(a.end().out, b"m" * 1000)


if __name__ == "__main__":
    main()
