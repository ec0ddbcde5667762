// SPDX-License-Identifier: BSD-3-Clause
/*
 * Link type vhost-user-vsock: how a guest survives us.
 *
 * Theory of operation
 *
 * Keeping. While a VMM is attached the helper has its descriptors under the names
 * LINK-SLOT-N (kept.h) and the link's journal (journal.h) as LINK-journal. After each burst
 * of messages what has changed is kept anew.
 *
 * Taking over. A successor replays the record (vhost_user_keep.h): features, memory and rings
 * are as they were, and the rings go on behind the last chain that was completed. Both queues
 * are looked at and both calls are rung once, unasked, in the loop's first turn: a kick or a call
 * may have been lost with the predecessor.
 *
 * Telling the guest. The sockets on our side are gone, so each of the guest's connections is
 * answered with RST (AMP_VV_RST), before any of its packets is looked at where the
 * connection could be meant: a pair that still waits for its RST is refused, not opened anew.
 * If the event queue is ours (QEMU keeps it, others do not) a transport reset event follows
 * (virtio 1.2, 5.10.6.8), which resets every connection that the driver has at the time when it
 * reads it. So nothing new may begin until the driver has done so, which shows when it gives
 * the event's buffer back: until then neither ring is touched. Who gives no buffer, or does
 * not give it back within PATIENCE_MS, is served nevertheless: its RSTs tell it all. Those wait
 * for receive buffers for as long as it takes: a guest may have been paused meanwhile.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../wire/le.h"
#include "kept.h"
#include "link_vv.h"

#define PATIENCE_MS 1000u
#define EVENT_LEN   4u /* struct virtio_vsock_event */
#define RST_BATCH   (AMP_VLINK_STRAY / 2)

static const char *link_name(const struct amp_link_vv *l)
{
	return l->vl.link.conf->name;
}

static void journal_name(const struct amp_link_vv *l, char *dst)
{
	snprintf(dst, AMP_KEPT_NAME, "%s-journal", link_name(l));
}

static void slot_name(const struct amp_link_vv *l, unsigned slot, uint32_t seq, char *dst)
{
	char part[8];

	snprintf(dst, AMP_KEPT_NAME, "%s-%s-%" PRIu32, link_name(l),
		 amp_vhost_slot_name(slot, part), seq);
}

/* ---- keeping ---- */

static void drop_slots(struct amp_link_vv *l, const struct amp_vhost_kept *now)
{
	char name[AMP_KEPT_NAME];

	for (unsigned i = 0; i < AMP_VHOST_SLOTS; i++) {
		uint32_t was = l->kept.slot[i].seq;

		if (!was || (now && now->slot[i].seq == was))
			continue;
		slot_name(l, i, was, name);
		amp_kept_drop(name);
		l->kept.slot[i].seq = 0;
	}
}

/* New names, the record that has them, then the old names go. */
static void keep(struct amp_link_vv *l)
{
	struct amp_vhost_kept now;
	struct amp_vhost_rec rec;
	char name[AMP_KEPT_NAME];

	if (amp_vhost_be_save(&l->be, &rec, &now))
		return; /* half a message is in: it stays busy */
	for (unsigned i = 0; i < AMP_VHOST_SLOTS; i++) {
		uint32_t seq = now.slot[i].seq;

		if (!seq || seq == l->kept.slot[i].seq)
			continue;
		slot_name(l, i, seq, name);
		amp_kept_put(name, now.slot[i].fd);
	}
	amp_journal_record(l->vl.journal, &rec);
	drop_slots(l, &now);
	l->kept = now;
	l->kept_changes = l->be.changes;
	amp_journal_busy(l->vl.journal, false);
}

void amp_vv_keep_start(struct amp_link_vv *l)
{
	char name[AMP_KEPT_NAME];

	memset(&l->kept, 0, sizeof(l->kept));
	l->vl.journal = amp_journal_new(l->vl.link.conf->cid);
	if (!l->vl.journal) {
		amp_log(AMP_LOG_WARN,
			"link %s: no memory for its journal: its guest will not survive the "
			"end "
			"of this process",
			link_name(l));
		return;
	}
	journal_name(l, name);
	amp_kept_put(name, amp_journal_fd(l->vl.journal));
	keep(l);
}

void amp_vv_keep_begin(struct amp_link_vv *l)
{
	if (l->vl.journal)
		amp_journal_busy(l->vl.journal, true);
}

