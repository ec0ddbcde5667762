/* SPDX-License-Identifier: BSD-3-Clause */
/* What AMP_RSC_TABLE() emits: rsc_table.py looks at the section's bytes, byte by byte. */
#include "virtio/remoteproc.h"

#ifdef ADDRESS
/* Where addresses have 32 bits they are constants. */
extern char trace[64];
AMP_RSC_TABLE(table, 0x21002000, 0xe000, (uint32_t)trace, sizeof(trace), 16, 64,
	      AMP_RSC_ADDR_ANY, AMP_RSC_ADDR_ANY);
#else
AMP_RSC_TABLE(table, 0x21002000, 0xe000, 0x2100ff00, 0x100, 16, 64, AMP_RSC_ADDR_ANY,
	      0x21004000);
#endif
