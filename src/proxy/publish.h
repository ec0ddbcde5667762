/* SPDX-License-Identifier: BSD-3-Clause */
/* publish: a listening socket of the host whose connections go to a service in the guest. */
#ifndef AMP_PROXY_PUBLISH_H
#define AMP_PROXY_PUBLISH_H

#include "link.h"

/* Opens every publish rule of the link. 0 or -errno, said. */
int amp_publish_start(struct amp_link *link);
void amp_publish_stop(struct amp_link *link);
/* The listening sockets alone: what came through them goes on. */
void amp_publish_quit(struct amp_link *link);

/* One rule, which has to last until its end: it gets its id. 0 or -errno, said. */
int amp_publish_one(struct amp_link *link, struct amp_forward *fwd);
/* It goes, and with it what came through it. hold: its socket is for somebody else
 * (amp_listen_hold()). */
void amp_publish_end(struct amp_link *link, const struct amp_forward *fwd, bool hold);

/* ---- at run time (publish_run.c) ---- */

/* The helper is to know what there is now. */
void amp_publish_tell(void);
/* What a process before this one had; what cannot be had now is said. */
void amp_publish_again(void);

/* ---- acceptors, also used for the guest's own listeners ---- */

#define AMP_ACCEPT_TURN 32u /* connections taken before others have their turn */

/* accept() failed with err, not EAGAIN: does it make sense to try at once again? */
bool amp_accept_next(int err);

/* Accepts from an edge-triggered listening socket, a few at a time, with a pause when
 * descriptors are out, or accept() is not allowed. */
struct amp_acceptor {
	struct amp_watch watch;
	struct amp_work work;
	/* May one more be taken? NULL: always. */
	bool (*want)(struct amp_acceptor *a);
	/* fd is the callee's. */
	void (*take)(struct amp_acceptor *a, int fd, const struct sockaddr_storage *peer);
	bool ready; /* an edge came that accept() has not used up */
	struct amp_log_rate log;
};

/* fd is the acceptor's from now on. 0 or -errno. */
int amp_acceptor_start(struct amp_acceptor *a, int fd);
/* want() would say yes again. */
void amp_acceptor_go(struct amp_acceptor *a);
void amp_acceptor_stop(struct amp_acceptor *a);

#endif /* AMP_PROXY_PUBLISH_H */
