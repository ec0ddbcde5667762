// SPDX-License-Identifier: BSD-3-Clause
/* getaddrinfo() and its relatives, numbers alone and with a scripted proxy. */
// build: -DAMPSOCK_RPMSG=0 -DAMPSOCK_SOCKETS=12 -DAMPSOCK_RING_LEN=1024 src/socket/stack.c src/socket/socks.c src/socket/api.c
// build: src/socket/msg.c src/socket/msg_name.c src/socket/option.c src/socket/poll.c src/socket/links.c
// build: src/socket/rxring.c src/socket/resolve.c src/socket/gai_strerror.c src/socket/inet_text.c
// build: src/af_inet/af_inet.c src/af_inet/inet_addr.c src/af_inet/inet_carrier.c src/af_inet/inet_session.c src/af_inet/inet_udp.c
// build: src/af_inet/inet_opt.c src/wire/offload.c src/af_inet/inet_listen.c
// build: src/af_inet/inet_name.c src/af_inet/inet_direct.c src/socket/listen.c
// build: src/socket/name.c src/socket/direct.c
#include "inet_rig.h"

static unsigned asked;
static uint8_t question[AMP_OFF_CTL_MAX];
static unsigned question_len;
static uint8_t answer_status;
static uint8_t answer[AMP_OFF_CTL_MAX];
static size_t answer_len;
static bool only_v4, silent;
static uint32_t last_seq;

static void put_list(unsigned cnt, const struct amp_off_addr *a, const char *name)
{
	memset(answer, 0, sizeof(answer));
	answer[0] = (uint8_t)cnt;
	answer[1] = (uint8_t)strlen(name);
	for (unsigned i = 0; i < cnt; i++)
		amp_off_put_addr(answer + 8 + i * AMP_OFF_ADDR_LEN, &a[i]);
	memcpy(answer + 8 + cnt * AMP_OFF_ADDR_LEN, name, strlen(name));
	answer_len = 8 + cnt * AMP_OFF_ADDR_LEN + strlen(name);
	answer_status = 0;
}

static bool resolver(const struct amp_off_ctl *c, const uint8_t *body, unsigned len)
{
	if (c->op != AMP_OFF_RESOLVE && c->op != AMP_OFF_RNAME)
		return false;
	asked++;
	last_seq = c->seq;
	memcpy(question, body, len);
	question_len = len;
	if (silent)
		return true;
	if (answer_status || (only_v4 && body[0] == AMP_OFF_INET6))
		say_ctl(c->op | AMP_OFF_REPLY,
			answer_status ? answer_status : AMP_OFF_EAI_NONAME, c->seq, "", 0);
	else
		say_ctl(c->op | AMP_OFF_REPLY, 0, c->seq, answer, answer_len);
	return true;
}

static int up(void **state)
{
	px_resolver = resolver;
	asked = 0;
	only_v4 = silent = false;
	answer_status = 0;
	return rig_up(state);
}

static int get(const char *node, const char *service, int family, int type, int flags,
	       struct addrinfo **res)
{
	struct addrinfo h = {.ai_family = family, .ai_socktype = type, .ai_flags = flags};

	*res = NULL;
	return amp_getaddrinfo(node, service, &h, res);
}

static const struct sockaddr_in *in4(const struct addrinfo *ai)
{
	assert_int_equal(ai->ai_family, AF_INET);
	assert_int_equal(ai->ai_addrlen, sizeof(struct sockaddr_in));
	assert_int_equal(ai->ai_addr->sa_family, AF_INET);
	return (const struct sockaddr_in *)(const void *)ai->ai_addr;
}

static const struct sockaddr_in6 *in6(const struct addrinfo *ai)
{
	assert_int_equal(ai->ai_family, AF_INET6);
	assert_int_equal(ai->ai_addrlen, sizeof(struct sockaddr_in6));
	return (const struct sockaddr_in6 *)(const void *)ai->ai_addr;
}

