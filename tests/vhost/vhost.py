#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 1000
# serial
"""Our driver on Linux's own vhost-vsock device: a Debian kernel in QEMU, and in it QEMU with our firmware.

The kernel is Debian's for clouds, which has vhost_vsock as a module; its package is downloaded once into
${XDG_CACHE_HOME:-~/.cache}/ampsock and unpacked there, nothing is installed. The initramfs made here holds
its modules, busybox, Python, socat, the inner QEMU with the libraries that they need, the firmware, and
tests/vhost/inside.py, whose lines come back on a serial port of the machine's own.
Arguments: names of cases; without: all.
"""

import glob
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "qemu")]
import inside
from fw import BUILD, ROOT, Process, Scratch, make

META = "linux-image-cloud-amd64" # depends on the newest kernel
MODULES = ["vhost_iotlb", "vhost", "vsock", "vmw_vsock_virtio_transport_common", "vhost_vsock"] # in this order
FILES = ["boards/run-qemu.sh", "tests/qemu/fw.py", "tests/lib/ports.py", "tests/vhost/inside.py",
	 *[f"{BUILD}/fw/{inside.BOARD}/{name}.elf" for name in inside.FIRMWARE]]
PROXY = f"{BUILD}/ampsock-proxy"
PROGRAMS = ["socat", "qemu-system-aarch64"]
APPLETS = ["sh", "mount", "insmod", "stty", "poweroff", "grep", "basename", "cat", "mkdir", "ip"]
PYTHON = "/usr/bin/python3" # Debian's: it has nothing outside of /usr
MEM_MIB = 1536
BOOT_S = 240 # an idle machine: 10
SILENCE_S = 400 # longer than any wait of inside.py

INIT = f"""#!/bin/sh
export PATH=/bin:/usr/bin PYTHONDONTWRITEBYTECODE=1 BUILD=build
mount -t devtmpfs none /dev && mount -t proc none /proc && mount -t sysfs none /sys
mkdir -p /dev/shm && mount -t tmpfs none /dev/shm && mount -t tmpfs none /run && mount -t tmpfs none /tmp
mkdir -p /etc && echo nobody:x:65534:65534::/:/bin/sh >/etc/passwd
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
for m in {' '.join(MODULES)}; do insmod /modules/$m.ko || echo "# insmod $m failed"; done
echo "# booted"
cd /ampsock && {PYTHON} -S -E tests/vhost/inside.py $(cat /cases)
echo "# end, status $?"
poweroff -f
"""


class Trouble(Exception):
	pass


def run(*argv, **kw):
	try:
		return subprocess.run(argv, check=True, capture_output=True, timeout=300, **kw).stdout.decode()
	except FileNotFoundError as e:
		raise Trouble(f"{argv[0]} is not installed: make deps") from e
	except subprocess.CalledProcessError as e:
		raise Trouble(f"{' '.join(argv)}: status {e.returncode}\n{e.stderr.decode()[-1000:]}") from e


# ---- the kernel ----

def cache():
	base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
	return os.path.join(base, "ampsock")


def unpack(deb, into):
	"""The kernel and the modules that are wanted, nothing else."""
	with tempfile.TemporaryDirectory(dir=os.path.dirname(into)) as tmp:
		run("dpkg-deb", "-x", deb, tmp)
		parts = [f"{tmp}/kernel"] + glob.glob(f"{tmp}/boot/vmlinuz-*")
		os.mkdir(parts[0])
		for name in MODULES:
			found = glob.glob(f"{tmp}/lib/modules/*/kernel/**/{name}.ko", recursive=True)
			if not found:
				raise Trouble(f"{deb}: no module {name}")
			shutil.copy(found[0], parts[0])
		if len(parts) != 2:
			raise Trouble(f"{deb}: no kernel")
		shutil.copy(parts[1], f"{parts[0]}/vmlinuz")
		try:
			os.rename(parts[0], into) # whole, or not there
		except OSError:
			if not os.path.exists(f"{into}/vmlinuz"): # else another run was faster
				raise


def kernel():
	"""The directory with the kernel that apt knows; without a network one that was unpacked before."""
	if run("dpkg", "--print-architecture").strip() != "amd64":
		raise Trouble("the programs of this machine are put beside an x86-64 kernel: this needs Debian amd64")
	os.makedirs(cache(), exist_ok=True)
	m = re.search(r"^  Depends: (linux-image-\S+)$", run("apt-cache", "depends", META), re.M)
	policy = m and re.search(r"Candidate: (\S+)", run("apt-cache", "policy", m[1]))
	if not policy or policy[1] == "(none)":
		raise Trouble(f"apt knows no {META}: apt-get update, and Debian 12's main in /etc/apt/sources.list")
	into = os.path.join(cache(), f"{m[1]}_{policy[1]}".replace(":", "%3a"))
	if os.path.exists(f"{into}/vmlinuz"):
		return into
	try:
		with tempfile.TemporaryDirectory(dir=cache()) as tmp:
			run("apt-get", "download", "-q", f"{m[1]}={policy[1]}", cwd=tmp)
			unpack(glob.glob(f"{tmp}/*.deb")[0], into)
	except Trouble as e:
		old = sorted(glob.glob(f"{cache()}/linux-image-*-cloud-amd64_*/vmlinuz"), key=os.path.getmtime)
		if not old:
			raise
		print(f"# {e}\n# {old[-1]} instead", flush=True)
		return os.path.dirname(old[-1])
	return into


