// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls:hot recvmmsg recvmsg sendmsg
 * #syscalls close connect getsockname setsockopt socket.inet
 */
/*
 * Offloaded UDP: one kernel socket a carrier, datagrams as frames in both directions.
 *
 * Theory of operation
 *
 * Guest to host. A frame is sent with one sendmsg() straight from where it lies; a frame
 * that is not whole yet stays in the carrier's end, whose window bounds it. Every
 * destination is asked of the policy (the last good one is remembered for a second).
 *
 * Host to guest. Datagrams are read, several a call, while the ring has room; a frame
 * that did not fit whole waits in `spill`, and while anything waits there nothing is read:
 * then the kernel's receive buffer fills and drops, as for any slow program. What was
 * dropped, there or here, is counted and the guest is told with a DROPS frame.
 *
 * A socket that no `in` rule covers takes datagrams only from where it may send to. One
 * that is covered, or published, takes them from anywhere, and may answer the last few
 * peers that it heard from.
 */
#include <errno.h>
#include <time.h> /* errqueue.h wants it first */
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "helper.h"
#include "offload_inner.h"

#define BATCH	    16
#define DGRAM_MAX   65536u
#define PEERS	    16u
#define CACHE_MS    1000u
#define SPILL_LIMIT (AMP_BUF_LEN - 2u * (DGRAM_MAX + AMP_OFF_UDP_LEN))
#define TURNS	    8u /* batches before others have their turn */

struct udp {
	struct amp_osock o; /* first */
	struct amp_end *end;
	struct amp_watch watch;
	struct amp_work work; /* reads the socket */
	struct amp_buf spill;
	uint32_t max_payload;
	uint32_t drops; /* not yet told */
	uint64_t drops_all;
	uint32_t kernel_drops; /* as SO_RXQ_OVFL last said */
	bool heard;	       /* it has said something to this user */
	bool readable, writable, errors;
	bool in_ok; /* takes datagrams from anybody */
	bool connected;
	bool paid; /* the frame that waits for room has its token of datagrams/s */
	bool dead;
	struct amp_off_addr local;    /* as bound */
	struct sockaddr_storage peer; /* virtual and connected: the filter is ours */
	struct sockaddr_storage good; /* may be sent to until good_until_ms */
	uint64_t good_until_ms;
	struct sockaddr_storage good_in;
	uint64_t good_in_until_ms;
	struct sockaddr_storage peers[PEERS]; /* heard from, when in_ok */
	unsigned peer_next;
};

static struct {
	struct mmsghdr msg[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_storage from[BATCH];
	uint8_t control[BATCH][64];
	uint8_t data[BATCH][DGRAM_MAX];
} in;

static void udp_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct udp, o.grave));
}

static void udp_gone(struct udp *u)
{
	if (u->dead)
		return;
	u->dead = true;
	amp_work_cancel(&u->work);
	if (u->o.virt) {
		/* the socket is the rule's: the next one finds it as this one did */
		amp_watch_stop(&u->watch);
		amp_off_groups_leave(&u->o, u->o.virt->udp_fd);
		amp_off_opts_back(u->o.virt->udp_fd, &u->o.virt->udp_opts);
		u->o.virt->udp_user = NULL;
	} else {
		amp_watch_close(&u->watch);
		amp_off_groups_leave(&u->o, -1);
	}
	amp_buf_clear(&u->spill);
	amp_osock_del(&u->o);
	amp_bury(&u->o.grave, udp_free);
}

static void udp_kill(struct amp_osock *o)
{
	struct udp *u = (struct udp *)o;

	if (u->dead)
		return;
	u->end->ops->reset(u->end);
	udp_gone(u);
}

static int udp_fd(const struct amp_osock *o)
{
	return ((const struct udp *)o)->watch.fd;
}

static bool same_sa(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	return memcmp(a, b,
		      a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					       : sizeof(struct sockaddr_in)) == 0;
}

/* Who may be answered without an `out` rule. */
static bool heard_from(const struct udp *u, const struct sockaddr_storage *peer)
{
	for (unsigned i = 0; u->in_ok && i < PEERS; i++) {
		if (same_sa(&u->peers[i], peer))
			return true;
	}
	return false;
}

static void put_error(struct udp *u, int err, const struct sockaddr *to);

