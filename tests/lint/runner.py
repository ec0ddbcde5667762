#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Does tests/run see what is wrong with a test? One small script for each thing."""

import os
import subprocess
import sys
import tempfile

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


def main():
	print("1..%d" % len(CASES))
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
	return 1 if bad else 0


if __name__ == "__main__":
	sys.exit(main())
