// SPDX-License-Identifier: BSD-3-Clause
/*
 * SERVICE at a front door (docs/protocol.md, "Streams over rpmsg"): apart from what serves
 * REQUESTs (rpmsg_serve.c), because who only connects needs to hear of services, too.
 */
#include <string.h>

#include "rpmsg_stream_inner.h"

void amp_rstream_told(struct amp_rstream *rs, const struct amp_rpmsg_rx *rx)
{
	struct amp_rstream_service s;
	bool good = false, gone = false;

	amp_rstream_count(&rs->vs.stats.rx_packets);
	if (rx->len == AMP_RSTREAM_ROOM) {
		uint32_t word = amp_le32(rx->data), rest;

		amp_copy(&s, (const uint8_t *)rx->data + AMP_RSTREAM_HDR_LEN, sizeof(s));
		amp_rstream_read();
		rest = amp_le32(&s.version);
		gone = rest >> 8 & 1;
		rest &= ~0x100u; /* gone: 0 or 1; reserved: 0 */
		good = word == AMP_RSTREAM_SERVICE && s.magic == AMP_RSTREAM_MAGIC &&
		       rest == AMP_RSTREAM_VERSION && s.addr &&
		       amp_rpmsg_ns_good(s.name, s.addr);
	}
	if (!good) {
		rs->vs.stats.rx_bad++;
		AMP_WHY_SAY(&rs->vs, "malformed SERVICE (docs/protocol.md 10.6)");
	} else if (!AMPSOCK_VSOCK) { /* as all that a link hears of (rpmsg.h) */
		amp_rlink_on_told(rs->door_ctx, s.name, s.addr, gone);
	} else if (rs->ops->service) {
		rs->ops->service(rs, s.name, s.addr, gone);
	}
}
