/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session with the proxy: its control carrier, requests, pings, accept carriers.
 *
 * Theory of operation
 *
 * One session at a time. It is opened when the first socket needs it and stays until its
 * carrier breaks, the proxy misses two pings or breaks a rule; then everything of it is
 * told (lost()) and the next need opens another. Who waits for a session remembers that he
 * does (a ticket), and so hears when it does not come up; who has not waited begins the next.
 *
 * The control carrier comes up as a data carrier does, and by the same code (amp_inet_up):
 * the session has a way of its own, of whose states it uses IDLE (down), UP, CONN (it is up) and
 * DEAD (the proxy broke the protocol: soon down).
 *
 * Requests go one at a time through one buffer: the request lies there until its answer
 * overwrites it. The answer waits for its owner, who comes, or says that he gives up
 * (amp_inet_req_forget); what BIND or LISTEN then gives him is released as soon as the answer
 * comes, by a request that the answer becomes, and that has none. Other frames without answer need no
 * buffer: that they are owed is a state somewhere, and they go when the carrier has
 * room for a whole one. PONG is owed while its PING has not been taken.
 *
 * The session is a runner. It moves what moves by itself: connecting sockets, listeners
 * that a new session must hear of, arrived control frames and accept carriers. It comes
 * behind the links in the runners' list, whose arrivals it therefore sees at once; what it
 * sends they see when they run again, so it asks for another look (0 ms) after any
 * progress. Once nothing is left to move it rests (rest.h).
 */
#include <errno.h>
#include <string.h>
#include <netinet/in.h>

#include "ampsock.h"
#include "inet.h"
#include "rest.h"

#if AMPSOCK_INET

AMP_OPTIONAL(amp_inet_door_work);

#define PING_MS	     (AMPSOCK_PING_MS ? AMPSOCK_PING_MS : 2000)
#define PINGS_MISSED 2
/* Who asked has given up long before: a proxy whose resolver is slow is not yet a dead one. */
#define ANSWER_PINGS (3u * AMPSOCK_CONNECT_MS / PING_MS + 1)
#define TICK_MS	     50 /* while something waits for time to pass */

/* Not in line: what it has on the stack would lie below all that is sent. */
#define APART __attribute__((noinline))

/* SEND: not all of it is out. */
enum { REQ_IDLE, REQ_SENT, REQ_DONE, REQ_SEND };

static int32_t session_run(struct amp_runner *r, uint32_t now_ms);
static bool session_arm(struct amp_runner *r, bool on);

/* The small fields first: Thumb's short instructions reach no further. */
static struct {
	uint16_t key;
	uint16_t off; /* bytes of the request that are out */
	uint8_t req;  /* REQ_* */
	uint8_t err;  /* why the last attempt failed */
	uint8_t missed;
	bool ping_owed; /* of a session that is over: the next one's is early */
	bool busy;	/* AMPSOCK_FAST: some socket moves by itself, or may */
	bool poked;	/* something has happened: look again before sleeping */
	struct amp_inet_way ctl;
	uint32_t ping_ms; /* next tick */
	uint32_t seq;
	const void *owner; /* of the request; NULL: nobody wants its answer */
	uint32_t late;	   /* pings since it was made */
	struct amp_runner runner;
} ses;

static struct amp_rest resting;

uint8_t amp_inet_frame[AMP_INET_CTL_MAX] __attribute__((aligned(4)));

struct amp_sock *amp_inet_next(const struct amp_sock *s)
{
	return amp_sock_next_of(s, &amp_inet_family);
}

/* ---- up and down ---- */

/* The session is gone, for all sockets: those that were connected hear of it. */
static void lost(void)
{
	struct amp_sock *s = NULL;

	while ((s = amp_inet_next(s)) != NULL) {
		struct amp_inet *i = amp_inet(s);

		/* those that wait for the session have a ticket, HEADER has no listener any more */
		if (i->carrier && i->state != AMP_INET_DEAD && i->state != AMP_INET_HEADER) {
			amp_inet_fail(s, ECONNRESET);
			continue;
		}
		i->id = 0;
		/* the next session hears of these again */
		if (i->state == AMP_INET_BOUND || i->state == AMP_INET_LISTENING ||
		    i->state == AMP_INET_LISTEN)
			amp_inet_start(s, AMP_INET_BIND, 0);
	}
}

