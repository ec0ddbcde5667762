// SPDX-License-Identifier: BSD-3-Clause
/*
 * The rpmsg bus: endpoints, name service, messages in place (the wire is that of Linux's
 * virtio_rpmsg_bus, OpenAMP and rpmsg-lite: wire/rpmsg_hdr.h).
 *
 * Theory of operation
 *
 * amp_rpmsg_run() is the heart: it takes messages off the in queue, one at a time, hands
 * each in place to the endpoint that has its address, and then sends what is owed. Nothing
 * else calls the owner's hooks (but for down(), which gives closed endpoints back).
 *
 * Nothing of ours lies in shared memory. Of a header that the peer wrote, each field is read
 * once and the copy is checked; a name is copied before anybody sees it. A header that claims
 * more than its buffer holds breaks the queue, and with it the link: no peer writes one by
 * accident, and the rest of its ring is not worth reading. Messages to nobody and malformed
 * announcements do happen between honest programs: counted, dropped.
 *
 * Owed. An announcement is a state of the endpoint, so memory for it is there by construction, and
 * whose turn it is the table says. Closed endpoints that are still to be withdrawn hang together by the link that they had in
 * the table; they come first, so a withdrawal goes out before the announcement of whoever has the
 * address next. While any of these waits for buffers nobody else gets one, or senders of
 * data would starve it.
 *
 * Lives. Each coming up of the link is a life of its own, with a number (gen) that is part
 * of every buffer's id: what was held or reserved in an earlier life is given back to nobody.
 * The peer has forgotten what it was told, too, so up() owes every announcement again.
 *
 * Kicks. The out queue is armed only while somebody waits for a buffer of it, the in queue
 * only between arm() and the next message: a peer that is awake is not called, nor does it
 * call.
 */
#include <errno.h>
#include <string.h>

#include "../port/port.h"
#include "../wire/le.h"
#include "rpmsg.h"

#if AMPSOCK_FAST
#define RARE __attribute__((noinline, cold))
#define ONCE
#define FLUSH_OUTLINE RARE
#else
#define RARE
#define ONCE	      __attribute__((noinline)) /* the one copy of several */
#define FLUSH_OUTLINE ONCE
#endif

/* Does somebody look at the messages? */
#if AMPSOCK_TAP
#define BUS_TAPPED(bus) __builtin_expect((bus)->tap != NULL, 0)
#define BUS_TAP(bus)	((bus)->tap)
#else
#define BUS_TAPPED(bus) false
#define BUS_TAP(bus)	((amp_rpmsg_tap_fn *)NULL)
#endif

/* A small core's links have one bucket: no arithmetic. */
#if AMP_RPMSG_OTHERS
#define BUS_BUCKETS (AMPSOCK_HASH == 1 ? 1u : bus->hash_len)
#else
#define BUS_BUCKETS ((uint32_t)AMPSOCK_HASH)
#endif

bool amp_rpmsg_ns_good(const char *name, uint32_t addr)
{
	return name[0] && memchr(name, '\0', AMP_RPMSG_NAME_LEN) && addr != AMP_RPMSG_ADDR_ANY;
}

/* ---- hooks ---- */

#if AMP_RPMSG_OTHERS
static inline int tell_data(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept,
			    const struct amp_rpmsg_rx *rx)
{
	return bus->ops->data(bus, ept, rx);
}

static inline void tell_service(struct amp_rpmsg *bus, const struct amp_rpmsg_ns *ns)
{
	if (bus->ops->service)
		bus->ops->service(bus, ns->name, ns->addr, ns->flags);
	else
		bus->stats.ns_ignored++;
}

static inline void tell_tx_ready(struct amp_rpmsg *bus)
{
	if (bus->ops->tx_ready)
		bus->ops->tx_ready(bus);
}

static inline void tell_gone(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept)
{
	bus->ops->gone(bus, ept);
}

/* Another life of the link is another half of every id. */
static uint32_t id_of(const struct amp_rpmsg *bus, uint16_t id)
{
	return (uint32_t)bus->gen << 16 | id;
}

static bool stale(const struct amp_rpmsg *bus, uint32_t id)
{
	return id >> 16 != bus->gen;
}

/* gen is odd while the link is down, so that no id is of a time without queues. */
static void life_ends(struct amp_rpmsg *bus)
{
	bus->gen |= 1u;
	bus->held_cnt = 0;
}

