# SPDX-License-Identifier: BSD-3-Clause
"""TAP, and the demo from installed files: tests/package."""
import atexit
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
from ports import free_port  # noqa: E402

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILD = os.environ.get("BUILD", "build")
TIMEOUT = 120
TESTS = []
TMP = tempfile.mkdtemp(prefix="ampsock-package-")
atexit.register(shutil.rmtree, TMP, ignore_errors=True)


def test(fn):
	TESTS.append(fn)
	return fn


def main():
	failed = 0
	picked = [t for t in TESTS if len(sys.argv) < 2 or any(a in t.__name__ for a in sys.argv[1:])]
	print("1..%d" % len(picked))
	for i, t in enumerate(picked, 1):
		name = (t.__doc__ or t.__name__).strip().splitlines()[0]
		try:
			skip = t()
			print("ok %d - %s%s" % (i, name, " # SKIP " + skip if isinstance(skip, str) else ""))
		except Exception:  # whatever it is, the next one is to run
			failed += 1
			for line in traceback.format_exc().splitlines()[-40:]:
				print("# " + line)
			print("not ok %d - %s" % (i, name))
		sys.stdout.flush()
	sys.exit(1 if failed else 0)


def run(argv, timeout=TIMEOUT, ok=True, **kw):
	"""Exit status and output; output of both descriptors."""
	kw.setdefault("cwd", ROOT)
	p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
			   timeout=timeout, check=False, **kw)
	text = p.stdout.decode(errors="replace")
	if ok and p.returncode:
		raise AssertionError("%s: exit status %d\n%s" % (" ".join(argv[:6]), p.returncode, text[-4000:]))
	return (p.returncode, text)


def eq(got, want, what=""):
	if got != want:
		raise AssertionError("%s: got %r, want %r" % (what, got, want))


def files(root):
	return sorted(os.path.relpath(os.path.join(d, f), root) for d, _, fs in os.walk(root) for f in fs)


class Peers:
	"""What the demo's firmware talks to: a web server with /page.txt, a UDP echo."""

	def __init__(self):
		body = b"".join(b"%06d %06x\n" % (i, i * 7919 & 0xffffff) for i in range(4000))
		h = 2166136261
		for b in body:
			h = (h ^ b) * 16777619 & 0xffffffff
		self.page = b"%d %d\n" % (len(body), h) + body
		self.web = socket.create_server(("127.0.0.1", 0))
		self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		self.udp.bind(("127.0.0.1", 0))
		self.ports = [s.getsockname()[1] for s in (self.web, self.udp)]
		for fn in (self.serve, self.echo):
			threading.Thread(target=fn, daemon=True).start()

	def serve(self):
		while True:
			try:
				k, _ = self.web.accept()
			except OSError:
				return
			with k:
				k.recv(4096)
				k.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.page) + self.page)

	def echo(self):
		while True:
			try:
				data, peer = self.udp.recvfrom(65536)
				self.udp.sendto(data, peer)
			except OSError:
				return

	def close(self):
		self.web.close()
		self.udp.close()


def build_examples(source, where, env):
	"""The installed examples, built by their own Makefile against what is installed."""
	shutil.copytree(source, where)
	run(["make", "-j2", "-C", where, "demo", "vsock_echo", "zero_copy"], env=env)


def wait_for(what, cond):
	deadline = time.monotonic() + TIMEOUT
	while not cond():
		if time.monotonic() > deadline:
			raise AssertionError("%s: not within %d s" % (what, TIMEOUT))
		time.sleep(0.02)


def get(port, path):
	with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as k:
		k.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
		data = b""
		while True:
			part = k.recv(65536)
			if not part:
				return data.partition(b"\r\n\r\n")[2]
			data += part


def proxy_log(d):
	with open(os.path.join(d, "proxy.log"), encoding="utf-8", errors="replace") as f:
		return f.read()


def demo(proxy, program):
	"""make demo's firmware as a process, with the installed proxy, from a configuration file. Returns the proxy's log."""
	d = tempfile.mkdtemp(dir=TMP)
	os.chmod(d, 0o777)  # the proxy may not be who we are
	peers = Peers()
	public = free_port()
	conf = os.path.join(d, "demo.conf")
	with open(conf, "w", encoding="ascii") as f:
		f.write("""[link demo]
type = vhost-user-vsock
path = %s/link
cid = 3
allow = out tcp localhost:%d
allow = out udp 127.0.0.1:%d
allow = in tcp any:80
publish = tcp 127.0.0.1:%d -> inet:80
""" % (d, peers.ports[0], peers.ports[1], public))
	procs = []
	try:
		r, w = os.pipe()
		with open(os.path.join(d, "proxy.log"), "wb") as f:
			procs.append(subprocess.Popen([proxy, "--config", conf, "--ready-fd", str(w)], pass_fds=[w], stderr=f))
		os.close(w)
		ready = select.select([r], [], [], TIMEOUT)[0] and os.read(r, 1)
		os.close(r)
		eq(ready, b"\n", "ready: " + proxy_log(d))
		log = os.path.join(d, "log")
		with open(log, "wb") as f:
			procs.append(subprocess.Popen([program, "localhost", str(peers.ports[0]), str(peers.ports[1]), "80"],
						      env={**os.environ, "AMPSOCK_LINK": "vhost-user:%s/link" % d},
						      stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.STDOUT))

		def said(text):
			with open(log, encoding="utf-8", errors="replace") as f:
				all_ = f.read()
			if "FAILED" in all_ or (procs[1].poll() or 0) != 0:
				raise AssertionError(all_)
			return re.search(text, all_)
		wait_for("the demo serves", lambda: said("serving on port"))
		eq(b"Hello from bare metal" in get(public, "/"), True, "the firmware's page")
		eq(get(public, "/check/50000"), bytes(b"0123456789abcdef"[i * 7 % 16] for i in range(50000)))
		get(public, "/quit")
		eq(procs[1].wait(TIMEOUT), 0)
		eq(bool(said("all good")), True)
		procs[0].send_signal(signal.SIGTERM)
		eq(procs[0].wait(TIMEOUT), 0, proxy_log(d))
		return proxy_log(d)
	finally:
		for p in procs:
			if p.poll() is None:
				p.kill()
				p.wait()
		peers.close()
