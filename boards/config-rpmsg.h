/* SPDX-License-Identifier: BSD-3-Clause */
/* A remote core with an rpmsg link and no virtio device: windows as wide as its memory allows. */
#define AMPSOCK_VSOCK	  0
#define AMPSOCK_RPMSG	  1
#define AMPSOCK_VQ_DRIVER 0
#define AMPSOCK_VQ_DEVICE 1
#define AMPSOCK_RING_LEN  16384
#define AMPSOCK_WHY	  1
