/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Large objects with tables that few of them ever fill: memory of whole pages from the kernel, all
 * zero, which costs nothing where nobody has been. (calloc() writes its zeros, and a table of
 * pointers that is all NULL is as dear as a full one: three quarters of what an idle link cost.) Such
 * an object has its tables last.
 */
#ifndef AMP_PROXY_ZEROED_H
#define AMP_PROXY_ZEROED_H

#include <stddef.h>

/* NULL: no memory. */
void *amp_zeroed_new(size_t len);
/* ptr may be NULL; len: as it was made. */
void amp_zeroed_free(void *ptr, size_t len);

#endif /* AMP_PROXY_ZEROED_H */
