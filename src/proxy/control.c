// SPDX-License-Identifier: BSD-3-Clause
/* #syscalls accept4 close */
/* Theory of operation: control.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/rpmsg_hdr.h"
#include "../wire/utf8.h"
#include "control_inner.h"
#include "helper.h"
#include "reload.h"

static struct amp_server server;
static char path[AMP_SUN_PATH];
static struct amp_log_rate log_refused;

static struct amp_ctl *of(struct amp_client *client)
{
	return amp_container_of(client, struct amp_ctl, client);
}

/* ---- answers ---- */

static void put_json(struct amp_ctl *c, cJSON *o)
{
	static char text[AMP_CLIENT_ITEM];

	if (o && cJSON_PrintPreallocated(o, text, sizeof(text) - 1, false)) {
		amp_client_puts(&c->client, text);
		amp_client_puts(&c->client, "\n");
	} else {
		amp_client_puts(&c->client, "{\"ok\":false,\"error\":{\"code\":\"ENOMEM\","
					    "\"message\":\"no memory for the answer\"}}\n");
	}
	cJSON_Delete(o);
}

/* Why the last request was refused, for audit(); "": it was not. */
static char refusal[AMP_WHY_LEN];

/* code: the name of an errno value. */
static void fail(struct amp_ctl *c, const char *code, const char *message)
{
	cJSON *o = cJSON_CreateObject(), *e;
	char *text = refusal;
	size_t n;

	/* a configuration's mistakes come with their lines and carets */
	snprintf(refusal, sizeof(refusal), "%s", message);
	amp_utf8_clean(text, true);
	n = strlen(text);
	while (n && text[n - 1] == '\n')
		n--;
	text[n] = 0;
	cJSON_AddFalseToObject(o, "ok");
	e = cJSON_AddObjectToObject(o, "error");
	cJSON_AddStringToObject(e, "code", code);
	cJSON_AddStringToObject(e, "message", text);
	put_json(c, o);
}

static void fail_errno(struct amp_ctl *c, int err, const char *why)
{
	const char *name = strerrorname_np(err);

	fail(c, name ? name : "EIO", why[0] ? why : strerror(err));
}

/* result NULL: there is nothing more to say. */
static void answer(struct amp_ctl *c, cJSON *result)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddTrueToObject(o, "ok");
	cJSON_AddItemToObject(o, "result", result ? result : cJSON_CreateObject());
	put_json(c, o);
}

/* What goes on when the request is answered. */
static bool begins(const char *cmd)
{
	return strcmp(cmd, "upgrade") == 0 || strcmp(cmd, "capture") == 0;
}

/*
 * A line in the log for what changes something, or was to: who asked for what, and what became
 * of it. Who may change things is believed not to flood the log, so each one is there; who may not is
 * not (rate).
 */
static void audit(const struct amp_ctl *c, const struct amp_ctl_req *req,
		  struct amp_log_rate *rate)
{
	const char *outcome = refusal[0] ? "refused" : begins(req->cmd) ? "begun" : "done";
	char why[200];

	/* the first line: a mistake in the configuration has its caret in the log already */
	snprintf(why, sizeof(why), "%.*s", (int)strcspn(refusal, "\n"), refusal);
	amp_log_fields(rate, refusal[0] ? AMP_LOG_WARN : AMP_LOG_INFO,
		       (const struct amp_log_field[]){
			       AMP_LOG_TEXT("event", "control"), AMP_LOG_TEXT("cmd", req->cmd),
			       AMP_LOG_TEXT("outcome", outcome), AMP_LOG_NUMBER("uid", c->uid),
			       AMP_LOG_NUMBER("pid", c->pid),
			       AMP_LOG_TEXT("link", req->link[0] ? req->link : NULL),
			       AMP_LOG_TEXT("level", req->level[0] ? req->level : NULL),
			       AMP_LOG_TEXT("rule", req->rule[0] ? req->rule : NULL),
			       AMP_LOG_TEXT("why", refusal[0] ? why : NULL), AMP_LOG_END},
		       "control: %s was %s", req->cmd, outcome);
}

