#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What each feature of vsock-small costs: it is taken out of a copy of the sources, and that is measured.

	features.py [--build DIR] [--dry] [--record] [FEATURE ...]

Most edits give a function another body, so that they outlive what is done inside. One that finds its
place no more is an error, and so is one that saves nothing: the table must not say 0 of what it has
missed. What is left is no configuration (most of it would hang, or crash on a bad peer), and it is
never run. --dry: do all edits find their places? A second; nothing is compiled. --record: writes the table
of docs/size.md. Not a part of `make check`: a change of the library may move an edit's place.
"""

import argparse
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import size  # noqa: E402

HOME = size.ROOT
DOC = os.path.join(HOME, "docs/size.md")
BLOCK = re.compile(r"(<!-- features -->\n).*?(<!-- end -->)", re.DOTALL)
CONFIG = "vsock-small"

AF, CONN, LINK = "src/vsock/af_vsock.c", "src/vsock/vsock_conn.c", "src/vsock/link_driver.c"
ENGINE, INNER = "src/vsock/vsock.c", "src/vsock/vsock_inner.h"
MMIO, REGS = "src/virtio/mmio.c", "src/virtio/mmio_ops.h"
MSG, API, STACK = "src/socket/msg.c", "src/socket/api.c", "src/socket/stack.c"
SOCKS, LOOP = "src/socket/socks.c", "src/socket/msg_loop.h"
RINGS = ("src/virtio/vq_ring.h", "src/virtio/vq_split.c")
# A condition that ends in such a statement.
LIED = r"if \((?:[^;{}]|\n)*?\)\s*return ring_lied\((?:[^;]|\n)*?\);"


def body(file, function, text):
	"""Another body for a function."""
	return ("body", file, function, text)


def sub(file, pattern, text):
	"""Every match of a regular expression."""
	return ("sub", file, pattern, text)


def either(*edits):
	"""The first that finds its place."""
	return ("either", edits)


# name: (edits, flags, what a program is without it)
FEATURES = {
	"`SOCK_SEQPACKET`": ([
		body("src/vsock/af_vsock.h", "is_stream", "(void)s; return true;"),
		body("src/vsock/af_vsock.h", "wire_type", "(void)s; return AMP_VSOCK_STREAM;"),
		body(INNER, "amp_vsock_type_good", "return type == AMP_VSOCK_STREAM;"),
		sub(CONN, r"!QUEUES \|\| c->type == AMP_VSOCK_STREAM", "true"),
		sub(LINK, r"AMP_VSOCK_F_SEQPACKET \|\s*\(AMPSOCK_EVENT_IDX", "(AMPSOCK_EVENT_IDX"),
		], [], "streams alone"),
	"`poll()`": ([body("src/socket/poll.c", "amp_poll", "(void)fds; (void)nfds; (void)timeout; return -1;")],
		[], "who waits for two things at once needs another way; most of it is what each socket answers"),
	"restarts": ([
		body(LINK, "link_restart", "(void)why; d->l.up = false; return -1;"),
		body(LINK, "event_came", "(void)d; return false;"),
		body(REGS, "amp_mmio_events", "(void)vd; return 0;"),
		body(CONN, "amp_vsock_down", "(void)vs;"),
		], [], "no TRANSPORT_RESET, no device that is gone or broke a ring: one failure is for ever"),
	"the meter": ([
		body(AF, "amp_vsock_meter", "(void)s; return len;"),
		body("src/vsock/af_vsock.h", "amp_vsock_metered", "(void)s;"),
		sub(CONN, r"QUEUES && left <= 0 && c->state == AMP_CONN_OPEN", "false"),
		], [], "newer Linux hosts reset a connection after 455 small packets that were not read"),
	"time-outs": ([
		body("src/vsock/vsock.h", "amp_vsock_deadline", "(void)vs; (void)c; (void)at_ms;"),
		body(CONN, "amp_vsock_tick", "(void)vs; (void)now_ms; return -1;"),
		body("src/socket/stack.h", "amp_call_init", "(void)timeo_ms; c->s = s; c->looked = c->started = false;"
			" c->timeout_ms = s->flags & AMP_SF_NONBLOCK ? 0 : AMP_FOREVER;"),
		sub(API, r"c->timeout_ms = AMPSOCK_CONNECT_MS;", ";"),
		], [], "`SO_RCVTIMEO`, `SO_SNDTIMEO`; no `connect()` ends by itself, nor a close without answer"),
	"checks of the device": ([
		sub(LINK, r"if \(raw\[1\](?:[^;{}])*\) \{(?:[^{}])*\}", ""),
		sub(LINK, r"if \(!\(features & AMP_VIRTIO_F_VERSION_1\)\)\s*goto fail;", ""),
		sub(LINK, r"if \((?:vd->mem && )?vd->mem_len < MEM_LEN\)\s*return -ENOBUFS;", ""),
		body(MMIO, "amp_mmio_forget", "m->regs[R_STATUS] = 0; while (m->regs[R_STATUS]) ; m->event = 0; return 0;"),
		sub(REGS, r"if \(regs\[R_QUEUE_READY\] != 0\)\s*return -EBUSY;", ""),
		sub(REGS, r"return regs\[R_QUEUE_READY\] == 1 \? 0 : -EIO;", "return 0;"),
		sub(REGS, r"return m->regs\[R_STATUS\] & S_NEEDS_RESET \? -EIO : 0;", "return 0;"),
		sub(REGS, r"if \(m->regs\[R_STATUS\] & S_FEATURES_OK\)\s*return 0;\s*m->why = AMP_MMIO_REFUSED;\s*return -ENOTSUP;", "return 0;"),
		sub(MMIO, r"if \(regs\[R_MAGIC\] != MAGIC\)\s*return -ENODEV;", ""),
		sub(MMIO, r"if \(regs\[R_VERSION\] == 2\)\s*return 0;(?:[^{}])*\n\}", "return 0;\n}"),
		sub(REGS, r"if \(regs\[0\] == gen\)\s*return 0;", "return 0;"),
		], [], "magic, version, status, queue and CID believed, waits for registers without bound"),
	"RSTs to strangers": ([
		body(CONN, "amp_vsock_stray_rst", "(void)vs; (void)ends; (void)type;"),
		either(body(ENGINE, "flush_strays", "(void)vs; return true;"), body(INNER, "amp_vsock_strays_room", "(void)vs; return true;")),
		body(INNER, "strays_full", "(void)vs; return false;"),
		], [], "a peer whose connection is not known here is never told"),
	"checks of the rings": ([sub(f, LIED, "") for f in RINGS],
		[], "the device's indices, ids and lengths believed: they lead out of the memory that is meant"),
	"half-close": ([
		body(CONN, "in_shutdown", "(void)flags; amp_vsock_in_rst(vs, c);"),
		sub(CONN, r"c->peer_shut\b(?! =[^=])", "0"),
		], [], "the peer's `shutdown()` of one way is the end of both"),
	"`bind()`": ([
		body(API, "amp_bind", "(void)fd; (void)addr; (void)len; return 0;"),
		sub(AF, r"if \(!\(s->flags & AMP_SF_BOUND\)\)\s*c->local.port", "c->local.port"),
		], [], "a port is always any"),
	"orderly close, linger": ([
		body(CONN, "amp_vsock_close", "(void)now_ms; (void)wait_ms; amp_vsock_abort(vs, c);"),
		sub(CONN, r"c->state == AMP_CONN_CLOSING\b", "0"),
		sub(CONN, r"was != AMP_CONN_CLOSING && ", ""),
		], [], "`close()` is a reset, and what the peer had not read may be lost"),
	"CID 1 told apart": ([
		body(AF, "own_cid", "(void)cid; return false;"),
		sub(CONN, r"amp_vsock_cid\(&c->peer\) == AMP_VSOCK_CID_LOCAL", "false"),
		], ["-DAMPSOCK_LOOP=0"], "`connect()` to one's own address goes to the host"),
	"event index": ([], ["-DAMPSOCK_EVENT_IDX=0"], "a notification for each buffer"),
	"flags and marks of `recv()`": ([
		sub(AF, r"\(flags & MSG_PEEK\) != 0", "false"),
		sub(AF, r"flags & MSG_TRUNC \? \(ssize_t\)full : n", "n"),
		sub(AF, r"used >= s->rcvlowat", "true"),
		sub(LOOP, r"flags & MSG_WAITALL \? m->len : s->rcvlowat \? s->rcvlowat : 1", "1"),
		sub(LOOP, r"\(flags & MSG_PEEK\)(?: != 0)?", "false"),
		], [], "`MSG_PEEK`, `MSG_WAITALL`, `MSG_TRUNC`, `SO_RCVLOWAT`"),
	"statistics": ([
		sub(ENGINE, r"vs->stats\.\w+\+\+;", ";"), sub(CONN, r"vs->stats\.\w+\+\+;", ";"),
		sub(SOCKS, r"if \((?:\+\+)?amp_counts\.sockets_used > amp_counts\.sockets_max\)\s*"
			r"amp_counts\.sockets_max = amp_counts\.sockets_used;", ""),
		sub(SOCKS, r"amp_counts\.\w+(?:\+\+|--| \+= \(uint32_t\)more);", ";"),
		], [], "`amp_stats_get()` is all zero"),
	"checks of headers": ([
		body(ENGINE, "header_fault", "(void)vs; (void)h; (void)len; return NULL;"),
		sub(ENGINE, r"if \(buf->len < AMP_VSOCK_HDR_LEN\) \{[^{}]*\}", ""),
		body(INNER, "amp_vsock_type_good", "(void)type; return true;"),
		], [], "foreign CIDs, lengths beyond the buffer and unknown types are believed"),
	"not blocking": ([
		sub("src/socket/stack.h", r"s->flags & AMP_SF_NONBLOCK \? 0 : ", ""),
		sub(MSG, r"if \(flags & MSG_DONTWAIT\)\s*c(?:->|\.)timeout_ms = 0;", ""),
		sub(API, r"if \(!c->timeout_ms\)\s*return before \? -EALREADY : -EINPROGRESS;", ""),
		sub(SOCKS, r"if \((?:s && \()?type & SOCK_NONBLOCK\)?\)\s*s->flags \|?= AMP_SF_NONBLOCK;", ""),
		], [], "`O_NONBLOCK`, `MSG_DONTWAIT`, `connect()` that goes on by itself"),
	"the console's descriptors": ([body(STACK, "amp_fd_other", "(void)fd; return (int)ask;")], [], "0 to 2 are nothing"),
	"asking for credit": ([body(CONN, "amp_vsock_want_credit", "(void)vs; if (c->state == AMP_CONN_OPEN) c->starved = 1;")],
		[], "a writer waits for a peer that does not volunteer"),
	"checks of credit": ([
		body("src/conn/conn.h", "amp_credit_rx_ok", "(void)c; (void)buf_alloc; (void)len; return true;"),
		sub("src/conn/conn.h", r"if \(c->tx_cnt - fwd_cnt > c->tx_cnt - c->peer_fwd_cnt\)\s*return false;", ""),
		], [], "a peer that sends more than was granted overruns the ring"),
}


class Lost(Exception):
	pass


def other_body(text, function, new):
	"""The definition at the left margin, up to the brace at the left margin."""
	found = list(re.finditer(r"^[^\s#/*}][^;{}]*\b%s\([^;{}]*\)\n\{\n.*?^\}" % function, text, re.MULTILINE | re.DOTALL))
	if len(found) != 1:
		raise Lost("%d functions %s()" % (len(found), function))
	m = found[0]
	head = m.group(0)[:m.group(0).index("\n{\n")]
	return text[:m.start()] + head + "\n{\n\t" + new + "\n}" + text[m.end():]


def edit(root, edits):
	for one in edits:
		if one[0] != "either":
			edit_one(root, *one)
			continue
		for n, way in enumerate(one[1], 1):
			try:
				edit_one(root, *way)
				break
			except Lost:
				if n == len(one[1]):
					raise


def edit_one(root, what, file, place, new):
	path = os.path.join(root, file)
	try:
		with open(path, encoding="utf-8") as f:
			text = f.read()
		if what == "body":
			text = other_body(text, place, new)
		else:
			text, cnt = re.subn(place, lambda _: new, text)
			if cnt == 0:
				raise Lost("nothing like /%s/" % place)
	except (Lost, OSError) as e:
		raise Lost("%s: %s" % (file, e)) from None
	with open(path, "w", encoding="utf-8") as f:
		f.write(text)


def copy_of_sources(to):
	shutil.rmtree(to, ignore_errors=True)
	for part in ("src", "include", "tests/size"):
		shutil.copytree(os.path.join(HOME, part), os.path.join(to, part), ignore=shutil.ignore_patterns("__pycache__"))


def text_without(where, edits, flags, only):
	"""(bytes, the sources that were needed)."""
	copy_of_sources(where)
	edit(where, edits)
	cfg = size.CONFIGS[CONFIG]
	size.ROOT, size.Build.compiled = where, {}
	try:
		b = size.Build("out", size.MAIN, cfg["flags"] + flags, cfg["program"], only)
		modules = b.modules()
	finally:
		size.ROOT = HOME
	return size.total(modules, "text", "rodata", "data"), size.kept_sources(modules)


def record(rows, whole, rest):
	with open(DOC, encoding="utf-8") as f:
		text = f.read()
	if not BLOCK.search(text):
		raise Lost("docs/size.md has no place for it")
	table = "*vsock-small* was %d bytes when this was measured; without all of these together it is %s.\n\n" % (whole, rest or "not to be had")
	table += "| feature | bytes | without it |\n|---|---:|---|\n"
	table += "".join("| %s | %d | %s |\n" % row for row in rows)
	with open(DOC, "w", encoding="utf-8") as f:
		f.write(BLOCK.sub(lambda m: m.group(1) + table + m.group(2), text))


def measure(names, where):
	"""([(feature, bytes, without it)], bytes of all, problems)."""
	rows, bad = [], []
	size.FLAGS += ["-w", "-Wno-error"]  # what is not used any more
	whole, only = text_without(where, [], [], None)
	print("%-32s %6d bytes" % (CONFIG, whole), flush=True)
	for name in names:
		edits, flags, what = FEATURES[name]
		try:
			saved = whole - text_without(where, edits, flags, only)[0]
			if saved <= 0:
				raise Lost("saves %d bytes: the edit misses it" % saved)
		except (Lost, size.Fail) as e:
			bad.append("%s: %s" % (name, str(e)[:600]))
			continue
		rows.append((name, saved, what))
		print("%-32s %6d" % (name, saved), flush=True)
	return sorted(rows, key=lambda r: -r[1]), whole, only, bad


def together(names, where, only, bad):
	"""What is left without all of them. An edit of a place that another has taken away is done without."""
	edits, flags = [], []
	for name in names:
		edits += FEATURES[name][0]
		flags += FEATURES[name][1]
	copy_of_sources(where)
	done = []
	for e in edits:
		try:
			edit(where, [e])
			done.append(e)
		except Lost:
			pass
	try:
		return text_without(where, done, flags, only)[0]
	except (Lost, size.Fail) as e:
		bad.append("all together: %s" % str(e)[:600])
		return None


def dry(names, where):
	bad = []
	for name in names:
		copy_of_sources(where)
		try:
			edit(where, FEATURES[name][0])
		except Lost as e:
			bad.append("%s: %s" % (name, e))
	return bad


def main():
	p = argparse.ArgumentParser()
	p.add_argument("--build", default="build")
	p.add_argument("--dry", action="store_true")
	p.add_argument("--record", action="store_true")
	p.add_argument("feature", nargs="*")
	opt = p.parse_args()
	names = opt.feature or list(FEATURES)
	unknown = [n for n in names if n not in FEATURES]
	if unknown:
		p.error("no feature %s; there are: %s" % (", ".join(unknown), ", ".join(FEATURES)))
	if opt.record and (opt.feature or opt.dry):
		p.error("--record: the table is of all features, measured")
	where = os.path.abspath(os.path.join(HOME, opt.build, "size/features"))
	os.makedirs(where, exist_ok=True)
	if opt.dry:
		bad = dry(names, where)
	else:
		rows, whole, only, bad = measure(names, where)
		rest = together(names, where, only, bad)
		print("%-32s %6s" % ("without all of them", rest))
		if opt.record and not bad:
			record(rows, whole, rest)
	for line in bad:
		print("features: " + line, file=sys.stderr)
	if bad and opt.record:
		print("features: docs/size.md is left as it is", file=sys.stderr)
	return 1 if bad else 0


if __name__ == "__main__":
	sys.exit(main())
