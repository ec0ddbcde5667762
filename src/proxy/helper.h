/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The helper: the process that keeps the file system and privilege, for the one that talks to
 * guests and has neither.
 *
 * Theory of operation
 *
 * ampsock-proxy forks once its configuration is read. The parent is the helper, the child the
 * worker: guests, flows and rules are the worker's. The parent is the one that stays as it
 * was started, because it is the one that whoever started us watches: it has the main PID,
 * passes signals on, and exits with the worker's status.
 *
 * What the worker cannot do itself it asks of the helper, by one of the calls below and by
 * nothing else. The helper believes the worker nothing: a request is a message of fixed size
 * that is checked field by field (helper_msg.h), and a path, an address or a device is only
 * touched when the helper's own copy of the configuration names it for that very purpose
 * (helper_allow.c). So a worker that a guest has taken over can do no more than it could before:
 * open again what the configuration gives it.
 *
 * Three socket pairs (SOCK_SEQPACKET) join them:
 *
 *	call   a request and its answer, with a descriptor where there is one. The worker waits for
 *	       the answer, and every guest with it: such requests are short, and who waits
 *	       longer than AMP_HELPER_WAIT_MS gives up. An answer carries its request's
 *	       number; one that comes too late is thrown away
 *	news   what nobody waits for: names to be resolved and their answers, signals
 *
 *	kept	what is to outlive the worker (kept.h), one way
 *
 * End of file says that the other process is gone. The worker ends then. The helper starts
 * another worker if the first one died of a signal (not SIGSYS: who breaks out of its
 * filter is not to be given another try), up to AMP_HELPER_LIVES times a minute, waiting longer
 * each time.
 */
#ifndef AMP_PROXY_HELPER_H
#define AMP_PROXY_HELPER_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "log.h"

#define AMP_HELPER_WAIT_MS  5000
#define AMP_HELPER_LIVES    5u /* of workers in AMP_HELPER_LIVES_MS, behind the first */
#define AMP_HELPER_LIVES_MS 60000u

/* What a path is for, in the configuration. */
enum amp_helper_kind {
	AMP_HELPER_VHOST = 1, /* a vhost-user link's socket: listen */
	AMP_HELPER_PUBLISH,   /* unix PATH of a publish rule: listen */
	AMP_HELPER_EXPOSE,    /* unix PATH of an expose rule: connect */
	AMP_HELPER_BELL,      /* bell=unix:PATH: connect */
	AMP_HELPER_MEMORY,    /* an rpmsg-shm link's file: open for reading and writing */
	AMP_HELPER_ELF,	      /* elf=FILE: open for reading */
	AMP_HELPER_RCHAR,     /* an rpmsg-char link's control device: the rchar calls */
	AMP_HELPER_HYBRID,    /* a vsock-unix link's monitor: connect */
	AMP_HELPER_PORT,      /* PATH_PORT of a vsock-unix link: listen */
	AMP_HELPER_CONTROL,   /* the control socket: listen */
	AMP_HELPER_METRICS,   /* metrics = unix PATH: listen */
	AMP_HELPER_KINDS
};

struct amp_config;
struct amp_confine;
struct amp_rchar_ops;

/* What stat() says of a path, as far as anybody here asks. */
struct amp_helper_stat {
	uint64_t dev, ino, size;
	uint32_t mode;
};

/*
 * ---- The worker's calls ----
 *
 * Each returns 0 or a descriptor (close-on-exec), or -errno; -EPERM: the configuration does not
 * name it, -ETIMEDOUT: no answer, -EMFILE: no room for the descriptor. What goes wrong with a
 * listening socket is said in the log by the helper.
 */
int amp_helper_open(enum amp_helper_kind kind, const char *path);
int amp_helper_stat(enum amp_helper_kind kind, const char *path, struct amp_helper_stat *st);
/* A listening, non-blocking Unix stream socket. A stale file is removed first. */
int amp_helper_listen_unix(enum amp_helper_kind kind, const char *path);
/* Removes the file that amp_helper_listen_unix() made, unless another's is there by now. */
int amp_helper_unlink(enum amp_helper_kind kind, const char *path);
/* A connected, non-blocking Unix stream socket. */
int amp_helper_connect_unix(enum amp_helper_kind kind, const char *path);
/*
 * bind() of an AF_INET or AF_INET6 socket. Tried without help first; where that wants privilege
 * (a low port), by the helper if a publish rule or an `allow in` rule names the address. Of an AF_VSOCK
 * socket: if a vsock link exposes the port.
 */
int amp_helper_bind(int fd, const struct sockaddr *sa, socklen_t len);
/*
 * The same by the helper in any case, which then has closed what it was told not to keep any more.
 * beside: a UDP socket beside another of the worker's at that port, which both have SO_REUSEPORT;
 * -EADDRINUSE: somebody else has a part of the address.
 */
