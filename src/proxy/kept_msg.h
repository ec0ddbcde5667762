/* SPDX-License-Identifier: BSD-3-Clause */
/* For the two processes' beginnings: the socket between kept_worker.c's two ends. */
#ifndef AMP_PROXY_KEPT_MSG_H
#define AMP_PROXY_KEPT_MSG_H

#include <stdbool.h>
#include <stddef.h>

/* The worker's end. */
void amp_kept_join(int fd);
/* The helper: one message of the worker's. False: none is there. *upgrade: set if it asks for
 * that. */
bool amp_kept_serve(int sock, bool *upgrade);
bool amp_kept_is_unix(const char *name);
/* A service manager's, of TCP or UDP: see kept.h. */
bool amp_kept_is_lent(const char *name);
#define AMP_KEPT_LENT "+lent" /* the beginning of their names */
/* PREFIX-hash */
void amp_kept_hash_name(char *dst, const char *prefix, const void *data, size_t len);

#endif /* AMP_PROXY_KEPT_MSG_H */
