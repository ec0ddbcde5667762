/* SPDX-License-Identifier: BSD-3-Clause */
/* Listening sockets, with a message that says what to do when one cannot be had. */
#ifndef AMP_PROXY_LISTEN_H
#define AMP_PROXY_LISTEN_H

#include "rule.h"

/*
 * A non-blocking listening Unix stream socket at path. A stale socket file is removed; one
 * that somebody listens on is not. Returns the descriptor, or -errno with a log line said. For
 * the helper alone.
 */
int amp_unix_listen(const char *path, const char *link);
/* The same for any target: TCP listens, UDP is bound. */
int amp_target_listen(const struct amp_target *target, const char *link);

#endif /* AMP_PROXY_LISTEN_H */
