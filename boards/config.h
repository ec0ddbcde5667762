/* SPDX-License-Identifier: BSD-3-Clause */
/* The emulated boards have megabytes: wide windows for throughput. */
#define AMPSOCK_RING_LEN      65536
#define AMPSOCK_VSOCK_NUM     64
#define AMPSOCK_VSOCK_BUF_LEN 4096
#define AMPSOCK_WHY	      1
#define AMPSOCK_SPIN	      1