static void life_begins(struct amp_rpmsg *bus)
{
	bus->gen++;
	bus->held_max = amp_rpmsg_hold(bus->in->num);
}

static void hold(struct amp_rpmsg *bus)
{
	bus->held_cnt++;
}
#else
static inline int tell_data(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept,
			    const struct amp_rpmsg_rx *rx)
{
	amp_rlink_on_data(bus, ept, rx); /* which holds none */
	return 0;
}

static inline void tell_service(struct amp_rpmsg *bus, const struct amp_rpmsg_ns *ns)
{
	amp_rlink_on_service(bus, ns);
}

static inline void tell_tx_ready(struct amp_rpmsg *bus)
{
	amp_rlink_on_tx_ready(bus);
}

static inline void tell_gone(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept)
{
	amp_rlink_on_gone(bus, ept);
}

/* Sockets forget what they have reserved when the link goes down: no id is of another life. */
static uint32_t id_of(const struct amp_rpmsg *bus, uint16_t id)
{
	(void)bus;
	return id;
}

static bool stale(const struct amp_rpmsg *bus, uint32_t id)
{
	(void)id;
	return !bus->out;
}

static void life_ends(struct amp_rpmsg *bus)
{
	(void)bus;
}

static void life_begins(struct amp_rpmsg *bus)
{
	(void)bus;
}

static void hold(struct amp_rpmsg *bus)
{
	(void)bus;
}
#endif

/* ---- endpoints by address ---- */

/* Where the endpoint with this address hangs, or else where it would. In line it is shorter. */
static AMP_INLINED struct amp_rpmsg_ept **slot(const struct amp_rpmsg *bus, uint32_t addr)
{
	/* dynamic addresses follow one another: they spread by themselves. const is who only looks: the
	 * table may be in it */
	struct amp_rpmsg_ept **at =
		(struct amp_rpmsg_ept **)(uintptr_t)&bus->hash[addr & (BUS_BUCKETS - 1u)];

	while (*at && (*at)->addr != addr)
		at = &(*at)->hash_next;
	return at;
}

struct amp_rpmsg_ept *amp_rpmsg_find(const struct amp_rpmsg *bus, uint32_t addr)
{
	return *slot(bus, addr);
}

/* ---- what is owed ---- */

/* Of an endpoint whose state says that it has a name. */
static struct amp_rpmsg_named *named_of(struct amp_rpmsg_ept *ept)
{
	return (struct amp_rpmsg_named *)(void *)ept;
}

/* Who is told of next: withdrawals first, so that each is before the announcement of whoever has the
 * address, or the name, next. NULL: nobody. */
static struct amp_rpmsg_ept *owing(const struct amp_rpmsg *bus)
{
	struct amp_rpmsg_ept *e = bus->leaving;

	for (uint32_t i = 0; !e && i < BUS_BUCKETS; i++) {
		for (e = bus->hash[i]; e && e->ns != AMP_RPMSG_ANNOUNCE;)
			e = e->hash_next;
	}
	return e;
}

/* To a link without name service, too: it may come up anew with one. */
static inline void owe(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept)
{
	ept->ns = AMP_RPMSG_ANNOUNCE;
	bus->owed = bus->ns;
}

/* The first of those that leave is withdrawn, or never will be. */
static ONCE void left(struct amp_rpmsg *bus)
{
	struct amp_rpmsg_ept *e = bus->leaving;

	bus->leaving = e->hash_next;
	tell_gone(bus, e);
}

/* ---- in ---- */

static RARE void lied(struct amp_rpmsg *bus, struct amp_vq *vq, const char *why)
{
	vq->broken = true;
	AMP_WHY_SAY(vq, why);
	bus->stats.rx_bad++;
}

/* To an address without endpoint: the name service's, or nobody's. */
static __attribute__((noinline)) void to_nobody(struct amp_rpmsg *bus,
						const struct amp_rpmsg_rx *rx)
{
	struct amp_rpmsg_ns ns;

	if (rx->dst != AMP_RPMSG_NS_ADDR || !bus->ns) {
		bus->stats.rx_nobody++;
		return;
	}
	if (rx->len >= AMP_RPMSG_NS_LEN) {
		amp_copy(&ns, rx->data, AMP_RPMSG_NS_LEN);
		ns.flags &= AMP_RPMSG_NS_DESTROY;
		if (amp_rpmsg_ns_good(ns.name, ns.addr)) {
			tell_service(bus, &ns);
			return;
		}
	}
	bus->stats.rx_bad++;
	AMP_WHY_SAY(bus, "malformed name service message");
}

