/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sd_notify(3) and sd_watchdog_enabled(3): what the service manager hears of us. The protocol
 * is one datagram of KEY=VALUE lines to the Unix socket that NOTIFY_SOCKET names, so it is here
 * in code of our own. Without a manager every call does nothing, and that is no error.
 *
 * The main process alone speaks (NotifyAccess=main).
 */
#ifndef AMP_PROXY_NOTIFY_H
#define AMP_PROXY_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define AMP_NOTIFY_TEXT 1024u /* bytes of one message, the NUL included */
#define AMP_NOTIFY_FDS	253u  /* descriptors of one message: SCM_MAX_FD of Linux */

struct amp_notify {
	int fd; /* -1: nobody wants to hear */
	struct sockaddr_un addr;
	socklen_t addr_len;
	uint64_t watchdog_us; /* 0: no watchdog, or one for another process */
};

/*
 * Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, so that no child
 * speaks in our name. 0; -EINVAL: what is there is no address or no number; or another -errno:
 * n is usable in any case, as if nobody wanted to hear.
 */
int amp_notify_open(struct amp_notify *n);
void amp_notify_close(struct amp_notify *n);

/*
 * One message, KEY=VALUE lines with "\n" between them. 0: sent, or nobody wants to hear.
 * -EAGAIN: the manager is behind; -errno: it is gone. Never waits.
 */
int amp_notify_send(struct amp_notify *n, const char *text);
/* The same with descriptors that stay ours (FDSTORE=1). -EINVAL: more than AMP_NOTIFY_FDS. */
int amp_notify_send_fds(struct amp_notify *n, const char *text, const int *fds, unsigned cnt);
/*
 * A STATUS= line, and with it `state` (such as "READY=1", NULL: none). What would be a line of
 * its own in text becomes a blank.
 */
int amp_notify_status(struct amp_notify *n, const char *state, const char *text);
/* RELOADING=1 with the MONOTONIC_USEC that Type=notify-reload wants beside it. */
int amp_notify_reloading(struct amp_notify *n);

/*
 * How often the watchdog wants to hear WATCHDOG=1: half of its time, in ms and at least 1.
 * 0: there is none.
 */
uint64_t amp_notify_watchdog_ms(const struct amp_notify *n);

#endif /* AMP_PROXY_NOTIFY_H */
