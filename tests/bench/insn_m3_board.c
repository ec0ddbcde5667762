/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The board under insn_rpmsg.c: boards/main.c and console.c without the library, which here is
 * there twice under other names, each time with a port of its own. No interrupts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <picotls.h>

#include "../../boards/board.h"

int main(int argc, char **argv);
void _exit(int code);

static int put(char c, FILE *f)
{
	(void)f;
	board.uart->put(board.uart_base, c);
	return (unsigned char)c;
}

static FILE stream = FDEV_SETUP_STREAM(put, NULL, NULL, _FDEV_SETUP_WRITE);
FILE *const stdout = &stream;

void board_fault(const char *what, uintptr_t cause, uintptr_t pc, uintptr_t addr)
{
	printf("%s=%lx pc=%lx addr=%lx\n", what, (unsigned long)cause, (unsigned long)pc,
	       (unsigned long)addr);
	board_exit(125);
}

void board_puts(const char *s)
{
	fputs(s, stdout);
}

void board_irq(unsigned irq)
{
	(void)irq;
}

void _exit(int code)
{
	board_exit(code);
}

void board_start(void)
{
	static char args[128];
	char *argv[8], *word;
	int argc = 0;

	_set_tls(__tls_base);
	board.intc->init();
	board.timer->init();
	board.uart->init(board.uart_base);
	if (board_args(args, sizeof(args)) > 0) {
		for (word = strtok(args, " "); word && argc < 8; word = strtok(NULL, " "))
			argv[argc++] = word;
	}
	exit(main(argc, argv));
}
