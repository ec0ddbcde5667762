# SPDX-License-Identifier: BSD-3-Clause
"""A proxy with one rule, the guest on its ring, and who is behind the rule."""
import os
import socket

from harness import TIMEOUT, Proxy, Server, eq, free_port
from vguest import Guest


def exposed(handler, *rules, env=None, **kw):
    """(server, proxy, guest): the server is the guest's vsock port 6000. env: the proxy's. kw: the guest's."""
    srv = Server(handler)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", *rules, env=env)
    return srv, p, Guest(p.path, **kw)


def published(options="", env=None, **kw):
    """(port, proxy, guest): the guest's vsock port 5000 is TCP port `port`. env: the proxy's. kw: the guest's."""
    port = free_port()
    p = Proxy(f"publish tcp 127.0.0.1:{port} -> vsock:5000 {options}".rstrip(), env=env)
    return port, p, Guest(p.path, **kw)


def dial(port):
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)


def conf_of(p):
    return os.path.join(p.dir.name, "proxy.conf")


def write_conf(p, *lines):
    """Proxy's own link, and lines of it. Returns the file's path."""
    with open(conf_of(p), "w", encoding="ascii") as f:
        f.write("\n".join(("[link g]", "type = vhost-user-vsock", f"path = {p.path}", "cid = 3", *lines, "")))
    return conf_of(p)


def configured(*lines):
    """A proxy that has its options from write_conf()'s file. DIR in a line: its directory."""
    return Proxy(args=lambda p: ["--config", write_conf(p, *(x.replace("DIR", p.dir.name) for x in lines))])


def works(g, port=6000):
    """What is there echoes."""
    c = g.connect(port)
    data = os.urandom(4000)
    c.send(data)
    eq(c.recv_exact(4000), data)
    c.close()
