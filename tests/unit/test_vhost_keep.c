// SPDX-License-Identifier: BSD-3-Clause
/* What a successor of a vhost-user back-end goes on with: rings in order, the record, its lies. */
#include "vhost_rig.h"

#include "virtio/vhost_user_keep.h"
#include "virtio/vring.h"

static struct amp_vq_order order[2];

static void up(struct rig *r)
{
	memset(order, 0xff, sizeof(order));
	rig_up(r);
	r->be.order = order;
	rig_run(r);
	assert_int_equal(r->starts, 2);
}

/* What is behind the record's names, as another process would have it. */
static void copies(struct amp_vhost_kept *kept)
{
	for (unsigned i = 0; i < AMP_VHOST_SLOTS; i++) {
		if (kept->slot[i].fd >= 0)
			kept->slot[i].fd = fcntl(kept->slot[i].fd, F_DUPFD_CLOEXEC, 3);
	}
}

/* A second back-end, without a front-end of its own. */
static void next_up(struct rig *n)
{
	memset(n, 0, sizeof(*n));
	memset(n->watched, -1, sizeof(n->watched));
	n->be.ops = &rig_ops;
	n->be.owner = n;
	n->be.features = DEV_FEATS;
	n->be.dir = rig_dir;
	n->be.queues = 2;
	n->be.order = order;
	n->fd = n->kick = n->call = n->mem_fd = -1;
	assert_int_equal(amp_vhost_be_init(&n->be), 0);
}

static int restore(struct rig *n, const struct amp_vhost_rec *rec,
		   const struct amp_vhost_kept *k)
{
	struct amp_vhost_kept own = *k;

	copies(&own);
	return amp_vhost_be_restore(&n->be, rec, &own);
}

static void put_all(struct amp_vq *drv, unsigned cnt)
{
	struct amp_iov iov;
	struct amp_vq_buf b = {.iov = &iov, .iov_max = 1};

	for (unsigned i = 0; i < cnt; i++) {
		assert_int_equal(amp_vq_get(drv, &b), 1);
		memset(iov.base, (int)i, 4);
		amp_vq_put(drv, b.id, 4);
	}
}

/* Chains that are put out of order become used in order, and only up to the first gap. */
static void in_order(void **state)
{
	struct amp_vq_buf b[6];
	struct amp_iov iov[6];
	uint16_t drv_state[NUM];
	struct amp_vq drv, *dev;
	struct rig r;

	(void)state;
	up(&r);
	rig_driver(&r, 1, &drv, drv_state);
	dev = &r.be.q[1].vq;
	for (unsigned round = 0; round < 5; round++) { /* past the ring's end */
		uint16_t was = drv.used->idx;

		put_all(&drv, 6);
		for (unsigned i = 0; i < 6; i++) {
			b[i] = (struct amp_vq_buf){.iov = &iov[i], .iov_max = 1};
			assert_int_equal(amp_vq_get(dev, &b[i]), 1);
		}
		amp_vq_put(dev, b[2].id, 0);
		amp_vq_put(dev, b[1].id, 0);
		amp_vq_put(dev, b[5].id, 0);
		assert_int_equal((uint16_t)(drv.used->idx - was), 0);
		amp_vq_put(dev, b[0].id, 0);
		assert_int_equal((uint16_t)(drv.used->idx - was), 3);
		amp_vq_put(dev, b[0].id, 0); /* once more: the caller's mistake, no entry */
		assert_int_equal((uint16_t)(drv.used->idx - was), 3);
		amp_vq_put(dev, b[4].id, 0);
		amp_vq_put(dev, b[3].id, 0);
		assert_int_equal((uint16_t)(drv.used->idx - was), 6);
		for (unsigned i = 0; i < 6; i++)
			assert_int_equal(drv.used->ring[(was + i) & (NUM - 1)].id, b[i].id);
	}
	rig_down(&r);
}

