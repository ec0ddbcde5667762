/* SPDX-License-Identifier: BSD-3-Clause */
/* A virtio-net device as an interface of lwIP. */
#ifndef LWIP_BENCH_VNET_H
#define LWIP_BENCH_VNET_H

#include <stdbool.h>

#include "lwip/netif.h"

/* For netif_add(). The device has been found before, by board_link(). */
err_t vnet_init(struct netif *nif);

/* Hands in what has come; what that made lwIP send is put in the ring. False: nothing came. */
bool vnet_poll(struct netif *nif);

/* Tells the device what was put in the rings since. */
void vnet_kick(void);

/* Before sleep: asks for an interrupt. True: something came meanwhile, do not sleep. */
bool vnet_arm(void);

#endif
