// SPDX-License-Identifier: BSD-3-Clause
/*
 * SERVICE at a front door (docs/protocol.md, "Streams over rpmsg"): apart from what serves
 * REQUESTs (rpmsg_serve.c), because who only connects needs to hear of services, too.
 */
#include <string.h>

#include "rpmsg_stream_inner.h"

void amp_rstream_told(struct amp_rstream *rs, const struct amp_rpmsg_rx *rx)
{
	struct amp_rstream_service s = {.magic = 0};
	uint32_t word = 0;

	rs->vs.stats.rx_packets++;
	if (rx->len == AMP_RSTREAM_ROOM) {
		word = amp_le32(rx->data);
		memcpy(&s, (const uint8_t *)rx->data + AMP_RSTREAM_HDR_LEN, sizeof(s));
		amp_rstream_read();
	}
	if (word != AMP_RSTREAM_SERVICE || s.magic != AMP_RSTREAM_MAGIC ||
	    s.version != AMP_RSTREAM_VERSION || s.gone > 1 || s.reserved || !s.addr ||
	    s.addr == AMP_RPMSG_ADDR_ANY || !s.name[0] || !memchr(s.name, 0, sizeof(s.name))) {
		rs->vs.stats.rx_bad++;
		if (AMPSOCK_WHY)
			rs->vs.why = "malformed SERVICE (docs/protocol.md 10.6)";
	} else if (!AMPSOCK_VSOCK) { /* as all that a link hears of (rpmsg.h) */
		amp_rlink_on_service(rs->door_ctx, s.name, s.addr, s.gone);
	} else if (rs->ops->service) {
		rs->ops->service(rs, s.name, s.addr, s.gone);
	}
}
