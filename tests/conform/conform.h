/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conformance suite: cases of two roles, `a` and `b`, that run unchanged on Linux's own
 * sockets, in hosted processes and as firmware. tests/conform/README.md says how to write one.
 *
 * The roles share nothing but the sockets under test and a control channel of short text
 * lines on descriptors 0 and 1 (tests/conform/conform.py relays them), so it does not
 * matter where each of the two runs. A check that does not hold ends its case, by longjmp,
 * on this side; the other side hears of it at its next word on the channel, and what never
 * speaks again is ended by the runner.
 */
#ifndef CONFORM_H
#define CONFORM_H

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

/* Types of sockets a case is for. */
#define CT_STREAM    0x1u
#define CT_SEQPACKET 0x2u
#define CT_DGRAM     0x4u
#define CT_CONN	     (CT_STREAM | CT_SEQPACKET)
#define CT_MSG	     (CT_SEQPACKET | CT_DGRAM)
#define CT_ALL	     (CT_STREAM | CT_MSG)

/* What a transport has, and a case may need. Each has a line in ct_props[] that says so. */
#define CT_REFUSES   0x00000001u /* a connect() to nobody is told */
#define CT_EOF	     0x00000002u /* the peer hears of shutdown() and close() */
#define CT_EMPTY     0x00000004u /* messages of 0 bytes */
#define CT_PORTS     0x00000008u /* bind() can ask for any free address */
#define CT_RESETS    0x00000010u /* close() with unread data resets the connection */
#define CT_LINGERS   0x00000020u /* SO_LINGER {1, 0}: close() resets the connection */
#define CT_BACKLOG   0x00000040u /* connect() is done before accept() */
#define CT_PRESSURE  0x00000080u /* a reader that does not read stops its sender */
#define CT_INET	     0x00000100u /* AF_INET or AF_INET6 */
#define CT_UNIX	     0x00000200u /* AF_UNIX */
#define CT_VSOCK     0x00000400u /* AF_VSOCK */
#define CT_RPMSG     0x00000800u /* AF_RPMSG */
#define CT_MATES     0x00001000u /* a listener tells who connected before that one speaks */
#define CT_BIG	     0x00002000u /* messages of 2000 bytes */
#define CT_DGREFUSED 0x00004000u /* a datagram to nobody is told to a connected sender */
#define CT_SELF	     0x00008000u /* this side reaches its own addresses */
#define CT_WAITS     0x00010000u /* connect() waits while the backlog is full */
#define CT_SOCKPAIR  0x00020000u /* socketpair(AF_UNIX) of this type */
#define CT_RD_TOLD   0x00040000u /* the peer hears of SHUT_RD: EPIPE */
#define CT_FREES     0x00080000u /* an address is free again as soon as its socket is closed */
#define CT_V4	     0x00100000u /* AF_INET */
#define CT_WHOLE     0x00200000u /* a send() that says EAGAIN has sent nothing */
/* What the place has where a role runs; given to ct_serve(). */
#define CT_THREADS 0x01000000u /* ct_spawn() */
#define CT_OURS	   0x02000000u /* these calls are this library's */
#define CT_LINUX   0x04000000u /* these calls are Linux's */
#define CT_APART   0x08000000u /* the roles have descriptors of their own: two processes */

struct ct_transport {
	const char *name;
	int family, type;
	unsigned kind; /* CT_STREAM, CT_SEQPACKET or CT_DGRAM */
	unsigned props;
	int e_refused;	  /* of connect(): nobody listens */
	unsigned msg_max; /* bytes of the largest message; 0: a stream */
};

struct ct_addr {
	struct sockaddr_storage ss;
	socklen_t len;
};

/* Where the two roles run, from the command line. */
struct ct_place {
	const char *tag;	  /* unique among all that run at once */
	unsigned cid[2], link[2]; /* of role a and b */
};

#define CT_FDS	    1024
#define CT_LINE_LEN 400

struct ct_case;

/* One role and what it is doing. Used by its thread alone, but for `thread` (main_hosted.c). */
struct ct {
	char role;
	unsigned has; /* CT_THREADS, CT_OURS, CT_LINUX */
	const struct ct_place *place;
	const struct ct_transport *tr;
	const struct ct_case *c;
	unsigned serial; /* of names given out */
	unsigned differs;
	jmp_buf out;
	int fds[CT_FDS]; /* open ones: closed when the case ends */
	unsigned nfds;
	char line[CT_LINE_LEN];
	void *chan; /* the channel's own */
};

struct ct_case {
	const char *name; /* GROUP.WORD */
	const char *what; /* what must hold, in one line */
	unsigned types;	  /* CT_STREAM | ... */
	unsigned needs;	  /* properties that the transport and both places must have */
	unsigned not ;	  /* and must not have */
	void (*a)(struct ct *t);
	void (*b)(struct ct *t);
};

/* Groups of cases: each ends with an entry without name. */
extern const struct ct_case *const ct_groups[];

/* ---- checks: t is the role; a check that does not hold ends the case ---- */

/* The value of a call that must not fail. */
#define CT_OK(call) ct_ok(t, (long)(call), __FILE__, __LINE__, #call)
/* A call that must return -1 with this errno. */
#define CT_ERR(call, err) ct_err(t, (long)(call), (err), 0, __FILE__, __LINE__, #call)
/* The same, where two are as good. */
#define CT_ERR2(call, err, or) ct_err(t, (long)(call), (err), (or), __FILE__, __LINE__, #call)
/* Two integers that must be equal; on -1 the report has the errno. */
#define CT_EQ(got, want) ct_eq(t, (long)(got), (long)(want), __FILE__, __LINE__, #got)
#define CT_TRUE(cond)	 ct_true(t, !!(cond), __FILE__, __LINE__, #cond)

