/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a board is: data. The start-up of an architecture (arch-*.S, arch-*.c), the
 * drivers and main.c are shared; a board is one struct and a few lines of make.
 */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../src/port/baremetal.h"

struct board_uart {
	void (*init)(uintptr_t base); /* receive interrupt on */
	void (*put)(uintptr_t base, char c);
	int (*get)(uintptr_t base); /* -1: nothing there */
};

struct board_intc {
	void (*init)(void);
	void (*enable)(unsigned irq);
	/* In the interrupt: take what is pending, board_irq() for each, acknowledge. */
	void (*dispatch)(void);
};

struct board_timer {
	struct amp_baremetal_clock clock;
	uint32_t (*hz)(void);
	void (*init)(void);
	void (*silence)(void); /* in its interrupt */
};

/* How two cores that share memory call each other. */
struct board_mbox {
	void (*init)(uintptr_t base); /* interrupt on */
	void (*ring)(uintptr_t base); /* never waits: thread context */
	void (*take)(uintptr_t base); /* in its interrupt: acknowledge */
};

struct board {
	const char *name;
	const struct board_uart *uart;
	uintptr_t uart_base;
	unsigned uart_irq;
	const struct board_intc *intc;
	uintptr_t intc_base;	 /* GIC distributor, PLIC */
	uintptr_t intc_cpu_base; /* GIC CPU interface; PLIC: context 0's threshold */
	const struct board_timer *timer;
	uintptr_t timer_base; /* CLINT; generic timers live in system registers */
	uint32_t timer_hz;    /* 0: the core knows */
	unsigned timer_irq;   /* 0: does not go through intc */
	uint32_t spin_us;     /* looks at the link so long before it sleeps: AMPSOCK_SPIN */
	uintptr_t mmio_base;  /* virtio-mmio slots */
	uint32_t mmio_stride;
	unsigned mmio_cnt;
	unsigned mmio_irq; /* of slot 0, the others follow */
	const struct board_mbox *mbox;
	uintptr_t mbox_base;
	unsigned mbox_irq;
};

extern const struct board board;
extern const struct board_uart board_pl011, board_ns16550, board_uart_cmsdk;
extern const struct board_intc board_gicv2, board_plic, board_nvic;
extern const struct board_timer board_timer_arm, board_timer_clint, board_timer_sp804;
extern const struct board_mbox board_mbox_cmsdk;

static inline volatile uint32_t *board_reg(uintptr_t base, uintptr_t off)
{
	return (volatile uint32_t *)(base + off);
}

/* arch-*.S, arch-*.c */
extern char __ram_start[], __ram_end[], __tls_base[];
void board_mmu_on(void);
void board_irq_on(void);
uintptr_t board_irq_save(void); /* mask, arch-armv7m.c alone: what to restore */
void board_irq_restore(uintptr_t masked);
intptr_t board_semihost(uintptr_t op, const void *block);

/* main.c, called by the above */
_Noreturn void board_start(void);
void board_irq(unsigned irq);
void board_log(const char *line);
_Noreturn void board_fault(const char *what, uintptr_t cause, uintptr_t pc, uintptr_t addr);

/* console.c */
void board_console_init(void);
void board_console_irq(void);
void board_puts(const char *s);
void board_put_hex(uintptr_t v);
void board_stdio(void);

/* semihost.c: arguments from and exit status to whoever started the board. */
int board_args(char *line, size_t len); /* length, -1: none */
_Noreturn void board_exit(int code);

/* link-*.c: bring the board's link up; false: a message has been printed. */
bool board_link(void);
bool board_link_irq(unsigned irq);

#endif /* BOARD_H */
