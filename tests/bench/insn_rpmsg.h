/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef INSN_RPMSG_H
#define INSN_RPMSG_H

#include <stdint.h>

/* insn_rpmsg.c: let the other side run; returns when it lets us run. Not counted. */
void insn_switch(void);
extern unsigned insn_kicks;

/* What both sides see: the resource table, then rings and buffers. */
#define INSN_ENTRIES   16
#define INSN_TABLE_LEN 4096u
#define INSN_SHM_LEN   (INSN_TABLE_LEN + 32768u)
#define INSN_SHM_DA    0x21000000u
extern uint8_t insn_shm[INSN_SHM_LEN];

#endif /* INSN_RPMSG_H */
