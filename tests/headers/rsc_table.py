# SPDX-License-Identifier: BSD-3-Clause
"""The resource table that firmware carries, against Linux's words for it, on every compiler.

expected() is include/linux/remoteproc.h's structures written down a second time:
struct resource_table, fw_rsc_hdr, fw_rsc_carveout, fw_rsc_trace, fw_rsc_vdev,
fw_rsc_vdev_vring, packed and little-endian.
"""

import os
import struct
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
SRC = os.path.join(os.path.dirname(os.path.dirname(HERE)), "src")
WARN = ["-Wall", "-Wextra", "-Wundef", "-Wshadow", "-Wconversion", "-Werror"]


def expected():
	"""Offsets count from the table's first byte."""
	any_da = 0xffffffff
	carveout = struct.pack("<I5I32s", 0, 0x21002000, 0x21002000, 0xe000, 0, 0, b"rpmsg")
	trace = struct.pack("<I3I32s", 2, 0x2100ff00, 0x100, 0, b"trace")
	# type; id, notifyid, dfeatures, gfeatures, config_len; status, num_of_vrings, reserved
	vdev = struct.pack("<I5I2B2x", 3, 7, 0, 1, 0, 16, 0, 2)
	# da, align, num, notifyid, pa
	vdev += struct.pack("<5I", any_da, 64, 16, 0, 0)
	vdev += struct.pack("<5I", 0x21004000, 64, 16, 1, 0)
	vdev += b"AMPE" + bytes(12)
	entries = [carveout, trace, vdev]
	at = 16 + 4 * len(entries)
	offsets = []
	for entry in entries:
		offsets.append(at)
		at += len(entry)
	return struct.pack("<4I3I", 1, len(entries), 0, 0, *offsets) + b"".join(entries)


def section(path, name):
	"""(alignment, bytes) of an ELF section; little-endian, 32 or 64 bits."""
	with open(path, "rb") as f:
		elf = f.read()
	wide = elf[4] == 2
	shoff = struct.unpack_from("<Q" if wide else "<I", elf, 0x28 if wide else 0x20)[0]
	shentsize, shnum, shstrndx = struct.unpack_from("<3H", elf, 0x3a if wide else 0x2e)
	headers = []
	for i in range(shnum):
		form = "<2I4Q2I2Q" if wide else "<10I"
		h = struct.unpack_from(form, elf, shoff + i * shentsize)
		headers.append(h)  # name type flags addr offset size link info align entsize
	names = headers[shstrndx]
	for h in headers:
		start = names[4] + h[0]
		if elf[start:elf.index(b"\0", start)].decode() == name:
			return h[8], elf[h[4]:h[4] + h[5]], h[2]
	return None


def compile_to(obj, compiler, flags):
	p = subprocess.run([compiler] + flags + WARN + ["-std=c11", "-Os", "-ffunction-sections",
			   "-fdata-sections", "-I", SRC, "-c", "-o", obj, os.path.join(HERE, "rsc_table.c")],
			   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
	return p.stdout or "exit status %d" % p.returncode if p.returncode else None


def check(compiler, flags, tmp):
	"""None, or what is wrong."""
	obj = os.path.join(tmp, "rsc_table.o")
	bad = compile_to(obj, compiler, flags)
	if bad:
		return bad
	with open(obj, "rb") as f:
		wide = f.read(5)[4] == 2
	if not wide:
		bad = compile_to(obj + ".address", compiler, flags + ["-DADDRESS"])
		if bad:
			return bad
	found = section(obj, ".resource_table")
	if found is None:
		return "no section .resource_table"
	align, data, attributes = found
	want = expected()
	if align % 16:
		return "aligned to %d" % align
	if attributes & 3 != 3:
		return "not writable, or not loaded"
	for at, (a, b) in enumerate(zip(data, want)):
		if a != b:
			return "byte %d is %#x, expected %#x" % (at, a, b)
	return None if len(data) == len(want) else "%d bytes, expected %d" % (len(data), len(want))
