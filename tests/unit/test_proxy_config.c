// SPDX-License-Identifier: BSD-3-Clause
/* The proxy's configuration: what is taken, and what is said of what is not. */
// build: src/proxy/config.c src/proxy/config_link.c src/proxy/config_check.c src/proxy/config_join.c src/proxy/rule.c
// build: src/proxy/config_proxy.c src/proxy/config_source.c src/proxy/limit.c
// build: src/proxy/rule_text.c src/proxy/rule_addr.c src/proxy/host_addr.c src/proxy/log.c -linih -lbsd
// build: -Wl,--wrap=malloc,--wrap=calloc,--wrap=strdup
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/config.h"

static char said[4096];

/* Reads text as a file; what was said is in said[], with the file's name as F. */
static int read_file(const char *text, struct amp_config *conf)
{
	char path[] = "/tmp/ampsock-conf-XXXXXX", raw[4096], *at;
	int fd = mkstemp(path), r;
	FILE *err = fmemopen(raw, sizeof(raw), "w");

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	memset(raw, 0, sizeof(raw));
	amp_config_init(conf);
	r = amp_config_file(conf, path, err);
	if (!r)
		r = amp_config_check(conf, err);
	fclose(err);
	unlink(path);
	said[0] = 0;
	for (char *p = raw; (at = strstr(p, path)) != NULL; p = at + strlen(path)) {
		strncat(said, p, (size_t)(at - p));
		strcat(said, "F");
		raw[0] = 0;
		memmove(raw, at + strlen(path), strlen(at + strlen(path)) + 1);
		at = raw - strlen(path);
	}
	strcat(said, raw);
	return r;
}

#define LINK "[link m4]\ntype = vhost-user-vsock\npath = /run/m4.sock\ncid = 3\n"

static void test_good(void **state)
{
	const struct amp_link_conf *l;
	struct amp_config c;

	(void)state;
	assert_int_equal(
		read_file("# comment\n[proxy]\nlog-level = debug\n\n" LINK
			  "allow = out tcp 10.0.0.0/8:80   ; why\nallow = out udp any:53\n"
			  "publish = tcp 127.0.0.1:8080 -> inet:80\nexpose = vsock:1 -> unix "
			  "/run/x\n"
			  "[link other]\ntype=vhost-user-vsock\npath=/run/o.sock\ncid=4\n",
			  &c),
		0);
	assert_int_equal(c.log_level, AMP_LOG_DEBUG);
	l = TAILQ_FIRST(&c.links);
	assert_string_equal(l->name, "m4");
	assert_string_equal(l->path, "/run/m4.sock");
	assert_int_equal(l->cid, 3);
	assert_string_equal(TAILQ_FIRST(&l->allow)->text, "out tcp 10.0.0.0/8:80");
	assert_non_null(strstr(TAILQ_FIRST(&l->allow)->where, ":9"));
	assert_non_null(TAILQ_NEXT(TAILQ_FIRST(&l->allow), entry));
	assert_int_equal(TAILQ_FIRST(&l->publish)->service.port, 80);
	assert_int_equal(TAILQ_FIRST(&l->expose)->service.port, 1);
	l = TAILQ_NEXT(l, entry);
	assert_string_equal(l->name, "other");
	assert_true(TAILQ_EMPTY(&l->allow));
	amp_config_free(&c);
}

/* text is refused and the message begins with where and contains what. */
static void bad(const char *text, const char *where, const char *what)
{
	struct amp_config c;

	assert_int_not_equal(read_file(text, &c), 0);
	if (!strstr(said, where) || !strstr(said, what))
		fail_msg("expected `%s` and `%s` in: %s", where, what, said);
	amp_config_free(&c);
}

