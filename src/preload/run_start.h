/* SPDX-License-Identifier: BSD-3-Clause */
/* ampsock-run: the links, and the program's start. */
#ifndef AMP_RUN_START_H
#define AMP_RUN_START_H

#include <signal.h>
#include <sys/types.h>

#define RUN_EXIT_USAGE	 2
#define RUN_EXIT_LINK	 125
#define RUN_EXIT_NOT_RUN 126
#define RUN_EXIT_NONE	 127

/* TYPE:PATH... 0, or the exit status after a message. */
int run_link_up(const char *link);
/* The thread that brings a guest's link up again. 0 or -errno. */
int run_links_watch(void);
/* Can it be run so? 0, or the exit status after a message. */
int run_check_program(const char *name);
/* Its pid; -1 after a message. mask: its signal mask. */
pid_t run_start(char **argv, const sigset_t *mask);

/* run_inside.c: sockets that are closed and not over; else packets that the other end has not
 * taken. */
unsigned run_closing(void);
/* Bytes that a message on this descriptor of the library may have; 0: it cannot be said. */
int run_limit(int amp);

#endif /* AMP_RUN_START_H */
