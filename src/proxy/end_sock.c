// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls:hot recvmsg sendmsg recvfrom
 * #syscalls close connect getsockopt sendto
 *
 * The guest's end on a socket of this host: slink.h has the theory. Edges are remembered until a
 * call says that they are used up; the user is told everything from the work item, never from
 * within a call of its own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "slink.h"

#define TURN_LEN (128u * 1024u) /* bytes that an end may bring before others have their turn */

/* Bytes between recv() and the user; between reserve() and commit(). One at a time each. */
static uint8_t chunk[AMP_BUF_LEN];
static uint8_t room[AMP_BUF_LEN];

static struct amp_end_sock *of(struct amp_end *end)
{
	return amp_container_of(end, struct amp_end_sock, end);
}

static void sock_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct amp_end_sock, grave));
}

/* The descriptor and everything of it. */
static void over(struct amp_end_sock *e, bool orderly)
{
	struct amp_slink *sl = e->sl;

	amp_slink_tap_over(e, orderly);
	amp_work_cancel(&e->work);
	amp_watch_close(&e->watch);
	amp_slink_wait_over(e);
	amp_buf_clear(&e->in);
	amp_buf_clear(&e->out);
	TAILQ_REMOVE(&sl->ends, e, entry);
	amp_link_end_del(&sl->link, &e->end);
	if (--sl->end_cnt == 0)
		amp_work_queue(&sl->work);
	amp_bury(&e->grave, sock_free);
}

static void tell(struct amp_end_sock *e, enum amp_end_event event)
{
	if (!e->let_go)
		e->end.user->event(&e->end, event);
}

static void fail(struct amp_end_sock *e, int err)
{
	if (e->let_go) {
		over(e, false);
		return;
	}
	e->end.err = err;
	tell(e, AMP_END_FAILED);
}

/* What the socket says: so it was the guest, or what carries it. */
static void fail_by_guest(struct amp_end_sock *e, int err)
{
	amp_slink_tap_op(e, false, AMP_VSOCK_OP_RST);
	fail(e, err);
}

static int socket_error(const struct amp_end_sock *e)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(e->watch.fd, SOL_SOCKET, SO_ERROR, &err, &len))
		return errno;
	return err;
}

/* ---- to the guest ---- */

/* Bytes that went, -EAGAIN, -EPIPE, -errno. */
static ssize_t transmit(struct amp_end_sock *e, const struct iovec *iov, int cnt, size_t len)
{
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
	if (e->sl->link.tapped)
		amp_slink_tap_data(e, true, iov, cnt, (size_t)n);
	e->tx_bytes += (uint64_t)n;
	e->sl->link.stats.tx_bytes += (uint64_t)n;
	/* a short write means a full socket, which has promised an edge */
	if ((size_t)n < len)
		e->writable = false;
	return n;
}

/* The peer takes no more: the user hears it in its turn, as of a ring. */
static void deaf(struct amp_end_sock *e)
{
	e->deaf = true;
	amp_slink_tap_shut(e, false, AMP_VSOCK_SHUTDOWN_RCV);
	amp_buf_clear(&e->out);
	amp_work_queue(&e->work);
}

/*
 * Bytes that the user believes to be sent are missing, which cannot be made good: an error, and
 * no end of file that would call the rest whole. SO_ERROR is used up by whoever saw it first.
 */
static void broken(struct amp_end_sock *e, int err)
{
	e->broken = err;
	amp_buf_clear(&e->out);
	amp_work_queue(&e->work);
}

/* The socket is full: the guest, or the kernel on its behalf, takes no more now. */
static void stalled(struct amp_end_sock *e)
{
	e->wants = true;
	e->stalls++;
	e->sl->link.stats.credit_stalls++;
}

static ssize_t sock_write(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	struct amp_end_sock *e = of(end);
	ssize_t n;

	if (e->broken)
		return -e->broken;
	if (e->deaf)
		return -EPIPE;
	n = e->out.len ? -EAGAIN : transmit(e, iov, cnt, len);
	if (n == -EAGAIN || (n >= 0 && (size_t)n < len))
		stalled(e);
	if (n == -EPIPE)
		deaf(e);
	return n;
}

