// SPDX-License-Identifier: BSD-3-Clause
/* The control socket, from the asking side. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "../wire/utf8.h"
#include "ctl.h"

#define ANSWER_MAX  (1u << 30) /* 256 links with 4096 sockets each are half of it */
#define WAIT_S	    30
#define MESSAGE_MAX 4096u
#define NO_ANSWER   "the proxy does not answer (waited %d s)"
#define NO_PROXY    "the answer is none of a proxy's: is that its control socket?"
#define CUT	    "... [cut]"

static bool as_json; /* errors */

void ctl_errors_json(bool json)
{
	as_json = json;
}

/* One error: docs/control.md, "ampsockctl --json". */
static void put_error(const char *code, const char *message)
{
	cJSON *o, *e;
	char *text;

	fflush(stdout);
	if (!as_json) {
		fprintf(stderr, "ampsockctl: %s\n", message);
		return;
	}
	o = cJSON_CreateObject();
	cJSON_AddFalseToObject(o, "ok");
	e = cJSON_AddObjectToObject(o, "error");
	cJSON_AddStringToObject(e, "code", code);
	cJSON_AddStringToObject(e, "message", message);
	text = cJSON_PrintUnformatted(o);
	cJSON_Delete(o);
	fprintf(stderr, "%s\n",
		text ? text
		     : "{\"ok\":false,\"error\":{\"code\":\"ENOMEM\",\"message\":\"no "
		       "memory\"}}");
	free(text);
}

int ctl_complain(int err, const char *fmt, ...)
{
	const char *code = strerrorname_np(err);
	char text[MESSAGE_MAX];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* an argument may be of any length: its end is not what matters */
	if (n < 0 || (size_t)n >= sizeof(text))
		strcpy(text + sizeof(text) - sizeof(CUT), CUT);
	/* it has what came from elsewhere: arguments, files' names, the proxy's words */
	amp_utf8_clean(text, true);
	put_error(code ? code : "EIO", text);
	return EXIT_RUN;
}

static const char *connect_hint(int err)
{
	switch (err) {
	case ENOENT:
	case ECONNREFUSED:
		return ": is ampsock-proxy running, with `control = PATH` in [proxy] or "
		       "--control? "
		       "Expected its path in --socket or AMPSOCK_CONTROL";
	case EACCES:
		return ": expected to be root, the proxy's user, or in one of its control "
		       "groups";
	case EPROTOTYPE:
		return ": that is no control socket of an ampsock-proxy";
	default:
		return "";
	}
}

