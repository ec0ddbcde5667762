/* SPDX-License-Identifier: BSD-3-Clause */
/* For the two processes' beginnings: the socket between kept_worker.c's two ends. */
#ifndef AMP_PROXY_KEPT_MSG_H
#define AMP_PROXY_KEPT_MSG_H

#include <stdbool.h>

/* The worker's end. */
void amp_kept_join(int fd);
/* The helper: one message of the worker's. False: none is there. */
bool amp_kept_serve(int sock);

#endif /* AMP_PROXY_KEPT_MSG_H */
