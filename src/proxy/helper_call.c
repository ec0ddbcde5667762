// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls sendmsg recvmsg poll ppoll fcntl.dup bind close */
/* The worker's side of helper.h. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "confine.h"
#include "helper_call.h"
#include "helper_msg.h"
#include "loop.h"
#include "rchar.h"

static int call_fd = -1;
static struct amp_watch news = {.fd = -1};
static int news_fd = -1;
static bool sockets_passed;
static uint64_t last_id;
static struct amp_helper_ans ans; /* of the last call, or the last news */
static void (*name_done)(uint64_t id, const struct amp_helper_name *name);
static void (*signal_came)(int num);
static void (*helper_gone)(void);
static struct amp_log_rate log_news;

#define UNTOLD_MAX 8u
#define UNTOLD_MS  50u	 /* until they are tried again */
#define LAST_MS	   1000u /* for them, at the end */

/*
 * News that the helper has to hear, and for which its socket had no room: in their order, tried
 * again until there is. A drain that it has not heard of would be cut short (helper_guard.c).
 */
static struct amp_helper_req untold[UNTOLD_MAX];
static unsigned untold_cnt;
static uv_timer_t untold_timer;

void amp_helper_join(int call, int news_sock, bool passed)
{
	sockets_passed = passed;
	call_fd = call;
	news_fd = news_sock;
	amp_confine_keep(call);
	amp_confine_keep(news_sock);
}

/* ---- calls ---- */

static int set_path(struct amp_helper_req *req, const char *path)
{
	if (strlen(path) >= sizeof(req->path))
		return -ENAMETOOLONG;
	strcpy(req->path, path);
	return 0;
}

/* The answer to req->id. A late one of an earlier call is thrown away. 0 or -errno. */
static int await(const struct amp_helper_req *req, int *fd)
{
	uint64_t now = amp_now_ms(), end = now + AMP_HELPER_WAIT_MS;

	for (; now < end; now = amp_now_ms()) {
		struct pollfd p = {.fd = call_fd, .events = POLLIN};
		ssize_t n;

		/* EINTR is the loop's alarm */
		if (poll(&p, 1, (int)(end - now)) <= 0)
			continue;
		n = amp_helper_recv(call_fd, &ans, sizeof(ans), fd);
		if (n == -EAGAIN)
			continue;
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EPIPE;
		if ((size_t)n >= AMP_HELPER_ANS_HEAD && ans.id == req->id &&
		    ans.text_len <= (size_t)n - AMP_HELPER_ANS_HEAD)
			return 0;
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
	}
	amp_log(AMP_LOG_ERROR, "the helper process does not answer");
	return -ETIMEDOUT;
}

/* 0, or -errno. *fd is what came along, or -1. */
static int call(struct amp_helper_req *req, int give, int *fd)
{
	int r;

	*fd = -1;
	req->magic = AMP_HELPER_MAGIC;
	req->id = ++last_id;
	r = amp_helper_send(call_fd, req, sizeof(*req), give);
	if (!r)
		r = await(req, fd);
	/* before anybody takes it for an answer: a device that is gone, a file that is no more */
	if ((r == -EPIPE || r == -ECONNRESET) && helper_gone)
		helper_gone();
	return r ? r : ans.result;
}

static int call_plain(struct amp_helper_req *req, int give)
{
	int fd, r = call(req, give, &fd);

	if (fd >= 0)
		close(fd);
	return r;
}

/* For a descriptor. Room for it is had first: what is made must not be lost on its way. */
static int call_fd_of(struct amp_helper_req *req)
{
	int fd, r, spare = fcntl(call_fd, F_DUPFD_CLOEXEC, 0);

	if (spare < 0)
		return -errno;
	close(spare);
	r = call(req, -1, &fd);
	if (!r && fd < 0)
		r = -EPROTO;
	if (!r)
		return fd;
	if (fd >= 0)
		close(fd);
	return r;
}

static int path_call(enum amp_helper_op op, enum amp_helper_kind kind, const char *path,
		     bool for_fd)
{
	struct amp_helper_req req = {.op = op, .kind = kind};
	int r = set_path(&req, path);

	if (r)
		return r;
	return for_fd ? call_fd_of(&req) : call_plain(&req, -1);
}

int amp_helper_open(enum amp_helper_kind kind, const char *path)
{
	return path_call(AMP_HELPER_OPEN, kind, path, true);
}

int amp_helper_stat(enum amp_helper_kind kind, const char *path, struct amp_helper_stat *st)
{
	int r = path_call(AMP_HELPER_STAT, kind, path, false);

	if (!r)
		*st = ans.st;
	return r;
}

