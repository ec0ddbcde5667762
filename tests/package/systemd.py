#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""The installed units under systemd itself: as init of a User-mode Linux that sees this machine's
files, with all that the units ask of it (namespaces, filters, a file descriptor store)."""
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from installed import BUILD, ROOT, TMP, eq, main, run, test  # noqa: E402

UML = "/usr/bin/linux.uml"
PREFIX = "/mnt/usr"
CONF = """[proxy]
control = /run/ampsock/{0}/control
[link guest]
type = vhost-user-vsock
path = /run/ampsock/{0}/guest.sock
cid = 3
allow = out tcp 127.0.0.1:18000
"""
# The files are this machine's and stay as they are: all that is written is in memory.
INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs t /run
mount -t tmpfs t /mnt
mkdir /mnt/etc
cp -a /etc/. /mnt/etc/ 2>/dev/null
cp -a {stage}/. /mnt/stage
cp -a /mnt/stage/mnt/usr /mnt/usr
cp -a {root}/tests /mnt/tests
mount --bind /mnt/etc /etc
cp -a /mnt/stage/etc/ampsock /etc/
cp /mnt/usr/lib/systemd/system/ampsock-proxy*.service /mnt/stage/t.service /etc/systemd/system/
: > /etc/fstab
for dir in /var /tmp; do mount -t tmpfs t $dir; done
mkdir -p /var/log /var/lib /var/tmp
chmod 1777 /tmp /var/tmp
systemd-sysusers /mnt/usr/lib/sysusers.d/ampsock.conf
ip link set lo up
exec /lib/systemd/systemd --unit=t.service --show-status=0 --log-target=journal
"""
SERVICE = """[Unit]
Requires=basic.target
After=basic.target
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -u /mnt/tests/package/lib/under_systemd.py /mnt/tests /mnt/usr/bin/ampsockctl
ExecStopPost=/bin/systemctl poweroff -ff
StandardOutput=tty
StandardError=tty
TTYPath=/dev/tty0
"""


def stage():
	where = os.path.join(TMP, "stage")
	run(["make", "-s", "--no-print-directory", "BUILD=" + BUILD, "install", "DESTDIR=" + where, "PREFIX=" + PREFIX], timeout=240)
	for name in "ab":
		with open(os.path.join(where, "etc/ampsock", name + ".conf"), "w", encoding="ascii") as f:
			f.write(CONF.format(name))
	with open(os.path.join(where, "etc/ampsock/proxy.conf"), "a", encoding="ascii") as f:
		f.write("[link web]\ntype = vhost-user-vsock\npath = /run/ampsock/web.sock\ncid = 3\n")
	with open(os.path.join(where, "t.service"), "w", encoding="ascii") as f:
		f.write(SERVICE)
	init = os.path.join(TMP, "init")
	with open(init, "w", encoding="ascii") as f:
		f.write(INIT.format(stage=where, root=ROOT))
	os.chmod(init, 0o755)
	return where, init


@test
def units():
	"""both units, two instances: started, served, killed and started again with the guest, reloaded, stopped"""
	if not os.path.exists(UML):
		return "there is no %s (make deps)" % UML
	where, init = stage()
	shim = os.path.join(TMP, "libumlfp.so")  # says itself what for
	run(["gcc", "-shared", "-fPIC", "-O2", "-o", shim, os.path.join(ROOT, "tests/linux/lib/umlfp.c")])
	text = run([UML, "mem=512M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init=" + init, "con=null",
		    "con0=null,fd:1", "quiet", "umid=systemd", "uml_dir=" + os.path.join(TMP, "uml")], timeout=240, ok=False,
		   env={**os.environ, "TMPDIR": "/dev/shm", "LD_PRELOAD": shim})[1]
	shutil.rmtree(where)
	found = [line[3:].strip() for line in text.splitlines() if line.startswith("T: ")]
	bad = [line for line in found if not line.endswith(": yes") and line != "end"]
	eq((bad, found[-1:], len(found)), ([], ["end"], 17), text[-6000:])
	return None


main()
