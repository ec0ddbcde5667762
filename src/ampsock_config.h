/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every knob of the library, each 0/1 or a number. A project overrides any of them
 * with -DAMPSOCK_CONFIG='"my.h"' (or -DAMPSOCK_xxx=n) and leaves this file alone.
 */
#ifndef AMPSOCK_CONFIG_H
#define AMPSOCK_CONFIG_H

#ifdef AMPSOCK_CONFIG
#include AMPSOCK_CONFIG
#endif

/* Families: a family that is 0 compiles out whole. */
#ifndef AMPSOCK_VSOCK
#define AMPSOCK_VSOCK 1
#endif
/* AF_RPMSG: the number of rpmsg links there can be, 0: none */
#ifndef AMPSOCK_RPMSG
#define AMPSOCK_RPMSG 0
#endif
#ifndef AMPSOCK_INET
#define AMPSOCK_INET 1
#endif
/* 1: CID 1 and socketpair() work without any link */
#ifndef AMPSOCK_LOOP
#define AMPSOCK_LOOP AMPSOCK_VSOCK
#endif

/* 1: every packet of a link can be looked at as it passes (ampsock-proxy's capture) */
#ifndef AMPSOCK_TAP
#define AMPSOCK_TAP 0
#endif

/*
 * Sockets in all, listeners and connections in a backlog included. One of AF_INET that is connected,
 * or bound, takes two, and all of them one more: 16 are 7 TCP connections.
 */
#ifndef AMPSOCK_SOCKETS
#define AMPSOCK_SOCKETS 16
#endif
/*
 * Receive rings: one per connection of AF_VSOCK or AF_RPMSG, per SOCK_DGRAM socket of AF_RPMSG and per
 * carrier of an AF_INET one.
 */
#ifndef AMPSOCK_RINGS
#define AMPSOCK_RINGS AMPSOCK_SOCKETS
#endif
/* Bytes per receive ring: a power of two. */
#ifndef AMPSOCK_RING_LEN
#define AMPSOCK_RING_LEN 4096
#endif
/* First descriptor handed out by socket(): 0..2 are the console. */
#ifndef AMPSOCK_FD_BASE
#define AMPSOCK_FD_BASE 3
#endif

/* virtio-vsock links, ring entries (a power of two) and transport buffers per ring. A small build
 * has half of them, 4 KiB, and a host that sends more at once waits for some to come back. */
#ifndef AMPSOCK_VSOCK_LINKS
#define AMPSOCK_VSOCK_LINKS 1
#endif
#ifndef AMPSOCK_VSOCK_NUM
#ifdef __OPTIMIZE_SIZE__
#define AMPSOCK_VSOCK_NUM 4
#else
#define AMPSOCK_VSOCK_NUM 8
#endif
#endif
/* Bytes per transport buffer, the 44-byte header included. */
#ifndef AMPSOCK_VSOCK_BUF_LEN
#define AMPSOCK_VSOCK_BUF_LEN 512
#endif

/* Services of the peer that an rpmsg link remembers. */
#ifndef AMPSOCK_RPMSG_NAMES
#define AMPSOCK_RPMSG_NAMES 8
#endif
/* Names that sockets of ours can be bound to at a time. */
#ifndef AMPSOCK_RPMSG_SERVICES
#define AMPSOCK_RPMSG_SERVICES 8
#endif

/* Hash buckets for connections: a power of two, 1 on a small core: then there is nothing to
 * compute, and whoever hands tables to the engines hands some of one bucket. */
#ifndef AMPSOCK_HASH
#define AMPSOCK_HASH 1
#endif

/* Addresses that getaddrinfo() can have lent out at any time. */
#ifndef AMPSOCK_ADDRINFO
#define AMPSOCK_ADDRINFO 4
#endif

/* connect() gives up after this without SO_SNDTIMEO. */
#ifndef AMPSOCK_CONNECT_MS
#define AMPSOCK_CONNECT_MS 30000
#endif
/* The control carrier asks this often whether the proxy lives; 0: never. */
#ifndef AMPSOCK_PING_MS
#define AMPSOCK_PING_MS 2000
#endif

/* Which ends of a virtqueue are compiled in: a vsock guest is the driver, a remote core of an
 * rpmsg link the device. */
