/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Codecs of the offload protocol (docs/protocol.md), shared by the library and the
 * proxy.
 *
 * Theory of operation: each put writes every byte of the fixed part, reserved ones as
 * zero; each get refuses what a put could not have written, so that a reserved byte
 * stays free for a later version and two readings of one message cannot exist. What
 * needs context (is this id mine, is this name allowed) is the caller's.
 */
#include "offload.h"

#include <errno.h>
#include <string.h>

#include "le.h"

#define OPTS_ALL 0x007ffffeu /* bits of enum amp_off_opt; bit 0 is nobody's */

static bool all_zero(const uint8_t *p, size_t len)
{
	while (len)
		if (p[--len])
			return false;
	return true;
}

void amp_off_put_addr(uint8_t *p, const struct amp_off_addr *a)
{
	memset(p, 0, AMP_OFF_ADDR_LEN);
	if (!a->family)
		return;
	p[0] = a->family;
	amp_put_le16(p + 2, a->port);
	if (a->family == AMP_OFF_INET) {
		memcpy(p + 8, a->addr, 4);
	} else {
		amp_put_le32(p + 4, a->scope_id);
		memcpy(p + 8, a->addr, 16);
	}
}

/* protocol.md 2.3: no address is 24 zero bytes; IPv4 leaves scope and 12 bytes zero. */
bool amp_off_addr_ok(const uint8_t *p)
{
	unsigned family = amp_le16(p); /* and the reserved byte */
	unsigned from = 0;

	if (family == AMP_OFF_INET6)
		return true;
	if (family == AMP_OFF_INET) {
		if (amp_le32(p + 4))
			return false;
		from = 12;
	}
	return all_zero(p + from, AMP_OFF_ADDR_LEN - from);
}

bool amp_off_get_addr(const uint8_t *p, struct amp_off_addr *a)
{
	a->family = p[0];
	a->port = amp_le16(p + 2);
	a->scope_id = amp_le32(p + 4);
	memcpy(a->addr, p + 8, 16);
	return amp_off_addr_ok(p);
}

void amp_off_put_open(uint8_t p[AMP_OFF_OPEN_LEN], const struct amp_off_open *o)
{
	memset(p, 0, AMP_OFF_OPEN_LEN);
	amp_put_le32(p, o->magic);
	p[4] = o->version;
	p[5] = o->op;
	amp_put_le16(p + 6, o->len);
	amp_put_le64(p + 8, o->token);
	p[16] = o->family;
	p[17] = o->type;
	amp_put_le32(p + 20, o->max_frame);
	amp_put_le32(p + 24, o->bound_id);
	amp_put_le32(p + 28, o->features);
	amp_put_le32(p + 32, o->opts_set);
	amp_put_le32(p + 36, o->opts);
	amp_put_le16(p + 40, o->keepidle_s);
	amp_put_le16(p + 42, o->keepintvl_s);
	amp_put_le16(p + 44, o->keepcnt);
	p[46] = o->linger;
	amp_off_put_addr(p + 48, &o->peer);
	amp_off_put_addr(p + 72, &o->local);
	p[96] = o->name_len;
}

/* protocol.md 4: what each operation may say of family, type, token and addresses. */
static bool open_fits(const struct amp_off_open *o)
{
	if (o->op == AMP_OFF_HELLO)
		return !o->token && !o->family && !o->type && !o->name_len && !o->bound_id &&
		       !o->opts_set && !o->peer.family && !o->local.family;
	if (o->family != AMP_OFF_INET && o->family != AMP_OFF_INET6)
		return false;
	if ((o->peer.family && o->peer.family != o->family) ||
	    (o->local.family && o->local.family != o->family))
		return false;
	if (o->op == AMP_OFF_CONNECT)
		return o->type == AMP_OFF_STREAM && (o->peer.family || o->name_len);
	return o->op == AMP_OFF_UDP && o->type == AMP_OFF_DGRAM && !o->bound_id;
}

int amp_off_get_open(const uint8_t p[AMP_OFF_OPEN_LEN], struct amp_off_open *o)
{
	o->magic = amp_le32(p);
	o->version = p[4];
	o->op = p[5];
	o->len = amp_le16(p + 6);
	o->token = amp_le64(p + 8);
	o->family = p[16];
	o->type = p[17];
	o->max_frame = amp_le32(p + 20);
	o->bound_id = amp_le32(p + 24);
	o->features = amp_le32(p + 28);
	o->opts_set = amp_le32(p + 32);
	o->opts = amp_le32(p + 36);
	o->keepidle_s = amp_le16(p + 40);
	o->keepintvl_s = amp_le16(p + 42);
	o->keepcnt = amp_le16(p + 44);
	o->linger = p[46];
	o->name_len = p[96];
	if (o->magic != AMP_OFF_MAGIC)
		return AMP_OFF_EPROTO;
	if (o->version != AMP_OFF_VERSION)
		return AMP_OFF_EPROTONOSUPPORT;
	if (o->len != AMP_OFF_OPEN_LEN + o->name_len || amp_le16(p + 18) || p[47] ||
	    !all_zero(p + 97, 23) || (o->opts_set & ~OPTS_ALL) || (o->opts & ~o->opts_set) ||
	    !amp_off_get_addr(p + 48, &o->peer) || !amp_off_get_addr(p + 72, &o->local) ||
	    !open_fits(o))
		return AMP_OFF_EPROTO;
	return AMP_OFF_OK;
}

