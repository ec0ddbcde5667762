// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls:hot read write */
/* The stream protocol's door onto /dev/rpmsgN, and the endpoints behind it: clink.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture.h"
#include "clink.h"
#include "helper.h"

/* Ours are chosen here: above what the kernel and the remote give out. */
#define ADDR_FIRST 0x00100000u
#define ADDR_COUNT 0x00f00000u

static struct amp_clink *of_rs(const struct amp_rstream *rs)
{
	return rs->door_ctx;
}

static struct amp_end_vsock *end_of(struct amp_rstream_conn *rc)
{
	return amp_container_of(rc, struct amp_end_vsock, rc);
}

/* ---- endpoints ---- */

static void ready(struct amp_watch *w, uint32_t events)
{
	struct amp_cept *c = amp_container_of(w, struct amp_cept, watch);

	if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
		c->hup = true;
	if (!c->readable)
		TAILQ_INSERT_TAIL(&c->cl->readable, c, readable_entry);
	c->readable = true;
	amp_work_queue(&c->cl->vl.work);
}

struct amp_cept *amp_cept_new(struct amp_clink *cl)
{
	struct amp_cept *c = calloc(1, sizeof(*c) + (size_t)AMP_CEPT_SLOTS * cl->room);

	if (!c)
		return NULL;
	c->cl = cl;
	c->watch.fd = -1;
	c->watch.ready = ready;
	return c;
}

static bool fixed(const struct amp_clink *cl, uint32_t addr)
{
	for (unsigned i = 0; i < cl->names.service_cnt; i++) {
		if (cl->names.services[i].end.ept.addr == addr)
			return true;
	}
	return false;
}

static uint32_t choose(struct amp_clink *cl)
{
	uint32_t addr;

	do {
		addr = ADDR_FIRST + cl->next_addr;
		cl->next_addr = (cl->next_addr + 1) % ADDR_COUNT;
	} while (fixed(cl, addr));
	return addr;
}

struct amp_cept *amp_cept_open(struct amp_clink *cl, enum amp_cept_kind kind, uint32_t src,
			       uint32_t dst, int *err)
{
	struct amp_cept *c = amp_cept_new(cl);
	int fd, r;

	*err = ENOMEM;
	if (!c)
		return NULL;
	c->kind = (uint8_t)kind;
	c->src = src == AMP_RPMSG_ADDR_ANY ? choose(cl) : src;
	c->dst = dst;
	fd = amp_helper_rchar_create(cl->path, c->src, dst);
	r = fd < 0 ? fd : amp_watch_start(&c->watch, fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
	if (r == 0) {
		cl->cept_cnt++;
		return c;
	}
	if (fd >= 0)
		amp_rchar_destroy(fd, false);
	*err = -r;
	amp_log_some(&cl->log_bad, AMP_LOG_WARN, "link %s: no endpoint at %s: %s",
		     cl->vl.link.conf->name, cl->path, strerror(-r));
	free(c);
	return NULL;
}

static void cept_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct amp_cept, grave));
}

void amp_cept_close(struct amp_cept *c)
{
	int fd = c->watch.fd;

	if (c->readable)
		TAILQ_REMOVE(&c->cl->readable, c, readable_entry);
	if (c->pending)
		TAILQ_REMOVE(&c->cl->pending, c, pending_entry);
	amp_watch_stop(&c->watch);
	amp_rchar_destroy(fd, c->cl->lost);
	c->cl->cept_cnt--;
	amp_bury(&c->grave, cept_free);
}

ssize_t amp_cept_read(struct amp_clink *cl, uint8_t *at, struct amp_cept **out)
{
	struct amp_cept *c;
	ssize_t n;

	while ((c = TAILQ_FIRST(&cl->readable)) != NULL) {
		TAILQ_REMOVE(&cl->readable, c, readable_entry);
		n = read(c->watch.fd, at, cl->room + 1);
		if (n > 0 || (n == 0 && !c->hup)) {
			TAILQ_INSERT_TAIL(&cl->readable, c, readable_entry);
			*out = c;
			return n;
		}
		c->readable = false;
		/* EPIPE: the remote, and with it the endpoint, is gone */
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			cl->lost = true;
	}
	return -1;
}

/* What is committed goes out, in order. */
static void flush(struct amp_cept *c)
{
	struct amp_clink *cl = c->cl;

	while (c->cnt && c->len[c->first]) {
		const uint8_t *at = c->mem + (size_t)c->first * cl->room;
		ssize_t n = write(c->watch.fd, at, c->len[c->first]);

		if (n < 0 && (errno == EAGAIN || errno == ENOMEM || errno == EINTR)) {
			if (!c->pending)
				TAILQ_INSERT_TAIL(&cl->pending, c, pending_entry);
			c->pending = true;
			amp_work_queue(&cl->vl.work); /* which starts the timer */
			return;
		}
		if (n < 0) { /* a remote that went, or will have gone at the next look */
			if (errno == EMSGSIZE)
				cl->vl.vs.why = AMP_WHY("the kernel's buffers are smaller than "
							"buffer= says");
			cl->lost = true;
			amp_work_queue(&cl->vl.work);
		} else if (__builtin_expect(cl->vl.link.tapped, 0))
			amp_capture_rpmsg(&cl->vl.link, true, c->src, c->dst, at,
					  c->len[c->first]);
		c->len[c->first] = 0;
		c->first = (c->first + 1) % AMP_CEPT_SLOTS;
		c->cnt--;
	}
	if (c->pending)
		TAILQ_REMOVE(&cl->pending, c, pending_entry);
	c->pending = false;
	if (c->kind == AMP_CEPT_ONCE)
		amp_cept_close(c);
}

