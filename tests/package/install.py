#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""make install and uninstall; what is installed works: library, examples, units, completion."""
import os
import re
import shutil
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from installed import BUILD, ROOT, TMP, build_examples, demo, eq, files, free_port, main, run, test, wait_for  # noqa: E402

PREFIX = os.path.join(TMP, "usr")
WHERE = ["PREFIX=" + PREFIX, "SYSCONFDIR=" + os.path.join(TMP, "etc")]
UNITS = os.path.join(PREFIX, "lib/systemd/system")
EXPOSURE = 2.0
# What `make install-build` makes, and from what.
INSTALL_BUILT = ["ampsock-proxy", "ampsockctl", "ampsock-run", "libampsock-preload.so", "ampsock.c", "ampsock.h",
		 "gen", "proxy", "ctl", "preload", "hosted"]


def make(*args):
	return run(["make", "-s", "--no-print-directory", "BUILD=" + BUILD, *args], timeout=240)[1]


def pkg_config():
	return {**os.environ, "PKG_CONFIG_PATH": os.path.join(PREFIX, "lib/pkgconfig")}


@test
def install():
	"""everything is where it belongs, and every page of man/ is there"""
	make("install", *WHERE)
	have = files(TMP)
	want = ["etc/ampsock/proxy.conf", "usr/bin/ampsock-run", "usr/bin/ampsockctl", "usr/include/ampsock/ampsock.h", "usr/lib/libampsock.a",
		"usr/lib/ampsock/libampsock-preload.so", "usr/lib/pkgconfig/ampsock.pc", "usr/sbin/ampsock-proxy",
		"usr/lib/systemd/system/ampsock-proxy.service", "usr/lib/systemd/system/ampsock-proxy@.service",
		"usr/lib/sysusers.d/ampsock.conf", "usr/lib/tmpfiles.d/ampsock.conf", "usr/share/ampsock/firmware/ampsock.c",
		"usr/share/bash-completion/completions/ampsock-proxy", "usr/share/zsh/site-functions/_ampsockctl", "usr/share/doc/ampsock/protocol.md"]
	want += ["usr/share/man/man%s/%s" % (m[-1], m) for m in os.listdir(os.path.join(ROOT, "man"))]
	eq([w for w in want if w not in have], [], "missing")
	for name in files(UNITS):
		with open(os.path.join(UNITS, name), encoding="utf-8") as f:
			eq(re.findall(r"@[A-Z]+@", f.read()), [], name)


def state(where):
	"""Every file there, and when it was written."""
	have = {}
	for d, _, names in os.walk(where):
		for name in names:
			st = os.lstat(os.path.join(d, name))
			have[os.path.join(d, name)] = (st.st_ino, st.st_mtime_ns, st.st_uid)
	return have


@test
def build_directory():
	"""install writes nothing to the build directory of what is built, and what is not, root builds as its owner"""
	mine = os.path.join(TMP, "build") # a copy: other tests write to BUILD at the same time
	os.mkdir(mine)
	run(["cp", "-a", *[os.path.join(BUILD, name) for name in INSTALL_BUILT], mine])
	before = state(mine)
	make("BUILD=" + mine, "install", *WHERE)
	after = state(mine)
	eq([f for f in {**before, **after} if after.get(f) != before.get(f)], [])
	shutil.rmtree(mine)
	others = os.path.join(TMP, "others")
	os.mkdir(others)
	if os.geteuid() == 0:
		os.chown(others, 12345, 23456)
	text = run(["make", "-n", "BUILD=" + others, "install", *WHERE], ok=False, timeout=60)[1]
	eq("setpriv --reuid=12345 --regid=23456 --clear-groups" in text, os.geteuid() == 0)
	eq("setpriv" in run(["make", "-n", "BUILD=" + os.path.join(TMP, "none"), "install", *WHERE], ok=False, timeout=60)[1],
	   os.geteuid() == 0 and os.stat(ROOT).st_uid != 0)
	os.rmdir(others)