/* Of a group that it may not be in any more the guest is told; the socket is as good as before. */
static void leave_forbidden(struct udp *u)
{
	struct sockaddr_storage group;

	while (!amp_off_groups_allowed(&u->o, u->watch.fd, &group)) {
		char text[AMP_ADDR_TEXT];

		u->o.ses->off->link->stats.cut++;
		put_error(u, EACCES, (struct sockaddr *)&group);
		amp_log(AMP_LOG_INFO,
			"link %s: left the multicast group %s: no rule has it now",
			u->o.ses->off->link->conf->name,
			amp_sockaddr_text((struct sockaddr *)&group, text));
	}
}

static bool udp_allowed(struct amp_osock *o)
{
	struct udp *u = (struct udp *)o;
	struct amp_rule **by = &o->rule[AMP_DIR_IN];
	struct sockaddr_storage ss;

	u->good_until_ms = u->good_in_until_ms = 0;
	leave_forbidden(u);
	if (*by && (*by)->gone) {
		amp_off_to_sa(&u->local, &ss);
		*by = amp_policy_find_in(o->ses->off, AMP_PROTO_UDP, (struct sockaddr *)&ss,
					 false);
		if (!*by)
			return false;
	}
	return !u->connected || heard_from(u, &u->peer) ||
	       amp_policy_find(o->ses->off, AMP_DIR_OUT, AMP_PROTO_UDP,
			       (const struct sockaddr *)&u->peer);
}

static const struct amp_osock_ops udp_ops = {
	.kill = udp_kill,
	.fd = udp_fd,
	.allowed = udp_allowed,
};

/* ---- host to guest ---- */

/* A frame: out now, or into the spill. False: no room at all. */
static bool put_frame(struct udp *u, const struct amp_off_udp *h, const void *payload,
		      size_t len)
{
	uint8_t p[AMP_OFF_UDP_LEN];
	struct iovec iov[2] = {{p, sizeof(p)}, {(void *)(uintptr_t)payload, len}};
	ssize_t n = 0;

	/* before the first byte is out: half a frame would end the carrier */
	if (u->spill.len > SPILL_LIMIT ||
	    !amp_limit_room(u->spill.limits, AMP_LIMIT_BUFFERED, sizeof(p) + len))
		return false;
	amp_off_put_udp(p, h);
	if (u->spill.len == 0)
		n = u->end->ops->write(u->end, iov, len ? 2 : 1, sizeof(p) + len);
	if (n < 0)
		n = 0;
	if ((size_t)n == sizeof(p) + len)
		return true;
	return amp_buf_put(&u->spill, iov, len ? 2 : 1, (size_t)n);
}

static void put_error(struct udp *u, int err, const struct sockaddr *to)
{
	struct amp_off_udp h = {
		.len = AMP_OFF_UDP_LEN, .kind = AMP_OFF_UDP_ERROR, .arg = amp_off_status(err)};

	if (to)
		amp_off_from_sa(to, &h.addr);
	put_frame(u, &h, NULL, 0);
}

static void put_drops(struct udp *u)
{
	struct amp_off_udp h = {
		.len = AMP_OFF_UDP_LEN, .kind = AMP_OFF_UDP_DROPS, .arg = u->drops};

	if (u->drops && put_frame(u, &h, NULL, 0))
		u->drops = 0;
}

static void dropped(struct udp *u, uint32_t n)
{
	u->drops += n;
	u->drops_all += n;
	u->o.ses->off->link->stats.drops += n;
}

/* May a datagram from there come in? Remembers whom the guest may answer. */
static bool admit(struct udp *u, const struct sockaddr_storage *from)
{
	uint64_t now;

	if (u->o.virt && u->connected && !same_sa(&u->peer, from))
		return false;
	if (u->in_ok) {
		for (unsigned i = 0; i < PEERS; i++) {
			if (same_sa(&u->peers[i], from))
				return true;
		}
		u->peers[u->peer_next] = *from;
		u->peer_next = (u->peer_next + 1u) % PEERS;
		return true;
	}
	/* others' can still wait in the queue from before connect(), which filters what comes */
	if (u->connected && same_sa(&u->peer, from))
		return true;
	now = amp_now_ms();
	if (now < u->good_in_until_ms && same_sa(&u->good_in, from))
		return true;
	if (!amp_policy_quiet(u->o.ses->off, AMP_DIR_OUT, AMP_PROTO_UDP,
			      (const struct sockaddr *)from))
		return false;
	u->good_in = *from;
	u->good_in_until_ms = now + CACHE_MS;
	return true;
}

