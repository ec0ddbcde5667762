// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls:hot recvmsg sendmsg
 * #syscalls close getsockopt setsockopt
 */
/*
 * Publish and expose for UDP. Theory of operation: a peer is a seqpacket connection in
 * the guest's ring and an address (publish: all peers of a rule share its bound socket) or a
 * connected socket (expose: one each). A datagram becomes a message and a message a
 * datagram, whole or not at all.
 */
#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buf.h"
#include "expose.h"
#include "kept.h"
#include "listen.h"
#include "udp_relay.h"

#define DGRAM_MAX 65536u
#define EARLY_MAX 131072u
#define TURN	  64u /* datagrams before others have their turn */

struct peer {
	TAILQ_ENTRY(peer) entry;     /* relay->peers, least recently heard first; or exposed */
	struct amp_udp_relay *relay; /* NULL: exposed, has a socket of its own */
	const struct amp_forward *fwd; /* exposed */
	struct amp_link *link;
	struct amp_end *end;
	struct amp_watch watch;
	struct amp_work work;
	struct sockaddr_storage addr;
	socklen_t addr_len;
	uint64_t heard_ms;
	bool open, readable, dead;
	bool socket;	       /* counts as one of the link's: AMP_LIMIT_SOCKETS */
	uint32_t kernel_drops; /* as SO_RXQ_OVFL last said */
	struct amp_buf
		early; /* datagrams from before the connection was open, u16 length each */
	struct amp_grave grave;
};

struct amp_udp_relay {
	struct amp_link *link;
	const struct amp_forward *fwd;
	struct amp_watch watch;
	struct amp_work work;
	uv_timer_t timer;
	TAILQ_HEAD(peer_list, peer) peers;
	unsigned peer_cnt;
	uint32_t kernel_drops;
	bool readable;
};

static struct peer_list exposed = TAILQ_HEAD_INITIALIZER(exposed);
static uint8_t datagram[DGRAM_MAX];

uint32_t amp_udp_count_drops(int fd)
{
	static const int on = 1;
	uint32_t info[SK_MEMINFO_VARS];
	socklen_t len = sizeof(info);

	setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on));
	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) || len < sizeof(info))
		return 0;
	return info[SK_MEMINFO_DROPS];
}

/*
 * One into datagram[]: its length, or -1 and errno. What the kernel has dropped before it, for want
 * of room, is counted.
 */
static ssize_t receive(int fd, struct amp_link *link, struct sockaddr_storage *from,
		       socklen_t *from_len, uint32_t *drops)
{
	struct iovec iov = {datagram, sizeof(datagram)};
	uint8_t control[64];
	struct msghdr m = {.msg_name = from,
			   .msg_namelen = from ? sizeof(*from) : 0,
			   .msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);

	if (n < 0)
		return n;
	amp_loop_moved((size_t)n);
	if (from)
		*from_len = m.msg_namelen;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		uint32_t total;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_RXQ_OVFL)
			continue;
		memcpy(&total, CMSG_DATA(c), sizeof(total));
		link->stats.drops += total - *drops;
		*drops = total;
	}
	return n;
}

static void peer_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct peer, grave));
}

static void peer_gone(struct peer *p)
{
	if (p->dead)
		return;
	p->dead = true;
	amp_work_cancel(&p->work);
	amp_watch_close(&p->watch);
	amp_buf_clear(&p->early);
	if (p->socket)
		amp_limit_give(&p->link->limits, AMP_LIMIT_SOCKETS, 1);
	if (p->relay) {
		TAILQ_REMOVE(&p->relay->peers, p, entry);
		/* an idle proxy is not woken */
		if (--p->relay->peer_cnt == 0)
			uv_timer_stop(&p->relay->timer);
	} else if (p->fwd) {
		TAILQ_REMOVE(&exposed, p, entry);
	}
	amp_bury(&p->grave, peer_free);
}