/*
 * A device's used length is that of what it wrote (virtio 1.2, 2.7.8): 0 for a buffer that it
 * read. Not so in rpmsg: OpenAMP's host takes the used length of a buffer that comes back for
 * the room in it, and OpenAMP's and rpmsg-lite's remotes return the descriptor's. So do we.
 */

/* One message. Returns whether the owner holds its buffer. */
static inline bool message(struct amp_rpmsg *bus, const struct amp_vq_buf *buf)
{
	struct amp_rpmsg_ept *ept;
	struct amp_rpmsg_rx rx;
	uint8_t *hdr;

	if (buf->len < AMP_RPMSG_HDR_LEN) {
		if (buf->len) /* 0: a device gave back what it had reserved */
			lied(bus, bus->in, AMP_WHY("message shorter than its header"));
		return false;
	}
	hdr = buf->iov->base; /* aligned as the peer likes */
	rx.src = amp_le32(hdr + offsetof(struct amp_rpmsg_hdr, src));
	rx.dst = amp_le32(hdr + offsetof(struct amp_rpmsg_hdr, dst));
	rx.len = amp_le16(hdr + offsetof(struct amp_rpmsg_hdr, len));
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* from here on the copies only */
	if (rx.len > buf->len - AMP_RPMSG_HDR_LEN) {
		lied(bus, bus->in, AMP_WHY("length in the header beyond the buffer"));
		return false;
	}
	rx.data = hdr + AMP_RPMSG_HDR_LEN;
	if (AMP_RPMSG_OTHERS) /* else nobody holds it */
		rx.id = id_of(bus, buf->id);
	bus->stats.rx_messages++;
	if (BUS_TAPPED(bus))
		BUS_TAP(bus)(bus, false, rx.src, rx.dst, rx.data, rx.len);
	ept = *slot(bus, rx.dst);
	if (!ept) {
		to_nobody(bus, &rx);
		return false;
	}
	if (tell_data(bus, ept, &rx) == 0)
		return false;
	hold(bus);
	return true;
}

/* ---- out ---- */

/*
 * A buffer with room for a header and need bytes more: 0, -EAGAIN: none now. One with less stays
 * where it is (-EMSGSIZE), unless so much is what all must have room for.
 */
static int out_get(struct amp_rpmsg *bus, struct amp_rpmsg_tx *tx, size_t need, bool must)
{
	struct amp_vq_buf buf;
	struct amp_iov iov;
	uint32_t room;

	amp_vq_buf_room(&buf, &iov, 1); /* header and payload in one piece */
	if (amp_vq_get(bus->out, &buf) <= 0)
		goto none;
	if (buf.len >= AMP_RPMSG_HDR_LEN) {
		room = buf.len - AMP_RPMSG_HDR_LEN;
		if (room > UINT16_MAX) /* the header has 16 bits for it */
			room = UINT16_MAX;
		if (room >= need) {
			tx->room = room;
			tx->data = (uint8_t *)buf.iov->base + AMP_RPMSG_HDR_LEN;
			tx->id = id_of(bus, buf.id);
			return 0;
		}
		if (!must) {
			amp_vq_leave(bus->out, buf.id);
			return -EMSGSIZE;
		}
	}
	lied(bus, bus->out, AMP_WHY("buffer without room for a message"));
none:
	bus->tx_starved = true;
	return -EAGAIN;
}

static void fill_header(const struct amp_rpmsg *bus, const struct amp_rpmsg_tx *tx,
			uint32_t src, uint32_t dst, uint32_t len)
{
	uint8_t *hdr = tx->data - AMP_RPMSG_HDR_LEN;

	AMP_FORGET(hdr); /* a field before the payload is a longer instruction */
	amp_put_le32(hdr + offsetof(struct amp_rpmsg_hdr, src), src);
	amp_put_le32(hdr + offsetof(struct amp_rpmsg_hdr, dst), dst);
	amp_put_le32(hdr + offsetof(struct amp_rpmsg_hdr, reserved), 0);
	amp_put_le32(hdr + offsetof(struct amp_rpmsg_hdr, len), len); /* flags: 0 */
	/* a driver's queue knows its buffers and does that itself */
	if (bus->out->role == AMP_VQ_DEVICE)
		amp_port_cache_clean(hdr, AMP_RPMSG_HDR_LEN + len);
}

