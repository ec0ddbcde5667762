/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The link of a board that shares memory with its host and has a mailbox to it: the resource
 * table in which the host finds everything, at the start of the shared window, a trace
 * buffer behind it, rings and buffers in the rest.
 *
 * The table is loaded with the program, so whoever resets the board by loading it again
 * gives it back its first bytes; a reset without that leaves it as the host last wrote it,
 * DRIVER_OK included. Start-up clears nothing of it, either way: what is to be made of it is
 * said in remoteproc.h.
 */
#include <string.h>

#include "board.h"
#include "../include/ampsock.h"
#include "../src/port/port.h"
#include "../src/virtio/remoteproc.h"

#define ENTRIES	    64
#define ALIGN	    16
#define PATIENCE_MS 2000

/* board-rom.ld */
extern char __trace_start[], __trace_len[], __carveout_start[], __carveout_len[];
#define CONSTANT(symbol) ((uint32_t)(uintptr_t)(symbol))

AMP_RSC_TABLE(board_table, CONSTANT(__carveout_start), CONSTANT(__carveout_len),
	      CONSTANT(__trace_start), CONSTANT(__trace_len), ENTRIES, ALIGN, AMP_RSC_ADDR_ANY,
	      AMP_RSC_ADDR_ANY);

static struct amp_rproc_trace trace;

static void notify(struct amp_rproc *rp, unsigned vring)
{
	(void)rp;
	(void)vring; /* one mailbox for both: the host looks at everything */
	board.mbox->ring(board.mbox_base);
}

static const struct amp_rproc_ops ops = {.notify = notify};
static struct amp_rproc rproc = {
	.ops = &ops,
	.table = &board_table,
	.num = ENTRIES,
	.align = ALIGN,
};

/* To the console, and to where the host finds it without one. */
static void log_line(const char *line)
{
	board_log(line);
	amp_rproc_trace(&trace, line, strlen(line));
	amp_rproc_trace(&trace, "\n", 1);
}

bool board_link_irq(unsigned irq)
{
	if (irq != board.mbox_irq)
		return false;
	board.mbox->take(board.mbox_base);
	amp_port_wake();
	return true;
}

bool board_link(void)
{
	rproc.shm = (uint8_t *)__carveout_start;
	rproc.shm_da = (uintptr_t)__carveout_start;
	rproc.shm_len = (uintptr_t)__carveout_len;
	trace.buf = __trace_start;
	trace.len = CONSTANT(__trace_len);
	amp_log_hook(log_line);
	board.mbox->init(board.mbox_base);
	board.intc->enable(board.mbox_irq);
	if (amp_link_rpmsg(&rproc) != 0) {
		board_puts("the rpmsg link can not be used\n");
		return false;
	}
	if (amp_link_wait(PATIENCE_MS) != 0)
		board_puts("waiting for the host: ampsock-proxy --link rpmsg-shm:...\n");
	return amp_link_wait(-1) == 0;
}