/* ---- commands ---- */

static void start_list(struct amp_ctl *c, const struct amp_ctl_list *list,
		       const struct amp_link *link)
{
	c->list = list;
	c->first = true;
	c->only = c->link = link ? link->num : 0;
	c->phase = c->id = 0;
	c->at = 0;
	c->client.answering = true;
	amp_client_puts(&c->client, "{\"ok\":true,\"result\":[");
}

static void cmd_status(struct amp_ctl *c, const struct amp_ctl_req *req, struct amp_link *l)
{
	(void)req;
	(void)l;
	answer(c, amp_ctl_status());
}

static void cmd_links(struct amp_ctl *c, const struct amp_ctl_req *req, struct amp_link *l)
{
	(void)req;
	start_list(c, &amp_ctl_links, l);
}

static void cmd_sockets(struct amp_ctl *c, const struct amp_ctl_req *req, struct amp_link *l)
{
	(void)req;
	start_list(c, &amp_ctl_sockets, l);
}

static void cmd_rules(struct amp_ctl *c, const struct amp_ctl_req *req, struct amp_link *l)
{
	(void)req;
	start_list(c, &amp_ctl_rules, l);
}

static void cmd_log_level(struct amp_ctl *c, const struct amp_ctl_req *req, struct amp_link *l)
{
	enum amp_log_level level;

	(void)l;
	if (amp_log_level_parse(req->level, &level)) {
		fail(c, "EINVAL", "expected error, warning, info or debug for level");
		return;
	}
	amp_helper_log_level(level);
	answer(c, NULL);
}

static void cmd_reset(struct amp_ctl *c, const struct amp_ctl_req *req, struct amp_link *l)
{
	(void)req;
	if (!l->ops->reset) {
		fail(c, "EOPNOTSUPP", "links of this type cannot be reset");
		return;
	}
	if (!l->up) {
		fail_errno(c, ENETDOWN, amp_link_why(l, ENETDOWN));
		return;
	}
	l->ops->reset(l);
	answer(c, NULL);
}

static void done(struct amp_ctl *c, int r, const char *why)
{
	if (r)
		fail_errno(c, -r, why);
	else
		answer(c, NULL);
}

static void cmd_reload(struct amp_ctl *c, const struct amp_ctl_req *req, struct amp_link *l)
{
	char why[AMP_WHY_LEN];
	int r = amp_reload(why, sizeof(why));
	cJSON *result = !r && why[0] ? cJSON_CreateObject() : NULL;

	(void)req;
	(void)l;
	if (!result) {
		done(c, r, why);
		return;
	}
	cJSON_AddStringToObject(result, "needs_restart", why);
	answer(c, result);
}

static void cmd_upgrade(struct amp_ctl *c, const struct amp_ctl_req *req, struct amp_link *l)
{
	char why[AMP_WHY_LEN] = "";

	(void)req;
	(void)l;
	done(c, amp_upgrade(why, sizeof(why)), why);
}

static void publish(struct amp_ctl *c, const struct amp_ctl_req *req, struct amp_link *l,
		    int (*fn)(struct amp_link *link, const char *text, char *why, size_t len))
{
	char why[AMP_WHY_LEN] = "";

	done(c, fn(l, req->rule, why, sizeof(why)), why);
}

static void cmd_publish_add(struct amp_ctl *c, const struct amp_ctl_req *req,
			    struct amp_link *l)
{
	publish(c, req, l, amp_publish_add);
}

static void cmd_publish_del(struct amp_ctl *c, const struct amp_ctl_req *req,
			    struct amp_link *l)
{
	publish(c, req, l, amp_publish_del);
}

/* Without a link: of all, when their packets are of one kind, as a file has one link type. */
static enum amp_tap_kind tap_kind(struct amp_ctl *c, const struct amp_link *link)
{
	enum amp_tap_kind kind = AMP_TAP_NONE;
	const struct amp_link *l;