static void test_bad(void **state)
{
	(void)state;
	bad("", "F: nothing to do", "[link NAME]");
	bad(LINK "allow = out tcp 10.0.0.1:99999\n", "F:5: allow:", "0 to 65535");
	bad(LINK "\n\nallow = out tpc 10.0.0.1:1\n", "F:7: allow:", "tcp, udp or any");
	bad(LINK "publish = tcp 127.0.0.1:1 -> vsock:x\n", "F:5: publish:", "4294967294");
	bad(LINK "expose = vsock:1 -> tcp x:1\n", "F:5: expose:", "numeric address");
	bad(LINK "alow = x\n", "F:5:", "expected one of the keys");
	bad(LINK "what is this\n", "F:5:", "key = value");
	bad("[link m4]\ntype = vsok\n", "F:2:", "vhost-user-vsock");
	bad("[link m4]\ntype = vhost-user-vsock\ncid = 3\n", "F:1:", "no path");
	bad("[link m4]\ntype = vhost-user-vsock\npath = /x\n", "F:1:", "no CID");
	bad("[link m4]\npath = /x\ncid = 3\n", "F:1:", "no type");
	bad("[link m4]\ntype = vhost-user-vsock\npath = /x\ncid = 2\n",
	    "F:4:", "3 to 4294967294");
	bad("[link m4]\ncid = 4294967295\n", "F:2:", "3 to 4294967294");
	bad("[link m4]\ncid = three\n", "F:2:", "found `three`");
	bad("[link m 4]\ncid = 3\n", "F:1:", "link name");
	bad("[lnk m4]\ncid = 3\n", "F:1:", "[link NAME]");
	bad("cid = 3\n", "F:1:", "[proxy] or [link NAME]");
	bad("[proxy]\nlog-level = loud\n" LINK, "F:2:", "error, warning, info or debug");
	bad("[proxy]\nloglevel = info\n" LINK, "F:2:", "log-level");
	bad(LINK "[proxy]\nlog-level = info\n" LINK, "F:7:", "there already");
	bad(LINK "[link b]\ntype = vhost-user-vsock\npath = /b\ncid = 3\n", "F:5:", "same CID");
	bad(LINK "[link b]\ntype = vhost-user-vsock\npath = /run/m4.sock\ncid = 4\n",
	    "F:5:", "same path");
	bad(LINK "expose = vsock:1 -> unix /a\nexpose = vsock:1 -> unix /b\n", "F:6:", "F:5");
	bad(LINK "publish = tcp 127.0.0.1:1 -> vsock:0\n", "F:5: publish:", "1 to 4294967294");
	bad(LINK "expose = vsock:0 -> tcp 127.0.0.1:1\n", "F:5: expose:", "1 to 4294967294");
	bad(LINK "publish = vsock-mux /run/x -> vsock:0-3\n",
	    "F:5: publish:", "1 to 4294967294");
}

/* One socket, however its path is written. */
static void test_paths(void **state)
{
	static const struct {
		const char *written, *is;
	} paths[] = {
		{"/run//x.sock", "/run/x.sock"},
		{"/run/./x.sock", "/run/x.sock"},
		{"//run/.//././x.sock", "/run/x.sock"},
		{"./x.sock", "x.sock"},
		{".//./x/./y", "x/y"},
		{"/run/../x.sock", "/run/../x.sock"}, /* run may be a link */
		{"/run/.x/..y", "/run/.x/..y"},
		{"/run/x/.", "/run/x/."},
		{"/./", "/"},
		{"/", "/"},
		{"./", "./"},
		{".", "."},
		{"", ""},
	};
	struct amp_config c;
	char path[64];

	(void)state;
	for (unsigned i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		strcpy(path, paths[i].written);
		amp_path_normal(path);
		assert_string_equal(path, paths[i].is);
	}
	bad(LINK "[link b]\ntype = vhost-user-vsock\npath = /run/./m4.sock\ncid = 4\n",
	    "F:5:", "same path");
	bad(LINK "publish = unix /run//m4.sock -> vsock:1\n", "F:5: publish:", "link m4");
	bad(LINK "publish = unix /run/a -> vsock:1\npublish = unix //run/a -> vsock:2\n",
	    "F:6: publish:", "already at F:5");
	bad("[proxy]\ncontrol = /run//m4.sock\n" LINK, "F:3:", "control socket");
	bad("[proxy]\ncontrol = /run/c\nmetrics = unix /run/./c\n" LINK, "", "same path");
	bad("[link b]\ntype = vsock-unix\npath = /run/./v\nexpose = vsock:1024 -> unix "
	    "/a\n" LINK "publish = unix /run//v_1024 -> vsock:1\n",
	    "F:9: publish:", "link b");
	assert_int_equal(
		read_file(
			"[proxy]\ncontrol = /run//ampsock/./control\n"
			"runtime-dir = //run/./ampsock/\n"
			"[link m4]\ntype = vhost-user-vsock\npath = /run/./m4.sock\ncid = 3\n",
			&c),
		0);
	assert_string_equal(c.control, "/run/ampsock/control");
	assert_string_equal(c.runtime_dir, "/run/ampsock/");
	assert_string_equal(TAILQ_FIRST(&c.links)->path, "/run/m4.sock");
	amp_config_free(&c);
}