/* A successor takes again what was taken and not completed, and only that. */
static void positions(void **state)
{
	struct amp_iov iov;
	struct amp_vq_buf b[4] = {{.iov = &iov, .iov_max = 1},
				  {.iov = &iov, .iov_max = 1},
				  {.iov = &iov, .iov_max = 1},
				  {.iov = &iov, .iov_max = 1}};
	struct amp_vhost_kept kept;
	struct amp_vhost_rec rec;
	uint16_t drv_state[NUM];
	struct amp_vq drv;
	struct rig r, n;
	int fds;

	(void)state;
	up(&r);
	rig_driver(&r, 1, &drv, drv_state);
	put_all(&drv, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(amp_vq_get(&r.be.q[1].vq, &b[i]), 1);
	assert_int_equal(amp_vhost_be_save(&r.be, &rec, &kept), 0);
	amp_vq_put(&r.be.q[1].vq, b[0].id, 0); /* after the record was written */
	amp_vq_put(&r.be.q[1].vq, b[2].id, 0); /* not in order: not complete */
	next_up(&n);
	fds = count_fds();
	assert_int_equal(restore(&n, &rec, &kept), 0);
	assert_int_equal(n.starts, 2);
	assert_int_equal(n.features, r.features);
	assert_true(n.watched[0] >= 0 && n.watched[1] >= 0);
	assert_int_equal(n.be.q[1].vq.get_idx, 1);
	for (unsigned i = 1; i < 4; i++) {
		struct amp_vq_buf got = {.iov = &iov, .iov_max = 1};

		assert_int_equal(amp_vq_get(&n.be.q[1].vq, &got), 1);
		assert_int_equal(got.id, b[i].id);
		assert_int_equal(*(uint8_t *)iov.base, i);
		amp_vq_put(&n.be.q[1].vq, got.id, 0);
	}
	assert_int_equal(drv.used->idx, 4);
	/* all names are new ones, so that what is kept for it never meets the old record */
	for (unsigned i = 0; i < AMP_VHOST_SLOTS; i++)
		assert_true(!kept.slot[i].seq || kept.slot[i].seq <= rec.seq);
	assert_true(n.be.conn_seq > rec.seq && n.be.q[1].kick_seq > rec.seq);
	amp_vhost_be_reset(&n.be);
	assert_int_equal(count_fds(), fds);
	rig_down(&r);
}

/* A record of a back-end that knows little goes on where it is, and the front-end goes on. */
static void halfway(void **state)
{
	struct amp_vhost_kept kept;
	struct amp_vhost_rec rec;
	struct rig r, n;

	(void)state;
	rig_up(&r);
	assert_int_equal(amp_vhost_be_save(&r.be, &rec, &kept), 0);
	next_up(&n);
	assert_int_equal(restore(&n, &rec, &kept), 0);
	amp_vhost_be_reset(&n.be);
	ask_u64(&r, AMP_VU_GET_FEATURES);
	tell_u64(&r, AMP_VU_SET_FEATURES, ALL_FEATS, -1);
	assert_int_equal(rig_memory(&r), 0);
	assert_int_equal(rig_queue(&r, 0), 0); /* not enabled */
	assert_int_equal(amp_vhost_be_save(&r.be, &rec, &kept), 0);
	assert_int_equal(restore(&n, &rec, &kept), 0);
	assert_int_equal(n.starts, 0);
	n.fd = r.fd; /* both read there: the first does not look */
	assert_int_equal(tell_state(&n, AMP_VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(n.starts, 1);
	amp_vhost_be_reset(&n.be);
	rig_down(&r);
}

/* Half a message is in: its first half would be missing. */
static void half_a_message(void **state)
{
	struct amp_vu_hdr h = {AMP_VU_SET_FEATURES, AMP_VU_VERSION, 8};
	struct amp_vhost_kept kept;
	struct amp_vhost_rec rec;
	struct rig r;

	(void)state;
	rig_up(&r);
	send_raw(r.fd, &h, sizeof(h), NULL, 0);
	assert_int_equal(amp_vhost_be_readable(&r.be), 0);
	assert_int_equal(amp_vhost_be_save(&r.be, &rec, &kept), -EAGAIN);
	rig_down(&r);
}

/* Whatever stands in a record: refused or taken, nothing leaks, nothing breaks. */
static void nonsense(void **state)
{
	struct amp_vhost_kept kept;
	struct amp_vhost_rec rec;
	unsigned taken = 0, seed = 5;
	struct rig r, n;
	int fds;

	(void)state;
	up(&r);
	assert_int_equal(amp_vhost_be_save(&r.be, &rec, &kept), 0);
	next_up(&n);
	n.reset_in_gone = true;
	fds = count_fds();
	for (unsigned i = 0; i < 4 * sizeof(rec); i++) {
		static const uint8_t value[] = {0xff, 0x80, 0x01, 0x00};
		struct amp_vhost_rec bad = rec;

		((uint8_t *)&bad)[i / 4] = value[i % 4];
		if (i % 3 == 0) {
			seed = seed * 1103515245u + 12345u;
			((uint8_t *)&bad)[(seed >> 8) % sizeof(bad)] ^=
				(uint8_t)(1u << (seed & 7u));
		}
		if (restore(&n, &bad, &kept) == 0)
			taken++;
		amp_vhost_be_reset(&n.be);
		assert_int_equal(n.starts, n.stops);
		assert_int_equal(count_fds(), fds);
	}
	assert_true(taken > 0 && taken < 4 * sizeof(rec));
	rig_down(&r);
}

/* Descriptors that are others than the names say. */
static void exchanged(void **state)
{
	static const unsigned slot[] = {AMP_VHOST_CONN, AMP_VHOST_MEM, AMP_VHOST_KICK,
					AMP_VHOST_CALL + 1};
	struct amp_vhost_kept kept, bad;
	struct amp_vhost_rec rec;
	struct rig r, n;
	int fds, file;

	(void)state;
	up(&r);
	assert_int_equal(amp_vhost_be_save(&r.be, &rec, &kept), 0);
	next_up(&n);
	n.reset_in_gone = true;
	file = open("/dev/null", O_RDWR | O_CLOEXEC);
	fds = count_fds();
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned with = 0; with < 3; with++) {
			bad = kept;
			bad.slot[slot[i]].fd = with == 0   ? -1
					       : with == 1 ? file
							   : kept.slot[slot[(i + 1) % 4]].fd;
			if (i >= 2 && with != 1) /* a queue may have none, or the other's */
				continue;
			assert_true(restore(&n, &rec, &bad) < 0);
			amp_vhost_be_reset(&n.be);
			assert_int_equal(count_fds(), fds);
		}
	}
	close(file);
	rig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order), cmocka_unit_test(positions),
		cmocka_unit_test(halfway),  cmocka_unit_test(half_a_message),
		cmocka_unit_test(nonsense), cmocka_unit_test(exchanged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
