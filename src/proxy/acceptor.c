// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls accept4 close */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"
#include "publish.h"

/*
 * What accept(2) says of a connection that died in the queue, which is out of it. Anything else was
 * no connection's fault: descriptors or memory are out, or a packet filter or a security module
 * forbids it (EPERM, EACCES), which leaves the connection where it is.
 */
bool amp_accept_next(int err)
{
	switch (err) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENOPROTOOPT:
	case ENETDOWN:
	case ENETUNREACH:
	case ENONET:
	case EHOSTDOWN:
	case EHOSTUNREACH:
		return true;
	default:
		return false;
	}
}

static void failed(struct amp_acceptor *a)
{
	struct amp_sock_info info = {.host_local = ""};
	int err = errno;

	if (err == EAGAIN) {
		a->ready = false;
	} else if (amp_accept_next(err)) {
		amp_work_queue(&a->work);
	} else {
		/* nothing gets better by our trying again at once */
		amp_fd_info(a->watch.fd, &info);
		amp_log_some(&a->log, AMP_LOG_ERROR, "accept: %s: connections to %s wait",
			     strerror(err), info.host_local);
		amp_watch_retry(&a->watch);
	}
}

static void acceptor_run(struct amp_work *work)
{
	struct amp_acceptor *a = amp_container_of(work, struct amp_acceptor, work);

	for (unsigned n = 0; a->ready && a->watch.fd >= 0; n++) {
		struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
		socklen_t len = sizeof(peer);
		int fd;

		if (a->want && !a->want(a))
			return;
		if (n == AMP_ACCEPT_TURN) {
			amp_work_queue(work);
			return;
		}
		fd = accept4(a->watch.fd, (struct sockaddr *)&peer, &len,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			failed(a);
			return;
		}
		a->take(a, fd, &peer);
	}
}

static void acceptor_ready(struct amp_watch *w, uint32_t events)
{
	struct amp_acceptor *a = amp_container_of(w, struct amp_acceptor, watch);

	(void)events;
	a->ready = true;
	amp_work_queue(&a->work);
}

int amp_acceptor_start(struct amp_acceptor *a, int fd)
{
	int r;

	a->watch.ready = acceptor_ready;
	a->work.run = acceptor_run;
	r = amp_watch_start(&a->watch, fd, EPOLLIN | EPOLLET);
	if (r) {
		a->watch.fd = -1;
		amp_listen_close(fd);
	}
	return r;
}

void amp_acceptor_go(struct amp_acceptor *a)
{
	if (a->ready)
		amp_work_queue(&a->work);
}

void amp_acceptor_stop(struct amp_acceptor *a)
{
	int fd = a->watch.fd;

	amp_work_cancel(&a->work);
	if (fd < 0)
		return;
	amp_watch_stop(&a->watch);
	amp_listen_close(fd);
}