static void numbers(void **state)
{
	struct addrinfo *r;

	(void)state;
	assert_int_equal(get("192.0.2.1", "80", AF_UNSPEC, SOCK_STREAM, 0, &r), 0);
	assert_int_equal(ntohs(in4(r)->sin_port), 80);
	assert_int_equal(in4(r)->sin_addr.s_addr, inet_addr("192.0.2.1"));
	assert_int_equal(r->ai_protocol, IPPROTO_TCP);
	assert_null(r->ai_next);
	amp_freeaddrinfo(r);
	assert_int_equal(get("fe80::1%3", "0", AF_UNSPEC, 0, AI_NUMERICHOST | AI_CANONNAME, &r),
			 0);
	assert_int_equal(in6(r)->sin6_scope_id, 3);
	assert_string_equal(r->ai_canonname, "fe80::1%3");
	assert_int_equal(r->ai_socktype, SOCK_STREAM);
	assert_non_null(r->ai_next); /* both types when none is asked for */
	assert_int_equal(r->ai_next->ai_socktype, SOCK_DGRAM);
	assert_int_equal(r->ai_next->ai_protocol, IPPROTO_UDP);
	amp_freeaddrinfo(r);
	assert_int_equal(get(NULL, "53", AF_INET, SOCK_DGRAM, AI_PASSIVE, &r), 0);
	assert_int_equal(in4(r)->sin_addr.s_addr, 0);
	amp_freeaddrinfo(r);
	assert_int_equal(get(NULL, "53", AF_UNSPEC, SOCK_DGRAM, 0, &r), 0);
	assert_int_equal(in4(r)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	assert_true(IN6_IS_ADDR_LOOPBACK(&in6(r->ai_next)->sin6_addr));
	amp_freeaddrinfo(r);
	assert_int_equal(get("192.0.2.1", NULL, AF_INET6, SOCK_STREAM, AI_V4MAPPED, &r), 0);
	assert_true(IN6_IS_ADDR_V4MAPPED(&in6(r)->sin6_addr));
	assert_int_equal(in6(r)->sin6_addr.s6_addr[15], 1);
	amp_freeaddrinfo(r);
	assert_int_equal(asked, 0);
	assert_int_equal(px.sessions, 0); /* nobody was troubled with numbers */
}

static void wrong_questions(void **state)
{
	struct addrinfo *r;
	char name[300];

	(void)state;
	memset(name, 'a', sizeof(name));
	name[256] = '\0';
	assert_int_equal(get(NULL, NULL, 0, 0, 0, &r), EAI_NONAME);
	assert_int_equal(get("host", "80", 0, 0, AI_NUMERICHOST, &r), EAI_NONAME);
	assert_int_equal(get("1.2.3.4.5", "80", 0, 0, AI_NUMERICHOST, &r), EAI_NONAME);
	assert_int_equal(get("", "80", 0, 0, 0, &r), EAI_NONAME);
	assert_int_equal(get(name, "80", 0, 0, 0, &r), EAI_NONAME);
	assert_int_equal(get("1.2.3.4", "http", 0, 0, AI_NUMERICSERV, &r), EAI_NONAME);
	assert_int_equal(get("1.2.3.4", "65536", 0, 0, AI_NUMERICSERV, &r), EAI_NONAME);
	assert_int_equal(get("1.2.3.4", "80", 77, 0, 0, &r), EAI_FAMILY);
	assert_int_equal(get("1.2.3.4", "80", 0, 77, 0, &r), EAI_SOCKTYPE);
	for (int type = 0; type <= SOCK_DGRAM; type++) {
		struct addrinfo h = {.ai_socktype = type, .ai_protocol = 99};

		assert_int_equal(amp_getaddrinfo("1.2.3.4", "80", &h, &r), EAI_SOCKTYPE);
		h.ai_protocol = type == SOCK_DGRAM ? IPPROTO_TCP : IPPROTO_UDP;
		if (type)
			assert_int_equal(amp_getaddrinfo("1.2.3.4", "80", &h, &r),
					 EAI_SOCKTYPE);
	}
	assert_int_equal(get("1.2.3.4", "80", 0, 0, 0x10000, &r), EAI_BADFLAGS);
	assert_int_equal(get(NULL, "80", 0, 0, AI_CANONNAME, &r), EAI_BADFLAGS);
	assert_int_not_equal(get("::1", "80", AF_INET, 0, 0, &r), 0);
	assert_int_not_equal(get("1.2.3.4", "80", AF_INET6, 0, 0, &r), 0);
	assert_int_equal(asked, 0);
	for (int e = -20; e <= 1; e++)
		assert_true(strlen(amp_gai_strerror(e)) > 5);
}

static void names(void **state)
{
	struct amp_off_addr a[2] = {addr4(0xc0000201, 80),
				    {.family = AMP_OFF_INET6, .port = 80}};
	struct addrinfo *r;

	(void)state;
	put_list(2, a, "canonical.example");
	assert_int_equal(get("www.example", "80", AF_UNSPEC, SOCK_STREAM,
			     AI_CANONNAME | AI_ADDRCONFIG, &r),
			 0);
	assert_int_equal(asked, 1);
	assert_int_equal(question_len, 8 + 11);
	assert_int_equal(question[0], 0);
	assert_int_equal(question[1], AMP_OFF_STREAM);
	assert_int_equal(question[2], 2 | 4);
	assert_int_equal(question[3], 11);
	assert_int_equal(amp_le16(question + 4), 80);
	assert_memory_equal(question + 8, "www.example", 11);
	assert_string_equal(r->ai_canonname, "canonical.example");
	assert_int_equal(in4(r)->sin_addr.s_addr, htonl(0xc0000201));
	assert_int_equal(ntohs(in4(r)->sin_port), 80);
	in6(r->ai_next);
	assert_null(r->ai_next->ai_next);
	amp_freeaddrinfo(r);
	/* the name of a service goes along */
	a[0].port = 443;
	put_list(1, a, "");
	assert_int_equal(get("www.example", "https", AF_INET, SOCK_STREAM, 0, &r), 0);
	assert_int_equal(question[6], 5);
	assert_memory_equal(question + 8 + 11, "https", 5);
	assert_int_equal(ntohs(in4(r)->sin_port), 443);
	amp_freeaddrinfo(r);
	/* or alone, when the host is a number or none */
	assert_int_equal(get("10.1.1.1", "https", AF_INET, SOCK_STREAM, 0, &r), 0);
	assert_int_equal(question[3], 0);
	assert_int_equal(ntohs(in4(r)->sin_port), 443);
	assert_int_equal(in4(r)->sin_addr.s_addr, inet_addr("10.1.1.1"));
	assert_null(r->ai_next);
	amp_freeaddrinfo(r);
	assert_int_equal(get(NULL, "https", AF_INET, SOCK_STREAM, AI_PASSIVE, &r), 0);
	assert_int_equal(ntohs(in4(r)->sin_port), 443);
	amp_freeaddrinfo(r);
	/* v4-mapped when there is nothing else */
	only_v4 = true;
	assert_int_equal(get("www.example", "80", AF_INET6, SOCK_STREAM, AI_V4MAPPED, &r), 0);
	assert_true(IN6_IS_ADDR_V4MAPPED(&in6(r)->sin6_addr));
	amp_freeaddrinfo(r);
	assert_int_equal(get("www.example", "80", AF_INET6, SOCK_STREAM, 0, &r), EAI_NONAME);
}

static void no_answers(void **state)
{
	static const struct {
		uint8_t status;
		int eai;
	} t[] = {
		{AMP_OFF_EAI_NONAME, EAI_NONAME},     {AMP_OFF_EAI_AGAIN, EAI_AGAIN},
		{AMP_OFF_EAI_FAIL, EAI_FAIL},	      {AMP_OFF_EAI_SERVICE, EAI_SERVICE},
		{AMP_OFF_EAI_SOCKTYPE, EAI_SOCKTYPE}, {AMP_OFF_EAI_FAMILY, EAI_FAMILY},
		{AMP_OFF_EAI_MEMORY, EAI_MEMORY},     {AMP_OFF_EAI_MEMORY + 1, EAI_AGAIN},
		{AMP_OFF_EACCES, EAI_FAIL},
	};
	struct amp_off_addr a;
	struct addrinfo *r;
	uint32_t t0;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		answer_status = t[i].status;
		assert_int_equal(get("x.example", "80", 0, 0, 0, &r), t[i].eai);
	}
	silent = true;
	t0 = clock_ms;
	assert_int_equal(get("x.example", "80", 0, 0, 0, &r), EAI_AGAIN);
	assert_true(clock_ms - t0 >= AMPSOCK_CONNECT_MS);
	silent = false;
	/* a resolver that takes that long costs nobody the session */
	pass(AMPSOCK_CONNECT_MS);
	assert_int_equal(px.sessions, 1);
	/* the answer comes after all, and must not be taken for that of another question */
	a = addr4(0x01010101, 80);
	put_list(1, &a, "");
	say_ctl(AMP_OFF_RESOLVE | AMP_OFF_REPLY, 0, last_seq, answer, answer_len);
	a = addr4(0x02020202, 80);
	put_list(1, &a, "");
	answer_status = 0;
	assert_int_equal(get("y.example", "80", 0, SOCK_STREAM, 0, &r), 0);
	assert_int_equal(in4(r)->sin_addr.s_addr, 0x02020202);
	amp_freeaddrinfo(r);
	px.ctl->rst = true;
	spin();
	px.link_down = true;
	assert_int_equal(get("x.example", "80", 0, 0, 0, &r), EAI_AGAIN);
	px.link_down = false;
	put_list(0, NULL, "");
	assert_int_not_equal(get("x.example", "80", 0, 0, 0, &r), 0);
}

