/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SELFTEST_H
#define SELFTEST_H

#include <stdbool.h>

void check(const char *what, int good);

/* selftest-LINK.c, in place of boards/link-LINK.c. what: the first argument, or "". */
void selftest_link(const char *what);
bool board_link_irq(unsigned irq);

#endif /* SELFTEST_H */
