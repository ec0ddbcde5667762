// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation: client.h.
 *
 * #syscalls close recvfrom sendto
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

#define TICK_MS	   500u
#define REFUSED_MS 1000u /* one that is not wanted may take so long to read why */

static void client_free(struct amp_grave *grave)
{
	free(amp_container_of(grave, struct amp_client, grave));
}

static void client_end(struct amp_client *c)
{
	struct amp_server *s = c->server;

	if (c->dead)
		return;
	c->dead = true;
	if (s->ops->gone)
		s->ops->gone(c);
	amp_work_cancel(&c->work);
	amp_watch_close(&c->watch);
	TAILQ_REMOVE(&s->clients, c, entry);
	s->client_cnt--;
	if (TAILQ_EMPTY(&s->clients))
		uv_timer_stop(&s->timer);
	amp_bury(&c->grave, client_free);
	amp_acceptor_go(&s->acceptor);
}

size_t amp_client_room(const struct amp_client *c)
{
	return AMP_CLIENT_OUT - c->out_len;
}

bool amp_client_put(struct amp_client *c, const void *data, size_t len)
{
	if (len > amp_client_room(c))
		return false;
	memcpy(c->out + c->out_len, data, len);
	c->out_len += len;
	return true;
}

bool amp_client_puts(struct amp_client *c, const char *text)
{
	return amp_client_put(c, text, strlen(text));
}

/* Which of the clocks runs. One that runs already goes on: a byte now and then resets none. */
static void set_clock(struct amp_client *c)
{
	const struct amp_client_ops *ops = c->server->ops;
	bool sending = c->out_at < c->out_len, asking = !sending && c->in_len && !c->answering;
	uint32_t ms = sending ? ops->answer_ms : asking ? ops->request_ms : ops->idle_ms;

	if ((sending && c->sending) || (asking && c->asking))
		return;
	c->sending = sending;
	c->asking = asking;
	/* an answer that waits for something to tell may take its time */
	c->deadline_ms = !sending && c->answering ? UINT64_MAX : amp_now_ms() + ms;
}

/* False: it is over. */
static bool flush(struct amp_client *c)
{
	while (c->writable && c->out_at < c->out_len) {
		ssize_t n = send(c->watch.fd, c->out + c->out_at, c->out_len - c->out_at,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0)
			c->out_at += (size_t)n;
		else if (errno == EAGAIN)
			c->writable = false;
		else if (errno != EINTR)
			return false;
	}
	if (c->out_at == c->out_len) {
		c->out_at = c->out_len = 0;
		c->sending = false;
	}
	return true;
}

static bool fill(struct amp_client *c)
{
	ssize_t n;

	if (!c->readable || c->eof || c->in_len == AMP_CLIENT_IN)
		return true;
	n = recv(c->watch.fd, c->in + c->in_len, AMP_CLIENT_IN - c->in_len, MSG_DONTWAIT);
	if (n > 0)
		c->in_len += (size_t)n;
	else if (n == 0)
		c->eof = true;
	else if (errno == EAGAIN)
		c->readable = false;
	else if (errno != EINTR)
		return false;
	c->in[c->in_len] = 0;
	return true;
}

/* One request. True: something happened. */
static bool handle(struct amp_client *c)
{
	const struct amp_client_ops *ops = c->server->ops;
	size_t used = c->in_len ? ops->input(c, c->in, c->in_len) : 0;

	if (used) {
		c->in_len -= used;
		memmove(c->in, c->in + used, c->in_len + 1);
		c->asking = false;
		c->server->served++;
		return true;
	}
	if (c->in_len == AMP_CLIENT_IN || (c->eof && c->in_len)) {
		ops->bad(c, c->in_len < AMP_CLIENT_IN);
		c->in_len = 0;
		c->last = true;
		return true;
	}
	if (c->eof)
		c->last = true;
	return c->eof;
}

