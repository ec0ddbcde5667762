/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A board that does not exist: a Cortex-M4 with one virtio-mmio slot, or (AMPSOCK_RPMSG) a
 * mailbox and a resource table, so that the library is linked as firmware would link it. Only
 * linked and measured, never run; nothing of this file is counted.
 */
#include <stddef.h>
#include <stdint.h>

#include <ampsock.h>

#include "port/baremetal.h"
#include "port/port.h"
#include "virtio/mmio.h"
#include "virtio/remoteproc.h"

#define SLOT	0x40010000u
#define MAILBOX (*(volatile uint32_t *)(uintptr_t)0x40030000u)
#define SHM	0x20080000u
#define COUNTER (*(volatile uint32_t *)(uintptr_t)0x40020000u)
#define ALARM	(*(volatile uint32_t *)(uintptr_t)0x40020004u)

extern uint32_t __data_load, __data_start, __data_end, __bss_start, __bss_end, __stack_top;

int main(void);
void reset(void);

static int err;

/* The C library's own would bring its reentrancy structure along. */
int *__errno(void);
int *__errno(void)
{
	return &err;
}

static uint64_t ticks(void)
{
	return COUNTER;
}

static void alarm_at(uint64_t at)
{
	ALARM = (uint32_t)at;
}

static const struct amp_baremetal_clock board_clock = {
	.ticks = ticks,
	.alarm = alarm_at,
};

#if AMPSOCK_RPMSG
static AMP_RSC_TABLE(table, SHM, 0x10000, 0, 0, 16, 16, AMP_RSC_ADDR_ANY, AMP_RSC_ADDR_ANY);

static void ring(struct amp_rproc *rp, unsigned vring)
{
	(void)rp;
	MAILBOX = vring;
}

static const struct amp_rproc_ops rproc_ops = {.notify = ring};
static struct amp_rproc rproc = {
	.ops = &rproc_ops,
	.table = &table,
	.shm = (uint8_t *)(uintptr_t)SHM,
	.shm_da = SHM,
	.shm_len = 0x10000,
	.num = 16,
	.align = 16,
};

static void interrupt(void)
{
	amp_port_wake();
}

static void link_up(void)
{
	amp_link_rpmsg(&rproc);
}
#else
static struct amp_mmio slot;

static void interrupt(void)
{
	amp_mmio_isr(&slot);
}

static void link_up(void)
{
	if (amp_mmio_init(&slot, SLOT) == 0)
		amp_link_vsock(&slot.vd);
}
#endif

void reset(void)
{
	uint32_t *to, *from = &__data_load;

	for (to = &__data_start; to < &__data_end;)
		*to++ = *from++;
	for (to = &__bss_start; to < &__bss_end;)
		*to++ = 0;
	amp_baremetal_init(&board_clock, 1000000);
	link_up();
	main();
	for (;;)
		;
}

__attribute__((section(".vectors"), used)) static void *const vectors[] = {
	&__stack_top,
	(void *)reset,
	NULL,
	NULL,
	NULL,
	NULL,
	NULL,
	NULL,
	NULL,
	NULL,
	NULL,
	NULL,
	NULL,
	NULL,
	NULL,
	NULL,
	(void *)interrupt,
};
