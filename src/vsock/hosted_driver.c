// SPDX-License-Identifier: BSD-3-Clause
/* The guest as a Linux process: a vhost-user front-end under amp_link_vsock(). */
#include "../ampsock_config.h"

#if AMPSOCK_HOSTED

#include <errno.h>
#include <time.h>

#include "ampsock.h"
#include "ampsock_hosted.h"
#include "../virtio/vhost_user_frontend.h"
#include "af_vsock.h"
#include "hosted.h"

#define RETRY_MS 10

static struct {
	struct amp_vhost_fe fe;
	bool open; /* fe holds descriptors */
	bool busy; /* somebody is at it */
} slot[AMPSOCK_VSOCK_LINKS];

static bool worth_retrying(int r)
{
	return r == -ENOENT || r == -ECONNREFUSED || r == -EAGAIN;
}

static int open_retry(struct amp_vhost_fe *fe, const char *path, int timeout_ms)
{
	const struct timespec nap = {.tv_nsec = RETRY_MS * 1000000};
	uint32_t start = amp_port_now_ms();
	int r;

	for (;;) {
		r = amp_vhost_fe_open(fe, path, amp_vsock_driver_mem_len());
		if (!worth_retrying(r) ||
		    (timeout_ms >= 0 && amp_port_now_ms() - start >= (uint32_t)timeout_ms))
			return r;
		nanosleep(&nap, NULL);
	}
}

/* One that was never open, or whose link is down. */
static int slot_take(void)
{
	int i;

	amp_port_lock();
	for (i = 0; i < AMPSOCK_VSOCK_LINKS; i++) {
		if (!slot[i].busy && !(slot[i].open && amp_vsock_driver_up(&slot[i].fe.vd))) {
			slot[i].busy = true;
			break;
		}
	}
	amp_port_unlock();
	return i < AMPSOCK_VSOCK_LINKS ? i : -ENOBUFS;
}

int amp_link_vhost_user(const char *path, int timeout_ms)
{
	int i = slot_take(), r;

	if (i < 0)
		return i;
	if (slot[i].open)
		amp_vhost_fe_close(&slot[i].fe);
	slot[i].open = false;
	r = open_retry(&slot[i].fe, path, timeout_ms);
	if (r == 0) {
		slot[i].open = true;
		r = amp_link_vsock(&slot[i].fe.vd);
		if (r) {
			amp_vhost_fe_close(&slot[i].fe);
			slot[i].open = false;
		}
	}
	amp_port_lock();
	slot[i].busy = false;
	amp_port_unlock();
	return r;
}

#endif /* AMPSOCK_HOSTED */
