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

#include "ctl.h"

#define ANSWER_MAX (256u << 20) /* no list is longer: 256 links with 4096 sockets each */
#define WAIT_S	   30

int ctl_complain(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("ampsockctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return EXIT_RUN;
}

int ctl_connect(struct ctl_conn *conn, const char *path)
{
	static const struct timeval wait = {.tv_sec = WAIT_S};
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	memset(conn, 0, sizeof(*conn));
	if (strlen(path) >= sizeof(un.sun_path)) {
		conn->fd = -1;
		return ctl_complain("%s: a socket's path has at most %zu characters", path,
				    sizeof(un.sun_path) - 1);
	}
	strcpy(un.sun_path, path);
	conn->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		return ctl_complain("socket: %s", strerror(errno));
	setsockopt(conn->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	setsockopt(conn->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (connect(conn->fd, (struct sockaddr *)&un, sizeof(un)) == 0)
		return 0;
	return ctl_complain("%s: %s%s", path, strerror(errno),
			    errno == ENOENT || errno == ECONNREFUSED
				    ? ": is ampsock-proxy running, with `control = PATH` in "
				      "[proxy] or --control? Expected its path in --socket or "
				      "AMPSOCK_CONTROL"
			    : errno == EACCES
				    ? ": expected to be root, the proxy's user, or in "
				      "one of its control groups"
				    : "");
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
		ctl_complain("the answer is too long");
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
		return true;
	}
	if (n < 0)
		ctl_complain("%s",
			     errno == EAGAIN ? "the proxy does not answer" : strerror(errno));
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
		if (!receive(conn)) {
			ctl_complain("the proxy closed the connection");
			return NULL;
		}
	}
	root = cJSON_ParseWithLength(conn->buf, (size_t)(end - conn->buf));
	ctl_used(conn, (size_t)(end + 1 - conn->buf));
	if (!root)
		ctl_complain("the answer is no JSON");
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

/* Lines are lines, everything else is fit for a terminal. */
static void complain_clean(char *text)
{
	for (char *ch = text; *ch; ch++) {
		if (*ch != '\n' && ((unsigned char)*ch < 0x20 || *ch == 0x7f))
			*ch = '?';
	}
	ctl_complain("%s", text);
}

cJSON *ctl_ask(struct ctl_conn *conn, const char *cmd, cJSON *req)
{
	cJSON *root, *result;
	const cJSON *message;
	char *text;

	if (!req)
		req = cJSON_CreateObject();
	cJSON_AddStringToObject(req, "cmd", cmd);
	text = cJSON_PrintUnformatted(req);
	cJSON_Delete(req);
	if (!text) {
		ctl_complain("no memory");
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
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "ok")) && result) {
		cJSON_Delete(root);
		return result;
	}
	cJSON_Delete(result);
	message = cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(root, "error"), "message");
	if (cJSON_IsString(message))
		complain_clean(message->valuestring);
	else
		ctl_complain("the answer is none that is known");
	cJSON_Delete(root);
	return NULL;
}
