/* SPDX-License-Identifier: BSD-3-Clause */
/* Links of a Linux process that has the library inside: the firmware, or its peer, without a
 * machine. */
#ifndef AMPSOCK_HOSTED_H
#define AMPSOCK_HOSTED_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Be the guest: connect to the vhost-user-vsock back-end (ampsock-proxy, or a process with
 * amp_link_vsock_device()) that listens at path. While nobody does, it is tried again for
 * timeout_ms (-1: for ever, 0: once). Call it again when the link went down: sockets and
 * listeners stay. 0; -ENOENT, -ECONNREFUSED nobody there; -ENAMETOOLONG; otherwise as
 * amp_link_vsock().
 */
int amp_link_vhost_user(const char *path, int timeout_ms);

/*
 * Be the host, CID 2: listen at path for a vhost-user front-end (QEMU, or a process with
 * amp_link_vhost_user()), whose guest is guest_cid. Returns once it listens; the link is up
 * when the guest's driver runs. One guest at a time; the next may connect when it is gone.
 * 0; -EINVAL CID below 3; -EADDRINUSE somebody listens there; -ENOBUFS; -errno.
 */
int amp_link_vsock_device(const char *path, uint32_t guest_cid);

#ifdef __cplusplus
}
#endif

#endif /* AMPSOCK_HOSTED_H */
