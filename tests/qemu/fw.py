# SPDX-License-Identifier: BSD-3-Clause
"""What the firmware tests share: build, boot, talk to a console, end everything again."""

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ports import free_port  # noqa: E402,F401: every test has it from here

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD", "build")
BOARDS = ["qemu-virt-aarch64", "qemu-virt-arm", "qemu-virt-riscv64", "qemu-virt-riscv32"] # vsock links
RPMSG_BOARDS = ["qemu-mps2"]
PATIENCE_S = 40 # for anything; an emulator on a busy machine is slow


def worker_pid(pid):
	"""Of the proxy's process that talks to guests: the one child of what was started."""
	with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
		return int(f.read().split()[0])


class Tap:
	"""Results, also of several threads: of() for each of them."""

	def __init__(self):
		self.count = 0
		self.failed = 0
		self.prefix = ""
		self.lock = threading.Lock()

	def of(self, prefix):
		"""One that counts here, whose names begin with prefix."""
		part = Tap()
		part.check = lambda name, good, why="": self.check(prefix + name, good, why)
		return part

	def check(self, name, good, why=""):
		with self.lock:
			self.count += 1
			print(f"{'ok' if good else 'not ok'} {self.count} - {self.prefix}{name}", flush=True)
			if not good:
				self.failed += 1
				for line in str(why).splitlines()[-25:]:
					print(f"#   {line}", flush=True)
		return good

	def done(self):
		print(f"1..{self.count}", flush=True)
		return 1 if self.failed else 0


class Gone(Exception):
	pass


def make(*targets):
	subprocess.run(["make", "-s", "--no-print-directory", f"BUILD={BUILD}"] +
		       [f"{BUILD}/{t}" for t in targets], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


class Process:
	"""A child whose output is kept and whose end is certain."""

	def __init__(self, argv, **kw):
		self.out = ""
		self.status = None
		self.proc = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
					     stderr=subprocess.STDOUT, **kw)

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.stop()

	def pump(self, wait_s):
		"""Take what has been printed; False at the end."""
		ready, _, _ = select.select([self.proc.stdout], [], [], wait_s)
		if not ready:
			return True
		data = os.read(self.proc.stdout.fileno(), 65536)
		self.out += data.decode("latin-1").replace("\r", "")
		return bool(data)

	def expect(self, text, seconds=PATIENCE_S, since=0):
		end = time.monotonic() + seconds
		while text not in self.out[since:]:
			left = end - time.monotonic()
			if left <= 0 or not self.pump(left):
				if text not in self.out[since:]:
					raise Gone(f"no {text!r} in:\n{self.out}")
		return self.out

	def idle(self, seconds):
		end = time.monotonic() + seconds
		while time.monotonic() < end and self.pump(end - time.monotonic()):
			pass

	def type(self, text):
		self.proc.stdin.write(text.encode())
		self.proc.stdin.flush()

	def finish(self, seconds=PATIENCE_S):
		"""Wait for it to end by itself; all its output."""
		end = time.monotonic() + seconds
		while time.monotonic() < end and self.pump(end - time.monotonic()):
			pass
		try:
			self.status = self.proc.wait(max(0.1, end - time.monotonic()))
		except subprocess.TimeoutExpired:
			self.out += "\n(did not end by itself)"
		return self.out

	def cpu_s(self):
		with open(f"/proc/{self.proc.pid}/stat") as f:
			words = f.read().rsplit(")", 1)[1].split()
		return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

	def stop(self):
		if self.proc.poll() is None:
			self.proc.send_signal(signal.SIGTERM)
			try:
				self.proc.wait(5)
			except subprocess.TimeoutExpired:
				self.proc.kill()
				self.proc.wait()
		self.proc.stdin.close()
		self.proc.stdout.close()


class Qemu(Process):
	def __init__(self, board, program, args, socket=None, qemu=""):
		argv = ["boards/run-qemu.sh", board, os.path.normpath(f"{BUILD}/fw/{board}/{program}.elf")]
		if socket:
			argv += ["-s", socket]
		if qemu:
			argv += ["-q", qemu]
		super().__init__(argv + ["--"] + [str(a) for a in args])


class Hosted(Process):
	"""The same program as a Linux process with the library inside."""

	def __init__(self, program, args, socket):
		super().__init__([f"{BUILD}/hosted/{program}"] + [str(a) for a in args],
				 env=dict(os.environ, AMPSOCK_LINK=f"vhost-user:{socket}", AMPSOCK_LOG="1"))


def firmware(board, program, args, path):
	return Hosted(program, args, path) if board == "hosted" else Qemu(board, program, args, path)


class Scratch:
	"""A private directory for sockets and files."""

	def __enter__(self):
		self.path = tempfile.mkdtemp(prefix="ampsock-")
		return self.path

	def __exit__(self, *_):
		shutil.rmtree(self.path, ignore_errors=True)


def link_of(board, path):
	"""The proxy's end of what run-qemu.sh -s makes for the board."""
	if board in RPMSG_BOARDS:
		return f"rpmsg-shm:{path}.ram,da=0x21000000,table=0x21000000,bell=unix:{path}"
	return f"vhost-user-vsock:{path},cid=3"


class Proxy(Process):
	"""ampsock-proxy with one link; ready when its socket is there, if it is the one to make it."""

	def __init__(self, path, *rules, board=None):
		self.path = path
		super().__init__([f"{BUILD}/ampsock-proxy", "--link", link_of(board, path), *rules])
		if board in RPMSG_BOARDS:
			return
		end = time.monotonic() + PATIENCE_S
		while not os.path.exists(path):
			if self.proc.poll() is not None or time.monotonic() > end:
				self.finish(1)
				raise Gone(f"ampsock-proxy does not start:\n{self.out}")
			time.sleep(0.02)


class Server:
	"""A server on loopback in threads of this process: handler(connection) for each client."""

	def __init__(self, handler):
		self.sock = socket.create_server(("127.0.0.1", 0))
		self.port = self.sock.getsockname()[1]
		self.handler = handler
		threading.Thread(target=self.loop, daemon=True).start()

	def loop(self):
		while True:
			try:
				conn, _ = self.sock.accept()
			except OSError:
				return
			threading.Thread(target=self.one, args=(conn,), daemon=True).start()

	def one(self, conn):
		with conn:
			conn.settimeout(PATIENCE_S)
			try:
				self.handler(conn)
			except OSError:
				pass

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.sock.close()


def echo(conn):
	while data := conn.recv(65536):
		conn.sendall(data)


class UdpEcho:
	def __init__(self):
		self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		self.sock.bind(("127.0.0.1", 0))
		self.port = self.sock.getsockname()[1]
		threading.Thread(target=self.loop, daemon=True).start()

	def loop(self):
		while True:
			try:
				data, peer = self.sock.recvfrom(65536)
				self.sock.sendto(data, peer)
			except OSError:
				return

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.sock.close()


def dial(port, seconds=PATIENCE_S):
	conn = socket.create_connection(("127.0.0.1", port), timeout=seconds)
	conn.settimeout(seconds)
	return conn


def read_all(conn):
	data = b""
	while piece := conn.recv(65536):
		data += piece
	return data
