/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session with the proxy: its control carrier, requests, pings, accept carriers.
 *
 * Theory of operation
 *
 * One session at a time. It is opened when the first socket needs it and stays until its
 * carrier breaks, the proxy misses two pings or breaks a rule; then everything of it is
 * told (amp_inet_lost) and the next need opens another. Who waits for a session holds a
 * ticket, the number of the attempt, and so hears of that attempt's failure and of no
 * older one.
 *
 * Requests go one at a time through one buffer: the request lies there until its answer
 * overwrites it. The answer waits for its owner, but not for ever: an owner that was timed
 * out never comes. Frames without answer need no buffer: that they are owed is a bit
 * or a state somewhere, and they go when the carrier has room for a whole one.
 *
 * The session is a runner. It moves what moves by itself: connecting sockets, listeners
 * that a new session must hear of, arrived control frames and accept carriers. It comes
 * behind the links in the runners' list, whose arrivals it therefore sees at once; what it
 * sends they see when they run again, so it asks for another look (0 ms) after any
 * progress.
 */
#include <errno.h>
#include <string.h>
#include <netinet/in.h>

#include "ampsock.h"
#include "inet.h"
#include "../wire/le.h"

AMP_OPTIONAL(amp_inet_door_work);

#define PING_MS	     (AMPSOCK_PING_MS ? AMPSOCK_PING_MS : 2000)
#define PINGS_MISSED 2
#define STALE_MS     1000 /* an answer that nobody fetched */
#define TICK_MS	     50	  /* while something waits for time to pass */

enum { SES_DOWN, SES_CARRIER, SES_HELLO, SES_ANSWER, SES_UP };
enum { REQ_IDLE, REQ_SENT, REQ_DONE };

static int32_t session_run(struct amp_runner *r, uint32_t now_ms);
static bool session_arm(struct amp_runner *r, bool on);
static unsigned session_due(struct amp_runner *r);

static struct {
	struct amp_runner runner;
	const struct amp_family *fam;
	struct amp_sock *ctl;
	uint64_t token;
	uint32_t ping_ms; /* next tick */
	uint32_t pong_seq;
	uint32_t seq;
	const void *owner; /* of the request; NULL: nobody wants its answer */
	uint32_t req_ms;   /* when it was sent or answered */
	uint32_t req_seq;
	uint16_t key;
	uint16_t len;	 /* of the request, then of the answer */
	uint16_t off;	 /* bytes of the request that are out */
	uint8_t req;	 /* REQ_* */
	uint8_t state;	 /* SES_* */
	uint8_t err;	 /* why the last attempt failed */
	uint8_t attempt; /* never 0 once there was one */
	uint8_t hello_off;
	uint8_t missed;
	bool ping_owed, pong_owed;
	bool pinging; /* there are sockets */
	bool busy;    /* some socket is in a state above AMP_INET_BUSY */
	bool poked;
	bool violated; /* the proxy broke the protocol */
	uint8_t buf[AMP_INET_CTL_MAX];
	uint8_t raw[AMP_OFF_OPEN_LEN];
	union {
		struct amp_off_open open;
		struct amp_off_answer answer;
	};
} ses;

uint8_t amp_inet_req_status;

/* ---- carriers ---- */

const struct amp_family *amp_inet_carrier_family(void)
{
	return ses.fam;
}

int amp_inet_carrier_connect(struct amp_sock *c)
{
	int r = 0;

	if (c->flags & AMP_SF_RESET)
		r = c->err ? -c->err : -ECONNRESET;
	else if (!(c->flags & AMP_SF_CONNECTED))
		r = c->fam->connect(c, c->fam->carrier->proxy, c->fam->carrier->len);
	if (r == -EAGAIN)
		c->flags |= AMP_SF_CONNECTING;
	/* the carrier's refusal is not the peer's: there is no proxy at the offload port */
	return r == -ECONNREFUSED ? -ENETDOWN : r;
}

void amp_inet_carrier_close(struct amp_sock *c, uint8_t linger_s)
{
	c->linger_s = linger_s;
	c->fam->shutdown(c, AMP_SHUT_CLOSE);
}

bool amp_inet_peek(struct amp_sock *c, void *buf, size_t len)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};

	return amp_rxring_used(&c->rx) >= len &&
	       amp_rxring_read(&c->rx, &iov, 1, 0, len, true) == len;
}

