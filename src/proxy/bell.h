/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A doorbell: how a remote core and we wake each other. The rings say what there is to do, so
 * a bell says nothing but "look".
 *
 *	unix     a Unix stream socket that somebody else listens on (QEMU's -serial
 *	         unix:PATH,server=on,wait=off: the remote's UART). Each byte is a ring. It
 *	         is connected again when it goes, and may come late
 *	eventfd  two inherited descriptors
 *	poll     nobody rings: we look at an interval
 */
#ifndef AMP_PROXY_BELL_H
#define AMP_PROXY_BELL_H

#include "config.h"
#include "loop.h"

#define AMP_BELL_RETRY_MS 200u

struct amp_bell {
	const struct amp_bell_conf *conf;
	const char *link; /* for log lines */
	/* It rang, or is there (again): look. */
	void (*rung)(struct amp_bell *b);
	/* Who was behind it is gone. */
	void (*lost)(struct amp_bell *b);
	struct amp_watch watch;
	uv_timer_t timer; /* unix: the next try; poll: the interval */
	int tx;		  /* eventfd */
	bool up;	  /* it can be rung */
	bool said;	  /* that it is not there */
	uint64_t rx_cnt, tx_cnt;
};

/* Of eventfds: are they? 0, or -EBADF, said. Looks into /proc: before the worker is confined. */
int amp_bell_check(const struct amp_bell_conf *conf, const char *link);
/* Of eventfds: were they checked at the start? Then they are there still. */
bool amp_bell_had(const struct amp_bell_conf *conf);
/* Fields that the caller sets first: conf link rung lost. */
void amp_bell_init(struct amp_bell *b);
/* 0 or -errno, said. */
int amp_bell_start(struct amp_bell *b);
void amp_bell_ring(struct amp_bell *b);
void amp_bell_stop(struct amp_bell *b);

#endif /* AMP_PROXY_BELL_H */
