// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls:hot writev */
/*
 * Raw ends (end_raw.h) on /dev/rpmsgN: an endpoint that sends to one address of the remote. Only
 * ends that we open: for a service of ours one would have to know who sent a message.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "capture.h"
#include "clink.h"

struct amp_end_char {
	struct amp_raw_end raw; /* first */
	struct amp_cept *cept;
};

static struct amp_end_char *of(struct amp_raw_end *raw)
{
	return amp_container_of(raw, struct amp_end_char, raw);
}

static uint32_t local(const struct amp_raw_end *raw)
{
	const struct amp_end_char *e =
		(const void *)((const char *)raw - offsetof(struct amp_end_char, raw));

	return e->cept->src;
}

static void over(struct amp_raw_end *raw)
{
	amp_cept_close(of(raw)->cept);
}

static ssize_t raw_write(struct amp_end *end, const struct iovec *iov, int cnt, size_t len)
{
	struct amp_end_char *e = amp_container_of(end, struct amp_end_char, raw.end);
	struct amp_clink *cl = e->cept->cl;
	ssize_t n;

	if (e->raw.failed)
		return -ECONNRESET;
	if (len > cl->room)
		return -EMSGSIZE;
	if (!TAILQ_EMPTY(&cl->pending))
		return -EAGAIN;
	n = writev(e->cept->watch.fd, iov, cnt);
	if (n < 0)
		return errno == ENOMEM ? -EAGAIN : -errno;
	if (__builtin_expect(cl->vl.link.tapped, 0) && cnt == 1)
		amp_capture_rpmsg(&cl->vl.link, true, e->cept->src, e->cept->dst, iov->iov_base,
				  (uint32_t)n);
	amp_raw_sent(&e->raw, (size_t)n);
	cl->vl.link.stats.tx_packets++; /* a bus would count it */
	return n;
}

/* An empty message would read as nothing: end.empty stays false. */
static const struct amp_end_ops raw_end_ops = {
	.name = "rpmsg-char",
	.write = raw_write,
	.shut = amp_raw_shut,
	.reset = amp_raw_close,
	.close = amp_raw_close,
	.text = amp_raw_text,
	.info = amp_raw_info,
};

static const struct amp_raw_ops raw_ops = {
	.end = &raw_end_ops,
	.local = local,
	.over = over,
};

void amp_end_char_init(struct amp_clink *cl)
{
	amp_raws_init(&cl->raws, &cl->vl, &raw_ops);
}

struct amp_end *amp_end_char_open(struct amp_clink *cl, uint32_t peer, int *err)
{
	struct amp_raw_end *raw;
	struct amp_cept *c;

	*err = ENOBUFS;
	if (!amp_raws_room(&cl->raws))
		return NULL;
	c = amp_cept_open(cl, AMP_CEPT_RAW, AMP_RPMSG_ADDR_ANY, peer, err);
	if (!c)
		return NULL;
	raw = amp_raw_new(&cl->raws, sizeof(struct amp_end_char), peer);
	if (!raw) {
		*err = ENOBUFS;
		amp_cept_close(c);
		return NULL;
	}
	of(raw)->cept = c;
	c->raw = raw;
	return amp_raw_opened(raw);
}
