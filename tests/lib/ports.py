# SPDX-License-Identifier: BSD-3-Clause
"""Ports of loopback for tests that run side by side."""
import errno
import os
import socket

LOWEST, EPHEMERAL = 10240, 32768
TAKEN = []


def free_port(kind=socket.SOCK_STREAM, family=socket.AF_INET):
    """Never the same twice, in no other test that runs beside this one either: a Unix socket of that name is held. Below
    those that the kernel gives to whoever connects."""
    while True:
        port = LOWEST + int.from_bytes(os.urandom(4), "little") % (EPHEMERAL - LOWEST)
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0ampsock-test-port-{port}")
            with socket.socket(family, kind) as s:
                s.bind(("127.0.0.1" if family == socket.AF_INET else "::1", port))
        except OSError as e:
            name.close()
            if e.errno != errno.EADDRINUSE:
                raise  # no IPv6 here, no descriptors left: so it would be with any port
            continue
        TAKEN.append(name)
        return port
