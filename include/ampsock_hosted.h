/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Links of a Linux process that has the library inside: the firmware, or its peer, without a
 * machine. From any thread; paths are copied. 0 or -errno, errno is left alone.
 */
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

/*
 * rpmsg between two Linux processes, or one and a machine whose memory is a file: file is the
 * shared memory, made or taken as it is, with the resource table at its beginning (its
 * addresses count from the beginning of the file); bell is how the two wake each other: the
 * path of a Unix stream socket on which a byte is a kick, both ways, as QEMU's chardevs have
 * it; or "fd:IN,OUT", two inherited eventfds, non-blocking. Both calls return at once; the
 * link is up when both sides run, whoever is first, and comes up again when one comes back.
 *
 * Be the remote: write the table, listen at bell. 0; -ENOBUFS no link slot (AMPSOCK_RPMSG), or
 * too many descriptors; -ENAMETOOLONG, -EADDRINUSE the bell; -EINVAL "fd:" with no numbers
 * behind it; -errno of the file.
 */
int amp_link_rpmsg_remote(const char *file, const char *bell);

/*
 * Be the host: find the table, connect to bell. Neither need be there yet: both are tried
 * every 100 ms. Buffers have 512 bytes each way, as Linux's have. 0; -ENOBUFS; -ENAMETOOLONG;
 * -EINVAL as above.
 */
int amp_link_rpmsg_host(const char *file, const char *bell);

/*
 * Be the remote of a kernel's own rpmsg bus: listen at path for a vhost-user front-end whose
 * virtio device 7 we are (User-mode Linux: virtio_uml.device=PATH:7; virtqueue 0 is the
 * driver's to receive, 1 to send). Returns once it listens; the link is up when the driver
 * has its buffers in place, and names that are bound are announced to it then. A guest
 * that reboots or goes is a link that went down: connections end with ECONNRESET, sockets
 * that are bound and listeners stay, and are announced to the next one. One guest at a time.
 * 0; -ENAMETOOLONG; -EADDRINUSE somebody listens there; -ENOBUFS no link slot (AMPSOCK_RPMSG),
 * or too many descriptors; -errno.
 */
int amp_link_rpmsg_device(const char *path);

#ifdef __cplusplus
}
#endif

#endif /* AMPSOCK_HOSTED_H */