static FLUSH_OUTLINE void flush(struct amp_rpmsg *bus)
{
	struct amp_rpmsg_ept *e;
	struct amp_rpmsg_tx tx;

	while ((e = owing(bus)) != NULL) {
		if (out_get(bus, &tx, AMP_RPMSG_NS_LEN, true))
			return;
		/* open has seen to its length; the rest is zeroes */
		strncpy((char *)tx.data, named_of(e)->name, AMP_RPMSG_NAME_LEN);
		amp_put_le32(tx.data + offsetof(struct amp_rpmsg_ns, addr), e->addr);
		amp_put_le32(tx.data + offsetof(struct amp_rpmsg_ns, flags),
			     e == bus->leaving ? AMP_RPMSG_NS_DESTROY : AMP_RPMSG_NS_CREATE);
		amp_rpmsg_commit(bus, &tx, e->addr, AMP_RPMSG_NS_ADDR, AMP_RPMSG_NS_LEN);
		e->ns = AMP_RPMSG_TOLD;
		if (e == bus->leaving)
			left(bus);
	}
	bus->owed = false;
}

/* ---- the door ---- */

#if AMP_RPMSG_OTHERS
void amp_rpmsg_init(struct amp_rpmsg *bus)
{
	memset(bus->hash, 0, BUS_BUCKETS * sizeof(*bus->hash));
	memset(&bus->stats, 0, sizeof(bus->stats));
	bus->in = bus->out = NULL;
	bus->leaving = NULL;
	bus->owed = false;
	bus->next_addr = 0;
	bus->gen = 0;
	AMP_WHY_SAY(bus, NULL);
}
#endif

void amp_rpmsg_down(struct amp_rpmsg *bus)
{
	bus->in = bus->out = NULL;
	life_ends(bus);
	bus->tx_starved = false;
	while (bus->leaving)
		left(bus);
}

void amp_rpmsg_up(struct amp_rpmsg *bus, struct amp_vq *in, struct amp_vq *out, bool ns)
{
	if (AMP_RPMSG_OTHERS) /* a library's own link has been, since it was last up */
		amp_rpmsg_down(bus);
	bus->in = in;
	bus->out = out;
	bus->ns = ns;
	bus->owed = false;
	life_begins(bus);
	amp_vq_disarm(out);
	for (uint32_t i = 0; i < BUS_BUCKETS; i++) {
		for (struct amp_rpmsg_ept *e = bus->hash[i]; e; e = e->hash_next) {
			if (e->ns)
				owe(bus, e);
		}
	}
}

int amp_rpmsg_run(struct amp_rpmsg *bus, unsigned budget)
{
	struct amp_vq_buf buf;
	struct amp_iov iov;
	unsigned n = 0;

	bus->enough = false;
	if (!bus->in)
		return 0;
	amp_vq_buf_room(&buf, &iov, 1); /* header and payload in one piece */
	while (n < budget && !bus->enough && amp_vq_get(bus->in, &buf) > 0) {
		n++;
		if (!message(bus, &buf))
			amp_vq_put(bus->in, buf.id, buf.len);
	}
	if (n && (!AMPSOCK_FAST || bus->in->armed)) /* which disarm looks at, too */
		amp_vq_disarm(bus->in);
	if (bus->owed)
		flush(bus);
	if (bus->tx_starved && amp_vq_avail(bus->out)) {
		bus->tx_starved = false;
		amp_vq_disarm(bus->out);
		tell_tx_ready(bus);
	}
	if (AMP_RPMSG_PLAIN || (!bus->in->broken && !bus->out->broken))
		return (int)n;
	AMP_WHY_SAY(bus, AMP_WHY_OF(bus->in->broken ? bus->in : bus->out));
	return -EBADMSG;
}

bool amp_rpmsg_arm(struct amp_rpmsg *bus)
{
	bool more = (!AMP_RPMSG_OTHERS || bus->in) &&
		    amp_vq_arm(bus->in); /* amp_rlink_arm() has looked */

	if (bus->tx_starved)
		more |= amp_vq_arm(bus->out);
	return more;
}

