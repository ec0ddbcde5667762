/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whoever asks the proxy something over a stream socket (control.c, metrics.c): bounded
 * in number, memory, time, and in what one turn of the loop does for it.
 *
 * Theory of operation
 *
 * A client is a request buffer and an answer buffer. It is served as a work item, like a flow:
 * one turn writes what the socket takes, and then either fills the answer buffer once more
 * (ops->more) or reads and handles one request (ops->input). So an answer of any length is made
 * in pieces, as fast as its reader takes them and no faster, and a thousand requests in one
 * packet have a thousand turns.
 *
 * Three clocks run against a client: how long a request may take from its first byte, how long
 * the answer buffer may take to be read, how long it may be silent in between. Their timer runs
 * while there are clients.
 */
#ifndef AMP_PROXY_CLIENT_H
#define AMP_PROXY_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "publish.h"

#define AMP_CLIENT_IN	4096u  /* a request, its line end included */
#define AMP_CLIENT_OUT	16384u /* of an answer at a time */
#define AMP_CLIENT_ITEM 4096u  /* room that ops->more() finds at least */

struct amp_client;
struct amp_server;

struct amp_client_ops {
	size_t size; /* of the struct that begins with a struct amp_client */
	/* A fresh one, on fd. False: it is not wanted: what was put is sent, then it ends. */
	bool (*admit)(struct amp_client *c);
	/*
	 * len bytes are there: how many were used up, 0: more are needed. What is put now is the
	 * answer, or its beginning: then c->answering.
	 */
	size_t (*input)(struct amp_client *c, const char *text, size_t len);
	/* AMP_CLIENT_IN bytes, or the end of input behind some, and still no request. */
	void (*bad)(struct amp_client *c, bool eof);
	/* c->answering: more of the answer, at most AMP_CLIENT_ITEM bytes a time. */
	void (*more)(struct amp_client *c);
	/* No more input. NULL: then it ends as soon as what was asked is answered. */
	void (*eof)(struct amp_client *c);
	/* The last call. May be NULL. */
	void (*gone)(struct amp_client *c);
	uint32_t request_ms, answer_ms, idle_ms;
	const char *what; /* in a log line */
};

struct amp_client {
	TAILQ_ENTRY(amp_client) entry;
	struct amp_server *server;
	struct amp_watch watch;
	struct amp_work work;
	struct amp_grave grave;
	uint64_t deadline_ms;
	bool readable, writable, eof;
	bool answering; /* ops->more() has more, or will have (then it queues c->work) */
	bool last;	/* nothing more is read: it ends when the answer is out */
	bool dead;
	bool asking;  /* deadline_ms is of a request, */
	bool sending; /* or of an answer */
	size_t in_len, out_at, out_len;
	char in[AMP_CLIENT_IN + 1];
	char out[AMP_CLIENT_OUT];
};

struct amp_server {
	const struct amp_client_ops *ops;
	struct amp_acceptor acceptor;
	TAILQ_HEAD(, amp_client) clients;
	unsigned client_cnt, client_max;
	uv_timer_t timer;
	struct amp_log_rate log;
	uint64_t served, refused;
};

/* fd: a listening socket, the server's from now on. 0 or -errno. */
int amp_server_start(struct amp_server *s, const struct amp_client_ops *ops, int fd,
		     unsigned client_max);
void amp_server_stop(struct amp_server *s);

size_t amp_client_room(const struct amp_client *c);
/* False, and nothing happens: there is no such room. */
bool amp_client_put(struct amp_client *c, const void *data, size_t len);
bool amp_client_puts(struct amp_client *c, const char *text);

#endif /* AMP_PROXY_CLIENT_H */
