// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls accept4 close */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"
#include "publish.h"

static void failed(struct amp_acceptor *a)
{
	switch (errno) {
	case EAGAIN:
		a->ready = false;
		break;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		/* nothing frees itself by our trying again at once: wait for others to close */
		amp_log_some(&a->log, AMP_LOG_ERROR, "accept: %s: connections wait",
			     strerror(errno));
		amp_watch_retry(&a->watch);
		break;
	default:
		/* the connection died in the queue (accept(2)): the next one */
		amp_work_queue(&a->work);
		break;
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
