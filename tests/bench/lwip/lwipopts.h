/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lwIP as the peer of a measurement: the raw API without an OS, IPv4 and TCP only, and every
 * choice the one that is fastest here. Received checksums are not looked at, as if the device
 * had done that (slirp hands over memory; it does check what is sent to it, so those are made).
 */
#ifndef LWIPOPTS_H
#define LWIPOPTS_H

#define NO_SYS		     1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN	     0
#define LWIP_SOCKET	     0
#define LWIP_UDP	     0
#define LWIP_RAW	     0
#define LWIP_ICMP	     0
#define IP_REASSEMBLY	     0
#define IP_FRAG		     0
#define LWIP_STATS	     0
#define LWIP_NOASSERT	     1

/* The widest window without scaling, and memory for all of it. */
#define TCP_MSS		   1460
#define TCP_WND		   65535
#define TCP_SND_BUF	   65535
#define TCP_SND_QUEUELEN   256
#define MEMP_NUM_TCP_SEG   256
#define MEMP_NUM_PBUF	   512
#define PBUF_POOL_SIZE	   64 /* nobody's: frames lie in the device's buffers */
#define MEM_SIZE	   (1024 * 1024)
#define MEM_ALIGNMENT	   8
#define TCP_QUEUE_OOSEQ	   0
#define LWIP_TCP_SACK_OUT  0
#define TCP_LISTEN_BACKLOG 0

/* The header of virtio-net before that of Ethernet: both go out with one descriptor. */
#define PBUF_LINK_ENCAPSULATION_HLEN 16
#define LWIP_SUPPORT_CUSTOM_PBUF     1

#define CHECKSUM_CHECK_IP     0
#define CHECKSUM_CHECK_TCP    0
#define LWIP_CHKSUM_ALGORITHM 3 /* the fastest of lwIP's own */

#endif
