/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring itself, for an engine's shortest way, where AMPSOCK_FAST: ring_peek(),
 * ring_enter(), ring_publish(), ring_kick_put(). What they do to a queue is what vq.h's calls do.
 */
#ifndef AMP_VQ_FAST_H
#define AMP_VQ_FAST_H

#include "vq_ring.h"

#if AMPSOCK_FAST
#define AMP_VQ_KICK_DUE(vq) ring_kick_due(vq)
#else
#define AMP_VQ_KICK_DUE(vq) amp_vq_kick_due(vq)
#endif

#endif /* AMP_VQ_FAST_H */
