// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls:hot recvmsg sendmsg
 * #syscalls close getpeername getsockopt setsockopt shutdown
 */
/*
 * The descriptor end: a TCP or Unix stream socket of the host. Its descriptor is in the
 * epoll set for all edges from birth to death; `readable` and `writable` remember the
 * last edge until a call says that it is used up.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "end.h"
#include "log.h"
#include "rule.h"

struct end_fd {
	struct amp_end end;
	struct amp_watch watch;
	struct amp_grave grave;
	bool connecting;
	bool readable;
	bool hup;      /* an end, an error or urgent data is due: a short read proves nothing */
	bool writable; /* false also before the connection is there */
	bool eof;      /* read: what is still to come of the other side is its death */
};

/* TCP: close() with a linger of 0 sends RST; on others it does no harm. */
static const struct linger rst = {.l_onoff = 1, .l_linger = 0};

static struct end_fd *of(struct amp_end *end)
{
	return amp_container_of(end, struct end_fd, end);
}

static void fd_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct end_fd, grave));
}

static int socket_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
		return errno;
	return err;
}

static void connected(struct end_fd *e, uint32_t events)
{
	int err = socket_error(e->watch.fd);

	if (!err && !(events & EPOLLOUT))
		return;
	e->connecting = false;
	e->writable = !err;
	if (err) {
		e->end.err = err;
		e->end.user->event(&e->end, AMP_END_FAILED);
		return;
	}
	e->readable = (events & EPOLLIN) != 0;
	e->end.user->event(&e->end, AMP_END_OPEN);
}

/*
 * The other side has ended its way, and now the rest goes: with an error, or (a Unix socket) because
 * it is closed. Nobody reads here any more, and the guest may have nothing to write for long.
 */
static void gone(struct end_fd *e)
{
	int err = socket_error(e->watch.fd);

	e->eof = false;	  /* once */
	e->end.err = err; /* EPIPE: tcp(7)'s word for a reset behind the end, as it is ours */
	e->end.user->event(&e->end, err ? AMP_END_FAILED : AMP_END_DEAF);
}

static void ready(struct amp_watch *w, uint32_t events)
{
	struct end_fd *e = amp_container_of(w, struct end_fd, watch);

	/* a read stops at the mark of urgent data (tcp(7)), and what lies behind has no edge */
	if (events & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		e->hup = true;
	if (e->connecting) {
		connected(e, events);
		return;
	}
	if (e->eof && (events & (EPOLLHUP | EPOLLERR))) {
		gone(e);
		return;
	}
	if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
		e->readable = true;
		e->end.user->event(&e->end, AMP_END_READABLE);
	}
	/* the user may have let go of the end meanwhile: then the watch is closed */
	if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) && w->fd >= 0 && !e->writable) {
		e->writable = true;
		e->end.user->event(&e->end, AMP_END_WRITABLE);
	}
}

static ssize_t fd_write(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	struct end_fd *e = of(end);
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
			     .msg_iovlen = (size_t)cnt};
	ssize_t n;

	if (!e->writable)
		return -EAGAIN;
	do
		n = sendmsg(e->watch.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno == EAGAIN)
			e->writable = false;
		return -errno;
	}
	/* a short write means a full socket, which has promised an edge */
	if ((size_t)n < len)
		e->writable = false;
	return n;
}

static ssize_t fd_read(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	struct end_fd *e = of(end);
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
			     .msg_iovlen = (size_t)cnt};
	ssize_t n;

	if (!e->readable)
		return -EAGAIN;
	do
		n = recvmsg(e->watch.fd, &msg, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno == EAGAIN)
			e->readable = false;
		return -errno;
	}
	if (n == 0 && len) {
		/* the end, and what may have come behind it before we looked */
		int err = e->hup ? socket_error(e->watch.fd) : 0;

		e->eof = true;
		return -err;
	}
	/*
	 * A short read means an empty socket: the next byte, or the end, is a new edge. Not where
	 * descriptors or credentials came along (MSG_CTRUNC: thrown away), which a read never goes
	 * beyond (unix(7)).
	 */
	if ((size_t)n < len && !e->hup && !(msg.msg_flags & MSG_CTRUNC))
		e->readable = false;
	return n;
}

static void fd_shut(struct amp_end *end)
{
	shutdown(of(end)->watch.fd, SHUT_WR);
}