	TAILQ_FOREACH(l, amp_links_all(), entry)
	{
		enum amp_tap_kind k = l->ops->tap_kind;

		if ((link && l != link) || k == AMP_TAP_NONE || k == kind)
			continue;
		if (kind != AMP_TAP_NONE) {
			fail(c, "EINVAL",
			     "there are links with vsock packets and links with rpmsg "
			     "messages: expected the name of one link");
			return AMP_TAP_NONE;
		}
		kind = k;
	}
	if (kind == AMP_TAP_NONE)
		fail(c, "EOPNOTSUPP", "the packets of such a link are not the proxy's to see");
	return kind;
}

/* Who reads the file is to know that no ring had these packets. */
static bool tap_made(enum amp_tap_kind kind, const struct amp_link *link)
{
	const struct amp_link *l;
	bool made = false;

	TAILQ_FOREACH(l, amp_links_all(), entry)
	made |= (!link || l == link) && l->ops->tap_kind == kind && l->ops->tap_made;
	return made;
}

static void cmd_capture(struct amp_ctl *c, const struct amp_ctl_req *req, struct amp_link *l)
{
	bool snap = req->given & 1u << AMP_CTL_SNAP;
	enum amp_tap_kind kind;
	cJSON *o;

	if (snap && !req->snap) {
		fail(c, "EINVAL", "expected 1 to 65535 bytes for snap");
		return;
	}
	if (amp_capture_count() >= AMP_CAPTURES) {
		fail(c, "EBUSY", "there are 4 captures already: end one of them");
		return;
	}
	kind = tap_kind(c, l);
	if (kind == AMP_TAP_NONE)
		return;
	c->capture = amp_capture_new(l, kind, snap ? req->snap : AMP_CAPTURE_SNAP, req->count,
				     &c->client.work);
	if (!c->capture) {
		fail_errno(c, ENOMEM, "");
		return;
	}
	o = cJSON_CreateObject();
	amp_ctl_number(o, "link_type", kind == AMP_TAP_VSOCK ? AMP_DLT_VSOCK : AMP_DLT_USER0);
	amp_ctl_number(o, "snap", snap ? req->snap : AMP_CAPTURE_SNAP);
	cJSON_AddBoolToObject(o, "made", tap_made(kind, l));
	answer(c, o);
	c->client.answering = true;
}

#define KEY(k) (1u << AMP_CTL_##k)

static const struct {
	const char *name;
	enum amp_ctl_right right;
	unsigned must, may; /* keys besides cmd */
	void (*run)(struct amp_ctl *c, const struct amp_ctl_req *req, struct amp_link *l);
} commands[] = {
	{"status", AMP_CTL_LOOK, 0, 0, cmd_status},
	{"links", AMP_CTL_LOOK, 0, KEY(LINK), cmd_links},
	{"sockets", AMP_CTL_LOOK, 0, KEY(LINK), cmd_sockets},
	{"rules", AMP_CTL_LOOK, 0, KEY(LINK), cmd_rules},
	{"publish-add", AMP_CTL_ALL, KEY(LINK) | KEY(RULE), 0, cmd_publish_add},
	{"publish-del", AMP_CTL_ALL, KEY(LINK) | KEY(RULE), 0, cmd_publish_del},
	{"log-level", AMP_CTL_ALL, KEY(LEVEL), 0, cmd_log_level},
	/* what guests say is for who may change things, too */
	{"capture", AMP_CTL_ALL, 0, KEY(LINK) | KEY(COUNT) | KEY(SNAP), cmd_capture},
	{"reset", AMP_CTL_ALL, KEY(LINK), 0, cmd_reset},
	{"reload", AMP_CTL_ALL, 0, 0, cmd_reload},
	{"upgrade", AMP_CTL_ALL, 0, 0, cmd_upgrade},
};

#define COMMANDS (sizeof(commands) / sizeof(*commands))

static struct amp_link *link_named(const char *name)
{
	struct amp_link *l;

	TAILQ_FOREACH(l, amp_links_all(), entry)
	{
		if (strcmp(l->conf->name, name) == 0)
			break;
	}
	return l;
}

