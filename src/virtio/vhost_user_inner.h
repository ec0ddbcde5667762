/* SPDX-License-Identifier: BSD-3-Clause */
/* What the three files of the back-end share: vhost_user_backend.c, _request.c, _map.c. */
#ifndef AMP_VHOST_USER_INNER_H
#define AMP_VHOST_USER_INNER_H

#include "vhost_user_backend.h"

#define AMP_VHOST_NOT_SHARED                                      \
	"QEMU must be started with shared guest memory: -object " \
	"memory-backend-memfd,id=m,size=..,share=on -M ...,memory-backend=m"

/* Says in be->why what went wrong and returns err. */
__attribute__((format(printf, 3, 4))) int amp_vhost_be_why(struct amp_vhost_be *be, int err,
							   const char *fmt, ...);

/* backend.c: a running queue rests, and goes on where it was when amp_vhost_be_queues_start()
 * finds it fit. */
void amp_vhost_be_queue_pause(struct amp_vhost_be *be, unsigned i);
void amp_vhost_be_queues_pause(struct amp_vhost_be *be);
/* The same, but it starts again only after another KICK message. */
void amp_vhost_be_queue_stop(struct amp_vhost_be *be, unsigned i);
int amp_vhost_be_queues_start(struct amp_vhost_be *be);
void amp_vhost_be_kick_drop(struct amp_vhost_be *be, unsigned i);
void amp_vhost_be_close(int *fd);

/* request.c: be->msg is whole. 0 or -errno. */
int amp_vhost_be_handle(struct amp_vhost_be *be);

/* map.c: SET_MEM_TABLE in be->msg replaces the map; no queue runs. 0 or -errno. */
int amp_vhost_be_map(struct amp_vhost_be *be);
/* Where the front-end's own address lies here, len bytes in one piece; NULL: nowhere. */
void *amp_vhost_be_user(struct amp_vhost_be *be, uint64_t addr, uint32_t len);

#endif /* AMP_VHOST_USER_INNER_H */
