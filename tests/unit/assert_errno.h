/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef AMP_TEST_ASSERT_ERRNO_H
#define AMP_TEST_ASSERT_ERRNO_H

/* The call fails, and with that. After <cmocka.h> and <errno.h>. */
#define assert_errno(expr, err)                    \
	do {                                       \
		errno = 0;                         \
		assert_int_equal((int)(expr), -1); \
		assert_int_equal(errno, err);      \
	} while (0)

#endif /* AMP_TEST_ASSERT_ERRNO_H */
