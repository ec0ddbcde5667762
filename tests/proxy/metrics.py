#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 120
"""The Prometheus listener: the text format to the letter, and HTTP from strangers."""
import os
import re
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import ctl  # noqa: E402
from harness import TIMEOUT, Proxy, Server, echo, eq, free_port, main, test  # noqa: E402
from offload import Session  # noqa: E402
from vguest import Guest  # noqa: E402
from vrig import configured, exposed, write_conf  # noqa: E402

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
UNITS = ("seconds", "bytes", "packets", "total", "info", "up", "flows", "sockets", "used", "max")  # the last two: the limit's


def labels(text):
    out, at = {}, 0
    while at < len(text):
        m = LABEL.match(text, at)
        assert m and m.group(1) not in out, f"label in {text!r}"
        out[m.group(1)] = m.group(2)
        at = m.end()
        assert m.group(3) == "," or at == len(text), text
    return out


def parse(text):
    """{(name, labels): value}, by the exposition format 0.0.4; whatever is not in it is an error."""
    assert text.endswith("\n"), "the last line has no end"
    found, types, helped, done, current = {}, {}, set(), set(), None
    for line in text[:-1].split("\n"):
        assert line and "\r" not in line, f"line {line!r}"
        if line.startswith("# "):
            what, name, rest = line[2:].split(" ", 2)
            assert NAME.match(name) and rest, line
            if what == "HELP":
                assert name not in helped, f"a second {line}"
                helped.add(name)
            else:
                eq(what, "TYPE")
                assert rest in ("counter", "gauge") and name not in types and name in helped, line
                types[name] = rest
            if name != current:
                assert name not in done, f"{name} comes in pieces"
                done.add(current)
                current = name
            continue
        m = SAMPLE.match(line)
        assert m, f"sample {line!r}"
        name, key = m.group(1), (m.group(1), tuple(sorted(labels(m.group(2) or "").items())))
        eq(name, current, "a sample outside of its family")
        assert name in types, f"no TYPE for {name}"
        assert (types[name] == "counter") == name.endswith("_total"), name
        assert name.endswith(UNITS), f"{name} says no unit"
        assert key not in found, f"{key} twice"
        found[key] = float(m.group(3))
        assert found[key] >= 0, line
    return found


def http(p, request, tcp=None, read=True):
    s = socket.create_connection(("127.0.0.1", tcp), timeout=TIMEOUT) if tcp else socket.socket(socket.AF_UNIX)
    s.settimeout(TIMEOUT)
    if not tcp:
        s.connect(p.dir.name + "/metrics")
    s.sendall(request)
    if not read:
        return s
    data = b""
    try:
        while part := s.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    s.close()
    return data.decode()