int amp_rpmsg_open(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept, uint32_t addr)
{
	struct amp_rpmsg_ept **at;

	if (addr == AMP_RPMSG_NS_ADDR)
		return -EINVAL;
	do { /* ends: there are fewer endpoints than addresses */
		ept->addr = addr;
		if (addr == AMP_RPMSG_ADDR_ANY) {
			if (bus->next_addr + 1u <= AMP_RPMSG_DYNAMIC) /* ANY, too */
				bus->next_addr = AMP_RPMSG_DYNAMIC;
			ept->addr = bus->next_addr++;
		}
		at = slot(bus, ept->addr);
		if (*at && addr != AMP_RPMSG_ADDR_ANY)
			return -EADDRINUSE;
	} while (*at);
	ept->ns = AMP_RPMSG_NAMELESS;
	ept->mark = false;
	ept->hash_next = NULL;
	*at = ept; /* behind the others: announced anew in the order of opening */
	return 0;
}

void amp_rpmsg_announce(struct amp_rpmsg *bus, struct amp_rpmsg_named *n, const char *name)
{
	n->name = name;
	owe(bus, &n->ept);
}

int amp_rpmsg_open_named(struct amp_rpmsg *bus, struct amp_rpmsg_named *n, uint32_t addr,
			 const char *name)
{
	int r;

	if (AMP_RPMSG_OTHERS && name &&
	    strlen(name) - 1u >= AMP_RPMSG_NAME_LEN - 1u) /* amp_raddr_get() */
		return -EINVAL;
	r = amp_rpmsg_open(bus, &n->ept, addr);
	if (r)
		return r;
	n->name = NULL;
	if (name)
		amp_rpmsg_announce(bus, n, name);
	return 0;
}

bool amp_rpmsg_close(struct amp_rpmsg *bus, struct amp_rpmsg_ept *ept)
{
	*slot(bus, ept->addr) = ept->hash_next;
	if (ept->ns != AMP_RPMSG_TOLD || !bus->out)
		return true;
	ept->hash_next = bus->leaving;
	bus->leaving = ept;
	bus->owed = true;
	return false;
}

bool amp_rpmsg_may_send_now(struct amp_rpmsg *bus)
{
	bool ready = amp_rpmsg_tx_ready(bus);

	bus->tx_starved |= !ready;
	return ready;
}

int amp_rpmsg_reserve_for(struct amp_rpmsg *bus, struct amp_rpmsg_tx *tx, size_t len, bool must)
{
	if (AMP_RPMSG_OTHERS && !bus->out) /* a socket has found the link up */
		return -ENETDOWN;
	return amp_rpmsg_must_queue(bus) ? -EAGAIN : out_get(bus, tx, len, must);
}

void amp_rpmsg_commit(struct amp_rpmsg *bus, const struct amp_rpmsg_tx *tx, uint32_t src,
		      uint32_t dst, uint32_t len)
{
	if (AMP_RPMSG_OTHERS && stale(bus, tx->id))
		return;
	fill_header(bus, tx, src, dst, len);
	bus->stats.tx_messages++;
	if (BUS_TAPPED(bus))
		BUS_TAP(bus)(bus, true, src, dst, tx->data, len);
	amp_vq_put(bus->out, (uint16_t)tx->id, AMP_RPMSG_HDR_LEN + len);
}

void amp_rpmsg_cancel(struct amp_rpmsg *bus, const struct amp_rpmsg_tx *tx)
{
	if (stale(bus, tx->id))
		return;
	/*
	 * A device that got another buffer since can only give it to the driver, with length 0.
	 * There are drivers that do not look at it: let them find a message to nobody.
	 */
	fill_header(bus, tx, AMP_RPMSG_ADDR_ANY, AMP_RPMSG_ADDR_ANY, 0);
	amp_vq_unget(bus->out, (uint16_t)tx->id);
}

#if AMP_RPMSG_OTHERS
void amp_rpmsg_release(struct amp_rpmsg *bus, uint32_t id)
{
	if (stale(bus, id))
		return;
	bus->held_cnt--;
	amp_vq_put(bus->in, (uint16_t)id, amp_vq_desc_len(bus->in, (uint16_t)id));
}
#endif
