/* SPDX-License-Identifier: BSD-3-Clause */
/* limits.h for bare toolchains: the C library's own, plus the limit of ssize_t, which they hide or lack. */
#include_next <limits.h>

#ifndef SSIZE_MAX
#define SSIZE_MAX __PTRDIFF_MAX__
#endif