static void lying_answers(void **state)
{
	struct amp_off_addr a[2] = {addr4(0xc0000201, 80), addr4(0xc0000202, 80)};
	struct addrinfo *r;

	(void)state;
	for (int i = 0; i < 6; i++) {
		a[1].family = i == 5 ? AMP_OFF_INET6 : AMP_OFF_INET; /* not asked for */
		put_list(2, a, "name");
		if (i == 0)
			answer[0] = 3;
		if (i == 1)
			answer[1] = 5;
		if (i == 2)
			answer_len--;
		if (i == 3)
			answer[8] = 9; /* family */
		if (i == 4)
			answer_len = 4;
		assert_int_equal(get("x.example", "80", AF_INET, 0, 0, &r), EAI_FAIL);
		spin(); /* the session ends when the stack next runs */
		assert_true(px.ctl->aborted);
		px.ctl->rst = true;
	}
}

static void pool_is_lent(void **state)
{
	struct amp_off_addr a[16];
	struct addrinfo *r[AMPSOCK_ADDRINFO + 2];
	unsigned n = 0, cnt = 0;
	struct addrinfo *p;

	(void)state;
	while (n <= AMPSOCK_ADDRINFO + 1 &&
	       !get("10.0.0.1", "1", AF_INET, SOCK_STREAM, 0, &r[n]))
		n++;
	assert_int_equal(n, AMPSOCK_ADDRINFO + 1); /* without names there is one more */
	assert_int_equal(get("10.0.0.1", "1", AF_INET, SOCK_STREAM, 0, &p), EAI_MEMORY);
	for (int i = 0; i < 3; i++)
		amp_freeaddrinfo(r[--n]);
	for (int i = 0; i < 16; i++)
		a[i] = addr4(0xc0000200 + (uint32_t)i, 1);
	put_list(16, a, "");
	assert_int_equal(get("x.example", "1", AF_INET, SOCK_STREAM, 0, &p), 0);
	for (struct addrinfo *q = p; q; q = q->ai_next)
		cnt++;
	assert_int_equal(cnt, 3);     /* as many as there is room for */
	amp_freeaddrinfo(p->ai_next); /* a tail, then the rest */
	p->ai_next = NULL;
	amp_freeaddrinfo(p);
	while (n)
		amp_freeaddrinfo(r[--n]);
	put_list(1, a, "one");
	assert_int_equal(get("x.example", "1", AF_INET, SOCK_STREAM, AI_CANONNAME, &r[0]), 0);
	put_list(1, a, "two");
	assert_int_equal(get("x.example", "1", AF_INET, SOCK_STREAM, AI_CANONNAME, &r[1]), 0);
	assert_string_equal(r[0]->ai_canonname, "one");
	assert_string_equal(r[1]->ai_canonname, "two");
	amp_freeaddrinfo(r[0]);
	amp_freeaddrinfo(r[1]);
}

