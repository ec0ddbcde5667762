/* SPDX-License-Identifier: BSD-3-Clause */
/* Datagrams: who sent them, who they are for, and what becomes of those for nobody. */
#include <netinet/in.h>
#include <string.h>

#include "conform.h"

static void sendto_all(struct ct *t, int fd, const char *text, const struct ct_addr *to)
{
	CT_EQ(sendto(fd, text, strlen(text), 0, (const struct sockaddr *)&to->ss, to->len),
	      strlen(text));
}

/* One that says text; *from is where it came from. */
static void recv_from(struct ct *t, int fd, const char *text, struct ct_addr *from)
{
	char buf[64];

	memset(from, 0, sizeof(*from));
	from->len = sizeof(from->ss);
	CT_EQ(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from->ss, &from->len),
	      strlen(text));
	CT_EQ(memcmp(buf, text, strlen(text)), 0);
}

static int same_addr(const struct ct_addr *a, const struct ct_addr *b)
{
	return a->len == b->len && memcmp(&a->ss, &b->ss, a->len) == 0;
}

/* The other role's address. A name of AF_RPMSG is announced: until that has come, sendto() it is
 * refused, and connect() waits for it. */
static void peer_addr(struct ct *t, struct ct_addr *a)
{
	int fd;

	ct_recv_addr(t, a);
	if (!(t->tr->props & CT_RPMSG))
		return;
	fd = ct_socket(t, 0);
	CT_OK(connect(fd, (struct sockaddr *)&a->ss, a->len));
	ct_close(t, fd);
}

/* Two bound sockets and each other's addresses, not connected. */
static int two(struct ct *t, struct ct_addr *peer)
{
	struct ct_addr mine;
	int fd = ct_bound(t, 0, &mine);

	ct_send_addr(t, &mine);
	peer_addr(t, peer);
	return fd;
}

static void reply_a(struct ct *t)
{
	struct ct_addr peer, from;
	int fd = two(t, &peer);

	recv_from(t, fd, "question", &from);
	sendto_all(t, fd, "answer", &from);
	ct_wait(t, "done");
}

static void reply_b(struct ct *t)
{
	struct ct_addr peer, from;
	int fd = two(t, &peer);

	sendto_all(t, fd, "question", &peer);
	recv_from(t, fd, "answer", &from);
	if (!(t->tr->props & CT_RPMSG)) /* a name there, a number here */
		CT_TRUE(same_addr(&from, &peer));
	ct_tell(t, "done");
}

/* Two senders, told apart by their address; each gets its own answer. */
static void senders_a(struct ct *t)
{
	struct ct_addr peer, one, other;
	int fd = two(t, &peer);

	recv_from(t, fd, "one", &one);
	ct_tell(t, "next");
	recv_from(t, fd, "two", &other);
	CT_TRUE(!same_addr(&one, &other));
	sendto_all(t, fd, "for two", &other);
	sendto_all(t, fd, "for one", &one);
	ct_wait(t, "done");
}

static void senders_b(struct ct *t)
{
	struct ct_addr peer, from;
	int fd = two(t, &peer), second = ct_bound(t, 0, NULL);

	sendto_all(t, fd, "one", &peer);
	ct_wait(t, "next");
	sendto_all(t, second, "two", &peer);
	recv_from(t, fd, "for one", &from);
	recv_from(t, second, "for two", &from);
	ct_tell(t, "done");
}

/* sendmsg() and recvmsg() with an address; MSG_PEEK shows it, too */
static void msg_a(struct ct *t)
{
	struct ct_addr peer, from, again;
	int fd = two(t, &peer);
	char buf[16];
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr m = {.msg_name = &from.ss,
			   .msg_namelen = sizeof(from.ss),
			   .msg_iov = &iov,
			   .msg_iovlen = 1};

	CT_EQ(recvmsg(fd, &m, MSG_PEEK), 5);
	from.len = m.msg_namelen;
	recv_from(t, fd, "hello", &again);
	CT_TRUE(same_addr(&from, &again));
	ct_tell(t, "done");
}

