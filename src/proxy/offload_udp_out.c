// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls:hot sendmsg */
/* Offloaded UDP, guest to host: frames, and where they may go. offload_udp.h has the theory. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "offload_udp.h"

/* Who may be answered without an `out` rule. */
bool amp_udp_heard_from(const struct amp_udp *u, const struct sockaddr_storage *peer)
{
	for (unsigned i = 0; u->in_ok && i < AMP_UDP_PEERS; i++) {
		if (amp_udp_same(&u->peers[i], peer))
			return true;
	}
	return false;
}

int amp_udp_may_send(struct amp_udp *u, const struct sockaddr_storage *to)
{
	uint64_t now = amp_now_ms();
	struct amp_rule *by;
	int err;

	if (now < u->good_until_ms && amp_udp_same(&u->good, to))
		return 0;
	if (amp_udp_heard_from(u, to))
		return 0;
	err = amp_policy_addr(u->o.ses->off, AMP_DIR_OUT, AMP_PROTO_UDP,
			      (const struct sockaddr *)to, "send", &by);
	if (!err) {
		u->good = *to;
		u->good_until_ms = now + AMP_UDP_CACHE_MS;
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
socklen_t amp_udp_to_kernel(const struct amp_udp *u, const struct amp_off_addr *a,
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
static int send_frame(struct amp_udp *u, const struct amp_off_udp *h, struct iovec *iov,
		      int cnt)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)cnt};
	struct sockaddr_storage to;
	int err = 0;

	if (h->addr.family) {
		if (h->addr.family != u->o.family)
			return EAFNOSUPPORT;
		m.msg_name = &to;
		m.msg_namelen = amp_udp_to_kernel(u, &h->addr, &to);
		err = amp_udp_may_send(u, &to);
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

size_t amp_udp_data(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	static struct iovec part[AMP_END_IOV_MAX];
	struct amp_udp *u = end->owner;
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
			amp_udp_kill(u);
			break;
		}
		if (len - done < h.len)
			break;
		if (!amp_loop_may()) {
			end->ops->resume(end); /* the rest in its turn */
			break;
		}
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
			amp_udp_error(u, err, h.addr.family ? (struct sockaddr *)&to : NULL);
		}
	}
	return done;
}
