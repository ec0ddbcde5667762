/* SPDX-License-Identifier: BSD-3-Clause */
/* What is wrong with a virtio-mmio slot, in words: only for programs that print them. */
#include <stddef.h>

#include "mmio_ops.h"

const char *amp_mmio_why(const struct amp_mmio *m)
{
	static const char *const words[] = {
		[AMP_MMIO_STUCK_RESET] = "virtio-mmio: the device does not finish its reset",
		[AMP_MMIO_REFUSED] = "virtio-mmio: the device refuses the features "
				     "(FEATURES_OK did not stay)",
		[AMP_MMIO_RESTLESS] =
			"virtio-mmio: the device's configuration never stands still",
		[AMP_MMIO_VERSION] = "virtio-mmio: unknown register layout version",
	};

	if (m->why == AMP_MMIO_VERSION && m->regs[R_VERSION] == 1)
		return "virtio-mmio: legacy device; start QEMU with "
		       "-global virtio-mmio.force-legacy=false";
	return m->why < sizeof(words) / sizeof(words[0]) ? words[m->why] : NULL;
}