long ct_ok(struct ct *t, long ret, const char *file, int line, const char *expr);
void ct_err(struct ct *t, long ret, int err, int or, const char *file, int line,
	    const char *expr);
void ct_eq(struct ct *t, long got, long want, const char *file, int line, const char *expr);
void ct_true(struct ct *t, int good, const char *file, int line, const char *expr);
const char *ct_errno_name(int err);

/*
 * Here we differ from Linux on purpose: true on our side, and the result of the case is then
 * `differs`. row is the first cell of a line in docs/posix.md, "Where we differ from Linux",
 * which the runner looks up. What the case checks then is the difference.
 */
int ct_differs(struct ct *t, const char *row);
/*
 * Linux's AF_VSOCK has a way of its own there, which this library has not taken over: true on
 * Linux's AF_VSOCK, whose way the case then checks. On this library's it is a difference as
 * above, and any other family is as this library.
 */
int ct_linux_vsock(struct ct *t, const char *row);

/* ---- the control channel ---- */

/* Both say it and go on when both have. */
void ct_sync(struct ct *t, const char *label);
/* One says it, the other waits for it. */
void ct_tell(struct ct *t, const char *label);
void ct_wait(struct ct *t, const char *label);
/* Whatever the other has said by ct_tell(). */
void ct_hear(struct ct *t, char *buf, size_t size);
void ct_send_u32(struct ct *t, uint32_t n);
uint32_t ct_recv_u32(struct ct *t);
void ct_send_addr(struct ct *t, const struct ct_addr *a);
void ct_recv_addr(struct ct *t, struct ct_addr *a);

/* ---- sockets of the transport; what is open at the end is closed ---- */

/* socket(), flags: SOCK_NONBLOCK. */
int ct_socket(struct ct *t, int flags);
/* A descriptor that the case got by itself. Returns it. */
int ct_own(struct ct *t, int fd);
void ct_close(struct ct *t, int fd);
/* It is closed, or not ours any more. */
void ct_disown(struct ct *t, int fd);

/* For bind(): a free address here. */
void ct_addr_free(struct ct *t, struct ct_addr *a);
/* The address by which the other role (ct_addr_of) or this one (ct_addr_self) reaches fd. */
void ct_addr_of(struct ct *t, int fd, struct ct_addr *a);
void ct_addr_self(struct ct *t, int fd, struct ct_addr *a);
/* Two addresses of one socket, of which the other role or the kernel has told one. */
int ct_same_addr(struct ct *t, const struct ct_addr *a, const struct ct_addr *b);
/* A bound socket; *a, if not NULL, is what the other role would use. */
int ct_bound(struct ct *t, int flags, struct ct_addr *a);
/* Bound and listening, and the other role is told where: it calls ct_recv_addr() or
 * ct_dial(). */
int ct_listen(struct ct *t, int backlog);
/* Connects where the other role listens. */
int ct_dial(struct ct *t);
/* accept(); on raw rpmsg the first message, which ct_dial() sends, is taken as well. */
int ct_accept(struct ct *t, int lfd);
/* Both roles: the two ends of a connection (a has accepted); datagrams: two sockets that are
 * connected to each other. */
int ct_pair(struct ct *t);

int ct_nonblock(struct ct *t, int fd, int on);
void ct_timeout(struct ct *t, int fd, int option, unsigned ms);
int ct_get(struct ct *t, int fd, int level, int option);
void ct_set(struct ct *t, int fd, int level, int option, int value);
/* poll() for ever, for one of events or POLLERR, POLLHUP; what it says. */
int ct_poll(struct ct *t, int fd, int events);
/* poll() that does not wait. */
int ct_now(struct ct *t, int fd, int events);

/* Roles of cases that need no other: nothing; and a connected one that waits for "done". */
void ct_nothing(struct ct *t);
void ct_quiet(struct ct *t);

/* send() without waiting until it says EAGAIN; how many bytes (a multiple of len, but on a
 * stream) have gone. */
unsigned long ct_stuff(struct ct *t, int fd, const void *buf, size_t len);
/* connect() that does not wait, its end waited for: 0 or the errno. */
int ct_connect_nb(struct ct *t, int fd, const struct ct_addr *a);
/* FIONREAD; where Linux has none, `none`. */
int ct_fionread(struct ct *t, int fd, int none);
/* Until FIONREAD says n, which no call here can be woken by. */
void ct_until(struct ct *t, int fd, int n);
/* getsockname() */
void ct_name(struct ct *t, int fd, struct ct_addr *a);

/* A pattern whose byte depends on its place and on seed. */
void ct_fill(void *buf, size_t len, size_t at, unsigned seed);
int ct_same(const void *buf, size_t len, size_t at, unsigned seed);
/* All of it, or the case ends. */
void ct_send_all(struct ct *t, int fd, const void *buf, size_t len);
void ct_recv_all(struct ct *t, int fd, void *buf, size_t len);

/* ---- where threads are: CT_THREADS ---- */

struct ct_thread;
/* Runs fn(arg) beside this role. */
struct ct_thread *ct_spawn(struct ct *t, void (*fn)(void *arg), void *arg);
/* Waits until that thread sleeps in a call. */
void ct_asleep(struct ct *t, struct ct_thread *th);
void ct_join(struct ct *t, struct ct_thread *th);

/* ---- between conform.c and main_*.c ---- */

/* Serves the runner until its channel ends. */
void ct_serve(struct ct *t);
/* One line, with its newline. */
void ct_chan_out(struct ct *t, const char *line, size_t len);
/* The next line for this role, without newline and without the role's letter; 0 at the end. */
int ct_chan_in(struct ct *t, char *buf, size_t size);

#endif /* CONFORM_H */
