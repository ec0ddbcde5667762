// SPDX-License-Identifier: BSD-3-Clause
/*
 * Control frames (docs/protocol.md, "Control frames"). Each handler checks its body's
 * length first; a frame that could not have been written by a guest that knows the protocol
 * ends the session, a request that cannot be met is answered with a status.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>

#include "offload_inner.h"

struct frame {
	struct amp_session *ses;
	const uint8_t *body;
	size_t len; /* of the body */
	uint32_t seq;
	uint8_t op;
};

void amp_session_reply(struct amp_session *ses, uint8_t op, uint32_t seq, unsigned status,
		       const uint8_t *body, size_t body_len)
{
	uint8_t p[AMP_OFF_CTL_MAX];
	struct amp_off_ctl c = {.len = (uint16_t)(AMP_OFF_CTL_LEN + body_len),
				.op = (uint8_t)(op | AMP_OFF_REPLY),
				.status = (uint8_t)status,
				.seq = seq};

	if (c.len > ses->max_frame) {
		c.len = AMP_OFF_CTL_LEN;
		c.status = AMP_OFF_EMSGSIZE;
	}
	amp_off_put_ctl(p, &c);
	if (c.len > AMP_OFF_CTL_LEN)
		memcpy(p + AMP_OFF_CTL_LEN, body, body_len);
	amp_session_send(ses, p, c.len);
}

static void reply(const struct frame *f, int err, const uint8_t *body, size_t len)
{
	amp_session_reply(f->ses, f->op, f->seq, amp_off_status(err), body, err ? 0 : len);
}

static bool do_ping(const struct frame *f)
{
	uint8_t p[AMP_OFF_CTL_LEN];
	struct amp_off_ctl c = {.len = sizeof(p), .op = AMP_OFF_PONG, .seq = f->seq};

	if (f->len)
		return false;
	amp_off_put_ctl(p, &c);
	amp_session_send(f->ses, p, sizeof(p));
	return true;
}

static bool do_pong(const struct frame *f)
{
	return f->len == 0;
}

static bool do_bind(const struct frame *f)
{
	uint8_t out[4 + AMP_OFF_ADDR_LEN];
	struct amp_off_addr addr, bound;
	uint32_t id = 0;
	int err;

	if (f->len != 12 + AMP_OFF_ADDR_LEN || !amp_off_get_addr(f->body + 12, &addr))
		return false;
	if (f->body[1] != AMP_OFF_STREAM || addr.family != f->body[0])
		err = EINVAL;
	else
		err = amp_tcp_bind(f->ses, f->body[0], amp_le32(f->body + 4),
				   amp_le32(f->body + 8), &addr, &id, &bound);
	if (!err) {
		amp_put_le32(out, id);
		amp_off_put_addr(out + 4, &bound);
	}
	reply(f, err, out, sizeof(out));
	return true;
}

static bool do_listen(const struct frame *f)
{
	uint8_t out[16 + AMP_OFF_ADDR_LEN];
	struct amp_off_addr bound;
	uint64_t token;
	uint32_t id;
	int err;

	if (f->len != 12)
		return false;
	err = amp_tcp_listen(f->ses, amp_le32(f->body), amp_le32(f->body + 4),
			     amp_le32(f->body + 8), &id, &token, &bound);
	if (!err) {
		amp_put_le32(out, id);
		amp_put_le32(out + 4, 0);
		amp_put_le64(out + 8, token);
		amp_off_put_addr(out + 16, &bound);
	}
	reply(f, err, out, sizeof(out));
	return true;
}

static bool do_credit(const struct frame *f)
{
	if (f->len != 8)
		return false;
	amp_tcp_credit(f->ses, amp_le32(f->body), amp_le32(f->body + 4));
	return true;
}

static bool do_release(const struct frame *f)
{
	struct amp_osock *s;

	if (f->len != 4)
		return false;
	s = amp_osock_find(f->ses, amp_le32(f->body));
	if (s && s->ops->released)
		s->ops->kill(s);
	return true;
}

static bool do_setopt(const struct frame *f)
{
	struct amp_osock *s;
	size_t len;

	if (f->len < 8)
		return false;
	len = amp_le16(f->body + 6);
	if (f->len != 8 + len)
		return false;
	s = amp_osock_find(f->ses, amp_le32(f->body));
	reply(f, s ? amp_off_setopt(s, amp_le16(f->body + 4), f->body + 8, len) : ESTALE, NULL,
	      0);
	return true;
}

static bool do_getopt(const struct frame *f)
{
	uint8_t out[4 + 64];
	struct amp_osock *s;
	size_t len = sizeof(out) - 4;
	int err = ESTALE;

	if (f->len != 8)
		return false;
	s = amp_osock_find(f->ses, amp_le32(f->body));
	if (s)
		err = amp_off_getopt(s, amp_le16(f->body + 4), out + 4, &len);
	if (!err) {
		amp_put_le16(out, 0);
		amp_put_le16(out + 2, (uint16_t)len);
	}
	reply(f, err, out, 4 + len);
	return true;
}

