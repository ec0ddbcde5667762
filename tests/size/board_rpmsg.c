/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A board that does not exist: a Cortex-M that shares memory with its host and has a mailbox,
 * so that the library is linked as firmware would link it. Only linked and measured,
 * never run; nothing of this file is counted.
 */
#include <stddef.h>
#include <stdint.h>

#include <ampsock.h>

#include "port/baremetal.h"
#include "port/port.h"
#include "virtio/remoteproc.h"

#define SHARED	   0x20100000u
#define SHARED_LEN 0x10000u
#define ENTRIES	   8u
#define COUNTER	   (*(volatile uint32_t *)0x40020000u)
#define ALARM	   (*(volatile uint32_t *)0x40020004u)
#define MAILBOX	   (*(volatile uint32_t *)0x40010000u)

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

AMP_RSC_TABLE(table, SHARED, SHARED_LEN, 0, 0, ENTRIES, 16, AMP_RSC_ADDR_ANY, AMP_RSC_ADDR_ANY);

static void notify(struct amp_rproc *rp, unsigned vring)
{
	(void)rp;
	MAILBOX = vring;
}

static const struct amp_rproc_ops rproc_ops = {.notify = notify};

static struct amp_rproc rproc = {
	.ops = &rproc_ops,
	.table = &table,
	.shm = (uint8_t *)SHARED,
	.shm_da = SHARED,
	.shm_len = SHARED_LEN,
	.num = ENTRIES,
	.align = 16,
};

static void mailbox_interrupt(void)
{
	MAILBOX = 0;
	amp_port_wake();
}

void reset(void)
{
	uint32_t *to, *from = &__data_load;

	for (to = &__data_start; to < &__data_end;)
		*to++ = *from++;
	for (to = &__bss_start; to < &__bss_end;)
		*to++ = 0;
	amp_baremetal_init(&board_clock, 1000000);
	amp_link_rpmsg(&rproc);
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
	(void *)mailbox_interrupt,
};