static void msg_b(struct ct *t)
{
	static char hello[] = "hello";
	struct ct_addr peer;
	int fd = two(t, &peer);
	struct iovec iov[2] = {{hello, 2}, {hello + 2, 3}};
	struct msghdr m = {
		.msg_name = &peer.ss, .msg_namelen = peer.len, .msg_iov = iov, .msg_iovlen = 2};

	CT_EQ(sendmsg(fd, &m, 0), 5);
	ct_wait(t, "done");
}

static void nowhere(struct ct *t)
{
	int fd = ct_bound(t, 0, NULL);

	CT_ERR(send(fd, "x", 1, 0), t->tr->props & CT_UNIX ? ENOTCONN : EDESTADDRREQ);
	CT_ERR(write(fd, "x", 1), t->tr->props & CT_UNIX ? ENOTCONN : EDESTADDRREQ);
}

/* Nobody has port 0: told at once, to connected sockets, too; and neither is the worse for it. */
static void port_0(struct ct *t)
{
	struct ct_addr mine, none;
	int fd = ct_bound(t, 0, &mine);
	char c;

	none = mine;
	if (t->tr->family == AF_INET)
		((struct sockaddr_in *)&none.ss)->sin_port = 0;
	else
		((struct sockaddr_in6 *)&none.ss)->sin6_port = 0;
	CT_ERR(sendto(fd, "x", 1, 0, (struct sockaddr *)&none.ss, none.len), EINVAL);
	CT_OK(connect(fd, (struct sockaddr *)&mine.ss, mine.len));
	CT_ERR(sendto(fd, "x", 1, 0, (struct sockaddr *)&none.ss, none.len), EINVAL);
	CT_EQ(send(fd, "y", 1, 0), 1);
	CT_EQ(recv(fd, &c, 1, 0), 1);
	CT_EQ(c, 'y');
}

static void unbound_a(struct ct *t)
{
	struct ct_addr mine, from;
	int fd = ct_bound(t, 0, &mine);

	ct_send_addr(t, &mine);
	recv_from(t, fd, "anonymous", &from);
	sendto_all(t, fd, "found", &from);
	ct_wait(t, "done");
}

/* A socket that was not bound has an address with its first message. */
static void unbound_b(struct ct *t)
{
	struct ct_addr peer, from;
	int fd = ct_socket(t, 0);

	peer_addr(t, &peer);
	sendto_all(t, fd, "anonymous", &peer);
	recv_from(t, fd, "found", &from);
	ct_tell(t, "done");
}

/* Connected: another's message does not come through. */
static void filter_a(struct ct *t)
{
	struct ct_addr mine, friend_, from;
	int fd = ct_bound(t, 0, &mine);

	peer_addr(t, &friend_);
	CT_OK(connect(fd, (struct sockaddr *)&friend_.ss, friend_.len));
	ct_send_addr(t, &mine);
	ct_wait(t, "both sent");
	recv_from(t, fd, "friend", &from);
	CT_ERR(recv(fd, &from, 1, MSG_DONTWAIT), EAGAIN);
	ct_tell(t, "done");
}

static void filter_b(struct ct *t)
{
	struct ct_addr mine, peer;
	int fd = ct_bound(t, 0, &mine), other = ct_bound(t, 0, NULL);

	ct_send_addr(t, &mine);
	peer_addr(t, &peer);
	if (t->tr->props & CT_UNIX)
		CT_ERR(sendto(other, "stranger", 8, 0, (struct sockaddr *)&peer.ss, peer.len),
		       EPERM);
	else
		sendto_all(t, other, "stranger", &peer);
	sendto_all(t, fd, "friend", &peer);
	ct_tell(t, "both sent");
	ct_wait(t, "done");
}