#define SHM "[link m4]\ntype = rpmsg-shm\npath = /dev/shm/m4\nbell = unix:/run/m4.bell\n"

static void test_shm(void **state)
{
	const struct amp_link_conf *l;
	struct amp_config c;

	(void)state;
	assert_int_equal(read_file("[link m4]\ntype = rpmsg-shm\npath = /dev/shm/m4\n"
				   "da = 0x21000000\noffset = 0x1000\nsize = 16M\n"
				   "table = 0x21001000\ncarveout = 0x21080000:256k\n"
				   "buffer = 2048\nbuffers = 16\nbell = eventfd:7,8\n"
				   "allow = out any any:any\n"
				   "publish = tcp 127.0.0.1:8080 -> inet:80\n"
				   "publish = udp 127.0.0.1:8080 -> rpmsg:@0x400\n"
				   "expose = rpmsg:a -> unix /a\n"
				   "expose = rpmsg:a -> udp 127.0.0.1:5\n"
				   "[link m5]\ntype = rpmsg-shm\npath = /dev/shm/m4\n"
				   "elf = /fw/m5.elf\nbell = poll:10\n"
				   "[link m6]\ntype = rpmsg-shm\npath = /dev/shm/m4\n"
				   "elf = /fw/m6.elf\nbell = unix:/run/b\n",
				   &c),
			 0);
	l = TAILQ_FIRST(&c.links);
	assert_int_equal(l->type, AMP_LINK_RPMSG_SHM);
	assert_int_equal(l->shm.da, 0x21000000);
	assert_int_equal(l->shm.offset, 0x1000);
	assert_int_equal(l->shm.size, 16 << 20);
	assert_true(l->shm.has_table);
	assert_int_equal(l->shm.table, 0x21001000);
	assert_int_equal(l->shm.carveout, 0x21080000);
	assert_int_equal(l->shm.carve_size, 256 << 10);
	assert_int_equal(l->shm.buf_len, 2048);
	assert_int_equal(l->shm.buf_cnt, 16);
	assert_int_equal(l->shm.bell.kind, AMP_BELL_EVENTFD);
	assert_int_equal(l->shm.bell.rx, 7);
	assert_int_equal(l->shm.bell.tx, 8);
	l = TAILQ_NEXT(l, entry);
	assert_string_equal(l->shm.elf, "/fw/m5.elf");
	assert_int_equal(l->shm.bell.poll_ms, 10);
	l = TAILQ_NEXT(l, entry);
	assert_string_equal(l->shm.bell.path, "/run/b");
	amp_config_free(&c);
}

