// SPDX-License-Identifier: BSD-3-Clause
/* The remote core as a Linux process: a resource table in a file, under amp_link_rpmsg(). */
#include "../ampsock_config.h"

#if AMPSOCK_HOSTED && AMPSOCK_RPMSG

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ampsock.h"
#include "ampsock_hosted.h"
#include "../virtio/remoteproc.h"
#include "af_rpmsg.h"
#include "hosted_bell.h"

/* The table, then the window: rings and 256 buffers each way, up to 4 KiB each. */
#define NUM	 256u
#define ALIGN	 64u
#define SHM_OFF	 4096u
#define FILE_LEN (4u << 20)

struct remote {
	struct amp_runner runner; /* first: the bell's */
	struct amp_rproc rp;
	struct amp_bell bell;
	bool used;
};

static struct remote remotes[AMPSOCK_RPMSG]; /* l: used, bell */

static void remote_notify(struct amp_rproc *rp, unsigned vring)
{
	struct remote *m = (struct remote *)(void *)((char *)rp - offsetof(struct remote, rp));

	(void)vring;
	amp_port_lock(); /* it may be hung up meanwhile */
	amp_bell_ring(&m->bell);
	amp_port_unlock();
}

static const struct amp_rproc_ops remote_ops = {.notify = remote_notify};

/* Before the link's own runner. A host that hangs up is gone: as if it had said so. */
static int32_t remote_run(struct amp_runner *r, uint32_t now_ms)
{
	struct remote *m = (struct remote *)(void *)r;

	amp_bell_look(&m->bell, now_ms);
	if (m->bell.lost)
		*(volatile uint8_t *)&m->rp.table->vdev.status = 0;
	m->bell.lost = false;
	return -1;
}

static int map_file(const char *path, uint8_t **mem)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), r = 0;
	struct stat st;

	if (fd < 0)
		return -errno;
	/* never shorter: a host may have it mapped */
	if (fstat(fd, &st) < 0 || (st.st_size < (off_t)FILE_LEN && ftruncate(fd, FILE_LEN) < 0))
		r = -errno;
	if (r == 0) {
		*mem = mmap(NULL, FILE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		r = *mem == MAP_FAILED ? -errno : 0;
	}
	close(fd);
	return r;
}

static struct remote *slot_take(void)
{
	struct remote *m = NULL;

	amp_port_lock();
	for (unsigned i = 0; i < AMPSOCK_RPMSG && !m; i++) {
		if (!remotes[i].used)
			m = &remotes[i];
	}
	if (m)
		m->used = true;
	amp_port_unlock();
	return m;
}

/* The bell's runner goes first, so that what it finds is seen in the same look. */
static int bring_up(struct remote *m)
{
	int r;

	amp_port_lock();
	r = amp_bell_open(&m->bell);
	if (r == 0) {
		m->runner.run = remote_run;
		amp_runner_add(&m->runner);
	}
	amp_port_unlock();
	if (r)
		return r;
	r = amp_link_rpmsg(&m->rp);
	if (r) {
		amp_port_lock();
		amp_runner_del(&m->runner);
		amp_bell_close(&m->bell);
		amp_port_unlock();
	}
	return r;
}

int amp_link_rpmsg_remote(const char *file, const char *bell)
{
	static const struct amp_rsc_table table =
		AMP_RSC_TABLE_INIT(SHM_OFF, FILE_LEN - SHM_OFF, 0, 0, NUM, ALIGN,
				   AMP_RSC_ADDR_ANY, AMP_RSC_ADDR_ANY);
	struct remote *m = slot_take();
	uint8_t *mem = NULL;
	int r;

	if (!m)
		return -ENOBUFS;
	r = map_file(file, &mem);
	if (r == 0)
		r = amp_bell_init(&m->bell, bell, true);
	if (r == 0) {
		/* as a loader does; a host that serves finds its epoch gone and begins anew */
		memcpy(mem, &table, sizeof(table));
		m->rp = (struct amp_rproc){
			.ops = &remote_ops,
			.table = (struct amp_rsc_table *)(void *)mem,
			.shm = mem,
			.shm_da = 0,
			.shm_len = FILE_LEN,
			.num = NUM,
			.align = ALIGN,
		};
		r = bring_up(m);
	}
	if (r) {
		if (mem)
			munmap(mem, FILE_LEN);
		m->used = false;
	}
	return r;
}

#endif /* AMPSOCK_HOSTED && AMPSOCK_RPMSG */
