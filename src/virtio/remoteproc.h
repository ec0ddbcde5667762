/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door to a remoteproc resource table with an rpmsg vdev in it: floor 1. Both sides, no
 * globals, no heap, no loop; all of it is memory that the other side may change at any time.
 *
 * The table (version 1, as Linux's remoteproc and OpenAMP read it) lies in shared memory. Its
 * vdev says where the two vrings are, how far the host's driver has come (status) and, in
 * our own configuration space, in which life each side is:
 *
 *	magic u32 "AMPE" | remote_epoch u32 | host_epoch u32 | rx_cnt u32       (config_len 16)
 *
 * Theory of the handshake (docs/protocol.md draws every order of events)
 *
 * The host names the epochs, for it has memory that outlives a reloaded table; the remote
 * repeats the name. A remote that counted by itself would call its first life after every
 * reload by the same number, and a host could not tell it from the one that it has served.
 *
 *  - the remote, at boot: epoch = host_epoch; status = 0 (not when host_epoch is 0: the
 *    status is then a foreign host's, which sets it once and perhaps before we look);
 *    remote_epoch = epoch; kick;
 *  - the host, whenever it does not serve (start, restart, remote lost): status = 0,
 *    host_epoch = a number that is new, kick; then it waits for remote_epoch to be that;
 *  - the remote that finds host_epoch changed boots the link (not itself), as above;
 *  - the host that finds its number repeated: rings and buffers anew, status =
 *    ACKNOWLEDGE | DRIVER | DRIVER_OK, kick. It serves as long as the three words and the
 *    rings' addresses are as it left them;
 *  - the remote uses the rings while status has DRIVER_OK and host_epoch is its own epoch.
 *    With a host without epochs (Linux, OpenAMP) both are 0, and the status alone decides.
 *
 * So nobody ever writes DRIVER_OK twice for one epoch, a status of 0 that the remote wrote
 * stays until the host has seen it, and no look can come too late to notice a change. What
 * a look finds is the memory; kicks only make looks happen.
 *
 * A remote whose configuration space is not ours (config_len or magic) has no epochs: the host
 * then sets up at once, and again when it is told to, or finds status or addresses changed.
 *
 * Cores with caches: every look invalidates what it reads, every write is cleaned at once, and
 * a word of one side that the other's cache line wrote back over is found changed and
 * asked for again. Nothing else may share the table's cache lines (align .resource_table in
 * the linker script, before and behind).
 *
 * Addresses: da in the table has 32 bits, the window may lie anywhere in 64: a da is
 * its lower half. Descriptors have 64.
 */
#ifndef AMP_REMOTEPROC_H
#define AMP_REMOTEPROC_H

#include <stddef.h>

#include "../ampsock_config.h"
#include "../port/port.h"
#include "../wire/rpmsg_hdr.h"
#include "vq.h"

#define AMP_RPROC_VRINGS 2u
#define AMP_RPROC_TX	 0u /* vring0: remote to host */
#define AMP_RPROC_RX	 1u /* vring1: host to remote */

/* ---- the table ---- */

#define AMP_RSC_CARVEOUT 0u
#define AMP_RSC_DEVMEM	 1u
#define AMP_RSC_TRACE	 2u
#define AMP_RSC_VDEV	 3u
#define AMP_RSC_ADDR_ANY UINT32_MAX

#define AMP_RPROC_VIRTIO_ID 7u /* rpmsg */

/* The vdev's status (virtio 1.2, 2.1): what a host sets */
#define AMP_RPROC_ACKNOWLEDGE 1u
#define AMP_RPROC_DRIVER      2u
#define AMP_RPROC_DRIVER_OK   4u

/*
 * The features that a remote of ours offers and a host of ours takes: the name service, and the
 * event index (virtio 1.2, 2.7.7, 2.7.9), which Linux's remoteproc passes on to its rings. What a
 * host has written into gfeatures is in use, nothing else: a host that knows neither writes neither.
 */
#define AMP_RPROC_FEATURES          \
	((uint32_t)AMP_RPMSG_F_NS | \
	 (AMPSOCK_RPMSG_EVENT_IDX ? (uint32_t)AMP_VIRTIO_F_EVENT_IDX : 0u))

struct amp_rsc_vring {
	uint32_t da, align, num, notifyid, pa;
};

struct amp_rproc_config {
	uint32_t magic, remote_epoch, host_epoch, rx_cnt;
};
#define AMP_RPROC_MAGIC 0x45504d41u /* "AMPE" */

/* What AMP_RSC_TABLE() makes: one carveout for rings and buffers, a trace buffer, the vdev. */
struct amp_rsc_table {
	uint32_t ver, num, reserved[2];
	uint32_t offset[3];
	struct {
		uint32_t type, da, pa, len, flags, reserved;
		char name[32];
	} carveout;
	struct {
		uint32_t type, da, len, reserved;
		char name[32];
	} trace;
	struct {
		uint32_t type, id, notifyid, dfeatures, gfeatures, config_len;
		uint8_t status, num_of_vrings, reserved[2];
		struct amp_rsc_vring vring[AMP_RPROC_VRINGS];
		struct amp_rproc_config config;
	} vdev;
};

/* Linux's layout (struct resource_table, fw_rsc_carveout, _trace, _vdev), on every compiler. */
_Static_assert(sizeof(struct amp_rsc_vring) == 20 && sizeof(struct amp_rproc_config) == 16 &&
		       offsetof(struct amp_rsc_table, carveout) == 28 &&
		       offsetof(struct amp_rsc_table, trace) == 84 &&
		       offsetof(struct amp_rsc_table, vdev) == 132 &&
		       offsetof(struct amp_rsc_table, vdev.status) == 156 &&
		       offsetof(struct amp_rsc_table, vdev.vring) == 160 &&
		       offsetof(struct amp_rsc_table, vdev.config) == 200 &&
		       sizeof(struct amp_rsc_table) == 216,
	       "the resource table has no padding");

/*
 * The table's contents, for a table that is made at run time (a hosted remote).
 *
 * shm_da, shm_len     the carveout: rings and buffers; what struct amp_rproc calls its window
 * trace_da, trace_len the trace buffer (struct amp_rproc_trace), 0, 0: none
 * vring_num           entries of each vring, a power of two
 * vring_align         of the used ring: a power of two; 16 or more wherever rpmsg-lite may be
 *                     the other side, which lays out smaller ones differently
 * vring0_da, vring1_da fixed addresses, or AMP_RSC_ADDR_ANY: the host's choice
 */
#define AMP_RSC_TABLE_INIT(shm_da_, shm_len_, trace_da_, trace_len_, vring_num_, vring_align_, \
			   vring0_da_, vring1_da_)                                             \
	{                                                                                      \
		.ver = 1, .num = 3,                                                            \
		.offset = {offsetof(struct amp_rsc_table, carveout),                           \
			   offsetof(struct amp_rsc_table, trace),                              \
			   offsetof(struct amp_rsc_table, vdev)},                              \
		.carveout = {.type = AMP_RSC_CARVEOUT,                                         \
			     .da = (shm_da_),                                                  \
			     .pa = (shm_da_),                                                  \
			     .len = (shm_len_),                                                \
			     .name = "rpmsg"},                                                 \
		.trace = {.type = AMP_RSC_TRACE,                                               \
			  .da = (trace_da_),                                                   \
			  .len = (trace_len_),                                                 \
			  .name = "trace"},                                                    \
		.vdev = {.type = AMP_RSC_VDEV,                                                 \
			 .id = AMP_RPROC_VIRTIO_ID,                                            \
			 .dfeatures = AMP_RPROC_FEATURES,                                      \
			 .config_len = sizeof(struct amp_rproc_config),                        \
			 .num_of_vrings = AMP_RPROC_VRINGS,                                    \
			 .vring = {{.da = (vring0_da_),                                        \
				    .align = (vring_align_),                                   \
				    .num = (vring_num_),                                       \
				    .notifyid = 0},                                            \
				   {.da = (vring1_da_),                                        \
				    .align = (vring_align_),                                   \
				    .num = (vring_num_),                                       \
				    .notifyid = 1}},                                           \
			 .config = {.magic = AMP_RPROC_MAGIC}},                                \
	}

