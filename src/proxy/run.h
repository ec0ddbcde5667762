/* SPDX-License-Identifier: BSD-3-Clause */
/* The worker: everything that has to do with guests (helper.h is the other process). */
#ifndef AMP_PROXY_RUN_H
#define AMP_PROXY_RUN_H

#include "confine.h"

#define AMP_EXIT_RUN 1 /* exit status: could not start, or had to end */

/*
 * Starts links and rules, says so on ready_fd (-1: nobody asked), and runs until the helper passes
 * on a signal to stop. conf changes with each reload (reload.h). Returns the exit status.
 */
int amp_run(struct amp_config *conf, const struct amp_confine *confine, int ready_fd);

#endif /* AMP_PROXY_RUN_H */
