/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ampsock.h - what POSIX has no word for: bring-up, links, progress, statistics,
 * the log hook, zero-copy. Everything else is in <sys/socket.h> and its kin.
 *
 * All calls: thread context only. Bring-up and links return 0 or -errno and leave errno alone;
 * zero-copy returns -1 and sets errno, as send() and recv() do.
 */
#ifndef AMPSOCK_H
#define AMPSOCK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AMPSOCK_VERSION "0.1.0"

struct amp_vdev;
struct amp_rproc;

/*
 * Bring a virtio-vsock device up behind a transport that amp_mmio_init() prepared (a Linux
 * process calls amp_link_vhost_user() instead). vd must stay where it is for ever. The
 * device's interrupt must end in amp_mmio_isr(); without one call amp_poll_links() now and then.
 * Before or after sockets exist; again when the link went down, or to
 * begin anew: connections are reset then, listeners stay. 0; -ENODEV no vsock device there;
 * -ENOTSUP missing features, or a transport that is not virtio-mmio in a library without
 * AMPSOCK_VDEV_OTHERS; -EIO, -EBUSY the device does not do as it should; -EPROTO no usable CID;
 * -ENOBUFS no link slot (AMPSOCK_VSOCK_LINKS) or too little memory.
 */
int amp_link_vsock(struct amp_vdev *vd);

/*
 * Be the remote core of an rpmsg link: rp is a resource table and its window (ops, table,
 * shm, shm_da, shm_len, num and align are set) and must stay where it is for ever. Returns at
 * once; the link is up when the host has set DRIVER_OK, down when it takes that back or
 * breaks a ring, and up again, by itself, when it serves anew: connected sockets report
 * ECONNRESET, listeners and bound sockets are announced again. The host's doorbell must end in
 * amp_port_wake(); without one call amp_poll_links() now and then. Before
 * or after sockets exist; a second time for the same rp begins anew. 0; -EINVAL a table that
 * can not be: num no power of two up to 1024, align no power of two of at least 4, the window
 * not aligned, or its file was compiled with AMPSOCK_RPMSG_EVENT_IDX 1 and the library with 0;
 * -ENOBUFS no link slot (AMPSOCK_RPMSG).
 */
int amp_link_rpmsg(struct amp_rproc *rp);

/*
 * Link up or down: fn runs inside a socket call, lock held: set a flag. One fn for all links,
 * called at changes only; NULL: none. link: AF_VSOCK's links have numbers from 0 up, AF_RPMSG's
 * come behind them and the in-core loop: sockaddr_rpmsg.rp_link + AMPSOCK_VSOCK_LINKS + AMPSOCK_LOOP.
 */
void amp_link_callback(void (*fn)(void *arg, int link, int up), void *arg);
/*
 * Wait until some link is up. timeout_ms -1: for ever. 0 or -ETIMEDOUT. A link that is up need not
 * have a proxy behind it: then connect() says ENETDOWN or ETIMEDOUT.
 */
int amp_link_wait(int timeout_ms);

/*
 * Let the stack make progress: look at every ring, deliver, answer, time out. Inside
 * every socket call anyway; call it from a main loop or an idle hook when the program
 * does other things for long. Returns ms until it wants to run again,
 * -1: not before something arrives.
 */
int amp_poll_links(void);

/* Counters since start-up, modulo 2^32, of all links together; and what is in use now. */
struct amp_stats {
	uint32_t rx_packets;
	uint32_t tx_packets;
	uint32_t rx_bad;       /* packets that broke a rule, accept carriers unasked for */
	uint32_t resets;       /* connections reset for that */
	uint32_t link_resets;  /* links reset: broken ring, device reset, dead proxy */
	uint32_t kicks;	       /* notifications sent to the device */
	uint32_t dgram_drops;  /* datagrams and raw messages that found no room, or nobody */
	uint32_t sockets_used; /* of AMPSOCK_SOCKETS: carriers and closing ones, too */
	uint32_t sockets_max;  /* the most that ever were at a time */
	uint32_t rings_used;   /* of AMPSOCK_RINGS */
	uint32_t tx_pending; /* packets that the other end has not taken: 0 before power-off */
	uint32_t names_lost; /* AF_RPMSG: announcements forgotten for want of room */
};

void amp_stats_get(struct amp_stats *st);

/*
 * fn gets one line of text, no newline, for each link or peer that broke a rule; NULL, as at
 * first: nobody. It runs inside a socket call, lock held: no socket calls, copy what is to be
 * kept. A library without AMPSOCK_WHY has hardly a word to say: what happened is in amp_stats.
 */
void amp_log_hook(void (*fn)(const char *line));

/*
 * Zero-copy. reserve: *iov (two at most, *cnt of them) is transport memory for up to len
 * bytes on this connected socket; returns the bytes it has: what one packet holds, and to CID 1 or
 * of a socketpair() 84 where the library is built for size. commit sends the first len of
 * them; 0 gives the room back. Between the two the socket sends nothing else.
 * borrow: received bytes where they lie, up to len, of SOCK_SEQPACKET the next message, all of
 * it; returns their number. 0 with *cnt 0: EOF; 0 with *cnt not 0: len was 0, or the message is
 * empty (iov[0].iov_len 0). A pending error comes behind what has been received, empty messages
 * too. give_back: the first len are done with; of SOCK_SEQPACKET that is the whole message,
 * and an empty one goes with len 0. Blocking as send() and recv() are; -1 and errno as theirs, and
 * EOPNOTSUPP, EBUSY (a reservation is open), EINVAL (len larger than reserved or borrowed), EFAULT
 * (iov or cnt NULL). commit and give_back do not block.
 */
ssize_t amp_reserve(int fd, struct iovec iov[2], int *cnt, size_t len);
ssize_t amp_commit(int fd, size_t len);
ssize_t amp_borrow(int fd, struct iovec iov[2], int *cnt, size_t len);
ssize_t amp_give_back(int fd, size_t len);

#ifdef __cplusplus
}
#endif

#endif /* AMPSOCK_H */
