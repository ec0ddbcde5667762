/* SPDX-License-Identifier: BSD-3-Clause */
/* Knobs of the hosted library: a Linux process has memory, and pages that nobody touches cost
 * nothing. */
#ifndef AMP_HOSTED_CONFIG_H
#define AMP_HOSTED_CONFIG_H

#define AMPSOCK_HOSTED 1

/* Descriptors below this are the process's own; all of ours fit in an fd_set. */
#define AMPSOCK_FD_BASE 64
#ifndef AMPSOCK_SOCKETS
#define AMPSOCK_SOCKETS 960
#endif
#ifndef AMPSOCK_RING_LEN
#define AMPSOCK_RING_LEN 262144
#endif
#define AMPSOCK_VSOCK_LINKS 8
#ifndef AMPSOCK_RPMSG
#define AMPSOCK_RPMSG 4
#endif
#define AMPSOCK_RPMSG_NAMES 64
#ifndef AMPSOCK_RPMSG_SERVICES
#define AMPSOCK_RPMSG_SERVICES AMPSOCK_SOCKETS
#endif
/*
 * 1 MiB per direction, 16 KiB and a header each. What is received goes round, so all of it is touched
 * again and again, and it is a core's second-level cache that ought to hold it (8 MiB cost
 * a quarter of the throughput). What is sent takes no more of it than a connection's window as long
 * as that is enough (AMPSOCK_VQ_WARM). Four windows' worth, and one entry each for 64 messages.
 */
#ifndef AMPSOCK_VSOCK_NUM
#define AMPSOCK_VSOCK_NUM 64
#endif
#define AMPSOCK_VSOCK_BUF_LEN 16428
#ifndef AMPSOCK_HASH
#define AMPSOCK_HASH 256
#endif
#define AMPSOCK_ADDRINFO  64
#define AMPSOCK_VQ_DEVICE 1
#define AMPSOCK_VQ_ORDER  1
#define AMPSOCK_WHY	  1
#ifndef AMPSOCK_VQ_WARM
#define AMPSOCK_VQ_WARM 1
#endif

#endif /* AMP_HOSTED_CONFIG_H */
