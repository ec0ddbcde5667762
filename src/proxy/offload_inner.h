/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to offload*.c, policy.c and resolve.c: sessions and what they own. */
#ifndef AMP_PROXY_OFFLOAD_INNER_H
#define AMP_PROXY_OFFLOAD_INNER_H

#include "../wire/le.h"
#include "../wire/offload.h"
#include "buf.h"
#include "offload.h"
#include "publish.h"

#define AMP_OFF_HEADER_MS 10000u /* a carrier must say what it is within this */
#define AMP_OFF_IDS	  256u	 /* hash heads */
#define AMP_OFF_CTL_QUEUE 16384u /* bytes of answers that a guest may leave unread */
#define AMP_OFF_CTL_MIN	  64u	 /* every fixed answer fits: a guest that takes less is none */
#define AMP_OFF_LEASES	  256u
#define AMP_OFF_RESOLVING 2u  /* of one link, in the resolver's threads at once */
#define AMP_OFF_RESOLVES  16u /* waiting besides */

#define AMP_OFF_OPTS 32u

struct amp_session;
struct amp_osock;
struct amp_group;

/* Options of a kernel's socket whose value is an int: bit and index are enum amp_off_opt. */
struct amp_off_opts {
	uint32_t known;
	int value[AMP_OFF_OPTS];
};

/* What an id names. Each kind is a struct that begins with this. */
struct amp_osock_ops {
	/* The session is over, or RELEASE: everything of it goes, its peers see a reset. */
	void (*kill)(struct amp_osock *s);
	int (*fd)(const struct amp_osock *s);
	/* of those that have no end in the ring; NULL: it has one */
	void (*info)(const struct amp_osock *s, struct amp_sock_info *info);
	/*
	 * A rule that let it be what it is may have gone: do others? Sets s->rule anew. For a
	 * place at a published port (s->virt) no allow rule is needed.
	 */
	bool (*allowed)(struct amp_osock *s);
	/* The session is over: can this one end by itself, in good order? NULL: no. */
	bool (*left)(struct amp_osock *s);
	bool released; /* RELEASE applies: bound sockets and listeners */
};

struct amp_osock {
	const struct amp_osock_ops *ops;
	struct amp_osock *hash_next;
	TAILQ_ENTRY(amp_osock) entry;
	struct amp_session *ses;
	uint32_t id;
	struct amp_virtual *virt; /* it is, or came in, at this published port */
	struct amp_rule *rule[2]; /* that allowed it, by enum amp_dir; NULL: nothing had to */
	struct amp_group *groups; /* that it has joined: offload_group.c */
	uint8_t family;		  /* enum amp_off_family */
	uint8_t type;
	bool chosen;  /* the kernel chose its port: a rule's port 0 */
	bool nodelay; /* as the guest set it: our own default differs, see offload_opt.c */
	int32_t linger_on, linger_s;
	struct amp_grave grave;
};

struct amp_session {
	TAILQ_ENTRY(amp_session) entry;
	struct amp_offload *off;
	struct amp_end *ctl;
	uint64_t num; /* sessions of a link are in its order */
	uint64_t token;
	uint32_t max_frame; /* that the guest takes */
	TAILQ_HEAD(, amp_osock) socks;
	struct amp_buf out; /* answers that found no room */
	struct amp_grave grave;
	bool over;
};

/* An address that was given for a name that a rule allows. */
struct amp_lease {
	const struct amp_rule *rule; /* NULL: free */
	uint64_t until_ms;
	uint8_t addr[16];
};

/* publish ... -> inet:PORT */
struct amp_virtual {
	TAILQ_ENTRY(amp_virtual) entry;
	struct amp_offload *off;
	const struct amp_forward *fwd;
	struct amp_acceptor acceptor;  /* TCP */
	struct amp_listener *listener; /* the guest's, when there is one */
	int udp_fd;
	uint32_t udp_drops;	      /* as SO_RXQ_OVFL last said to anybody */
	struct amp_off_opts udp_opts; /* of udp_fd, before any guest had it */
	struct amp_osock *udp_user;
};

struct amp_carrier;
struct amp_resolve;

