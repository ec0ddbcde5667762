/* SPDX-License-Identifier: BSD-3-Clause */
/* What hosted files share: of link_driver.c, and sockets to listen on. */
#ifndef AMP_VSOCK_HOSTED_H
#define AMP_VSOCK_HOSTED_H

#include "../virtio/vdev.h"
#include "../virtio/vhost_user_backend.h"

/* Bytes of shared memory that a driver link needs. */
size_t amp_vsock_driver_mem_len(void);
/* Is vd under a link that is up? Lock held. */
bool amp_vsock_driver_up(const struct amp_vdev *vd);

/*
 * A Unix stream socket that listens at path, non-blocking. A socket file that nobody listens on
 * is removed; anything else is left alone. The descriptor or -errno (-EADDRINUSE).
 */
int amp_hosted_listen(const char *path);

/* The queues of both devices: the driver's receive queue comes first. */
enum { AMP_HOSTED_OUT, AMP_HOSTED_IN };

/* A vhost-user device that listens (hosted_server.c). Everything with the lock held. */
struct amp_hosted_server {
	struct amp_vhost_be be; /* first. The owner sets ops, owner, features, config */
	void (*kicked)(struct amp_hosted_server *s, unsigned q); /* the owner's */
	struct amp_hosted_server *next;
	int listen_fd;
	uint32_t looked_ms;
};

/* fd: of amp_hosted_listen(). 0 or -ENOBUFS: too many descriptors to watch. */
int amp_hosted_serve(struct amp_hosted_server *s, int fd);
/* be_ops.kick_fd; and what be_ops.gone does first. */
void amp_hosted_kick_fd(struct amp_vhost_be *be, unsigned q, int fd);
void amp_hosted_gone(struct amp_vhost_be *be);
/* From the runner: the sockets, once in a millisecond. True: looked, and the front-end is well. */
bool amp_hosted_look(struct amp_hosted_server *s, uint32_t now_ms);
/* After the turn: memory that went, or a ring that was lied about. True: the link is down. */
bool amp_hosted_failed(struct amp_hosted_server *s, bool broken);

#endif /* AMP_VSOCK_HOSTED_H */