/* Another peer, and none again. */
static void again_a(struct ct *t)
{
	struct ct_addr one, other;
	int fd = ct_bound(t, 0, NULL);
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	socklen_t len = sizeof(one.ss);

	peer_addr(t, &one);
	peer_addr(t, &other);
	CT_OK(connect(fd, (struct sockaddr *)&one.ss, one.len));
	CT_EQ(send(fd, "one", 3, 0), 3);
	CT_OK(connect(fd, (struct sockaddr *)&other.ss, other.len));
	CT_EQ(send(fd, "two", 3, 0), 3);
	CT_OK(getpeername(fd, (struct sockaddr *)&one.ss, &len));
	CT_OK(connect(fd, &none, sizeof(none)));
	CT_ERR(getpeername(fd, (struct sockaddr *)&one.ss, &len), ENOTCONN);
	CT_ERR(send(fd, "x", 1, 0), t->tr->props & CT_UNIX ? ENOTCONN : EDESTADDRREQ);
	sendto_all(t, fd, "free", &other);
	ct_wait(t, "done");
}

static void again_b(struct ct *t)
{
	struct ct_addr one, other, from;
	int fd = ct_bound(t, 0, &one), second = ct_bound(t, 0, &other);

	ct_send_addr(t, &one);
	ct_send_addr(t, &other);
	recv_from(t, fd, "one", &from);
	recv_from(t, second, "two", &from);
	recv_from(t, second, "free", &from);
	ct_tell(t, "done");
}

/* ---- for nobody ---- */

static void nobody_a(struct ct *t)
{
	struct ct_addr mine;
	int fd = ct_bound(t, 0, &mine);

	ct_close(t, fd);
	ct_send_addr(t, &mine);
}

/* Sends until it is told that nobody is there: a socket in the proxy is closed a moment after
 * close(). */
static void until_told(struct ct *t, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	do {
		CT_EQ(send(fd, "x", 1, 0), 1);
	} while (CT_OK(poll(&p, 1, 300)) == 0);
	CT_EQ(p.revents & POLLERR, POLLERR);
}

static void refused_b(struct ct *t)
{
	struct ct_addr peer;
	int fd = ct_bound(t, 0, NULL);
	char c = 'x';

	ct_recv_addr(t, &peer);
	CT_OK(connect(fd, (struct sockaddr *)&peer.ss, peer.len));
	until_told(t, fd);
	CT_ERR(recv(fd, &c, 1, 0), ECONNREFUSED);
	CT_ERR(recv(fd, &c, 1, MSG_DONTWAIT), EAGAIN); /* told once */
	until_told(t, fd);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	CT_EQ(ct_get(t, fd, SOL_SOCKET, SO_ERROR), 0);
	/* by the next send(), which the one after it is not */
	until_told(t, fd);
	CT_ERR(send(fd, &c, 1, 0), ECONNREFUSED);
	CT_EQ(send(fd, &c, 1, 0), 1);
}

static void silent_b(struct ct *t)
{
	struct ct_addr peer;
	int fd = ct_bound(t, 0, NULL);
	char c;

	ct_recv_addr(t, &peer);
	if (t->tr->props & CT_UNIX) {
		CT_ERR(sendto(fd, "x", 1, 0, (struct sockaddr *)&peer.ss, peer.len),
		       ECONNREFUSED);
		return;
	}
	if (t->tr->props & CT_RPMSG) { /* by name */
		CT_ERR(sendto(fd, "x", 1, 0, (struct sockaddr *)&peer.ss, peer.len),
		       ECONNREFUSED);
		return;
	}
	sendto_all(t, fd, "x", &peer);
	sendto_all(t, fd, "y", &peer); /* not connected: nothing is told */
	CT_ERR(recv(fd, &c, 1, MSG_DONTWAIT), EAGAIN);
}

/* ---- ends ---- */

/* Sent and closed at once: it arrives all the same. */
static void orphan_a(struct ct *t)
{
	struct ct_addr mine, from;
	int fd = ct_bound(t, 0, &mine), i;

	ct_send_addr(t, &mine);
	for (i = 0; i < 20; i++) {
		recv_from(t, fd, "last", &from);
		CT_ERR(recv(fd, &from, 1, MSG_DONTWAIT), EAGAIN);
		CT_EQ(ct_now(t, fd, POLLIN | POLLRDHUP), 0);
		ct_tell(t, "next");
	}
}

