#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Does tests/run see what is wrong with a test? One small script for each thing."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# name, script, environment, last line, exit status, text that must be in the output
CASES = [
	("two that pass", "echo 1..2; echo ok 1 - a; echo ok 2 - b", {}, "2 passed, 0 failed, 0 skipped", 0, ""),
	("one that fails", "echo 1..2; echo ok 1 - a; echo not ok 2 - b", {},
	 "1 passed, 1 failed, 0 skipped", 1, "not ok 2 - b"),
	("no TAP", "echo hello", {}, "0 passed, 1 failed, 0 skipped", 1, "no TAP"),
	("plan not reached", "echo 1..2; echo ok 1 - a", {}, "1 passed, 1 failed, 0 skipped", 1, "planned 2"),
	("more than planned", "echo 1..1; echo ok 1 - a; echo ok 2 - b", {},
	 "2 passed, 1 failed, 0 skipped", 1, "planned 1"),
	("crash after success", "echo 1..1; echo ok 1 - a; kill -SEGV $$", {},
	 "1 passed, 1 failed, 0 skipped", 1, "SIGSEGV"),
	("bad exit status", "echo 1..1; echo ok 1 - a; exit 3", {}, "1 passed, 1 failed, 0 skipped", 1,
	 "exit status 3"),
	("overruns its time", "# timeout: 1\necho ok 1 - a; exec sleep 50", {},
	 "1 passed, 1 failed, 0 skipped", 1, "killed after 1 s"),
	("leaves a process of its session", "sleep 50 & echo 1..1; echo ok 1 - a", {},
	 "1 passed, 1 failed, 0 skipped", 1, "left running"),
	("leaves a daemon", "setsid sleep 50 >/dev/null 2>&1 & echo 1..1; echo ok 1 - a; sleep 0.1", {},
	 "1 passed, 1 failed, 0 skipped", 1, "left running"),
	("skip with its reason", "echo 1..2; echo ok 1 - a; echo 'ok 2 - b # SKIP no such device'", {},
	 "1 passed, 0 failed, 1 skipped", 0, "no such device"),
	("whole skip", "echo '1..0 # SKIP not here'", {}, "0 passed, 0 failed, 1 skipped", 1, "not here"),
	("CI skips nothing", "echo 1..2; echo ok 1 - a; echo 'ok 2 - b # SKIP no such device'", {"CI": "true"},
	 "1 passed, 1 failed, 0 skipped", 1, "no such device"),
]


# The make that tests/run starts, in the cases below.
MAKE = "#!/bin/sh\n%s\n"
STAGE = "preload"  # has several tests, and needs a few targets


class Bench:
	"""tests/run with another make, in a directory of its own."""

	def __init__(self, tmp):
		self.dir = tempfile.mkdtemp(dir=tmp)
		self.build, self.half = self.dir + "/build", self.dir + "/build/half.o"
		os.makedirs(self.build)
		self.env = dict(os.environ, PATH=self.dir + ":" + os.environ["PATH"], HALF=self.half)
		self.old = self.build + "/old.o"
		with open(self.old, "w", encoding="ascii"):
			pass
		os.utime(self.old, (1, 1))

	def make(self, script):
		with open(self.dir + "/make", "w", encoding="ascii") as f:
			f.write(MAKE % script)
		os.chmod(self.dir + "/make", 0o755)

	def start(self):
		return subprocess.Popen([os.path.join(ROOT, "tests/run"), "--build", self.build, STAGE], env=self.env, text=True,
					stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0)

	def building(self):
		until = time.monotonic() + 30
		while not os.path.exists(self.half):
			if time.monotonic() > until:
				raise AssertionError("no make was started")
			time.sleep(0.01)

	def fails(self):
		"""With a make that fails; what tests/run says."""
		self.make("exit 2")
		p = self.start()
		return p.communicate(timeout=40)[0], p.returncode


def failed_build(bench):
	"""a build that fails: no program of an earlier one is run"""
	out, status = bench.fails()
	not_run = out.count("not run: what it needs does not build")
	last = out.rstrip().split("\n")[-1]
	if status != 1 or not_run < 2 or last != "0 passed, %d failed, 0 skipped" % (not_run + 1):
		raise AssertionError(out)


