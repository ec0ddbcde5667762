// SPDX-License-Identifier: BSD-3-Clause
#include <stdlib.h>
#include "offload.h"
struct amp_offload { struct amp_link *link; };
struct amp_offload *amp_offload_new(struct amp_link *link) { struct amp_offload *o = calloc(1, sizeof *o); o->link = link; return o; }
void amp_offload_free(struct amp_offload *off) { free(off); }
void amp_offload_down(struct amp_offload *off) { (void)off; }
void amp_offload_incoming(struct amp_offload *off, struct amp_end *end) { (void)off; end->ops->reset(end); }
unsigned amp_offload_sockets(const struct amp_offload *off) { (void)off; return 0; }
int amp_offload_publish(struct amp_offload *off, const struct amp_forward *fwd, int fd) { (void)off; (void)fwd; (void)fd; return -1; }