/*
 * Firmware: define the table (struct amp_rsc_table NAME) where a loader looks for it. The
 * section must lie in RAM at an address that the host reaches, and be loaded with the ELF.
 * All arguments are constants (an address of an object is one on 32-bit cores only).
 */
#define AMP_RSC_TABLE(name_, ...)                                 \
	__attribute__((section(".resource_table"), used,          \
		       aligned(16))) struct amp_rsc_table name_ = \
		AMP_RSC_TABLE_INIT(__VA_ARGS__)

/* ---- the remote ---- */

struct amp_rproc;

struct amp_rproc_ops {
	/*
	 * Ring the host's doorbell for a vring (table->vdev.vring[vring].notifyid: Linux
	 * fills it in). Thread context, no lock held.
	 */
	void (*notify)(struct amp_rproc *rp, unsigned vring);
};

/* Zeroed; set ops, table, shm, shm_da, shm_len, num, align; the rest is remoteproc.c's. */
struct amp_rproc {
	const struct amp_rproc_ops *ops;
	struct amp_rsc_table *table; /* in shared memory */
	/* The window in which the host's rings and buffers lie, at shm_da as the host counts. */
	uint8_t *shm;
	bool up; /* remoteproc.c's, too */
	uint64_t shm_da;
	size_t shm_len;
	/* The vrings as the firmware made them: the table's copy is anybody's to change. */
	uint16_t num;
	uint16_t align;
	uint32_t epoch; /* mine; 0: a host without epochs, or none yet */
};

