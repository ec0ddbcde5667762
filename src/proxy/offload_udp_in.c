// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls:hot recvmmsg recvmsg */
/*
 * Offloaded UDP, host to guest: datagrams that came, what ICMP said, and what was dropped.
 * offload_udp.h has the theory.
 */
#include <errno.h>
#include <time.h> /* errqueue.h wants it first */
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "offload_udp.h"

#define BATCH	    16
#define DGRAM_MAX   65536u
#define SPILL_LIMIT (AMP_BUF_LEN - 2u * (DGRAM_MAX + AMP_OFF_UDP_LEN))
#define TURNS	    8u /* batches before others have their turn */

static struct {
	struct mmsghdr msg[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_storage from[BATCH];
	uint8_t control[BATCH][64];
	uint8_t data[BATCH][DGRAM_MAX];
} in;

/*
 * A frame: out now, or into the spill. False: no room at all. If there is no memory for what is left of
 * one the carrier is over: its guest would take the next frame for the rest of this one.
 */
static bool put_frame(struct amp_udp *u, const struct amp_off_udp *h, const void *payload,
		      size_t len)
{
	uint8_t p[AMP_OFF_UDP_LEN];
	struct iovec iov[2] = {{p, sizeof(p)}, {(void *)(uintptr_t)payload, len}};
	ssize_t n = 0;

	/* before the first byte is out: half a frame would end the carrier */
	if (u->dead || u->spill.len > SPILL_LIMIT ||
	    !amp_limit_room(u->spill.limits, AMP_LIMIT_BUFFERED, sizeof(p) + len))
		return false;
	amp_off_put_udp(p, h);
	if (u->spill.len == 0)
		n = u->end->ops->write(u->end, iov, len ? 2 : 1, sizeof(p) + len);
	if (n < 0)
		n = 0;
	if ((size_t)n == sizeof(p) + len || amp_buf_put(&u->spill, iov, len ? 2 : 1, (size_t)n))
		return true;
	if (n)
		amp_udp_kill(u);
	return false;
}

void amp_udp_error(struct amp_udp *u, int err, const struct sockaddr *to)
{
	struct amp_off_udp h = {
		.len = AMP_OFF_UDP_LEN, .kind = AMP_OFF_UDP_ERROR, .arg = amp_off_status(err)};

	if (to)
		amp_off_from_sa(to, &h.addr);
	put_frame(u, &h, NULL, 0);
}

static void put_drops(struct amp_udp *u)
{
	struct amp_off_udp h = {
		.len = AMP_OFF_UDP_LEN, .kind = AMP_OFF_UDP_DROPS, .arg = u->drops};

	if (u->drops && put_frame(u, &h, NULL, 0))
		u->drops = 0;
}

static void dropped(struct amp_udp *u, uint32_t n)
{
	u->drops += n;
	u->drops_all += n;
	u->o.ses->off->link->stats.drops += n;
}

/* May a datagram from there come in? Remembers whom the guest may answer. */
static bool admit(struct amp_udp *u, const struct sockaddr_storage *from)
{
	uint64_t now;

	if (u->o.virt && u->connected && !amp_udp_same(&u->peer, from))
		return false;
	if (u->in_ok) {
		for (unsigned i = 0; i < AMP_UDP_PEERS; i++) {
			if (amp_udp_same(&u->peers[i], from))
				return true;
		}
		u->peers[u->peer_next] = *from;
		u->peer_next = (u->peer_next + 1u) % AMP_UDP_PEERS;
		return true;
	}
	/* others' can still wait in the queue from before connect(), which filters what comes */
	if (u->connected && amp_udp_same(&u->peer, from))
		return true;
	now = amp_now_ms();
	if (now < u->good_in_until_ms && amp_udp_same(&u->good_in, from))
		return true;
	if (!amp_policy_quiet(u->o.ses->off, AMP_DIR_OUT, AMP_PROTO_UDP,
			      (const struct sockaddr *)from))
		return false;
	u->good_in = *from;
	u->good_in_until_ms = now + AMP_UDP_CACHE_MS;
	return true;
}

/*
 * The kernel counts as long as the socket lives. A published one is older than its user: what was
 * dropped before is counted, but not this guest's to hear.
 */
static void kernel_dropped(struct amp_udp *u, uint32_t total)
{
	uint32_t n = total - u->kernel_drops;

	u->kernel_drops = total;
	if (u->o.virt && !u->heard)
		u->o.ses->off->link->stats.drops += n;
	else if (n)
		dropped(u, n);
	if (u->o.virt)
		u->o.virt->udp_drops = total;
}

static void kernel_drops(struct amp_udp *u, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		uint32_t total;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_RXQ_OVFL)
			continue;
		memcpy(&total, CMSG_DATA(c), sizeof(total));
		kernel_dropped(u, total);
	}
	u->heard = true;
}

