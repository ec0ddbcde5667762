/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door's busy calls (vq.h) for an engine that knows a queue's direction: inlined where
 * speed matters, else the door's own. The layout of a ring stays this room's affair.
 */
#ifndef AMP_VQ_FAST_H
#define AMP_VQ_FAST_H

#include "../ampsock_config.h"

#if AMPSOCK_FAST
#include "vq_ring.h"
#define AMP_VQ_GET(vq, dir, buf)     ring_get(vq, dir, buf)
#define AMP_VQ_PUT(vq, dir, id, len) ring_put(vq, dir, id, len)
#define AMP_VQ_KICK_DUE(vq)	     ring_kick_due(vq)
#else
#include "vq.h"
#define AMP_VQ_GET(vq, dir, buf)     amp_vq_get(vq, buf)
#define AMP_VQ_PUT(vq, dir, id, len) amp_vq_put(vq, id, len)
#define AMP_VQ_KICK_DUE(vq)	     amp_vq_kick_due(vq)
#endif

#endif /* AMP_VQ_FAST_H */
