/* SPDX-License-Identifier: BSD-3-Clause */
/* What a C library asks of a board: the time and the way out. */
#include <sys/time.h>

#include "board.h"
#include "../include/ampsock.h"
#include "../src/port/port.h"

int gettimeofday(struct timeval *restrict tv, void *restrict tz);
int _gettimeofday(struct timeval *tv, void *tz);
void _exit(int code);
void _fini(void);

/* There is no clock on the wall: time since the counter started. */
int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	uint64_t ticks = board.timer->clock.ticks();
	uint32_t hz = board.timer_hz ? board.timer_hz : board.timer->hz();

	(void)tz;
	tv->tv_sec = (time_t)(ticks / hz);
	tv->tv_usec = (suseconds_t)(ticks % hz * 1000000 / hz);
	return 0;
}

/* newlib's */
int _gettimeofday(struct timeval *tv, void *tz)
{
	return gettimeofday(tv, tz);
}

/* What was sent before the end is to arrive: the emulator dies with us. */
static void linger(void)
{
	struct amp_stats st;
	int tries = 500;

	do {
		(void)amp_poll_links();
		amp_stats_get(&st);
		amp_port_lock();
		if (st.tx_pending)
			(void)amp_port_wait(2);
		amp_port_unlock();
	} while (st.tx_pending && tries-- > 0);
}

void _exit(int code)
{
	linger();
	board_exit(code);
}

/* newlib's exit() calls it where crti.o is linked, which is not here. */
void _fini(void)
{
}
