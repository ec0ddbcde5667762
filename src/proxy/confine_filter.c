// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "amp_filter_helper.h"
#include "amp_filter_worker.h"
#include "confine_filter.h"

static int load(const struct sock_filter *from, size_t cnt)
{
	struct sock_filter *f = malloc(cnt * sizeof(*f));
	struct sock_fprog prog = {.len = (unsigned short)cnt, .filter = f};
	int r = 0;

	if (!f)
		return -ENOMEM;
	memcpy(f, from, cnt * sizeof(*f));
	for (size_t i = 0; i < cnt; i++) {
		if (f[i].k == AMP_FILTER_PID)
			f[i].k = (uint32_t)getpid();
	}
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		r = -errno;
	free(f);
	return r;
}

/* FNV-1a, of what it lets through. */
uint64_t amp_filter_helper_id(void)
{
	const uint8_t *p = (const uint8_t *)amp_filter_helper;
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < sizeof(amp_filter_helper); i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	return h;
}

int amp_filter_worker_load(void)
{
	return load(amp_filter_worker, sizeof(amp_filter_worker) / sizeof(*amp_filter_worker));
}

int amp_filter_helper_load(void)
{
	return load(amp_filter_helper, sizeof(amp_filter_helper) / sizeof(*amp_filter_helper));
}