static ssize_t sock_reserve(struct amp_end *end, size_t want, struct iovec *iov, int *cnt)
{
	struct amp_end_sock *e = of(end);

	*cnt = 0;
	if (e->broken)
		return -e->broken;
	if (e->deaf)
		return -EPIPE;
	if (e->out.len || !e->writable) {
		stalled(e);
		return -EAGAIN;
	}
	*iov = (struct iovec){room, want < sizeof(room) ? want : sizeof(room)};
	*cnt = 1;
	return (ssize_t)iov->iov_len;
}

static void sock_commit(struct amp_end *end, size_t len)
{
	struct amp_end_sock *e = of(end);
	struct iovec iov = {room, len};
	ssize_t n;

	if (!len)
		return;
	n = transmit(e, &iov, 1, len);
	if (n == -EPIPE) {
		deaf(e);
		return;
	}
	if (n < 0 && n != -EAGAIN) {
		broken(e, (int)-n);
		return;
	}
	if (n < 0)
		n = 0;
	if ((size_t)n == len)
		return;
	stalled(e);
	if (!amp_buf_put(&e->out, &iov, 1, (size_t)n))
		broken(e, ENOBUFS);
}

/* What waits goes first. False: it still waits, or the end is over. */
static bool flush(struct amp_end_sock *e)
{
	struct iovec iov[2];
	int cnt;

	while ((cnt = amp_buf_peek(&e->out, iov)) != 0) {
		ssize_t n = transmit(e, iov, cnt, e->out.len);

		if (n == -EAGAIN)
			return false;
		if (n == -EPIPE)
			deaf(e);
		else if (n < 0)
			broken(e, (int)-n);
		if (n < 0)
			break;
		amp_buf_drop(&e->out, (size_t)n);
	}
	if (e->shut_due) {
		amp_end_sock_shutdown(e, SHUT_WR);
		amp_slink_tap_shut(e, true, AMP_VSOCK_SHUTDOWN_SEND);
	}
	e->shut_due = false;
	return true;
}

static size_t sock_space(struct amp_end *end)
{
	struct amp_end_sock *e = of(end);

	return e->writable && !e->out.len && !e->deaf ? SIZE_MAX : 0;
}

static void sock_want(struct amp_end *end)
{
	struct amp_end_sock *e = of(end);

	e->wants = true;
	amp_work_queue(&e->work);
}

static void sock_shut(struct amp_end *end)
{
	struct amp_end_sock *e = of(end);

	e->shut_due = true;
	if (!e->out.len)
		flush(e);
}

/* ---- from the guest ---- */

/*
 * The peer sends no more; does it still take something? AF_VSOCK's poll() does not say that both
 * ways are over, as it does of a peer that has closed, but to send is refused (af_vsock.c), also
 * nothing. Of a Unix socket EPOLLHUP says it.
 */
static void probe(struct amp_end_sock *e)
{
	if (!e->end.message && !e->deaf &&
	    send(e->watch.fd, chunk, 0, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EPIPE)
		deaf(e);
}

/*
 * Into chunk. Bytes, 0 at the end, -EAGAIN, -errno. A short read means an empty socket, whose next byte
 * is a new edge; not where descriptors were attached (MSG_CTRUNC: thrown away), which a read
 * never goes beyond (unix(7)).
 */
static ssize_t receive(struct amp_end_sock *e, size_t max)
{
	struct iovec iov = {chunk, max};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	do
		n = recvmsg(e->watch.fd, &msg, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno == EAGAIN)
			e->readable = false;
		return -errno;
	}
	if (n == 0) {
		int err = e->hup ? socket_error(e) : 0;

		e->readable = false;
		e->eof = !err;
		if (!err) {
			amp_slink_tap_shut(e, false, AMP_VSOCK_SHUTDOWN_SEND);
			probe(e);
		}
		return -err;
	}
	if (e->sl->link.tapped) {
		iov.iov_len = (size_t)n;
		amp_slink_tap_data(e, false, &iov, 1, (size_t)n);
	}
	e->rx_bytes += (uint64_t)n;
	e->sl->link.stats.rx_bytes += (uint64_t)n;
	if (e->end.message && (msg.msg_flags & MSG_TRUNC))
		return -EMSGSIZE;
	if (!e->end.message && (size_t)n < max && !e->hup && !(msg.msg_flags & MSG_CTRUNC))
		e->readable = false;
	return n;
}