/*
 * The kernel counts as long as the socket lives. A published one is older than its user: what was
 * dropped before is counted, but not this guest's to hear.
 */
static void kernel_dropped(struct udp *u, uint32_t total)
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

static void kernel_drops(struct udp *u, struct msghdr *m)
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

static void deliver(struct udp *u, unsigned i)
{
	uint32_t len = in.msg[i].msg_len;
	struct amp_off_udp h = {.kind = AMP_OFF_UDP_DATA, .arg = len};

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
static unsigned receive(struct udp *u)
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
static void read_errors(struct udp *u)
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
			put_error(u, (int)ee.ee_errno, (struct sockaddr *)&to);
		}
	}
}

static void udp_run(struct amp_work *work)
{
	struct udp *u = amp_container_of(work, struct udp, work);

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

static void udp_writable(struct udp *u)
{
	struct iovec iov[2];
	int cnt = amp_buf_peek(&u->spill, iov);

	if (cnt) {
		ssize_t n = u->end->ops->write(u->end, iov, cnt, u->spill.len);

		if (n > 0)
			amp_buf_drop(&u->spill, (size_t)n);
	}
	if (u->spill.len == 0) {
		put_drops(u);
		amp_work_queue(&u->work);
	}
}

static void udp_ready(struct amp_watch *w, uint32_t events)
{
	struct udp *u = amp_container_of(w, struct udp, watch);

	if (events & EPOLLERR)
		u->errors = true;
	if (events & EPOLLIN)
		u->readable = true;
	if ((events & EPOLLOUT) && !u->writable) {
		u->writable = true;
		u->end->ops->resume(u->end);
	}
	if (u->readable || u->errors)
		amp_work_queue(&u->work);
}

/* ---- guest to host ---- */

static int may_send(struct udp *u, const struct sockaddr_storage *to)
{
	uint64_t now = amp_now_ms();
	struct amp_rule *by;
	int err;

	if (now < u->good_until_ms && same_sa(&u->good, to))
		return 0;
	if (heard_from(u, to))
		return 0;
	err = amp_policy_addr(u->o.ses->off, AMP_DIR_OUT, AMP_PROTO_UDP,
			      (const struct sockaddr *)to, "send", &by);
	if (!err) {
		u->good = *to;
		u->good_until_ms = now + CACHE_MS;
	}
	return err;
}

/* len bytes of iov behind off, as pieces of it. Returns how many pieces. */
static int slice(const struct iovec *iov, int cnt, size_t off, size_t len, struct iovec *to)
{
	int n = 0;

	for (int i = 0; i < cnt && len; i++) {
		size_t part = iov[i].iov_len;

		if (off >= part) {
			off -= part;
			continue;
		}
		part -= off;
		if (part > len)
			part = len;
		to[n++] = (struct iovec){(uint8_t *)iov[i].iov_base + off, part};
		len -= part;
		off = 0;
	}
	return n;
}

/*
 * The address as the kernel's socket knows it: behind a port published on IPv4 that socket is
 * an AF_INET one, also when the guest's is AF_INET6 and says ::ffff:a.b.c.d.
 */
static socklen_t to_kernel(const struct udp *u, const struct amp_off_addr *a,
			   struct sockaddr_storage *ss)
{
	static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct amp_off_addr four = {.family = AMP_OFF_INET, .port = a->port};

	if (!u->o.virt || u->o.virt->fwd->target.addr.sa.sa_family != AF_INET ||
	    a->family != AMP_OFF_INET6 || memcmp(a->addr, v4_mapped, sizeof(v4_mapped)))
		return amp_off_to_sa(a, ss);
	memcpy(four.addr, a->addr + 12, 4);
	return amp_off_to_sa(&four, ss);
}

/* 0, positive errno, or -EAGAIN: the socket is full. */
static int send_frame(struct udp *u, const struct amp_off_udp *h, struct iovec *iov, int cnt)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)cnt};
	struct sockaddr_storage to;
	int err = 0;

	if (h->addr.family) {
		if (h->addr.family != u->o.family)
			return EAFNOSUPPORT;
		m.msg_name = &to;
		m.msg_namelen = to_kernel(u, &h->addr, &to);
		err = may_send(u, &to);
	} else if (!u->connected) {
		err = EDESTADDRREQ;
	} else if (u->o.virt) {
		m.msg_name = &u->peer;
		m.msg_namelen = sizeof(u->peer);
	}
	if (!err && !u->paid &&
	    !amp_limit_rate(&u->o.ses->off->link->limits, AMP_LIMIT_DATAGRAMS, amp_now_ms())) {
		u->o.ses->off->link->stats.drops++;
		return 0;
	}
	u->paid = false;
	/* twice: the first call may only report what ICMP said of an earlier datagram */
	for (unsigned i = 0; i < 2 && !err; i++) {
		if (sendmsg(u->watch.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno == EAGAIN)
			return -EAGAIN;
		if (i == 1 ||
		    (errno != ECONNREFUSED && errno != EHOSTUNREACH && errno != ENETUNREACH))
			err = errno;
	}
	return err;
}