int amp_helper_bind_there(int fd, const struct sockaddr *sa, socklen_t len, bool beside);
/*
 * A socket that the service manager passed and that listens at (tcp), or is bound to (UDP), exactly
 * this address; non-blocking. -ENOENT: none; -EPROTOTYPE: that address, but another type, or it
 * does not listen. (Unix sockets: amp_helper_listen_unix() returns those that were passed.)
 */
int amp_helper_passed_inet(bool tcp, const struct sockaddr *sa, socklen_t len);
/*
 * Who is at the other end of a connection of the control socket, and what that allows
 * (control_peer.c). The worker may be in a user namespace where all strangers look alike: the
 * helper sees them as they are.
 */
struct amp_helper_peer {
	uint32_t uid, pid, right;
};
int amp_helper_peer(int fd, struct amp_helper_peer *peer);
/*
 * The configuration file as it is now: a memory file with its text. The helper reads the same text
 * by itself; what that names is allowed besides what the running configuration names, until
 * amp_helper_config_done() says whether it is the running one from now on.
 */
int amp_helper_config(void);
int amp_helper_config_done(bool accepted);

/* A memory file of len bytes, all zero, that neither shrinks nor grows: for journal.h. */
int amp_helper_journal(uint32_t len);

/* What rchar.h's calls of the same names do, for the control device at path. */
int amp_helper_rchar_find(const char *path);
bool amp_helper_rchar_stands(const char *path);
int amp_helper_rchar_create(const char *path, uint32_t src, uint32_t dst);
void amp_helper_rchar_scan(const char *path, const struct amp_rchar_ops *ops, void *ctx);

/*
 * Names. done comes later, from the loop, once; with id, and what getaddrinfo() would have said
 * (err: 0 or EAI_*; res only for as long as the call lasts) or getnameinfo() (host and service,
 * NULL where res is what was asked for). Ids are the caller's, and so is forgetting an
 * answer that it does not wait for any more. 0, or -EAGAIN: too many at once.
 */
struct amp_helper_name {
	int err;
	const struct addrinfo *res;
	const char *host, *service;
};
void amp_helper_on_name(void (*done)(uint64_t id, const struct amp_helper_name *name));
int amp_helper_resolve(uint64_t id, const char *host, const char *service,
		       const struct addrinfo *hints);
int amp_helper_nameinfo(uint64_t id, const struct sockaddr *sa, socklen_t len, int flags);

/*
 * What the service manager is to know, if there is one. READY comes with the first, and again
 * behind RELOADING; status (NULL: none) is a line for people, cut at 255 bytes.
 */
enum amp_helper_state {
	AMP_HELPER_STATUS, /* the line alone */
	AMP_HELPER_READY,
	AMP_HELPER_RELOADING, /* without status */
	AMP_HELPER_STOPPING,
	AMP_HELPER_STATES
};
void amp_helper_notify(enum amp_helper_state state, const char *status);
/* STOPPING, and that it may take wait_s seconds longer than the manager would wait. */
void amp_helper_notify_drain(uint32_t wait_s, const char *status);

/*
 * How much is logged, from now on and by both processes. The helper keeps it for the next worker,
 * and for the next program, unless that has another level in its configuration than this one.
 */
void amp_helper_log_level(enum amp_log_level level);

/*
 * Rules published at run time, which no file has: all() says each of them with
 * amp_helper_published(), in the same order until this is called again. The helper keeps them for
 * the next worker and the next program. It is called back later if there is no room.
 */
void amp_helper_published_tell(void (*all)(void));
void amp_helper_published(const char *link, const char *rule);
/* In the worker, when it begins: those of the one before. */
void amp_helper_published_each(void (*fn)(const char *link, const char *rule));

/* ---- start ---- */

/* The worker's exit status for: execute the program file anew. */
#define AMP_EXIT_UPGRADE 3

/* First of all: what to execute when an upgrade is asked for (helper_upgrade.c). */
void amp_helper_program(int argc, char **argv);
void amp_helper_program_free(void);
/* Of the log, when the configuration says `level`: that, or what the program before us kept. */
enum amp_log_level amp_helper_kept_level(enum amp_log_level level);

/* What the program before us had published at run time. */
void amp_helper_published_load(void);

/*
 * Forks. In the worker: 0, with the sockets to the helper in place and signals blocked as they
 * are to stay. In the parent the call does not return before the last worker has ended: 1, and its
 * exit status in *code. A worker that dies of a signal has a successor, which returns 0
 * too, with *ready_fd -1. -errno: no process.
 */
int amp_helper_start(const struct amp_config *conf, const struct amp_confine *confine,
		     const char *config_path, int *ready_fd, int *code);
/* What the helper's copy of the configuration is now: for the worker, when it begins. */
struct amp_config *amp_helper_config_now(void);
/* The worker's loop hears of signals that came (in the loop), and that the helper is gone. */
int amp_helper_watch(void (*on_signal)(int num), void (*gone)(void));
void amp_helper_unwatch(void);
/* What had no room until now is said before the process is gone; unwatch does it, too. */
void amp_helper_tell_last(void);

#endif /* AMP_PROXY_HELPER_H */
