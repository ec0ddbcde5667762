/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A link whose connections with the guest are sockets of this host: another has the rings
 * (the kernel's vhost-vsock, a monitor such as Firecracker), and each vsock connection comes
 * out of it as a descriptor. What all such links do is here; how a connection is made and
 * where the guest's arrive is behind struct amp_slink_ops.
 *
 * Theory of operation
 *
 * The guest's end of a flow (end_sock.c) is a push end, as those in a ring are, so offload,
 * publish and expose do not see a difference: bytes are read into memory that all share, and
 * offered; what is not taken is kept, at most the window of a link, and then the socket is left
 * alone until there is room, so that the kernel's flow control reaches the guest. Towards the
 * guest reserve() lends shared memory, too; what the socket does not take of it is kept
 * and goes first.
 *
 * The guest is not seen, its connections are. A link is up while it has one: a monitor that dies
 * takes all of them with it, and the next guest, on the same path or CID, begins with none.
 *
 * A reset cannot be told from an end on such sockets: the guest sees end of file, and, if it
 * goes on sending, what its own system makes of a peer that has closed.
 */
#ifndef AMP_PROXY_SLINK_H
#define AMP_PROXY_SLINK_H

#include "buf.h"
#include "hybrid.h"
#include "link.h"
#include "publish.h"
#include "../wire/vsock_hdr.h"

#define AMP_SLINK_WAIT_MS \
	10000u /* for the guest's answer; for it to take what was sent at last */

struct amp_slink;
struct sockaddr_vm;

struct amp_end_sock {
	struct amp_end end;
	struct amp_watch watch;
	struct amp_work work;
	struct amp_grave grave;
	struct amp_slink *sl;
	TAILQ_ENTRY(amp_end_sock) entry;      /* sl->ends */
	TAILQ_ENTRY(amp_end_sock) wait_entry; /* sl->waits, while deadline_ms */
	uint64_t deadline_ms;
	uint64_t rx_bytes, tx_bytes;
	uint32_t stalls;
	struct amp_buf in;  /* that the user did not take */
	struct amp_buf out; /* that the socket did not take */
	struct amp_hybrid hybrid;
	bool asking;	 /* hybrid's answer is to come */
	bool connecting; /* the kernel's */
	bool open;
	bool readable, writable; /* until a call says that it is used up */
	bool hup;		 /* an end or an error is due: a short read proves nothing */
	bool offer;		 /* `in` once more */
	bool wants;		 /* WRITABLE is to be told */
	bool shut_due;		 /* behind `out` */
	bool eof, deaf;		 /* the peer sends, takes no more */
	bool eof_told, deaf_told;
	bool deafened; /* we take no more */
	bool let_go;   /* by the user */
	int broken;    /* positive errno: bytes are missing; the user is to hear of it */
	bool ours;     /* we connected, to: */
	uint32_t port; /* else the guest did */
	/* of AF_VSOCK, kept when the kernel is about to forget it: amp_end_sock_shutdown() */
	bool peer_kept;
	uint32_t peer_cid, peer_port;
	/* of what a capture sees (slink_tap.c), by direction, out: 1 */
	uint8_t tap_shut[2]; /* AMP_VSOCK_SHUTDOWN_*, said already */
	bool tap_rst;	     /* an RST was */
};

TAILQ_HEAD(amp_end_socks, amp_end_sock);

/* A port where the guest's connections arrive. */
struct amp_sport {
	TAILQ_ENTRY(amp_sport) entry;
	struct amp_slink *sl;
	uint32_t port;
	bool message;
	void *at; /* the link type's */
};

TAILQ_HEAD(amp_sports, amp_sport);

struct amp_slink_ops {
	/* A descriptor that is connected or connecting to the guest's port, or -errno. e->asking and
	 * e->hybrid: an answer in words comes before the bytes. */
	int (*connect)(struct amp_slink *sl, struct amp_end_sock *e, uint32_t port,
		       bool message);
	/* Listen for the guest's connections to p->port, and not any more. 0 or -errno, said. */
	int (*listen)(struct amp_slink *sl, struct amp_sport *p);
	void (*unlisten)(struct amp_slink *sl, struct amp_sport *p);
	bool messages; /* has SOCK_SEQPACKET */
};

struct amp_slink {
	struct amp_link link;
	const struct amp_slink_ops *ops;
	struct amp_end_socks ends;
	struct amp_end_socks waits; /* the first deadline first */
	struct amp_sports ports;
	struct amp_work work; /* the last connection went */
	unsigned end_cnt;
	uv_timer_t tick;
	struct amp_log_rate log_detached;
};

/* ---- slink.c ---- */

/* len: of the link type's struct, which begins with struct amp_slink. NULL: no memory. */
struct amp_link *amp_slink_new(size_t len, const struct amp_link_ops *ops,
			       const struct amp_slink_ops *sops,
			       const struct amp_link_conf *conf);
void amp_slink_free(struct amp_link *link);
/* Ports as the expose rules say now: those that went are closed; those that came are opened. */
void amp_slink_close_ports(struct amp_link *link);
int amp_slink_ports(struct amp_link *link);
int amp_slink_start(struct amp_link *link);
void amp_slink_stop(struct amp_link *link);
/* amp_link_ops.reset(): every connection ends. */
void amp_slink_reset(struct amp_link *link);
struct amp_end *amp_slink_connect(struct amp_link *link, const struct amp_service *service,
				  bool message, int *err);
/* A connection of the guest to port, accepted as fd, which is ours from now on. */
void amp_slink_incoming(struct amp_slink *sl, int fd, uint32_t port, bool message);
void amp_slink_stats(const struct amp_link *link, char *dst, size_t len);

/* What is the same in every type's struct amp_link_ops. */
#define AMP_SLINK_LINK_OPS                                                     \
	.peer = "guest", .free = amp_slink_free, .connect = amp_slink_connect, \
	.unexposed = amp_slink_close_ports, .exposed = amp_slink_ports,        \
	.reset = amp_slink_reset, .tap_kind = AMP_TAP_VSOCK, .tap_made = true, \
	.tap = amp_slink_tap_changed

/* ---- end_sock.c ---- */

/* NULL: no memory, or the link has AMP_LIMIT_ENDS. */
struct amp_end_sock *amp_end_sock_new(struct amp_slink *sl);
/* fd is the end's from now on. ours: we connect, OPEN or FAILED follows; else the guest did. 0 or
 * -errno (then e is gone). */
int amp_end_sock_start(struct amp_end_sock *e, int fd, bool ours, uint32_t port, bool message);
/* ops->text(), ops->info(): end_sock_info.c. */
void amp_end_sock_text(const struct amp_end *end, char *dst, size_t len);
void amp_end_sock_info(const struct amp_end *end, struct amp_sock_info *info);
/* amp_end_ops.left() */
bool amp_end_sock_left(struct amp_end *end, bool gone);
/* Who is at the other end. False: not known, or no AF_VSOCK. */
bool amp_end_sock_peer(const struct amp_end_sock *e, struct sockaddr_vm *vm);
/* shutdown(), behind which amp_end_sock_peer() still knows. */
void amp_end_sock_shutdown(struct amp_end_sock *e, int how);
/* An end that has no descriptor yet. */
void amp_end_sock_drop(struct amp_end_sock *e);
/* From outside: it is over, with err. */
void amp_end_sock_kill(struct amp_end_sock *e, int err);
/* Within AMP_SLINK_WAIT_MS, or it is killed. slink.c has the timer. */
void amp_slink_wait(struct amp_end_sock *e);
void amp_slink_wait_over(struct amp_end_sock *e);

/* ---- slink_tap.c: packets for a capture, out: to the guest ---- */

#define AMP_SLINK_TAP_CID  3u /* for one that is not known: the first that a guest can have */
#define AMP_SLINK_TAP_PORT 0x80000000u /* and a number, for a port that is not */

/* amp_link_ops.tap() */
void amp_slink_tap_changed(struct amp_link *link);
/* op: REQUEST, RESPONSE, RST. */
void amp_slink_tap_op(struct amp_end_sock *e, bool out, unsigned op);
/* Flags that were said already are not said again. */
void amp_slink_tap_shut(struct amp_end_sock *e, bool out, uint32_t flags);
/* Only while link->tapped. The first len bytes. */
void amp_slink_tap_data(struct amp_end_sock *e, bool out, const struct iovec *iov, int cnt,
			size_t len);
/* The end is over: closed, or reset. */
void amp_slink_tap_over(struct amp_end_sock *e, bool orderly);
/* A connection of the guest that there is nothing for, before it is closed. */
void amp_slink_tap_refused(struct amp_slink *sl, int fd, uint32_t port, bool message);

#endif /* AMP_PROXY_SLINK_H */
