/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to helper.c and helper_upgrade.c: the next worker, the next program. */
#ifndef AMP_PROXY_HELPER_LIFE_H
#define AMP_PROXY_HELPER_LIFE_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "log.h"

/* Runs the program file with --check-config: its process, or -errno. */
pid_t amp_helper_try_program(const sigset_t *mask);
/*
 * level: of the log, as configured. Signals are blocked and stay so: the next program unblocks them when it can hear them. Returns
 * only if it fails: -errno, said.
 */
int amp_helper_exec(enum amp_log_level level);

#endif /* AMP_PROXY_HELPER_LIFE_H */
