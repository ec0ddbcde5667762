/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to helper.c, helper_guard.c, helper_tell.c and helper_upgrade.c: the worker that there
 * is, the next one, the next program. */
#ifndef AMP_PROXY_HELPER_LIFE_H
#define AMP_PROXY_HELPER_LIFE_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "log.h"

/* For a worker that was told to end. (With sanitizers, it looks for leaks when it does.) */
#if defined(AMPSOCK_SANITIZED)
#define AMP_HELPER_END_MS 60000u
#elif !defined(AMP_HELPER_END_MS) /* a test has less */
#define AMP_HELPER_END_MS 8000u
#endif

/* ---- helper_tell.c: signals for the worker ---- */

int amp_helper_tell_init(uv_loop_t *uv);
/* Tells the worker, now or when it listens; of SIGHUP the next one if there is none. */
void amp_helper_tell(int num);
/* The worker has dealt with the signal that it was told of with this number. */
void amp_helper_tell_heard(uint64_t id);
/* Where the worker that begins hears of them; -1: it has ended. */
void amp_helper_tell_worker(int sock);

/* ---- helper_guard.c: workers that hang or die ---- */

/* read: serves what the worker has sent, until nothing is left. How many messages. */
int amp_helper_guard_init(uv_loop_t *uv, unsigned (*read)(void));
/* A worker begins, or (0, -1) it has ended. */
void amp_helper_guard_worker(pid_t pid, int sock);
/* It was killed, because it hung. */
bool amp_helper_guard_killed(void);
/* It was told to end, and is killed in AMP_HELPER_END_MS; why: "does not ...". */
void amp_helper_guard_end(const char *why);
/* It says that it ends, and takes wait_s seconds more (of which the caller has checked that it
 * may): once. */
void amp_helper_guard_stopping(uint32_t wait_s);
/* The worker is ready, and the service manager wants to hear of it in this interval (0: never): asks,
 * from now on. */
void amp_helper_guard_watch(uint64_t interval_ms);
/* An answer. True: to a question that was asked and not answered: the manager may hear of it. */
bool amp_helper_guard_pong(uint64_t id);
/* One has died: in how many ms the next may begin; -1: too many have. */
int64_t amp_helper_guard_back_off(void);

/* ---- helper_published.c: rules for the next program, in the environment ---- */

int amp_helper_published_save(void);
void amp_helper_published_unsave(void);

/* ---- helper_upgrade.c: another program ---- */

int amp_helper_try_init(uv_loop_t *uv);
/* Runs the program file with --check-config. What comes in the way is said. */
void amp_helper_try_program(const sigset_t *mask);
/* At SIGCHLD. True: it has ended, and it is good. */
bool amp_helper_try_reap(void);
/* Nobody wants to know any more. */
void amp_helper_try_end(void);
/*
 * level: of the log, as configured. Signals are blocked and stay so: the next program unblocks
 * them when it can hear them. Returns only if it fails: -errno, said.
 */
int amp_helper_exec(enum amp_log_level level);

#endif /* AMP_PROXY_HELPER_LIFE_H */