static void session_down(int err)
{
	if (AMPSOCK_WHY && err == EPROTO)
		amp_log("offload: the proxy broke the protocol, session reset");
	if (AMPSOCK_WHY && err == ETIMEDOUT)
		amp_log("offload: the proxy does not answer, session reset");
	if (ses.ctl.state < AMP_INET_BUSY)
		amp_counts.link_resets++; /* it was up */
	amp_inet_drop_carrier(&ses.ctl);
	ses.err = (uint8_t)err;
	ses.req = REQ_IDLE;
	lost();
	amp_inet_poke();
}

static void session_start(void)
{
	amp_inet_opened();
	ses.missed = 0;
	ses.ping_ms = amp_port_now_ms() + PING_MS;
	ses.ctl.state = AMP_INET_UP;
	amp_inet_poke();
}

int amp_inet_session(uint8_t *ticket)
{
	if (ses.ctl.state == AMP_INET_CONN)
		return 0;
	if (ses.ctl.state == AMP_INET_DEAD) /* the next one */
		return -EAGAIN;
	if (ses.ctl.state == AMP_INET_IDLE) {
		if (*ticket)
			return -ses.err;
		session_start();
	}
	*ticket = 1;
	return -EAGAIN;
}

void amp_inet_poke(void)
{
	ses.poked = true;
	if (AMPSOCK_FAST)
		ses.busy = true;
	amp_sock_changed(ses.ctl.carrier);
}

/* At the end of the list: behind the links that came up since the last time. */
void amp_inet_opened(void)
{
	ses.runner.run = session_run;
	ses.runner.arm = session_arm;
	if (AMPSOCK_FAST)
		ses.runner.untimed = true; /* it looks at the clock itself, when it must */
	amp_rest_end(&resting);
	amp_runner_add(&ses.runner);
}

/* ---- requests ---- */

/* An answer that nobody wants: is there an id in it that is nobody's now? It lies where RELEASE has
 * it. */
static void abandon(void)
{
	unsigned what = amp_le16(amp_inet_frame + 2); /* operation; status: 0 */

	ses.req = REQ_IDLE;
	ses.poked = true;
	if (what != (AMP_OFF_BIND | AMP_OFF_REPLY) && what != (AMP_OFF_LISTEN | AMP_OFF_REPLY))
		return;
	ses.key = AMP_OFF_RELEASE;
	amp_inet_req_send(4);
}

int amp_inet_req(const void *owner, uint8_t *ticket, unsigned key)
{
	int r = amp_inet_session(ticket);

	if (r)
		return r;
	if (ses.req == REQ_DONE && ses.owner == owner && ses.key == key) {
		ses.req = REQ_IDLE;
		amp_sock_changed(ses.ctl.carrier); /* others may wait for their turn */
		return amp_inet_frame[3] ? amp_inet_err(amp_inet_frame[3]) : 1;
	}
	/* who waits for an option in another thread waits for listen(), and asks again then */
	if (AMP_PORT_THREADS && key == AMP_OFF_LISTEN && ses.req == REQ_DONE &&
	    ses.owner == owner)
		abandon();
	if (ses.req != REQ_IDLE)
		return -EAGAIN;
	ses.owner = owner;
	ses.key = (uint16_t)key;
	return 0;
}

static void put_ctl(uint8_t *p, unsigned op, unsigned len, uint32_t seq)
{
	amp_put_le32(p, len | op << 16);
	amp_put_le32(p + 4, seq);
}

int amp_inet_req_send(unsigned len)
{
	put_ctl(amp_inet_frame, (uint8_t)ses.key, len + AMP_OFF_CTL_LEN, ++ses.seq);
	ses.off = 0;
	ses.late = 0;
	ses.req = REQ_SEND;
	amp_inet_poke();
	return -EAGAIN;
}

void amp_inet_req_forget(const void *owner)
{
	if (ses.owner != owner)
		return;
	ses.owner = NULL;
	if (ses.req == REQ_DONE)
		abandon();
}

