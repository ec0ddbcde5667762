/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Under -icount the guest's clock counts its instructions, and stands still while it
 * sleeps, provided that no timer is armed (QEMU would let it run on towards the timer).
 * So this build of throughput knows no far time-outs (the ping's, connect's) and does not
 * sleep for near ones (those of its end, after the measurement). Linked with
 * --wrap=amp_port_wait. Nor does it look at the ring for a while before it sleeps: how often it
 * could would depend on the host.
 */
#include <stdint.h>

#define FAR_MS 1000

void __wrap_amp_baremetal_spin(uint32_t us);
int __wrap_amp_port_wait(int32_t timeout_ms);
int __real_amp_port_wait(int32_t timeout_ms);

int __wrap_amp_port_wait(int32_t timeout_ms)
{
	return __real_amp_port_wait(timeout_ms < 0 || timeout_ms >= FAR_MS ? -1 : 0);
}

void __wrap_amp_baremetal_spin(uint32_t us)
{
	(void)us;
}
