// SPDX-License-Identifier: BSD-3-Clause
/*
 * ampsock-run: requests of libampsock-preload.so, each served by a thread of its own, because
 * some wait for an answer from far away.
 *
 * Everything in a request is a stranger's: a program may write what it likes there. Lengths are
 * checked against what came, ids against the table, and what they do is what the program could
 * do to its own sockets anyway.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../socket/amp_calls.h"
#include "run.h"
#include "run_start.h"

#define STACK_LEN (256u << 10)

/* A request being served. */
struct job {
	int conn;
	int fd;	   /* goes back with the reply; -1: none */
	int given; /* came with the request; -1: none */
	int place; /* in strangers[]; -1: none */
	struct amp_run_req req;
	struct amp_run_rep rep;
};

static int result(int r)
{
	return r < 0 ? -errno : r;
}

/* ---- with an entry that may not go away meanwhile ---- */

static struct entry *hold(uint64_t id)
{
	struct entry *e;

	pthread_mutex_lock(&amp_run.lock);
	e = entry_find(id);
	if (e)
		e->refs++;
	pthread_mutex_unlock(&amp_run.lock);
	return e;
}

static void release(struct entry *e)
{
	pthread_mutex_lock(&amp_run.lock);
	e->refs--;
	pump_poke(e);
	pthread_mutex_unlock(&amp_run.lock);
}

static void set_state(struct entry *e, enum entry_state state)
{
	pthread_mutex_lock(&amp_run.lock);
	e->state = state;
	if (state == ENTRY_OPEN)
		e->kin = e->kout = true;
	pthread_cond_broadcast(&amp_run.news);
	pump_poke(e);
	pthread_mutex_unlock(&amp_run.lock);
}

/* ---- the requests ---- */

static int do_socket(struct job *j)
{
	int type = j->req.a[1] & ~(SOCK_NONBLOCK | SOCK_CLOEXEC), err = 0;
	int amp = amp_socket(j->req.a[0], type | SOCK_NONBLOCK, j->req.a[2]);

	if (amp < 0)
		return -errno;
	pthread_mutex_lock(&amp_run.lock);
	if (!entry_new(j->req.a[0], type, amp, &j->fd, &err)) {
		j->fd = -1;
		(void)amp_close(amp);
	}
	amp_run.in_hand += j->fd >= 0;
	pthread_mutex_unlock(&amp_run.lock);
	return err;
}

