/* SPDX-License-Identifier: BSD-3-Clause */
/* poll.h (POSIX.1-2017) for bare toolchains: numbers and layout as on Linux. */
#ifndef AMP_POLL_H
#define AMP_POLL_H

#include <sys/select.h> /* sigset_t, struct timespec: the C library has them nowhere else */

/* Events to ask for. */
#define POLLIN	   0x0001 /* recv or accept would not block: data, EOF, a connection */
#define POLLPRI	   0x0002 /* never reported: no urgent data */
#define POLLOUT	   0x0004 /* send would take something, or connect is done */
#define POLLRDNORM 0x0040 /* with POLLIN */
#define POLLRDBAND 0x0080 /* never reported */
#define POLLWRNORM 0x0100 /* with POLLOUT */
#define POLLWRBAND 0x0200 /* never reported */
#define POLLRDHUP  0x2000 /* the peer sends no more (Linux) */
/* Reported whether asked for or not. */
#define POLLERR	 0x0008 /* a pending error: getsockopt(SO_ERROR) */
#define POLLHUP	 0x0010 /* both directions are shut */
#define POLLNVAL 0x0020 /* not an open descriptor */

#ifdef __cplusplus
extern "C" {
#endif

/* Newer picolibc has this header too: whoever comes first defines these. */
#ifndef _POLL_H_
#define _POLL_H_
typedef unsigned long nfds_t;

struct pollfd {
	int fd;	       /* negative: skip this entry */
	short events;  /* asked for */
	short revents; /* found; set by poll */
};
#endif

/*
 * poll - wait until one of nfds descriptors is ready. timeout in milliseconds, -1: for
 * ever, 0: look only. Level-triggered: what it reports the next call does not block on.
 * Returns entries with revents set, 0 when the time is up, -1 with errno EINVAL (nfds
 * beyond what can be open). A bad descriptor is POLLNVAL, not an error.
 * Thread context. POSIX.1-2017.
 */
int poll(struct pollfd *fds, nfds_t nfds, int timeout);

/*
 * ppoll - the same with a timespec (NULL: for ever), rounded up to milliseconds. There
 * are no signals: sigmask is ignored. EINVAL also for tv_nsec out of range. As Linux.
 */
int ppoll(struct pollfd *fds, nfds_t nfds, const struct timespec *timeout,
	  const sigset_t *sigmask);

#ifdef __cplusplus
}
#endif

#endif /* AMP_POLL_H */
