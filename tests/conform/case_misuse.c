/* SPDX-License-Identifier: BSD-3-Clause */
/* Wrong use, and the errno for it. */
#include "conform.h"

static void badf(struct ct *t)
{
	struct ct_addr a;
	socklen_t len = sizeof(a.ss);
	char c = 0;
	int fd = ct_socket(t, 0), v = 0;

	ct_addr_free(t, &a);
	ct_close(t, fd);
	CT_ERR(close(fd), EBADF);
	CT_ERR(bind(fd, (struct sockaddr *)&a.ss, a.len), EBADF);
	CT_ERR(connect(fd, (struct sockaddr *)&a.ss, a.len), EBADF);
	CT_ERR(listen(fd, 1), EBADF);
	CT_ERR(accept(fd, NULL, NULL), EBADF);
	CT_ERR(send(fd, &c, 1, 0), EBADF);
	CT_ERR(recv(fd, &c, 1, 0), EBADF);
	CT_ERR(read(fd, &c, 1), EBADF);
	CT_ERR(write(fd, &c, 1), EBADF);
	CT_ERR(shutdown(fd, SHUT_RDWR), EBADF);
	CT_ERR(getsockname(fd, (struct sockaddr *)&a.ss, &len), EBADF);
	CT_ERR(getpeername(fd, (struct sockaddr *)&a.ss, &len), EBADF);
	CT_ERR(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &v, sizeof(v)), EBADF);
	CT_ERR(send(-1, &c, 1, 0), EBADF);
	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT), POLLNVAL);
}

static void notconn(struct ct *t)
{
	struct ct_addr a;
	socklen_t len = sizeof(a.ss);
	char c = 0;
	int fd = ct_socket(t, 0);

	CT_ERR(getpeername(fd, (struct sockaddr *)&a.ss, &len), ENOTCONN);
	CT_ERR(accept(fd, NULL, NULL), EINVAL);
	CT_ERR(recv(fd, &c, 1, MSG_DONTWAIT),
	       t->tr->props & CT_UNIX && t->tr->kind == CT_STREAM ? EINVAL : ENOTCONN);
}

const struct ct_case ct_misuse[] = {
	{"misuse.badf", "every call on a closed descriptor says EBADF", CT_ALL, 0, 0, badf,
	 ct_nothing},
	{"misuse.not-connected", "getpeername(), recv(), accept() before connect()", CT_CONN, 0,
	 0, notconn, ct_nothing},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