void amp_vv_keep_end(struct amp_link_vv *l)
{
	if (!l->vl.journal || l->be.have)
		return;
	if (l->be.changes != l->kept_changes)
		keep(l);
	else
		amp_journal_busy(l->vl.journal, false);
}

void amp_vv_keep_stop(struct amp_link_vv *l)
{
	char name[AMP_KEPT_NAME];

	amp_vv_tell_end(l);
	if (!l->vl.journal)
		return;
	drop_slots(l, NULL);
	journal_name(l, name);
	amp_kept_drop(name);
	amp_journal_free(l->vl.journal);
	l->vl.journal = NULL;
}

/* ---- taking over ---- */

/* The descriptors of the record, by their names. NULL, or which one there is not. */
static const char *gather(struct amp_link_vv *l, struct amp_vhost_kept *kept, char *name)
{
	const char *missing = NULL;

	for (unsigned i = 0; i < AMP_VHOST_SLOTS; i++) {
		if (!kept->slot[i].seq)
			continue;
		slot_name(l, i, kept->slot[i].seq, name);
		kept->slot[i].fd = amp_kept_take(name);
		if (kept->slot[i].fd < 0 && !missing)
			missing = "a descriptor of it was not kept";
		/* it goes by another name soon, or is no good */
		l->kept.slot[i].seq = kept->slot[i].seq;
	}
	return missing;
}

/* 0, or -errno and in *why what is wrong. */
static int go_on(struct amp_link_vv *l, const char **why)
{
	char name[AMP_KEPT_NAME];
	struct amp_vhost_kept kept;
	struct amp_vhost_rec rec;
	int r = amp_journal_read(l->vl.journal, &rec);

	*why = r == -EBUSY ? "the process ended while its VMM was setting the device up"
			   : "its record is none of this version";
	if (amp_vhost_rec_slots(&rec, &kept) && !r)
		r = -EINVAL;
	if (r == -EINVAL)
		return r;
	if (gather(l, &kept, name) && !r) {
		*why = "a descriptor of it was not kept";
		r = -ENOENT;
	}
	if (r) {
		for (unsigned i = 0; i < AMP_VHOST_SLOTS; i++) {
			if (kept.slot[i].fd >= 0)
				close(kept.slot[i].fd);
		}
		return r;
	}
	r = amp_vhost_be_restore(&l->be, &rec, &kept);
	/* what is wrong behind that, ops->gone has said */
	*why = r == -ENOTSOCK ? "what was kept as its connection is none" : NULL;
	return r;
}

bool amp_vv_take_over(struct amp_link_vv *l)
{
	char name[AMP_KEPT_NAME];
	const char *why;
	int fd;

	journal_name(l, name);
	fd = amp_kept_take(name);
	if (fd < 0)
		return false;
	memset(&l->kept, 0, sizeof(l->kept));
	l->vl.journal = amp_journal_open(fd, l->vl.link.conf->cid, &why);
	if (!l->vl.journal) {
		amp_kept_drop(name);
	} else if (go_on(l, &why) == 0) {
		if (amp_journal_overflown(l->vl.journal))
			amp_log(AMP_LOG_WARN,
				"link %s: not all of its guest's connections are known: some "
				"will "
				"notice their end only when they send",
				link_name(l));
		l->news = AMP_VV_RST;
		l->vl.next_port = amp_journal_port(l->vl.journal);
		keep(l);
		/* in the loop, where a wait has an end */
		l->ring_all = true;
		amp_work_queue(&l->vl.work);
		return true;
	}
	if (why)
		amp_log(AMP_LOG_ERROR,
			"link %s: cannot go on with the guest that was attached: %s. Its VMM "
			"must be restarted",
			link_name(l), why);
	amp_vv_keep_stop(l);
	amp_vhost_be_reset(&l->be);
	return false;
}

int amp_vv_ring_all(struct amp_link_vv *l)
{
	int r = 0;

	l->ring_all = false;
	for (unsigned q = 0; q < AMP_VV_QUEUES && !r; q++) {
		if (l->vq[q])
			r = amp_vhost_be_notify(&l->be, q);
	}
	return r;
}

/* ---- telling the guest ---- */

