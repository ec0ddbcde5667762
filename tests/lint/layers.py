#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Calls fall, events rise: who may include whom (docs/architecture.md, "The rule").

A file may include its own room's headers, the door of the room above (to raise an event),
the doors of the rooms on the floor below (to call), wire/, port.h and the configuration.
Anything else is listed here with its reason, or it is an error.
"""

import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SRC = os.path.join(ROOT, "src")

# Everybody: formats, the configuration, the door to the operating system.
EVERYBODY = ["wire/*", "ampsock_config.h", "port/port.h"]

# Room -> doors it may open besides its own headers. The reason stands beside each.
ROOMS = {
	"socket": [],  # floor 4 calls families through family.h, its own header
	"vsock": [
		"socket/family.h",   # af_vsock.c raises events to floor 4
		"conn/conn.h", "conn/meter.h",  # floor 2: states, credit
		"virtio/vq.h",       # floor 1
		"virtio/vq_fast.h",  # the same, inlined where speed matters
		"virtio/vdev.h",     # floor 1: bring-up
		"virtio/mmio_ops.h", # the same, where it is behind virtio-mmio and nowhere else
	],
	"af_inet": [
		"socket/family.h",   # its sockets, and its carrier like any other owner's
	],
	"af_rpmsg": [
		"socket/family.h", "conn/conn.h", "virtio/vq.h", "virtio/vdev.h",
		"virtio/vq_fast.h",  # floor 1, inlined where speed matters
		"vsock/vsock.h",  # floor 2: a stream over rpmsg is a connection of that engine
		"virtio/remoteproc.h",  # floor 1: bring-up
	],
	"conn": [],
	"virtio": [],
	"port": [],
	"wire": [],
	"posix": [
		"socket/amp_calls.h",  # what the POSIX names jump to
	],
	"preload": [
		"socket/amp_calls.h",  # ampsock-run: a Linux program on top of the hosted library
		"socket/stack.h",      # run_inside.c: what no call tells
		"cli/option.h",
		"af_rpmsg/af_rpmsg.h",
	],
	"cli": [],  # what our three programs for Linux say alike
	"ctl": ["cli/option.h"],  # ampsockctl: knows the proxy's socket and nothing of the proxy
	"proxy": [
		"cli/option.h",
		"conn/conn.h", "conn/meter.h",
		"vsock/vsock.h",
		"virtio/vq.h",
		"virtio/vhost_user_backend.h",  # the device side's door
		"virtio/vhost_user_keep.h",  # ... and what a successor needs of it
		"virtio/sigbus.h",              # memory that its owner may take away
		"virtio/remoteproc.h",          # the rpmsg host's door
		"af_rpmsg/rpmsg.h",
		"af_rpmsg/rpmsg_stream.h",
	],
}

# Engines are shared by both buildings: no door upwards, no public socket header.
ENGINES = ["vsock/vsock.c", "vsock/vsock.h", "vsock/vsock_inner.h", "vsock/vsock_fast.h",
	   "vsock/vsock_out.c", "vsock/vsock_conn.c", "vsock/vsock_request.c", "vsock/xport_loop.c", "conn/*", "virtio/vq*",
	   "virtio/vring.h", "virtio/vdev.h", "virtio/remoteproc*", "wire/*", "af_rpmsg/rpmsg.c",
	   "af_rpmsg/rpmsg_stream*", "af_rpmsg/rpmsg_serve.c", "af_rpmsg/rpmsg_told.c"]
ENGINES_MAY_NOT = ["socket/*", "<sys/socket.h>", "<sys/uio.h>", "<netinet/*>", "<poll.h>",
		   "<netdb.h>", "<arpa/inet.h>", "<ampsock.h>"]

# The freestanding part of the library: what a bare toolchain has, or include/ brings.
HOSTED = ["cli/*", "proxy/*", "ctl/*", "preload/*", "port/posix.*", "virtio/vhost_user_*", "virtio/sigbus.*", "vsock/hosted_*",
	  "af_rpmsg/hosted_*", "posix/hosted_*"]
LIBC = ["<stdbool.h>", "<stddef.h>", "<stdint.h>", "<stdarg.h>", "<limits.h>", "<string.h>",
	"<errno.h>", "<sys/types.h>", "<sys/time.h>", "<fcntl.h>", "<signal.h>", "<time.h>"]

# Single files with a reason of their own: file -> headers.
SINGLE = {
	# Hosted, a descriptor that is none of ours may be the process's own (its terminal).
	"port/posix.c": ["socket/fd.h"],
	# A Linux process waits on descriptors: the transport hands them to the port to watch.
	"virtio/vhost_user_frontend.c": ["port/posix.h"],
	# Hosted bring-up: what board code does for firmware, for a Linux process.
	"vsock/hosted_driver.c": ["virtio/vhost_user_frontend.h"],
	"vsock/hosted_device.c": ["virtio/vhost_user_backend.h", "port/posix.h"],
	"vsock/hosted_server.c": ["port/posix.h"],
	"vsock/hosted.h": ["virtio/vhost_user_backend.h"],
	"af_rpmsg/hosted_device.c": ["virtio/vhost_user_backend.h", "port/posix.h", "vsock/hosted.h"],
	# Sockets that are connections of the engine: the operations are the same for both.
	"af_rpmsg/af_rpmsg.h": ["vsock/af_vsock.h"],
	# As vsock/hosted_*, and one way to listen at a path for all of them.
	"af_rpmsg/hosted_bell.c": ["port/posix.h", "vsock/hosted.h"],
	# getaddrinfo() asks the proxy, and the session is af_inet's: floor 4 calls its door.
	"socket/resolve.c": ["af_inet/inet.h"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|(<[^>]+>))', re.MULTILINE)


def fits(name, patterns):
	return any(name == p or (p.endswith("*") and name.startswith(p[:-1])) or
		   (p.endswith("*>") and name.startswith(p[:-2])) for p in patterns)


def resolve(path, name):
	"""The quoted include as a path below src/, or None when it is not there."""
	for base in (os.path.dirname(path), SRC):
		full = os.path.normpath(os.path.join(base, name))
		if os.path.exists(full) and full.startswith(SRC + os.sep):
			return os.path.relpath(full, SRC)
	return None


def check_file(path, public):
	rel = os.path.relpath(path, SRC)
	room = rel.split(os.sep)[0] if os.sep in rel else ""
	if room and room not in ROOMS:
		yield rel, 1, "room %s is not in the table (tests/lint/layers.py)" % room
		return
	with open(path, encoding="utf-8") as f:
		text = f.read()
	for m in INCLUDE.finditer(text):
		line = text.count("\n", 0, m.start()) + 1
		if m.group(1):
			name = resolve(path, m.group(1))
			if name is None:
				# Our own public headers may stand in quotes, POSIX's not: hosted
				# builds take those from glibc.
				if m.group(1) in ("ampsock.h", "ampsock_hosted.h"):
					if fits(rel, ENGINES):
						yield rel, line, "an engine may not include " + m.group(1)
				elif "<%s>" % m.group(1) in public:
					yield rel, line, 'public header "%s" in quotes' % m.group(1)
				elif os.path.splitext(m.group(1))[1] != ".h" or not fits(rel, HOSTED):
					yield rel, line, 'no such file below src/: "%s"' % m.group(1)
				continue
			other = name.split(os.sep)[0] if os.sep in name else ""
			ok = other == room or fits(name, EVERYBODY) or fits(name, ROOMS.get(room, [])) or \
				fits(name, SINGLE.get(rel, []))
			if not ok:
				yield rel, line, "%s may not include %s" % (room or "src", name)
		else:
			name = m.group(2)
			if not fits(rel, HOSTED) and name not in LIBC and name not in public:
				yield rel, line, "%s is no header of a freestanding library" % name
		if fits(rel, ENGINES) and fits(name, ENGINES_MAY_NOT):
			yield rel, line, "an engine may not include %s" % name


def check_examples(public):
	"""Examples see what an application sees, and nothing else."""
	for path in sorted(glob.glob(os.path.join(ROOT, "examples/*.[ch]"))):
		with open(path, encoding="utf-8") as f:
			text = f.read()
		for m in INCLUDE.finditer(text):
			if m.group(1) and not os.path.exists(os.path.join(os.path.dirname(path), m.group(1))):
				yield (os.path.relpath(path, ROOT), text.count("\n", 0, m.start()) + 1,
				       'an example includes public headers only, not "%s"' % m.group(1))


def main():
	inc = os.path.join(ROOT, "include")
	public = {"<%s>" % os.path.relpath(p, inc)
		  for p in glob.glob(inc + "/**/*.h", recursive=True)}
	bad = 0
	files = sorted(p for ext in ("c", "h", "def", "S")
		       for p in glob.glob(SRC + "/**/*." + ext, recursive=True))
	for path in files:
		for rel, line, what in check_file(path, public):
			print("src/%s:%d: %s" % (rel, line, what))
			bad += 1
	for rel, line, what in check_examples(public):
		print("%s:%d: %s" % (rel, line, what))
		bad += 1
	return 1 if bad or not files else 0


if __name__ == "__main__":
	sys.exit(main())
