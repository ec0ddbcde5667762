/* SPDX-License-Identifier: BSD-3-Clause */
/* Start-up and exceptions, one core, EL1, vectors for the current EL only. */
	.section .text.start, "ax"
	.global _start
_start:
	mrs	x0, mpidr_el1
	tst	x0, #0xffffff
	b.ne	4f			/* other cores wait for ever */
	adrp	x0, __stack_top
	add	x0, x0, :lo12:__stack_top
	mov	sp, x0
	mov	x1, #3 << 20
	msr	cpacr_el1, x1		/* FP and SIMD: the compiler uses them to copy */
	adrp	x1, vectors
	add	x1, x1, :lo12:vectors
	msr	vbar_el1, x1
	isb
	adrp	x1, __bss_start
	add	x1, x1, :lo12:__bss_start
	adrp	x2, __bss_end
	add	x2, x2, :lo12:__bss_end
2:	cmp	x1, x2
	b.hs	3f
	stp	xzr, xzr, [x1], #16
	b	2b
3:	mov	x29, xzr
	mov	x30, xzr
	b	board_start
4:	wfi
	b	4b

	.text
irq:	/* no nesting: ELR and SPSR stay where they are; handlers use no SIMD register */
	stp	x0, x1, [sp, #-176]!
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	stp	x8, x9, [sp, #64]
	stp	x10, x11, [sp, #80]
	stp	x12, x13, [sp, #96]
	stp	x14, x15, [sp, #112]
	stp	x16, x17, [sp, #128]
	stp	x18, x29, [sp, #144]
	str	x30, [sp, #160]
	bl	board_arch_irq
	ldr	x30, [sp, #160]
	ldp	x18, x29, [sp, #144]
	ldp	x16, x17, [sp, #128]
	ldp	x14, x15, [sp, #112]
	ldp	x12, x13, [sp, #96]
	ldp	x10, x11, [sp, #80]
	ldp	x8, x9, [sp, #64]
	ldp	x6, x7, [sp, #48]
	ldp	x4, x5, [sp, #32]
	ldp	x2, x3, [sp, #16]
	ldp	x0, x1, [sp], #176
	eret

fault:
	mrs	x0, esr_el1
	mrs	x1, elr_el1
	mrs	x2, far_el1
	b	board_arch_fault

	.macro	slot target
	.balign	128
	b	\target
	.endm

	.balign	2048
vectors:
	.rept	4
	slot	fault			/* current EL, SP0 */
	.endr
	slot	fault			/* current EL, SPx: synchronous */
	slot	irq
	.rept	10
	slot	fault
	.endr

/* intptr_t board_semihost(uintptr_t op, const void *block) */
	.global board_semihost
board_semihost:
	hlt	#0xf000
	ret