static void client_run(struct amp_work *work)
{
	struct amp_client *c = amp_container_of(work, struct amp_client, work);
	bool again = false;

	if (!flush(c)) {
		client_end(c);
		return;
	}
	if (c->out_at < c->out_len) {
		set_clock(c);
		return; /* the socket says when it takes more */
	}
	if (!c->last && !fill(c)) {
		client_end(c);
		return;
	}
	if (c->answering) {
		if (c->eof && c->server->ops->eof)
			c->server->ops->eof(c);
		c->server->ops->more(c);
		again = c->out_len > 0 || !c->answering;
	} else if (!c->last) {
		again = handle(c) || c->readable;
	}
	set_clock(c);
	if (c->last && !c->answering && !c->out_len)
		client_end(c);
	else if (again || c->out_len)
		amp_work_queue(work);
}

static void client_ready(struct amp_watch *w, uint32_t events)
{
	struct amp_client *c = amp_container_of(w, struct amp_client, watch);

	if (events & (EPOLLERR | EPOLLHUP)) {
		client_end(c);
		return;
	}
	if (events & (EPOLLIN | EPOLLRDHUP))
		c->readable = true;
	if (events & EPOLLOUT)
		c->writable = true;
	amp_work_queue(&c->work);
}

static void on_timer(uv_timer_t *t)
{
	struct amp_server *s = t->data;
	uint64_t now = amp_now_ms();
	struct amp_client *c, *next;

	for (c = TAILQ_FIRST(&s->clients); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (c->deadline_ms > now)
			continue;
		if (c->asking || c->sending)
			amp_log_some(&s->log, AMP_LOG_WARN, "%s: a client was too slow %s",
				     s->ops->what, c->asking ? "asking" : "reading");
		client_end(c);
	}
}

static bool want(struct amp_acceptor *a)
{
	(void)a;
	return true; /* also when it is full: who comes hears of it at once */
}

static void take(struct amp_acceptor *a, int fd, const struct sockaddr_storage *peer)
{
	struct amp_server *s = amp_container_of(a, struct amp_server, acceptor);
	struct amp_client *c =
		s->client_cnt < 2 * s->client_max ? calloc(1, s->ops->size) : NULL;

	(void)peer;
	if (!c) { /* not even room for those that are told of it */
		s->refused++;
		amp_log_some(&s->log, AMP_LOG_WARN,
			     "%s: more than %u connections, or no memory: closed (%" PRIu64
			     " refused so far)",
			     s->ops->what, 2 * s->client_max, s->refused);
		close(fd);
		return;
	}
	c->server = s;
	c->watch.ready = client_ready;
	c->work.run = client_run;
	c->writable = true;
	if (amp_watch_start(&c->watch, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)) {
		close(fd);
		free(c);
		return;
	}
	TAILQ_INSERT_TAIL(&s->clients, c, entry);
	s->client_cnt++;
	if (!s->ops->admit(c)) {
		s->refused++;
		c->last = true;
		c->sending = true;
		c->deadline_ms = amp_now_ms() + REFUSED_MS;
	} else {
		set_clock(c);
	}
	if (!uv_is_active((uv_handle_t *)&s->timer))
		uv_timer_start(&s->timer, on_timer, TICK_MS, TICK_MS);
	amp_work_queue(&c->work);
}

int amp_server_start(struct amp_server *s, const struct amp_client_ops *ops, int fd,
		     unsigned client_max)
{
	s->ops = ops;
	s->client_max = client_max;
	TAILQ_INIT(&s->clients);
	uv_timer_init(amp_loop_uv(), &s->timer);
	s->timer.data = s;
	s->acceptor.want = want;
	s->acceptor.take = take;
	return amp_acceptor_start(&s->acceptor, fd);
}

void amp_server_stop(struct amp_server *s)
{
	struct amp_client *c;

	while ((c = TAILQ_FIRST(&s->clients)) != NULL)
		client_end(c);
	amp_acceptor_stop(&s->acceptor);
	uv_close((uv_handle_t *)&s->timer, NULL);
}