void amp_inet_drop(struct amp_sock *c, size_t len)
{
	struct amp_msg m = {.len = len};

	c->fam->recvmsg(c, &m, 0);
}

ssize_t amp_inet_put(struct amp_sock *c, const void *hdr, size_t len, const struct amp_msg *m)
{
	struct iovec iov[2] = {{.iov_base = (void *)(uintptr_t)hdr, .iov_len = len}};
	struct amp_msg w = {.iov = iov, .iov_cnt = 1, .len = len, .whole = len};
	const struct iovec *from = m ? m->iov : NULL;
	ssize_t n;

	if (m && m->len) {
		while (!from->iov_len)
			from++;
		iov[1] = *from;
		w.iov_cnt = 2;
		w.len += from->iov_len;
		w.whole += m->len;
	}
	n = c->fam->sendmsg(c, &w, MSG_NOSIGNAL);
	if (n < 0)
		return n;
	if ((size_t)n < len + (w.iov_cnt - 1)) { /* buffers too small for a header: not ours */
		c->fam->shutdown(c, SHUT_RDWR);
		return -EPIPE;
	}
	return n - (ssize_t)len;
}

int amp_inet_space(struct amp_sock *c, size_t len)
{
	struct amp_msg m = {.whole = len};

	return (int)c->fam->sendmsg(c, &m, MSG_NOSIGNAL);
}

/* Send len bytes from off on, as far as it goes. 0: all out. */
static int send_rest(struct amp_sock *c, const uint8_t *p, size_t len, size_t *off)
{
	while (*off < len) {
		struct iovec iov = {.iov_base = (void *)(uintptr_t)(p + *off),
				    .iov_len = len - *off};
		struct amp_msg m = {.iov = &iov, .iov_cnt = 1, .len = iov.iov_len};
		ssize_t n = c->fam->sendmsg(c, &m, MSG_NOSIGNAL);

		if (n <= 0)
			return n ? (int)n : -EAGAIN;
		*off += (size_t)n;
	}
	return 0;
}

int amp_inet_err(unsigned status)
{
	return status == AMP_OFF_EAGAIN ? -ENOBUFS : -amp_off_errno(status);
}

struct amp_off_open *amp_inet_new_open(uint8_t op)
{
	memset(&ses.open, 0, sizeof(ses.open));
	ses.open.magic = AMP_OFF_MAGIC;
	ses.open.version = AMP_OFF_VERSION;
	ses.open.op = op;
	ses.open.len = AMP_OFF_OPEN_LEN;
	return &ses.open;
}

int amp_inet_send_open(struct amp_sock *c, struct amp_off_open *o, uint8_t *off)
{
	size_t at = *off;
	int r;

	if (o->op != AMP_OFF_HELLO)
		o->token = ses.token;
	amp_off_put_open(ses.raw, o);
	r = send_rest(c, ses.raw, AMP_OFF_OPEN_LEN, &at);
	*off = (uint8_t)at;
	return r;
}

int amp_inet_recv_answer(struct amp_sock *c, uint8_t op, const struct amp_off_answer **a)
{
	int status;

	if (!amp_inet_peek(c, ses.raw, AMP_OFF_ANSWER_LEN))
		return c->flags & (AMP_SF_RESET | AMP_SF_EOF) ? -ECONNRESET : -EAGAIN;
	amp_inet_drop(c, AMP_OFF_ANSWER_LEN);
	status = amp_off_get_answer(ses.raw, &ses.answer);
	if (status == AMP_OFF_OK)
		status = ses.answer.op == op ? ses.answer.status : AMP_OFF_EPROTO;
	*a = &ses.answer;
	return amp_inet_err((unsigned)status);
}

/* ---- up and down ---- */

static void for_all(void (*fn)(struct amp_sock *s))
{
	struct amp_sock *s = NULL;

	while ((s = amp_sock_next(s)) != NULL)
		if (s->fam == &amp_inet_family)
			fn(s);
}