struct amp_offload {
	struct amp_link *link;
	TAILQ_HEAD(, amp_session) sessions;
	struct amp_session
		left; /* none: it is over, and has the sockets that go on after theirs */
	TAILQ_HEAD(, amp_carrier) carriers; /* without a header yet, oldest first */
	TAILQ_HEAD(, amp_virtual) virtuals;
	TAILQ_HEAD(, amp_resolve) resolves; /* waiting */
	unsigned resolving, resolve_cnt;
	unsigned session_cnt;
	uint64_t next_session;
	unsigned sock_cnt;
	uint32_t next_id;
	unsigned lease_next;
	uv_timer_t timer;
	struct amp_log_rate log_bad;
	struct amp_osock *ids[AMP_OFF_IDS]; /* these two last: zeroed.h */
	struct amp_lease leases[AMP_OFF_LEASES];
};

/* ---- offload.c ---- */
/* Takes an id. False: the link has its limit of sockets already. */
bool amp_osock_add(struct amp_session *ses, struct amp_osock *s);
void amp_osock_del(struct amp_osock *s);
struct amp_osock *amp_osock_find(struct amp_session *ses, uint32_t id);
/* A frame on the control carrier; len <= AMP_OFF_CTL_MAX. */
void amp_session_send(struct amp_session *ses, const uint8_t *frame, size_t len);
void amp_session_closed(struct amp_session *ses, uint32_t id, int err);
void amp_session_end(struct amp_session *ses, const char *why);
uint64_t amp_off_token(void);
/* An ANSWER with status, and the end of the carrier. */
void amp_carrier_refuse(struct amp_offload *off, struct amp_end *end, uint8_t op,
			unsigned status);

/* ---- offload_ctl.c ---- */
/* Bytes of whole frames that were handled; may end the session. */
size_t amp_session_input(struct amp_session *ses, const uint8_t *p, size_t len);
/* An answer: body_len bytes of body follow the header. */
void amp_session_reply(struct amp_session *ses, uint8_t op, uint32_t seq, unsigned status,
		       const uint8_t *body, size_t body_len);

/* ---- offload_addr.c ---- */
socklen_t amp_off_to_sa(const struct amp_off_addr *a, struct sockaddr_storage *ss);
void amp_off_from_sa(const struct sockaddr *sa, struct amp_off_addr *a);
/* An AF_INET6 socket's addresses are IPv6 ones, also when IPv4 came in through a published
 * port. */
void amp_off_same_family(uint8_t family, struct amp_off_addr *a);
void amp_off_local(int fd, struct amp_off_addr *a);

/* ---- offload_opt.c ---- */
/* A socket of this host for the guest: non-blocking, or -errno, and told if we are short of it. */
int amp_off_socket(struct amp_offload *off, int domain, int type);
/* One of a rate; false: refused, counted and said. */
bool amp_off_rate(struct amp_offload *off, enum amp_limit what);
/* positive errno or 0 */
int amp_off_set_bits(struct amp_osock *s, int fd, uint32_t opts_set, uint32_t opts);
int amp_off_set_keep(int fd, const struct amp_off_open *o);
int amp_off_setopt(struct amp_osock *s, unsigned opt, const uint8_t *value, size_t len);
int amp_off_getopt(struct amp_osock *s, unsigned opt, uint8_t *value, size_t *len);
void amp_off_opts_save(int fd, struct amp_off_opts *to);
void amp_off_opts_put(int fd, const struct amp_off_opts *from);
/* A user of it has gone, who may have set whatever there is. */
void amp_off_opts_back(int fd, const struct amp_off_opts *from);
/* A datagram to a group comes only where that group was joined on this very socket. */
void amp_off_own_groups(int fd);

/* ---- offload_group.c ---- */
/* One of the four options that join and leave. Positive errno or 0. */
int amp_off_membership(struct amp_osock *s, int fd, unsigned opt, const uint8_t *v, size_t len);
/* Leaves the first group that no rule covers any more: false, and which one that was. */
bool amp_off_groups_allowed(struct amp_osock *s, int fd, struct sockaddr_storage *denied);
/* fd: where they are to be left, or -1: it is closed. */
void amp_off_groups_leave(struct amp_osock *s, int fd);

/* ---- offload_tcp.c ---- */
void amp_tcp_open(struct amp_session *ses, struct amp_end *carrier,
		  const struct amp_off_open *o, const char *name);
int amp_tcp_bind(struct amp_session *ses, uint8_t family, uint32_t opts_set, uint32_t opts,
		 const struct amp_off_addr *addr, uint32_t *id, struct amp_off_addr *bound);