int ctl_connect(struct ctl_conn *conn, const char *path)
{
	static const struct timeval wait = {.tv_sec = WAIT_S};
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	memset(conn, 0, sizeof(*conn));
	if (strlen(path) >= sizeof(un.sun_path)) {
		conn->fd = -1;
		return ctl_complain(ENAMETOOLONG,
				    "%s: a socket's path has at most %zu characters", path,
				    sizeof(un.sun_path) - 1);
	}
	strcpy(un.sun_path, path);
	conn->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		return ctl_complain(errno, "socket: %s", strerror(errno));
	setsockopt(conn->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	setsockopt(conn->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (connect(conn->fd, (struct sockaddr *)&un, sizeof(un)) == 0)
		return 0;
	if (errno == EAGAIN) /* nobody accepts */
		return ctl_complain(ETIMEDOUT, NO_ANSWER, WAIT_S);
	return ctl_complain(errno, "%s: %s%s", path, strerror(errno), connect_hint(errno));
}

void ctl_close(struct ctl_conn *conn)
{
	if (conn->fd >= 0)
		close(conn->fd);
	free(conn->buf);
}

void ctl_used(struct ctl_conn *conn, size_t len)
{
	conn->len -= len;
	memmove(conn->buf, conn->buf + len, conn->len);
}

/* Room for one more piece, and a NUL. */
static bool grow(struct ctl_conn *conn)
{
	size_t room = conn->room ? conn->room * 2 : 65536;
	char *buf;

	if (conn->room - conn->len > 32768)
		return true;
	buf = conn->len < ANSWER_MAX ? realloc(conn->buf, room) : NULL;
	if (!buf) {
		ctl_complain(EMSGSIZE, "the answer is too long");
		return false;
	}
	conn->buf = buf;
	conn->room = room;
	return true;
}

/* Whatever comes next. False: the end; an error, said. */
static bool receive(struct ctl_conn *conn)
{
	ssize_t n;

	if (!grow(conn))
		return false;
	n = recv(conn->fd, conn->buf + conn->len, conn->room - conn->len - 1, 0);
	if (n > 0) {
		conn->len += (size_t)n;
		conn->heard = true;
		return true;
	}
	if (n < 0 && errno == EAGAIN)
		ctl_complain(ETIMEDOUT, NO_ANSWER, WAIT_S);
	else if (n == 0 || errno == ECONNRESET)
		ctl_complain(ECONNRESET,
			     "the proxy closed the connection: did it end%s? Its log says",
			     conn->heard ? "" : ", or is that no control socket");
	else
		ctl_complain(errno, "%s", strerror(errno));
	return false;
}

bool ctl_more(struct ctl_conn *conn, size_t want)
{
	while (conn->len < want) {
		if (!receive(conn))
			return false;
	}
	return true;
}

static cJSON *read_answer(struct ctl_conn *conn)
{
	size_t seen = 0;
	cJSON *root;
	char *end;

	while (!conn->len || !(end = memchr(conn->buf + seen, '\n', conn->len - seen))) {
		seen = conn->len;
		if (!receive(conn))
			return NULL;
	}
	root = cJSON_ParseWithLength(conn->buf, (size_t)(end - conn->buf));
	ctl_used(conn, (size_t)(end + 1 - conn->buf));
	if (!root)
		ctl_complain(EPROTO, NO_PROXY);
	return root;
}

static bool send_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return true;
}

/* What the proxy says of a request that it refuses. */
static void complain_of(const cJSON *error)
{
	const cJSON *code = cJSON_GetObjectItemCaseSensitive(error, "code");
	const cJSON *message = cJSON_GetObjectItemCaseSensitive(error, "message");

	if (!cJSON_IsString(code) || !cJSON_IsString(message)) {
		ctl_complain(EPROTO, NO_PROXY);
		return;
	}
	amp_utf8_clean(code->valuestring, false);
	amp_utf8_clean(message->valuestring, true);
	put_error(code->valuestring, message->valuestring);
}

static bool is_list(const char *cmd)
{
	return strcmp(cmd, "links") == 0 || strcmp(cmd, "sockets") == 0 ||
	       strcmp(cmd, "rules") == 0;
}

cJSON *ctl_ask(struct ctl_conn *conn, const char *cmd, cJSON *req)
{
	cJSON *root, *result;
	char *text;
	bool good;

	if (!req)
		req = cJSON_CreateObject();
	cJSON_AddStringToObject(req, "cmd", cmd);
	text = cJSON_PrintUnformatted(req);
	cJSON_Delete(req);
	if (!text) {
		ctl_complain(ENOMEM, "no memory");
		return NULL;
	}
	/* who is refused at once may find the door closed, with the reason behind it */
	if (send_all(conn->fd, text, strlen(text)))
		(void)send_all(conn->fd, "\n", 1);
	free(text);
	root = read_answer(conn);
	if (!root)
		return NULL;
	result = cJSON_DetachItemFromObjectCaseSensitive(root, "result");
	good = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "ok"));
	if (good && (is_list(cmd) ? cJSON_IsArray(result) : cJSON_IsObject(result))) {
		cJSON_Delete(root);
		return result;
	}
	cJSON_Delete(result);
	complain_of(good ? NULL : cJSON_GetObjectItemCaseSensitive(root, "error"));
	cJSON_Delete(root);
	return NULL;
}