void amp_cept_retry(struct amp_clink *cl)
{
	struct amp_cept *c;

	while ((c = TAILQ_FIRST(&cl->pending)) != NULL) {
		flush(c);
		if (c == TAILQ_FIRST(&cl->pending))
			return; /* no buffer: the others would find none either */
	}
}

/* ---- the door ---- */

static int char_open(struct amp_rstream *rs, struct amp_rstream_conn *rc, uint32_t dst)
{
	struct amp_clink *cl = of_rs(rs);
	struct amp_cept *c;
	int err;

	if (!cl->vl.link.up)
		return -ENETDOWN;
	c = amp_cept_open(cl, AMP_CEPT_CONN, AMP_RPMSG_ADDR_ANY, dst, &err);
	if (!c)
		return -err;
	c->rc = rc;
	rc->ept.addr = c->src;
	end_of(rc)->door_in = end_of(rc)->door_out = c;
	return 0;
}

static int char_redirect(struct amp_rstream *rs, struct amp_rstream_conn *rc, uint32_t dst)
{
	struct amp_end_vsock *e = end_of(rc);
	struct amp_cept *c;
	int err;

	c = amp_cept_open(of_rs(rs), AMP_CEPT_AWAY, AMP_RPMSG_ADDR_ANY, dst, &err);
	if (!c)
		return -err;
	e->door_out = c;
	return 0;
}

static void char_close(struct amp_rstream *rs, struct amp_rstream_conn *rc)
{
	struct amp_end_vsock *e = end_of(rc);

	(void)rs;
	if (e->door_out != e->door_in)
		amp_cept_close(e->door_out);
	amp_cept_close(e->door_in);
	e->door_in = e->door_out = NULL;
}

static struct amp_cept *of_conn(const struct amp_clink *cl, struct amp_rstream_conn *rc)
{
	return rc && rc->ept.addr != AMP_RPMSG_ADDR_ANY ? end_of(rc)->door_out : cl->loose;
}

static int char_reserve(struct amp_rstream *rs, struct amp_rstream_conn *rc,
			struct amp_rpmsg_tx *tx)
{
	struct amp_clink *cl = of_rs(rs);
	struct amp_cept *c = of_conn(cl, rc);
	unsigned slot;

	if (!cl->vl.link.up || !TAILQ_EMPTY(&cl->pending) || c->cnt == AMP_CEPT_SLOTS)
		return -EAGAIN;
	slot = (c->first + c->cnt++) % AMP_CEPT_SLOTS;
	c->len[slot] = 0;
	tx->data = c->mem + (size_t)slot * cl->room;
	tx->room = cl->room;
	tx->id = slot;
	return 0;
}

/* Who can send to dst? The refusal of a REQUEST may come from any endpoint. */
static struct amp_cept *sender(struct amp_clink *cl, uint32_t src, uint32_t dst)
{
	int err;

	for (unsigned i = 0; i < cl->names.service_cnt; i++) {
		struct amp_cept *c = cl->services[i];

		if (c && c->dst == dst && c->src == src && c->cnt < AMP_CEPT_SLOTS)
			return c;
	}
	return amp_cept_open(cl, AMP_CEPT_ONCE, AMP_RPMSG_ADDR_ANY, dst, &err);
}

static void char_commit(struct amp_rstream *rs, struct amp_rstream_conn *rc,
			const struct amp_rpmsg_tx *tx, uint32_t src, uint32_t dst, uint32_t len)
{
	struct amp_clink *cl = of_rs(rs);
	struct amp_cept *c = of_conn(cl, rc);
	unsigned slot = tx->id;

	if (c == cl->loose) {
		c->cnt--;
		c = sender(cl, src, dst);
		if (!c) {
			cl->vl.link.stats.drops++;
			return;
		}
		slot = (c->first + c->cnt++) % AMP_CEPT_SLOTS;
		memcpy(c->mem + (size_t)slot * cl->room, tx->data, len);
	}
	c->len[slot] = len;
	flush(c);
}

static void char_cancel(struct amp_rstream *rs, const struct amp_rpmsg_tx *tx)
{
	struct amp_clink *cl = of_rs(rs);
	const uint8_t *first = tx->data - (size_t)tx->id * cl->room;
	struct amp_cept *c = (void *)(uintptr_t)(first - offsetof(struct amp_cept, mem));

	c->cnt--;
}

static bool char_ready(const struct amp_rstream *rs)
{
	const struct amp_clink *cl = of_rs(rs);

	return cl->vl.link.up && TAILQ_EMPTY(&cl->pending);
}

const struct amp_rstream_door_ops amp_char_door = {
	.request_flags = AMP_RSTREAM_F_ANY_SRC,
	.open = char_open,
	.redirect = char_redirect,
	.close = char_close,
	.reserve = char_reserve,
	.commit = char_commit,
	.cancel = char_cancel,
	.ready = char_ready,
};
