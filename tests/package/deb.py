#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 600
"""The Debian packages: built from a clean export without a network, lintian, installed into a
root of their own, the demo from there, removed, installed again, purged.

	deb.py [--keep DIR]    only builds, and leaves the packages in DIR
"""
import glob
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from installed import ROOT, TMP, build_examples, demo, eq, files, main, run, test  # noqa: E402

HERE = os.path.join(TMP, "deb")
ROOT_DIR = os.path.join(TMP, "root")
BUILD_S = 500


def export(where):
	"""What git knows, as it is in the work tree; a release's tarball is taken whole."""
	os.makedirs(where)
	git = run(["git", "ls-files", "-z"], ok=False)
	if git[0]:
		shutil.copytree(ROOT, where, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build*", ".git"))
		return
	for name in filter(None, git[1].split("\0")):
		if os.path.lexists(os.path.join(ROOT, name)):
			os.makedirs(os.path.join(where, os.path.dirname(name)), exist_ok=True)
			shutil.copy2(os.path.join(ROOT, name), os.path.join(where, name), follow_symlinks=False)


def no_network():
	"""A prefix for commands that are to have none."""
	prefix = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
	return prefix if run(prefix + ["true"], ok=False)[0] == 0 else None


def build(debug=True):
	"""debug=False: without packages of debug information, which none of the tests looks at."""
	source = os.path.join(HERE, "ampsock")
	export(source)
	env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
	env.pop("BUILD", None)
	if not debug:
		env["DEB_BUILD_OPTIONS"] = (env.get("DEB_BUILD_OPTIONS", "") + " noautodbgsym").strip()
		env["DEB_CFLAGS_APPEND"] = (env.get("DEB_CFLAGS_APPEND", "") + " -g0").strip()
	return run((no_network() or []) + ["dpkg-buildpackage", "-us", "-uc", "-j%d" % (os.cpu_count() or 1)],
		   timeout=BUILD_S, cwd=source, env=env)[1]


def packages():
	return sorted(p for p in glob.glob(HERE + "/*.deb") if "dbgsym" not in p)


@test
def built():
	"""dpkg-buildpackage, without a network"""
	text = build(debug=False)
	eq([re.sub(r"_.*", "", os.path.basename(p)) for p in packages()], ["ampsock-proxy", "libampsock-dev"])
	eq([l for l in text.splitlines() if re.search(r"^dpkg-\w+: warning", l)], [])
	return None if no_network() else "there are no network namespaces: built, but with a network"


@test
def lintian():
	"""lintian: no error, no warning, for source and binary packages"""
	changes, = glob.glob(HERE + "/*.changes")
	extra = ["--allow-root"] if os.geteuid() == 0 else []
	status, text = run(["lintian", "--fail-on", "error,warning", *extra, changes], ok=False, timeout=300)
	eq((status, [l for l in text.splitlines() if re.match("[EW]:", l)]), (0, []))


def as_root(argv):
	return argv if os.geteuid() == 0 else ["unshare", "-r"] + argv


def dpkg(*args):
	return run(as_root(["dpkg", "--root=" + ROOT_DIR, "--force-script-chrootless", "--force-depends", "--log=/dev/null",
			    *args]))[1]


@test
def installed():
	"""dpkg installs them into an empty root: user, directory, configuration; nothing is started"""
	for d in ("info", "updates", "triggers"):
		os.makedirs(os.path.join(ROOT_DIR, "var/lib/dpkg", d))
	with open(os.path.join(ROOT_DIR, "var/lib/dpkg/status"), "w", encoding="ascii"):
		pass
	dpkg("-i", *packages())
	with open(os.path.join(ROOT_DIR, "etc/passwd"), encoding="ascii") as f:
		eq("ampsock:" in f.read(), True)
	have = files(ROOT_DIR)
	for want in ("etc/ampsock/proxy.conf", "lib/systemd/system/ampsock-proxy.service", "usr/sbin/ampsock-proxy"):
		eq(want in have, True, want)
	eq([f for f in have if "systemd/system/multi-user.target.wants" in f], [], "enabled")
	with open(os.path.join(ROOT_DIR, "lib/systemd/system/ampsock-proxy.service"), encoding="utf-8") as f:
		eq("ExecStart=/usr/sbin/ampsock-proxy --config /etc/ampsock/proxy.conf\n" in f.read(), True)


@test
def run_demo():
	"""the demo: proxy, examples, headers and library from the packages"""
	multiarch = run(["dpkg-architecture", "-qDEB_HOST_MULTIARCH"])[1].strip()
	env = {**os.environ, "PKG_CONFIG_SYSROOT_DIR": ROOT_DIR,
	       "PKG_CONFIG_LIBDIR": "%s/usr/lib/%s/pkgconfig" % (ROOT_DIR, multiarch)}
	where = os.path.join(TMP, "examples")
	build_examples(os.path.join(ROOT_DIR, "usr/share/doc/libampsock-dev/examples"), where, env)
	demo(os.path.join(ROOT_DIR, "usr/sbin/ampsock-proxy"), os.path.join(where, "demo"))
	text = run([os.path.join(ROOT_DIR, "usr/bin/ampsock-run"), "--", "sh", "-c", "echo $LD_PRELOAD"])[1]
	eq(os.path.realpath(text.split()[0]), os.path.realpath(ROOT_DIR + "/usr/lib/ampsock/libampsock-preload.so"))


@test
def pages():
	"""every program that the packages bring has its manual page, and words for two shells"""
	programs = [f for f in files(ROOT_DIR) if re.match("usr/s?bin/", f)]
	eq([f for f in ("usr/share/bash-completion/completions/ampsockctl", "usr/share/zsh/vendor-completions/_ampsockctl")
	    if f not in files(ROOT_DIR)], [], "completion")
	have = [os.path.basename(f) for f in files(ROOT_DIR) if f.startswith("usr/share/man/")]
	eq([os.path.basename(p) for p in programs], ["ampsock-run", "ampsockctl", "ampsock-proxy"])
	for p in programs:
		eq(any(h.startswith(os.path.basename(p) + ".") for h in have), True, p)


def links(under):
	"""Symbolic links there, and where they lead."""
	have = {}
	for d, dirs, names in os.walk(os.path.join(ROOT_DIR, under)):
		for name in dirs + names:
			path = os.path.join(d, name)
			if os.path.islink(path):
				have[os.path.relpath(path, ROOT_DIR)] = os.readlink(path)
	return have


def text_of(name):
	with open(os.path.join(ROOT_DIR, name), encoding="utf-8") as f:
		return f.read()


def ours(places):
	return sorted(f for f in {*files(ROOT_DIR), *links(".")} if "ampsock" in f and f.startswith(places))


ENABLED = ("ampsock-proxy.service", "ampsock-proxy@one.service")


# In the place of what the package's scripts call: its words, a line a call. Nothing is enabled.
SPY = """#!/bin/sh
echo "${0##*/} $*" >> "$SPY"
case " $* " in *" was-enabled "* | *" debian-installed "*) exit 1 ;; esac
"""


def said(bin_dir, script, *args):
	"""What a script of the package says to systemd, which seems to run."""
	log = os.path.join(TMP, "spy.log")
	with open(log, "w", encoding="utf-8"):
		pass
	run((["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]) +
	    ["sh", "-c", 'mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec sh "$@"', "sh", script, *args],
	    env={**os.environ, "PATH": bin_dir + ":" + os.environ["PATH"], "SPY": log})
	with open(log, encoding="utf-8") as f:
		return f.read().splitlines()


@test
def scripts():
	"""an upgrade stops nothing: the new program takes over in every instance; a removal stops them all, an install starts what is enabled"""
	if run(["unshare", "-rm", "true"], ok=False)[0]:
		return "there are no mount namespaces"
	bin_dir, ctl = os.path.join(TMP, "spies"), os.path.join(TMP, "scripts")
	os.makedirs(bin_dir)
	for name in ("systemctl", "deb-systemd-invoke", "deb-systemd-helper", "systemd-sysusers", "systemd-tmpfiles"):
		with open(os.path.join(bin_dir, name), "w", encoding="ascii") as f:
			f.write(SPY)
		os.chmod(os.path.join(bin_dir, name), 0o755)
	run(["dpkg-deb", "-e", *[p for p in packages() if "proxy" in p], ctl])
	calls = []
	for script, *args in (("prerm", "upgrade", "0.2"), ("preinst", "upgrade", "0.1"), ("postrm", "upgrade", "0.2"), ("postinst", "configure", "0.1")):
		if os.path.exists(os.path.join(ctl, script)):
			calls += said(bin_dir, os.path.join(ctl, script), *args)
	acts = r"(systemctl|deb-systemd-invoke) .*\b(stop|start|restart|try-restart|kill)\b"
	start = "deb-systemd-invoke start ampsock-proxy.service"  # which starts what is enabled and does not run
	eq([c for c in calls if re.match(acts, c)],
	   [start, "systemctl kill --kill-who=main --signal=USR2 ampsock-proxy.service ampsock-proxy@*.service"], calls)
	calls = said(bin_dir, os.path.join(ctl, "postinst"), "configure", "")
	eq([c for c in calls if re.match(acts, c)], [start], "a first install")
	calls = said(bin_dir, os.path.join(ctl, "prerm"), "remove")
	stopped = " ".join(c for c in calls if " stop " in c).split()
	eq([u for u in ("ampsock-proxy.service", "ampsock-proxy@*.service") if u not in stopped], [], calls)
	return None


@test
def removed():
	"""remove: programs and units go; the configuration, what was enabled and the user stay, for a later install"""
	run(["systemctl", "--root=" + ROOT_DIR, "enable", *ENABLED])
	wants = ["etc/systemd/system/multi-user.target.wants/" + u for u in ENABLED]
	eq([w for w in wants if w not in links("etc/systemd/system")], [], "enabled")
	with open(os.path.join(ROOT_DIR, "etc/ampsock/one.conf"), "w", encoding="ascii") as f:
		f.write("# the administrator's own\n")
	conf = os.path.join(ROOT_DIR, "etc/ampsock/proxy.conf")
	with open(conf, "a", encoding="ascii") as f:
		f.write("# changed\n")
	os.makedirs(os.path.join(ROOT_DIR, "run/ampsock"), exist_ok=True)
	with open(os.path.join(ROOT_DIR, "run/ampsock/left"), "w", encoding="ascii"):
		pass
	passwd, group = text_of("etc/passwd"), text_of("etc/group")
	dpkg("--remove", "ampsock-proxy", "libampsock-dev")
	eq(ours(("usr/", "lib/")), [], "left of the packages")
	eq(text_of("etc/ampsock/proxy.conf").endswith("# changed\n"), True)
	eq((text_of("etc/passwd"), text_of("etc/group")), (passwd, group))
	dpkg("-i", *[p for p in packages() if "proxy" in p])
	eq(text_of("etc/ampsock/proxy.conf").endswith("# changed\n"), True, "configuration that somebody changed")
	eq((text_of("etc/passwd"), text_of("etc/group")), (passwd, group))
	eq([w for w in wants if w not in links("etc/systemd/system")], [], "enabled, and installed again")


@test
def purged():
	"""purge leaves the user, who may have files, without a shell or a password, and what the administrator wrote;
	nothing else: no link of a unit, no state of systemd's helpers, no directory in /run"""
	passwd, group = text_of("etc/passwd"), text_of("etc/group")
	dpkg("--purge", "ampsock-proxy")
	dpkg("--purge", "libampsock-dev")
	eq(ours(("usr/", "lib/")), [], "left of the packages")
	eq([f for f in ours(("etc/", "run/", "var/")) if not f.startswith("var/lib/dpkg/")], ["etc/ampsock/one.conf"])
	eq([f for f in ours(("var/lib/dpkg/info/",))], [])
	eq(os.path.exists(os.path.join(ROOT_DIR, "run/ampsock")), False)
	eq((text_of("etc/passwd"), text_of("etc/group")), (passwd, group))
	user = next(l for l in passwd.splitlines() if l.startswith("ampsock:")).split(":")
	eq((user[5], user[6]), ("/nonexistent", "/usr/sbin/nologin"))
	if os.path.exists(os.path.join(ROOT_DIR, "etc/shadow")):
		shadow = next(l for l in text_of("etc/shadow").splitlines() if l.startswith("ampsock:")).split(":")
		eq(shadow[1][:1] in "!*", True, "a password")


if __name__ == "__main__":
	if len(sys.argv) == 3 and sys.argv[1] == "--keep":
		try:
			build()
		except AssertionError as e:
			sys.exit("deb: %s" % e)
		os.makedirs(sys.argv[2], exist_ok=True)
		for path in glob.glob(HERE + "/*_*"):
			shutil.copy2(path, sys.argv[2])
			print(os.path.join(sys.argv[2], os.path.basename(path)))
		sys.exit(0)
	main()