/* What it could have been, as far as there is room. */
static void no_link(struct amp_ctl *c)
{
	char text[400] = "there is no link of that name: expected ";
	const struct amp_link *l;
	size_t n = strlen(text);

	TAILQ_FOREACH(l, amp_links_all(), entry)
	{
		if (n + AMP_LINK_NAME_MAX + 8 > sizeof(text)) {
			strcpy(text + n, ", ...");
			break;
		}
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s",
				      l == TAILQ_FIRST(amp_links_all()) ? "" : ", ",
				      l->conf->name);
	}
	fail(c, "ENOENT", text);
}

/* A request whose right its client has. */
static void command(struct amp_ctl *c, const struct amp_ctl_req *req, unsigned i)
{
	unsigned given = req->given & ~KEY(CMD);
	struct amp_link *l = NULL;

	if ((given & commands[i].must) != commands[i].must ||
	    (given & ~(commands[i].must | commands[i].may))) {
		fail(c, "EINVAL",
		     "the request has keys that this command does not take, or lacks "
		     "one that it needs: see docs/control.md");
		return;
	}
	if (given & KEY(LINK)) {
		l = link_named(req->link);
		if (!l) {
			no_link(c);
			return;
		}
	}
	commands[i].run(c, req, l);
}

static void dispatch(struct amp_ctl *c, const struct amp_ctl_req *req)
{
	enum amp_log_level before = amp_log_level_get(), after;
	unsigned i = 0;

	while (i < COMMANDS && strcmp(commands[i].name, req->cmd))
		i++;
	if (i == COMMANDS) {
		fail(c, "ENOSYS", "there is no such command: see docs/control.md");
		return;
	}
	refusal[0] = 0;
	if (c->right < commands[i].right) {
		fail(c, "EPERM", "you may look, but not change anything");
		audit(c, req, &log_refused);
		return;
	}
	command(c, req, i);
	if (commands[i].right != AMP_CTL_ALL)
		return;
	/* that there will be silence is said before there is */
	after = amp_log_level_get();
	if (before > after)
		amp_log_level_set(before);
	audit(c, req, NULL);
	amp_log_level_set(after);
}

/* ---- clients ---- */

/* A connection that is not wanted: told to who made it, and in the log. */
static void turn_away(struct amp_ctl *c, const char *code, const char *why)
{
	fail(c, code, why);
	amp_log_fields(&log_refused, AMP_LOG_WARN,
		       (const struct amp_log_field[]){AMP_LOG_TEXT("event", "control"),
						      AMP_LOG_TEXT("outcome", "refused"),
						      AMP_LOG_NUMBER("uid", c->uid),
						      AMP_LOG_NUMBER("pid", c->pid),
						      AMP_LOG_TEXT("why", why), AMP_LOG_END},
		       "control: uid %" PRIu32 " (pid %" PRIu32 ") was refused", c->uid,
		       c->pid);
}

static void stranger(struct amp_ctl *c, int err)
{
	const char *name = strerrorname_np(err);
	char why[120];

	if (!err) {
		turn_away(c, "EACCES",
			  "you are neither root, nor the proxy's user, nor in one of its "
			  "control groups");
		return;
	}
	snprintf(why, sizeof(why), "the helper process cannot say who you are: %s",
		 strerror(err));
	turn_away(c, name ? name : "EIO", why);
}

static bool admit(struct amp_client *client)
{
	struct amp_ctl *c = of(client), *other;
	unsigned all = 0, lookers = 0;
	struct amp_client *o;
	int err;

	c->right = amp_ctl_ask_right(client->watch.fd, &c->uid, &c->pid, &err);
	if (c->right == AMP_CTL_NONE) {
		stranger(c, err);
		return false;
	}
	TAILQ_FOREACH(o, &server.clients, entry)
	{
		other = of(o);
		all += !o->last;
		lookers += !o->last && other->right == AMP_CTL_LOOK;
	}
	/* this one is among them */
	if (all > AMP_CONTROL_CLIENTS ||
	    (c->right == AMP_CTL_LOOK && lookers > AMP_CONTROL_LOOKERS)) {
		turn_away(c, "EBUSY", "too many control connections: try again");
		return false;
	}
	return true;
}

