/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to helper*.c: the messages between worker and helper. Both are one program. */
#ifndef AMP_PROXY_HELPER_MSG_H
#define AMP_PROXY_HELPER_MSG_H

#include "config.h"
#include "helper.h"

#define AMP_HELPER_MAGIC 0x68706d61u /* "amph" */

enum amp_helper_op {
	AMP_HELPER_OPEN = 1,
	AMP_HELPER_STAT,
	AMP_HELPER_LISTEN,
	AMP_HELPER_UNLINK,
	AMP_HELPER_CONNECT,
	AMP_HELPER_BIND, /* arg: 1: beside another of ours */
	AMP_HELPER_CONFIG,
	AMP_HELPER_CONFIG_DONE,	 /* arg: 1: accepted */
	AMP_HELPER_FIND,	 /* rchar */
	AMP_HELPER_STANDS,	 /* rchar */
	AMP_HELPER_CREATE,	 /* rchar; arg: src, dst */
	AMP_HELPER_SCAN,	 /* rchar; arg: 1: from the first */
	AMP_HELPER_ATTR,	 /* rchar; name: the channel's entry, without its bus */
	AMP_HELPER_PASSED,	 /* arg: 1: TCP */
	AMP_HELPER_PEER,	 /* with the connection; the answer is in st: ino, dev, mode */
	AMP_HELPER_JOURNAL,	 /* arg: bytes */
	AMP_HELPER_CALLS,	 /* those below are news */
	AMP_HELPER_RESOLVE = 32, /* arg: family, type, flags */
	AMP_HELPER_NAME,	 /* arg: flags */
	AMP_HELPER_SIGNAL,	 /* to the worker; arg: number */
	AMP_HELPER_NOTIFY, /* arg: enum amp_helper_state, seconds it takes; path: status */
	AMP_HELPER_PING,   /* to the worker */
	AMP_HELPER_PONG,   /* with the id of the ping */
	AMP_HELPER_HEARD,  /* with the id of a SIGNAL that was dealt with */
	AMP_HELPER_LEVEL,  /* of the log; arg: enum amp_log_level */
	/* at run time; arg: enum amp_helper_published; name: the link, path: the rule or a piece */
	AMP_HELPER_PUBLISHED,
};

enum amp_helper_published {
	AMP_PUBLISHED_BEGIN, /* of all there are; what was said before holds until AMP_PUBLISHED_ALL */
	AMP_PUBLISHED_RULE,
	AMP_PUBLISHED_MORE, /* of the last rule */
	AMP_PUBLISHED_ALL,
	AMP_PUBLISHED_KINDS
};

#define AMP_HELPER_RULE_MAX 1023u /* as a control request has it */

/* A request, of either socket. What an operation does not use is zero. */
struct amp_helper_req {
	uint32_t magic;
	uint32_t op;
	uint64_t id; /* of the answer, too */
	uint32_t kind;
	uint32_t arg[3];
	uint32_t sa_len;
	uint32_t pad;
	struct sockaddr_storage sa; /* BIND, PASSED, NAME */
	char path[256];		    /* RESOLVE: the host; NOTIFY: the status */
	char name[256];		    /* ATTR: the entry; RESOLVE: the service */
};

#define AMP_HELPER_TEXT	 4096u
#define AMP_HELPER_ADDRS 64u

struct amp_helper_ans {
	uint32_t magic;
	uint32_t op;
	uint64_t id;
	int32_t result; /* 0 or -errno; of names EAI_* */
	uint32_t more;	/* SCAN: there are more; RESOLVE: addresses; ATTR: the address */
	struct amp_helper_stat st;
	uint32_t text_len;
	uint32_t pad;
	union {
		char text[AMP_HELPER_TEXT]; /* strings, a NUL behind each */
		struct {
			struct {
				uint32_t len, type, protocol, pad;
				union {
					struct sockaddr sa;
					struct sockaddr_in6 in6;
				} addr;
			} addr[AMP_HELPER_ADDRS];
			char canon[256];
		} names;
	} u;
};

