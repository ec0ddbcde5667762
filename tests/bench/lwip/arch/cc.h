/* SPDX-License-Identifier: BSD-3-Clause */
/* What lwIP asks of a compiler and a C library beyond its own defaults (arch.h). */
#ifndef LWIP_BENCH_CC_H
#define LWIP_BENCH_CC_H

#include <stdlib.h>

#include "../../../../boards/board.h"

#define LWIP_RAND() ((u32_t)rand())
/* Checks of the caller, as they are in a release: LWIP_NOASSERT takes the others out. */
#define LWIP_PLATFORM_DIAG(x)
#define LWIP_PLATFORM_ASSERT(x) board_fault(x, 0, 0, 0)

#endif
