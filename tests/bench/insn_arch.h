/* SPDX-License-Identifier: BSD-3-Clause */
/* What insn_rpmsg.c asks of the machine that it counts on: insn_host.c, insn_m3.c. */
#ifndef INSN_ARCH_H
#define INSN_ARCH_H

/* Two threads of control that take turns: the caller's, and other() on a stack of its own. */
void insn_start(void (*other)(void));
void insn_turn(void);

/* Count instructions from here, to here. */
void insn_on(void);
void insn_off(void);
/* Instructions counted so far; 0: somebody else counts (callgrind). */
unsigned long insn_counted(void);

#endif /* INSN_ARCH_H */