# ---- what it boots ----

def libraries(paths):
	"""All shared objects that these need, from where the loader finds them."""
	out = subprocess.run(["ldd", *paths], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, check=False)
	return set(re.findall(r"(/\S+) \(0x", out.stdout.decode()))


def python_files():
	"""The interpreter and what inside.py makes it load; encodings are loaded when first asked for."""
	code = ("import sys; sys.path[:0] = sys.argv[1:]; import inside, errno, encodings.idna, encodings.latin_1\n"
		"print('\\n'.join(filter(None, (getattr(m, '__file__', None) for m in sys.modules.values()))))")
	out = run(PYTHON, "-S", "-E", "-B", "-c", code, HERE, os.path.join(os.path.dirname(HERE), "qemu"))
	return {PYTHON} | {f for f in out.split() if f.startswith("/usr/lib/")}


def put(root, source, at=None):
	to = root + (at or source)
	os.makedirs(os.path.dirname(to), exist_ok=True)
	shutil.copy2(source, to)


def initramfs(scratch, kdir, cases):
	root = f"{scratch}/root"
	for name in ("bin", "dev", "proc", "sys", "run", "tmp", "modules"):
		os.makedirs(f"{root}/{name}")
	busybox = shutil.which("busybox")
	programs = {shutil.which(p) for p in PROGRAMS}
	if not busybox or None in programs or not os.path.exists(PYTHON):
		raise Trouble(f"one of busybox, {', '.join(PROGRAMS)}, {PYTHON} is not installed: make deps")
	put(root, busybox, "/bin/busybox")
	for name in APPLETS:
		os.symlink("busybox", f"{root}/bin/{name}")
	files = programs | python_files()
	proxy = os.path.join(ROOT, PROXY)
	for path in files | libraries(sorted(files) + [proxy]):
		put(root, path)
	put(root, proxy, "/ampsock/ampsock-proxy")
	for name in MODULES:
		put(root, f"{kdir}/{name}.ko", f"/modules/{name}.ko")
	for name in FILES:
		put(root, os.path.join(ROOT, name), "/ampsock/" + name.replace(f"{BUILD}/", "build/", 1))
	for path, text in (("/init", INIT), ("/cases", " ".join(cases))):
		with open(root + path, "w", encoding="ascii") as f:
			f.write(text)
	with open(f"{root}/ampsock/tests/vhost/pattern", "wb") as f:
		f.write(inside.make_pattern())
	os.chmod(f"{root}/init", 0o755)
	names = "\n".join(os.path.relpath(os.path.join(d, n), root) for d, dirs, fs in os.walk(root) for n in dirs + fs)
	with open(f"{scratch}/initrd", "wb") as f:
		subprocess.run(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], input=names.encode(), stdout=f, cwd=root,
			       check=True, timeout=120)
	shutil.rmtree(root)
	return f"{scratch}/initrd"


class Linux(Process):
	def __init__(self, kdir, initrd, log):
		super().__init__(["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", str(MEM_MIB),
				  "-nodefaults", "-display", "none", "-no-reboot",
				  "-serial", f"file:{log}", "-serial", "stdio",
				  "-kernel", f"{kdir}/vmlinuz", "-initrd", initrd, "-append",
				  "console=ttyS0 loglevel=6 panic=-1 mitigations=off nokaslr random.trust_cpu=on"])
		self.shown = 0

	def lines(self):
		"""Whole lines as they come; None when it says nothing any more."""
		silence = BOOT_S
		while True:
			end = self.out.find("\n", self.shown)
			if end >= 0:
				yield self.out[self.shown:end]
				self.shown = end + 1
				silence = SILENCE_S
				continue
			if not select.select([self.proc.stdout], [], [], silence)[0]:
				yield None
				return
			if not self.pump(0):
				return


def boot(cases):
	with Scratch() as scratch:
		log = f"{scratch}/console"
		start = time.monotonic()
		kdir = kernel()
		initrd = initramfs(scratch, kdir, cases)
		print(f"# initramfs: {os.path.getsize(initrd) >> 20} MiB, {time.monotonic() - start:.0f} s", flush=True)
		plan, bad = False, 0
		with Linux(kdir, initrd, log) as vm:
			for line in vm.lines():
				if line is None:
					print("# it says nothing any more", flush=True)
					break
				print(line, flush=True)
				plan |= line.startswith("1..")
				bad += line.startswith("not ok")
		if not plan:
			with open(log, encoding="latin-1") as f:
				print("".join(f"# kernel: {text}" for text in f.readlines()[-30:]), flush=True)
			raise Trouble("the machine ended before its tests did")
		return 1 if bad else 0


def main():
	names = [fn.__name__ for fn in (*inside.CASES, *inside.OWN_FIRMWARE)]
	for name in sys.argv[1:]:
		if name not in names:
			print(f"vhost.py: there is no case {name}; there are: {' '.join(names)}", file=sys.stderr)
			return 2
	try:
		make("ampsock-proxy", *[f"fw/{inside.BOARD}/{name}.elf" for name in inside.FIRMWARE])
		return boot(sys.argv[1:])
	except Trouble as e:
		print("not ok - " + str(e).replace("\n", "\n#   "), flush=True)
		return 1


if __name__ == "__main__":
	sys.exit(main())
