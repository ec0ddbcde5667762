#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""The kernel's own two-ended AF_VSOCK tests: over its loopback, and between two joined guests.

vsock_test and vsock_diag_test are the kernel's, built from Debian's source package. A case that
passes over the kernel's own transport (CID 1 in one guest) must pass through the proxy's join.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import initramfs  # noqa: E402
import uml  # noqa: E402
from agent import test  # noqa: E402
from guest import links, main, path_of  # noqa: E402
from harness import Proxy, eq  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
CASE = re.compile(r"^(\d+) - (.*?)\.\.\.(ok|skipped)?", re.MULTILINE)
PORT = 1234
TIMEOUT = 40


def initrd():
    found = subprocess.run([os.path.join(HERE, "lib", "kernel-tests.sh")], check=True, stdout=subprocess.PIPE,
                           text=True).stdout.strip()
    return initramfs.build("kernel", programs=[os.path.join(found, p) for p in ("vsock_test", "vsock_diag_test")])


def once(program, server, client, skip):
    """server, client: (machine, CID, address for the control connection). Status and output of each."""
    skips = "".join(f" --skip={n}" for n in skip)
    s = server[0].go(f"exec {program} --mode=server --control-port={PORT} --peer-cid={client[1]}{skips}")
    s.expect("listening")
    c = client[0].go(f"exec {program} --mode=client --control-host={server[2]} --control-port={PORT} "
                     f"--peer-cid={server[1]}{skips}")
    for job in (c, s):
        # They have an alarm of 10 s for each step, but not for all; and a failed one's peer is not told.
        if not job.within(TIMEOUT):
            job.kill()
            job.wait()
        if job.status:
            (s if job is c else c).kill()
    return [(j.status, j.out.decode() + j.err.decode()) for j in (s, c)]


def cases(text):
    """{number: (name, result)} of what a program printed; the result of the last may be None."""
    return {int(m[1]): (m[2], m[3]) for m in CASE.finditer(text)}


def both(program, server, client):
    """{case: "ok" or why not}: a case that fails ends the programs, so they go on without it."""
    found, skip = {}, []
    while True:
        (s_status, s_out), (c_status, c_out) = once(program, server, client, skip)
        lists = cases(s_out), cases(c_out)
        if not lists[0] or not lists[1]:
            raise AssertionError(f"{program} does not run:\n{s_out}{c_out}")
        # One end may be content and in the next case when the other has failed.
        bad = min((n for x in lists for n, (_, r) in x.items() if r is None), default=None)
        for n, (name, r) in lists[0].items():
            if r == "ok" and (bad is None or n < bad):
                found[name] = "ok"
        if s_status == 0 and c_status == 0:
            return found
        if bad is None:
            raise AssertionError(f"{program} fails without a case:\n{s_out}{c_out}")
        name = next(x[bad][0] for x in lists if bad in x)
        found[name] = f"server: {s_out.splitlines()[-1]} ({s_status}); client: {c_out.splitlines()[-1]} ({c_status})"
        skip.append(bad)


def show(what, found):
    for name, result in found.items():
        print(f"# {what}: {name}: {result}")


def loopback(g, program="vsock_test"):
    """The oracle: what passes over the kernel's own transport."""
    here = (g, 1, "127.0.0.1")
    found = both(program, here, here)
    show("loopback", found)
    return found


def two_guests():
    """Machines of CID 3 and 4, joined, with a cable between them for the control connection."""
    p = Proxy(args=lambda p: links("a", "b")(p) + ["--join", "a,b"])
    ends = uml.ethernet()
    out = []
    for i, n in enumerate("ab"):
        g = uml.Guest(initrd(), [path_of(p, n) + ":19"], net=ends[i])
        g.run(f"ip addr add 192.0.2.{3 + i}/24 dev vec0 && ip link set vec0 up")
        out.append((g, 3 + i, f"192.0.2.{3 + i}"))
    for e in ends:
        e.close()
    out[0][0].run("modprobe vsock_loopback")
    return p, *out


def compare(program):
    p, a, b = two_guests()
    want = loopback(a[0], program)
    for server, client in ((a, b), (b, a)):
        got = both(program, server, client)
        show(f"join, client CID {client[1]}, server CID {server[1]}", got)
        bad = [n for n, r in want.items() if r == "ok" and got.get(n) != "ok"]
        eq(bad, [], f"fail with client CID {client[1]} and pass over the kernel's loopback")
    assert any(r == "ok" for r in want.values()), "nothing passed over loopback"
    return p, a, b


@test
def vsock_test():
    """vsock_test: every case that passes over the kernel's loopback, in both directions through join"""
    compare("vsock_test")


@test
def vsock_diag_test():
    """vsock_diag_test: sockets of joined guests as sock_diag lists them"""
    compare("vsock_diag_test")


if __name__ == "__main__":
    main()