static void session_down(int err)
{
	if (ses.ctl)
		amp_inet_carrier_close(ses.ctl, 0);
	if (ses.state == SES_UP)
		amp_counts.link_resets++;
	ses.ctl = NULL;
	ses.state = SES_DOWN;
	ses.err = (uint8_t)err;
	ses.req = REQ_IDLE;
	ses.len = ses.off = 0;
	ses.ping_owed = ses.pong_owed = ses.violated = false;
	for_all(amp_inet_lost);
	amp_inet_poke();
}

static void runner_on(void)
{
	ses.runner.run = session_run;
	ses.runner.arm = session_arm;
	ses.runner.kick_due = session_due;
	amp_runner_add(&ses.runner);
}

static int session_start(void)
{
	int err = -ENETDOWN;

	/* behind the links that came up since the last attempt */
	amp_runner_del(&ses.runner);
	runner_on();
	if (++ses.attempt == 0)
		ses.attempt = 1;
	ses.fam = amp_family_carrier();
	if (ses.fam)
		ses.ctl = amp_sock_new(ses.fam, ses.fam->domain, SOCK_STREAM, 0, &err);
	ses.missed = 0;
	ses.ping_ms = amp_port_now_ms() + PING_MS;
	ses.pinging = true;
	ses.state = SES_CARRIER;
	if (!ses.ctl) { /* nobody had a session: nobody is told but who asks with this ticket */
		ses.state = SES_DOWN;
		ses.err = (uint8_t)(err == -EMFILE ? ENOBUFS : -err);
	}
	amp_inet_poke();
	return ses.ctl ? -EAGAIN : -ses.err;
}

int amp_inet_session(uint8_t *ticket)
{
	int r = -EAGAIN;

	if (ses.state == SES_UP)
		return 0;
	if (ses.state == SES_DOWN) {
		if (*ticket && *ticket == ses.attempt)
			return -ses.err;
		r = session_start();
	}
	*ticket = ses.attempt;
	return r;
}

void amp_inet_poke(void)
{
	ses.poked = true;
	ses.busy = true;
	amp_sock_changed(ses.ctl);
}

void amp_inet_busy(void)
{
	ses.busy = true;
}

void amp_inet_opened(void)
{
	runner_on();
	if (ses.pinging)
		return;
	ses.pinging = true;
	ses.missed = 0;
	ses.ping_ms = amp_port_now_ms() + PING_MS;
}

/* The control carrier on its way up. -EAGAIN, 0 when up, -errno. */
static int session_step(void)
{
	const struct amp_off_answer *a;
	struct amp_off_open *o;
	int r;

	switch (ses.state) {
	case SES_CARRIER:
		r = amp_inet_carrier_connect(ses.ctl);
		if (r)
			return r;
		ses.hello_off = 0;
		ses.state = SES_HELLO;
		/* fall through */
	case SES_HELLO:
		o = amp_inet_new_open(AMP_OFF_HELLO);
		o->max_frame = AMP_INET_CTL_MAX;
		r = amp_inet_send_open(ses.ctl, o, &ses.hello_off);
		if (r)
			return r;
		ses.state = SES_ANSWER;
		/* fall through */
	default:
		r = amp_inet_recv_answer(ses.ctl, AMP_OFF_HELLO, &a);
		if (r)
			return r;
		ses.token = a->token;
		ses.state = SES_UP;
		amp_inet_poke();
		return 0;
	}
}

/* ---- requests ---- */

static bool req_stale(void)
{
	return ses.req == REQ_DONE && (!ses.owner || amp_port_now_ms() - ses.req_ms > STALE_MS);
}

int amp_inet_req(const void *owner, unsigned key, uint8_t **body, unsigned *len)
{
	*body = ses.buf + AMP_OFF_CTL_LEN;
	if (ses.state != SES_UP)
		return -ENETDOWN;
	if (ses.req == REQ_DONE && ses.owner == owner && ses.key == key) {
		ses.req = REQ_IDLE;
		amp_sock_changed(ses.ctl); /* others may wait for their turn */
		*len = ses.len - AMP_OFF_CTL_LEN;
		ses.len = ses.off = 0;
		return amp_inet_req_status ? amp_inet_err(amp_inet_req_status) : 1;
	}
	if (ses.req != REQ_IDLE && !req_stale())
		return -EAGAIN;
	ses.req = REQ_IDLE;
	ses.owner = owner;
	ses.key = (uint16_t)key;
	return 0;
}

