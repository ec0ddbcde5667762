/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What makes progress when the stack runs, and how its peer is notified. A part of family.h, which alone
 * includes it.
 */
#ifndef AMP_RUNNER_H
#define AMP_RUNNER_H

/* A small core with AF_RPMSG alone, and one link of it, has one runner: link_remote.c's. It is called
 * by name. */
#define AMP_ONE_RUNNER                                                          \
	(!AMPSOCK_FAST && !AMPSOCK_HOSTED && !AMPSOCK_VSOCK && !AMPSOCK_INET && \
	 AMPSOCK_RPMSG == 1)
#if AMP_ONE_RUNNER
#define AMP_RUNNER(r, op) amp_remote_##op
#else
#define AMP_RUNNER(r, op) ((r)->op)
#endif

/*
 * Without threads there is no lock to be given up before a peer is notified: in a small build the
 * runner's kick_due() does it at once, and returns 0.
 */
#define AMP_KICK_AT_ONCE (!AMPSOCK_FAST && !AMP_PORT_THREADS)

/* Something that makes progress when the stack runs: links, the offload session. */
struct amp_runner {
	struct amp_runner *next;
	struct amp_runner *due_next;
	bool due;	/* AMPSOCK_FAST: ask kick_due() before the lock is given up. Else that
			 * is always done, and this asks about buffers that went back, too */
	bool listed;	/* on the list amp_due: due, or bits */
	bool untimed;	/* constant: run() does without now_ms, which may be 0 then */
	bool calm;	/* set by the owner: nothing to run for until it is due again */
	uint8_t own[4]; /* the owner's own, not to be overwritten with the rest: early, short
			 * offsets are short instructions */
	unsigned bits;	/* queues whose kick is due already: no need to ask */
#if !AMP_ONE_RUNNER
	/* Look at the device, move what can move. Returns ms until it wants to run again, -1:
	 * event only. */
	int32_t (*run)(struct amp_runner *r, uint32_t now_ms);
	/* About to sleep: ask to be notified; true when something came in meanwhile. NULL. */
	bool (*arm)(struct amp_runner *r, bool on);
	/* Leaving the stack: which queues want a kick (bits). Called with the lock. NULL: none.
	 */
	unsigned (*kick_due)(struct amp_runner *r);
	/* Notify those queues. Called *without* the lock. Not AMP_KICK_AT_ONCE. */
	void (*kick)(struct amp_runner *r, unsigned queues);
#endif
	/* Add what you counted. NULL: nothing. */
	void (*stats)(const struct amp_runner *r, struct amp_stats *st);
};

#if AMP_ONE_RUNNER
int32_t amp_remote_run(struct amp_runner *r, uint32_t now_ms);
bool amp_remote_arm(struct amp_runner *r, bool on);
unsigned amp_remote_kick_due(struct amp_runner *r);
void amp_remote_kick(struct amp_runner *r, unsigned queues);
#endif

/* Those with due or bits: seen to before the lock is given up. */
extern struct amp_runner *amp_due; /* AMPSOCK_FAST */
static inline void amp_runner_list(struct amp_runner *r)
{
	if (r->listed)
		return;
	r->listed = true;
	r->due_next = amp_due;
	amp_due = r;
}

/* The peer wants to hear of these queues: on the way out, or now, where there is no lock. */
static inline void amp_runner_kick(struct amp_runner *r, unsigned bits)
{
	if (!AMP_PORT_THREADS) {
		AMP_RUNNER(r, kick)(r, bits);
		return;
	}
	r->bits |= bits;
	amp_runner_list(r);
}

/* Ask r->kick_due() before the lock is given up: something was put into its queues. A small build
 * has few runners, and asks all of them each time. */
#if AMPSOCK_FAST
void amp_runner_due(struct amp_runner *r);
#else
static inline void amp_runner_due(struct amp_runner *r)
{
	(void)r;
}
#endif

/* At the end of the list, where it also goes when it is there already. r lives for ever. */
void amp_runner_add(struct amp_runner *r);
void amp_runner_del(struct amp_runner *r);

#endif /* AMP_RUNNER_H */