int amp_helper_listen_unix(enum amp_helper_kind kind, const char *path)
{
	return path_call(AMP_HELPER_LISTEN, kind, path, true);
}

int amp_helper_unlink(enum amp_helper_kind kind, const char *path)
{
	return path_call(AMP_HELPER_UNLINK, kind, path, false);
}

int amp_helper_connect_unix(enum amp_helper_kind kind, const char *path)
{
	return path_call(AMP_HELPER_CONNECT, kind, path, true);
}

int amp_helper_peer(int fd, struct amp_helper_peer *peer)
{
	struct amp_helper_req req = {.op = AMP_HELPER_PEER};
	int r = call_plain(&req, fd);

	if (r)
		return r;
	peer->uid = (uint32_t)ans.st.ino;
	peer->pid = (uint32_t)ans.st.dev;
	peer->right = ans.st.mode;
	return 0;
}

int amp_helper_config(void)
{
	struct amp_helper_req req = {.op = AMP_HELPER_CONFIG};

	return call_fd_of(&req);
}

int amp_helper_journal(uint32_t len)
{
	struct amp_helper_req req = {.op = AMP_HELPER_JOURNAL, .arg = {len}};

	return call_fd_of(&req);
}

int amp_helper_config_done(bool accepted)
{
	struct amp_helper_req req = {.op = AMP_HELPER_CONFIG_DONE, .arg = {accepted}};

	return call_plain(&req, -1);
}

int amp_helper_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct amp_helper_req req = {.op = AMP_HELPER_BIND, .sa_len = len};
	int r;

	if (bind(fd, sa, len) == 0)
		return 0;
	if (errno != EACCES || len > sizeof(req.sa))
		return -errno;
	memcpy(&req.sa, sa, len);
	r = call_plain(&req, fd);
	return r == -EPERM ? -EACCES : r;
}

int amp_helper_bind_there(int fd, const struct sockaddr *sa, socklen_t len, bool beside)
{
	struct amp_helper_req req = {.op = AMP_HELPER_BIND, .arg = {beside}, .sa_len = len};

	if (len > sizeof(req.sa))
		return -EINVAL;
	memcpy(&req.sa, sa, len);
	return call_plain(&req, fd);
}

int amp_helper_passed_inet(bool tcp, const struct sockaddr *sa, socklen_t len)
{
	struct amp_helper_req req = {.op = AMP_HELPER_PASSED, .arg = {tcp}, .sa_len = len};

	if (!sockets_passed || len > sizeof(req.sa))
		return -ENOENT;
	memcpy(&req.sa, sa, len);
	return call_fd_of(&req);
}

/* ---- rpmsg character devices ---- */

int amp_helper_rchar_find(const char *path)
{
	return path_call(AMP_HELPER_FIND, AMP_HELPER_RCHAR, path, false);
}

bool amp_helper_rchar_stands(const char *path)
{
	return path_call(AMP_HELPER_STANDS, AMP_HELPER_RCHAR, path, false) == 0;
}

int amp_helper_rchar_create(const char *path, uint32_t src, uint32_t dst)
{
	struct amp_helper_req req = {
		.op = AMP_HELPER_CREATE, .kind = AMP_HELPER_RCHAR, .arg = {src, dst}};
	int r = set_path(&req, path);

	return r ? r : call_fd_of(&req);
}

static void ask_name(const char *path, const char *entry, const struct amp_rchar_ops *ops,
		     void *ctx)
{
	struct amp_helper_req req = {.op = AMP_HELPER_ATTR, .kind = AMP_HELPER_RCHAR};
	char name[64];

	if (set_path(&req, path) || strlen(entry) >= sizeof(req.name))
		return;
	strcpy(req.name, entry);
	if (call_plain(&req, -1) || !memchr(ans.u.text, 0, ans.text_len) ||
	    strlen(ans.u.text) >= sizeof(name))
		return;
	strcpy(name, ans.u.text); /* heard() may call the helper */
	ops->heard(ctx, name, ans.more);
}

void amp_helper_rchar_scan(const char *path, const struct amp_rchar_ops *ops, void *ctx)
{
	bool more = true;

	for (uint32_t first = 1; more; first = 0) {
		struct amp_helper_req req = {
			.op = AMP_HELPER_SCAN, .kind = AMP_HELPER_RCHAR, .arg = {first}};
		char text[AMP_HELPER_TEXT + 1];
		size_t len;

		if (set_path(&req, path) || call_plain(&req, -1))
			return;
		len = ans.text_len;
		more = ans.more != 0;
		memcpy(text, ans.u.text, len);
		text[len] = 0;
		for (size_t at = 0; at < len; at += strlen(text + at) + 1) {
			if (ops->wants(ctx, text + at))
				ask_name(path, text + at, ops, ctx);
		}
	}
}