/* What was kept and len new bytes in chunk, to the user. */
static void offer(struct amp_end_sock *e, size_t len)
{
	size_t old = e->in.len, taken;
	struct iovec iov[3];
	int cnt = amp_buf_peek(&e->in, iov), first = cnt;

	e->offer = false;
	if (len)
		iov[cnt++] = (struct iovec){chunk, len};
	if (!cnt)
		return;
	taken = e->end.user->data(&e->end, iov, cnt, old + len);
	if (e->let_go || e->end.message)
		return;
	/* the room was there before it was read; no memory: the flow cannot be whole any more */
	if (taken < old + len &&
	    !amp_buf_put(&e->in, iov + first, cnt - first, taken > old ? taken - old : 0)) {
		fail(e, ENOMEM);
		return;
	}
	amp_buf_drop(&e->in, taken < old ? taken : old);
}

static void deliver(struct amp_end_sock *e)
{
	size_t moved = 0;

	if (e->offer)
		offer(e, 0);
	while (!e->let_go && e->readable && e->in.len < AMP_LIMIT_WINDOW) {
		ssize_t n;

		if (moved >= TURN_LEN) {
			amp_work_queue(&e->work);
			return;
		}
		n = receive(e, AMP_LIMIT_WINDOW - e->in.len);
		if (n == -EAGAIN || n == 0)
			break;
		if (n == -EMSGSIZE) {
			fail(e, EMSGSIZE);
			return;
		}
		if (n < 0) {
			fail_by_guest(e, (int)-n);
			return;
		}
		moved += (size_t)n;
		amp_loop_moved((size_t)n);
		if (!e->deafened)
			offer(e, (size_t)n);
	}
}

/* How the peer stands to the connection, after its data. */
static void tell_end(struct amp_end_sock *e)
{
	if (e->deaf && !e->deaf_told) {
		e->deaf_told = true;
		tell(e, AMP_END_DEAF);
	}
	if (e->eof && !e->eof_told && e->in.len == 0) {
		e->eof_told = true;
		tell(e, AMP_END_EOF);
	}
}

/* ---- opening ---- */

static void opened(struct amp_end_sock *e)
{
	amp_slink_wait_over(e);
	e->asking = false;
	e->open = e->offer = true;
	amp_slink_tap_op(e, false, AMP_VSOCK_OP_RESPONSE);
	amp_link_up(&e->sl->link);
	tell(e, AMP_END_OPEN);
}

/* The kernel's connect() is decided, or the monitor's answer is. False: not yet, or never. */
static bool opening(struct amp_end_sock *e)
{
	int r;

	if (e->open || e->connecting)
		return e->open;
	if (!e->asking)
		return false; /* the guest asked, and nobody has accepted yet */
	r = amp_hybrid_read(&e->hybrid, e->watch.fd);
	if (r == 1) {
		opened(e);
		return !e->let_go;
	}
	if (r != -EAGAIN)
		fail_by_guest(e, r == -ECONNRESET ? ECONNREFUSED : -r);
	return false;
}

static void connected(struct amp_end_sock *e, uint32_t events)
{
	int err = socket_error(e);

	if (!err && !(events & EPOLLOUT))
		return;
	e->connecting = false;
	e->writable = !err;
	/* Linux has one word for a guest's refusal and for a reset (vsock.7: ECONNRESET) */
	if (err)
		fail_by_guest(e, err == ECONNRESET ? ECONNREFUSED : err);
	else
		opened(e);
}

/* ---- the work item ---- */

static void serve(struct amp_work *work)
{
	struct amp_end_sock *e = amp_container_of(work, struct amp_end_sock, work);

	if (e->let_go) {
		if (flush(e))
			over(e, true);
		return;
	}
	if (!opening(e))
		return;
	if (flush(e) && !e->broken && e->wants && e->writable && !e->deaf) {
		e->wants = false;
		tell(e, AMP_END_WRITABLE);
	}
	if (e->broken && !e->let_go)
		fail_by_guest(e, e->broken);
	if (!e->let_go)
		deliver(e);
	if (!e->let_go)
		tell_end(e);
}