def killed_build(bench):
	"""a build that is killed, with tests/run: what it has written is gone in the next one, what was there is not"""
	bench.make("echo half >$HALF; echo $$ >$HALF.pid; exec sleep 50")
	p = bench.start()
	bench.building()
	while not re.match("[0-9]+\n", read(bench.half + ".pid")):
		time.sleep(0.01)
	p.kill()
	p.communicate(timeout=40)
	os.kill(int(read(bench.half + ".pid")), signal.SIGKILL)
	there = os.path.exists(bench.half)
	out, _ = bench.fails()
	if not there or os.path.exists(bench.half) or not os.path.exists(bench.old) or "a make was killed here" not in out:
		raise AssertionError(out)


def crashed_build(bench):
	"""make alone is killed, as where memory runs out: what it has written is gone"""
	bench.make("echo half >$HALF; kill -9 $$")
	out = bench.start().communicate(timeout=40)[0]
	if os.path.exists(bench.half) or not os.path.exists(bench.old) or "a make was killed here" not in out:
		raise AssertionError(out)


def two_builds(bench):
	"""two at once in one directory: the second waits, and takes nothing away"""
	bench.make("echo half >$HALF; until [ -e $HALF.go ]; do sleep 0.02; done; exit 2")
	one = bench.start()
	bench.building()
	two = bench.start()
	said = two.stdout.readline() + two.stdout.readline()
	there = os.path.exists(bench.half)
	with open(bench.half + ".go", "w", encoding="ascii"):
		pass
	said += two.communicate(timeout=40)[0]
	out = one.communicate(timeout=40)[0]
	if not there or "is waited for" not in said or "killed here" in said + out or (one.returncode, two.returncode) != (1, 1):
		raise AssertionError(out + said)


def interrupted_build(bench):
	"""tests/run is interrupted: make has time to take away what it was making"""
	bench.make("echo half >$HALF; trap 'rm $HALF; exit 130' TERM; echo ready >$HALF.pid; while :; do sleep 0.02; done")
	p = bench.start()
	bench.building()
	while read(bench.half + ".pid") != "ready\n":
		time.sleep(0.01)
	p.send_signal(signal.SIGINT)
	out = p.communicate(timeout=40)[0]
	if p.returncode != 130 or os.path.exists(bench.half) or os.path.exists(bench.build + "/.building"):
		raise AssertionError(out)


def read(path):
	try:
		with open(path, encoding="ascii") as f:
			return f.read()
	except OSError:
		return ""


BUILDS = [failed_build, killed_build, crashed_build, two_builds, interrupted_build]


def main():
	print("1..%d" % (len(CASES) + len(BUILDS)))
	bad = 0
	with tempfile.TemporaryDirectory(prefix="ampsock-runner-") as tmp:
		for n, (name, script, env, last, status, text) in enumerate(CASES, 1):
			path = os.path.join(tmp, "case.sh")
			with open(path, "w", encoding="ascii") as f:
				f.write("#!/bin/sh\n" + script + "\n")
			os.chmod(path, 0o755)
			full = {k: v for k, v in os.environ.items() if k != "CI"}
			r = subprocess.run([os.path.join(ROOT, "tests/run"), "--json", tmp + "/x.json", path],
					   env=dict(full, **env), stdout=subprocess.PIPE,
					   stderr=subprocess.STDOUT, text=True, timeout=30, check=False)
			lines = r.stdout.rstrip("\n").split("\n")
			ok = lines[-1] == last and r.returncode == status and text in r.stdout
			bad += not ok
			print("%s %d - %s" % ("ok" if ok else "not ok", n, name))
			if not ok:
				print("# exit status %d\n# %s" % (r.returncode, "\n# ".join(lines)))
		for n, case in enumerate(BUILDS, len(CASES) + 1):
			try:
				case(Bench(tmp))
				print("ok %d - %s" % (n, case.__doc__))
			except (AssertionError, subprocess.TimeoutExpired) as e:
				bad += 1
				print("not ok %d - %s\n# %s" % (n, case.__doc__, str(e).replace("\n", "\n# ")))
	return 1 if bad else 0


if __name__ == "__main__":
	sys.exit(main())