static void test_bad_shm(void **state)
{
	(void)state;
	bad("[link a]\ntype = rpmsg-shm\nbell = poll:1\n", "F:1:", "path = FILE");
	bad("[link a]\ntype = rpmsg-shm\npath = /x\n", "F:1:", "no doorbell");
	bad(SHM "bell = poll:1\n", "F:5:", "once in a link");
	bad("[link a]\nbell = bong\n", "F:2:", "unix:PATH");
	bad("[link a]\nbell = unix:\n", "F:2:", "unix:PATH");
	bad("[link a]\nbell = eventfd:3\n", "F:2:", "eventfd:RX,TX");
	bad("[link a]\nbell = eventfd:2,3\n", "F:2:", "eventfd:RX,TX");
	bad("[link a]\nbell = poll:0\n", "F:2:", "poll:MS");
	bad("[link a]\nbell = poll:1001\n", "F:2:", "poll:MS");
	bad(SHM "da = here\n", "F:5:", "0x21000000");
	bad(SHM "offset = -1\n", "F:5:", "offset");
	bad(SHM "size = 0\n", "F:5:", "16M");
	bad(SHM "table = x\n", "F:5:", "resource table's address");
	bad(SHM "table = 1\nelf = /x\n", "F:5:", "either elf");
	bad(SHM "carveout = 1\n", "F:5:", "ADDRESS:SIZE");
	bad(SHM "carveout = 1:0\n", "F:5:", "ADDRESS:SIZE");
	bad(SHM "buffer = 30\n", "F:5:", "multiple of 4");
	bad(SHM "buffer = 514\n", "F:5:", "multiple of 4");
	bad(SHM "buffers = 0\n", "F:5:", "1 to 1024");
	bad(SHM "buffers = 1025\n", "F:5:", "1 to 1024");
	bad(SHM "da = 0xffffffffffffffff\nsize = 1\n", "F:1:", "64 bits");
	bad(SHM "da = 0x21000008\n", "F:1:", "multiples of 16");
	bad(SHM "offset = 1\n", "F:1:", "multiples of 16");
	/* what belongs to the other type, and what would be right */
	bad(SHM "cid = 3\n", "F:5:", "rpmsg-shm has no key cid: expected one of da, ");
	bad(LINK "da = 3\n", "F:5:", "vhost-user-vsock has no key da: expected one of cid");
	bad(SHM "publish = tcp 127.0.0.1:1 -> vsock:5\n", "F:5: publish: vsock:5",
	    "type rpmsg-shm: expected rpmsg:NAME or rpmsg:@ADDRESS");
	bad(SHM "\nexpose = vsock:5 -> unix /a\n", "F:6: expose: vsock:5", "rpmsg:NAME");
	bad(LINK "publish = tcp 127.0.0.1:1 -> rpmsg:a\n", "F:5: publish: rpmsg:a",
	    "type vhost-user-vsock: expected vsock:PORT");
	bad(LINK "expose = rpmsg:@9 -> unix /a\n", "F:5: expose: rpmsg:@9", "vsock:PORT");
	bad(SHM "expose = rpmsg:ampsock -> unix /a\n", "F:5: expose:", "proxy's own");
	bad(SHM "expose = rpmsg:a -> unix /a\nexpose = rpmsg:a -> tcp 127.0.0.1:1\n",
	    "F:6: expose: rpmsg:a", "F:5");
	bad(SHM "[link b]\ntype = rpmsg-shm\npath = /dev/shm/m4\nbell = poll:5\n",
	    "F:5:", "same resource table");
	bad(SHM "[link b]\ntype = rpmsg-shm\npath = /b\nbell = unix:/run/m4.bell\n",
	    "F:5:", "same doorbell");
}

#define CHAR "[link m4]\ntype = rpmsg-char\npath = /dev/rpmsg_ctrl0\n"

static void test_char(void **state)
{
	const struct amp_link_conf *l;
	struct amp_config c;

	(void)state;
	assert_int_equal(read_file(CHAR
				   "sysfs = /s\nbuffer = 1024\nexpose = rpmsg:a -> unix /a\n"
				   "publish = udp 127.0.0.1:1 -> rpmsg:b\n"
				   "publish = tcp 127.0.0.1:1 -> inet:80\n",
				   &c),
			 0);
	l = TAILQ_FIRST(&c.links);
	assert_int_equal(l->type, AMP_LINK_RPMSG_CHAR);
	assert_string_equal(l->sysfs, "/s");
	assert_int_equal(l->shm.buf_len, 1024);
	amp_config_free(&c);
	bad("[link a]\ntype = rpmsg-char\nbuffer = 512\n", "F:1:", "path = /dev/rpmsg_ctrlN");
	bad(CHAR "bell = poll:1\n", "F:4:", "rpmsg-char has no key bell");
	bad(CHAR "sysfs =\n", "F:4:", "sysfs");
	bad(CHAR "expose = rpmsg:a -> udp 127.0.0.1:1\n", "F:4: expose: rpmsg:a",
	    "does not see who sends");
	bad(CHAR "expose = vsock:1 -> unix /a\n", "F:4: expose: vsock:1",
	    "type rpmsg-char: expected rpmsg:NAME");
	bad(CHAR "[link b]\ntype = rpmsg-char\npath = /dev/rpmsg_ctrl0\n", "F:4:", "same path");
	bad(SHM "sysfs = /s\n", "F:5:", "rpmsg-shm has no key sysfs");
}

