/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * errno.h for bare toolchains: the C library's own, plus the two socket errors that newlib
 * and picolibc show only to those who ask for their Linux extensions (same numbers).
 */
#pragma GCC system_header /* -pedantic: #include_next is no ISO C */
#include_next <errno.h>

#ifndef ESHUTDOWN
#define ESHUTDOWN 110
#endif
#ifndef ESOCKTNOSUPPORT
#define ESOCKTNOSUPPORT 124
#endif
