// SPDX-License-Identifier: BSD-3-Clause
/*
 * ampsock-run: the table of sockets, and the pairs between a program and us.
 *
 * Whether the program has still a descriptor is asked of the name that its end is bound to: it
 * can be bound again when nobody has it any more. Hang-up alone does not tell, because
 * shutdown() both ways looks the same. Everybody can see the name, and take it as soon as it is
 * free: so where it is taken it is looked up whose it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../socket/amp_calls.h"
#include "run.h"

struct amp_run amp_run = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.news = PTHREAD_COND_INITIALIZER,
};

static socklen_t name_of(const struct entry *e, struct sockaddr_un *sun)
{
	int n;

	memset(sun, 0, sizeof(*sun));
	sun->sun_family = AF_UNIX;
	n = snprintf(sun->sun_path + 1, sizeof(sun->sun_path) - 1, AMP_RUN_NAME,
		     (unsigned long long)amp_run.nonce, (unsigned long long)e->id, e->domain,
		     e->type, e->pair);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

/* Room in the kernel for one message of the longest kind, and then some. */
#define PAIR_BUF 262144

static int kernel_type(const struct entry *e)
{
	return e->type == SOCK_STREAM ? SOCK_STREAM : SOCK_SEQPACKET;
}

static int pair_new(struct entry *e)
{
	int type = kernel_type(e), buf = PAIR_BUF, on = 1;
	struct sockaddr_un sun;
	struct stat st;
	int sv[2], err;

	if (getrandom(&e->pair, sizeof(e->pair), 0) < 0 ||
	    socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	errno = EMFILE;
	if (sv[0] > amp_run.fd_max || sv[1] > amp_run.fd_max ||
	    bind(sv[0], (struct sockaddr *)&sun, name_of(e, &sun)) < 0 ||
	    fstat(sv[0], &st) < 0 || fcntl(sv[1], F_SETFL, O_NONBLOCK) < 0)
		goto fail;
	if (type == SOCK_SEQPACKET) {
		/* credentials come with a message, and not with the end of all: that tells a
		 * message without bytes from it */
		if (setsockopt(sv[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
			goto fail;
		(void)setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf));
		(void)setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf));
	}
	e->k = sv[1];
	e->ino = st.st_ino;
	return sv[0];
fail:
	err = -errno;
	close(sv[0]);
	close(sv[1]);
	return err;
}

struct entry *entry_new(int domain, int type, int amp, int *prog_fd, int *err)
{
	static uint64_t serial;
	struct entry *e;
	unsigned i = 0;

	while (i < AMP_RUN_ENTRIES && amp_run.entries[i].id)
		i++;
	if (i == AMP_RUN_ENTRIES) {
		*err = -ENFILE;
		return NULL;
	}
	e = &amp_run.entries[i];
	memset(e, 0, sizeof(*e));
	e->id = ++serial << 16 | i;
	e->domain = domain;
	e->type = type;
	e->amp = amp;
	e->state = type == SOCK_DGRAM ? ENTRY_OPEN : ENTRY_NEW;
	*prog_fd = pair_new(e);
	*err = *prog_fd < 0 ? *prog_fd : pump_add(e);
	if (*err == 0) {
		amp_run.used++;
		return e;
	}
	if (*prog_fd >= 0) {
		close(*prog_fd);
		close(e->k);
	}
	e->id = 0;
	return NULL;
}

int entry_renew(struct entry *e)
{
	const struct entry was = *e;
	int old = e->k, fd, err;

	fd = pair_new(e);
	err = fd < 0 ? fd : pump_add(e);
	if (err) {
		if (fd >= 0) {
			close(fd);
			close(e->k);
		}
		e->k = old;
		e->pair = was.pair;
		e->ino = was.ino;
		return err;
	}
	close(old);
	e->kin = e->kout = e->stuck = e->hup = e->eof = e->deaf = e->mute = false;
	e->junk = 0;
	return fd;
}

void entry_free(struct entry *e)
{
	close(e->k);
	if (e->amp >= 0)
		(void)amp_close(e->amp);
	e->id = 0;
	amp_run.used--;
	pthread_cond_broadcast(&amp_run.news);
}

struct entry *entry_find(uint64_t id)
{
	unsigned i = id & 0xffff;

	return id && i < AMP_RUN_ENTRIES && amp_run.entries[i].id == id ? &amp_run.entries[i]
									: NULL;
}

/* Is it the program's end that has the name? Yes, if that cannot be found out. */
static bool has_name(const struct entry *e, const char *name)
{
	FILE *f = fopen("/proc/self/net/unix", "re");
	bool found = !f;
	char line[512];

	while (f && !found && fgets(line, sizeof(line), f)) {
		unsigned long long ino;
		char path[128];

		found = sscanf(line, "%*s %*s %*s %*s %*s %*s %llu @%127s", &ino, path) == 2 &&
			ino == e->ino && strcmp(path, name) == 0;
	}
	if (f)
		fclose(f);
	return found;
}

bool entry_alive(const struct entry *e)
{
	struct sockaddr_un sun;
	socklen_t len = name_of(e, &sun);
	int fd = socket(AF_UNIX, kernel_type(e) | SOCK_CLOEXEC, 0);
	bool alive;

	if (fd < 0) /* asked again with the next event */
		return true;
	alive = bind(fd, (struct sockaddr *)&sun, len) < 0;
	close(fd);
	if (alive)
		alive = has_name(e, sun.sun_path + 1);
	return alive;
}