static void orphan_b(struct ct *t)
{
	struct ct_addr peer;
	int i, fd;

	peer_addr(t, &peer);
	for (i = 0; i < 20; i++) {
		fd = ct_bound(t, 0, NULL);
		sendto_all(t, fd, "last", &peer);
		ct_close(t, fd);
		ct_wait(t, "next");
	}
}

static void idle(struct ct *t)
{
	int fd = ct_bound(t, 0, NULL);
	char c;

	CT_ERR(recv(fd, &c, 1, MSG_DONTWAIT), EAGAIN);
	ct_timeout(t, fd, SO_RCVTIMEO, 40);
	CT_ERR(recv(fd, &c, 1, 0), EAGAIN);
	CT_EQ(ct_now(t, fd, POLLIN | POLLOUT), POLLOUT);
	CT_ERR(getpeername(fd, (struct sockaddr *)&(struct sockaddr_storage){0},
			   &(socklen_t){sizeof(struct sockaddr_storage)}),
	       ENOTCONN);
}

/* More than anybody has room for: some are lost or nobody waits for ever; those that come, come
 * in their order, and the socket works. */
static void flood_a(struct ct *t)
{
	struct ct_addr peer;
	int fd = two(t, &peer), got = 0;
	uint32_t n, last = 0;
	ssize_t r;

	ct_wait(t, "flooded");
	while (recv(fd, &n, sizeof(n), MSG_DONTWAIT) == sizeof(n)) {
		CT_TRUE(n > last);
		last = n;
		got++;
	}
	CT_EQ(errno, EAGAIN);
	/* some may still be on their way, and so many that this one is dropped, too */
	ct_timeout(t, fd, SO_RCVTIMEO, 200);
	do {
		char buf[8];

		ct_send_u32(t, 1);
		while ((r = recv(fd, buf, sizeof(buf), 0)) == 4)
			got++;
	} while (r < 0);
	CT_EQ(r, 5);
	CT_TRUE(got > 0);
	ct_send_u32(t, 0);
}

static void flood_b(struct ct *t)
{
	struct ct_addr peer;
	int fd = two(t, &peer);
	uint32_t n;
	ssize_t r;

	for (n = 1; n <= 5000; n++) {
		r = sendto(fd, &n, sizeof(n), MSG_DONTWAIT, (struct sockaddr *)&peer.ss,
			   peer.len);
		if (r != sizeof(n))
			CT_ERR2(r, EAGAIN, ENOBUFS);
	}
	ct_tell(t, "flooded");
	while (ct_recv_u32(t))
		sendto_all(t, fd, "alive", &peer);
}

/* A connected socket sends elsewhere when it is told to. */
static void elsewhere_a(struct ct *t)
{
	struct ct_addr one, other, from;
	int fd = ct_bound(t, 0, &one), second = ct_bound(t, 0, &other);

	ct_send_addr(t, &one);
	ct_send_addr(t, &other);
	recv_from(t, fd, "peer", &from);
	recv_from(t, second, "other", &from);
	recv_from(t, fd, "peer", &from);
	ct_tell(t, "done");
}

static void elsewhere_b(struct ct *t)
{
	struct ct_addr one, other;
	int fd = ct_bound(t, 0, NULL);

	peer_addr(t, &one);
	peer_addr(t, &other);
	CT_OK(connect(fd, (struct sockaddr *)&one.ss, one.len));
	CT_EQ(send(fd, "peer", 4, 0), 4);
	sendto_all(t, fd, "other", &other);
	CT_EQ(send(fd, "peer", 4, 0), 4);
	ct_wait(t, "done");
}

static void self(struct ct *t)
{
	struct ct_addr a, from;
	int fd = ct_bound(t, 0, NULL);

	ct_addr_self(t, fd, &a);
	CT_OK(connect(fd, (struct sockaddr *)&a.ss, a.len));
	CT_EQ(send(fd, "echo", 4, 0), 4);
	recv_from(t, fd, "echo", &from);
	CT_TRUE(same_addr(&from, &a));
}

