# SPDX-License-Identifier: BSD-3-Clause
"""A proxy with one rule, the guest on its ring, and who is behind the rule."""
import socket

from harness import TIMEOUT, Proxy, Server, free_port
from vguest import Guest


def exposed(handler, *rules, **kw):
    """(server, proxy, guest): the server is the guest's vsock port 6000. kw: the guest's."""
    srv = Server(handler)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", *rules)
    return srv, p, Guest(p.path, **kw)


def published(options="", **kw):
    """(port, proxy, guest): the guest's vsock port 5000 is TCP port `port`. kw: the guest's."""
    port = free_port()
    p = Proxy(f"publish tcp 127.0.0.1:{port} -> vsock:5000 {options}".rstrip())
    return port, p, Guest(p.path, **kw)


def dial(port):
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
