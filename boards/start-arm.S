/* SPDX-License-Identifier: BSD-3-Clause */
/* Start-up and exceptions, one Cortex-A core, everything runs in Supervisor mode. */
	.syntax unified
	.arm
	.section .text.start, "ax"
	.global _start
_start:
	mrc	p15, 0, r0, c0, c0, 5
	lsls	r0, r0, #8		/* MPIDR affinity */
	bne	4f			/* other cores wait for ever */
	cpsid	if, #19
	ldr	sp, =__stack_top
	ldr	r0, =vectors
	mcr	p15, 0, r0, c12, c0, 0	/* VBAR */
	ldr	r1, =__bss_start
	ldr	r2, =__bss_end
	mov	r0, #0
2:	cmp	r1, r2
	bhs	3f
	str	r0, [r1], #4
	b	2b
3:	ldr	r0, =board_start
	bx	r0
4:	wfi
	b	4b

	.text
	.balign	32
vectors:
	b	fault
	b	fault			/* undefined instruction */
	b	fault			/* supervisor call */
	b	prefetch
	b	data
	b	fault
	b	irq
	b	fault

irq:	/* return state goes to Supervisor's stack, which is then aligned to 8 */
	sub	lr, lr, #4
	srsdb	sp!, #19
	cpsid	i, #19
	push	{r0-r3, r12, lr}
	and	r1, sp, #4
	sub	sp, sp, r1
	push	{r1, r2}
	bl	board_arch_irq
	pop	{r1, r2}
	add	sp, sp, r1
	pop	{r0-r3, r12, lr}
	rfeia	sp!

prefetch:
	mrc	p15, 0, r0, c5, c0, 1	/* IFSR */
	mrc	p15, 0, r2, c6, c0, 2	/* IFAR */
	b	1f
data:
	mrc	p15, 0, r0, c5, c0, 0	/* DFSR */
	mrc	p15, 0, r2, c6, c0, 0	/* DFAR */
	b	1f
fault:
	mvn	r0, #0
	mov	r2, #0
1:	mov	r1, lr
	cpsid	if, #19
	bl	board_arch_fault

/* intptr_t board_semihost(uintptr_t op, const void *block) */
	.global board_semihost
	.type	board_semihost, %function
board_semihost:
	push	{lr}			/* the debugger's trap may spoil it */
	svc	#0x123456
	pop	{pc}