/* ---- news ---- */

void amp_helper_on_name(void (*done)(uint64_t id, const struct amp_helper_name *name))
{
	name_done = done;
}

static int tell(struct amp_helper_req *req, uint64_t id)
{
	req->magic = AMP_HELPER_MAGIC;
	req->id = id;
	return amp_helper_send(news_fd, req, sizeof(*req), -1) ? -EAGAIN : 0;
}

int amp_helper_resolve(uint64_t id, const char *host, const char *service,
		       const struct addrinfo *hints)
{
	struct amp_helper_req req = {.op = AMP_HELPER_RESOLVE,
				     .arg = {(uint32_t)hints->ai_family,
					     (uint32_t)hints->ai_socktype,
					     (uint32_t)hints->ai_flags}};

	if (strlen(host) >= sizeof(req.path) || strlen(service) >= sizeof(req.name))
		return -EAGAIN;
	strcpy(req.path, host);
	strcpy(req.name, service);
	return tell(&req, id);
}

int amp_helper_nameinfo(uint64_t id, const struct sockaddr *sa, socklen_t len, int flags)
{
	struct amp_helper_req req = {
		.op = AMP_HELPER_NAME, .arg = {(uint32_t)flags}, .sa_len = len};

	memcpy(&req.sa, sa, len < sizeof(req.sa) ? len : sizeof(req.sa));
	return tell(&req, id);
}

/* ---- what was published at run time: more than there is room for at one time ---- */

static struct {
	void (*all)(void); /* NULL: all of it is told */
	unsigned told, at; /* messages of it */
	int err;
} published;

static void tell_published(struct amp_helper_req *req, enum amp_helper_published what)
{
	req->op = AMP_HELPER_PUBLISHED;
	req->arg[0] = what;
	if (published.err || published.at++ < published.told)
		return;
	published.err = tell(req, 0);
	published.told += !published.err;
}

void amp_helper_published(const char *link, const char *rule)
{
	struct amp_helper_req req = {0};
	size_t n;

	strncpy(req.name, link, sizeof(req.name) - 1);
	for (const char *at = rule; *at; at += n) {
		n = strnlen(at, sizeof(req.path) - 1);
		memset(req.path, 0, sizeof(req.path));
		memcpy(req.path, at, n);
		tell_published(&req, at == rule ? AMP_PUBLISHED_RULE : AMP_PUBLISHED_MORE);
	}
}

static void go_on_published(void)
{
	struct amp_helper_req req = {0};

	if (!published.all)
		return;
	published.at = 0;
	published.err = 0;
	tell_published(&req, AMP_PUBLISHED_BEGIN);
	published.all();
	tell_published(&req, AMP_PUBLISHED_ALL);
	if (!published.err)
		published.all = NULL;
}

/* ---- news that are heard in the end ---- */

/* True: all are told. */
static bool tell_untold(void)
{
	unsigned n = 0;

	while (n < untold_cnt && tell(&untold[n], 0) == 0)
		n++;
	untold_cnt -= n;
	memmove(untold, untold + n, untold_cnt * sizeof(untold[0]));
	go_on_published();
	return !untold_cnt && !published.all;
}

static void untold_due(uv_timer_t *t)
{
	if (tell_untold())
		uv_timer_stop(t);
}

static void tell_untold_now_or_later(void)
{
	if (!tell_untold() && !uv_is_active((uv_handle_t *)&untold_timer))
		uv_timer_start(&untold_timer, untold_due, UNTOLD_MS, UNTOLD_MS);
}

/* The newest of what is more than there is room for. */
static void tell_surely(const struct amp_helper_req *req)
{
	if (untold_cnt == UNTOLD_MAX)
		memmove(untold, untold + 1, --untold_cnt * sizeof(untold[0]));
	untold[untold_cnt++] = *req;
	tell_untold_now_or_later();
}

void amp_helper_published_tell(void (*all)(void))
{
	published.all = all;
	published.told = 0;
	tell_untold_now_or_later();
}

void amp_helper_tell_last(void)
{
	uint64_t now = amp_now_ms(), end = now + LAST_MS;

	for (; !tell_untold() && now < end; now = amp_now_ms()) {
		struct pollfd p = {.fd = news_fd, .events = POLLOUT};

		/* nobody is there to hear it: poll() would not wait any more */
		if (poll(&p, 1, (int)(end - now)) > 0 && p.revents & ~POLLOUT)
			return;
	}
}