static size_t udp_data(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	static struct iovec part[AMP_END_IOV_MAX];
	struct udp *u = end->owner;
	size_t done = 0;

	while (u->writable && len - done >= AMP_OFF_UDP_LEN && !u->dead) {
		uint8_t p[AMP_OFF_UDP_LEN];
		struct amp_off_udp h;
		int n, err;

		amp_iov_copy(iov, cnt, done, p, sizeof(p));
		if (!amp_off_get_udp(p, &h) || h.kind != AMP_OFF_UDP_DATA || h.flags) {
			amp_log_some(&u->o.ses->off->log_bad, AMP_LOG_WARN,
				     "link %s: malformed UDP frame: carrier reset",
				     u->o.ses->off->link->conf->name);
			udp_kill(&u->o);
			break;
		}
		if (len - done < h.len)
			break;
		n = slice(iov, cnt, done + AMP_OFF_UDP_LEN, h.len - AMP_OFF_UDP_LEN, part);
		err = send_frame(u, &h, part, n);
		if (err == -EAGAIN) {
			u->paid = true;
			u->writable = false;
			break;
		}
		done += h.len;
		if (err) {
			struct sockaddr_storage to;

			amp_off_to_sa(&h.addr, &to);
			put_error(u, err, h.addr.family ? (struct sockaddr *)&to : NULL);
		}
	}
	return done;
}

static void udp_event(struct amp_end *end, enum amp_end_event event)
{
	struct udp *u = end->owner;

	if (event == AMP_END_WRITABLE) {
		udp_writable(u);
	} else if (event == AMP_END_EOF) {
		/* not DEAF, which comes with the same close: what was sent before goes out */
		end->ops->close(end);
		udp_gone(u);
	} else if (event == AMP_END_FAILED) {
		udp_kill(&u->o);
	}
}

static void udp_info(const struct amp_end *end, struct amp_sock_info *info)
{
	const struct udp *u = end->owner;

	info->kind = "udp";
	info->proto = "udp";
	info->state = u->connected ? "connected" : "bound";
	info->drops = u->drops_all;
	if (u->watch.fd >= 0)
		amp_fd_info(u->watch.fd, info);
	else if (u->o.virt)
		snprintf(info->host_local, AMP_INFO_ADDR, "inet:%u", u->local.port);
	info->proto = "udp";
}

static const struct amp_end_user udp_user = {
	.data = udp_data,
	.event = udp_event,
	.info = udp_info,
};

/* ---- opening ---- */

static int udp_socket(struct udp *u, const struct amp_off_open *o)
{
	static const int on = 1;
	struct amp_off_addr local = o->local;
	struct sockaddr_storage ss;
	socklen_t len;
	int fd, err;

	local.family = o->family;
	len = amp_off_to_sa(&local, &ss);
	if (local.port) {
		err = amp_policy_addr(u->o.ses->off, AMP_DIR_IN, AMP_PROTO_UDP,
				      (struct sockaddr *)&ss, "bind", &u->o.rule[AMP_DIR_IN]);
		if (err)
			return -err;
		u->in_ok = true;
	}
	fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = amp_off_set_bits(&u->o, fd, o->opts_set, o->opts);
	/* bound in any case: getsockname() tells the truth from the first moment */
	if (!err)
		err = -amp_helper_bind(fd, (struct sockaddr *)&ss, len);
	if (err) {
		close(fd);
		return -err;
	}
	if (ss.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on));
	amp_off_own_groups(fd);
	return fd;
}

/* Linux gives up a port that it chose itself when the peer goes: the guest keeps its own. */
static int rebind(struct udp *u)
{
	struct amp_off_addr now;
	struct sockaddr_storage ss;
	socklen_t len = amp_off_to_sa(&u->local, &ss);

	amp_off_local(u->watch.fd, &now);
	if (now.port)
		return 0;
	return -amp_helper_bind(u->watch.fd, (struct sockaddr *)&ss, len);
}

