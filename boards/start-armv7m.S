/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Start-up and exceptions of a Cortex-M: everything runs privileged, in thread mode on the
 * main stack. _start is also where a warm reset jumps to: it takes nothing for granted
 * that a reset would have done, but interrupt controller and devices (their init does that).
 */
	.syntax unified
	.thumb
	.section .vectors, "a"
	.balign	512			/* VTOR: the table's size, rounded up */
board_vectors:
	.word	__stack_top
	.word	_start
	.rept	14			/* NMI, faults, SVCall, PendSV, SysTick: none expected */
	.word	fault
	.endr
	.rept	64
	.word	board_arch_irq
	.endr

	.text
	.global _start
	.type	_start, %function
_start:
	cpsid	i
	movs	r0, #0
	msr	control, r0		/* main stack, privileged */
	isb
	ldr	r0, =__stack_top
	mov	sp, r0
	ldr	r0, =0xe000ed08		/* VTOR */
	ldr	r1, =board_vectors
	str	r1, [r0]
	ldr	r0, =__data_load
	ldr	r1, =__data_start
	ldr	r2, =__data_end
1:	cmp	r1, r2
	bhs	2f
	ldr	r3, [r0], #4
	str	r3, [r1], #4
	b	1b
2:	ldr	r1, =__bss_start
	ldr	r2, =__bss_end
	movs	r0, #0
3:	cmp	r1, r2
	bhs	4f
	str	r0, [r1], #4
	b	3b
4:	ldr	r0, =board_start
	bx	r0

/* What the core pushed says where; whatever stack that was on is given up. */
	.type	fault, %function
fault:
	tst	lr, #4
	ite	eq
	mrseq	r0, msp
	mrsne	r0, psp
	ldr	r0, [r0, #24]		/* return address */
	ldr	r1, =__stack_top
	mov	sp, r1
	b	board_arch_fault

/* intptr_t board_semihost(uintptr_t op, const void *block) */
	.global board_semihost
	.type	board_semihost, %function
board_semihost:
	bkpt	0xab
	bx	lr
