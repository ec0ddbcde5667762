#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""The library in a guest of a monitor with Unix sockets: AF_INET and AF_VSOCK of ordinary programs."""
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from prig import (BUILD, HERE, MB, RUN, TIMEOUT, Prog, Proxy, Server, cleaned, eq, free_port, hosted, main, run,  # noqa: E402
                  sha, signal, vm)

os.environ["AMPSOCK_PROXY"] = os.path.join(BUILD, "ampsock-proxy")
OFFLOAD = 0x414D5301
MONITOR = os.path.join(HERE, "monitor.py")


class Rig:
    """A proxy, the monitor, and where its guest finds it."""

    def __init__(self, *rules, ports=()):
        self.p = Proxy(*rules, args=lambda p: ["--link", f"vsock-unix:{p.path},name=g"])
        self.device = os.path.join(self.p.dir.name, "device")
        self.ports = ports
        self.boot()

    def boot(self):
        if os.path.exists(self.p.path):
            os.unlink(self.p.path)
        self.vmm = Prog(RUN, "--link", f"vsock-device:{self.device},3", "--", sys.executable, MONITOR, self.p.path,
                        str(OFFLOAD), *map(str, self.ports)).wait_for("ready")

    def run(self, *argv, offload=True, **kw):
        return run(*argv, link="vhost-user:" + self.device, offload=offload, **kw)

    def kill(self):
        for pid in self.children():
            os.kill(pid, 9)
        self.vmm.proc.wait(TIMEOUT)
        self.vmm.forget()

    def children(self):
        with open(f"/proc/{self.vmm.proc.pid}/task/{self.vmm.proc.pid}/children", encoding="ascii") as f:
            return [int(x) for x in f.read().split()]

    def end(self):
        self.p.wait_counter("flows", 0)
        self.kill()
        self.p.wait_counter("ends", 0)
        for name in (self.device, self.p.path):
            if os.path.exists(name):
                os.unlink(name)


def body_server(body):
    def serve(s):
        data = b""
        while b"\r\n\r\n" not in data:
            data += s.recv(65536)
        s.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        s.shutdown(socket.SHUT_WR)
        s.recv(1)
    return Server(serve)


@cleaned
def offload():
    """curl: 32 MiB by number and by name, a refusal; Python's UDP; a web server of the guest's"""
    body = os.urandom(32 * MB)
    web, port = body_server(body), free_port()
    r = Rig(f"allow out tcp 127.0.0.1:{web.port}", f"allow out tcp localhost:{web.port}", "allow out udp 127.0.0.1:any",
            f"allow out tcp 127.0.0.1:{port}", f"allow in tcp any:{port}")
    for host in ("127.0.0.1", "localhost"):
        c = r.run("curl", "-sS", f"http://{host}:{web.port}/", binary=True)
        eq(sha(c.proc.stdout.read()), sha(body))
        c.end()
    r.run("curl", "-sS", f"http://127.0.0.1:{port}/").end(7)
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    u.settimeout(TIMEOUT)
    c = r.run(sys.executable, "-c", "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
              "s.sendto(b'ask', ('127.0.0.1', int(sys.argv[1]))); print(*s.recvfrom(100))", u.getsockname()[1])
    data, peer = u.recvfrom(100)
    u.sendto(data + b"ed", peer)
    eq(c.end().out.decode().strip(), f"b'asked' {u.getsockname()}")
    s = Prog(hosted("http_server"), str(port), env={"AMPSOCK_LINK": "vhost-user:" + r.device})
    c = Prog("curl", "-sS", "--retry", "20", "--retry-delay", "1", "--retry-connrefused", f"http://127.0.0.1:{port}/").end()
    eq(b"Hello from a core" in c.out, True)
    s.kill()
    web.close()
    u.close()
    r.end()


@cleaned
def ports():
    """socat's AF_VSOCK both ways through expose and publish, vsock-mux, and a monitor that restarts"""
    got, port = [], free_port()

    def keep(s):
        data = b""
        while True:
            part = s.recv(65536)
            if not part:
                break
            data += part
        got.append(sha(data))
    sink = Server(keep)
    r = Rig(f"expose vsock:6000 -> tcp 127.0.0.1:{sink.port}", f"publish tcp 127.0.0.1:{port} -> vsock:7000",
            "publish vsock-mux DIR/mux -> vsock:7000", ports=(6000,))
    path = os.path.join(r.p.dir.name, "data")
    data = os.urandom(8 * MB)
    with open(path, "wb") as f:
        f.write(data)
    for life in range(2):
        r.run("socat", "-u", f"OPEN:{path}", f"SOCKET-CONNECT:40:0:{vm(6000, 2)}", offload=False).end()
        sink.check(life + 1)
        eq(got[-1], sha(data))
        e = r.run("socat", "-d", "-d", "-t20", f"SOCKET-LISTEN:40:0:{vm(7000)},fork", "SYSTEM:cat", offload=False)
        e.wait_err("listening on")
        for first in (b"", b"CONNECT 7000\n"):
            if first:
                k = socket.socket(socket.AF_UNIX)
                k.connect(r.p.dir.name + "/mux")
                k.sendall(first)
                while k.recv(1) != b"\n":
                    pass
            else:
                k = socket.create_connection(("127.0.0.1", port))
            k.settimeout(TIMEOUT)
            t = threading.Thread(target=lambda k=k: (k.sendall(data[:MB]), k.shutdown(socket.SHUT_WR)), daemon=True)
            t.start()
            back = b""
            while True:
                part = k.recv(MB)
                if not part:
                    break
                back += part
            t.join(TIMEOUT)
            eq(sha(back), sha(data[:MB]))
            k.close()
        e.kill(signal.SIGTERM)
        r.kill()
        r.p.wait_counter("ends", 0)
        if life == 0:
            r.boot()
    sink.close()
    os.unlink(path)


main()
