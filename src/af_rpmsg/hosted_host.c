// SPDX-License-Identifier: BSD-3-Clause
/*
 * The rpmsg host as a Linux process: the driver's end of the vrings of a table in a file.
 *
 * Theory of operation. The runner does, in this order, what is still to be done: map the
 * file, find the table, get to the bell, ask for an epoch, serve it. Each may fail because
 * the remote is not there yet, or no longer; then it is tried again after a while. A bell
 * that hangs up is a remote that died: its epoch ends.
 */
#include "../ampsock_config.h"

#if AMPSOCK_HOSTED && AMPSOCK_RPMSG

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ampsock.h"
#include "ampsock_hosted.h"
#include "../virtio/remoteproc.h"
#include "rlink_life.h"
#include "hosted_bell.h"

AMP_OPTIONAL(amp_rlink_stats);

#define NUM_MAX	 1024u
#define RETRY_MS 100

struct host {
	struct amp_rproc_host h;
	struct amp_bell bell;
	struct amp_vq q[AMP_RPROC_VRINGS];
	uint16_t state[AMP_RPROC_VRINGS][NUM_MAX];
	char file[PATH_MAX];
	uint32_t tried_ms;
	const char *said; /* of a table that can not be: once */
	bool found;
};

static struct host hosts[AMPSOCK_RPMSG]; /* l */

static struct host *host_of(struct amp_runner *r)
{
	return &hosts[amp_rlink_index(amp_rlink_of(r))];
}

/* All of the file that there is now. */
static bool map_file(struct host *m)
{
	int fd = open(m->file, O_RDWR | O_CLOEXEC);
	struct stat st;
	void *mem = MAP_FAILED;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && st.st_size >= 4096)
		mem = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (mem == MAP_FAILED)
		return false;
	m->h.mem = mem;
	m->h.mem_len = (size_t)st.st_size;
	return true;
}

static bool find_table(struct host *m, uint32_t now_ms)
{
	if (m->found)
		return true;
	if (now_ms - m->tried_ms < RETRY_MS)
		return false;
	m->tried_ms = now_ms;
	if (!m->h.mem && !map_file(m))
		return false;
	m->found = amp_rproc_host_init(&m->h, 0) == 0;
	if (!m->found && m->h.why != m->said)
		amp_log(m->h.why);
	m->said = m->h.why;
	return m->found;
}

/* Ask for a new epoch. */
static void begin(struct amp_rlink *l, struct host *m)
{
	amp_rlink_down(l);
	if (amp_rproc_host_begin(&m->h))
		m->found = false; /* another program was loaded, whose table is not there yet */
	amp_bell_ring(&m->bell);
}

static void serve(struct amp_rlink *l, struct host *m)
{
	amp_rlink_down(l);
	if (amp_rproc_host_up(&m->h, m->q))
		return;
	amp_rlink_up(l, &m->q[AMP_RPROC_TX], &m->q[AMP_RPROC_RX],
		     amp_rproc_host_features(&m->h) & AMP_RPMSG_F_NS);
	amp_bell_ring(&m->bell);
}

static int32_t host_run(struct amp_runner *r, uint32_t now_ms)
{
	struct amp_rlink *l = amp_rlink_of(r);
	struct host *m = host_of(r);
	int32_t ms;

	amp_bell_look(&m->bell, now_ms);
	if (m->bell.lost && m->found)
		begin(l, m);
	m->bell.lost = false;
	for (unsigned i = 0; i < 3 && find_table(m, now_ms); i++) {
		enum amp_rproc_event ev = amp_rproc_host_look(&m->h);

		if (ev == AMP_RPROC_DOWN)
			begin(l, m);
		else if (ev == AMP_RPROC_UP)
			serve(l, m);
		else
			break;
	}
	ms = amp_rlink_turn(l);
	if (ms == AMP_VLINK_BROKEN) {
		begin(l, m);
		return 0;
	}
	/* what is not there is looked for again */
	if ((!amp_rlink_is_up(l) || m->bell.fd < 0) && (ms < 0 || ms > RETRY_MS))
		ms = RETRY_MS;
	return ms;
}

/* The bell never blocks, and may not be hung up meanwhile: the kick is sent here. */
static unsigned host_kick_due(struct amp_runner *r)
{
	if (amp_rlink_kick_due(r))
		amp_bell_ring(&host_of(r)->bell);
	return 0;
}

/* One that a message's straight way has found due already. */
static void host_kick(struct amp_runner *r, unsigned queues)
{
	struct host *m = host_of(r);

	(void)queues;
	amp_port_lock();
	amp_bell_ring(&m->bell);
	amp_port_unlock();
}

static int slot(void)
{
	for (unsigned i = 0; i < AMPSOCK_RPMSG; i++) {
		if (!amp_rlink_exists(i))
			return (int)i;
	}
	return -ENOBUFS;
}

int amp_link_rpmsg_host(const char *file, const char *bell)
{
	struct amp_bell b;
	struct amp_rlink *l;
	struct host *m;
	int i, r;

	if (strlen(file) >= PATH_MAX)
		return -ENAMETOOLONG;
	r = amp_bell_init(&b, bell, false);
	if (r)
		return r;
	amp_port_lock();
	i = slot();
	if (i < 0) {
		amp_port_unlock();
		return i;
	}
	m = &hosts[i];
	m->bell = b;
	r = amp_bell_open(&m->bell);
	if (r == 0) {
		memcpy(m->file, file, strlen(file) + 1);
		m->h.state[0] = m->state[0];
		m->h.state[1] = m->state[1];
		m->h.state_len = NUM_MAX;
		m->tried_ms = amp_port_now_ms() - RETRY_MS;
		l = amp_rlink_new((unsigned)i);
		l->l.runner.run = host_run;
		l->l.runner.arm = amp_rlink_arm;
		l->l.runner.kick_due = host_kick_due;
		l->l.runner.kick = host_kick;
		l->l.runner.stats = amp_rlink_stats;
		amp_runner_add(&l->l.runner);
	}
	amp_port_unlock();
	amp_port_wake();
	return r;
}

#endif /* AMPSOCK_HOSTED && AMPSOCK_RPMSG */