static void peer_end(struct peer *p)
{
	if (p->dead)
		return;
	p->end->ops->close(p->end);
	peer_gone(p);
}

/* ---- to the guest ---- */

/* While the connection opens a few datagrams wait: the first of a peer is not lost. */
static void to_guest(struct peer *p, size_t len)
{
	struct iovec iov = {datagram, len};
	uint16_t n = (uint16_t)len;
	struct iovec framed[2] = {{&n, sizeof(n)}, iov};

	/* virtio-vsock has no empty message that its peer would tell from nothing */
	bool good = len || p->end->empty;

	if (good && !p->open && p->early.len + len <= EARLY_MAX && len <= UINT16_MAX &&
	    amp_buf_put(&p->early, framed, 2, 0))
		return;
	if (!p->open || !good || p->end->ops->write(p->end, &iov, 1, len) < 0)
		p->link->stats.drops++;
}

static void send_early(struct peer *p)
{
	while (p->early.len && !p->dead) {
		struct iovec iov[2];
		uint16_t n = 0;

		amp_iov_copy(iov, amp_buf_peek(&p->early, iov), 0, &n, sizeof(n));
		amp_buf_drop(&p->early, sizeof(n));
		amp_iov_copy(iov, amp_buf_peek(&p->early, iov), 0, datagram, n);
		amp_buf_drop(&p->early, n);
		to_guest(p, n);
	}
}

/* An exposed peer's own socket. */
static void peer_run(struct amp_work *work)
{
	struct peer *p = amp_container_of(work, struct peer, work);

	for (unsigned n = 0; p->readable && !p->dead; n++) {
		ssize_t len;

		if (n == TURN) {
			amp_work_queue(work);
			return;
		}
		len = receive(p->watch.fd, p->link, NULL, NULL, &p->kernel_drops);
		if (len >= 0)
			to_guest(p, (size_t)len);
		else if (errno == EAGAIN)
			p->readable = false;
		/* else what ICMP said of an earlier datagram: a message has no word for it */
	}
}

static void peer_ready(struct amp_watch *w, uint32_t events)
{
	struct peer *p = amp_container_of(w, struct peer, watch);

	(void)events;
	p->readable = true;
	amp_work_queue(&p->work);
}

/* ---- from the guest ---- */