int amp_tcp_listen(struct amp_session *ses, uint32_t bound_id, uint32_t backlog,
		   uint32_t credits, uint32_t *id, uint64_t *token, struct amp_off_addr *bound);
void amp_tcp_credit(struct amp_session *ses, uint32_t id, uint32_t n);
/* If it is a listener, it may accept: there is room for a socket again. */
void amp_tcp_room(struct amp_osock *o);
/* If it is a listener, it accepts no more. */
void amp_tcp_quit(struct amp_osock *o);
int amp_virtual_tcp(struct amp_offload *off, const struct amp_forward *fwd, int fd);
/* Its socket, which is the caller's from now on. */
int amp_virtual_free(struct amp_virtual *v);
/* It ends: who is bound or listens there has another one that leads to the same port, if any. */
void amp_virtual_leave(struct amp_virtual *v);

/* ---- offload_udp.c ---- */
void amp_udp_open(struct amp_session *ses, struct amp_end *carrier,
		  const struct amp_off_open *o);
int amp_udp_connect(struct amp_osock *s, const struct amp_off_addr *peer,
		    struct amp_off_addr *local);
/* NULL: port is not published. */
struct amp_virtual *amp_virtual_udp_find(struct amp_offload *off, uint16_t port);
int amp_virtual_udp(struct amp_offload *off, const struct amp_forward *fwd, int fd);

/* ---- policy.c ---- */
/* 0, or EACCES with a log line. what: connect, bind, send, join. *by: the rule that allows it. */
int amp_policy_addr(struct amp_offload *off, enum amp_dir dir, enum amp_proto proto,
		    const struct sockaddr *sa, const char *what, struct amp_rule **by);
/* The same without a word. NULL: denied. */
struct amp_rule *amp_policy_quiet(struct amp_offload *off, enum amp_dir dir,
				  enum amp_proto proto, const struct sockaddr *sa);
/* And without counting. */
struct amp_rule *amp_policy_find(struct amp_offload *off, enum amp_dir dir,
				 enum amp_proto proto, const struct sockaddr *sa);
struct amp_rule *amp_policy_find_in(struct amp_offload *off, enum amp_proto proto,
				    const struct sockaddr *sa, bool chosen);
/* Leases by rules that are gone are those of others that have the name, or nobody's. */
void amp_policy_forget(struct amp_offload *off);
/* May the guest use this name at all (port 0: on some port)? */
int amp_policy_name(struct amp_offload *off, enum amp_proto proto, const char *name,
		    uint16_t port);
/* sa was given to the guest for name. */
void amp_policy_lease(struct amp_offload *off, const char *name, const struct sockaddr *sa);
/* LISTEN: the port may be one that the kernel chose (rule: `any`, or port 0). */
int amp_policy_listen(struct amp_offload *off, const struct sockaddr *sa, bool chosen,
		      struct amp_rule **by);
/* May the guest talk to this host at all, on whatever port? */
bool amp_policy_host(struct amp_offload *off, const struct sockaddr *sa);
/* Some udp rule covers the group, on whatever port. */
int amp_policy_group(struct amp_offload *off, const struct sockaddr *sa);
/* The same without a word. */
bool amp_policy_group_find(struct amp_offload *off, const struct sockaddr *sa);

/* ---- resolve.c ---- */
struct amp_resolve {
	TAILQ_ENTRY(amp_resolve) entry;
	struct amp_offload *off; /* NULL: the link is gone */
	/* res is freed by the caller; status: enum amp_off_status. NULL done: nobody waits any
	 * more */
	void (*done)(struct amp_resolve *r, unsigned status, const struct addrinfo *res);
	void *owner;
	uint64_t id; /* the helper's */
	bool reverse, running;
	struct addrinfo hints;
	struct sockaddr_storage sa; /* reverse */
	int flags;
	char host[256];
	char service[64];
	/* for whoever answers */
	uint32_t seq;
	uint16_t port;
	uint8_t op;
	bool canon;
};

/* -EAGAIN: too many at once. The job is its own from now on. */
int amp_resolve_start(struct amp_offload *off, struct amp_resolve *r);
struct amp_resolve *amp_resolve_new(void);
void amp_resolve_drop(struct amp_resolve *r); /* one that was not started */
/* The owner does not wait any more. NULL: the link's memory goes. */
void amp_resolve_forget(struct amp_offload *off, void *owner);

#endif /* AMP_PROXY_OFFLOAD_INNER_H */