/* As it is in memory now. */
static inline volatile struct amp_rsc_table *amp_rproc_table(const struct amp_rproc *rp)
{
	amp_port_cache_invalidate(&rp->table->vdev, sizeof(rp->table->vdev));
	return rp->table;
}

/*
 * Boot of the link: the host's epoch becomes mine, and it hears that nothing is up here. The
 * caller kicks (ops->notify) afterwards. Also for a remote that finds its rings broken. (Under a
 * host without epochs that leaves the link down until the host clears the status.)
 */
static inline void amp_rproc_boot(struct amp_rproc *rp)
{
	volatile struct amp_rsc_table *t = amp_rproc_table(rp);

	rp->epoch = t->vdev.config.host_epoch;
	if (rp->epoch) {
		rp->up = false;
		t->vdev.status = 0;
		amp_port_cache_clean(&t->vdev.status, 1);
	}
	amp_wmb(); /* pairs with rmb in the host's look: the status before the answer */
	t->vdev.config.remote_epoch = rp->epoch;
	amp_port_cache_clean(&t->vdev.config.remote_epoch, sizeof(uint32_t));
}

enum amp_rproc_event { AMP_RPROC_NOTHING, AMP_RPROC_UP, AMP_RPROC_DOWN };
/*
 * A look at status and epoch, cheap. UP: the host serves this epoch: set the queues up
 * (amp_rproc_queue()). DOWN: it does no longer, or asks for a new epoch (so it may
 * come when nothing is up): forget the queues, if any, then amp_rproc_boot() and a kick.
 * Look again after either, but not for ever: the host may change its mind all the time.
 */
static inline enum amp_rproc_event amp_rproc_look(struct amp_rproc *rp)
{
	volatile struct amp_rsc_table *t = amp_rproc_table(rp);
	bool ok = t->vdev.status & AMP_RPROC_DRIVER_OK;

	amp_rmb(); /* pairs with wmb in the host's up: what it wrote before DRIVER_OK */
	if (t->vdev.config.host_epoch != rp->epoch)
		ok = false;
	else if (ok == rp->up)
		return AMP_RPROC_NOTHING;
	rp->up = ok;
	return ok ? AMP_RPROC_UP : AMP_RPROC_DOWN;
}
/*
 * After UP: a vring as the device sees it. 0; -EINVAL: what the table says of it can not be.
 * The link then stays as it is: DOWN comes when the host thinks better of it.
 */
int amp_rproc_queue(struct amp_rproc *rp, unsigned vring, struct amp_vq *vq);
/* After UP, whose look has read the table anew: what the host has accepted, in its word: of
 * AMP_RPROC_FEATURES those are in use. */
static inline uint32_t amp_rproc_features(const struct amp_rproc *rp)
{
	const volatile struct amp_rsc_table *t = rp->table;

	return t->vdev.gfeatures;
}

/* The trace buffer: len bytes at buf, zeroed at boot or as an earlier life left them. */
struct amp_rproc_trace {
	char *buf;
	uint32_t len; /* at least 2 */
	uint32_t at;  /* where the next byte goes */
};

