#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 150
"""AF_INET in unmodified programs, carried to a proxy: curl, iperf3, Python, to and from loopback."""
import http.server
import json
import os
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from prig import (BUILD, MB, TIMEOUT, Prog, Proxy, Server, cleaned, eq, free_port, hosted, inside, main, run, sha,  # noqa: E402
                  signal, subprocess)

os.environ["AMPSOCK_PROXY"] = os.path.join(BUILD, "ampsock-proxy")
EVERYTHING = ("allow out any 127.0.0.0/8:any", "allow out any localhost:any", "allow in any 127.0.0.1:any")


def link_of(p):
    return {"link": "vhost-user:" + p.path, "offload": True}


class Web:
    """An HTTP server on loopback with one body."""

    def __init__(self, body):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_PUT(self):
                data = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(sha(data).encode())

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(TIMEOUT)


@cleaned
def curl():
    """curl: 64 MiB down and up, by number and by name, hashes equal"""
    body = os.urandom(64 * MB)
    web = Web(body)
    p = Proxy(*EVERYTHING)
    try:
        c = run("curl", "-sS", web.url, binary=True, **link_of(p))
        eq(sha(c.proc.stdout.read()), sha(body))
        c.end()
        path = os.path.join(p.dir.name, "up")
        with open(path, "wb") as f:
            f.write(body)
        eq(run("curl", "-sS", "-T", path, web.url.replace("127.0.0.1", "localhost"), **link_of(p)).end().out.decode(),
           sha(body))
        os.unlink(path)
        urls = [web.url] * 8
        c = run("curl", "-sS", "--parallel", "--fail", *[x for u in urls for x in ("-o", "/dev/null", u)], **link_of(p))
        c.end()
        eq(run("curl", "-sS", f"http://127.0.0.1:{free_port()}/", **link_of(p)).end(7).err != b"", True)
        p.wait_counter("ends", 0)
    finally:
        web.close()


@cleaned
def curl_to_firmware():
    """curl through one link to a hosted http_server that listens through another"""
    port = free_port()
    other = []

    def two(p):
        other.append(os.path.join(p.dir.name, "h.sock"))
        return ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g", "--allow", f"out tcp 127.0.0.1:{port}",
                "--link", f"vhost-user-vsock:{other[0]},cid=4,name=h", "--allow", "in tcp any:any"]
    p = Proxy(args=two)
    s = Prog(hosted("http_server"), str(port), env={"AMPSOCK_LINK": "vhost-user:" + other[0]})
    c = run("curl", "-sS", "--retry", "20", "--retry-delay", "1", "--retry-connrefused", f"http://127.0.0.1:{port}/",
            **link_of(p)).end()
    eq(b"Hello from a core" in c.out, True)
    s.kill()


def iperf(p, port, *opts):
    """what it tells at the end"""
    c = run("iperf3", "-c", "127.0.0.1", "-p", port, "-t", "1", "-J", *opts, **link_of(p)).end()
    got = json.loads(c.out)
    # TCP_INFO is not there, and iperf3 says so, of what it receives, and goes on
    if got.get("error", "") not in ("", "getsockopt - Protocol not available"):
        raise AssertionError(got["error"])
    return got["end"]


@cleaned
def iperf3():
    """iperf3: TCP both ways, four streams, UDP"""
    p = Proxy(*EVERYTHING)
    port = free_port()
    s = Prog("iperf3", "-s", "-p", str(port), "-B", "127.0.0.1", "--forceflush").wait_for("listening")
    for opts in ((), ("-R",), ("-P", "4"), ("-P", "4", "-R"), ("--bidir",)):
        end = iperf(p, port, *opts)
        eq(end["sum_received"]["bytes"] > MB, True)
    for opts in ((), ("-R",)):
        end = iperf(p, port, "-u", "-b", "10M", *opts)
        eq(end["sum"]["packets"] > 100, True)
        eq(end["sum"]["lost_percent"] < 50, True)
    s.kill()
    p.wait_counter("ends", 0)


@cleaned
def iperf3_server():
    """iperf3 -s under ampsock-run, a client of the host's"""
    p = Proxy(*EVERYTHING)
    port = free_port()
    s = run("iperf3", "-s", "-1", "-p", port, "-B", "127.0.0.1", "--forceflush", **link_of(p)).wait_for("listening")
    c = Prog("iperf3", "-c", "127.0.0.1", "-p", str(port), "-t", "1", "-P", "2", "-J").end()
    eq(json.loads(c.out)["end"]["sum_received"]["bytes"] > MB, True)
    s.end()


@cleaned
def web_server():
    """python3 -m http.server under ampsock-run, threads and sendfile inside, fetched by curl"""
    p = Proxy(*EVERYTHING)
    port = free_port()
    body = os.urandom(3 * MB)
    path = os.path.join(p.dir.name, "body")
    with open(path, "wb") as f:
        f.write(body)
    s = run(sys.executable, "-u", "-m", "http.server", port, "--bind", "127.0.0.1", "--directory", p.dir.name, **link_of(p))
    s.wait_for("Serving")
    for _ in range(3):
        c = Prog("curl", "-sS", f"http://127.0.0.1:{port}/body", binary=True)
        eq(sha(c.proc.stdout.read()), sha(body))
        c.end()
    os.unlink(path)
    s.proc.send_signal(signal.SIGINT)
    s.end(None)


