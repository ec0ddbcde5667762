/* SPDX-License-Identifier: BSD-3-Clause */
/* What the hosted files of this room need of link_driver.c. */
#ifndef AMP_VSOCK_HOSTED_H
#define AMP_VSOCK_HOSTED_H

#include "../virtio/vdev.h"

/* Bytes of shared memory that a driver link needs. */
size_t amp_vsock_driver_mem_len(void);
/* Is vd under a link that is up? Lock held. */
bool amp_vsock_driver_up(const struct amp_vdev *vd);

#endif /* AMP_VSOCK_HOSTED_H */