/*
 * Text into the trace buffer, round and round; a NUL follows the last byte (Linux shows a
 * trace up to the first NUL, so after a wrap it shows the newest text).
 */
void amp_rproc_trace(struct amp_rproc_trace *t, const char *text, size_t len);

/* ---- the host ---- */

enum amp_rproc_host_phase {
	AMP_RPROC_IDLE,	   /* not begun */
	AMP_RPROC_WAITING, /* for the remote to repeat my epoch */
	AMP_RPROC_SERVING, /* DRIVER_OK */
};

/* Offsets are from mem. */
struct amp_rproc_ring {
	uint32_t da;
	uint32_t notifyid;
	size_t off, len;  /* of the ring */
	size_t used_off;  /* of its used ring, from off */
	size_t buf_off;	  /* of its buffers */
	uint32_t buf_len; /* bytes each */
	uint16_t num;	  /* entries */
	uint16_t buf_cnt; /* buffers */
};

/* Zeroed; set the first part; the rest is remoteproc_host.c's. */
struct amp_rproc_host {
	uint8_t *mem;	 /* shared memory, mapped; aligned to 16 as mem_da is */
	uint64_t mem_da; /* its address as the remote counts */
	size_t mem_len;
	/* Where rings and buffers may be put; 0, 0: in the table's first carveout. */
	size_t shm_off, shm_len;
	/* bytes a buffer: 0: AMP_RPMSG_BUF_LEN; 64 to 65536, a multiple of 4 */
	uint32_t buf_len[AMP_RPROC_VRINGS];
	uint16_t buf_cnt; /* buffers a direction at most, 0: as many as the vring has entries */
	uint16_t *state[AMP_RPROC_VRINGS]; /* private memory, state_len entries each */
	uint16_t state_len;
	/* found in the table */
	size_t table_off, table_len; /* the table, as far as it was read */
	size_t vdev_off;	     /* of the vdev entry */
	size_t trace_off, trace_len; /* 0, 0: none */
	struct amp_rproc_ring ring[AMP_RPROC_VRINGS];
	uint32_t features; /* of those that the remote offers, ours */
	bool epochs;
	/* private */
	uint8_t phase;	 /* enum amp_rproc_host_phase */
	uint32_t epoch;	 /* the number that the remote is to repeat */
	const char *why; /* what is wrong with the table, in words; NULL: nothing */
};

/*
 * Find and check the table at offset off of mem, and where rings and buffers go: fixed
 * addresses of the table are taken, AMP_RSC_ADDR_ANY is placed in shm_off/shm_len, or else in
 * the table's first carveout. Fewer buffers than entries are taken when there is no more
 * room. Writes nothing. 0; -EINVAL, -ENOENT (no table, no rpmsg vdev), -ENOSPC: h->why.
 */
int amp_rproc_host_init(struct amp_rproc_host *h, size_t off);
/*
 * Not served yet, or no longer: read the table again (the remote may have loaded another one),
 * ask for a new epoch. The caller kicks. 0, or as amp_rproc_host_init(): try again later.
 */
int amp_rproc_host_begin(struct amp_rproc_host *h);
/*
 * A look at the epochs. DOWN: not served, or no longer: forget the queues, if any, then
 * amp_rproc_host_begin() and a kick. UP: amp_rproc_host_up(). Look again after either (a remote
 * without epochs is UP at once), but not for ever (a hostile one is UP and DOWN by turns), and
 * whenever the remote kicks.
 */
enum amp_rproc_event amp_rproc_host_look(struct amp_rproc_host *h);
/*
 * Rings, buffers, DRIVER_OK. vq[AMP_RPROC_TX]: AMP_VQ_IN of the host, [AMP_RPROC_RX]: OUT. The
 * caller kicks. 0; -EAGAIN: the remote has left this epoch, the next look says DOWN; as
 * amp_rproc_host_init(), likewise.
 */
int amp_rproc_host_up(struct amp_rproc_host *h, struct amp_vq vq[AMP_RPROC_VRINGS]);
/* The host stops: status 0, and the remote can see it. The caller kicks. */
void amp_rproc_host_down(struct amp_rproc_host *h);

static inline uint32_t amp_rproc_host_features(const struct amp_rproc_host *h)
{
	return h->features;
}

#endif /* AMP_REMOTEPROC_H */