/* As long as one can be: it takes cells that addresses would have had, and gives them back. */
static void long_name(void **state)
{
	struct amp_off_addr a[16];
	struct addrinfo *r;
	char name[256];
	unsigned cnt;

	(void)state;
	memset(name, 'n', 255);
	name[255] = '\0';
	for (int i = 0; i < 16; i++)
		a[i] = addr4(0xc0000200 + (uint32_t)i, 1);
	for (unsigned round = 0; round < 100; round++) {
		put_list(2, a, name);
		assert_int_equal(get("x.example", "1", AF_INET, SOCK_STREAM, AI_CANONNAME, &r),
				 0);
		assert_string_equal(r->ai_canonname, name);
		in4(r);
		amp_freeaddrinfo(r);
		/* not asked for */
		put_list(1, a, name);
		assert_int_equal(get("x.example", "1", AF_INET, SOCK_STREAM, 0, &r), 0);
		assert_null(r->ai_canonname);
		amp_freeaddrinfo(r);
		/* asked for, and there is nobody */
		put_list(0, a, name);
		assert_int_equal(get("x.example", "1", AF_INET, SOCK_STREAM, AI_CANONNAME, &r),
				 EAI_MEMORY);
	}
	put_list(16, a, "");
	assert_int_equal(get("x.example", "1", AF_INET, SOCK_STREAM, 0, &r), 0);
	cnt = 0;
	for (struct addrinfo *q = r; q; q = q->ai_next)
		cnt++;
	assert_int_equal(cnt, AMPSOCK_ADDRINFO < 16 ? AMPSOCK_ADDRINFO + 1 : 16);
	amp_freeaddrinfo(r);
}

