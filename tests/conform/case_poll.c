/* SPDX-License-Identifier: BSD-3-Clause */
/* poll() and select(): level-triggered, and what they say is what the next call does. */
#include "conform.h"

static void level_a(struct ct *t)
{
	int fd = ct_pair(t);
	char buf[8];

	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT), POLLOUT);
	ct_tell(t, "send");
	CT_EQ(ct_poll(t, fd, POLLIN), POLLIN);
	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT), POLLIN | POLLOUT); /* still */
	CT_EQ(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 2);
	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT), POLLOUT);
	CT_ERR(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
	ct_tell(t, "done");
}

static void level_b(struct ct *t)
{
	int fd = ct_pair(t);

	ct_wait(t, "send");
	CT_EQ(send(fd, "xy", 2, 0), 2);
	ct_wait(t, "done");
}

static void accept_a(struct ct *t)
{
	int lfd = ct_listen(t, 4);

	CT_EQ(ct_poll(t, lfd, POLLIN), POLLIN);
	CT_EQ(ct_now(t, lfd, POLLIN), POLLIN);
	(void)ct_accept(t, lfd);
	CT_EQ(ct_now(t, lfd, POLLIN), 0);
	ct_nonblock(t, lfd, 1);
	CT_ERR(accept(lfd, NULL, NULL), EAGAIN);
	ct_tell(t, "done");
}

static void accept_b(struct ct *t)
{
	(void)ct_dial(t);
	ct_wait(t, "done");
}

const struct ct_case ct_poll_cases[] = {
	{"poll.level", "POLLIN stays until it was read, and agrees with recv()", CT_ALL, 0, 0,
	 level_a, level_b},
	{"poll.accept", "POLLIN on a listener, and agrees with accept()", CT_CONN, 0, 0,
	 accept_a, accept_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