static size_t peer_data(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	struct peer *p = end->owner;
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov,
			   .msg_iovlen = (size_t)cnt};

	if (p->relay) {
		m.msg_name = &p->addr;
		m.msg_namelen = p->addr_len;
	}
	p->heard_ms = amp_now_ms();
	if (!amp_limit_rate(&p->link->limits, AMP_LIMIT_DATAGRAMS, p->heard_ms))
		p->link->stats.drops++;
	else if (sendmsg(p->relay ? p->relay->watch.fd : p->watch.fd, &m,
			 MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		p->link->stats.drops++;
	return len;
}

static void peer_event(struct amp_end *end, enum amp_end_event event)
{
	struct peer *p = end->owner;

	switch (event) {
	case AMP_END_OPEN:
		p->open = true;
		send_early(p);
		break;
	case AMP_END_FAILED:
		if (p->relay && !p->open)
			amp_log_some(&p->link->log_refused, AMP_LOG_WARN,
				     "link %s: publish %s (%s): %s", p->link->conf->name,
				     p->relay->fwd->text, p->relay->fwd->where,
				     strerror(end->err));
		end->ops->reset(end);
		peer_gone(p);
		break;
	case AMP_END_EOF:
	case AMP_END_DEAF:
		peer_end(p);
		break;
	default:
		break;
	}
}

static void peer_info(const struct amp_end *end, struct amp_sock_info *info)
{
	const struct peer *p = end->owner;
	char text[AMP_ADDR_TEXT];

	info->kind = p->relay ? "publish" : "expose";
	amp_fd_info(p->relay ? p->relay->watch.fd : p->watch.fd, info);
	info->proto = "udp";
	if (p->relay)
		strcpy(info->host_peer,
		       amp_sockaddr_text((const struct sockaddr *)&p->addr, text));
	info->state = p->open ? "established" : "connecting";
}

static const struct amp_end_user peer_user = {
	.data = peer_data,
	.event = peer_event,
	.info = peer_info,
};

static struct peer *peer_new(struct amp_link *link, struct amp_end *end)
{
	struct peer *p = calloc(1, sizeof(*p));

	if (!p) {
		end->ops->reset(end);
		return NULL;
	}
	p->link = link;
	p->end = end;
	p->watch.fd = -1;
	p->watch.ready = peer_ready;
	p->work.run = peer_run;
	p->heard_ms = amp_now_ms();
	p->early.limits = &link->limits;
	end->owner = p;
	end->user = &peer_user;
	return p;
}

/* One more socket of the link's, as for a stream. */
static bool may_connect(struct amp_link *link)
{
	return amp_limit_rate(&link->limits, AMP_LIMIT_CONNECTS, amp_now_ms()) &&
	       amp_limit_take(&link->limits, AMP_LIMIT_SOCKETS, 1);
}

void amp_udp_relay_expose(struct amp_link *link, struct amp_end *end,
			  const struct amp_forward *fwd)
{
	struct peer *p;
	int fd, r;

	if (!may_connect(link)) {
		link->stats.refused++;
		end->ops->reset(end);
		return;
	}
	p = peer_new(link, end);
	if (!p) {
		amp_limit_give(&link->limits, AMP_LIMIT_SOCKETS, 1);
		return;
	}
	p->socket = true;
	r = amp_connect_start(&fwd->target, &fd);
	if (r == 0) {
		p->kernel_drops = amp_udp_count_drops(fd);
		r = amp_watch_start(&p->watch, fd, EPOLLIN | EPOLLET);
		if (r)
			close(fd);
	}
	if (r) {
		link->stats.refused++;
		amp_log_some(&link->log_refused, AMP_LOG_WARN, "link %s: expose %s (%s): %s",
			     link->conf->name, fwd->text, fwd->where, strerror(-r));
		end->ops->reset(end);
		peer_gone(p);
		return;
	}
	link->stats.flows++;
	p->fwd = fwd;
	TAILQ_INSERT_TAIL(&exposed, p, entry);
	p->open = true;
	end->ops->accept(end);
}

unsigned amp_udp_relay_unexpose(struct amp_link *link, const struct amp_forward *fwd)
{
	struct peer *p, *next;
	unsigned n = 0;

	for (p = TAILQ_FIRST(&exposed); p; p = next) {
		next = TAILQ_NEXT(p, entry);
		if (p->link != link || p->fwd != fwd)
			continue;
		p->end->ops->reset(p->end);
		peer_gone(p);
		n++;
	}
	return n;
}

/* ---- a published port ---- */

static void on_timer(uv_timer_t *t)
{
	struct amp_udp_relay *r = t->data;
	uint64_t now = amp_now_ms();
	struct peer *p, *next;

	for (p = TAILQ_FIRST(&r->peers); p; p = next) {
		next = TAILQ_NEXT(p, entry);
		if (now - p->heard_ms >= AMP_RELAY_IDLE_MS)
			peer_end(p);
	}
}

static bool same_sa(const struct peer *p, const struct sockaddr_storage *from, socklen_t len)
{
	return p->addr_len == len && memcmp(&p->addr, from, len) == 0;
}

/* The peer that speaks from there, a new one if need be; NULL: refused. */
static struct peer *find_peer(struct amp_udp_relay *r, const struct sockaddr_storage *from,
			      socklen_t len)
{
	struct amp_end *end;
	struct peer *p;
	int err;

	TAILQ_FOREACH_REVERSE(p, &r->peers, peer_list, entry)
	{
		if (same_sa(p, from, len)) {
			TAILQ_REMOVE(&r->peers, p, entry);
			TAILQ_INSERT_TAIL(&r->peers, p, entry);
			return p;
		}
	}
	if (r->peer_cnt >= AMP_RELAY_PEERS)
		peer_end(TAILQ_FIRST(&r->peers)); /* the one that has been silent longest */
	end = r->link->ops->connect(r->link, &r->fwd->service, true, &err);
	if (!end) {
		amp_log_some(&r->link->log_refused, AMP_LOG_WARN,
			     "link %s: publish %s (%s): %s", r->link->conf->name, r->fwd->text,
			     r->fwd->where, amp_link_why(r->link, err));
		return NULL;
	}
	p = peer_new(r->link, end);
	if (!p)
		return NULL;
	p->relay = r;
	memcpy(&p->addr, from, len);
	p->addr_len = len;
	TAILQ_INSERT_TAIL(&r->peers, p, entry);
	if (r->peer_cnt++ == 0)
		uv_timer_start(&r->timer, on_timer, AMP_RELAY_IDLE_MS / 4,
			       AMP_RELAY_IDLE_MS / 4);
	r->link->stats.flows++;
	amp_forward_hit(r->fwd);
	return p;
}

static void relay_run(struct amp_work *work)
{
	struct amp_udp_relay *r = amp_container_of(work, struct amp_udp_relay, work);

	for (unsigned n = 0; r->readable; n++) {
		struct sockaddr_storage from;
		socklen_t len;
		struct peer *p;
		ssize_t got;

		if (n == TURN) {
			amp_work_queue(work);
			return;
		}
		memset(&from, 0, sizeof(from));
		got = receive(r->watch.fd, r->link, &from, &len, &r->kernel_drops);
		if (got < 0) {
			r->readable = errno != EAGAIN;
			continue;
		}
		p = find_peer(r, &from, len);
		if (!p) {
			r->link->stats.drops++;
			continue;
		}
		p->heard_ms = amp_now_ms();
		to_guest(p, (size_t)got);
	}
}

static void relay_ready(struct amp_watch *w, uint32_t events)
{
	struct amp_udp_relay *r = amp_container_of(w, struct amp_udp_relay, watch);

	(void)events;
	r->readable = true;
	amp_work_queue(&r->work);
}

struct amp_udp_relay *amp_udp_relay_publish(struct amp_link *link,
					    const struct amp_forward *fwd, int fd)
{
	struct amp_udp_relay *r = calloc(1, sizeof(*r));

	if (!r) {
		amp_listen_close(fd);
		return NULL;
	}
	r->link = link;
	r->fwd = fwd;
	r->watch.fd = -1;
	r->watch.ready = relay_ready;
	r->work.run = relay_run;
	TAILQ_INIT(&r->peers);
	uv_timer_init(amp_loop_uv(), &r->timer);
	r->timer.data = r;
	r->kernel_drops = amp_udp_count_drops(fd);
	if (amp_watch_start(&r->watch, fd, EPOLLIN | EPOLLET)) {
		amp_listen_close(fd);
		amp_udp_relay_free(r);
		return NULL;
	}
	return r;
}

int amp_udp_relay_yield(struct amp_udp_relay *r)
{
	int fd = r->watch.fd;

	amp_watch_stop(&r->watch);
	return fd;
}

static void timer_closed(uv_handle_t *h)
{
	free(h->data);
}

void amp_udp_relay_free(struct amp_udp_relay *r)
{
	struct peer *p;

	if (!r)
		return;
	while ((p = TAILQ_FIRST(&r->peers)) != NULL)
		peer_end(p);
	amp_work_cancel(&r->work);
	if (r->watch.fd >= 0)
		amp_kept_drop_socket(r->watch.fd);
	amp_watch_close_shared(&r->watch);
	uv_close((uv_handle_t *)&r->timer, timer_closed);
}