int amp_udp_connect(struct amp_osock *s, const struct amp_off_addr *peer,
		    struct amp_off_addr *local)
{
	struct udp *u = (struct udp *)s;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss.ss_family);
	int err = 0;

	memset(&ss, 0, sizeof(ss));
	if (peer->family) {
		if (peer->family != s->family)
			return EAFNOSUPPORT;
		len = to_kernel(u, peer, &ss);
		err = may_send(u, &ss);
	}
	if (!err && !u->o.virt && connect(u->watch.fd, (struct sockaddr *)&ss, len))
		err = errno;
	if (!err && !u->o.virt && !peer->family)
		err = rebind(u);
	if (err)
		return err;
	u->connected = peer->family != 0;
	u->peer = ss;
	*local = u->local;
	if (!u->o.virt)
		amp_off_local(u->watch.fd, local);
	return 0;
}

static int udp_start(struct udp *u, const struct amp_off_open *o, struct amp_off_answer *a)
{
	int fd, err = 0;

	u->o.virt = o->local.port ? amp_virtual_udp_find(u->o.ses->off, o->local.port) : NULL;
	if (u->o.virt && u->o.virt->udp_user) {
		u->o.virt = NULL;
		return EADDRINUSE;
	}
	fd = u->o.virt ? u->o.virt->udp_fd : udp_socket(u, o);
	if (fd < 0)
		return -fd;
	if (u->o.virt) {
		u->o.virt->udp_user = &u->o;
		u->kernel_drops = u->o.virt->udp_drops;
		u->in_ok = true;
		a->local = o->local;
		err = amp_off_set_bits(&u->o, fd, o->opts_set, o->opts);
		if (err)
			return err;
	}
	u->watch.ready = udp_ready;
	err = -amp_watch_start(&u->watch, fd, EPOLLIN | EPOLLOUT | EPOLLET);
	if (err) {
		if (!u->o.virt)
			close(fd);
		return err;
	}
	if (!u->o.virt)
		amp_off_local(fd, &a->local);
	u->local = a->local;
	if (o->peer.family)
		err = amp_udp_connect(&u->o, &o->peer, &a->local);
	a->peer = o->peer;
	return err;
}

void amp_udp_open(struct amp_session *ses, struct amp_end *carrier,
		  const struct amp_off_open *o)
{
	struct amp_off_answer a = {.magic = AMP_OFF_MAGIC,
				   .version = AMP_OFF_VERSION,
				   .op = AMP_OFF_UDP,
				   .max_frame = UINT16_MAX};
	struct udp *u = calloc(1, sizeof(*u));
	uint8_t p[AMP_OFF_ANSWER_LEN];
	struct iovec iov = {p, sizeof(p)};
	int err;

	if (!u || o->max_frame <= AMP_OFF_UDP_LEN) {
		amp_carrier_refuse(ses->off, carrier, AMP_OFF_UDP,
				   u ? AMP_OFF_EINVAL : AMP_OFF_ENOBUFS);
		free(u);
		return;
	}
	u->o.ops = &udp_ops;
	u->o.family = o->family;
	u->o.type = AMP_OFF_DGRAM;
	u->watch.fd = -1;
	u->work.run = udp_run;
	u->writable = true; /* as every new socket; the loop may say so too late */
	u->end = carrier;
	u->spill.limits = &ses->off->link->limits;
	u->max_payload =
		(o->max_frame < UINT16_MAX ? o->max_frame : UINT16_MAX) - AMP_OFF_UDP_LEN;
	if (!amp_osock_add(ses, &u->o)) {
		amp_carrier_refuse(ses->off, carrier, AMP_OFF_UDP, AMP_OFF_EMFILE);
		free(u);
		return;
	}
	err = udp_start(u, o, &a);
	if (err) {
		amp_carrier_refuse(ses->off, carrier, AMP_OFF_UDP, amp_off_status(err));
		udp_gone(u);
		return;
	}
	carrier->owner = u;
	carrier->user = &udp_user;
	a.id = u->o.id;
	amp_off_put_answer(p, &a);
	if (carrier->ops->write(carrier, &iov, 1, sizeof(p)) != sizeof(p)) {
		udp_kill(&u->o);
		return;
	}
	carrier->ops->resume(carrier);
}