/* A rule whose text has len bytes. */
static size_t long_rule(char *text, size_t len)
{
	static const char start[] = "out tcp", end[] = "10.0.0.1:80 log";

	memset(text, ' ', len);
	memcpy(text, start, sizeof(start) - 1);
	strcpy(text + len - (sizeof(end) - 1), end);
	return len;
}

/* About as long as inih takes lines, and as long as they are taken: the same whichever way it goes. */
static void test_long_lines(void **state)
{
	static const size_t lens[] = {184, 185, 186, 187, 188, 189, 190, 191, 192, 600, 1013};
	const struct amp_rule *r;
	struct amp_config c;
	char rule[1100], text[2000];

	(void)state;
	for (unsigned i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
		long_rule(rule, lens[i]);
		snprintf(text, sizeof(text),
			 LINK "allow = \t%s%s\r\nallow = out tcp 10.0.0.2:80\n", rule,
			 lens[i] < 1000 ? " ;x; y = 1" : "");
		assert_int_equal(read_file(text, &c), 0);
		r = TAILQ_FIRST(&TAILQ_FIRST(&c.links)->allow);
		assert_string_equal(r->text, rule);
		assert_string_equal(strrchr(r->where, ':'), ":5");
		assert_string_equal(strrchr(TAILQ_NEXT(r, entry)->where, ':'), ":6");
		amp_config_free(&c);
	}
	long_rule(rule, 1016);
	snprintf(text, sizeof(text), LINK "allow = %s\nallow = out tcp 10.0.0.2:80\n", rule);
	bad(text, "F:5:", "at most 1023");
}

static int link_option(const char *text, struct amp_config *c)
{
	FILE *err = fmemopen(said, sizeof(said), "w");
	int r;

	memset(said, 0, sizeof(said));
	amp_config_init(c);
	r = amp_config_link(c, text, err);
	if (!r)
		r = amp_config_check(c, err);
	fclose(err);
	return r;
}

static void test_option(void **state)
{
	static const char *const wrong[] = {
		"vhost-user-vsock",
		"vsock:/x,cid=3",
		"vhost-user-vsock:,cid=3",
		"vhost-user-vsock:/x",
		"vhost-user-vsock:/x,cid=2",
		"vhost-user-vsock:/x,cid=",
		"vhost-user-vsock:/x,cid=3,name=",
		"vhost-user-vsock:/x,cid=3,nmae=x",
		"vhost-user-vsock:/x,cid=3,",
		"vhost-user-vsock:/x,cid=3,name=a/b",
		"vhost-user-vsock:/x,cid=3,da=1",
		"vhost-user-vsock:/x,cid=3,path=/y",
		"rpmsg-shm:/x",
		"rpmsg-shm:/x,bell=poll:1,cid=3",
		"rpmsg-shm:/x,bell=eventfd:3",
		"rpmsg-shm:/x,bell=eventfd:3,",
		"rpmsg-shm:/x,bell=eventfd:3,x",
		"rpmsg-shm:/x,bell=poll:1,bell=poll:1",
		"rpmsg-shm:/x,bell=poll:1,ding=1",
	};
	struct amp_config c;
	char where[128];

	(void)state;
	assert_int_equal(link_option("vhost-user-vsock:/run/a.sock,cid=7,name=g", &c), 0);
	assert_string_equal(TAILQ_FIRST(&c.links)->name, "g");
	assert_int_equal(TAILQ_FIRST(&c.links)->cid, 7);
	amp_config_free(&c);
	assert_int_equal(link_option("vhost-user-vsock:/run/a.sock,cid=7", &c), 0);
	assert_string_equal(TAILQ_FIRST(&c.links)->name, "cid7");
	amp_config_free(&c);
	assert_int_equal(link_option("rpmsg-shm:/run/a,bell=eventfd:3,4,da=0x10", &c), 0);
	assert_string_equal(TAILQ_FIRST(&c.links)->name, "rpmsg0");
	assert_int_equal(TAILQ_FIRST(&c.links)->shm.bell.tx, 4);
	assert_int_equal(TAILQ_FIRST(&c.links)->shm.da, 16);
	amp_config_free(&c);
	assert_int_equal(link_option("rpmsg-shm:/run/a,bell=eventfd:3,4", &c), 0);
	assert_int_equal(TAILQ_FIRST(&c.links)->shm.bell.tx, 4);
	amp_config_free(&c);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		assert_int_not_equal(link_option(wrong[i], &c), 0);
		snprintf(where, sizeof(where),
			 strchr(wrong[i], ':') ? "--link %s: " : "--link: ", wrong[i]);
		assert_non_null(strstr(said, where)); /* of several, it says which */
		amp_config_free(&c);
	}
}