/* SHUT_WR and SHUT_RD on a connected one */
static void shut_a(struct ct *t)
{
	struct ct_addr from = {.len = sizeof(from.ss)};
	int fd = ct_pair(t);
	char c;

	CT_OK(shutdown(fd, SHUT_WR));
	CT_ERR(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	ct_tell(t, "send");
	CT_EQ(recv(fd, &c, 1, 0), 1);
	CT_OK(shutdown(fd, SHUT_RD));
	CT_EQ(recvfrom(fd, &c, 1, 0, (struct sockaddr *)&from.ss, &from.len), 0);
	CT_EQ(from.len, 0);
	ct_tell(t, "done");
}

static void shut_b(struct ct *t)
{
	int fd = ct_pair(t);

	ct_wait(t, "send");
	CT_EQ(send(fd, "x", 1, 0), 1);
	ct_wait(t, "done");
}

static void short_from_a(struct ct *t)
{
	struct ct_addr peer, from;
	int fd = two(t, &peer);
	char c;

	memset(&from, 0x55, sizeof(from));
	from.len = 3;
	CT_EQ(recvfrom(fd, &c, 1, 0, (struct sockaddr *)&from.ss, &from.len), 1);
	CT_TRUE(from.len > 3); /* the true length */
	CT_EQ(((unsigned char *)&from.ss)[3], 0x55);
	CT_EQ(recvfrom(fd, &c, 1, 0, NULL, NULL), 1);
	ct_tell(t, "done");
}

static void short_from_b(struct ct *t)
{
	struct ct_addr peer;
	int fd = two(t, &peer);

	sendto_all(t, fd, "1", &peer);
	sendto_all(t, fd, "2", &peer);
	ct_wait(t, "done");
}

const struct ct_case ct_dgram[] = {
	{"dgram.reply", "recvfrom() tells whom to answer", CT_DGRAM, 0, 0, reply_a, reply_b},
	{"dgram.senders", "two senders are told apart", CT_DGRAM, 0, 0, senders_a, senders_b},
	{"dgram.msg", "sendmsg(), recvmsg() with an address; MSG_PEEK", CT_DGRAM, 0, 0, msg_a,
	 msg_b},
	{"dgram.nowhere", "send() without a peer", CT_DGRAM, 0, 0, nowhere, ct_nothing},
	{"dgram.port-0", "sendto() port 0: EINVAL", CT_DGRAM, CT_INET | CT_SELF, 0, port_0,
	 ct_nothing},
	{"dgram.unbound", "a sender that is not bound can be answered", CT_DGRAM, 0, CT_UNIX,
	 unbound_a, unbound_b},
	{"dgram.filter", "a connected socket hears its peer only", CT_DGRAM, 0, 0, filter_a,
	 filter_b},
	{"dgram.again", "another peer, then none (AF_UNSPEC)", CT_DGRAM, 0, 0, again_a,
	 again_b},
	{"dgram.refused",
	 "connected to nobody: ECONNREFUSED, once, by recv(), SO_ERROR, send()", CT_DGRAM,
	 CT_DGREFUSED, 0, nobody_a, refused_b},
	{"dgram.silent", "sendto() nobody", CT_DGRAM, 0, 0, nobody_a, silent_b},
	{"dgram.orphan", "what a sender left behind is read after it has closed", CT_DGRAM, 0,
	 0, orphan_a, orphan_b},
	{"dgram.idle", "nothing there: EAGAIN; no peer: ENOTCONN", CT_DGRAM, 0, 0, idle,
	 ct_nothing},
	{"dgram.flood", "5000 at once: what comes is in order, the socket lives", CT_DGRAM, 0,
	 0, flood_a, flood_b},
	{"dgram.elsewhere", "a connected socket's sendto()", CT_DGRAM, 0, 0, elsewhere_a,
	 elsewhere_b},
	{"dgram.self", "to itself", CT_DGRAM, CT_SELF, 0, self, ct_nothing},
	{"dgram.shutdown", "SHUT_WR: EPIPE; SHUT_RD: 0", CT_DGRAM, 0, 0, shut_a, shut_b},
	{"dgram.short-from", "the sender's address is cut to the room", CT_DGRAM, 0, 0,
	 short_from_a, short_from_b},
	{NULL, NULL, 0, 0, 0, NULL, NULL},
};