@test
def destdir():
	"""DESTDIR: uninstall removes what install put there, and a file that somebody changed stays"""
	dest = os.path.join(TMP, "dest")
	make("install", "DESTDIR=" + dest)
	eq(os.listdir(dest), ["etc", "usr"] if "etc" in os.listdir(dest)[0] else ["usr", "etc"])
	conf = os.path.join(dest, "etc/ampsock/proxy.conf")
	make("uninstall", "DESTDIR=" + dest)
	eq(files(dest), [])
	make("install", "DESTDIR=" + dest)
	with open(conf, "a", encoding="ascii") as f:
		f.write("# mine\n")
	eq("not overwritten" in make("install", "DESTDIR=" + dest), True)
	eq("it stays" in make("uninstall", "DESTDIR=" + dest), True)
	eq(files(dest), ["etc/ampsock/proxy.conf"])
	shutil.rmtree(dest)


@test
def shipped_config():
	"""the configuration that is shipped: right with all that is in comments taken in, and without links nothing to do"""
	proxy, shipped = os.path.join(PREFIX, "sbin/ampsock-proxy"), os.path.join(TMP, "etc/ampsock/proxy.conf")
	status, text = run([proxy, "--config", shipped, "--check-config"], ok=False)
	eq((status, "nothing to do" in text), (2, True), text)
	with open(shipped, encoding="ascii") as f:
		text = f.read()
	full = os.path.join(TMP, "full.conf")
	with open(full, "w", encoding="ascii") as f:
		f.write(re.sub(r"(?m)^#(?=[^ \n])", "", text).replace("user = ampsock", "user = nobody"))
	run([proxy, "--config", full, "--check-config"])


@test
def pkgconfig():
	"""pkg-config's flags: our headers are found, and the system's are not shadowed"""
	env = pkg_config()
	flags = run(["pkg-config", "--cflags", "ampsock"], env=env)[1].split()
	source = os.path.join(TMP, "shadow.c")
	with open(source, "w", encoding="ascii") as f:
		f.write("#include <sys/socket.h>\n#include <netdb.h>\n#include <netinet/in.h>\n#include <poll.h>\n"
			"#include <errno.h>\n#include <sys/un.h>\n#include <ampsock.h>\n#include <ampsock_hosted.h>\n"
			"#include <sys/rpmsg_socket.h>\n#include <sys/vm_sockets.h>\nint main(void) { return AF_RPMSG - AF_RPMSG; }\n")
	deps = run(["gcc", *flags, "-M", source])[1].split()
	ours = [os.path.relpath(d, PREFIX) for d in deps if d.startswith(PREFIX)]
	eq(sorted(ours), ["include/ampsock/ampsock.h", "include/ampsock/ampsock_hosted.h",
			  "include/ampsock/sys/rpmsg_socket.h", "include/ampsock/sys/vm_sockets.h"])
	run(["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", *flags, source, "-o", source + ".out",
	     *run(["pkg-config", "--libs", "ampsock"], env=env)[1].split()])
	run([source + ".out"])
	with open(os.path.join(PREFIX, "include/ampsock/ampsock.h"), encoding="utf-8") as f:
		version = re.search(r'AMPSOCK_VERSION "(.*)"', f.read()).group(1)
	eq(run(["pkg-config", "--modversion", "ampsock"], env=env)[1].strip(), version)


def example(name):
	"""One of the installed examples, built once."""
	where = os.path.join(TMP, "examples")
	if not os.path.isdir(where):
		build_examples(os.path.join(PREFIX, "share/doc/ampsock/examples"), where, pkg_config())
	return os.path.join(where, name)


@test
def run_demo():
	"""the demo, built from installed examples, through the installed proxy"""
	demo(os.path.join(PREFIX, "sbin/ampsock-proxy"), example("demo"))
	# the sources for firmware, with an ordinary compiler and without a C library's sockets
	fw = run(["pkg-config", "--variable=firmware", "ampsock"], env=pkg_config())[1].strip()
	run(["arm-none-eabi-gcc", "--specs=picolibc.specs", "-mcpu=cortex-m3", "-mthumb", "-std=c11", "-Os", "-Wall", "-Werror",
	     "-c", os.path.join(fw, "ampsock.c"), "-o", os.path.join(TMP, "fw.o")])


