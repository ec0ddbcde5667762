/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The UART as descriptors 0 to 2 and as the C library's standard streams. Received bytes
 * go from the interrupt into a ring; writing waits for the UART, it is the debug path.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "board.h"
#include "../src/port/port.h"
#include "../src/socket/fd.h"

/* A power of two. */
#ifndef BOARD_CONSOLE_LEN
#define BOARD_CONSOLE_LEN 256
#endif
#define RING_LEN (BOARD_CONSOLE_LEN + 0u)

/* Interrupt writes head and drops, the thread writes tail. */
static struct {
	volatile uint32_t head;
	volatile uint32_t tail;
	volatile uint32_t drops; /* seen as '?' in a debugger's hand, and in board_fault() */
	uint8_t buf[RING_LEN];
} rx;

void board_console_irq(void)
{
	int c;

	while ((c = board.uart->get(board.uart_base)) >= 0) {
		if (rx.head - rx.tail == RING_LEN) {
			rx.drops++;
			continue;
		}
		rx.buf[rx.head % RING_LEN] = (uint8_t)c;
		rx.head++;
	}
	amp_port_wake();
}

static void put(char c)
{
	if (c == '\n')
		board.uart->put(board.uart_base, '\r');
	board.uart->put(board.uart_base, c);
}

void board_puts(const char *s)
{
	while (*s)
		put(*s++);
}

void board_put_hex(uintptr_t v)
{
	unsigned shift = sizeof(v) * 8;

	board_puts("0x");
	while (shift > 0) {
		shift -= 4;
		put("0123456789abcdef"[v >> shift & 15]);
	}
}

static ssize_t console_read(int fd, void *buf, size_t len)
{
	uint8_t *to = buf;
	size_t n = 0;

	(void)fd;
	while (n < len && rx.tail != rx.head) {
		uint8_t c = rx.buf[rx.tail % RING_LEN];

		rx.tail++;
		to[n++] = c == '\r' ? '\n' : c; /* a terminal's return key */
	}
	return n > 0 || len == 0 ? (ssize_t)n : -EAGAIN;
}

static ssize_t console_write(int fd, const void *buf, size_t len)
{
	const char *s = buf;
	size_t i;

	(void)fd;
	for (i = 0; i < len; i++)
		put(s[i]);
	return (ssize_t)len;
}

static int console_poll(int fd)
{
	(void)fd;
	return POLLOUT | (rx.tail != rx.head ? POLLIN : 0);
}

static const struct amp_fd_ops console_ops = {
	.read = console_read,
	.write = console_write,
	.poll = console_poll,
};

void board_console_init(void)
{
	board.uart->init(board.uart_base);
	board.intc->enable(board.uart_irq);
}

void board_stdio(void)
{
	amp_fd_console(&console_ops);
}

#ifdef __PICOLIBC__
/* picolibc leaves the streams to the program; newlib's reach the descriptors by itself. */
static int stream_put(char c, FILE *f)
{
	(void)f;
	put(c);
	return (unsigned char)c;
}

static int stream_get(FILE *f)
{
	char c;

	(void)f;
	amp_port_lock();
	while (console_read(0, &c, 1) < 0)
		(void)amp_port_wait(-1);
	amp_port_unlock();
	return (unsigned char)c;
}

static FILE stream = FDEV_SETUP_STREAM(stream_put, stream_get, NULL, _FDEV_SETUP_RW);
FILE *const stdin = &stream;
FILE *const stdout = &stream;
FILE *const stderr = &stream;
#endif
