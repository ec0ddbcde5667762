/* SPDX-License-Identifier: BSD-3-Clause */
/* Put before every file of test_cache: the hooks of port.h, and the lines that call them. */
#ifndef CACHE_SITE_H
#define CACHE_SITE_H

#include "port/port.h"

void cr_hook(const volatile void *addr, size_t len, bool clean, const char *file, int line);

#define amp_port_cache_clean(addr, len)	     cr_hook(addr, len, true, __FILE__, __LINE__)
#define amp_port_cache_invalidate(addr, len) cr_hook(addr, len, false, __FILE__, __LINE__)

#endif /* CACHE_SITE_H */
