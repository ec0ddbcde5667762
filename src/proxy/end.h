/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The proxy's own door: an end of a flow. A connection in a guest's ring, a socket of
 * the host, later an rpmsg endpoint: each is an end, and whoever uses it (a flow that
 * joins two, the offload protocol) does not see which.
 *
 * There are two sorts. A *push* end (rings) has memory that bytes arrive in: it offers
 * them to user->data() in place and keeps what the user does not take, bounded by the
 * window it gave its peer. A *pull* end (descriptors) says READABLE and is read with
 * ops->read(), best straight into memory that the other end reserved.
 *
 * The user owns the end until it calls reset() or close(); then the end finishes by
 * itself, calls nobody any more and frees itself. Events come one at a time, never from
 * within a call of the user.
 */
#ifndef AMP_PROXY_END_H
#define AMP_PROXY_END_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "loop.h"

#define AMP_END_IOV_MAX 1024 /* IOV_MAX of Linux */

struct amp_end;

/*
 * What there is to see of a socket (ampsockctl sockets): the ring end fills in the guest's
 * side, who uses it what is behind. Texts are "" where there is nothing to say.
 */
#define AMP_INFO_ADDR 128u

struct amp_sock_info {
	const char *kind;  /* expose, publish, connect, accept, udp, control, join ... */
	const char *proto; /* of the host's side: tcp, udp, unix */
	const char *state;
	bool ring;    /* the guest's side is there, with: */
	bool joined;  /* packets are switched: nobody here knows of stalls and drops */
	bool message; /* seqpacket, or rpmsg messages */
	char guest_local[AMP_INFO_ADDR], guest_peer[AMP_INFO_ADDR];
	uint64_t rx_bytes, tx_bytes; /* payload from the guest, to it */
	uint32_t stalls;     /* times that bytes for the guest found no credit or buffer */
	uint32_t credit_len; /* bytes that the guest takes now */
	uint32_t window_len; /* bytes that the guest may send now */
	uint32_t held_len;   /* bytes from the guest that wait here */
	uint64_t drops;	     /* datagrams */
	char host_local[AMP_INFO_ADDR], host_peer[AMP_INFO_ADDR];
	bool has_tcp; /* what TCP_INFO says: */
	uint32_t rtt_us, rttvar_us, retransmits, cwnd_segments;
};

enum amp_end_event {
	AMP_END_OPEN,	  /* connected */
	AMP_END_READABLE, /* pull ends: read() may give something */
	AMP_END_WRITABLE, /* after write() or reserve() had said -EAGAIN */
	AMP_END_EOF,	  /* the peer sends no more, and all it sent was taken */
	AMP_END_DEAF,	  /* the peer takes no more */
	AMP_END_FAILED, /* abnormal end or failed to connect: end->err; only reset() makes sense
			   now */
};

struct amp_end_user {
	/*
	 * Push ends: len bytes arrived. Returns how many were taken. What is left is offered
	 * again with the next arrival and after ops->resume(). Message ends: a whole message,
	 * which is gone whatever is returned.
	 */
	size_t (*data)(struct amp_end *end, const struct iovec *iov, int cnt, size_t len);
	void (*event)(struct amp_end *end, enum amp_end_event event);
	/* kind, proto, state and the host's side. NULL: nothing is known of it. */
	void (*info)(const struct amp_end *end, struct amp_sock_info *info);
};

struct amp_end_ops {
	const char *name;
	/* A requested connection: take it. NULL: it was ours to open. */
	void (*accept)(struct amp_end *end);
	/* Send what goes now. Bytes; -EAGAIN: WRITABLE will come; -errno. A message end: all or
	 * nothing. */
	ssize_t (*write)(struct amp_end *end, const struct iovec *iov, int cnt, size_t len);
	/*
	 * Memory to read into: up to want bytes in *cnt <= AMP_END_IOV_MAX pieces. Bytes, or as
	 * write(). commit() sends the first len of them (0: none). NULL: has no such memory.
	 */
	ssize_t (*reserve)(struct amp_end *end, size_t want, struct iovec *iov, int *cnt);
	void (*commit)(struct amp_end *end, size_t len);
	/* Pull ends. Bytes, 0 at the end, -EAGAIN: READABLE will come; -errno. */
	ssize_t (*read)(struct amp_end *end, const struct iovec *iov, int cnt, size_t len);
	/* Push ends: offer again what was not taken. */
	void (*resume)(struct amp_end *end);
	/* Bytes that write() could take now, a guess. want(): WRITABLE when there are more. */
	size_t (*space)(struct amp_end *end);
	void (*want)(struct amp_end *end);
	/* Nothing more is written: the peer sees EOF behind what was. */
	void (*shut)(struct amp_end *end);
	/* Nothing more is taken from the peer, which hears of it; NULL: it cannot be told. */
	void (*deafen)(struct amp_end *end);
	/*
	 * Ring ends. Has the peer closed, both ways, in good order? gone: it is not there any more; then what
	 * it sends is enough, and from now on the end is like one that has closed. True: what it said can be
	 * delivered without it. NULL: no.
	 */
	bool (*left)(struct amp_end *end, bool gone);
	/* The last calls: abnormal (the peer sees a reset), orderly. */
	void (*reset)(struct amp_end *end);
	void (*close)(struct amp_end *end);
	/* One side of a log line: who is there. */
	void (*text)(const struct amp_end *end, char *dst, size_t len);
	/* Its own side, the guest's or the host's, of what there is to see. */
	void (*info)(const struct amp_end *end, struct amp_sock_info *info);
};

struct amp_end {
	const struct amp_end_ops *ops;
	const struct amp_end_user *user; /* NULL: none yet, or none any more */
	void *owner;			 /* the user's */
	int err;			 /* positive errno of FAILED */
	bool message;			 /* boundaries are kept */
	bool empty;			 /* and a message of no bytes is one */
	/* ends in a link's ring: of link->ends, by rising number */
	uint64_t num;
	TAILQ_ENTRY(amp_end) ring_entry;
};

/* Its user has reset or closed it and is about to go: an end in the ring is there, and listed, for longer. */
static inline void amp_end_let_go(struct amp_end *end)
{
	end->user = NULL;
	end->owner = NULL;
}

/* A stream socket of the host. Owns fd, which is non-blocking, from now on. NULL: no memory (fd
 * closed, with a reset). */
struct amp_end *amp_end_fd(int fd, bool connecting);
int amp_end_fd_fd(const struct amp_end *end);
/* The addresses and TCP_INFO of a socket of the host. */
void amp_fd_info(int fd, struct amp_sock_info *info);

#endif /* AMP_PROXY_END_H */