class Echo:
    """Datagrams come back."""

    def __init__(self):
        self.s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.s.bind(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            data, who = self.s.recvfrom(65536)
            if data == b"end":
                return
            self.s.sendto(data, who)

    def close(self):
        self.s.sendto(b"end", self.s.getsockname())
        self.thread.join(TIMEOUT)
        self.s.close()


@cleaned
def udp():
    """datagrams: addresses, truncation, connected and not"""
    p, echo = Proxy(*EVERYTHING), Echo()
    inside("udp", *echo.s.getsockname(), **link_of(p)).end()
    echo.close()


@cleaned
def udp_proxy_gone():
    """a datagram socket whose proxy dies is told so once, not without end, and works with the next one"""
    p, echo = Proxy(*EVERYTHING), Echo()
    b = inside("udp_gone", *echo.s.getsockname(), stdin=subprocess.PIPE, **link_of(p)).wait_for("up")
    p.proc.kill()
    p.proc.wait()
    b.wait_for("told")
    os.unlink(p.path)
    again = Proxy(*EVERYTHING, args=lambda _: ["--link", f"vhost-user-vsock:{p.path},cid=3,name=g"])
    b.proc.stdin.write(b"\n")
    b.proc.stdin.flush()
    b.end()
    again.stop()
    echo.close()


@cleaned
def upgrade():
    """the proxy is upgraded: the link begins anew on its connection, nobody tries a second one"""
    p = Proxy(*EVERYTHING)
    web = Web(b"x" * 100)
    try:
        a = run("sh", "-c", "echo up; exec sleep 1000", **link_of(p)).wait_for("up")
        for _ in range(5):
            start = len(p.lines)
            p.proc.send_signal(signal.SIGUSR2)
            p.log("the guest restarted", start=start)
            p.log("guest attached.*times=2", start=start)
        a.proc.send_signal(signal.SIGTERM)
        a.end(want=-signal.SIGTERM)
        p.log("guest detached")
        eq([t for t in p.lines if "second VMM" in t], [])
        run("curl", "-sS", web.url, **link_of(p)).end()
    finally:
        web.close()
    p.stop()


@cleaned
def refused_again_and_again():
    """where another guest is there it is tried again, ten times a second and not without a pause"""
    with tempfile.TemporaryDirectory() as tmp, socket.socket(socket.AF_UNIX) as s:
        path = os.path.join(tmp, "g.sock")
        p = Proxy(args=lambda _: ["--link", f"vhost-user-vsock:{path},cid=3,name=g"])
        a = run("sh", "-c", "echo up; exec sleep 1000", link="vhost-user:" + path).wait_for("up")
        p.stop()
        s.bind(path)
        s.listen(64)
        s.settimeout(TIMEOUT)
        start = time.monotonic()
        for _ in range(5):
            s.accept()[0].close()
        took = time.monotonic() - start
        a.proc.send_signal(signal.SIGTERM)
        a.end(want=-signal.SIGTERM)
    eq(took >= 0.3, True, f"five in {took:.3f} s")


@cleaned
def errors():
    """refused, denied by the rules, and in progress"""
    closed, denied = free_port(), 9
    p = Proxy(f"allow out tcp 127.0.0.1:{closed}")
    inside("tcp_errors", closed, denied, **link_of(p)).end()


@cleaned
def in_progress():
    """EINPROGRESS, then writable once, with epoll's edge"""
    def echo(c):
        while data := c.recv(65536):
            c.sendall(data)
    p = Proxy(*EVERYTHING)
    s = Server(echo)
    inside("in_progress", s.port, **link_of(p)).end()
    s.check(20)
    s.close()


@cleaned
def names():
    """getaddrinfo asks the proxy's host"""
    p = Proxy("allow out tcp localhost:80")
    c = inside("names_of", "localhost", 80, **link_of(p)).end()
    eq("127.0.0.1" in c.lines[0], True)


@cleaned
def served():
    """accept: the true address of a client, in the order of their coming"""
    p = Proxy(*EVERYTHING)
    port = free_port()
    s = inside("inet_serve", port, 3, **link_of(p)).wait_for("ready")
    for k in range(3):
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as c:
            c.sendall(b"%d" % k * 1000)
            c.shutdown(socket.SHUT_WR)
            eq(c.makefile("rb").read(), b"%d" % k * 1000)
    s.end()


@cleaned
def without():
    """without --offload AF_INET is the kernel's own"""
    web = Web(b"direct")
    eq(run("curl", "-sS", web.url).end().out, b"direct")
    web.close()


if __name__ == "__main__":
    main()
