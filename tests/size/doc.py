# SPDX-License-Identifier: BSD-3-Clause
"""The tables of docs/size.md: written from what is recorded, and compared with it.

The prose of that file is a person's. Between `<!-- size NAME -->` and `<!-- end -->` stands
what table NAME() below makes of recorded.json.
"""

import json
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILES = ("docs/size.md",)
BLOCK = re.compile(r"(<!-- size ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# What a room's bytes are spent on.
SPENT_ON = {
	"socket": "blocking, time-outs, poll, descriptors, receive rings, errno",
	"posix": "the POSIX names",
	"af_inet": "session, control requests, the offload protocol's headers",
	"af_rpmsg": "bus, name service, raw messages, stream headers, links and restarts",
	"vsock": "connection states, credit, half-close, what is owed; rpmsg's streams have them too",
	"virtio": "rings with every index, id, address and length checked; table and epochs, or mmio",
	"port": "waiting without a lost wake-up, the clock",
	"wire": "headers",
}
# And a file's.
FILE_SPENT_ON = {
	"af_inet/af_inet.c": "states of a socket: connect, send, receive, close, resets with their true errno",
	"af_inet/inet_listen.c": "LISTEN, accept carriers and their headers checked, accept credits",
	"af_inet/inet_opt.c": "options before connect (they travel in OPEN) and after (asked and answered)",
	"af_inet/inet_session.c": "the control carrier: requests one at a time, ping, restarts",
	"af_inet/inet_carrier.c": "how a carrier comes up: connect, HELLO or OPEN, the answer checked; bytes to and from it",
	"af_inet/inet_addr.c": "sockaddr to the wire and back",
	"af_inet/inet_udp.c": "datagram frames, truncation, ICMP errors, true source addresses",
	"af_rpmsg/af_rpmsg.c": "the family: bind, connect by name or address, close, of all three types",
	"af_rpmsg/link_remote.c": "a link from resource table to DRIVER_OK and back, epochs, restarts",
	"af_rpmsg/rlink.c": "a link's turn: announcements, names heard, streams' events",
	"af_rpmsg/rpmsg.c": "the bus: endpoints, header checks, name service both ways, queues full and empty",
	"af_rpmsg/rpmsg_addr.c": "addresses checked, announced names found",
	"af_rpmsg/rpmsg_listen.c": "raw and stream listeners: a first message is a connection",
	"af_rpmsg/rpmsg_raw.c": "raw messages: kept in the ring whole, MSG_PEEK, MSG_TRUNC, drops, ENOBUFS once; poll",
	"af_rpmsg/rpmsg_serve.c": "listeners' services, demultiplexed by (local, source)",
	"af_rpmsg/rpmsg_stream.c": "stream headers: tags, REQUEST and RESPONSE checked, credit on the wire",
	"port/baremetal.c": "sleep without a lost wake-up; 64-bit ticks to ms without a division",
	"socket/api.c": "socket, bind, connect, close: blocking ones on families that never block",
	"socket/console.c": "the console's descriptors",
	"socket/gai_strerror.c": "what the resolver says, in words",
	"socket/inet_text.c": "addresses as text, IPv4 and IPv6, both ways",
	"socket/msg.c": "send and receive in all their forms: partial, MSG_WAITALL, time-outs, iovecs",
	"socket/msg_name.c": "the same with names and headers: sendto, recvfrom, sendmsg, recvmsg",
	"socket/option.c": "options of every family that api.c answers itself",
	"socket/poll.c": "poll and select over sockets and console",
	"socket/resolve.c": "getaddrinfo, getnameinfo: numbers, services, names asked of the proxy",
	"socket/rxring.c": "receive rings: bytes, and messages with their lengths",
	"socket/socks.c": "sockets with generations, who has which ring, listeners' queues",
	"socket/stack.c": "descriptors, the lock, waiting, runners and kicks",
	"virtio/mmio.c": "a device found, identified and reset; interrupts",
	"virtio/remoteproc.c": "the resource table's vdev and its status",
	"virtio/vq_split.c": "split rings: each index, id, chain, address and length checked before use",
	"vsock/af_vsock.c": "the family: bind, connect, poll, close; ports",
	"vsock/link_driver.c": "a link from probe to reset, features, queues, CID, buffers posted, TRANSPORT_RESET",
	"vsock/vlink.c": "what engine events mean to a socket: shared by AF_VSOCK and AF_RPMSG streams",
	"vsock/vsock.c": "packets in: headers checked, to whom they are",
	"vsock/vsock_out.c": "packets out, owed packets, RSTs to strangers bounded",
	"vsock/vsock_conn.c": "connection states, credit, half-close, deadlines",
	"vsock/xport_loop.c": "CID 1",
	"wire/offload.c": "the offload protocol's headers and addresses",
}


def rooms(modules):
	"""(bytes, room, what for), largest first."""
	found = {}
	for module, m in modules.items():
		room = module.split("/")[0] if "/" in module else "other"
		found[room] = found.get(room, 0) + m["text"] + m["rodata"] + m["data"]
	return [(n, room, SPENT_ON.get(room, "compiler helpers, C library"))
		for room, n in sorted(found.items(), key=lambda x: -x[1]) if n]


def by_size(modules):
	return sorted(modules.items(), key=lambda x: (-x[1]["text"] - x[1]["rodata"] - x[1]["data"], x[0]))


def compact(record):
	"""JSON, a module a line."""
	text = json.dumps(record, indent=1, sort_keys=True)
	text = re.sub(r"\{\s+(\"bss\"[^{}]*?)\s+\}", lambda m: "{" + re.sub(r"\s+", " ", m.group(1)) + "}", text)
	text = re.sub(r"\[\s+(\d+),\s+(\"[^\"]*\")\s+\]", r"[\1, \2]", text)
	return re.sub(r"\{\s+(\"data_bss\"[^{}]*?)\s+\}", lambda m: "{" + re.sub(r"\s+", " ", m.group(1)) + "}", text) + "\n"


def rows(head, lines):
	out = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
	return "\n".join(out + ["| " + " | ".join(str(c) for c in line) + " |" for line in lines]) + "\n"


def table_summary(record):
	head = ["Cortex-M4", "text", "static RAM, 4 sockets", "RAM a socket", "deepest stack"]
	keys = ["text", "ram_static", "ram_per_socket", "stack_max"]
	return rows(head, [[r["config"]] + ["%d of %d" % (r[k], r["budget"][k]) for k in keys]
			   for r in record["results"]])


# Theirs, measured by us: what, text, RAM a socket, static RAM, deepest stack; and what of ours does the same.
PEERS = [
	("the same without sockets", [
		("rpmsg-lite, bare echo callback", "1.5 KB", "no sockets", "", ""),
		("OpenAMP, bare echo callback", "5.2 to 7.2 KB", "no sockets", "", "352 B")], ["rpmsg-small"]),
	("sockets to the other core", [
		("NuttX `rpmsg_sockif`", "4.2 KB, and 18.5 KB of rpmsg and OpenAMP under it", "448 B", "", "")], ["vsock-small", "rpmsg-small"]),
	("AF_INET by a proxy", [
		("NuttX `net/usrsock`", "7.0 KB and client 0.6 KB, above the same 18.5 KB", "448 B", "", ""),
		("Zephyr, an offload driver that does nothing", "6.3 KB", "", "", "")],
		["vsock-inet-small", "rpmsg-inet-small"]),
	("AF_INET with everything: TCP, UDP, addresses, names", [
		("FreeRTOS-Plus-TCP", "22.4 KB", "456 B", "", ""),
		("lwIP, raw API", "27.7 KB", "156 B", "33 KB as typically configured, 15 KB with its defaults", ""),
		("lwIP, sockets", "36.9 KB, 56 KB with IPv6", "about 412 B", "the same", ""),
		("Zephyr, native stack", "48 KB", "", "", "")], ["vsock-inet-full", "rpmsg-inet-full"]),
]


def table_peers(record):
	"""Ours and what is nearest to it; lines of ours from the record."""
	ours = {r["config"]: r for r in record["results"]}
	lines = []
	for what, theirs, configs in PEERS:
		lines.append(["*%s*" % what, "", "", "", ""])
		for name in configs:
			r = ours[name]
			lines.append(["**ours, %s**" % name, "%.1f KB" % (r["text"] / 1000), "%d B" % r["ram_per_socket"],
				      "%.1f KB" % (r["ram_static"] / 1000), "%d B" % r["stack_max"]])
		lines += [list(line) for line in theirs]
	return rows(["", "text", "RAM a socket", "static RAM", "deepest stack"], lines)


# What the files of a small configuration are for, together.
KIB = {"vsock-small": [
	("the states, credit and checks of a connection", "vsock/vsock_conn.c"),
	("packets in and out, what is owed, RSTs to strangers", "vsock/vsock.c vsock/vsock_out.c"),
	("the family, with the meter that keeps a Linux host's buffers from overflowing by small packets", "vsock/af_vsock.c"),
	("one link from probe to reset and what its events mean to sockets", "vsock/link_driver.c vsock/vlink.c"),
	("rings and the device's registers", "virtio/"), ("sockets, descriptors, runners, waiting", "socket/stack.c socket/socks.c"),
	("receive rings with message boundaries", "socket/rxring.c"), ("send and receive", "socket/msg.c"),
	("the other calls", "socket/"), ("the port", "")], "rpmsg-small": [
	("the family with its three types and its bus", "af_rpmsg/"), ("the engine", "vsock/"),
	("rings and resource table", "virtio/"), ("the socket face", "socket/"), ("the port", "")]}


def table_kib(record):
	"""A sentence a configuration; a file counts for the first that names it, or its room."""
	out = ""
	for r in record["results"]:
		sums = [[what, 0] for what, _ in KIB.get(r["config"], ())]
		for module, m in r["modules"].items() if sums else ():
			at = next(n for n, (_, files) in enumerate(KIB[r["config"]])
				  if not files or any(module.startswith(f) for f in files.split()))
			sums[at][1] += m["text"] + m["rodata"] + m["data"]
		if sums:
			out += "*%s* in KiB: %s.\n" % (r["config"], "; ".join("%.1f %s" % (n / 1024, what) for what, n in sums))
	return out


def table_cores(record):
	names = [r["config"] for r in record["results"]]
	lines = [["Cortex-M4"] + ["%d / %d" % (r["text"], r["stack_max"]) for r in record["results"]]]
	lines += [[t] + ["%d / %d" % (c[n]["text"], c[n]["stack_max"]) for n in names]
		  for t, c in record["targets"].items()]
	return rows(["text / deepest stack"] + names, lines)


def table_variants(record):
	results = record["results"]
	names = sorted({n for v in record["variants"].values() for n in v})
	lines = [["as above"] + [r["text"] for r in results]]
	lines += [[n] + [record["variants"].get(r["config"], {}).get(n, "") for r in results] for n in names]
	return rows(["text, Cortex-M4"] + [r["config"] for r in results], lines)


def table_modules(record):
	out = ""
	for r in record["results"]:
		whole = {k: sum(m[k] for m in r["modules"].values()) for k in ("text", "rodata", "data", "bss")}
		out += "### %s\n\n| module | text | rodata | data | bss | what for |\n|---|---:|---:|---:|---:|---|\n" % r["config"]
		for module, m in by_size(r["modules"]):
			out += "| %s | %d | %d | %d | %d | %s |\n" % (module, m["text"], m["rodata"], m["data"],
				m["bss"], FILE_SPENT_ON.get(module, ""))
		out += "| **together** | %(text)d | %(rodata)d | %(data)d | %(bss)d | |\n\n" % whole
	return out.rstrip("\n") + "\n"


def table_rooms(record):
	out = ""
	every = sorted({room for r in record["results"] for _, room, _ in rooms(r["modules"])})
	lines = []
	for room in every:
		size = {r["config"]: n for r in record["results"] for n, name, _ in rooms(r["modules"]) if name == room}
		lines.append([room] + [size.get(r["config"], 0) for r in record["results"]] +
			     [SPENT_ON.get(room, "compiler helpers, C library")])
	out += rows(["room"] + [r["config"] for r in record["results"]] + ["what for"], lines)
	return out


def table_stack(record):
	out = ""
	for r in record["results"]:
		out += "%s, %d bytes:\n\n```\n" % (r["config"], r["stack_max"])
		out += "".join("%5d %s\n" % (n, f) for n, f in r["stack_path"]) + "```\n\n"
	return out.rstrip("\n") + "\n"


def fill(text, record):
	return BLOCK.sub(lambda m: m.group(1) + globals()["table_" + m.group(2)](record) + m.group(3), text)


def stale(record):
	"""Files whose tables are not what is recorded."""
	bad = []
	for path in FILES:
		with open(os.path.join(ROOT, path), encoding="utf-8") as f:
			text = f.read()
		if not BLOCK.search(text) or fill(text, record) != text:
			bad.append(path)
	return bad


def write(record):
	for path in FILES:
		full = os.path.join(ROOT, path)
		with open(full, encoding="utf-8") as f:
			text = f.read()
		with open(full, "w", encoding="utf-8") as f:
			f.write(fill(text, record))
