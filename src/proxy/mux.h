/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * publish vsock-mux: a Unix socket of the host from which all those ports of the guest can be
 * reached that the rule names. Who connects says `CONNECT <port>`, and is answered `OK <port>`
 * when the guest has answered, as at a hybrid monitor's socket (hybrid.h): whatever the link's
 * type is, programs made for Firecracker, and ssh with systemd-ssh-proxy(1), find the guest.
 */
#ifndef AMP_PROXY_MUX_H
#define AMP_PROXY_MUX_H

#include "link.h"

#define AMP_MUX_WAIT_MS	 10000u /* for the line */
#define AMP_MUX_WAIT_MAX 256u	/* connections of a rule that have no guest's answer yet */

struct amp_mux;

/* NULL: no memory. */
struct amp_mux *amp_mux_new(struct amp_link *link, const struct amp_forward *fwd);
/* Those that wait are closed, and what came through it is reset. NULL is nothing. */
void amp_mux_free(struct amp_mux *mux);
/* fd: somebody has connected. */
void amp_mux_take(struct amp_mux *mux, int fd);

#endif /* AMP_PROXY_MUX_H */
