/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conform ROLES TAG CID_A CID_B LINK_A LINK_B
 *
 * The cases in a Linux process: role a, role b, or both on two threads ("ab"). The main
 * thread reads the channel and hands each role its lines; with the library inside it is in
 * amp_read() all the time, so that the stack moves whatever the roles do.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "conform.h"

#define QUEUE 4096 /* lines that may wait for a role: many more than a case says at once */

struct chan {
	pthread_mutex_t lock;
	pthread_cond_t more;
	char *line[QUEUE]; /* under lock, as the rest */
	unsigned head, tail;
	int ended;
};

/* What these calls are: -DCT_HAS=... */
static struct ct roles[2];
static struct chan chans[2];
static struct ct_place place;

void ct_chan_out(struct ct *t, const char *line, size_t len)
{
	(void)t;
	/* shorter than PIPE_BUF: whole, whoever else writes */
	if (write(1, line, len) != (ssize_t)len)
		_exit(1);
}

int ct_chan_in(struct ct *t, char *buf, size_t size)
{
	struct chan *c = t->chan;
	int got = 0;

	pthread_mutex_lock(&c->lock);
	while (c->head == c->tail && !c->ended)
		pthread_cond_wait(&c->more, &c->lock);
	if (c->head != c->tail) {
		char *line = c->line[c->tail++ % QUEUE];

		snprintf(buf, size, "%s", line);
		free(line);
		got = 1;
	}
	pthread_mutex_unlock(&c->lock);
	return got;
}

static void *serve(void *arg)
{
	ct_serve(arg);
	return NULL;
}

/* "ROLE REST" to that role. */
static void dispatch(const char *line)
{
	struct chan *c = &chans[line[0] == 'b'];

	if ((line[0] != 'a' && line[0] != 'b') || line[1] != ' ')
		return;
	pthread_mutex_lock(&c->lock);
	if (c->head - c->tail == QUEUE)
		abort();
	c->line[c->head++ % QUEUE] = strdup(line + 2);
	pthread_cond_signal(&c->more);
	pthread_mutex_unlock(&c->lock);
}

/* ---- threads beside a role ---- */

struct ct_thread {
	pthread_t id;
	pid_t tid; /* 0 until it runs */
	void (*fn)(void *arg);
	void *arg;
};

static void *beside(void *arg)
{
	struct ct_thread *th = arg;

	__atomic_store_n(&th->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	th->fn(th->arg);
	return NULL;
}

struct ct_thread *ct_spawn(struct ct *t, void (*fn)(void *arg), void *arg)
{
	struct ct_thread *th = calloc(1, sizeof(*th));

	CT_TRUE(th != NULL);
	th->fn = fn;
	th->arg = arg;
	CT_EQ(pthread_create(&th->id, NULL, beside, th), 0);
	return th;
}

/* The kernel says S in three looks on end: not just on its way there. */
void ct_asleep(struct ct *t, struct ct_thread *th)
{
	char path[64], state;
	int seen = 0;
	FILE *f;

	(void)t;
	while (seen < 3) {
		sched_yield();
		snprintf(path, sizeof(path), "/proc/self/task/%d/stat",
			 (int)__atomic_load_n(&th->tid, __ATOMIC_ACQUIRE));
		f = fopen(path, "r");
		if (!f)
			continue;
		seen = fscanf(f, "%*d (%*[^)]) %c", &state) == 1 && state == 'S' ? seen + 1 : 0;
		fclose(f);
	}
}

void ct_join(struct ct *t, struct ct_thread *th)
{
	CT_EQ(pthread_join(th->id, NULL), 0);
	free(th);
}

/* ---- main ---- */

static void start(char role, int both)
{
	int i = role - 'a';
	pthread_t id;

	pthread_mutex_init(&chans[i].lock, NULL);
	pthread_cond_init(&chans[i].more, NULL);
	roles[i].role = role;
	roles[i].has = CT_HAS | (both ? 0 : CT_APART);
	roles[i].place = &place;
	roles[i].chan = &chans[i];
	if (pthread_create(&id, NULL, serve, &roles[i]) != 0)
		abort();
	pthread_detach(id);
}

int main(int argc, char **argv)
{
	static const struct rlimit few = {.rlim_cur = 256, .rlim_max = 256};
	static char in[1 << 16];
	size_t len = 0;
	ssize_t n;

	if (argc != 7 ||
	    (strcmp(argv[1], "a") && strcmp(argv[1], "b") && strcmp(argv[1], "ab"))) {
		fprintf(stderr, "usage: conform a|b|ab TAG CID_A CID_B LINK_A LINK_B\n");
		return 2;
	}
	place.tag = argv[2];
	for (int i = 0; i < 2; i++) {
		place.cid[i] = (unsigned)strtoul(argv[3 + i], NULL, 0);
		place.link[i] = (unsigned)strtoul(argv[5 + i], NULL, 0);
	}
	/* so that it does not take long to run out of them, where they are Linux's */
	setrlimit(RLIMIT_NOFILE, &few);
	for (const char *r = argv[1]; *r; r++)
		start(*r, argv[1][1] != '\0');
	while ((n = read(0, in + len, sizeof(in) - len)) > 0) {
		char *nl, *at = in;

		len += (size_t)n;
		while ((nl = memchr(at, '\n', len - (size_t)(at - in))) != NULL) {
			*nl = '\0';
			dispatch(at);
			at = nl + 1;
		}
		len -= (size_t)(at - in);
		memmove(in, at, len);
	}
	/* roles that still wait in a call are not waited for */
	_exit(0);
}
