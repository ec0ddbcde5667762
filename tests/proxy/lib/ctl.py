# SPDX-License-Identifier: BSD-3-Clause
"""ampsockctl, and the control socket without it."""
import json
import os
import socket
import subprocess

import schema
from harness import BUILD, TIMEOUT


def program():
    if "AMPSOCK_CTL" in os.environ:
        return os.environ["AMPSOCK_CTL"]
    san = os.path.join(BUILD, "san", "ampsockctl")
    return san if os.path.exists(san) else os.path.join(BUILD, "ampsockctl")


def path(p):
    return os.path.join(p.dir.name, "control")


def start(p, *args, **kw):
    return subprocess.Popen([program(), "--socket", path(p), *args], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **kw)


def run(p, *args, code=0, **kw):
    """Standard output; or with another code, standard error."""
    c = start(p, *args, **kw)
    out, err = c.communicate(timeout=TIMEOUT)
    if c.returncode != code or "Sanitizer" in err or "runtime error" in err:
        raise AssertionError(f"{args}: exit {c.returncode}, not {code}:\n{out}{err}")
    return err if code else out


def ask(p, *args):
    """The result as JSON; its keys are documented."""
    result = json.loads(run(p, "--json", *args))
    schema.check(args[0], result)
    return result


def error(p, *args, code=1):
    """Of --json: the error."""
    line, = run(p, "--json", *args, code=code).splitlines()
    answer = json.loads(line)
    if set(answer) != {"ok", "error"} or answer["ok"] is not False:
        raise AssertionError(line)
    schema.check("error", answer["error"])
    return answer["error"]


class Raw:
    """The socket itself."""

    def __init__(self, p, where=None):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(TIMEOUT)
        self.s.connect(where or path(p))
        self.buf = b""

    def send(self, data):
        """Who is refused at once can find the door closed: the reason is there to be read."""
        try:
            self.s.sendall(data)
        except BrokenPipeError:
            pass

    def line(self):
        while b"\n" not in self.buf:
            data = self.s.recv(65536)
            if not data:
                return None
            self.buf += data
        line, self.buf = self.buf.split(b"\n", 1)
        return json.loads(line)

    def rest(self):
        """Everything until the proxy closes."""
        data = self.buf
        try:
            while part := self.s.recv(65536):
                data += part
        except ConnectionResetError:
            pass
        return data

    def ask(self, req):
        self.send(json.dumps(req).encode() + b"\n")
        a = self.line()
        if a and a["ok"] and req["cmd"] != "capture":
            schema.check(req["cmd"], a["result"])
        return a

    def error(self, data):
        """What is refused: its code."""
        self.send(data)
        a = self.line()
        if a["ok"] is not False or set(a["error"]) != {"code", "message"}:
            raise AssertionError(f"{data!r}: {a}")
        return a["error"]["code"]

    def close(self):
        self.s.close()
