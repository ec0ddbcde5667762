/* SPDX-License-Identifier: BSD-3-Clause */
/* ampsock-run: what its files share. */
#ifndef AMP_RUN_H
#define AMP_RUN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "run_msg.h"

#define AMP_RUN_ENTRIES	  1024 /* sockets: more than the library has */
#define AMP_RUN_STRANGERS 1024 /* silent connections of other users */

enum entry_state {
	ENTRY_NEW,	  /* neither connected nor listening */
	ENTRY_CONNECTING, /* O_NONBLOCK: the pump waits for the outcome */
	ENTRY_WAITING,	  /* a request's thread does: the pump keeps off */
	ENTRY_OPEN,	  /* bytes go both ways; datagram sockets always */
	ENTRY_LISTEN,
	ENTRY_FAILED, /* connect() did: the descriptor is used up */
	ENTRY_DEAD,   /* it was OPEN */
};

/* A socket of a program. Everything under amp_run.lock, except what never changes. */
struct entry {
	uint64_t id;   /* constant; 0: free. Its low 16 bits are the index */
	unsigned refs; /* threads that use amp without the lock; not freed before they leave */
	enum entry_state state;
	int domain, type; /* constant */
	int amp;	  /* the library's descriptor; constant, but -1 after give_up() */
	int k;		  /* our end of the pair; the program has the other */
	unsigned pair;	  /* random, of each pair: nobody can take its name beforehand */
	ino_t ino;   /* of the program's end, and no other's who took its name afterwards */
	int err;     /* told once: SO_ERROR or a call */
	size_t junk; /* stuffing to be thrown away: bytes, messages of SOCK_SEQPACKET */
	bool told;   /* connect() said EINPROGRESS: what it came to may be asked for */
	/* the pump's */
	bool queued;	/* to be looked at */
	bool kin, kout; /* k may be readable, writable; edges, as epoll tells them */
	bool stuck;	/* what k has finds no room: wait for it */
	bool hup;	/* k has hung up: closed, or shut down both ways */
	bool eof;	/* the program sends no more */
	bool deaf;	/* amp takes no more: what the program sends is thrown away */
	bool mute;	/* nothing more goes to the program */
	bool resting;	/* SOCK_DGRAM: it has the same error again and again: looked at later */
	int told_err;	/* SOCK_DGRAM: since something went well */
};

extern struct amp_run {
	pthread_mutex_t lock;
	pthread_cond_t news; /* some entry's state has changed */
	struct entry entries[AMP_RUN_ENTRIES];
	unsigned used;	  /* entries */
	unsigned in_hand; /* programs' descriptors that are not closed here yet */
	uint64_t nonce;
	uint64_t token[2];
	int fd_max;	       /* of a pair; the rest is for requests. Constant */
	unsigned stranger_max; /* constant, 1 to AMP_RUN_STRANGERS */
	bool offload;
} amp_run;

/* run_entry.c; all with the lock held. */
/* An entry for amp, k being its end; *prog_fd the program's. NULL with *err = -errno. */
struct entry *entry_new(int domain, int type, int amp, int *prog_fd, int *err);
/* Another pair. The program's end or -errno. */
int entry_renew(struct entry *e);
/* Close both ends, free it. refs must be 0. */
void entry_free(struct entry *e);
struct entry *entry_find(uint64_t id);
/* Has the program still a descriptor of it? */
bool entry_alive(const struct entry *e);

/* run_pump.c */
/* The pump's thread begins. 0 or -errno. */
int pump_start(void);
/* Watch e->k; look at e soon. Lock held. */
int pump_add(struct entry *e);
void pump_poke(struct entry *e);

/* run_move.c; lock held. Move what can be moved, a bounded piece. True: there is more. */
bool move_turn(struct entry *e);
/* The library's events that e waits for: POLLIN, POLLOUT. */
short move_wants(const struct entry *e);

/* run_ctl.c */
/* Bind the door. Its descriptor or -errno. */
int ctl_open(void);
/* Take a request; a thread of its own serves it. */
void ctl_accept(int door);

#endif /* AMP_RUN_H */