static void notify(enum amp_helper_state state, uint32_t wait_s, const char *status)
{
	struct amp_helper_req req = {.op = AMP_HELPER_NOTIFY, .arg = {(uint32_t)state, wait_s}};

	if (status)
		memcpy(req.path, status, strnlen(status, sizeof(req.path) - 1));
	tell_surely(&req);
}

void amp_helper_notify(enum amp_helper_state state, const char *status)
{
	notify(state, 0, status);
}

void amp_helper_notify_drain(uint32_t wait_s, const char *status)
{
	notify(AMP_HELPER_STOPPING, wait_s, status);
}

void amp_helper_log_level(enum amp_log_level level)
{
	struct amp_helper_req req = {.op = AMP_HELPER_LEVEL, .arg = {(uint32_t)level}};

	amp_log_level_set(level);
	tell_surely(&req);
}

/* The loop runs: that is what the watchdog wants to know. */
static void pong(uint64_t id)
{
	struct amp_helper_req req = {.op = AMP_HELPER_PONG};

	(void)tell(&req, id); /* no room: the next one */
}

/* The helper would tell our successor of it. No room: it will, and the file is read once more. */
static void heard(uint64_t id)
{
	struct amp_helper_req req = {.op = AMP_HELPER_HEARD};

	(void)tell(&req, id);
}

static void got_addrs(const struct amp_helper_ans *a)
{
	struct addrinfo list[AMP_HELPER_ADDRS];
	struct amp_helper_name name = {.err = a->result};
	unsigned n = a->more < AMP_HELPER_ADDRS ? a->more : AMP_HELPER_ADDRS;

	memset(list, 0, sizeof(list));
	for (unsigned i = 0; i < n; i++) {
		list[i].ai_family = a->u.names.addr[i].addr.sa.sa_family;
		list[i].ai_socktype = (int)a->u.names.addr[i].type;
		list[i].ai_protocol = (int)a->u.names.addr[i].protocol;
		list[i].ai_addrlen = a->u.names.addr[i].len;
		list[i].ai_addr = (struct sockaddr *)(uintptr_t)&a->u.names.addr[i].addr.sa;
		list[i].ai_next = i + 1 < n ? &list[i + 1] : NULL;
	}
	if (n && a->u.names.canon[0])
		list[0].ai_canonname = (char *)(uintptr_t)a->u.names.canon;
	name.res = n ? list : NULL;
	name_done(a->id, &name);
}

static void got_name(const struct amp_helper_ans *a)
{
	struct amp_helper_name name = {.err = a->result, .host = "", .service = ""};

	if (!a->result) {
		name.host = a->u.text;
		name.service = a->u.text + strlen(a->u.text) + 1;
	}
	name_done(a->id, &name);
}

static void told(const struct amp_helper_ans *a)
{
	signal_came((int)a->more);
	if (a->more == SIGHUP)
		heard(a->id);
}

/* One a wake-up: the watch is level-triggered, and what it calls may unwatch. */
static void news_ready(struct amp_watch *w, uint32_t events)
{
	struct amp_helper_ans a;
	int fd;
	ssize_t n = amp_helper_recv(w->fd, &a, sizeof(a), &fd);

	(void)events;
	if (fd >= 0)
		close(fd);
	if (n == -EAGAIN)
		return;
	/* anything else that went wrong was no end: the kernel had no memory, say. It comes again */
	if (n == 0 || n == -ECONNRESET)
		helper_gone();
	else if (n < 0)
		amp_log_some(&log_news, AMP_LOG_ERROR, "news of the helper process: %s",
			     strerror((int)-n));
	else if ((size_t)n < AMP_HELPER_ANS_HEAD || a.magic != AMP_HELPER_MAGIC)
		amp_log(AMP_LOG_ERROR, "the helper process sent %zd bytes of nonsense", n);
	else if (a.op == AMP_HELPER_SIGNAL)
		told(&a);
	else if (a.op == AMP_HELPER_PING)
		pong(a.id);
	else if (a.op == AMP_HELPER_RESOLVE && name_done)
		got_addrs(&a);
	else if (a.op == AMP_HELPER_NAME && name_done)
		got_name(&a);
}

int amp_helper_watch(void (*on_signal)(int num), void (*gone)(void))
{
	signal_came = on_signal;
	helper_gone = gone;
	news.ready = news_ready;
	uv_timer_init(amp_loop_uv(), &untold_timer);
	return amp_watch_start(&news, news_fd, EPOLLIN);
}

void amp_helper_unwatch(void)
{
	amp_watch_stop(&news);
	uv_close((uv_handle_t *)&untold_timer, NULL);
	amp_helper_tell_last();
}
