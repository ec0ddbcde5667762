// SPDX-License-Identifier: BSD-3-Clause
/*
 * The vhost-user device of a hosted process: what is the same whether it is a vsock or an
 * rpmsg one (hosted_device.c here and in af_rpmsg/).
 *
 * Theory of operation. A listening socket, then one connection, and the queues' kick descriptors
 * are watched by the port; whoever leads there calls the drains below with the lock held. A
 * thread that never sleeps never leads, so the link's runner looks at the sockets by itself, too,
 * once in a millisecond (amp_hosted_look()).
 */
#include "../ampsock_config.h"

#if AMPSOCK_HOSTED

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ampsock.h"
#include "../port/port.h"
#include "../port/posix.h"
#include "../socket/family.h"
#include "hosted.h"

static struct amp_hosted_server *servers; /* l; they are never taken out */

/* ---- descriptors ---- */

static void kick_drain(int fd)
{
	for (struct amp_hosted_server *s = servers; s; s = s->next) {
		for (unsigned q = 0; q < s->be.queues; q++) {
			if (s->be.q[q].kick_fd == fd)
				s->kicked(s, q);
		}
	}
}

static void conn_drain(int fd)
{
	for (struct amp_hosted_server *s = servers; s; s = s->next) {
		if (s->be.fd == fd) {
			(void)amp_vhost_be_readable(&s->be);
			return;
		}
	}
}

static void take_connection(struct amp_hosted_server *s)
{
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (s->be.fd >= 0) {
		amp_log("vhost-user device: a second front-end is turned away");
		close(fd);
	} else if (amp_vhost_be_start(&s->be, fd) == 0) {
		(void)amp_port_watch(fd, conn_drain);
		(void)amp_vhost_be_readable(&s->be);
	}
}

static void listen_drain(int fd)
{
	for (struct amp_hosted_server *s = servers; s; s = s->next) {
		if (s->listen_fd == fd)
			take_connection(s);
	}
}

/* ---- for the back-end's hooks ---- */

void amp_hosted_kick_fd(struct amp_vhost_be *be, unsigned q, int fd)
{
	if (be->q[q].kick_fd >= 0)
		amp_port_unwatch(be->q[q].kick_fd);
	if (fd >= 0 && amp_port_watch(fd, kick_drain))
		amp_log("vhost-user device: too many descriptors to watch");
}

void amp_hosted_gone(struct amp_vhost_be *be)
{
	if (be->why)
		amp_log(be->why);
	amp_port_unwatch(be->fd);
}

/* ---- for the runner ---- */

bool amp_hosted_look(struct amp_hosted_server *s, uint32_t now_ms)
{
	if (now_ms == s->looked_ms)
		return false;
	s->looked_ms = now_ms;
	if (s->be.fd < 0)
		take_connection(s);
	else if (amp_vhost_be_readable(&s->be))
		return false;
	return true;
}

bool amp_hosted_failed(struct amp_hosted_server *s, bool broken)
{
	const struct amp_vq *vq = &s->be.q[0].vq;

	if (amp_vhost_be_dead(&s->be)) {
		amp_vhost_be_fail(&s->be, -EFAULT, NULL);
		return true;
	}
	if (!broken)
		return false;
	if (!vq->broken)
		vq = &s->be.q[1].vq;
	amp_vhost_be_fail(&s->be, -EBADMSG, vq->why);
	return true;
}

/* ---- bring-up ---- */

int amp_hosted_listen(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	const struct sockaddr *at = (const struct sockaddr *)&sun;
	size_t len = strlen(path);
	struct stat st;
	int fd, r;

	if (len >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	memcpy(sun.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && connect(fd, at, sizeof(sun)) < 0 &&
	    errno == ECONNREFUSED)
		unlink(path);
	if (bind(fd, at, sizeof(sun)) < 0 || listen(fd, 4) < 0) {
		r = errno == EINVAL || errno == EISCONN ? -EADDRINUSE : -errno;
		close(fd);
		return r;
	}
	return fd;
}

int amp_hosted_serve(struct amp_hosted_server *s, int fd)
{
	static const enum amp_vq_dir dir[2] = {
		[AMP_HOSTED_OUT] = AMP_VQ_OUT, [AMP_HOSTED_IN] = AMP_VQ_IN};

	if (amp_port_watch(fd, listen_drain))
		return -ENOBUFS;
	s->listen_fd = fd;
	s->be.queues = 2;
	s->be.dir = dir;
	(void)amp_vhost_be_init(&s->be);
	s->next = servers;
	servers = s;
	return 0;
}

#endif /* AMPSOCK_HOSTED */
