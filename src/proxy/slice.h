/* SPDX-License-Identifier: BSD-3-Clause */
/* How long the kernel lets us wait for a processor that somebody else has. */
#ifndef AMP_PROXY_SLICE_H
#define AMP_PROXY_SLICE_H

/*
 * Short turns of the processor, for this process and all that it starts. The caller's policy and
 * nice value stay. Nothing where the kernel has no such thing, or the policy is not the usual one, or
 * the turns are as short already. 0, or -errno: it is refused, and all goes on as without.
 */
int amp_slice_short(void);

#endif /* AMP_PROXY_SLICE_H */
