/* SPDX-License-Identifier: BSD-3-Clause */
/* What hosted files share: of link_driver.c, and sockets to listen on. */
#ifndef AMP_VSOCK_HOSTED_H
#define AMP_VSOCK_HOSTED_H

#include "../virtio/vdev.h"

/* Bytes of shared memory that a driver link needs. */
size_t amp_vsock_driver_mem_len(void);
/* Is vd under a link that is up? Lock held. */
bool amp_vsock_driver_up(const struct amp_vdev *vd);

/*
 * A Unix stream socket that listens at path, non-blocking. A socket file that nobody listens on
 * is removed; anything else is left alone. The descriptor or -errno (-EADDRINUSE).
 */
int amp_hosted_listen(const char *path);

#endif /* AMP_VSOCK_HOSTED_H */