@test
def run_program():
	"""ampsock-run finds its library where it is installed"""
	text = run([os.path.join(PREFIX, "bin/ampsock-run"), "--", sys.executable, "-c",
		    "import os, socket; print(os.environ['LD_PRELOAD']); socket.socket(40, socket.SOCK_STREAM).close()"],
		   env={k: v for k, v in os.environ.items() if k != "AMPSOCK_PRELOAD"})[1]
	eq(os.path.realpath(text.split()[0]), os.path.join(os.path.realpath(PREFIX), "lib/ampsock/libampsock-preload.so"))


@test
def units_verify():
	"""systemd-analyze verify has nothing to say, of the units and of the example of a socket unit"""
	socket_unit = os.path.join(TMP, "ampsock-proxy.socket")
	shutil.copy(os.path.join(PREFIX, "share/doc/ampsock/examples/ampsock-proxy.socket"), UNITS)
	shutil.copy(os.path.join(UNITS, "ampsock-proxy.socket"), socket_unit)
	for unit in ("ampsock-proxy.service", "ampsock-proxy@guest.service", "ampsock-proxy.socket"):
		status, text = run(["systemd-analyze", "verify", "--man=no", os.path.join(UNITS, unit)], ok=False)
		lines = [l for l in text.splitlines() if "ampsock" in l]
		eq((status, lines), (0, []), unit)
	os.unlink(os.path.join(UNITS, "ampsock-proxy.socket"))


@test
def units_security():
	"""systemd-analyze security: both units at 2.0 or below"""
	for unit in ("ampsock-proxy.service", "ampsock-proxy@.service"):
		status, text = run(["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=%d" % (EXPOSURE * 10),
				    os.path.join(UNITS, unit)], ok=False)
		score = float(re.search(r"exposure level.*: ([0-9.]+)", text).group(1))
		print("# %s: %.1f" % (unit, score))
		if status or score > EXPOSURE:
			raise AssertionError("%s: %.1f\n%s" % (unit, score, "\n".join(l for l in text.splitlines() if "\u2717" in l)))


def syscalls(unit):
	"""What SystemCallFilter= allows: names, groups taken apart, in the order of the lines."""
	groups, name = {}, None
	for line in run(["systemd-analyze", "--no-pager", "syscall-filter"])[1].splitlines():
		line = re.sub(r"\x1b\[[0-9;]*m", "", line)
		if line.startswith("@"):
			name = line.strip()
			groups[name] = []
		elif name and line.startswith("    ") and not line.strip().startswith("#"):
			groups[name].append(line.strip())

	def expand(word):
		return set().union(*(expand(w) for w in groups[word])) if word.startswith("@") else {word}
	allowed = expand("@default")
	with open(unit, encoding="utf-8") as f:
		for m in re.finditer(r"^SystemCallFilter=(~?)(.*)$", f.read(), re.M):
			for word in m.group(2).split():
				allowed = allowed - expand(word) if m.group(1) else allowed | expand(word)
	return allowed


# The user, the filter as the manager's, then the program. Arguments: calls with commas, program and its arguments.
FILTERED = """
import ctypes, ctypes.util, os, sys
os.umask(7)
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
lib = ctypes.CDLL(ctypes.util.find_library("seccomp") or "libseccomp.so.2")
lib.seccomp_init.restype = ctypes.c_void_p
if sys.argv[1] == "-":
    os.execv(sys.argv[2], sys.argv[2:])
ctx = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(0x00050000 | 1)))
for name in sys.argv[1].split(","):
    nr = lib.seccomp_syscall_resolve_name(name.encode())
    if nr >= 0:
        assert lib.seccomp_rule_add(ctx, ctypes.c_uint32(0x7fff0000), nr, 0) == 0, name
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
assert lib.seccomp_load(ctx) == 0
os.execv(sys.argv[2], sys.argv[2:])
"""


@test
def units_filter():
	"""the proxy serves below the units' own filter of system calls, and confines its worker as without"""
	allowed = syscalls(os.path.join(UNITS, "ampsock-proxy.service"))
	eq({"read", "epoll_wait", "socket"} <= allowed and not {"init_module", "reboot", "swapon"} & allowed, True)
	lost = []
	os.chmod(TMP, 0o755)
	for calls in ("-", ",".join(sorted(allowed))):
		launcher = os.path.join(TMP, "filtered")
		with open(launcher, "w", encoding="ascii") as f:
			f.write("#!/bin/sh\nexec %s -c '%s' %s %s \"$@\"\n" % (
				sys.executable, FILTERED, calls, os.path.join(PREFIX, "sbin/ampsock-proxy")))
		os.chmod(launcher, 0o755)
		log = demo(launcher, example("demo"))
		lost.append([l for l in log.splitlines() if "cannot be had" in l])
	eq(lost[1], lost[0], "of its own confinement, for the unit's sake")


