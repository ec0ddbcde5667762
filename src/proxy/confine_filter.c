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

int amp_filter_worker_load(void)
{
	return load(amp_filter_worker, sizeof(amp_filter_worker) / sizeof(*amp_filter_worker));
}

int amp_filter_helper_load(void)
{
	return load(amp_filter_helper, sizeof(amp_filter_helper) / sizeof(*amp_filter_helper));
}
