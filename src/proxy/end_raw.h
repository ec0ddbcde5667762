/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Raw ends: rpmsg messages as they are, between us and one address of the remote. What they have
 * in common whatever carries them; end_rpmsg.c (rings that are ours) and end_char.c (the
 * kernel's /dev/rpmsgN) do the rest.
 *
 * Theory of operation
 *
 * Nothing is added on the wire, so any rpmsg program is at the other end: there is no handshake,
 * no credit and no goodbye. An end that we open is open at once; one whose link goes down has
 * failed; one whose service is withdrawn is at its end of file. A message that finds no buffer
 * is not sent: the user, who is udp_relay.c, drops it as UDP does. That is also why there
 * is no reserve, resume, space or want among the operations.
 *
 * As everywhere, what has come is held, and told when the link's engine is not on the stack any
 * more: an end about which there is something to tell is due, and amp_raws_serve() tells it.
 */
#ifndef AMP_PROXY_END_RAW_H
#define AMP_PROXY_END_RAW_H

#include "vlink.h"

struct amp_raws;

struct amp_raw_end {
	struct amp_end end;
	struct amp_raws *raws;
	TAILQ_ENTRY(amp_raw_end) entry; /* raws->all */
	TAILQ_ENTRY(amp_raw_end) due_entry;
	struct amp_grave grave;
	uint32_t peer; /* the remote's address */
	uint64_t rx_bytes, tx_bytes;
	uint16_t held_first, held_last; /* as in struct amp_end_vsock */
	bool on_due;
	bool source;   /* one that a service of ours hears, which nobody withdraws, */
	bool incoming; /* and ops->look() is to be called */
	bool opening;  /* OPEN is to be told */
	bool eof;      /* the remote has withdrawn the service, or is silent */
	bool failed;   /* the link went down */
	bool let_go;   /* by the user */
};

TAILQ_HEAD(amp_raw_list, amp_raw_end);

/* The carrier's part. look(): tells its user of a source; NULL: there are none. release(): gives a
 * held message back; NULL: it needs none. over(): ends its endpoint, too. */
struct amp_raw_ops {
	const struct amp_end_ops *end;
	uint32_t (*local)(const struct amp_raw_end *e); /* our address */
	void (*look)(struct amp_raw_end *e);
	void (*release)(struct amp_raw_end *e, uint32_t id);
	void (*over)(struct amp_raw_end *e);
};

/* Those of one link. */
struct amp_raws {
	struct amp_vlink *vl;
	const struct amp_raw_ops *ops;
	struct amp_raw_list all, due;
};

void amp_raws_init(struct amp_raws *raws, struct amp_vlink *vl, const struct amp_raw_ops *ops);
/* False, and counted: it has as many ends as a guest may have. */
bool amp_raws_room(struct amp_raws *raws);
/* len: of the carrier's struct, which begins with struct amp_raw_end. NULL: no room. */
struct amp_raw_end *amp_raw_new(struct amp_raws *raws, size_t len, uint32_t peer);
/* It is open: told as soon as somebody can be. */
struct amp_end *amp_raw_opened(struct amp_raw_end *e);
void amp_raw_due(struct amp_raw_end *e);
/* A message: counted, and held until the pass is over. False: it is not. */
bool amp_raw_input(struct amp_raw_end *e, const struct amp_vsock_rx *rx, uint32_t id);
void amp_raw_sent(struct amp_raw_end *e, size_t len);

/* Those connected to addr hear EOF: the service there was withdrawn. */
void amp_raws_withdrawn(struct amp_raws *raws, uint32_t addr);
/* The link is down: what is held is gone already, and each has failed. */
void amp_raws_down(struct amp_raws *raws);
/* The due ones. True: more are due. */
bool amp_raws_serve(struct amp_raws *raws);

/* For struct amp_end_ops. */
void amp_raw_shut(struct amp_end *end);
void amp_raw_close(struct amp_end *end);
void amp_raw_text(const struct amp_end *end, char *dst, size_t len);
void amp_raw_info(const struct amp_end *end, struct amp_sock_info *info);

#endif /* AMP_PROXY_END_RAW_H */