/* A name that nobody gave can be one that somebody gave: then it says so. */
static void test_default_name_clash(void **state)
{
	static const char a[] = "rpmsg-shm:/a,bell=poll:1",
			  b[] = "rpmsg-shm:/b,bell=poll:1,name=rpmsg0";

	(void)state;
	for (unsigned first = 0; first < 2; first++) {
		FILE *err = fmemopen(said, sizeof(said), "w");
		struct amp_config c;

		amp_config_init(&c);
		assert_int_equal(amp_config_link(&c, first ? b : a, err), 0);
		assert_int_equal(
			amp_config_link(&c, first ? "rpmsg-shm:/c,bell=poll:1,name=x" : b, err),
			0);
		if (!first) {
			assert_int_not_equal(amp_config_check(&c, err), 0);
			fclose(err);
			assert_non_null(strstr(
				said, "--link rpmsg-shm:/b,bell=poll:1,name=rpmsg0: link "
				      "rpmsg0 has the same name as link rpmsg0 at --link "
				      "rpmsg-shm:/a"));
			assert_non_null(
				strstr(said, "it was given no name: expected name=NAME there"));
		} else {
			assert_int_equal(amp_config_check(&c, err), 0);
			fclose(err);
		}
		amp_config_free(&c);
	}
}

static void test_rule_needs_link(void **state)
{
	FILE *err = fmemopen(said, sizeof(said), "w");
	struct amp_config c;

	(void)state;
	amp_config_init(&c);
	assert_int_not_equal(amp_config_rule(&c, "allow", "out any any:any", "--allow", err),
			     0);
	fclose(err);
	assert_non_null(strstr(said, "--link before it"));
	amp_config_free(&c);
}

#define VLINK(name, cid) \
	"[link " name "]\ntype=vhost-user-vsock\npath=/run/" name ".sock\ncid=" cid "\n"
#define RLINK(name) "[link " name "]\ntype=rpmsg-shm\npath=/run/" name ".ram\nbell=poll:5\n"

static void test_join(void **state)
{
	static const char *const want[][2] = {
		{"a", "b"}, {"a", "c"}, {"b", "a"}, {"c", "d"}, {"r", "s"}};
	struct amp_join_conf *j;
	struct amp_config c;
	unsigned n = 0;

	(void)state;
	/* before the others are there, said twice, in both sections, in a list */
	assert_int_equal(
		read_file(VLINK("a", "3") "join = b, c\n" VLINK("b", "4") "join = a\n" VLINK(
				  "c", "5") "join=d\n" VLINK("d", "6")
				  RLINK("r") "join = s ; why\n" RLINK("s"),
			  &c),
		0);
	TAILQ_FOREACH(j, &c.joins, entry)
	{
		assert_string_equal(j->link[0]->name, want[n][0]);
		assert_string_equal(j->link[1]->name, want[n][1]);
		assert_int_equal(j->again, n == 2);
		n++;
	}
	assert_int_equal(n, 5);
	amp_config_free(&c);
}