static size_t input(struct amp_client *client, const char *text, size_t len)
{
	const char *end = memchr(text, '\n', len);
	struct amp_ctl *c = of(client);
	struct amp_ctl_req req;
	char line[AMP_CLIENT_IN];
	const char *why;
	size_t n;

	if (!end)
		return 0;
	n = (size_t)(end - text);
	memcpy(line, text, n);
	line[n] = 0;
	why = amp_ctl_parse(line, n, &req);
	if (why)
		fail(c, "EBADMSG", why);
	else
		dispatch(c, &req);
	return n + 1;
}

static void bad(struct amp_client *client, bool eof)
{
	if (eof)
		fail(of(client), "EBADMSG", "the last line has no end");
	else
		fail(of(client), "E2BIG",
		     "a request has at most 4096 bytes, its line end included");
}

static void end_capture(struct amp_ctl *c)
{
	uint64_t packets, drops;

	if (!c->capture)
		return;
	amp_capture_seen(c->capture, &packets, &drops);
	amp_capture_free(c->capture);
	c->capture = NULL;
	amp_log_fields(NULL, AMP_LOG_INFO,
		       (const struct amp_log_field[]){
			       AMP_LOG_TEXT("event", "control"), AMP_LOG_TEXT("cmd", "capture"),
			       AMP_LOG_TEXT("outcome", "ended"), AMP_LOG_NUMBER("uid", c->uid),
			       AMP_LOG_NUMBER("pid", c->pid),
			       AMP_LOG_NUMBER("packets", packets),
			       AMP_LOG_NUMBER("drops", drops), AMP_LOG_END},
		       "control: capture has ended");
}

static void capture_more(struct amp_ctl *c)
{
	uint8_t piece[AMP_CLIENT_ITEM];
	size_t n;

	while (amp_client_room(&c->client) >= sizeof(piece)) {
		n = amp_capture_take(c->capture, piece, sizeof(piece));
		if (!n)
			break;
		amp_client_put(&c->client, piece, n);
	}
	if (!amp_capture_over(c->capture))
		return;
	end_capture(c);
	c->client.answering = false;
	c->client.last = true;
}

static void more(struct amp_client *client)
{
	struct amp_ctl *c = of(client);

	if (c->list)
		amp_ctl_list_more(c);
	else if (c->capture)
		capture_more(c);
	else
		client->answering = false;
}

/* Who has nothing more to ask has had enough of a capture, too. */
static void eof(struct amp_client *client)
{
	struct amp_ctl *c = of(client);

	if (c->capture)
		amp_capture_stop(c->capture);
}

static void gone(struct amp_client *client)
{
	end_capture(of(client));
}

static const struct amp_client_ops ctl_ops = {
	.size = sizeof(struct amp_ctl),
	.admit = admit,
	.input = input,
	.bad = bad,
	.more = more,
	.eof = eof,
	.gone = gone,
	.request_ms = 5000,
	.answer_ms = 5000,
	.idle_ms = 60000,
	.what = "control",
};

/* ---- life ---- */

int amp_control_start(const struct amp_config *conf)
{
	int fd, r;

	amp_ctl_show_init();
	if (!conf->control[0])
		return 0;
	fd = amp_helper_listen_unix(AMP_HELPER_CONTROL, conf->control);
	if (fd < 0)
		return fd;
	strcpy(path, conf->control);
	r = amp_server_start(&server, &ctl_ops, fd, AMP_CONTROL_CLIENTS);
	if (!r)
		amp_log(AMP_LOG_INFO, "control: listening on %s", path);
	return r;
}

void amp_control_stop(void)
{
	if (!path[0])
		return;
	amp_server_stop(&server);
	amp_helper_unlink(AMP_HELPER_CONTROL, path);
	path[0] = 0;
}