@test
def accounts():
	"""sysusers and tmpfiles make the user, the group and the directory in an empty root"""
	root = os.path.join(TMP, "root")
	os.makedirs(root + "/etc")
	run(["systemd-sysusers", "--root=" + root, os.path.join(PREFIX, "lib/sysusers.d/ampsock.conf")])
	with open(root + "/etc/passwd", encoding="ascii") as f:
		user = f.read().strip().split(":")
	eq((user[0], user[5], user[6]), ("ampsock", "/nonexistent", "/usr/sbin/nologin"))
	if os.geteuid() != 0:
		return "a directory of another user is root's to make"
	run(["systemd-tmpfiles", "--root=" + root, "--create", os.path.join(PREFIX, "lib/tmpfiles.d/ampsock.conf")])
	st = os.stat(root + "/run/ampsock")
	eq((st.st_mode & 0o777, st.st_uid, st.st_gid), (0o711, int(user[2]), int(user[3])))
	return None


def complete(program, *words):
	"""What bash would offer for the last word."""
	path = os.path.join(PREFIX, "share/bash-completion/completions", os.path.basename(program))
	script = r"""
set -u
. "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMPREPLY=()
fn=$(complete -p "${1##*/}" | sed 's/.*-F \([^ ]*\).*/\1/')
"$fn" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"}
"""
	return sorted(set(run(["bash", "--norc", "-c", script, "bash", path, program, *words], cwd=TMP)[1].split("\n")) - {""})


@test
def completion():
	"""bash completes every option of --help, types of links, levels, files"""
	for name, where in (("ampsock-proxy", "sbin"), ("ampsock-run", "bin"), ("ampsockctl", "bin")):
		program = os.path.join(PREFIX, where, name)
		text = run([program, "--help"])[1]
		options = sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)))
		eq(complete(program, "--"), options, name)
	proxy, runner = os.path.join(PREFIX, "sbin/ampsock-proxy"), os.path.join(PREFIX, "bin/ampsock-run")
	ctl = os.path.join(PREFIX, "bin/ampsockctl")
	for word in ("status", "links", "sockets", "top", "rules", "publish", "log", "capture", "reset", "reload", "upgrade"):
		eq(word in complete(ctl, ""), True, word)
	eq(complete(ctl, "--json", "log", "level", "d"), ["debug"])
	eq(complete(ctl, "publish", ""), ["add", "del"])
	eq(complete(proxy, "--link", "vsock"), ["vsock-unix:", "vsock:"])
	eq(complete(proxy, "--lo"), ["--log-level"])
	eq(complete(proxy, "--log-level", "w"), ["warning"])
	eq("vhost-user-vsock:" in complete(proxy, "--link", "v"), True)
	eq(complete(proxy, "--config", "etc/ampsock/p"), ["etc/ampsock/proxy.conf"])
	eq(complete(runner, "--link", "rpmsg-h"), ["rpmsg-host:"])
	eq("bash" in complete(runner, "--link", "vhost-user", ":", "/x", "bas"), True)


def zsh(*words, path=None):
	"""What zsh would offer for the last word; path: where the programs are."""
	env = {**os.environ, "PATH": (path or PREFIX + "/bin:" + PREFIX + "/sbin") + ":" + os.environ["PATH"]}
	text = run(["zsh", "-f", os.path.join(ROOT, "tests/package/lib/complete.zsh"), os.path.join(PREFIX, "share/zsh/site-functions"), *words],
		   cwd=TMP, env=env, ok=False)[1]
	return sorted(text.splitlines())