static bool do_udp_connect(const struct frame *f)
{
	uint8_t out[AMP_OFF_ADDR_LEN];
	struct amp_off_addr peer, local;
	struct amp_osock *s;
	int err = ESTALE;

	if (f->len != 8 + AMP_OFF_ADDR_LEN || !amp_off_get_addr(f->body + 8, &peer))
		return false;
	s = amp_osock_find(f->ses, amp_le32(f->body));
	if (s)
		err = s->type == AMP_OFF_DGRAM ? amp_udp_connect(s, &peer, &local) : EINVAL;
	if (!err)
		amp_off_put_addr(out, &local);
	reply(f, err, out, sizeof(out));
	return true;
}

/* ---- names ---- */

/* Is the address among the n at list? The resolver says it once for each socket type. */
static bool given(const uint8_t *list, unsigned n, const uint8_t *addr)
{
	for (unsigned i = 0; i < n; i++) {
		if (memcmp(list + i * AMP_OFF_ADDR_LEN, addr, AMP_OFF_ADDR_LEN) == 0)
			return true;
	}
	return false;
}

/*
 * count u8, canon_len u8, u16 0, lease_s u32, addrs, canonname. As many addresses as the
 * guest's largest frame takes.
 */
static void resolved(struct amp_resolve *r, unsigned status, const struct addrinfo *res)
{
	struct amp_session *ses = r->owner;
	uint8_t out[AMP_OFF_CTL_MAX - AMP_OFF_CTL_LEN];
	size_t max = ses->max_frame - AMP_OFF_CTL_LEN, len = 8;
	const char *canon = r->canon && res && res->ai_canonname ? res->ai_canonname : "";
	unsigned n = 0;

	memset(out, 0, 8);
	for (const struct addrinfo *a = res; a && n < AMP_OFF_ADDRS_MAX; a = a->ai_next) {
		struct amp_off_addr addr;

		if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
			continue;
		if (len + AMP_OFF_ADDR_LEN > max)
			break;
		amp_off_from_sa(a->ai_addr, &addr);
		if (!addr.port)
			addr.port = r->port;
		amp_off_put_addr(out + len, &addr);
		if (given(out + 8, n, out + len))
			continue;
		if (r->host[0])
			amp_policy_lease(ses->off, r->host, a->ai_addr);
		len += AMP_OFF_ADDR_LEN;
		n++;
	}
	if (status == AMP_OFF_OK && n == 0)
		status = AMP_OFF_EAI_NONAME;
	if (strlen(canon) <= AMP_OFF_NAME_MAX && len + strlen(canon) <= max) {
		out[1] = (uint8_t)strlen(canon);
		memcpy(out + len, canon, strlen(canon));
		len += strlen(canon);
	}
	out[0] = (uint8_t)n;
	amp_put_le32(out + 4, ses->off->link->conf->lease_s);
	amp_session_reply(ses, AMP_OFF_RESOLVE, r->seq, status, out, status ? 0 : len);
}

/* Text of len bytes into dst; false: a zero byte in it, or none at all. */
static bool take_text(char *dst, const uint8_t *p, size_t len)
{
	memcpy(dst, p, len);
	dst[len] = 0;
	return !memchr(dst, 0, len);
}

static bool resolve_fill(struct amp_resolve *r, const struct frame *f)
{
	size_t name_len = f->body[3], service_len = f->body[6];

	r->port = amp_le16(f->body + 4);
	r->hints.ai_family = f->body[0] == AMP_OFF_INET	   ? AF_INET
			     : f->body[0] == AMP_OFF_INET6 ? AF_INET6
							   : AF_UNSPEC;
	r->hints.ai_socktype = f->body[1] == AMP_OFF_DGRAM    ? SOCK_DGRAM
			       : f->body[1] == AMP_OFF_STREAM ? SOCK_STREAM
							      : 0;
	r->canon = name_len && (f->body[2] & 2u);
	r->hints.ai_flags = (r->canon ? AI_CANONNAME : 0) |
			    (f->body[2] & 4u ? AI_ADDRCONFIG : 0) |
			    (f->body[2] & 8u ? AI_PASSIVE : 0);
	return service_len < sizeof(r->service) && take_text(r->host, f->body + 8, name_len) &&
	       take_text(r->service, f->body + 8 + name_len, service_len);
}

static enum amp_proto proto_of(uint8_t type)
{
	return type == AMP_OFF_STREAM  ? AMP_PROTO_TCP
	       : type == AMP_OFF_DGRAM ? AMP_PROTO_UDP
				       : AMP_PROTO_ANY;
}