def scrape(p, tcp=None):
    head, body = http(p, b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n", tcp).split("\r\n\r\n", 1)
    lines = head.split("\r\n")
    eq(lines[0], "HTTP/1.0 200 OK")
    assert "Content-Type: text/plain; version=0.0.4; charset=utf-8" in lines, head
    return parse(body)


def of(found, name, **want):
    got = [v for (n, ls), v in found.items() if n == name and want.items() <= dict(ls).items()]
    eq(len(got), 1, f"{name}{want} of {len(found)}")
    return got[0]


@test
def text_format():
    """every line is what the format says; counters are those of ampsockctl and only rise"""
    srv = Server(echo)
    p = Proxy(f"expose vsock:6000 -> tcp 127.0.0.1:{srv.port}", "allow out tcp 127.0.0.1:any", "allow out tcp 127.0.0.1:any",
              "limit half-open none", "control DIR/control", "metrics unix DIR/metrics")
    before = scrape(p)
    eq(of(before, "ampsock_link_up", link="g"), 0)
    g = Guest(p.path)
    c = g.connect(6000)
    c.send(b"twelve bytes")
    eq(c.recv_exact(12), b"twelve bytes")
    after = scrape(p)
    eq(of(after, "ampsock_link_up", link="g", type="vhost-user-vsock"), 1)
    eq(of(after, "ampsock_link_flows", link="g"), 1)
    eq(of(after, "ampsock_link_from_guest_bytes_total", link="g"), 12)
    eq(of(after, "ampsock_link_to_guest_bytes_total", link="g"), 12)
    assert of(after, "ampsock_link_from_guest_packets_total", link="g") >= 2
    Session(g).connect("127.0.0.1", srv.port).close()
    last = scrape(p)
    eq({ls: v for (n, ls), v in last.items() if n == "ampsock_rule_hits_total"},
       {(("link", "g"), ("rule", "out tcp 127.0.0.1:any")): 1}, "the same twice is one")
    for key, v in before.items():
        assert not key[0].endswith("_total") or (v <= after[key] <= last[key]), key
    link, = ctl.ask(p, "links")
    eq(link["flows_total"], of(last, "ampsock_link_flows_total", link="g"))
    for limit, row in link["limits"].items():
        for key, name in (("used", "ampsock_limit_used"), ("max", "ampsock_limit_max"), ("refusals", "ampsock_limit_refusals_total")):
            eq([v for (n, ls), v in last.items() if n == name and ("limit", limit) in ls], [row[key]] if key in row else [], (limit, key))
    for key in ("out", "in", "names"):
        eq(of(last, f"ampsock_link_denied_{key}_total", link="g"), link["denied_" + key])
    eq(of(scrape(p), "ampsock_scrapes_total"), 4, "itself included")
    c.close()
    g.close()
    srv.close()
    p.stop()


@test
def rules():
    """which rule hits are of is told by its text: a reload that puts others before it, and changes their order, changes no label"""
    srv = Server(echo)
    hit, *others = f"out tcp 127.0.0.1:{srv.port}", "out tcp 127.0.0.2:1  log", "out udp any:53"
    p = configured(f"allow = {hit}", "[proxy]", "metrics = unix DIR/metrics")
    g = Guest(p.path)
    Session(g).connect("127.0.0.1", srv.port).close()

    def hits():
        return {dict(ls)["rule"]: v for (n, ls), v in scrape(p).items() if n == "ampsock_rule_hits_total" and len(ls) == 2}
    eq(hits(), {hit: 1})
    for first, last in ((others, []), ([], others), ([], [])):
        start = len(p.lines)
        write_conf(p, *(f"allow = {x}" for x in [*first, hit, *last]), "[proxy]", f"metrics = unix {p.dir.name}/metrics")
        p.proc.send_signal(signal.SIGHUP)
        p.log("reload: ", start=start)
        eq(hits(), {hit: 1, **{x: 0 for x in first + last}})
    g.close()
    srv.close()
    p.stop()


@test
def many_links():
    """200 links over TCP: the text comes in pieces, and whole"""
    port = free_port()
    p = Proxy(f"metrics tcp 127.0.0.1:{port}",
              args=lambda p: [a for i in range(200) for a in
                              ("--link", f"vhost-user-vsock:{p.dir.name}/{i},cid={i + 3},name=n{i}", "--allow", "out tcp any:any")])
    found = scrape(p, port)
    eq(len([1 for (n, _) in found if n == "ampsock_link_up"]), 200)
    eq(len([1 for (n, _) in found if n == "ampsock_rule_hits_total"]), 200)
    # read in small bites
    s = http(p, b"GET /metrics HTTP/1.0\r\n\r\n", port, read=False)
    data = b""
    while part := s.recv(700):
        data += part
    s.close()
    eq(len(parse(data.decode().split("\r\n\r\n", 1)[1])), len(found))
    p.stop()


@test
def strangers():
    """no GET, no such path, no HTTP, too long, too slow, too many: each has its answer, a flow is unharmed"""
    srv, p, g = exposed(echo, "metrics unix DIR/metrics")
    c = g.connect(6000)
    slow = http(p, b"GET /metr", read=False)
    silent = http(p, b"", read=False)
    for request, status in ((b"POST /metrics HTTP/1.1\r\n\r\n", "405"), (b"GET / HTTP/1.1\r\n\r\n", "404"),
                            (b"GET /metricsX HTTP/1.1\r\n\r\n", "404"), (b"\x16\x03\x01\x02\x00\n\n", "400"),
                            (b"GET /metrics\r\n\r\n", "200"), (b"GET /metrics?x=1 HTTP/1.1\n\n", "200"),
                            (b"GET /metrics HTTP/1.1\r\nA: " + b"a" * 5000 + b"\r\n\r\n", "431"), (b"\n\n", "405")):
        eq(http(p, request).split(" ")[1], status, request[:30])
    c.send(b"x" * 1000)
    eq(c.recv_exact(1000), b"x" * 1000)
    for s in (slow, silent):  # by the proxy, in its time
        eq(s.recv(1), b"")
        s.close()
    many = [http(p, b"", read=False) for _ in range(12)]
    got = []
    for s in many:
        try:
            s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        except BrokenPipeError:
            pass
        got.append(s.recv(12).decode())
    eq(sorted(set(got)), ["HTTP/1.0 200", "HTTP/1.0 503"])
    eq(got.count("HTTP/1.0 200"), 8)
    for s in many:
        s.close()
    c.send(b"y" * 1000)
    eq(c.recv_exact(1000), b"y" * 1000)
    c.close()
    g.close()
    srv.close()
    eq(p.stop(), [], "left behind")


if __name__ == "__main__":
    main()
