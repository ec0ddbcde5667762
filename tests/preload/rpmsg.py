#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 100
"""AF_RPMSG in unmodified programs, each side remote and host in turn."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from prig import Prog, Wire, cleaned, eq, TIMEOUT, hosted, inside, main, rp, run, signal, subprocess  # noqa: E402

STREAM, DGRAM, SEQ = 1, 2, 5


def both(kind, name):
    for swap in (0, 1):
        with Wire() as w:
            sides = (w.rremote, w.rhost)
            a = inside("rserve", kind, name, link=sides[swap]).wait_for("ready")
            inside("rdial", kind, name, link=sides[1 - swap]).end()
            a.end()


@cleaned
def stream():
    """Python: a stream, 1 MiB there and back, remote and host serve in turn"""
    both(STREAM, "bytes")


@cleaned
def seqpacket():
    """Python: raw messages of every length, 497 bytes are EMSGSIZE"""
    both(SEQ, "raw")


@cleaned
def dgram():
    """Python: datagrams answered to the address they came from; too long is told"""
    both(DGRAM, "grams")


@cleaned
def socat_to_firmware():
    """socat SOCKET-CONNECT to hosted rpmsg_stream, which counts and answers at the end"""
    with Wire() as w:
        a = Prog(hosted("rpmsg_stream"), "serve", "count", "1", env={"AMPSOCK_LINK": w.rremote}).wait_for("count")
        b = run("socat", "-t20", "-", f"SOCKET-CONNECT:65:0:{rp('count')}", link=w.rhost, stdin=subprocess.PIPE, binary=True)
        eq(b.proc.communicate(bytes(100000), TIMEOUT)[0], b"100000")
        b.end()
        a.end()


@cleaned
def firmware_to_socat():
    """hosted rpmsg_echo, raw messages, with socat SOCKET-LISTEN and cat behind it"""
    with Wire() as w:
        a = run("socat", "-dd", "-b", "496", "-t1", f"SOCKET-LISTEN:65:0:{rp('cat')},type=5", "EXEC:cat,socktype=5",
                link=w.rremote).wait_err("listening")
        Prog(hosted("rpmsg_echo"), "cat", "100", env={"AMPSOCK_LINK": w.rhost}).end()
        a.proc.send_signal(signal.SIGTERM)
        a.end(None)


@cleaned
def socat_dgram():
    """socat SOCKET-DATAGRAM to hosted rpmsg_dgram"""
    with Wire() as w:
        a = Prog(hosted("rpmsg_dgram"), "serve", "grams", env={"AMPSOCK_LINK": w.rremote}).wait_for("grams")
        b = run("sh", "-c", f"until echo one datagram | socat -t2 - SOCKET-DATAGRAM:65:2:0:{rp('grams')} | grep datagram; do sleep 0.1; done", link=w.rhost)
        eq(b", and one datagram\n" in b.end().out, True)
        a.kill()


if __name__ == "__main__":
    main()
