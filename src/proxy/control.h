/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket: what an operator sees and changes at run time (docs/control.md).
 *
 * Theory of operation
 *
 * A Unix stream socket; a request is a line with one JSON object, its answer another. Who may
 * ask for what is settled when a connection is accepted, by its peer's credentials. Requests
 * are hostile input: control_json.c takes only flat objects of a few known keys, each once.
 * Everything else about a client (how many, how long, how much at a time) is client.h's.
 *
 * A list (links, sockets, rules) has as many entries as there are. Its answer is made in
 * pieces while it is read: between two turns of the loop nothing is kept but a cursor (numbers
 * of link and entry, no pointers), so a list shows what there was at the time each entry was
 * written, and costs no memory.
 */
#ifndef AMP_PROXY_CONTROL_H
#define AMP_PROXY_CONTROL_H

#include <sys/types.h>

#include "link.h"

/* What the credentials of a client allow. */
enum amp_ctl_right { AMP_CTL_NONE, AMP_CTL_LOOK, AMP_CTL_ALL };

/*
 * Before there are two processes: who may do what, by number. 0, or -EINVAL and said: there is no
 * such group.
 */
int amp_control_prepare(const struct amp_config *conf);
/* Of the socket's file. */
mode_t amp_control_mode(void);
/* Of who is at the other end of fd; UINT32_MAX: not known. As this process sees users. */
enum amp_ctl_right amp_control_right(int fd, uint32_t *uid, uint32_t *pid);

/* The listening socket's path and who may connect, from the configuration. 0 or -errno, said. */
int amp_control_start(const struct amp_config *conf);
void amp_control_stop(void);

/* Prometheus text over HTTP: metrics.c. */
int amp_metrics_start(const struct amp_config *conf);
void amp_metrics_stop(void);

/* Room for the sentences of amp_reload(), amp_publish_*() (reload.h) and of: */
#define AMP_WHY_LEN 1800u
/* A new program takes this one's place and guests. 0: it has begun; -errno, and why not. */
int amp_upgrade(char *why, size_t len);

#endif /* AMP_PROXY_CONTROL_H */
