/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What libampsock-preload.so and ampsock-run say to each other, and how a descriptor tells
 * what it is.
 *
 * ampsock-run listens at an abstract Unix address that has its nonce in it. A request is one
 * SOCK_SEQPACKET connection: one message there, one back, closed. So nothing is shared between
 * threads, survives a fork badly, or is missed by a program that closes what it does not know.
 * Who asks must have the token, which is in the environment and nowhere else. Who answers must be
 * of the asker's user, or root: everybody can see the address, and take it when ampsock-run is
 * gone.
 *
 * A program's descriptor is an AF_UNIX socket whose own name (getsockname) is of the form
 * AMP_RUN_NAME. The name goes wherever the descriptor goes: through dup, fork, exec and
 * SCM_RIGHTS.
 */
#ifndef AMP_RUN_MSG_H
#define AMP_RUN_MSG_H

#include <stdint.h>
#include <sys/socket.h>

#define AMP_RUN_ENV	"AMPSOCK_RUN" /* NONCE:TOKEN:OFFLOAD, as AMP_RUN_ENV_FMT */
#define AMP_RUN_ENV_FMT "%016llx:%016llx%016llx:%d"

/* Behind the NUL of an abstract name. nonce; nonce, id, domain, type, a random number */
#define AMP_RUN_DOOR "ampsock-run/%016llx"
#define AMP_RUN_NAME "ampsock-run/%016llx/%llx/%d/%d/%u"

#define AMP_RUN_DATA_MAX 2048 /* of a request */
#define AMP_RUN_BACK_MAX 8192 /* of a reply */

enum amp_run_op {
	AMP_RUN_SOCKET = 1, /* a: domain, type, protocol. Back: a descriptor */
	AMP_RUN_BIND,	    /* data: address */
	AMP_RUN_LISTEN,	    /* a: backlog */
	AMP_RUN_CONNECT,   /* a: does not block. data: address; with it the descriptor, if so */
	AMP_RUN_RENEW,	   /* after -ESTALE: the descriptor is used up. Back: another */
	AMP_RUN_CONNECTED, /* or on the way to it? -ENOTCONN */
	AMP_RUN_CLOSED, /* a descriptor was: if it was the last, what it was bound to is free on return */
	AMP_RUN_SHUTDOWN,    /* a: how. May it? */
	AMP_RUN_NAME_OF,     /* a: peer. Back: data */
	AMP_RUN_GETOPT,	     /* a: level, name, room. Back: data */
	AMP_RUN_SETOPT,	     /* a: level, name. data: value */
	AMP_RUN_STATUS,	     /* the pending error, cleared; what a 0 from recv stands for */
	AMP_RUN_LIMIT,	     /* bytes that a message may have; 0: nobody knows */
	AMP_RUN_GETADDRINFO, /* a: flags, family, type, protocol. data: node NUL service NUL */
};

struct amp_run_req {
	uint64_t token[2];
	uint64_t id;
	uint32_t op;
	int32_t a[4];
	uint32_t data_len;
	uint8_t data[AMP_RUN_DATA_MAX];
};

struct amp_run_rep {
	int32_t ret; /* 0 or more; -errno */
	int32_t val; /* GETADDRINFO: EAI_* */
	uint32_t data_len;
	uint8_t data[AMP_RUN_BACK_MAX];
};

#define AMP_RUN_HEAD(m) ((uint32_t)offsetof(__typeof__(m), data))

/* GETADDRINFO's data: cnt of these, then the canonical name with its NUL, or nothing. */
struct amp_run_ai {
	int32_t family, type, protocol;
	uint32_t addr_len;
	uint8_t addr[32];
};

/*
 * A listener's descriptor: each connection is one of these with a descriptor beside it
 * (SCM_RIGHTS). Readable is then what a listener's readable means, whoever asks.
 */
struct amp_run_accept {
	uint32_t addr_len;
	uint8_t addr[60];
};

/*
 * A SOCK_DGRAM socket's descriptor (a SOCK_SEQPACKET one for the kernel, whose end is seen at
 * the other): before each datagram its destination or its source; or an error and no datagram.
 */
struct amp_run_dgram {
	int32_t err;
	uint32_t addr_len;
	uint8_t addr[40];
};

#define AMP_RUN_DGRAM_MAX 65535

#endif /* AMP_RUN_MSG_H */