static int do_listen(struct entry *e, struct job *j)
{
	int r = result(amp_listen(e->amp, j->req.a[0])), least = 1;

	if (r)
		return r;
	/* one connection, or two, wait in the pair: the others in the library's queue */
	(void)setsockopt(e->k, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
	set_state(e, ENTRY_LISTEN);
	return 0;
}

/* What connect() says before it begins. 0: go on; 1: it is connected, and that is told now. */
static int may_connect(struct entry *e)
{
	int r = 0;

	if (e->err && e->state == ENTRY_FAILED) {
		r = -e->err;
		e->err = 0;
	} else if (e->state == ENTRY_FAILED) {
		r = -ESTALE;
	} else if (e->state == ENTRY_OPEN && e->told) {
		e->told = false;
		r = 1;
	} else if (e->state == ENTRY_OPEN || e->state == ENTRY_DEAD) {
		r = e->type == SOCK_DGRAM ? 0 : -EISCONN;
	} else if (e->state == ENTRY_LISTEN) {
		r = -EOPNOTSUPP;
	} else if (e->state == ENTRY_CONNECTING || e->state == ENTRY_WAITING) {
		r = -EALREADY;
	}
	return r;
}

#define JUNK_LEN 16384
#define JUNK_MAX 256 /* pieces: more than any descriptor of ours takes */

/*
 * Until it is connected the program's descriptor must not be writable. So it is stuffed, with
 * bytes or messages that are thrown away when the time has come. Done here, through the program's
 * own end, which came with the request: then it begins with connect() and no sooner, whatever
 * other threads of the program do. Lock held.
 */
static int stuff(struct entry *e, int fd)
{
	static const char junk[JUNK_LEN];
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino != e->ino)
		return -EALREADY; /* not its end: another thread's renew() has replaced it */
	e->junk = 0;
	for (unsigned i = 0; i < JUNK_MAX && poll(&p, 1, 0) > 0 && (p.revents & POLLOUT); i++) {
		ssize_t n = send(fd, junk, sizeof(junk), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			break;
		e->junk += e->type == SOCK_STREAM ? (size_t)n : 1;
	}
	return 0;
}

static const struct sockaddr *address(const struct job *j)
{
	return (const struct sockaddr *)(const void *)j->req.data;
}

/* The call waits here, as long as it would in the library. */
static int connect_waiting(struct entry *e, struct job *j)
{
	int r;

	(void)amp_fcntl(e->amp, F_SETFL, 0);
	r = result(amp_connect(e->amp, address(j), j->req.data_len));
	(void)amp_fcntl(e->amp, F_SETFL, O_NONBLOCK);
	set_state(e, r == 0 ? ENTRY_OPEN : ENTRY_NEW);
	return r;
}

static int connect_at_once(struct entry *e, struct job *j)
{
	int r = result(amp_connect(e->amp, address(j), j->req.data_len));

	pthread_mutex_lock(&amp_run.lock);
	e->told = r == -EINPROGRESS;
	/* the pump takes the stuffing away in each case, and finds out what is to be told */
	if (r == 0 || r == -EINPROGRESS) {
		e->state = ENTRY_CONNECTING;
	} else {
		e->state = ENTRY_FAILED;
		shutdown(e->k, SHUT_RDWR);
	}
	while (r == 0 && e->state == ENTRY_CONNECTING) { /* it is: a moment */
		pump_poke(e);
		pthread_cond_wait(&amp_run.news, &amp_run.lock);
	}
	pthread_mutex_unlock(&amp_run.lock);
	return r;
}

static int do_connect(struct entry *e, struct job *j)
{
	bool waits = !j->req.a[0];
	int r = 0;

	if (j->req.data_len < sizeof(sa_family_t))
		return -EINVAL;
	if (e->type == SOCK_DGRAM)
		return result(amp_connect(e->amp, address(j), j->req.data_len));
	pthread_mutex_lock(&amp_run.lock);
	r = may_connect(e);
	if (r == 0 && !waits)
		r = stuff(e, j->given);
	if (r == 0) {
		e->state = ENTRY_WAITING;
		pump_poke(e); /* it may have hung up meanwhile: give_up() */
	}
	pthread_mutex_unlock(&amp_run.lock);
	if (r)
		return r < 0 ? r : 0;
	return waits ? connect_waiting(e, j) : connect_at_once(e, j);
}

static int do_renew(struct entry *e, struct job *j)
{
	int fd;

	pthread_mutex_lock(&amp_run.lock);
	fd = e->state == ENTRY_FAILED ? entry_renew(e) : -EINVAL;
	if (fd >= 0) {
		e->state = ENTRY_NEW;
		amp_run.in_hand++;
	}
	pthread_mutex_unlock(&amp_run.lock);
	if (fd < 0)
		return fd;
	j->fd = fd;
	return 0;
}

static int do_shutdown(struct entry *e)
{
	char addr[128];
	socklen_t len = sizeof(addr);
	int r = 0;

	pthread_mutex_lock(&amp_run.lock);
	if (e->state != ENTRY_OPEN && e->state != ENTRY_LISTEN)
		r = -ENOTCONN;
	pthread_mutex_unlock(&amp_run.lock);
	if (r == 0 && e->type == SOCK_DGRAM)
		r = result(amp_getpeername(e->amp, (struct sockaddr *)(void *)addr, &len));
	return r;
}

static int do_connected(struct entry *e)
{
	int r;

	pthread_mutex_lock(&amp_run.lock);
	r = e->state == ENTRY_NEW || e->state == ENTRY_LISTEN ? -ENOTCONN : 0;
	pthread_mutex_unlock(&amp_run.lock);
	return r;
}

#define CLOSED_S 2

/* The pump ends it, when it hears of it: that is waited for. What is connected takes its time. */
static int do_closed(uint64_t id)
{
	struct timespec until;
	struct entry *e;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += CLOSED_S;
	pthread_mutex_lock(&amp_run.lock);
	while (r == 0 && (e = entry_find(id)) != NULL &&
	       (e->state == ENTRY_NEW || e->state == ENTRY_LISTEN || e->type == SOCK_DGRAM) &&
	       (amp_run.in_hand || !entry_alive(e)))
		r = pthread_cond_timedwait(&amp_run.news, &amp_run.lock, &until);
	pthread_mutex_unlock(&amp_run.lock);
	return 0;
}

static int do_name(struct entry *e, struct job *j)
{
	struct sockaddr *addr = (struct sockaddr *)(void *)j->rep.data;
	socklen_t len = 128;
	int r = j->req.a[0] ? amp_getpeername(e->amp, addr, &len)
			    : amp_getsockname(e->amp, addr, &len);

	if (r < 0)
		return -errno;
	j->rep.data_len = len;
	return 0;
}

/* The pending error. One thread may be waiting for what another one's connect() comes to. */
static int take_err(struct entry *e)
{
	socklen_t len = sizeof(int);
	int err;

	pthread_mutex_lock(&amp_run.lock);
	while (e->state == ENTRY_WAITING)
		pthread_cond_wait(&amp_run.news, &amp_run.lock);
	err = e->err;
	e->err = 0;
	if (!err && e->state != ENTRY_CONNECTING &&
	    amp_getsockopt(e->amp, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	pthread_mutex_unlock(&amp_run.lock);
	return err;
}

static int do_getopt(struct entry *e, struct job *j)
{
	socklen_t len = j->req.a[2] < 0	     ? 0
			: j->req.a[2] > 1024 ? 1024
					     : (socklen_t)j->req.a[2];
	int r, err;

	if (j->req.a[0] == SOL_SOCKET && j->req.a[1] == SO_ERROR) {
		err = take_err(e);
		j->rep.data_len = len < sizeof(err) ? len : sizeof(err);
		memcpy(j->rep.data, &err, j->rep.data_len);
		return 0;
	}
	r = result(amp_getsockopt(e->amp, j->req.a[0], j->req.a[1], j->rep.data, &len));
	j->rep.data_len = r == 0 ? len : 0;
	return r;
}

static int do_getaddrinfo(struct job *j)
{
	const char *node = (const char *)j->req.data, *service;
	struct addrinfo hints = {
		.ai_flags = j->req.a[0],
		.ai_family = j->req.a[1],
		.ai_socktype = j->req.a[2],
		.ai_protocol = j->req.a[3],
	};
	struct addrinfo *list = NULL;
	const char *canon = NULL;
	size_t at = 0;

	if (j->req.data_len < 2 || j->req.data[j->req.data_len - 1] != '\0')
		return -EINVAL;
	service = node + strlen(node) + 1;
	if (service >= node + j->req.data_len)
		return -EINVAL;
	j->rep.val =
		amp_getaddrinfo(*node ? node : NULL, *service ? service : NULL, &hints, &list);
	if (j->rep.val)
		return j->rep.val == EAI_SYSTEM ? -errno : 0;
	canon = list->ai_canonname;
	for (struct addrinfo *ai = list; ai; ai = ai->ai_next) {
		struct amp_run_ai a = {
			ai->ai_family, ai->ai_socktype, ai->ai_protocol, ai->ai_addrlen, {0}};

		if (at + sizeof(a) + 256 > sizeof(j->rep.data) ||
		    ai->ai_addrlen > sizeof(a.addr))
			break;
		memcpy(a.addr, ai->ai_addr, ai->ai_addrlen);
		memcpy(j->rep.data + at, &a, sizeof(a));
		at += sizeof(a);
		j->rep.ret++;
	}
	if (canon) {
		at += (size_t)snprintf((char *)j->rep.data + at, 256, "%s", canon) + 1;
		if (at > sizeof(j->rep.data))
			at = sizeof(j->rep.data);
	}
	j->rep.data_len = (uint32_t)at;
	amp_freeaddrinfo(list);
	return j->rep.ret;
}

static int with_entry(struct entry *e, struct job *j)
{
	switch (j->req.op) {
	case AMP_RUN_BIND:
		return result(amp_bind(e->amp, address(j), j->req.data_len));
	case AMP_RUN_LISTEN:
		return do_listen(e, j);
	case AMP_RUN_CONNECT:
		return do_connect(e, j);
	case AMP_RUN_RENEW:
		return do_renew(e, j);
	case AMP_RUN_CONNECTED:
		return do_connected(e);
	case AMP_RUN_SHUTDOWN:
		return do_shutdown(e);
	case AMP_RUN_NAME_OF:
		return do_name(e, j);
	case AMP_RUN_GETOPT:
		return do_getopt(e, j);
	case AMP_RUN_SETOPT:
		return result(amp_setsockopt(e->amp, j->req.a[0], j->req.a[1], j->req.data,
					     j->req.data_len));
	case AMP_RUN_STATUS:
		return take_err(e);
	case AMP_RUN_LIMIT:
		return run_limit(e->amp);
	default:
		return -EINVAL;
	}
}

static int serve(struct job *j)
{
	struct entry *e;
	int r;

	if (j->req.op == AMP_RUN_SOCKET)
		return do_socket(j);
	if (j->req.op == AMP_RUN_GETADDRINFO)
		return do_getaddrinfo(j);
	if (j->req.op == AMP_RUN_CLOSED)
		return do_closed(j->req.id);
	e = hold(j->req.id);
	if (!e)
		return -ENOTCONN; /* it was, and is over on both sides */
	r = with_entry(e, j);
	release(e);
	return r;
}

/* ---- a connection ---- */

static bool take_request(struct job *j)
{
	union {
		struct cmsghdr h;
		uint8_t room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = &j->req, .iov_len = sizeof(j->req)};
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen =
			CMSG_LEN(sizeof(int)), /* for one, not what SPACE has room for */
	};
	ssize_t n = recvmsg(j->conn, &m, MSG_CMSG_CLOEXEC);

	if (n >= 0 && m.msg_controllen >= CMSG_LEN(sizeof(int)) &&
	    control.h.cmsg_level == SOL_SOCKET && control.h.cmsg_type == SCM_RIGHTS)
		memcpy(&j->given, CMSG_DATA(&control.h), sizeof(j->given));
	return n >= (ssize_t)AMP_RUN_HEAD(j->req) && j->req.data_len <= sizeof(j->req.data) &&
	       (size_t)n == AMP_RUN_HEAD(j->req) + j->req.data_len &&
	       j->req.token[0] == amp_run.token[0] && j->req.token[1] == amp_run.token[1];
}

static void reply(struct job *j)
{
	union {
		struct cmsghdr h;
		uint8_t room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = &j->rep,
			    .iov_len = AMP_RUN_HEAD(j->rep) + j->rep.data_len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (j->fd >= 0) {
		memset(&control, 0, sizeof(control));
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.h), &j->fd, sizeof(int));
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
	}
	if (sendmsg(j->conn, &m, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
		fprintf(stderr, "ampsock-run: reply: %s\n", strerror(errno));
	if (j->fd < 0)
		return;
	close(j->fd);
	pthread_mutex_lock(&amp_run.lock);
	amp_run.in_hand--;
	pthread_cond_broadcast(&amp_run.news);
	pthread_mutex_unlock(&amp_run.lock);
}

/*
 * Anybody on this machine can connect, and tie up a thread by saying nothing: of other users'
 * connections the oldest silent one gives way. (A daemon of root's that has become another
 * user looks like one, but what it asks is there at once, read or not.)
 */
static struct job *strangers[AMP_RUN_STRANGERS]; /* amp_run.lock */

static bool silent(const struct job *j)
{
	struct pollfd p = {.fd = j->conn, .events = POLLIN};

	return poll(&p, 1, 0) == 0;
}

static void stranger_came(struct job *j)
{
	static unsigned next;
	struct ucred who;
	socklen_t len = sizeof(who);
	unsigned i;

	if (getsockopt(j->conn, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 &&
	    who.uid == geteuid())
		return;
	i = next++ % amp_run.stranger_max;
	pthread_mutex_lock(&amp_run.lock);
	if (strangers[i] && silent(strangers[i]))
		shutdown(strangers[i]->conn, SHUT_RDWR); /* its thread sees the end */
	strangers[i] = j;
	j->place = (int)i;
	pthread_mutex_unlock(&amp_run.lock);
}

/* It has spoken, or will not: before its descriptor is closed. */
static void stranger_known(struct job *j)
{
	if (j->place < 0)
		return;
	pthread_mutex_lock(&amp_run.lock);
	if (strangers[j->place] == j)
		strangers[j->place] = NULL;
	pthread_mutex_unlock(&amp_run.lock);
}

static void *job_thread(void *arg)
{
	struct job *j = arg;
	bool good = take_request(j);

	stranger_known(j);
	if (good)
		j->rep.ret = serve(j);
	if (j->given >= 0)
		close(j->given); /* first: the program may close its own now, and then it is over */
	if (good)
		reply(j);
	close(j->conn);
	free(j);
	return NULL;
}

void ctl_accept(int door)
{
	int conn = accept4(door, NULL, NULL, SOCK_CLOEXEC);
	struct timeval tv = {.tv_sec = 10};
	struct job *j;
	pthread_attr_t attr;
	pthread_t t;

	if (conn < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			(void)poll(NULL, 0, 10); /* some request ends: do not spin meanwhile */
		return;
	}
	(void)setsockopt(conn, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	j = calloc(1, sizeof(*j));
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_LEN);
	if (j) {
		j->conn = conn;
		j->fd = -1;
		j->given = j->place = -1;
		stranger_came(j);
	}
	if (!j || pthread_create(&t, &attr, job_thread, j)) {
		fprintf(stderr, "ampsock-run: no memory or thread for a call\n");
		if (j)
			stranger_known(j);
		free(j);
		close(conn);
	}
	pthread_attr_destroy(&attr);
}

int ctl_open(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), n, err;

	if (fd < 0)
		return -errno;
	n = snprintf(sun.sun_path + 1, sizeof(sun.sun_path) - 1, AMP_RUN_DOOR,
		     (unsigned long long)amp_run.nonce);
	if (bind(fd, (struct sockaddr *)&sun,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) == 0 &&
	    listen(fd, 1024) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}
