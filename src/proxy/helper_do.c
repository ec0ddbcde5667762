// SPDX-License-Identifier: BSD-3-Clause
/*
 * #syscalls:helper open openat stat lstat newfstatat fstat read write pread64 lseek memfd_create ftruncate fcntl unlink unlinkat
 * #syscalls:helper socket connect bind listen getsockopt setsockopt close chmod fchmod fchmodat chown fchown fchownat umask
 */
/* What the worker's calls do, in the helper. Everything here has been through amp_helper_check(). */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"
#include "helper_msg.h"
#include "kept.h"
#include "link.h"
#include "listen.h"
#include "options.h"
#include "rchar.h"

#define JOURNAL_MAX	(1u << 20) /* bytes */
#define ENDPOINTS_SPARE 32u
#define PLACE_LEN \
	(sizeof("link ") + AMP_LINK_NAME_MAX) /* how the log calls a link, or what is none */
#define MADE_MAX 4096u /* socket files: of a worker gone wrong, in the runtime directory */

/* A socket file that we made, to be told from another's at the same path. */
struct made {
	LIST_ENTRY(made) entry;
	char path[AMP_SUN_PATH];
	char place[PLACE_LEN];
	struct amp_kept_file file;
};

/* The control device of one rpmsg-char link. */
struct device {
	LIST_ENTRY(device) entry;
	char path[256];
	struct amp_rchar rc;
	struct amp_rchar_scan scan;
};

static LIST_HEAD(, made) all_made = LIST_HEAD_INITIALIZER(all_made);
static unsigned made_cnt;
static struct amp_log_rate log_made;
static LIST_HEAD(, device) devices = LIST_HEAD_INITIALIZER(devices);

/* ---- files ---- */

