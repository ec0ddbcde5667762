/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The system calls that are left to a process. The filters are made at build time from the
 * `#syscalls` comments (mk/syscalls.sh, mk/filter.c): the worker's kills the process for any other
 * call, the helper's refuses it with EPERM.
 */
#ifndef AMP_PROXY_CONFINE_FILTER_H
#define AMP_PROXY_CONFINE_FILTER_H

#include <stdint.h>

/* Stands in the built filter where the id of the process belongs. */
#define AMP_FILTER_PID 0x50494421u

/* For good; PR_SET_NO_NEW_PRIVS is set before. 0 or -errno. */
int amp_filter_worker_load(void);
int amp_filter_helper_load(void);
/* Another program's that is as ours has the same. */
uint64_t amp_filter_helper_id(void);

#endif /* AMP_PROXY_CONFINE_FILTER_H */
