# SPDX-License-Identifier: BSD-3-Clause
"""What tests/package/systemd.py runs in its machine, as a service of that machine's systemd. What it
found is lines with `T: ` in front, for the test outside."""
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(sys.argv[1], "proxy", "lib"))
import offload as off  # noqa: E402
from vguest import Guest  # noqa: E402

CTL = sys.argv[2]
UNITS = ["ampsock-proxy@a", "ampsock-proxy@b", "ampsock-proxy"]


def run(*argv):
	r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True, timeout=60)
	return r.returncode, r.stdout


def show(unit, prop):
	return run("systemctl", "show", "--value", "-p", prop, unit)[1].strip()


def link(name):
	return run(CTL, "--socket", "/run/ampsock/%s/control" % name, "--json", "links")[1]


def said(what, good, more=""):
	print("T: %s: %s" % (what, "yes" if good else "no: %s" % (more,)), flush=True)


def wait(fn, seconds=60):
	"""Until fn() is true: systemd has no descriptor to wait for here."""
	until = time.monotonic() + seconds
	while not fn():
		if time.monotonic() > until:
			return False
		time.sleep(0.05)
	return True


def main():
	srv = socket.create_server(("127.0.0.1", 18000))
	rc, text = run("systemctl", "start", *UNITS)
	said("all units start", rc == 0, text)
	for u in UNITS:
		said(u + " is active", show(u, "ActiveState") == "active", run("systemctl", "status", "--no-pager", u)[1])
	guests = []
	for name in "ab":
		g = Guest("/run/ampsock/%s/guest.sock" % name)
		guests.append(g)
		c = off.Session(g).connect("127.0.0.1", 18000)
		peer, _ = srv.accept()
		c.send(name.encode())
		said("the guest of %s is served" % name, peer.recv(10) == name.encode())
		said("the other's port is not allowed to %s" % name, '"denied":0' in link(name), link(name))
		said("%s has the filter" % name, "Seccomp:\t2" in open("/proc/%s/status" % show("ampsock-proxy@" + name, "MainPID"),
								       encoding="ascii").read())
	pid = int(show("ampsock-proxy@a", "MainPID"))
	said("systemd keeps the guest's descriptors", wait(lambda: int(show("ampsock-proxy@a", "NFileDescriptorStore")) > 6),
	     show("ampsock-proxy@a", "NFileDescriptorStore"))
	os.kill(pid, signal.SIGKILL)
	said("a killed proxy is started again, and has its guest", wait(
		lambda: show("ampsock-proxy@a", "NRestarts") == "1" and '"up":true' in link("a")), link("a"))
	said("the other proxy is not touched", show("ampsock-proxy@b", "NRestarts") == "0" and '"up":true' in link("b"))
	with open("/etc/ampsock/a.conf", "a", encoding="ascii") as f:
		f.write("allow = out tcp 127.0.0.1:18001\n")
	rc, text = run("systemctl", "reload", "ampsock-proxy@a")
	said("reload is over when its rules are in force", rc == 0 and "18001" in run(
		CTL, "--socket", "/run/ampsock/a/control", "rules")[1], text)
	with open("/etc/ampsock/a.conf", "a", encoding="ascii") as f:
		f.write("alow = out tcp 127.0.0.1:18002\n")
	rc, text = run("systemctl", "reload", "ampsock-proxy@a")
	said("reload of a wrong file fails, and nothing changes", rc != 0 and show("ampsock-proxy@a", "ActiveState") == "active" and
	     '"up":true' in link("a"), text)
	rc, text = run("systemctl", "stop", *UNITS)
	said("all units stop", rc == 0 and all(show(u, "ActiveState") == "inactive" for u in UNITS), text)
	print(run("journalctl", "--no-pager", "-u", "ampsock-proxy*")[1])


try:
	main()
except Exception as e:  # told outside, where it is a failure
	said("no exception", False, repr(e))
print("T: end", flush=True)
