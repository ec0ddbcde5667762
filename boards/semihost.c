/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Semihosting, the same calls on Arm and RISC-V: how a command line reaches bare metal
 * under an emulator or a debug probe, and how main()'s status gets back. QEMU wants
 * -semihosting-config enable=on,target=native,arg=NAME,arg=...
 */
#include "board.h"

#define SYS_GET_CMDLINE	  0x15u
#define SYS_EXIT_EXTENDED 0x20u
#define APPLICATION_EXIT  0x20026u

int board_args(char *line, size_t len)
{
	uintptr_t block[2] = {(uintptr_t)line, len}; /* out: its length */

	if (board_semihost(SYS_GET_CMDLINE, block) != 0)
		return -1;
	return (int)block[1];
}

void board_exit(int code)
{
	const uintptr_t block[2] = {APPLICATION_EXIT, (uintptr_t)code};

	for (;;)
		(void)board_semihost(SYS_EXIT_EXTENDED, block);
}
