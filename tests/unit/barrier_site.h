/* SPDX-License-Identifier: BSD-3-Clause */
/* Put before every file of test_barrier: the barriers of port.h become calls. */
#ifndef BARRIER_SITE_H
#define BARRIER_SITE_H

#include "port/port.h"

void br_hook(char which);

#define amp_rmb() br_hook('r')
#define amp_wmb() br_hook('w')
#define amp_mb()  br_hook('m')

#endif /* BARRIER_SITE_H */
