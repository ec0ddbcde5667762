// SPDX-License-Identifier: BSD-3-Clause
#include "udp_relay.h"
void amp_udp_relay_expose(struct amp_link *link, struct amp_end *end, const struct amp_forward *fwd)
{ (void)link; (void)fwd; end->ops->reset(end); }
struct amp_udp_relay *amp_udp_relay_publish(struct amp_link *link, const struct amp_forward *fwd, int fd)
{ (void)link; (void)fwd; (void)fd; return 0; }
void amp_udp_relay_free(struct amp_udp_relay *relay) { (void)relay; }