int amp_inet_note(unsigned op, unsigned len, uint32_t a, uint32_t b)
{
	uint8_t *p = amp_inet_answer; /* of which nothing is wanted any more by who sends */

	if (ses.ctl.state != AMP_INET_CONN || /* or: a request is half out; one that is not
					       * begun comes later: who closes a listener and
					       * binds its port again means RELEASE first */
	    (ses.req == REQ_SEND && ses.off))
		return -EAGAIN;
	put_ctl(p, op, len, a);
	amp_put_le32(p + 8, a);
	amp_put_le32(p + 12, b);
	return amp_inet_send(ses.ctl.carrier, p, len, 0); /* a transport buffer holds more */
}

/* Not here: who finds it stands deep, on a socket of the session. When the session next runs,
 * or is wanted. */
int amp_inet_violation(void)
{
	ses.ctl.state = AMP_INET_DEAD;
	amp_inet_poke();
	return -EPROTO;
}

/* ---- control frames ---- */

/* The answer to the request in flight, whole, and to nothing else (protocol.md 5). */
static bool take_answer(const uint8_t *h, unsigned len, unsigned what)
{
	if (ses.req != REQ_SENT || (uint8_t)what != (amp_inet_frame[2] | AMP_OFF_REPLY) ||
	    amp_le32(h + 4) != amp_le32(amp_inet_frame + 4))
		return false;
	amp_inet_take(ses.ctl.carrier, amp_inet_frame, len, 0);
	ses.req = REQ_DONE;
	if (!ses.owner)
		abandon();
	amp_sock_changed(ses.ctl.carrier);
	return true;
}

/* CLOSED arrived. Of a socket that we closed meanwhile: nobody is told. */
static void closed(uint32_t id, unsigned status)
{
	int err = status ? -amp_inet_err(status) : ECONNRESET;
	struct amp_sock *s = NULL;

	while ((s = amp_inet_next(s)) != NULL) {
		struct amp_inet *i = amp_inet(s);

		if (i->id != id)
			continue;
		if (i->state == AMP_INET_CONN && s->type == SOCK_STREAM)
			i->off = (uint8_t)err; /* data still comes before the reset */
		else if (i->state < AMP_INET_BUSY)
			amp_inet_fail(s, err);
	}
}

/* The longest frame but an answer: CLOSED. */
#define SHORT_LEN (AMP_OFF_CTL_LEN + 8u)

/* A frame of len bytes, which are here; h: the first eight, and room for SHORT_LEN; what: its operation,
 * and status, 0. */
static bool take_frame(uint8_t *h, unsigned len, unsigned what)
{
	bool over = what == AMP_OFF_CLOSED;

	if (what & AMP_OFF_REPLY)
		return take_answer(h, len, what);
	if (len != (over ? SHORT_LEN : AMP_OFF_CTL_LEN))
		return false;
	amp_inet_take(ses.ctl.carrier, h, len, 0);
	if (!over)
		return what == AMP_OFF_PING || what == AMP_OFF_PONG;
	if (!amp_le32(h + 8)) /* 5.1: no id is 0 */
		return false;
	closed(amp_le32(h + 8), amp_le32(h + 12));
	return true;
}

static APART void ctl_input(void)
{
	struct amp_sock *c = ses.ctl.carrier;
	uint8_t h[SHORT_LEN] __attribute__((aligned(4)));

	while (amp_inet_take(c, h, AMP_OFF_CTL_LEN, MSG_PEEK)) {
		unsigned what = amp_le32(h) >> 16, len = amp_le32(h) & UINT16_MAX;
		bool ok = len >= AMP_OFF_CTL_LEN && len <= AMP_INET_CTL_MAX;

		if (ok) {
			if (amp_rxring_used(&c->rx) < len)
				break;
			/* answered, and then taken */
			if (what == AMP_OFF_PING && amp_inet_note(AMP_OFF_PONG, AMP_OFF_CTL_LEN,
								  amp_le32(h + 4), 0) <= 0)
				break;
			ses.missed = 0;
			ses.poked = true;
			ok = take_frame(h, len, what);
		}
		if (!ok) {
			session_down(EPROTO);
			return;
		}
	}
	if (c->flags & AMP_SF_EOF)
		session_down(ECONNRESET);
}