#ifndef AMPSOCK_VQ_DRIVER
#define AMPSOCK_VQ_DRIVER AMPSOCK_VSOCK
#endif
#ifndef AMPSOCK_VQ_DEVICE
#define AMPSOCK_VQ_DEVICE (AMPSOCK_RPMSG > 0)
#endif
/* 1: a device's queue can complete in the order of the avail ring (vq.h) */
#ifndef AMPSOCK_VQ_ORDER
#define AMPSOCK_VQ_ORDER 0
#endif
/* 1: a driver's queue sends in the buffers that came back before it takes others, so that a large
 * ring does not go through the cache; 0: round and round, for five instructions less */
#ifndef AMPSOCK_VQ_WARM
#define AMPSOCK_VQ_WARM 0
#endif
/* 1: broken rings and lying peers are explained in words (about 1 KiB); 0: counted only */
#ifndef AMPSOCK_WHY
#define AMPSOCK_WHY 0
#endif
/* rpmsg links have none */
#ifndef AMPSOCK_INDIRECT
#define AMPSOCK_INDIRECT AMPSOCK_VSOCK
#endif
/* 1: short ways for what most packets are; 0: they are all alike, and 1 KiB is saved */
#ifndef AMPSOCK_FAST
#ifdef __OPTIMIZE_SIZE__
#define AMPSOCK_FAST 0
#else
#define AMPSOCK_FAST 1
#endif
#endif
/* 1: an rpmsg link offers or takes the event index, so that a burst is one kick; 0: a kick a
 * message until the peer has said that it is awake, and 90 bytes are saved */
#ifndef AMPSOCK_RPMSG_EVENT_IDX
#define AMPSOCK_RPMSG_EVENT_IDX (AMPSOCK_RPMSG > 0 && AMPSOCK_FAST)
#endif
#ifndef AMPSOCK_EVENT_IDX
#define AMPSOCK_EVENT_IDX (AMPSOCK_VSOCK || AMPSOCK_RPMSG_EVENT_IDX)
#endif
/* 1: who waits looks at the ring for a while before he asks to be woken and sleeps; for how
 * long, amp_baremetal_spin() says. One core without threads. */
#ifndef AMPSOCK_SPIN
#define AMPSOCK_SPIN 0
#endif
/* 1: links over vhost-user, for a Linux process (src/port/hosted_config.h) */
#ifndef AMPSOCK_HOSTED
#define AMPSOCK_HOSTED 0
#endif
/* 1: there are other virtio transports than virtio-mmio (vdev.h), a board's own perhaps; 0: that
 * alone, called by name, and 300 bytes are saved */
#ifndef AMPSOCK_VDEV_OTHERS
#ifdef __OPTIMIZE_SIZE__
#define AMPSOCK_VDEV_OTHERS AMPSOCK_HOSTED
#else
#define AMPSOCK_VDEV_OTHERS 1
#endif
#endif
#ifndef AMPSOCK_CACHE_HOOKS
#define AMPSOCK_CACHE_HOOKS 0
#endif

/* What went wrong in words, in the field why of *at, which is there when words are. */
#if AMPSOCK_WHY
#define AMP_WHY(text)	      text
#define AMP_WHY_OF(at)	      ((at)->why)
#define AMP_WHY_SAY(at, text) ((at)->why = (text))
#else
#define AMP_WHY(text)	      ""
#define AMP_WHY_OF(at)	      ((void)(at), (const char *)0)
#define AMP_WHY_SAY(at, text) ((void)(at), (void)(text))
#endif

/* What a compiler knows of v by now is forgotten: it would make a copy of all that follows for each
 * case, which is no gain where size matters. */
#if AMPSOCK_FAST
#define AMP_FORGET(v) ((void)(v))
#else
#define AMP_FORGET(v) __asm__("" : "+r"(v))
#endif

/*
 * Of counters that do not travel only differences are used, and those of receiving are at most
 * our own window: where that is small, and so is what one buffer can reserve, their low
 * halves do.
 */
#if AMPSOCK_RING_LEN <= 16384 && AMPSOCK_VSOCK_BUF_LEN <= 16384 && \
	!(AMPSOCK_VQ_DEVICE && (AMPSOCK_VQ_DRIVER || AMPSOCK_VSOCK))
#define AMP_CREDIT_CNT uint16_t
#else
#define AMP_CREDIT_CNT uint32_t
#endif

#define AMP_IS_POW2(n) ((n) > 0 && ((n) & ((n)-1)) == 0)
_Static_assert(AMP_IS_POW2(AMPSOCK_RING_LEN) && AMPSOCK_RING_LEN >= 512,
	       "AMPSOCK_RING_LEN: a power of two of at least 512");