void amp_inet_req_send(unsigned len)
{
	struct amp_off_ctl c = {.len = (uint16_t)(len + AMP_OFF_CTL_LEN),
				.op = (uint8_t)ses.key,
				.seq = ++ses.seq};

	amp_off_put_ctl(ses.buf, &c);
	ses.len = c.len;
	ses.off = 0;
	ses.req = REQ_SENT;
	ses.req_seq = c.seq; /* frames without answer take numbers, too */
	ses.req_ms = amp_port_now_ms();
	amp_inet_poke();
}

bool amp_inet_req_mine(const void *owner)
{
	return ses.req != REQ_IDLE && ses.owner == owner;
}

void amp_inet_req_forget(const void *owner)
{
	if (ses.owner == owner)
		ses.owner = NULL;
}

int amp_inet_note(uint8_t op, uint32_t a, uint32_t b)
{
	uint8_t p[AMP_OFF_CTL_LEN + 8];
	struct amp_off_ctl c = {.op = op};
	ssize_t r;

	if (ses.state != SES_UP || ses.off < ses.len) /* or: a request is half out */
		return -EAGAIN;
	c.len = op == AMP_OFF_CREDIT ? 16 : op == AMP_OFF_RELEASE ? 12 : 8;
	c.seq = c.len == 8 ? a : ++ses.seq;
	amp_off_put_ctl(p, &c);
	amp_put_le32(p + 8, a);
	amp_put_le32(p + 12, b);
	r = amp_inet_put(ses.ctl, p, c.len, NULL);
	if (r < 0)
		return (int)r;
	ses.poked = true; /* the link has something to send */
	return 0;
}

/* Not here: who finds it stands deep, on a socket of the session. On the way out. */
void amp_inet_violation(void)
{
	ses.violated = true;
	amp_runner_due(&ses.runner);
}

static unsigned session_due(struct amp_runner *r)
{
	(void)r;
	if (ses.violated) {
		amp_log(AMP_WHY("offload: the proxy broke the protocol, session reset"));
		session_down(EPROTO);
	}
	return 0;
}

/* ---- control frames ---- */

/* The answer to the request in flight, whole, and to nothing else (protocol.md 5). */
static bool take_answer(const struct amp_off_ctl *c)
{
	if (ses.req != REQ_SENT || ses.off < ses.len || c->seq != ses.req_seq ||
	    c->op != ((ses.key & 0xffu) | AMP_OFF_REPLY))
		return false;
	amp_inet_peek(ses.ctl, ses.buf, c->len);
	ses.req = ses.owner ? REQ_DONE : REQ_IDLE;
	ses.req_ms = amp_port_now_ms();
	ses.len = ses.off = c->len;
	amp_inet_req_status = c->status;
	amp_sock_changed(ses.ctl);
	return true;
}

static bool take_closed(const struct amp_off_ctl *c)
{
	uint8_t p[AMP_OFF_CTL_LEN + 8];
	struct amp_sock *s = NULL;

	if (c->len != sizeof(p))
		return false;
	amp_inet_peek(ses.ctl, p, sizeof(p));
	while ((s = amp_sock_next(s)) != NULL)
		if (s->fam == &amp_inet_family && amp_inet(s)->id == amp_le32(p + 8))
			amp_inet_closed(s, amp_off_errno(amp_le32(p + 12)));
	return true; /* of a socket that we closed meanwhile: nothing to tell */
}

static bool take_frame(const struct amp_off_ctl *c)
{
	if (c->op & AMP_OFF_REPLY)
		return take_answer(c);
	if (c->status)
		return false;
	switch (c->op) {
	case AMP_OFF_PING:
		ses.pong_owed = true;
		ses.pong_seq = c->seq;
		return c->len == AMP_OFF_CTL_LEN;
	case AMP_OFF_PONG:
		return c->len == AMP_OFF_CTL_LEN;
	case AMP_OFF_CLOSED:
		return take_closed(c);
	default:
		return false;
	}
}