static void ready(struct amp_watch *w, uint32_t events)
{
	struct amp_end_sock *e = amp_container_of(w, struct amp_end_sock, watch);

	if (e->connecting) {
		connected(e, events);
		if (e->watch.fd < 0 || e->let_go || !e->open)
			return;
	}
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		e->hup = true;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		e->readable = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		e->writable = true;
	/* both ways: nobody takes what we would send */
	if (events & EPOLLHUP) {
		e->deaf = true;
		amp_slink_tap_shut(e, false, AMP_VSOCK_SHUTDOWN_RCV);
	}
	amp_work_queue(&e->work);
}

/* ---- the user's calls ---- */

static void sock_accept(struct amp_end *end)
{
	struct amp_end_sock *e = of(end);

	e->open = true;
	amp_slink_tap_op(e, true, AMP_VSOCK_OP_RESPONSE);
	amp_work_queue(&e->work);
}

static void sock_resume(struct amp_end *end)
{
	struct amp_end_sock *e = of(end);

	e->offer = true;
	/* a new user hears of the peer's end too */
	e->eof_told = e->deaf_told = false;
	amp_work_queue(&e->work);
}

static void sock_deafen(struct amp_end *end)
{
	struct amp_end_sock *e = of(end);

	e->deafened = true;
	amp_buf_clear(&e->in);
	amp_end_sock_shutdown(e, SHUT_RD);
	amp_slink_tap_shut(e, true, AMP_VSOCK_SHUTDOWN_RCV);
}

static void sock_reset(struct amp_end *end)
{
	struct amp_end_sock *e = of(end);

	if (e->let_go)
		return;
	e->let_go = true;
	over(e, false);
}

static void sock_close(struct amp_end *end)
{
	struct amp_end_sock *e = of(end);

	if (e->let_go)
		return;
	e->let_go = true;
	amp_end_let_go(end);
	if (!e->out.len || e->deaf || flush(e)) {
		over(e, true);
		return;
	}
	amp_buf_clear(&e->in);
	amp_slink_wait(e);
}

#define COMMON_OPS                                                                           \
	.name = "sock", .write = sock_write, .reserve = sock_reserve, .commit = sock_commit, \
	.resume = sock_resume, .space = sock_space, .want = sock_want, .shut = sock_shut,    \
	.deafen = sock_deafen, .left = amp_end_sock_left, .reset = sock_reset,               \
	.close = sock_close, .text = amp_end_sock_text, .info = amp_end_sock_info

static const struct amp_end_ops in_ops = {COMMON_OPS, .accept = sock_accept};
static const struct amp_end_ops out_ops = {COMMON_OPS};

/* ---- for slink.c ---- */

struct amp_end_sock *amp_end_sock_new(struct amp_slink *sl)
{
	struct amp_end_sock *e;

	if (sl->end_cnt >= AMP_LIMIT_ENDS)
		return NULL;
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->sl = sl;
	e->watch.fd = -1;
	e->watch.ready = ready;
	e->work.run = serve;
	e->in.limits = e->out.limits = &sl->link.limits;
	sl->end_cnt++;
	TAILQ_INSERT_TAIL(&sl->ends, e, entry);
	amp_link_end_add(&sl->link, &e->end);
	return e;
}

void amp_end_sock_drop(struct amp_end_sock *e)
{
	over(e, false);
}

int amp_end_sock_start(struct amp_end_sock *e, int fd, bool ours, uint32_t port, bool message)
{
	int r;

	e->end.ops = ours ? &out_ops : &in_ops;
	e->end.message = message;
	e->ours = ours;
	e->port = port;
	/* what is connected already says so with its first edge */
	e->connecting = ours && !e->asking;
	e->writable = !e->connecting;
	r = amp_watch_start(&e->watch, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	if (r) {
		close(fd);
		over(e, false);
		return r;
	}
	amp_slink_tap_op(e, ours, AMP_VSOCK_OP_REQUEST);
	if (ours)
		amp_slink_wait(e);
	return 0;
}

void amp_end_sock_kill(struct amp_end_sock *e, int err)
{
	fail(e, err);
	/* whoever uses an end resets one that has failed */
	if (!e->let_go)
		e->end.ops->reset(&e->end);
}
