/* SPDX-License-Identifier: BSD-3-Clause */
/* What the C libraries want of a board besides: nothing comes out of it. */
#include <stdio.h>

#ifdef __PICOLIBC__
static int put(char c, FILE *f)
{
	(void)f;
	return (unsigned char)c;
}

static FILE stream = FDEV_SETUP_STREAM(put, NULL, NULL, _FDEV_SETUP_WRITE);
FILE *const stdin = &stream;
FILE *const stdout = &stream;
FILE *const stderr = &stream;
#endif
