// SPDX-License-Identifier: BSD-3-Clause
// build: src/wire/offload.c
/*
 * The codecs of the offload protocol on bytes from anywhere. What get accepts, put writes
 * again byte for byte: two readings of one message can not exist, and a field that is lost
 * or read from the wrong place is found here.
 */
#include <stdlib.h>
#include <string.h>

#include "wire/offload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const uint8_t *in, const uint8_t *out, size_t len)
{
	if (memcmp(in, out, len))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t in[AMP_OFF_OPEN_LEN] = {0}, out[AMP_OFF_OPEN_LEN];
	struct amp_off_answer answer;
	struct amp_off_open open;
	struct amp_off_addr addr;
	struct amp_off_ctl ctl;
	struct amp_off_udp udp;

	if (size < 1)
		return 0;
	size--;
	memcpy(in, data + 1, size < sizeof(in) ? size : sizeof(in));
	/* Most inputs get past the magic, or nothing behind it would ever be seen. */
	if (data[0] & 1)
		memcpy(in, "AMSP\x01", 5);
	switch (data[0] >> 1 & 7) {
	case 0:
		if (amp_off_get_open(in, &open) != AMP_OFF_OK)
			break;
		if (open.len != AMP_OFF_OPEN_LEN + open.name_len)
			abort();
		amp_off_put_open(out, &open);
		same(in, out, AMP_OFF_OPEN_LEN);
		break;
	case 1:
		if (amp_off_get_answer(in, &answer) != AMP_OFF_OK)
			break;
		amp_off_put_answer(out, &answer);
		same(in, out, AMP_OFF_ANSWER_LEN);
		break;
	case 2:
		if (!amp_off_get_ctl(in, &ctl))
			break;
		if (ctl.len < AMP_OFF_CTL_LEN || ctl.len > AMP_OFF_CTL_MAX)
			abort();
		amp_off_put_ctl(out, &ctl);
		same(in, out, AMP_OFF_CTL_LEN);
		break;
	case 3:
		if (!amp_off_get_udp(in, &udp))
			break;
		if (udp.len < AMP_OFF_UDP_LEN)
			abort();
		amp_off_put_udp(out, &udp);
		same(in, out, AMP_OFF_UDP_LEN);
		break;
	case 4:
		if (!amp_off_get_addr(in, &addr))
			break;
		amp_off_put_addr(out, &addr);
		same(in, out, AMP_OFF_ADDR_LEN);
		break;
	default:
		/* any number maps to some errno, and back to a status of ours */
		if (amp_off_errno(in[0]) < 0 || amp_off_status(in[1]) > 255)
			abort();
		break;
	}
	return 0;
}
