/* SPDX-License-Identifier: BSD-3-Clause */
/* The mailbox of a board that shares memory with its host. The link itself follows. */
#include "board.h"
#include "../src/port/port.h"

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
	board_puts("no rpmsg link yet\n");
	return false;
}
