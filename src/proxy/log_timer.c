// SPDX-License-Identifier: BSD-3-Clause
/* Suppressed lines are told of in time, also when no more of their kind come. */
#include "log.h"
#include "loop.h"

static uv_timer_t timer;

static void on_timer(uv_timer_t *t)
{
	uint64_t ms = amp_log_tell(false);

	if (ms)
		uv_timer_start(t, on_timer, ms, 0);
}

static void on_held(void)
{
	if (!uv_is_active((uv_handle_t *)&timer))
		uv_timer_start(&timer, on_timer, AMP_LOG_WINDOW_MS, 0);
}

void amp_log_timer_start(void)
{
	uv_timer_init(amp_loop_uv(), &timer);
	amp_log_on_held(on_held);
}

void amp_log_timer_stop(void)
{
	amp_log_on_held(NULL);
	amp_log_tell(true);
	uv_close((uv_handle_t *)&timer, NULL);
}
