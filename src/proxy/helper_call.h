/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to helper.c and helper_call.c. */
#ifndef AMP_PROXY_HELPER_CALL_H
#define AMP_PROXY_HELPER_CALL_H

#include <stdbool.h>

/* In the worker, first: its ends of the socket pairs. */
/* passed: the service manager gave the helper sockets. */
void amp_helper_join(int call, int news, bool passed);

#endif /* AMP_PROXY_HELPER_CALL_H */