static void fd_close(struct amp_end *end)
{
	struct end_fd *e = of(end);

	amp_watch_close(&e->watch);
	amp_bury(&e->grave, fd_free);
}

static void fd_reset(struct amp_end *end)
{
	setsockopt(of(end)->watch.fd, SOL_SOCKET, SO_LINGER, &rst, sizeof(rst));
	fd_close(end);
}

static size_t fd_space(struct amp_end *end)
{
	return of(end)->writable ? SIZE_MAX : 0;
}

static void fd_text(const struct amp_end *end, char *dst, size_t len)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t ss_len = sizeof(ss);
	char text[AMP_ADDR_TEXT];

	if (getpeername(amp_end_fd_fd(end), (struct sockaddr *)&ss, &ss_len) ||
	    ss.ss_family == AF_UNIX)
		snprintf(dst, len, "%s", ss.ss_family == AF_UNIX ? "unix" : "host");
	else
		snprintf(dst, len, "%s", amp_sockaddr_text((struct sockaddr *)&ss, text));
}

static void addr_info(const struct sockaddr_storage *ss, socklen_t len, char *dst)
{
	const struct sockaddr_un *un = (const void *)ss;
	char text[AMP_ADDR_TEXT];
	size_t n = len > offsetof(struct sockaddr_un, sun_path)
			   ? len - offsetof(struct sockaddr_un, sun_path)
			   : 0;
	char path[sizeof(un->sun_path) + 1];

	if (ss->ss_family == AF_UNIX)
		snprintf(dst, AMP_INFO_ADDR, "unix:%s",
			 amp_log_clean(path, sizeof(path), un->sun_path, n));
	else
		snprintf(dst, AMP_INFO_ADDR, "%s",
			 amp_sockaddr_text((const struct sockaddr *)ss, text));
}

void amp_fd_info(int fd, struct amp_sock_info *info)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(ss), tcp_len = sizeof(struct tcp_info);
	struct tcp_info tcp;

	if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
		addr_info(&ss, len, info->host_local);
	len = sizeof(ss);
	if (getpeername(fd, (struct sockaddr *)&ss, &len) == 0)
		addr_info(&ss, len, info->host_peer);
	if (ss.ss_family == AF_UNIX) {
		info->proto = "unix";
		return;
	}
	memset(&tcp, 0, sizeof(tcp));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &tcp, &tcp_len))
		return;
	info->proto = "tcp";
	info->has_tcp = tcp.tcpi_state == TCP_ESTABLISHED || tcp.tcpi_state == TCP_CLOSE_WAIT ||
			tcp.tcpi_state == TCP_FIN_WAIT1 || tcp.tcpi_state == TCP_FIN_WAIT2;
	info->rtt_us = tcp.tcpi_rtt;
	info->rttvar_us = tcp.tcpi_rttvar;
	info->retransmits = tcp.tcpi_total_retrans;
	info->cwnd_segments = tcp.tcpi_snd_cwnd;
}

static void fd_info(const struct amp_end *end, struct amp_sock_info *info)
{
	amp_fd_info(amp_end_fd_fd(end), info);
}

static const struct amp_end_ops fd_ops = {
	.name = "fd",
	.write = fd_write,
	.read = fd_read,
	.space = fd_space,
	.shut = fd_shut,
	.reset = fd_reset,
	.close = fd_close,
	.text = fd_text,
	.info = fd_info,
};

/* Whoever is there hears of an abnormal end. */
static struct amp_end *refuse(int fd)
{
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &rst, sizeof(rst));
	close(fd);
	return NULL;
}

struct amp_end *amp_end_fd(int fd, bool connecting)
{
	struct end_fd *e = calloc(1, sizeof(*e));

	if (!e)
		return refuse(fd);
	e->end.ops = &fd_ops;
	e->watch.ready = ready;
	e->connecting = connecting;
	e->writable = !connecting;
	if (amp_watch_start(&e->watch, fd,
			    EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET)) {
		free(e);
		return refuse(fd);
	}
	return &e->end;
}

int amp_end_fd_fd(const struct amp_end *end)
{
	return ((const struct end_fd *)(const void *)((const char *)end -
						      offsetof(struct end_fd, end)))
		->watch.fd;
}