/* True: something came. */
static bool ctl_input(void)
{
	uint8_t p[AMP_OFF_CTL_LEN];
	struct amp_off_ctl c;
	bool any = false;

	while (!ses.violated && amp_inet_peek(ses.ctl, p, sizeof(p))) {
		bool ok = amp_off_get_ctl(p, &c) && c.len <= AMP_INET_CTL_MAX;

		if (ok && amp_rxring_used(&ses.ctl->rx) < c.len)
			break;
		ses.missed = 0;
		any = true;
		if (!ok || !take_frame(&c))
			ses.violated = true;
		else
			amp_inet_drop(ses.ctl, c.len);
	}
	if (ses.violated)
		session_due(NULL);
	else if (ses.ctl->flags & (AMP_SF_RESET | AMP_SF_EOF))
		session_down(ECONNRESET);
	return any;
}

static void ctl_output(void)
{
	size_t off = ses.off;

	if (ses.req == REQ_SENT) {
		send_rest(ses.ctl, ses.buf, ses.len, &off);
		ses.poked |= off != ses.off;
		ses.off = (uint16_t)off;
	}
	if (ses.pong_owed && !amp_inet_note(AMP_OFF_PONG, ses.pong_seq, 0))
		ses.pong_owed = false;
	if (ses.ping_owed && !amp_inet_note(AMP_OFF_PING, ses.ping_ms, 0))
		ses.ping_owed = false;
}

/* ---- the runner ---- */

static bool has_sockets(void)
{
	struct amp_sock *s = NULL;

	while ((s = amp_sock_next(s)) != NULL)
		if (s->fam == &amp_inet_family)
			return true;
	return false;
}

static void ping_tick(uint32_t now_ms)
{
	if (!ses.pinging || ses.state == SES_DOWN || (int32_t)(now_ms - ses.ping_ms) < 0)
		return;
	ses.ping_ms = now_ms + PING_MS;
	if (ses.state == SES_UP && (!AMPSOCK_PING_MS || !has_sockets())) {
		ses.pinging = false;
	} else if (ses.missed++ >= PINGS_MISSED ||
		   (ses.req == REQ_SENT && now_ms - ses.req_ms > AMPSOCK_CONNECT_MS)) {
		amp_log(AMP_WHY("offload: the proxy does not answer, session reset"));
		session_down(ETIMEDOUT);
	} else {
		ses.ping_owed = true;
	}
}

/* bind() and listen() ask for themselves the first time; a new session hears of it from us. */
static bool steps_itself(const struct amp_sock *s, unsigned state)
{
	if (state == AMP_INET_BIND)
		return s->flags & AMP_SF_BOUND;
	return state != AMP_INET_LISTEN || (s->flags & AMP_SF_LISTEN);
}

/* Sockets that move by themselves. True: some wait for time to pass. */
static bool step_all(void)
{
	struct amp_sock *s = NULL;
	bool timed = false;

	if (!ses.busy)
		return false;
	ses.busy = false;
	while ((s = amp_sock_next(s)) != NULL) {
		unsigned state = amp_inet(s)->state;

		if (s->fam != &amp_inet_family || state < AMP_INET_BUSY ||
		    !steps_itself(s, state))
			continue;
		ses.busy = true; /* one look more than needed */
		amp_inet_step(s);
		timed |= state <= AMP_INET_LISTEN || state >= AMP_INET_RSTWAIT;
	}
	return timed;
}

static bool session_work(uint32_t now_ms, bool *timed)
{
	bool any = ses.poked;
	int r;

	ses.poked = false;
	if (ses.state != SES_DOWN && ses.state != SES_UP) {
		r = session_step();
		if (r && r != -EAGAIN)
			session_down(-r);
	}
	if (amp_inet_door_work)
		any |= amp_inet_door_work(ses.state == SES_UP, any || ses.poked);
	*timed = step_all();
	if (ses.state == SES_UP)
		any |= ctl_input();
	ping_tick(now_ms);
	if (ses.state == SES_UP) {
		ctl_output();
	}
	return any || ses.poked;
}

static int32_t session_run(struct amp_runner *r, uint32_t now_ms)
{
	bool timed;

	(void)r;
	if (session_work(now_ms, &timed))
		return 0;
	if (timed)
		return TICK_MS;
	if (!ses.pinging || ses.state == SES_DOWN)
		return -1;
	return (int32_t)(ses.ping_ms - now_ms);
}

/* A link may have run after us and have brought something. */
static bool session_arm(struct amp_runner *r, bool on)
{
	bool timed;

	(void)r;
	return on && session_work(amp_port_now_ms(), &timed);
}