_Static_assert(AMP_IS_POW2(AMPSOCK_VSOCK_NUM) && AMPSOCK_VSOCK_NUM <= 1024,
	       "AMPSOCK_VSOCK_NUM: a power of two of at most 1024");
_Static_assert(AMPSOCK_VSOCK_BUF_LEN >= 128 && AMPSOCK_VSOCK_BUF_LEN <= 65536 + 44 &&
		       AMPSOCK_VSOCK_BUF_LEN % 4 == 0,
	       "AMPSOCK_VSOCK_BUF_LEN: 128 to 65580, a multiple of 4");
_Static_assert(AMPSOCK_RPMSG >= 0 && AMPSOCK_RPMSG <= 16, "AMPSOCK_RPMSG: 0 to 16");
_Static_assert(AMPSOCK_RPMSG_NAMES >= 2 && AMPSOCK_RPMSG_NAMES <= 254,
	       "AMPSOCK_RPMSG_NAMES: 2 to 254");
_Static_assert(AMPSOCK_RPMSG_SERVICES >= 1, "AMPSOCK_RPMSG_SERVICES: at least 1");
_Static_assert(AMP_IS_POW2(AMPSOCK_HASH) && AMPSOCK_HASH <= 65536,
	       "AMPSOCK_HASH: a power of two of at most 65536");
_Static_assert(AMPSOCK_SOCKETS >= 2 && AMPSOCK_SOCKETS <= 4096, "AMPSOCK_SOCKETS: 2 to 4096");
_Static_assert(AMPSOCK_RINGS >= 1 && AMPSOCK_RINGS <= 4096, "AMPSOCK_RINGS: 1 to 4096");
_Static_assert(AMPSOCK_FD_BASE >= 0 && AMPSOCK_FD_BASE <= 64, "AMPSOCK_FD_BASE: 0 to 64");
_Static_assert(AMPSOCK_VSOCK_LINKS >= 1 && AMPSOCK_VSOCK_LINKS <= 16,
	       "AMPSOCK_VSOCK_LINKS: 1 to 16 (none: AMPSOCK_VSOCK 0)");
_Static_assert(AMPSOCK_ADDRINFO >= 1 && AMPSOCK_ADDRINFO <= 64, "AMPSOCK_ADDRINFO: 1 to 64");
_Static_assert(AMPSOCK_CONNECT_MS >= 1 && AMPSOCK_CONNECT_MS <= 600000,
	       "AMPSOCK_CONNECT_MS: 1 to 600000");
_Static_assert(AMPSOCK_PING_MS >= 0 && AMPSOCK_PING_MS <= 600000,
	       "AMPSOCK_PING_MS: 0 (never) to 600000");
_Static_assert((AMPSOCK_VSOCK == 0 || AMPSOCK_VSOCK == 1) &&
		       (AMPSOCK_INET == 0 || AMPSOCK_INET == 1) &&
		       (AMPSOCK_LOOP == 0 || AMPSOCK_LOOP == 1),
	       "AMPSOCK_VSOCK, AMPSOCK_INET, AMPSOCK_LOOP: 0 or 1");
_Static_assert(AMPSOCK_VSOCK > 0 || AMPSOCK_RPMSG > 0,
	       "AMPSOCK_VSOCK 1 or AMPSOCK_RPMSG at least 1: no link without them");
_Static_assert(AMPSOCK_VSOCK || !AMPSOCK_LOOP,
	       "AMPSOCK_LOOP: its sockets are AF_VSOCK's (AMPSOCK_VSOCK 1)");
_Static_assert(AMPSOCK_VQ_DRIVER || !AMPSOCK_VSOCK,
	       "AMPSOCK_VQ_DRIVER: a vsock guest is the driver");
_Static_assert(AMPSOCK_EVENT_IDX || !AMPSOCK_RPMSG_EVENT_IDX,
	       "AMPSOCK_RPMSG_EVENT_IDX: the rings are to have it (AMPSOCK_EVENT_IDX 1)");
_Static_assert(AMPSOCK_VQ_DEVICE || AMPSOCK_VQ_DRIVER,
	       "AMPSOCK_VQ_DEVICE: the remote core of an rpmsg link is the device");

#endif /* AMPSOCK_CONFIG_H */