static void the_other_way(void **state)
{
	struct sockaddr_in a = sin4("192.0.2.1", 80);
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6,
				  .sin6_addr = IN6ADDR_LOOPBACK_INIT,
				  .sin6_port = 65535 & 0xffff,
				  .sin6_scope_id = 12};
	const struct sockaddr *sa = (const struct sockaddr *)&a;
	char host[64], serv[8];
	const int num = NI_NUMERICHOST | NI_NUMERICSERV;

	(void)state;
	assert_int_equal(amp_getnameinfo(sa, sizeof(a), host, 64, serv, 8, num), 0);
	assert_string_equal(host, "192.0.2.1");
	assert_string_equal(serv, "80");
	assert_int_equal(
		amp_getnameinfo((struct sockaddr *)&a6, sizeof(a6), host, 64, serv, 8, num), 0);
	assert_string_equal(host, "::1%12");
	assert_string_equal(serv, "65535");
	assert_int_equal(amp_getnameinfo(sa, sizeof(a), host, 9, NULL, 0, num), EAI_OVERFLOW);
	assert_int_equal(amp_getnameinfo(sa, sizeof(a), NULL, 0, serv, 2, num), EAI_OVERFLOW);
	assert_int_equal(amp_getnameinfo(sa, sizeof(a), NULL, 0, NULL, 0, 0), EAI_NONAME);
	assert_int_equal(amp_getnameinfo(sa, 4, host, 64, NULL, 0, num), EAI_FAMILY);
	assert_int_equal(asked, 0);
	memcpy(answer, "\x07\x04\0\0web.onehttp", 15);
	answer_len = 15;
	assert_int_equal(amp_getnameinfo(sa, sizeof(a), host, 64, serv, 8, NI_NAMEREQD), 0);
	assert_string_equal(host, "web.one");
	assert_string_equal(serv, "http");
	assert_int_equal(question[0], 1);
	assert_int_equal(question_len, 28);
	assert_int_equal(amp_getnameinfo(sa, sizeof(a), host, 7, serv, 8, 0), EAI_OVERFLOW);
	answer_status = AMP_OFF_EAI_NONAME;
	assert_int_equal(amp_getnameinfo(sa, sizeof(a), host, 64, serv, 8, NI_NAMEREQD),
			 EAI_NONAME);
	assert_int_equal(amp_getnameinfo(sa, sizeof(a), host, 64, serv, 8, 0), 0);
	assert_string_equal(host, "192.0.2.1"); /* no name: the number will do */
	assert_string_equal(serv, "80");
	answer_status = 0;
	answer_len = 14;
	assert_int_equal(amp_getnameinfo(sa, sizeof(a), host, 64, serv, 8, NI_NAMEREQD),
			 EAI_FAIL);
	spin();
	assert_true(px.ctl->aborted);
}

#define T(f) cmocka_unit_test_setup_teardown(f, up, rig_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(numbers),	  T(wrong_questions), T(names),	    T(no_answers),
		T(lying_answers), T(pool_is_lent),    T(long_name), T(the_other_way),
	};

	return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
