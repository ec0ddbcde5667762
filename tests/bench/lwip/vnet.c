/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation: virtio-net (virtio 1.2, 5.1) over virtio-mmio, with the queues of the
 * library, for one core that polls and sleeps. No byte is copied here. A received frame is
 * handed to lwIP in its buffer of the ring, which goes back when lwIP frees it. A frame to be sent
 * is a chain of two descriptors, headers and payload, and lwIP's memory is kept until the
 * device has used it; that is looked at when more is sent, so nothing interrupts for it.
 * QEMU's slirp offers no checksums and no large segments: there is nothing of that to accept.
 */
#include <errno.h>
#include <string.h>

#include "lwip/etharp.h"
#include "lwip/pbuf.h"
#include "netif/ethernet.h"

#include "vnet.h"
#include "../../../src/virtio/mmio.h"

#define ID_NET	   1u
#define F_MAC	   (1ull << 5)
#define RX	   0u
#define TX	   1u
#define NUM	   256
#define BUF_LEN	   1536u
#define HDR_LEN	   12u /* struct virtio_net_hdr with num_buffers: always, as of version 1 */
#define PIECES_MAX 8

/* A buffer as lwIP has it while it is lwIP's. */
struct rx_pbuf {
	struct pbuf_custom c; /* first */
	uint16_t id;
};

static struct {
	struct amp_mmio mmio;
	unsigned irq; /* 0: no device yet */
	struct amp_vq vq[2];
	uint16_t state[2][NUM];
	struct rx_pbuf rx[NUM];
	struct pbuf *sent[NUM]; /* by head descriptor */
} vn;

#define RING_LEN (32u * NUM) /* 26 an entry and a few */
static uint8_t ring[2][RING_LEN] __attribute__((aligned(4096)));
/* So that IP's header, and TCP's payload behind 40 bytes, begin at a multiple of 8. */
static uint8_t pool[NUM * BUF_LEN + 8] __attribute__((aligned(64)));
#define POOL (pool + 6)

bool board_link_irq(unsigned irq)
{
	if (irq == 0 || irq != vn.irq)
		return false;
	(void)amp_mmio_isr(&vn.mmio);
	return true;
}

static void setup_queue(unsigned q, enum amp_vq_dir dir, bool event_idx)
{
	struct amp_vq_setup s = {
		.role = AMP_VQ_DRIVER,
		.dir = dir,
		.num = NUM,
		.state = vn.state[q],
		.event_idx = event_idx,
	};
	size_t avail, used;

	if (amp_vq_layout(NUM, &avail, &used) > RING_LEN)
		board_fault("virtio-net: ring", q, 0, 0);
	s.desc = ring[q];
	s.avail = ring[q] + avail;
	s.used = ring[q] + used;
	if (amp_vq_init(&vn.vq[q], &s))
		board_fault("virtio-net: queue", q, 0, 0);
}

static int bring_up(void)
{
	const uint64_t wanted = F_MAC | AMP_VIRTIO_F_VERSION_1 | AMP_VIRTIO_F_EVENT_IDX;
	struct amp_vdev *vd = &vn.mmio.vd;
	uint64_t features;
	unsigned q;
	int err = AMP_VDEV(vd, probe)(vd, ID_NET, &features);

	features &= wanted;
	if (!err)
		err = AMP_VDEV(vd, accept)(vd, features);
	for (q = RX; q <= TX && !err; q++) {
		setup_queue(q, q == RX ? AMP_VQ_IN : AMP_VQ_OUT,
			    features & AMP_VIRTIO_F_EVENT_IDX);
		if (q == RX)
			err = amp_vq_pool(&vn.vq[RX], POOL, BUF_LEN, NUM);
		if (!err)
			err = AMP_VDEV(vd, queue_set)(vd, q, &vn.vq[q]);
	}
	if (!err)
		err = AMP_VDEV(vd, run)(vd);
	amp_vq_disarm(&vn.vq[TX]);
	return err;
}