@test
def completion_zsh():
	"""zsh completes every option of --help, commands, levels, types of links, files, links of the proxy that runs"""
	if not shutil.which("zsh"):
		return "zsh is not installed"
	for name, where in (("ampsock-proxy", "sbin"), ("ampsock-run", "bin"), ("ampsockctl", "bin")):
		text = run([os.path.join(PREFIX, where, name), "--help"])[1]
		options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text))
		# long names of short options are not in the help
		eq(sorted(options - set(zsh(name, "--"))), [], name)
	text = run([os.path.join(PREFIX, "bin/ampsockctl"), "--help"])[1]
	eq(zsh("ampsockctl", ""), sorted(set(re.findall(r"(?m)^  ([a-z]+) ", text))))
	eq(zsh("ampsockctl", "--json", "log", "level", "d"), ["debug"])
	eq(zsh("ampsockctl", "publish", ""), ["add", "del"])
	eq(zsh("ampsock-proxy", "--link", "v"), ["vhost-user-vsock:", "vsock-unix:", "vsock:"])
	eq(zsh("ampsock-proxy", "--log-level", "w"), ["warning"])
	eq(zsh("ampsock-proxy", "--config", "etc/ampsock/p"), ["proxy.conf"])
	eq(zsh("ampsock-run", "--link", "rpmsg-h"), ["rpmsg-host:"])
	eq("bash" in zsh("ampsock-run", "--link", "vhost-user:/x", "bas"), True)
	# the program is asked for the links, of the same proxy
	fake = os.path.join(TMP, "fake")
	os.mkdir(fake)
	with open(fake + "/ampsockctl", "w", encoding="ascii") as f:
		f.write('#!/bin/sh\n[ "$*" = "--socket /x --json links" ] && echo \'[{"name":"vm1","type":"vsock"},{"name":"vm2"}]\'\n')
	os.chmod(fake + "/ampsockctl", 0o755)
	for words in (("reset",), ("publish", "add"), ("links", "-l")):
		eq(zsh("ampsockctl", "--socket", "/x", *words, "", path=fake), ["vm1", "vm2"], words)
	return None


@test
def pages():
	"""every option that a program prints is in its manual page"""
	for name, where, page in (("ampsock-proxy", "sbin", 8), ("ampsock-run", "bin", 1), ("ampsockctl", "bin", 1)):
		with open(os.path.join(PREFIX, "share/man/man%d/%s.%d" % (page, name, page)), encoding="utf-8") as f:
			text = f.read()
		options = set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", run([os.path.join(PREFIX, where, name), "--help"])[1]))
		eq(sorted(o for o in options if "Fl Fl " + o not in text), [], name)


@test
def libraries():
	"""what reads from guests links no packet capture and no systemd: ampsockctl alone has libpcap"""
	needed = {name: re.findall(r"NEEDED.*\[(.*?)\.so", run(["readelf", "-d", os.path.join(PREFIX, name)])[1])
		  for name in ("sbin/ampsock-proxy", "bin/ampsockctl")}
	eq([lib for lib in ("libpcap", "libsystemd", "libdbus-1") if lib in needed["sbin/ampsock-proxy"]], [])
	eq(("libpcap" in needed["bin/ampsockctl"], "libuv" in needed["sbin/ampsock-proxy"]), (True, True), needed)


# The firmware of ampsock(7): one connection is taken and answered, by calls that headers give other names.
HELLO = r"""
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in me = {.sin_family = AF_INET, .sin_port = htons(80)}, peer;
	struct timeval tv = {.tv_sec = 60};
	socklen_t len = sizeof(peer);
	size_t most = (size_t)argc * 16; /* 16, which no compiler knows */
	struct pollfd p[1];
	int s = socket(AF_INET, SOCK_STREAM, 0), k;
	char buf[32] = "";
	fd_set in;

	(void)argv;
	if (s < 0 || bind(s, (struct sockaddr *)&me, sizeof(me)) != 0 || listen(s, 1) != 0)
		return fail("listen");
	if (fcntl(s, F_SETFL, O_NONBLOCK) != 0 || !(fcntl(s, F_GETFL) & O_NONBLOCK))
		return fail("fcntl");
	if (accept(s, NULL, NULL) != -1 || errno != EAGAIN)
		return fail("accept");
	printf("listening\n");
	p[0] = (struct pollfd){.fd = s, .events = POLLIN};
	if (poll(p, (nfds_t)argc, 60000) != 1)
		return fail("poll");
	k = accept(s, NULL, NULL);
	FD_ZERO(&in);
	FD_SET(k, &in);
	if (k < 0 || select(k + 1, &in, NULL, NULL, &tv) != 1)
		return fail("select");
	if (recv(k, buf, most, MSG_PEEK) != 4 || recvfrom(k, buf, most, 0, (struct sockaddr *)&peer, &len) != 4 ||
	    read(k, buf, most) != 0 || memcmp(buf, "ping", 4) != 0)
		return fail("recv");
	return send(k, "pong", 4, 0) == 4 && close(k) == 0 ? 0 : fail("send");
}
"""
# What compilers are told by default somewhere, or packages by their builder.
HOW = ("", "-O2 -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2")