static void ctl_output(void)
{
	int n;

	if (ses.req != REQ_SEND)
		return;
	n = amp_inet_send(ses.ctl.carrier, amp_inet_frame, amp_le16(amp_inet_frame), ses.off);
	if (n > 0)
		ses.off = (uint16_t)(ses.off + n);
	if (ses.off == amp_le16(amp_inet_frame))
		ses.req = amp_inet_frame[2] == AMP_OFF_RELEASE ? REQ_IDLE : REQ_SENT;
}

/* ---- the runner ---- */

/* Is there nobody who needs to know whether the proxy lives? */
static bool quiet(void)
{
	return ses.ctl.state == AMP_INET_IDLE ||
	       (ses.ctl.state == AMP_INET_CONN && (!AMPSOCK_PING_MS || !amp_inet_next(NULL)));
}

/* Does the proxy live? ms until that is asked again, -1: nobody needs to know. */
static int32_t ping_tick(uint32_t now_ms)
{
	if (quiet())
		return -1;
	/* no tick lies further ahead than PING_MS, however long nobody looked */
	if (ses.ping_ms - now_ms - 1 >= PING_MS) {
		ses.ping_ms = now_ms + PING_MS;
		ses.late++;
		if (ses.missed++ >= PINGS_MISSED ||
		    (ses.req == REQ_SENT && ses.late > ANSWER_PINGS))
			session_down(ETIMEDOUT);
		else
			ses.ping_owed = true;
	}
	/* whoever sends a lot is here mostly when there is no room: a later look finds some */
	if (ses.ping_owed && amp_inet_note(AMP_OFF_PING, AMP_OFF_CTL_LEN, now_ms, 0) > 0)
		ses.ping_owed = false;
	return (int32_t)(ses.ping_ms - now_ms);
}

/* The sockets go on. Does one still move by itself? */
static bool step_all(void)
{
	if (!AMPSOCK_FAST) /* few are soon looked at */
		return amp_inet_step_all();
	if (!ses.busy)
		return false;
	ses.busy = false;
	ses.busy |= amp_inet_step_all(); /* one look more than needed */
	return ses.busy;
}

static void come_up(void)
{
	int r = amp_inet_up(&ses.ctl, NULL);

	if (!r) {
		ses.ctl.state = AMP_INET_CONN;
		amp_inet_opened(); /* behind the link that brought it */
		amp_inet_poke();
	} else if (r != -EAGAIN) {
		session_down(-r);
	}
}

/* As struct amp_runner's run(). */
static int32_t session_work(uint32_t now_ms)
{
	unsigned look = ses.poked;
	int32_t left;
	bool busy;

	amp_rest_end(&resting);
	ses.poked = false;
	if (ses.ctl.state == AMP_INET_DEAD)
		session_down(EPROTO);
	if (ses.ctl.state > AMP_INET_BUSY)
		come_up();
	if (amp_inet_door_work && amp_inet_door_work(ses.ctl.state, look | ses.poked))
		ses.poked = true;
	busy = step_all();
	if (ses.ctl.state == AMP_INET_CONN)
		ctl_input();
	left = ping_tick(now_ms);
	ctl_output();
	if (ses.poked)
		return 0;
	/* is nothing owed that could not be sent yet, and nobody on his way? */
	if (AMPSOCK_FAST && !busy && ses.req != REQ_SEND)
		amp_rest_begin(&resting, left < 0);
	return busy ? TICK_MS : left;
}

static int32_t session_run(struct amp_runner *r, uint32_t now_ms)
{
	int32_t left;

	(void)r;
	if (!ses.poked && amp_rest_goes_on(&resting, ses.ping_ms, &left))
		return left;
	if (AMPSOCK_FAST)
		now_ms = amp_port_now_ms();
	return session_work(now_ms);
}

/* What the caller did since the look is still to be seen to; and a link may have run after us and
 * have brought something. */
static bool session_arm(struct amp_runner *r, bool on)
{
	(void)r;
	if (!AMPSOCK_FAST)
		return ses.poked;
	return on && (ses.poked ||
		      (!amp_rest_undisturbed(&resting) && !session_work(amp_port_now_ms())));
}

#endif /* AMPSOCK_INET */