static void test_bad_join(void **state)
{
	(void)state;
	bad(VLINK("a", "3") "join = b\n",
	    "F:5: join: ", "name of a link that is there, found `b`");
	bad(VLINK("a", "3") "join = a\n", "F:5: join: ", "two different links");
	bad(VLINK("a", "3") "join =\n", "F:5: join: ", "the names of other links");
	bad(VLINK("a", "3") "join = 12345678901234567890123456789012\n",
	    "F:5: join: ", "at most 31 bytes");
	bad(VLINK("a", "3") "join = r\n" RLINK("r"), "F:5: join: a and r cannot be joined",
	    "two of type rpmsg-shm");
	bad("[link x]\ntype=rpmsg-char\npath=/dev/rpmsg_ctrl0\n"
	    "[link y]\ntype=rpmsg-char\npath=/dev/rpmsg_ctrl1\njoin = x\n",
	    "F:7: join: y and x cannot be joined", "vhost-user-vsock");
	/* two guests with one CID are none to be told apart */
	bad(VLINK("a", "3") "join = b\n" VLINK("b", "3"), "F:6: link b has the same CID",
	    "link a");
}

static int join_option(const char *text, struct amp_config *c)
{
	FILE *err = fmemopen(said, sizeof(said), "w");
	int r = amp_config_link(c, "vhost-user-vsock:/run/a.sock,cid=3,name=a", err);

	if (!r)
		r = amp_config_join(c, text, "--join", err);
	if (!r)
		r = amp_config_link(c, "vhost-user-vsock:/run/b.sock,cid=4", err);
	if (!r)
		r = amp_config_check(c, err);
	fclose(err);
	return r;
}

static void test_join_option(void **state)
{
	static const char *const wrong[] = {"a",
					    "",
					    ",",
					    "a,cid4,x",
					    "a,nobody",
					    "a,a",
					    "cid4,a,"
					    "a"};
	struct amp_config c;

	(void)state;
	amp_config_init(&c);
	assert_int_equal(join_option("cid4,a", &c), 0);
	assert_string_equal(TAILQ_FIRST(&c.joins)->link[0]->name, "cid4");
	assert_string_equal(TAILQ_FIRST(&c.joins)->where, "--join");
	amp_config_free(&c);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		amp_config_init(&c);
		assert_int_not_equal(join_option(wrong[i], &c), 0);
		assert_non_null(strstr(said, "--join: "));
		amp_config_free(&c);
	}
}

/* The allocation that fails, counted down; negative: none. */
static int fails_at = -1;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t m);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t m);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t n)
{
	return fails_at >= 0 && fails_at-- == 0 ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t m)
{
	return fails_at >= 0 && fails_at-- == 0 ? NULL : __real_calloc(n, m);
}

char *__wrap_strdup(const char *s)
{
	return fails_at >= 0 && fails_at-- == 0 ? NULL : __real_strdup(s);
}

/* A reload for which there is no memory is refused, whichever piece it was; nothing is left over. */
static void test_no_memory(void **state)
{
	static const char text[] =
		"[proxy]\nlease = 5\n" LINK
		"allow = out tcp 10.0.0.1:80\npublish = tcp 127.0.0.1:80 -> inet:80\n"
		"expose = vsock:1 -> unix /run/x\njoin = other\n"
		"[link other]\ntype = vhost-user-vsock\npath = /run/o.sock\ncid = 4\n"
		"[link shm]\ntype = rpmsg-shm\npath = /dev/shm/m\nbell = eventfd:3,4\n"
		"carveout = 0x1000:64k\n";
	unsigned refused = 0;
	int n, r = -1;

	(void)state;
	for (n = 0; n < 1000; n++) {
		struct amp_config c;

		fails_at = n;
		r = read_file(text, &c);
		if (!r) {
			char raw[512] = "";
			FILE *err = fmemopen(raw, sizeof(raw), "w");

			assert_non_null(err);
			r = amp_config_link(&c, "vsock-unix:/run/v.sock", err);
			if (!r)
				r = amp_config_join(&c, "m4,other", "--join", err);
			fclose(err);
			strcpy(said, raw);
		}
		if (r && !strstr(said, "out of memory"))
			fail_msg("allocation %d: %s", n, said);
		refused += r != 0;
		amp_config_free(&c);
		if (!r && fails_at >= 0)
			break;
	}
	fails_at = -1;
	assert_int_equal(r, 0);
	assert_true(refused > 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_shm),
		cmocka_unit_test(test_bad_shm),
		cmocka_unit_test(test_char),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_option),
		cmocka_unit_test(test_rule_needs_link),
		cmocka_unit_test(test_default_name_clash),
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_bad_join),
		cmocka_unit_test(test_join_option),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
