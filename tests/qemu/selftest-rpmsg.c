/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mailbox and the shared memory, before there is a link: a kick both ways for each
 * round, and a word that the other side has written before its kick.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../../boards/board.h"
#include "../../src/port/port.h"
#include "selftest.h"

#define ROUNDS 200u
#define BYE    0xffffffffu

extern char __shm_end[];

static volatile unsigned interrupts;

bool board_link_irq(unsigned irq)
{
	if (irq != board.mbox_irq)
		return false;
	board.mbox->take(board.mbox_base);
	interrupts++;
	amp_port_wake();
	return true;
}

/* The last two words of the window: the other side's, and ours. */
static volatile uint32_t *shared(unsigned word)
{
	return board_reg((uintptr_t)__shm_end - 8, word * 4);
}

static void test_rounds(void)
{
	uint32_t i, seen = interrupts, sleeps = amp_baremetal_sleeps();
	int good = 1;

	printf("mailbox\n");
	for (i = 1; i <= ROUNDS && good; i++) {
		/* the word may be seen before its kick: wait for that, too */
		while ((*shared(0) != i || interrupts == seen) && good)
			good = amp_port_wait(20000) == 0;
		seen = interrupts;
		amp_rmb(); /* its pair is the kick */
		*shared(1) = i;
		board.mbox->ring(board.mbox_base);
	}
	while (*shared(0) != BYE && good) /* the other side has seen the last answer */
		good = amp_port_wait(20000) == 0;
	check("kicks both ways", good && interrupts >= ROUNDS);
	check("asleep between them", amp_baremetal_sleeps() - sleeps >= ROUNDS / 2);
}

void selftest_link(const char *what)
{
	unsigned i;

	board.mbox->init(board.mbox_base);
	board.intc->enable(board.mbox_irq);
	*shared(1) = 0x5a5aa5a5;
	check("shared memory", *shared(1) == 0x5a5aa5a5);
	/* more kicks than the mailbox holds: ringing never waits */
	for (i = 0; i < 100; i++)
		board.mbox->ring(board.mbox_base);
	check("nobody there to be kicked", interrupts == 0);
	if (strcmp(what, "mailbox") == 0)
		test_rounds();
}