static void deliver(struct amp_udp *u, unsigned i)
{
	uint32_t len = in.msg[i].msg_len;
	struct amp_off_udp h = {.kind = AMP_OFF_UDP_DATA, .arg = len};

	amp_loop_moved(len);
	kernel_drops(u, &in.msg[i].msg_hdr);
	if (!admit(u, &in.from[i])) {
		u->o.ses->off->link->stats.drops++;
		return;
	}
	if (len > u->max_payload) {
		len = u->max_payload;
		h.flags = AMP_OFF_UDP_TRUNC;
	}
	h.len = (uint16_t)(AMP_OFF_UDP_LEN + len);
	amp_off_from_sa((struct sockaddr *)&in.from[i], &h.addr);
	amp_off_same_family(u->o.family, &h.addr);
	if (u->drops)
		put_drops(u);
	if (!put_frame(u, &h, in.data[i], len))
		dropped(u, 1);
}

/* Datagrams read, 0: none. */
static unsigned receive(struct amp_udp *u)
{
	size_t room = u->end->ops->space(u->end);
	unsigned want = room >= 16384 ? BATCH : 1;
	int n;

	for (unsigned i = 0; i < want; i++) {
		in.iov[i] = (struct iovec){in.data[i], DGRAM_MAX};
		in.msg[i].msg_hdr = (struct msghdr){.msg_name = &in.from[i],
						    .msg_namelen = sizeof(in.from[i]),
						    .msg_iov = &in.iov[i],
						    .msg_iovlen = 1,
						    .msg_control = in.control[i],
						    .msg_controllen = sizeof(in.control[i])};
	}
	n = recvmmsg(u->watch.fd, in.msg, want, MSG_DONTWAIT, NULL);
	if (n < 0) {
		if (errno == EAGAIN)
			u->readable = false;
		/* else a pending error of the socket: cleared by being reported, the queue has
		 * it */
		return errno == EAGAIN ? 0 : 1;
	}
	for (int i = 0; i < n && !u->dead; i++)
		deliver(u, (unsigned)i);
	return (unsigned)n;
}

/* What ICMP said of datagrams that were sent: with the address they were for. */
static void read_errors(struct amp_udp *u)
{
	for (unsigned i = 0; i < BATCH; i++) {
		struct sockaddr_storage to;
		uint8_t control[512], byte;
		struct iovec iov = {&byte, 1};
		struct msghdr m = {.msg_name = &to,
				   .msg_namelen = sizeof(to),
				   .msg_iov = &iov,
				   .msg_iovlen = 1,
				   .msg_control = control,
				   .msg_controllen = sizeof(control)};

		to.ss_family = AF_UNSPEC;
		if (recvmsg(u->watch.fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
			u->errors = false;
			return;
		}
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
			struct sock_extended_err ee;

			if ((c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_RECVERR) &&
			    (c->cmsg_level != IPPROTO_IPV6 || c->cmsg_type != IPV6_RECVERR))
				continue;
			memcpy(&ee, CMSG_DATA(c), sizeof(ee));
			amp_udp_error(u, (int)ee.ee_errno, (struct sockaddr *)&to);
		}
	}
}

void amp_udp_run(struct amp_work *work)
{
	struct amp_udp *u = amp_container_of(work, struct amp_udp, work);

	if (u->errors)
		read_errors(u);
	for (unsigned turn = 0; u->readable && !u->dead; turn++) {
		if (u->spill.len || u->end->ops->space(u->end) == 0) {
			u->end->ops->want(u->end); /* WRITABLE goes on */
			return;
		}
		if (turn == TURNS) {
			amp_work_queue(work);
			return;
		}
		if (!receive(u))
			return;
	}
}

void amp_udp_writable(struct amp_udp *u)
{
	struct iovec iov[2];
	int cnt = amp_buf_peek(&u->spill, iov);

	if (cnt) {
		ssize_t n = u->end->ops->write(u->end, iov, cnt, u->spill.len);

		if (n > 0)
			amp_buf_drop(&u->spill, (size_t)n);
	}
	if (u->spill.len)
		return;
	put_drops(u);
	if (!u->dead)
		amp_work_queue(&u->work);
}
