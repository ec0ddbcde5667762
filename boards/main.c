/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From start-up to the main() of an ordinary program: memory map, interrupts, clock,
 * console, link, arguments; and its exit status back to whoever started the board.
 */
#include <stdlib.h>
#include <string.h>
#ifdef __PICOLIBC__
#include <picotls.h>
#endif

#include "board.h"
#include "../include/ampsock.h"
#include "../src/ampsock_config.h"

#define ARGS_LEN 512
#define ARGC_MAX 32

int main(int argc, char **argv);
void board_prepare(void);
extern void (*__init_array_start[])(void), (*__init_array_end[])(void);

void board_fault(const char *what, uintptr_t cause, uintptr_t pc, uintptr_t addr)
{
	board_puts("\n");
	board_puts(what);
	board_puts("=");
	board_put_hex(cause);
	board_puts(" pc=");
	board_put_hex(pc);
	board_puts(" addr=");
	board_put_hex(addr);
	board_puts("\n");
	board_exit(125);
}

void board_irq(unsigned irq)
{
	if (irq == board.uart_irq)
		board_console_irq();
	else if (irq == board.timer_irq)
		board.timer->silence();
	else
		(void)board_link_irq(irq);
}

static void thread_pointer(void)
{
#ifdef __PICOLIBC__
	_set_tls(__tls_base); /* errno lives there */
#endif
}

/* Words between blanks; no quoting. */
static int split(char *line, char **argv, int max)
{
	int argc = 0;
	char *word;

	for (word = strtok(line, " \t"); word && argc < max; word = strtok(NULL, " \t"))
		argv[argc++] = word;
	return argc;
}

void board_log(const char *line)
{
	board_puts("ampsock: ");
	board_puts(line);
	board_puts("\n");
}

/* A program with its own idea of a link (a test of the board itself) defines this. */
__attribute__((weak)) void board_prepare(void)
{
	amp_log_hook(board_log);
	board_stdio();
	if (!board_link())
		board_exit(126);
}

void board_start(void)
{
	static char args[ARGS_LEN];
	static char *argv[ARGC_MAX + 1];
	void (**init)(void);
	uint32_t hz;
	int argc;

	thread_pointer();
	board_mmu_on();
	board.intc->init();
	board.timer->init();
	hz = board.timer_hz ? board.timer_hz : board.timer->hz();
	amp_baremetal_init(&board.timer->clock, hz);
	if (AMPSOCK_SPIN)
		amp_baremetal_spin(board.spin_us);
	if (board.timer_irq)
		board.intc->enable(board.timer_irq);
	board_console_init();
	board_irq_on();
	for (init = __init_array_start; init < __init_array_end; init++)
		(*init)();
	board_prepare();
	argc = board_args(args, sizeof(args)) > 0 ? split(args, argv, ARGC_MAX) : 0;
	if (argc == 0)
		argv[argc++] = (char *)(uintptr_t)board.name;
	exit(main(argc, argv));
}
