/* SPDX-License-Identifier: BSD-3-Clause */
/* Start-up and traps, one hart, machine mode. */
#if __riscv_xlen == 64
#define LOAD  ld
#define STORE sd
#define REG   8
#else
#define LOAD  lw
#define STORE sw
#define REG   4
#endif

	.section .text.start, "ax"
	.global _start
_start:
	csrw	mie, zero
	csrr	t0, mhartid
	bnez	t0, 4f			/* other harts wait for ever */
	.option	push
	.option	norelax
	la	gp, __global_pointer$
	.option	pop
	la	sp, __stack_top
	la	t0, trap
	csrw	mtvec, t0
	la	t1, __bss_start
	la	t2, __bss_end
2:	bgeu	t1, t2, 3f
	STORE	zero, 0(t1)
	addi	t1, t1, REG
	j	2b
3:	tail	board_start
4:	wfi
	j	4b

	.text
	.balign	4
trap:
	addi	sp, sp, -16 * REG
	STORE	ra, 0 * REG(sp)
	STORE	t0, 1 * REG(sp)
	STORE	t1, 2 * REG(sp)
	STORE	t2, 3 * REG(sp)
	STORE	t3, 4 * REG(sp)
	STORE	t4, 5 * REG(sp)
	STORE	t5, 6 * REG(sp)
	STORE	t6, 7 * REG(sp)
	STORE	a0, 8 * REG(sp)
	STORE	a1, 9 * REG(sp)
	STORE	a2, 10 * REG(sp)
	STORE	a3, 11 * REG(sp)
	STORE	a4, 12 * REG(sp)
	STORE	a5, 13 * REG(sp)
	STORE	a6, 14 * REG(sp)
	STORE	a7, 15 * REG(sp)
	csrr	a0, mcause
	csrr	a1, mepc
	csrr	a2, mtval
	call	board_arch_trap
	LOAD	ra, 0 * REG(sp)
	LOAD	t0, 1 * REG(sp)
	LOAD	t1, 2 * REG(sp)
	LOAD	t2, 3 * REG(sp)
	LOAD	t3, 4 * REG(sp)
	LOAD	t4, 5 * REG(sp)
	LOAD	t5, 6 * REG(sp)
	LOAD	t6, 7 * REG(sp)
	LOAD	a0, 8 * REG(sp)
	LOAD	a1, 9 * REG(sp)
	LOAD	a2, 10 * REG(sp)
	LOAD	a3, 11 * REG(sp)
	LOAD	a4, 12 * REG(sp)
	LOAD	a5, 13 * REG(sp)
	LOAD	a6, 14 * REG(sp)
	LOAD	a7, 15 * REG(sp)
	addi	sp, sp, 16 * REG
	mret

/* intptr_t board_semihost(uintptr_t op, const void *block) */
	.global board_semihost
	.option	push
	.option	norvc
	.balign	16
board_semihost:				/* three uncompressed instructions are the call */
	slli	zero, zero, 0x1f
	ebreak
	srai	zero, zero, 7
	.option	pop
	ret