void amp_off_put_answer(uint8_t p[AMP_OFF_ANSWER_LEN], const struct amp_off_answer *a)
{
	memset(p, 0, AMP_OFF_ANSWER_LEN);
	amp_put_le32(p, a->magic);
	p[4] = a->version;
	p[5] = a->op;
	amp_put_le16(p + 6, a->status);
	amp_put_le32(p + 8, a->id);
	amp_put_le32(p + 12, a->arg);
	amp_put_le64(p + 16, a->token);
	amp_put_le32(p + 24, a->max_frame);
	amp_off_put_addr(p + 40, &a->local);
	amp_off_put_addr(p + 64, &a->peer);
}

int amp_off_get_answer(const uint8_t p[AMP_OFF_ANSWER_LEN], struct amp_off_answer *a)
{
	a->magic = amp_le32(p);
	a->version = p[4];
	a->op = p[5];
	a->status = amp_le16(p + 6);
	a->id = amp_le32(p + 8);
	a->arg = amp_le32(p + 12);
	a->token = amp_le64(p + 16);
	a->max_frame = amp_le32(p + 24);
	amp_off_get_addr(p + AMP_OFF_A_LOCAL, &a->local);
	amp_off_get_addr(p + AMP_OFF_A_PEER, &a->peer);
	return amp_off_answer_ok(p);
}

void amp_off_put_ctl(uint8_t p[AMP_OFF_CTL_LEN], const struct amp_off_ctl *c)
{
	amp_put_le16(p, c->len);
	p[2] = c->op;
	p[3] = c->status;
	amp_put_le32(p + 4, c->seq);
}

bool amp_off_get_ctl(const uint8_t p[AMP_OFF_CTL_LEN], struct amp_off_ctl *c)
{
	c->len = amp_le16(p);
	c->op = p[2];
	c->status = p[3];
	c->seq = amp_le32(p + 4);
	return c->len >= AMP_OFF_CTL_LEN && c->len <= AMP_OFF_CTL_MAX;
}

void amp_off_put_udp(uint8_t p[AMP_OFF_UDP_LEN], const struct amp_off_udp *u)
{
	amp_put_le16(p, u->len);
	p[2] = u->kind;
	p[3] = u->flags;
	amp_put_le32(p + 4, u->arg);
	amp_off_put_addr(p + 8, &u->addr);
}

bool amp_off_get_udp(const uint8_t p[AMP_OFF_UDP_LEN], struct amp_off_udp *u)
{
	u->len = amp_le16(p);
	u->kind = p[2];
	u->flags = p[3];
	u->arg = amp_le32(p + 4);
	amp_off_get_addr(p + 8, &u->addr);
	return amp_off_udp_ok(p, UINT16_MAX);
}

/* By enum amp_off_status. Every errno here is below 256 on Linux, newlib and picolibc. */
const uint8_t amp_off_errnos[AMP_OFF_ERRNOS] = {
	[AMP_OFF_OK] = 0,
	[AMP_OFF_EACCES] = EACCES,
	[AMP_OFF_EADDRINUSE] = EADDRINUSE,
	[AMP_OFF_EADDRNOTAVAIL] = EADDRNOTAVAIL,
	[AMP_OFF_EAFNOSUPPORT] = EAFNOSUPPORT,
	[AMP_OFF_ECONNABORTED] = ECONNABORTED,
	[AMP_OFF_ECONNREFUSED] = ECONNREFUSED,
	[AMP_OFF_ECONNRESET] = ECONNRESET,
	[AMP_OFF_EHOSTUNREACH] = EHOSTUNREACH,
	[AMP_OFF_EINVAL] = EINVAL,
	[AMP_OFF_EMFILE] = EMFILE,
	[AMP_OFF_EMSGSIZE] = EMSGSIZE,
	[AMP_OFF_ENETDOWN] = ENETDOWN,
	[AMP_OFF_ENETUNREACH] = ENETUNREACH,
	[AMP_OFF_ENOBUFS] = ENOBUFS,
	[AMP_OFF_ENOPROTOOPT] = ENOPROTOOPT,
	[AMP_OFF_ENOTCONN] = ENOTCONN,
	[AMP_OFF_EOPNOTSUPP] = EOPNOTSUPP,
	[AMP_OFF_EPERM] = EPERM,
	[AMP_OFF_EPIPE] = EPIPE,
	[AMP_OFF_EPROTO] = EPROTO,
	[AMP_OFF_EPROTONOSUPPORT] = EPROTONOSUPPORT,
	[AMP_OFF_ETIMEDOUT] = ETIMEDOUT,
	[AMP_OFF_EHOSTDOWN] = EHOSTDOWN,
	[AMP_OFF_EAGAIN] = ENOBUFS, /* over a limit: EAGAIN would mean "not now" here */
	[AMP_OFF_EIO] = EIO,
	[AMP_OFF_EISCONN] = EISCONN,
	[AMP_OFF_EDESTADDRREQ] = EDESTADDRREQ,
	[AMP_OFF_ESTALE] = ESTALE,
};

unsigned amp_off_status(int err)
{
	unsigned i;

	if (err == EAGAIN)
		return AMP_OFF_EAGAIN;
	for (i = 0; i < AMP_OFF_ERRNOS; i++)
		if (amp_off_errnos[i] == err)
			return i;
	return AMP_OFF_EIO;
}
