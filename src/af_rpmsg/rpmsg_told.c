// SPDX-License-Identifier: BSD-3-Clause
/*
 * SERVICE at a front door (docs/protocol.md, "Streams over rpmsg"): apart from what serves
 * REQUESTs (rpmsg_serve.c), because who only connects needs to hear of services, too.
 */
#include <string.h>

#include "rpmsg_stream_inner.h"

void amp_rstream_told(struct amp_rstream *rs, const struct amp_rpmsg_rx *rx)
{
	struct {
		struct amp_rstream_hdr hdr;
		struct amp_rstream_service s;
	} m;
	uint32_t word = 0, rest = 0;
	bool gone;

	rs->vs.stats.rx_packets++;
	if (rx->len == AMP_RSTREAM_ROOM) {
		amp_copy(&m, rx->data, sizeof(m));
		amp_rstream_read();
		word = amp_le32(&m.hdr);
		rest = amp_le32(&m.s.version);
	}
	gone = rest >> 8 & 1;
	rest &= ~0x100u; /* gone: 0 or 1; reserved: 0 */
	if (word != AMP_RSTREAM_SERVICE || m.s.magic != AMP_RSTREAM_MAGIC ||
	    rest != AMP_RSTREAM_VERSION || !m.s.addr ||
	    !amp_rpmsg_ns_good(m.s.name, m.s.addr)) {
		rs->vs.stats.rx_bad++;
		if (AMPSOCK_WHY)
			rs->vs.why = "malformed SERVICE (docs/protocol.md 10.6)";
	} else if (!AMPSOCK_VSOCK) { /* as all that a link hears of (rpmsg.h) */
		amp_rlink_on_told(rs->door_ctx, m.s.name, m.s.addr, gone);
	} else if (rs->ops->service) {
		rs->ops->service(rs, m.s.name, m.s.addr, gone);
	}
}
