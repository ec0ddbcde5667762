/* SPDX-License-Identifier: BSD-3-Clause */
/* netinet/tcp.h (POSIX.1-2017) for bare toolchains: level IPPROTO_TCP, as on Linux. */
#ifndef AMP_NETINET_TCP_H
#define AMP_NETINET_TCP_H

#define TCP_NODELAY   1 /* int 0/1: the proxy's socket sends small segments at once */
#define TCP_KEEPIDLE  4 /* int: seconds of silence before the first keep-alive probe */
#define TCP_KEEPINTVL 5 /* int: seconds between probes */
#define TCP_KEEPCNT   6 /* int: probes without answer until the connection is dead */

#endif /* AMP_NETINET_TCP_H */
