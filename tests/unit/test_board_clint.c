// SPDX-License-Identifier: BSD-3-Clause
/* boards/timer-clint.c on memory in place of registers: an interrupt that comes late. */
// build: -Iboards -D__riscv_xlen=64
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../boards/timer-clint.c"

static uint64_t regs[0xc000 / sizeof(uint64_t)];
const struct board board = {.timer_base = (uintptr_t)regs};

static uint64_t *reg(unsigned at)
{
	return &regs[at / sizeof(uint64_t)];
}

static void test_late(void **state)
{
	const struct board_timer *t = &board_timer_clint;

	(void)state;
	t->init();
	assert_true(*reg(MTIMECMP) == UINT64_MAX);
	*reg(MTIME) = 200;
	t->clock.alarm(100); /* at once */
	assert_true(*reg(MTIMECMP) == 100);
	t->silence();
	assert_true(*reg(MTIMECMP) == UINT64_MAX);
	t->clock.alarm(300);
	t->silence(); /* the interrupt of the one before */
	assert_true(*reg(MTIMECMP) == 300);
	*reg(MTIME) = 300;
	t->silence();
	assert_true(*reg(MTIMECMP) == UINT64_MAX);
	t->clock.alarm(UINT64_MAX);
	t->silence();
	assert_true(*reg(MTIMECMP) == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
