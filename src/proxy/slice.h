/* SPDX-License-Identifier: BSD-3-Clause */
/* How long the kernel lets us wait for a processor that somebody else has. */
#ifndef AMP_PROXY_SLICE_H
#define AMP_PROXY_SLICE_H

#include <stdbool.h>

/* In the first process, before it is confined: what its turns are. Those it starts have the same. */
void amp_slice_init(void);
/*
 * Short turns of the processor for this process, or the usual ones again. Policy and nice value stay.
 * Nothing where the kernel has no such thing or refuses it, the policy is not the usual one, or the
 * usual turns are as short.
 */
void amp_slice_short(bool on);

#endif /* AMP_PROXY_SLICE_H */