static int do_open(const struct amp_helper_req *req)
{
	int how = req->kind == AMP_HELPER_MEMORY ? O_RDWR : O_RDONLY;
	int fd = open(req->path, how | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? -errno : fd;
}

static int do_stat(const struct amp_helper_req *req, struct amp_helper_stat *to)
{
	struct stat st;

	if (stat(req->path, &st))
		return -errno;
	to->dev = st.st_dev;
	to->ino = st.st_ino;
	to->size = (uint64_t)st.st_size;
	to->mode = st.st_mode;
	return 0;
}

static int copy_text(int from, int to)
{
	char buf[4096];
	size_t sum = 0;
	ssize_t n, done;

	while ((n = read(from, buf, sizeof(buf))) > 0) {
		sum += (size_t)n;
		if (sum > AMP_CONFIG_MAX)
			return -EFBIG;
		done = write(to, buf, (size_t)n);
		if (done != n)
			return done < 0 ? -errno : -ENOSPC;
	}
	return n < 0 || lseek(to, 0, SEEK_SET) < 0 ? -errno : 0;
}

/* What a worker is looking at, and what it has accepted; NULL: none, the one from the start. */
static struct amp_config *pending, *accepted;

static void drop(struct amp_config **conf)
{
	if (*conf)
		amp_config_free(*conf);
	free(*conf);
	*conf = NULL;
}

/* The worker says what is wrong with it; here it is only another text that names nothing. */
static void read_pending(int text)
{
	FILE *in, *nowhere = fopen("/dev/null", "we");
	int fd = fcntl(text, F_DUPFD_CLOEXEC, 0);

	drop(&pending);
	in = fd < 0 ? NULL : fdopen(fd, "r");
	if (!in && fd >= 0)
		close(fd);
	pending = in && nowhere ? calloc(1, sizeof(*pending)) : NULL;
	if (pending && amp_options_again(in, pending, nowhere))
		drop(&pending);
	if (in)
		fclose(in);
	if (nowhere)
		fclose(nowhere);
	lseek(text, 0, SEEK_SET); /* one offset with the worker's */
}

static int config_done(const struct amp_config **conf, bool accept)
{
	if (!accept) {
		drop(&pending);
		return 0;
	}
	if (!pending)
		return -EINVAL;
	/* the worker goes on with what it was started with, and so does its successor */
	amp_config_keep_started(pending, *conf);
	drop(&accepted);
	accepted = pending;
	pending = NULL;
	*conf = accepted;
	return 0;
}

static int do_config(const char *path)
{
	int from, to, r;

	if (!path)
		return -ENOENT;
	from = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (from < 0)
		return -errno;
	to = memfd_create("ampsock-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	r = to < 0 ? -errno : copy_text(from, to);
	close(from);
	if (!r) {
		fcntl(to, F_ADD_SEALS,
		      F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
		read_pending(to);
		return to;
	}
	if (to >= 0)
		close(to);
	return r;
}

/* The worker may have no file that grows: RLIMIT_FSIZE is about memory files, too. */
static int do_journal(uint32_t len)
{
	int r, fd;

	if (len > JOURNAL_MAX)
		return -EFBIG;
	fd = memfd_create("ampsock-journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)len) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

/* ---- sockets ---- */

static struct made *find_made(const char *path)
{
	struct made *m;

	LIST_FOREACH(m, &all_made, entry)
	{
		if (strcmp(m->path, path) == 0)
			break;
	}
	return m;
}

static void forget_made(struct made *m)
{
	LIST_REMOVE(m, entry);
	free(m);
	made_cnt--;
}

/* Somebody may have removed ours and have put another there: that stays. */
static int remove_made(struct made *m)
{
	int r = 0;

	if (amp_kept_file_stands(m->path, &m->file)) {
		r = unlink(m->path) ? -errno : 0;
	} else if (access(m->path, F_OK) == 0) {
		amp_log(AMP_LOG_WARN, "%s: %s is another's file by now: it stays", m->place,
			m->path);
		r = -ESTALE;
	} else {
		r = -errno;
	}
	forget_made(m);
	return r;
}

/* The service manager's: the file is its affair, too, and nothing that we made. */
static int passed_unix(const char *place, const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd;

	strcpy(un.sun_path, path);
	fd = amp_helper_passed(true, (const struct sockaddr *)&un);
	if (fd < 0 && fd != -ENOENT)
		amp_log(AMP_LOG_ERROR,
			"%s: the socket that the service manager passed for %s: %s", place,
			path, fd == -EPROTOTYPE ? "no listening stream socket" : strerror(-fd));
	return fd;
}

/* The socket of the worker before this one, or -1: there is none that anybody could reach. */
static int kept_unix(struct made *m, const struct sockaddr_un *un)
{
	int fd = amp_kept_unix(un, &m->file);

	if (fd < 0 || amp_kept_file_stands(m->path, &m->file))
		return fd;
	amp_log(AMP_LOG_WARN, "%s: %s was removed or replaced: its socket is made anew",
		m->place, m->path);
	close(fd);
	amp_kept_drop_unix(un, false);
	return -1;
}

/* Ours, whose path is another: there is a link in one of them, or a `..`. */
static const struct made *same_file(const struct made *m)
{
	struct amp_kept_file file;
	const struct made *o;

	if (amp_kept_file_at(m->path, &file))
		return NULL;
	LIST_FOREACH(o, &all_made, entry)
	{
		if (o != m && o->file.dev == file.dev && o->file.ino == file.ino &&
		    amp_kept_file_stands(o->path, &o->file))
			return o;
	}
	return NULL;
}

static int listen_anew(struct made *m, const struct sockaddr_un *un)
{
	const struct made *other = same_file(m);
	int fd, r;

	if (other) {
		amp_log(AMP_LOG_ERROR,
			"%s: %s is the same socket as %s of %s: give another path", m->place,
			m->path, other->path, other->place);
		return -EADDRINUSE;
	}
	fd = amp_unix_listen(m->path, m->place);
	if (fd < 0)
		return fd;
	r = amp_kept_file_at(m->path, &m->file);
	if (!r) {
		amp_kept_keep_unix(un, fd, &m->file);
		return fd;
	}
	amp_log(AMP_LOG_ERROR, "%s: cannot listen on %s: its file went away: %s", m->place,
		m->path, strerror(-r));
	close(fd);
	return -EACCES;
}

static struct made *new_made(const char *path, const char *place)
{
	struct made *m = made_cnt < MADE_MAX ? calloc(1, sizeof(*m)) : NULL;

	if (!m) {
		amp_log_some(&log_made, AMP_LOG_ERROR,
			     "%s: cannot listen on %s: no memory, or more than %u socket files",
			     place, path, MADE_MAX);
		return NULL;
	}
	strcpy(m->path, path);
	LIST_INSERT_HEAD(&all_made, m, entry);
	made_cnt++;
	return m;
}

/* The manager's, now or for the program before this one; -ENOENT: it has none for this path. */
static int given_unix(const char *place, const char *path, const struct sockaddr_un *un)
{
	int fd = passed_unix(place, path);

	if (fd >= 0)
		amp_kept_keep_unix(un, fd, NULL);
	if (fd != -ENOENT)
		return fd;
	fd = amp_kept_unix(un, NULL);
	return fd < 0 ? -ENOENT : fd;
}

/* mode 0: as the process's umask has it. */
static int do_listen(const struct amp_link_conf *link, const char *path, mode_t mode)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct made *m = find_made(path);
	char place[PLACE_LEN];
	int fd, r;

	if (strlen(path) >= sizeof(m->path))
		return -ENAMETOOLONG;
	strcpy(un.sun_path, path);
	snprintf(place, sizeof(place), "%s%s", link->type == AMP_LINK_NONE ? "" : "link ",
		 link->name);
	fd = given_unix(place, path, &un);
	if (fd != -ENOENT)
		return fd;
	if (!m)
		m = new_made(path, place);
	if (!m)
		return -ENOMEM;
	strcpy(m->place, place);
	fd = kept_unix(m, &un);
	if (fd < 0)
		fd = listen_anew(m, &un);
	if (fd < 0) {
		forget_made(m);
		return fd;
	}
	if (!mode || chmod(path, mode) == 0)
		return fd;
	r = -errno;
	amp_log(AMP_LOG_ERROR, "%s: cannot listen on %s: its mode cannot be set: %s", place,
		path, strerror(-r));
	amp_kept_drop_unix(&un, false);
	close(fd);
	remove_made(m);
	return -EACCES;
}

static int do_unlink(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct made *m = find_made(path);

	if (strlen(path) < sizeof(un.sun_path)) {
		strcpy(un.sun_path, path);
		amp_kept_drop_unix(&un, false);
		amp_kept_drop_unix(&un, true);
	}
	return m ? remove_made(m) : -ENOENT;
}

static int do_connect(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int r, fd;

	if (strlen(path) >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	strcpy(un.sun_path, path);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

static bool may_bind(const struct amp_config *conf, int type, const struct sockaddr *sa,
		     socklen_t len)
{
	if (sa->sa_family == AF_VSOCK)
		return amp_helper_may_bind_vsock(conf, sa);
	return (type == SOCK_STREAM || type == SOCK_DGRAM) &&
	       amp_helper_may_bind(conf, type == SOCK_STREAM, sa, len);
}

/* The socket is the worker's and may be anything: an address of another family it refuses. */
static int do_bind(const struct amp_config *conf, const struct amp_helper_req *req, int fd)
{
	const struct sockaddr *sa = (const struct sockaddr *)&req->sa;
	int domain = 0, type = 0;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len))
		return -errno;
	if (domain != sa->sa_family)
		return -EINVAL;
	if (!may_bind(conf, type, sa, req->sa_len) &&
	    !(pending && may_bind(pending, type, sa, req->sa_len)))
		return -EPERM;
	if (req->arg[0])
		return type == SOCK_DGRAM && domain != AF_VSOCK
			       ? amp_helper_bind_beside(fd, sa, req->sa_len)
			       : -EINVAL;
	return bind(fd, sa, req->sa_len) ? -errno : 0;
}

static int do_passed(const struct amp_config *conf, const struct amp_helper_req *req)
{
	const struct sockaddr *sa = (const struct sockaddr *)&req->sa;
	bool tcp = req->arg[0] == 1;

	return amp_helper_may_bind(conf, tcp, sa, req->sa_len) ||
			       (pending && amp_helper_may_bind(pending, tcp, sa, req->sa_len))
		       ? amp_helper_passed(tcp, sa)
		       : -EPERM;
}

static int do_peer(int fd, struct amp_helper_stat *to)
{
	uint32_t uid, pid;

	to->mode = (uint32_t)amp_control_right(fd, &uid, &pid);
	to->ino = uid;
	to->dev = pid;
	return 0;
}

/* ---- rpmsg character devices ---- */

static struct device *device_of(const struct amp_link_conf *link)
{
	struct device *d;

	LIST_FOREACH(d, &devices, entry)
	{
		if (strcmp(d->path, link->path) == 0)
			return d;
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	strcpy(d->path, link->path);
	d->rc.path = d->path;
	strcpy(d->rc.sysfs, link->sysfs[0] ? link->sysfs : "/sys");
	LIST_INSERT_HEAD(&devices, d, entry);
	return d;
}

static int do_attr(struct device *d, const struct amp_helper_req *req,
		   struct amp_helper_ans *ans)
{
	int r = amp_rchar_attr(&d->rc, req->name, ans->u.text, AMP_HELPER_TEXT, &ans->more);

	ans->text_len = r ? 0 : (uint32_t)strlen(ans->u.text) + 1;
	return r;
}

/*
 * Endpoints that a worker in good order may have: two a connection that it opens, for publish
 * rules, one a connection that the remote opens, as many of which may still be closing as are
 * open; one a service; and a few for single messages.
 */
static unsigned endpoints_max(const struct amp_config *conf, const struct amp_link_conf *link)
{
	uint64_t ends = link->limit[AMP_LIMIT_SOCKETS];
	const struct amp_forward *f;
	unsigned max = ENDPOINTS_SPARE;

	/* publish rules may also come by the control socket */
	if (ends > AMP_LIMIT_ENDS || !TAILQ_EMPTY(&link->publish) || conf->control[0])
		ends = AMP_LIMIT_ENDS;
	TAILQ_FOREACH(f, &link->expose, entry)
	max++;
	return max + 2 * (unsigned)ends;
}

static int do_rchar(const struct amp_config *conf, const struct amp_link_conf *link,
		    const struct amp_helper_req *req, struct amp_helper_ans *ans)
{
	struct device *d = device_of(link);

	if (!d)
		return -ENOMEM;
	d->rc.max = endpoints_max(conf, link);
	switch (req->op) {
	case AMP_HELPER_FIND:
		return amp_rchar_find(&d->rc);
	case AMP_HELPER_STANDS:
		return amp_rchar_stands(&d->rc) ? 0 : -ENODEV;
	case AMP_HELPER_CREATE:
		return amp_rchar_create(&d->rc, req->arg[0], req->arg[1]);
	case AMP_HELPER_SCAN:
		ans->text_len = (uint32_t)amp_rchar_scan(&d->rc, &d->scan, req->arg[0] == 1,
							 ans->u.text, AMP_HELPER_TEXT);
		ans->more = d->scan.dir != NULL;
		return 0;
	default:
		return do_attr(d, req, ans);
	}
}

/* ---- dispatch ---- */

/* 0 or a descriptor, -errno. */
static int dispatch(const struct amp_config **conf, const char *config_path,
		    const struct amp_helper_req *req, int fd, struct amp_helper_ans *ans)
{
	const struct amp_link_conf *link = NULL;

	if (req->op == AMP_HELPER_BIND)
		return do_bind(*conf, req, fd);
	if (req->op == AMP_HELPER_PASSED)
		return do_passed(*conf, req);
	if (req->op == AMP_HELPER_CONFIG)
		return do_config(config_path);
	if (req->op == AMP_HELPER_JOURNAL)
		return do_journal(req->arg[0]);
	if (req->op == AMP_HELPER_PEER)
		return do_peer(fd, &ans->st);
	if (req->op == AMP_HELPER_CONFIG_DONE)
		return config_done(conf, req->arg[0] == 1);
	/* what we made may be removed after the configuration has forgotten it */
	if (req->op == AMP_HELPER_UNLINK)
		return do_unlink(req->path);
	link = amp_helper_names(*conf, (enum amp_helper_kind)req->kind, req->path);
	if (!link && pending)
		link = amp_helper_names(pending, (enum amp_helper_kind)req->kind, req->path);
	if (!link)
		return -EPERM;
	switch (req->op) {
	case AMP_HELPER_OPEN:
		return do_open(req);
	case AMP_HELPER_STAT:
		return do_stat(req, &ans->st);
	case AMP_HELPER_LISTEN:
		return do_listen(link, req->path,
				 req->kind == AMP_HELPER_CONTROL ? amp_control_mode() : 0);
	case AMP_HELPER_CONNECT:
		return do_connect(req->path);
	default:
		return do_rchar(*conf, link, req, ans);
	}
}

static bool gives_fd(uint32_t op)
{
	return op == AMP_HELPER_OPEN || op == AMP_HELPER_LISTEN || op == AMP_HELPER_CONNECT ||
	       op == AMP_HELPER_CONFIG || op == AMP_HELPER_PASSED || op == AMP_HELPER_CREATE ||
	       op == AMP_HELPER_JOURNAL;
}

int amp_helper_do(const struct amp_config **conf, const char *config_path,
		  const struct amp_helper_req *req, int fd, struct amp_helper_ans *ans)
{
	int r;

	memset(ans, 0, AMP_HELPER_ANS_HEAD);
	ans->magic = AMP_HELPER_MAGIC;
	ans->op = req->op;
	ans->id = req->id;
	r = dispatch(conf, config_path, req, fd, ans);
	ans->result = r < 0 ? r : 0;
	return r >= 0 && gives_fd(req->op) ? r : -1;
}

void amp_helper_do_fini(void)
{
	struct device *d;

	drop(&pending);
	drop(&accepted);
	while (!LIST_EMPTY(&all_made))
		remove_made(LIST_FIRST(&all_made));
	while ((d = LIST_FIRST(&devices)) != NULL) {
		LIST_REMOVE(d, entry);
		amp_rchar_scan_end(&d->scan);
		free(d);
	}
}