def displays(page):
	"""The literal displays of an installed page, one text each."""
	with open(os.path.join(PREFIX, "share/man/man%s/%s" % (page[-1], page)), encoding="utf-8") as f:
		return [m.replace(r"\e", "\\") for m in re.findall(r"(?ms)^\.Bd -literal[^\n]*\n(.*?)^\.Ed$", f.read())]


def ping(port):
	with socket.create_connection(("127.0.0.1", port), timeout=60) as k:
		k.sendall(b"ping")
		k.shutdown(socket.SHUT_WR)
		return k.recv(16)


def first_steps(where, how, compile_and_run, serve):
	"""The commands of the page, with other names for a directory and a port."""
	port = free_port()
	env = {**pkg_config(), "PATH": "%s:%s/sbin:%s/bin:%s" % (where, PREFIX, PREFIX, os.environ["PATH"]), "HOW": how}
	serve = serve.replace("/run/ampsock", where).replace(":8080", ":%d" % port)
	with subprocess.Popen(["sh", "-c", "exec " + serve], cwd=where, env=env, stdin=subprocess.DEVNULL,
			      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as proxy:
		try:
			wait_for("the proxy listens", lambda: proxy.poll() is not None or os.path.exists(where + "/m4.sock"))
			with subprocess.Popen(["sh", "-ec", compile_and_run.replace("/run/ampsock", where)], cwd=where, env=env,
					      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as fw:
				eq(fw.stdout.readline(), "listening\n", how)
				eq(ping(port), b"pong", how)
				eq(fw.wait(60), 0, how)
		finally:
			proxy.terminate()
	os.unlink(where + "/hello")


@test
def first_page():
	"""the commands of ampsock(7): compiled with and without fortified headers, and for wide files and times"""
	where = os.path.join(TMP, "first")
	os.mkdir(where)
	os.chmod(where, 0o777)  # the proxy may not be who we are
	with open(where + "/hello.c", "w", encoding="ascii") as f:
		f.write(HELLO)
	with open(where + "/cc", "w", encoding="ascii") as f:
		f.write('#!/bin/sh\nexec gcc -D_GNU_SOURCE $HOW "$@"\n')
	os.chmod(where + "/cc", 0o755)
	compile_and_run, rest = displays("ampsock.7")
	serve, qemu = rest.split("\n\n")
	for how in HOW:
		first_steps(where, how, compile_and_run, serve)
	# tests/qemu boots firmware with boards/run-qemu.sh's options: those of the page are among them
	tested = run([os.path.join(ROOT, "boards/run-qemu.sh"), "qemu-virt-aarch64", "firmware.elf", "-s", "/run/ampsock/m4.sock", "-n"])[1]
	eq([w for w in re.split(r"[\s,\\]+", qemu) if w not in re.split(r"[\s,]+", tested)], [])


@test
def builders_flags():
	"""what ampsock-run loads compiles with flags for wide files and times, which rename what it defines"""
	where = os.path.join(TMP, "flags")
	make("BUILD=" + where, "CFLAGS=-O1 " + HOW[-1], where + "/preload/preload_fd.o", where + "/preload/preload_io.o")
	eq(sorted(re.findall(r"T (fcntl\w*)", run(["nm", where + "/preload/preload_fd.o"])[1])), ["fcntl", "fcntl64"])
	shutil.rmtree(where)


@test
def uninstall():
	"""uninstall leaves nothing behind"""
	make("uninstall", *WHERE)
	eq(files(PREFIX), [])
	eq(files(os.path.join(TMP, "etc")), [])


if __name__ == "__main__":
	main()