bool board_link(void)
{
	unsigned i;

	for (i = 0; i < board.mmio_cnt; i++) {
		if (amp_mmio_init(&vn.mmio, board.mmio_base + i * board.mmio_stride) ||
		    vn.mmio.device_id != ID_NET)
			continue;
		vn.irq = board.mmio_irq + i;
		board.intc->enable(vn.irq);
		if (bring_up() == 0)
			return true;
		break;
	}
	board_puts("no virtio-net device that can be used\n");
	return false;
}

/* --- out -------------------------------------------------------------------------------- */

static void reap(void)
{
	uint16_t id;
	uint32_t len;

	while (amp_vq_reap(&vn.vq[TX], &id, &len) == 1) {
		pbuf_free(vn.sent[id]);
		vn.sent[id] = NULL;
	}
}

static err_t vnet_output(struct netif *nif, struct pbuf *p)
{
	struct amp_iov iov[PIECES_MAX];
	uint16_t cnt = 0;
	struct pbuf *q;
	int id;

	(void)nif;
	reap();
	if (pbuf_add_header(p, HDR_LEN))
		return ERR_BUF; /* memory without the encapsulation's room */
	memset(p->payload, 0, HDR_LEN);
	for (q = p; q && cnt < PIECES_MAX; q = q->next, cnt++)
		iov[cnt] = (struct amp_iov){q->payload, q->len};
	id = q ? -EINVAL : amp_vq_post(&vn.vq[TX], iov, cnt, 0, NULL);
	(void)pbuf_remove_header(p, HDR_LEN); /* what is posted stays where it is */
	if (id < 0)
		return ERR_MEM; /* lwIP sends it again */
	pbuf_ref(p);
	vn.sent[id] = p;
	return ERR_OK;
}

/* --- in --------------------------------------------------------------------------------- */

static void rx_free(struct pbuf *p)
{
	amp_vq_put(&vn.vq[RX], ((struct rx_pbuf *)(void *)p)->id, 0);
}

bool vnet_poll(struct netif *nif)
{
	struct amp_iov iov;
	struct amp_vq_buf b;
	struct rx_pbuf *rx;
	struct pbuf *p;
	bool any = false;

	amp_vq_buf_room(&b, &iov, 1);
	while (amp_vq_get(&vn.vq[RX], &b) == 1) {
		any = true;
		rx = &vn.rx[b.id];
		rx->id = b.id;
		rx->c.custom_free_function = rx_free;
		p = b.len <= HDR_LEN
			    ? NULL
			    : pbuf_alloced_custom(PBUF_RAW, (u16_t)(b.len - HDR_LEN), PBUF_REF,
						  &rx->c, (uint8_t *)b.iov->base + HDR_LEN,
						  (u16_t)(BUF_LEN - HDR_LEN));
		if (!p)
			amp_vq_put(&vn.vq[RX], b.id, 0);
		else if (nif->input(p, nif) != ERR_OK)
			pbuf_free(p);
	}
	return any;
}

void vnet_kick(void)
{
	unsigned q;

	for (q = RX; q <= TX; q++) {
		if (amp_vq_news(&vn.vq[q]) && amp_vq_kick_due(&vn.vq[q]))
			AMP_VDEV(&vn.mmio.vd, notify)(&vn.mmio.vd, q);
	}
}

bool vnet_arm(void)
{
	bool more = amp_vq_arm(&vn.vq[RX]);

	if (more)
		amp_vq_disarm(&vn.vq[RX]);
	return more;
}

err_t vnet_init(struct netif *nif)
{
	uint32_t mac[2];

	if (AMP_VDEV(&vn.mmio.vd, config)(&vn.mmio.vd, 0, mac, sizeof(mac)))
		return ERR_IF;
	memcpy(nif->hwaddr, mac, ETH_HWADDR_LEN);
	nif->hwaddr_len = ETH_HWADDR_LEN;
	nif->mtu = 1500;
	nif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET |
		     NETIF_FLAG_LINK_UP;
	nif->output = etharp_output;
	nif->linkoutput = vnet_output;
	return ERR_OK;
}
