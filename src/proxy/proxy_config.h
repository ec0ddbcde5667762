/* SPDX-License-Identifier: BSD-3-Clause */
/* Knobs of the shared engines as the proxy uses them: a vsock device, an rpmsg host (the
 * driver), words for the log. */
#ifndef AMP_PROXY_ENGINE_CONFIG_H
#define AMP_PROXY_ENGINE_CONFIG_H

#define AMPSOCK_VQ_DEVICE	1
#define AMPSOCK_VQ_DRIVER	1
#define AMPSOCK_VQ_ORDER	1
#define AMPSOCK_RPMSG_EVENT_IDX 1
#define AMPSOCK_WHY		1
#define AMPSOCK_TAP		1
#define AMPSOCK_HASH		256 /* not 1: the links have tables of their own length */

#endif /* AMP_PROXY_ENGINE_CONFIG_H */
