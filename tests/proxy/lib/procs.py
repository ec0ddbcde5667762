# SPDX-License-Identifier: BSD-3-Clause
"""The proxy as processes: what the kernel says of them, and one whose code is not all its own."""
import contextlib
import os
import subprocess
import tempfile
import time
import unittest.mock

from harness import BUILD, TIMEOUT


def until(cond, what):
    deadline = time.monotonic() + TIMEOUT
    while not cond():
        if time.monotonic() > deadline:
            raise AssertionError(what)
        time.sleep(0.002)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(x) for x in f.read().split()]


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return f.read().rsplit(") ", 1)[1][0]


def sleeps(pid):
    """How often it has gone to sleep by itself."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(dict(line.split(":", 1) for line in f)["voluntary_ctxt_switches"])


def alive(pid):
    try:
        return state(pid) not in "ZX"
    except FileNotFoundError:
        return False


def pending(pid, sig):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        said = dict(line.split(":", 1) for line in f)
    return bool((int(said["SigPnd"], 16) | int(said["ShdPnd"], 16)) & 1 << (sig - 1))


def listening(path):
    """Does anybody? Its file is there a moment before."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as f:
        return any(line.split()[-1] == path and int(line.split()[3], 16) & 0x10000 for line in list(f)[1:])


def preload(what, *libs):
    """WHAT.c, of this directory if it does not say, as a library for LD_PRELOAD: its path."""
    src = os.path.join(os.path.dirname(os.path.abspath(__file__)), what + ".c")
    lib = os.path.join(BUILD, "check", os.path.basename(what) + ".so")
    if not os.path.exists(lib) or os.path.getmtime(lib) < os.path.getmtime(src):
        os.makedirs(os.path.dirname(lib), exist_ok=True)
        tmp = f"{lib}.{os.getpid()}"
        subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-O1", "-o", tmp, src, *libs], check=True)
        os.rename(tmp, lib)
    return lib


def plain():
    """The program without sanitizers: those want to have their library first, and give a worker more time to end."""
    return unittest.mock.patch.dict(os.environ, AMPSOCK_PROXY=os.path.join(BUILD, "ampsock-proxy"))


# In the place of the C library's.
PRINTS = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
ssize_t write(int fd, const void *data, size_t len)
{
	static const char text[] = "counters: link";

	if (fd == STDERR_FILENO && memmem(data, len, text, sizeof(text) - 1)) {
		@
	}
	return syscall(SYS_write, fd, data, len);
}
"""


@contextlib.contextmanager
def where_it_prints(code):
    """C code that runs where the worker would print its counters: the environment for a Proxy, which is plain."""
    with tempfile.TemporaryDirectory(prefix="ampsock-prints-") as d:
        lib = d + "/prints.so"
        subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-O1", "-xc", "-", "-o", lib],
                       input=PRINTS.replace("@", code).encode(), check=True)
        with plain():
            yield {"LD_PRELOAD": lib}
