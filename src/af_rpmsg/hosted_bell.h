/* SPDX-License-Identifier: BSD-3-Clause */
/* How two processes that share memory wake each other. */
#ifndef AMP_RPMSG_HOSTED_BELL_H
#define AMP_RPMSG_HOSTED_BELL_H

#include <stdbool.h>
#include <stdint.h>

#define AMP_BELL_PATH 108

/* Lock held for all of it. */
struct amp_bell {
	char path[AMP_BELL_PATH]; /* "": eventfds */
	int listen_fd;		  /* -1: we connect */
	int fd, out_fd;		  /* one socket, or two eventfds; -1: nobody there */
	uint32_t looked_ms;
	bool lost; /* the other side has hung up since this was last cleared */
};

/* Path or "fd:IN,OUT"; listen: the other side connects. 0 or -errno. Without the lock. */
int amp_bell_init(struct amp_bell *b, const char *text, bool listen);
/* Watch what there is. 0, or -ENOBUFS: everything is closed again. */
int amp_bell_open(struct amp_bell *b);
void amp_bell_close(struct amp_bell *b);
/* Now and then: let the other side in, or try to get there. */
void amp_bell_look(struct amp_bell *b, uint32_t now_ms);
/* Kick: never blocks, says nothing when nobody is there. */
void amp_bell_ring(const struct amp_bell *b);

#endif /* AMP_RPMSG_HOSTED_BELL_H */