static bool do_resolve(const struct frame *f)
{
	struct amp_resolve *r;
	unsigned status = 0;

	if (f->len <= 8 || f->len != 8u + f->body[3] + f->body[6] ||
	    f->body[0] > AMP_OFF_INET6 || f->body[1] > AMP_OFF_DGRAM)
		return false;
	r = amp_resolve_new();
	if (!r)
		status = AMP_OFF_EAI_MEMORY;
	else if (!resolve_fill(r, f))
		status = AMP_OFF_EAI_NONAME;
	else if (r->host[0] && /* no name: only the service is asked for */
		 amp_policy_name(f->ses->off, proto_of(f->body[1]), r->host, r->port))
		status = AMP_OFF_EACCES;
	else if (r->host[0] && !amp_off_rate(f->ses->off, AMP_LIMIT_DNS))
		status = AMP_OFF_EAI_AGAIN;
	if (status) {
		amp_resolve_drop(r);
		amp_session_reply(f->ses, f->op, f->seq, status, NULL, 0);
		return true;
	}
	r->owner = f->ses;
	r->done = resolved;
	r->seq = f->seq;
	if (amp_resolve_start(f->ses->off, r))
		amp_session_reply(f->ses, f->op, f->seq, AMP_OFF_EAI_AGAIN, NULL, 0);
	return true;
}

/* getnameinfo() gives the number where there is no name; the guest can do that itself. */
static bool is_numeric(const char *host)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t addr[16];

	if (strcspn(host, "%") >= sizeof(text))
		return false;
	memcpy(text, host, strcspn(host, "%"));
	text[strcspn(host, "%")] = 0;
	return inet_pton(AF_INET, text, addr) == 1 || inet_pton(AF_INET6, text, addr) == 1;
}

static void rnamed(struct amp_resolve *r, unsigned status, const struct addrinfo *res)
{
	uint8_t out[4 + 256 + 64];
	size_t host = is_numeric(r->host) ? 0 : strlen(r->host), service = strlen(r->service);

	(void)res;
	if (host > AMP_OFF_NAME_MAX)
		host = 0;
	memset(out, 0, 4);
	out[0] = (uint8_t)host;
	out[1] = (uint8_t)service;
	memcpy(out + 4, r->host, host);
	memcpy(out + 4 + host, r->service, service);
	amp_session_reply(r->owner, AMP_OFF_RNAME, r->seq, status, out,
			  status ? 0 : 4 + host + service);
}

static bool do_rname(const struct frame *f)
{
	struct amp_off_addr addr;
	struct amp_resolve *r;
	struct amp_offload *off = f->ses->off;

	if (f->len != 4 + AMP_OFF_ADDR_LEN || !amp_off_get_addr(f->body + 4, &addr) ||
	    !addr.family)
		return false;
	r = amp_resolve_new();
	if (!r) {
		amp_session_reply(f->ses, f->op, f->seq, AMP_OFF_EAI_MEMORY, NULL, 0);
		return true;
	}
	amp_off_to_sa(&addr, &r->sa);
	r->reverse = true;
	r->flags = f->body[0] & 2u ? NI_DGRAM : 0;
	/* who may not talk to an address learns nothing about it */
	if (!amp_policy_host(off, (struct sockaddr *)&r->sa))
		r->flags |= NI_NUMERICHOST;
	else if (!amp_off_rate(off, AMP_LIMIT_DNS)) {
		amp_resolve_drop(r);
		amp_session_reply(f->ses, f->op, f->seq, AMP_OFF_EAI_AGAIN, NULL, 0);
		return true;
	}
	r->owner = f->ses;
	r->done = rnamed;
	r->seq = f->seq;
	if (amp_resolve_start(off, r))
		amp_session_reply(f->ses, f->op, f->seq, AMP_OFF_EAI_AGAIN, NULL, 0);
	return true;
}

/* ---- dispatch ---- */

static bool handle(const struct frame *f)
{
	switch (f->op) {
	case AMP_OFF_PING:
		return do_ping(f);
	case AMP_OFF_PONG:
		return do_pong(f);
	case AMP_OFF_BIND:
		return do_bind(f);
	case AMP_OFF_LISTEN:
		return do_listen(f);
	case AMP_OFF_CREDIT:
		return do_credit(f);
	case AMP_OFF_RELEASE:
		return do_release(f);
	case AMP_OFF_SETOPT:
		return do_setopt(f);
	case AMP_OFF_GETOPT:
		return do_getopt(f);
	case AMP_OFF_RESOLVE:
		return do_resolve(f);
	case AMP_OFF_RNAME:
		return do_rname(f);
	case AMP_OFF_UDP_CONNECT:
		return do_udp_connect(f);
	default:
		return false;
	}
}

size_t amp_session_input(struct amp_session *ses, const uint8_t *p, size_t len)
{
	size_t done = 0;

	while (len - done >= AMP_OFF_CTL_LEN && !ses->over) {
		struct amp_off_ctl c;
		struct frame f;

		if (!amp_off_get_ctl(p + done, &c) || c.status) {
			amp_session_end(ses, "malformed control frame");
			break;
		}
		if (len - done < c.len)
			break;
		if (!amp_loop_may()) {
			ses->ctl->ops->resume(ses->ctl); /* the rest in its turn */
			break;
		}
		f = (struct frame){.ses = ses,
				   .body = p + done + AMP_OFF_CTL_LEN,
				   .len = c.len - AMP_OFF_CTL_LEN,
				   .seq = c.seq,
				   .op = c.op};
		if (!handle(&f)) {
			amp_session_end(ses, "control frame of unknown kind or wrong length");
			break;
		}
		done += c.len;
	}
	return done;
}
