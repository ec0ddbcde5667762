/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef INSN_H
#define INSN_H

#include <stdint.h>

struct amp_vq;

/* insn.c: let the other side run; returns when it lets us run. Not counted. */
void insn_switch(void);
extern unsigned insn_kicks;

/* insn_side.c, in each stack */
int amp_side_up(uint32_t my_cid);
struct amp_vq *amp_side_queue(unsigned q);
void *amp_side_mem(void);
int amp_side_turn(unsigned q, const struct amp_vq *theirs, void *their_mem);

#endif /* INSN_H */