#define AMP_HELPER_ANS_HEAD offsetof(struct amp_helper_ans, u)

/*
 * Is it a request that the helper can look at: size, magic, a known operation of that socket, a
 * known kind, strings with an end, lengths and families that fit? 0 or -EINVAL, -EBADMSG.
 * Nothing else in the helper looks at a request that was not checked.
 */
int amp_helper_check(const struct amp_helper_req *req, size_t len, bool news, unsigned fd_cnt);

/* ---- helper_allow.c: what the configuration names ---- */

/* The link that has path for that purpose; NULL: none. */
const struct amp_link_conf *amp_helper_names(const struct amp_config *conf,
					     enum amp_helper_kind kind, const char *path);
/* May a guest's or a publish rule's socket be bound there? tcp: or udp */
bool amp_helper_may_bind(const struct amp_config *conf, bool tcp, const struct sockaddr *sa,
			 socklen_t len);
/* May a vsock link's socket? sa is an AF_VSOCK one. */
bool amp_helper_may_bind_vsock(const struct amp_config *conf, const struct sockaddr *sa);
/*
 * Does a worker in good order ask for such a thing, that no rule names, on another's behalf? A guest may
 * want to bind there, a control client to publish it: they are told.
 */
bool amp_helper_for_others(const struct amp_config *conf, const struct amp_helper_req *req);

/* ---- helper_do.c: what a call does ---- */

/* fd: a descriptor that came along, or -1; it stays the caller's. Fills ans. Returns a
 * descriptor to send along and to close, or -1. *conf: another one, when one was accepted. */
int amp_helper_do(const struct amp_config **conf, const char *config_path,
		  const struct amp_helper_req *req, int fd, struct amp_helper_ans *ans);
/* Removes the socket files that are left, and forgets everything. */
void amp_helper_do_fini(void);

/* ---- helper_beside.c ---- */

/* bind() of a UDP socket with SO_REUSEPORT, but if anybody else has a socket with that port. */
int amp_helper_bind_beside(int fd, const struct sockaddr *sa, socklen_t len);

/* ---- helper_name.c: resolver threads ---- */

void amp_helper_name(int news_fd, const struct amp_helper_req *req);
unsigned amp_helper_name_busy(void);

/* ---- helper_published.c ---- */

/* control: there is somebody who could have asked for it. */
void amp_helper_published_news(const struct amp_helper_req *req, bool control);

/* ---- helper_manager.c: the service manager ---- */

/* Takes over what it gave us. 0, or how many sockets; -errno, said. Before anything is opened. */
int amp_helper_manager_open(void);
/* In the worker: that is the helper's. */
void amp_helper_manager_close(void);
/* Would it start another helper? */
bool amp_helper_managed(void);
/* For its store of descriptors (fd -1: none goes along). */
void amp_helper_manager_tell(const char *text, int fd);
/* NOTIFY. drain_s: as the configuration has it. */
void amp_helper_manager_news(const struct amp_helper_req *req, uint32_t drain_s);
/* In which time it wants to hear WATCHDOG=1; 0: it does not. */
uint64_t amp_helper_manager_watchdog_ms(void);
/* WATCHDOG=1 */
void amp_helper_manager_alive(void);
/* A descriptor of its own, or as amp_activated_lend(). */
int amp_helper_passed(bool tcp, const struct sockaddr *sa);

/* One message with at most one descriptor. Length, 0 at the end, or -errno. *fd: -1 or what
 * came; -EMFILE: one came and there was no room: it is closed, buf has the message. */
ssize_t amp_helper_recv(int sock, void *buf, size_t len, int *fd);
/* 0 or -errno. Never waits. */
int amp_helper_send(int sock, const void *buf, size_t len, int fd);

#endif /* AMP_PROXY_HELPER_MSG_H */
