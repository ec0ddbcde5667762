#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Inputs that fuzzers begin with, as text: tests/fuzz/NAME.seeds.

	seeds.py unpack NAME DIR            a file for each
	seeds.py pack NAME FUZZER DIR       of the inputs there, as few as reach all that they reach

An input is lines of hexadecimal digits; an empty line ends it. Each reaches an edge of the code that those
before it do not. One that has become useless, because a format has changed, does no harm.
"""
import hashlib
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LINE = 100


def path_of(name):
	return os.path.join(HERE, name + ".seeds")


def unpack(name, to):
	if not os.path.exists(path_of(name)):
		return
	with open(path_of(name), encoding="ascii") as f:
		inputs = [bytes.fromhex(x) for x in f.read().split("\n\n") if x.strip()]
	for data in inputs:
		with open(os.path.join(to, hashlib.sha1(data).hexdigest()), "wb") as f:
			f.write(data)


def pack(name, fuzzer, found):
	with tempfile.TemporaryDirectory(prefix="ampsock-seeds-") as few:
		# edges only: how often each is passed is found out again soon
		subprocess.run([fuzzer, "-merge=1", "-use_counters=0", few, found], check=True, stdout=subprocess.DEVNULL,
			       stderr=subprocess.DEVNULL)
		inputs = []
		for entry in os.listdir(few):
			with open(os.path.join(few, entry), "rb") as f:
				inputs.append(f.read())
	with open(path_of(name), "w", encoding="ascii") as f:
		for data in sorted(inputs, key=lambda d: (len(d), d)):
			text = data.hex()
			f.write("".join(text[i:i + LINE] + "\n" for i in range(0, len(text), LINE)) + "\n")


if __name__ == "__main__":
	{"unpack": unpack, "pack": pack}[sys.argv[1]](*sys.argv[2:])
