/* SPDX-License-Identifier: BSD-3-Clause */
/* libampsock-preload.so: what its files share. Nothing here is exported but the calls. */
#ifndef AMP_PRELOAD_H
#define AMP_PRELOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "run_msg.h"

#define EXPORT __attribute__((visibility("default")))

/* A call of the C library under its own name: found once, called through a pointer. */
#define REAL(name)                                                                       \
	({                                                                               \
		static __typeof__(&name) amp_real;                                       \
		__typeof__(&name) amp_fn = __atomic_load_n(&amp_real, __ATOMIC_RELAXED); \
		if (!amp_fn) {                                                           \
			amp_fn = (__typeof__(&name))preload_real(#name);                 \
			__atomic_store_n(&amp_real, amp_fn, __ATOMIC_RELAXED);           \
		}                                                                        \
		amp_fn;                                                                  \
	})

void *preload_real(const char *name);

/* What is known of a descriptor. */
enum {
	FD_UNKNOWN,
	FD_NOT, /* none of ours */
	FD_BYTES,
	FD_MESSAGES,
	FD_DGRAM,
	FD_KIND = 7,
	FD_FRESH = 16,	/* a flag: it was not seen to be connected */
	FD_LISTENS = 8, /* a flag: listen() was called here or where it was copied from */
};

/* A descriptor of ours, as its name says. */
struct preload_fd {
	uint64_t id;
	int domain, type;
};

/* FD_*; what was seen of it before is trusted. */
unsigned preload_kind(int fd);
/* The same, but what was not seen yet is not looked at. */
unsigned preload_kind_seen(int fd);
/* Asked of the descriptor itself: fills *p. False: it is none of ours. errno stays. */
bool preload_is_ours(int fd, struct preload_fd *p);
/* fd is another one from now on: what it is, is seen when it is used; or as from is. */
void preload_forget(int fd);
void preload_copied(int from, int to);
void preload_set(int fd, unsigned kind);
unsigned preload_kind_of_type(int type);
/* Bytes that a message to its peer may have; 0: not known. */
int preload_limit(int fd);

/* Is ampsock-run there? */
bool preload_on(void);
/* And sockets of this domain and type are its? */
bool preload_takes(int domain, int type);

/*
 * A request; rep may be NULL. Returns its ret, or -errno; -EINTR, a signal came, of a CONNECT that waits.
 * *fd: the descriptor that came with it, or -1.
 */
int preload_ask(struct amp_run_req *q, const void *data, size_t len, struct amp_run_rep *rep,
		int *fd);
/* The same, with a descriptor for ampsock-run. */
int preload_ask_giving(struct amp_run_req *q, const void *data, size_t len, int give);
/* The same, of a descriptor and with few words. */
int preload_ask_fd(uint32_t op, const struct preload_fd *p, int a0, int a1);

/* errno = -r, -1; or r. */
int preload_result(int r);
/* A call of ours said 0 or ECONNRESET: the errno that stands behind it, or 0. */
int preload_status(int fd);

#endif /* AMP_PRELOAD_H */
