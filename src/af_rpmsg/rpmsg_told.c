// SPDX-License-Identifier: BSD-3-Clause
/*
 * SERVICE at a front door (docs/protocol.md, "Streams over rpmsg"): apart from what serves
 * REQUESTs (rpmsg_serve.c), because who only connects needs to hear of services, too.
 */
#include <string.h>

#include "rpmsg_stream_inner.h"

void amp_rstream_told(struct amp_rstream *rs, const struct amp_rpmsg_rx *rx)
{
	const uint8_t *at = (const uint8_t *)rx->data + AMP_RSTREAM_HDR_LEN;
	uint32_t word, magic, rest;
	struct amp_rpmsg_ns ns;
	bool good = false;

	ns.flags = AMP_RLINK_INSTEAD;
	amp_rstream_count(&rs->vs.stats.rx_packets);
	if (rx->len == AMP_RSTREAM_ROOM) {
		word = amp_le32(rx->data);
		magic = amp_le32(at);
		rest = amp_le32(at + offsetof(struct amp_rstream_service, version));
		ns.addr = amp_le32(at + offsetof(struct amp_rstream_service, addr));
		amp_copy(ns.name, at + offsetof(struct amp_rstream_service, name),
			 sizeof(ns.name));
		amp_rstream_read();
		if (rest & 0x100u)
			ns.flags = AMP_RPMSG_NS_DESTROY;
		rest &= ~0x100u; /* gone: 0 or 1; reserved: 0 */
		good = word == AMP_RSTREAM_SERVICE && magic == AMP_RSTREAM_MAGIC &&
		       rest == AMP_RSTREAM_VERSION && ns.addr &&
		       amp_rpmsg_ns_good(ns.name, ns.addr);
	}
	if (!good) {
		rs->vs.stats.rx_bad++;
		AMP_WHY_SAY(&rs->vs, "malformed SERVICE (docs/protocol.md 10.6)");
	} else if (!AMPSOCK_VSOCK) { /* as all that a link hears of (rpmsg.h) */
		amp_rlink_on_service(rs->door_ctx, &ns);
	} else if (rs->ops->service) {
		rs->ops->service(rs, ns.name, ns.addr, ns.flags == AMP_RPMSG_NS_DESTROY);
	}
}