static void impatient(uv_timer_t *t)
{
	struct amp_link_vv *l = t->data;

	if (l->news == AMP_VV_NONE)
		return;
	amp_log(AMP_LOG_DEBUG, "link %s: the guest does not take its reset event",
		link_name(l));
	l->no_event = true;
	amp_work_queue(&l->vl.work);
}

void amp_vv_tell_end(struct amp_link_vv *l)
{
	struct amp_vsock_ends ends;
	uint32_t at = 0, noted;
	unsigned type;

	/* a new driver knows none of them, but may have one with the same ports by now */
	while (l->vl.journal && amp_journal_orphan(l->vl.journal, &at, &ends, &type)) {
		noted = at;
		amp_journal_strike(l->vl.journal, &noted);
	}
	l->news = AMP_VV_NONE;
	l->no_event = false;
	uv_timer_stop(&l->patience);
}

/* An RST for each. False: wait for the guest's buffers. */
static bool tell_connections(struct amp_link_vv *l)
{
	struct amp_vsock *vs = &l->vl.vs;
	struct amp_vsock_ends ends;
	unsigned type;

	while (amp_journal_orphans(l->vl.journal)) {
		uint32_t room = amp_vq_avail(vs->out), at = 0, cnt = 0;

		if (room == 0 || vs->stray_cnt) {
			vs->tx_starved = true; /* the driver is to say when it has new ones */
			return false;
		}
		if (room > RST_BATCH)
			room = RST_BATCH;
		for (; cnt < room && amp_journal_orphan(l->vl.journal, &at, &ends, &type);
		     cnt++)
			amp_vsock_stray_rst(vs, &ends, type);
		if (amp_vsock_run(vs, 0) < 0)
			return false;
		/* the last ones are not out if a guest has lied about its buffers */
		for (; cnt > vs->stray_cnt; cnt--) {
			at = 0;
			amp_journal_orphan(l->vl.journal, &at, &ends, &type);
			amp_journal_strike(l->vl.journal, &at);
		}
	}
	return true;
}

/* The event, if there is a buffer for it. */
static bool tell_reset(struct amp_link_vv *l)
{
	struct amp_vq *vq = l->vq[AMP_VV_EVENT];
	struct amp_iov iov[4];
	struct amp_vq_buf buf = {.iov = iov, .iov_max = 4};
	int r = amp_vq_get(vq, &buf);

	if (r < 0) {
		amp_vhost_be_fail(&l->be, -EBADMSG, vq->why);
		return false;
	}
	if (r == 0)
		return false;
	l->event_seen = amp_vq_driver_idx(vq);
	if (iov[0].len >= EVENT_LEN)
		amp_put_le32(iov[0].base, 0); /* VIRTIO_VSOCK_EVENT_TRANSPORT_RESET */
	amp_vq_put(vq, buf.id, EVENT_LEN);
	(void)amp_vq_kick_due(vq);
	(void)amp_vhost_be_notify(&l->be, AMP_VV_EVENT);
	return true;
}

bool amp_vv_tell(struct amp_link_vv *l)
{
	struct amp_vq *event = l->vq[AMP_VV_EVENT];
	struct amp_vsock *vs = &l->vl.vs;

	if (l->news == AMP_VV_NONE)
		return false;
	if (event && !l->no_event && !uv_is_active((uv_handle_t *)&l->patience))
		uv_timer_start(&l->patience, impatient, PATIENCE_MS, 0);
	if (l->news == AMP_VV_RST && tell_connections(l))
		l->news = AMP_VV_RESET;
	if (!event || l->no_event) {
		/* its packets are taken meanwhile, or it might never give buffers */
		if (l->news != AMP_VV_RST)
			amp_vv_tell_end(l);
		return false;
	}
	if (vs->torn || l->be.fd < 0)
		return l->be.fd < 0;
	if (l->news == AMP_VV_RESET && tell_reset(l))
		l->news = AMP_VV_TOLD;
	if (l->be.fd < 0) /* it broke the ring */
		return true;
	/* whatever it is that we wait for: asked for, and looked at once more before the sleep */
	if (l->news == AMP_VV_TOLD && amp_vq_arm_at(event, l->event_seen)) {
		amp_vv_tell_end(l);
		return false;
	}
	if ((l->news == AMP_VV_RESET && amp_vq_arm(event)) ||
	    (l->news == AMP_VV_RST && amp_vq_arm(vs->out)))
		amp_work_queue(&l->vl.work);
	return true;
}
