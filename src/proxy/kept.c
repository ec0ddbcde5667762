// SPDX-License-Identifier: BSD-3-Clause
/*
 * The table, and how it gets over exec() and through a service manager. Theory of operation:
 * kept.h.
 *
 * #syscalls close
 * #syscalls:helper close fcntl memfd_create write read lseek fstat newfstatat lstat unlink unlinkat getpid
 * #syscalls:helper getsockname getsockopt
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "activated.h"
#include "helper_msg.h"
#include "kept.h"
#include "kept_msg.h"
#include "log.h"

#define PREFIX	     "ampsock-" /* of names in the service manager's store */
#define UNIX_PREFIX  "+unix"	/* of the helper's own names */
#define GIVEN_PREFIX "+given"
#define FIRST_FD     3 /* sd_listen_fds(3) */
#define FILE_MAGIC   "ampsock kept 2"
#define FILTERS_MAX  16u /* that are known; behind them, each upgrade lays one more */

struct kept {
	char name[AMP_KEPT_NAME];
	int fd;
	bool used; /* Unix sockets: by the present worker */
};

static struct kept *table;
static unsigned cnt, room;
static uint64_t filters[FILTERS_MAX];
static unsigned filter_cnt;

bool amp_kept_name_ok(const char *name)
{
	size_t len = strnlen(name, AMP_KEPT_NAME);

	return len > 0 && len < AMP_KEPT_NAME &&
	       strspn(name,
		      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+") ==
		       len;
}

/* FNV-1a: two things with one name cost a successor one of them, no more: what is taken is
 * compared with what it should be. */
void amp_kept_hash_name(char *dst, const char *prefix, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	snprintf(dst, AMP_KEPT_NAME, "%s-%016llx", prefix, (unsigned long long)h);
}

static struct kept *find(const char *name)
{
	for (unsigned i = 0; i < cnt; i++) {
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	}
	return NULL;
}

int amp_kept_add(const char *name, int fd)
{
	struct kept *k = find(name);
	int r = amp_kept_name_ok(name) ? 0 : -EINVAL;

	if (!r && !k && cnt == AMP_KEPT_MAX)
		r = -ENFILE;
	if (!r && !k && cnt == room) {
		unsigned more = room ? room * 2 : 64;
		struct kept *new = reallocarray(table, more, sizeof(*table));

		if (new) {
			table = new;
			room = more;
		} else {
			r = -ENOMEM;
		}
	}
	if (r) {
		close(fd);
		return r;
	}
	if (k) {
		close(k->fd);
	} else {
		k = &table[cnt++];
		strcpy(k->name, name);
	}
	k->fd = fd;
	k->used = true;
	return 0;
}

int amp_kept_take(const char *name)
{
	struct kept *k = find(name);
	int fd = k ? k->fd : -1;

	if (k)
		*k = table[--cnt];
	return fd;
}

bool amp_kept_has(const char *name)
{
	return find(name) != NULL;
}

bool amp_kept_remove(const char *name)
{
	int fd = amp_kept_take(name);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

void amp_kept_each(void (*fn)(const char *name, int fd, void *ctx), void *ctx)
{
	for (unsigned i = 0; i < cnt; i++)
		fn(table[i].name, table[i].fd, ctx);
}

void amp_kept_clear(void)
{
	while (cnt)
		close(table[--cnt].fd);
	free(table);
	table = NULL;
	room = 0;
}

/* ---- over exec() ---- */

void amp_kept_filter(uint64_t id)
{
	if (filter_cnt < FILTERS_MAX)
		filters[filter_cnt++] = id;
}

bool amp_kept_has_filter(uint64_t id)
{
	for (unsigned i = 0; i < filter_cnt; i++) {
		if (filters[i] == id)
			return true;
	}
	return false;
}

static void survive(int fd, bool exec)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags >= 0)
		fcntl(fd, F_SETFD, exec ? flags & ~FD_CLOEXEC : flags | FD_CLOEXEC);
}

/* The process and its filters, and a line for each descriptor: number, space, name. */
int amp_kept_save(void)
{
	int fd = memfd_create("ampsock-kept", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r = fd < 0 || dprintf(fd, "%s\n%d process\n", FILE_MAGIC, (int)getpid()) < 0
			? -errno
			: 0;

	for (unsigned i = 0; i < filter_cnt && !r; i++) {
		if (dprintf(fd, "0 filter-%016" PRIx64 "\n", filters[i]) < 0)
			r = -errno;
	}
	for (unsigned i = 0; i < cnt && !r; i++) {
		if (dprintf(fd, "%d %s\n", table[i].fd, table[i].name) < 0)
			r = -errno;
	}
	if (!r &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
		r = -errno;
	if (r) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	for (unsigned i = 0; i < cnt; i++)
		survive(table[i].fd, true);
	survive(fd, true);
	return fd;
}

void amp_kept_unsave(void)
{
	for (unsigned i = 0; i < cnt; i++)
		survive(table[i].fd, false);
}

/* An open descriptor that nobody has taken yet, and none of the standard ones. */
static bool usable(int fd)
{
	if (fd < FIRST_FD || fcntl(fd, F_GETFD) < 0)
		return false;
	for (unsigned i = 0; i < cnt; i++) {
		if (table[i].fd == fd)
			return false;
	}
	return true;
}

/* 0, or -EINVAL at a line that save() would not have written. */
static int load_line(const char *line, int file)
{
	char *end;
	long fd = strtol(line, &end, 10);
	uint64_t id;

	if (sscanf(line, "0 filter-%16" SCNx64, &id) == 1) {
		amp_kept_filter(id);
		return 0;
	}
	if (end == line || *end != ' ' || fd > 1 << 20 || fd == file || !usable((int)fd) ||
	    !amp_kept_name_ok(end + 1) || find(end + 1))
		return -EINVAL;
	survive((int)fd, false);
	return amp_kept_add(end + 1, (int)fd);
}

static int load_file(int file)
{
	char line[AMP_KEPT_NAME + 16];
	FILE *f = fdopen(file, "r");
	int r = 0, pid = 0;

	if (!f)
		return -errno;
	rewind(f);
	if (!fgets(line, sizeof(line), f) || strcmp(line, FILE_MAGIC "\n") != 0)
		r = -EINVAL;
	/* a variable that was passed on from one process to another says nothing of this one */
	if (!r && (fscanf(f, "%d process\n", &pid) != 1 || pid != getpid()))
		r = -EINVAL;
	while (!r && fgets(line, sizeof(line), f)) {
		char *nl = strchr(line, '\n');

		if (nl)
			*nl = 0;
		r = nl ? load_line(line, file) : -EINVAL;
	}
	fclose(f);
	return r;
}

static bool sealed(int fd)
{
	int want = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, has = fcntl(fd, F_GET_SEALS);

	return has >= 0 && (has & want) == want;
}

/* All of it or nothing: what was there before, the service manager's, stays. */
static void load_exec(const char *text)
{
	unsigned old_cnt = cnt, old_filters = filter_cnt;
	char *end, clean[32];
	long fd = strtol(text, &end, 10);
	int r = -EINVAL;

	if (end != text && *end == 0 && fd >= FIRST_FD && fd <= 1 << 20 && sealed((int)fd))
		r = load_file((int)fd);
	if (!r)
		return;
	amp_log(AMP_LOG_ERROR,
		AMP_KEPT_ENV
		"=%s is not used: expected the table of descriptors that the program "
		"before this one, the same process, has left: %s",
		amp_log_clean(clean, sizeof(clean), text, strlen(text)), strerror(-r));
	while (cnt > old_cnt)
		close(table[--cnt].fd);
	filter_cnt = old_filters;
}

/* ---- the service manager's ---- */

static void not_used(const char *name, int fd)
{
	char clean[AMP_KEPT_NAME];

	amp_log(AMP_LOG_WARN,
		"a descriptor in the service manager's store, %s, is there twice or has a name "
		"that "
		"is none of ours: closed",
		amp_log_clean(clean, sizeof(clean), name, strlen(name)));
	close(fd);
}

static void load_store(void)
{
	const char *name;
	int fd;

	while ((fd = amp_activated_take_prefix(PREFIX, &name)) >= 0) {
		name += strlen(PREFIX);
		if (amp_kept_name_ok(name) && !find(name))
			amp_kept_add(name, fd);
		else
			not_used(name, fd);
	}
}

/* A duplicate: the next program is to have it, too. */
static void adopt(const char *name, int fd, void *ctx)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(ss);

	(void)ctx;
	if (!amp_kept_is_lent(name) || getsockname(fd, (struct sockaddr *)&ss, &len) ||
	    (ss.ss_family != AF_INET && ss.ss_family != AF_INET6))
		return;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
	if (fd < 0 || amp_activated_adopt(fd))
		amp_log(AMP_LOG_ERROR, "a socket of the service manager's is lost: %s",
			strerror(EMFILE));
}

unsigned amp_kept_load(void)
{
	const char *file = getenv(AMP_KEPT_ENV);

	load_store();
	if (file) {
		load_exec(file);
		unsetenv(AMP_KEPT_ENV);
		amp_kept_each(adopt, NULL);
	}
	return cnt;
}

void amp_kept_store(const char *name, int fd)
{
	char text[AMP_KEPT_NAME + 48];

	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=" PREFIX "%s", name);
	amp_helper_manager_tell(text, fd);
}

void amp_kept_unstore(const char *name)
{
	char text[AMP_KEPT_NAME + 48];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=" PREFIX "%s", name);
	amp_helper_manager_tell(text, -1);
}

bool amp_kept_is_lent(const char *name)
{
	return strncmp(name, AMP_KEPT_LENT, strlen(AMP_KEPT_LENT)) == 0;
}

/* ---- Unix sockets ---- */

bool amp_kept_is_unix(const char *name)
{
	return strncmp(name, UNIX_PREFIX "-", strlen(UNIX_PREFIX "-")) == 0 ||
	       strncmp(name, GIVEN_PREFIX "-", strlen(GIVEN_PREFIX "-")) == 0;
}

/* All of ours: "+unix-HASH-DEVICE-INODE"; the manager's: "+given-HASH". */
static void unix_name(char *dst, const struct sockaddr_un *un, const struct amp_kept_file *file)
{
	size_t len;

	amp_kept_hash_name(dst, file ? UNIX_PREFIX : GIVEN_PREFIX, un->sun_path,
			   strlen(un->sun_path));
	len = strlen(dst);
	if (file)
		snprintf(dst + len, AMP_KEPT_NAME - len, "-%" PRIx64 "-%" PRIx64, file->dev,
			 file->ino);
}

/* False: not ours. */
static bool file_of(const char *name, struct amp_kept_file *file)
{
	int end = 0;

	return sscanf(name, UNIX_PREFIX "-%*16[0-9a-f]-%16" SCNx64 "-%16" SCNx64 "%n",
		      &file->dev, &file->ino, &end) == 2 &&
	       name[end] == 0;
}

/* Whichever file it has. */
static struct kept *find_unix(const struct sockaddr_un *un, bool given)
{
	static const struct amp_kept_file any;
	char name[AMP_KEPT_NAME];
	size_t len;

	unix_name(name, un, given ? NULL : &any);
	if (given)
		return find(name);
	len = strlen(name) - strlen("0-0");
	for (unsigned i = 0; i < cnt; i++) {
		if (strncmp(table[i].name, name, len) == 0)
			return &table[i];
	}
	return NULL;
}

int amp_kept_file_at(const char *path, struct amp_kept_file *file)
{
	struct stat st;

	if (lstat(path, &st))
		return -errno;
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	return S_ISSOCK(st.st_mode) ? 0 : -ENOTSOCK;
}

bool amp_kept_file_stands(const char *path, const struct amp_kept_file *file)
{
	struct amp_kept_file now = {0};

	return amp_kept_file_at(path, &now) == 0 && now.dev == file->dev &&
	       now.ino == file->ino;
}

/* file: it may have been made by another path to that. NULL: by this one. */
static bool listens_at(int fd, const struct sockaddr_un *un, const struct amp_kept_file *file)
{
	struct sockaddr_un have = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(have) - 1, on_len = sizeof(int);
	int on = 0;

	return getsockname(fd, (struct sockaddr *)&have, &len) == 0 &&
	       have.sun_family == AF_UNIX &&
	       (strcmp(have.sun_path, un->sun_path) == 0 ||
		(file && amp_kept_file_stands(have.sun_path, file))) &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &on_len) == 0 && on;
}

static void drop(struct kept *k)
{
	char name[AMP_KEPT_NAME];

	strcpy(name, k->name);
	amp_kept_remove(name);
	amp_kept_unstore(name);
}

/*
 * The program before this one had another path to the file, by a link: it goes on under this
 * path. If the other leads there no more nobody can say that the socket is the file's: it is
 * closed, so that the file is known for one that nobody listens at.
 */
static int by_file(const struct sockaddr_un *un, struct amp_kept_file *file)
{
	struct amp_kept_file its;
	unsigned i = 0;
	int fd;

	if (amp_kept_file_at(un->sun_path, file))
		return -1;
	while (i < cnt && (table[i].used || !file_of(table[i].name, &its) ||
			   its.dev != file->dev || its.ino != file->ino))
		i++;
	if (i == cnt)
		return -1;
	fd = listens_at(table[i].fd, un, file) ? fcntl(table[i].fd, F_DUPFD_CLOEXEC, FIRST_FD)
					       : -1;
	drop(&table[i]);
	if (fd >= 0)
		amp_kept_keep_unix(un, fd, file);
	return fd;
}

int amp_kept_unix(const struct sockaddr_un *un, struct amp_kept_file *file)
{
	struct kept *k = find_unix(un, !file);

	if (!k)
		return file ? by_file(un, file) : -1;
	if ((!file || file_of(k->name, file)) && listens_at(k->fd, un, file)) {
		k->used = true;
		return fcntl(k->fd, F_DUPFD_CLOEXEC, FIRST_FD);
	}
	amp_kept_drop_unix(un, !file);
	return -1;
}

void amp_kept_keep_unix(const struct sockaddr_un *un, int fd, const struct amp_kept_file *file)
{
	char name[AMP_KEPT_NAME];
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);

	if (copy < 0)
		return;
	amp_kept_drop_unix(un, !file);
	unix_name(name, un, file);
	amp_kept_store(name, fd);
	amp_kept_add(name, copy);
}

void amp_kept_drop_unix(const struct sockaddr_un *un, bool given)
{
	struct kept *k = find_unix(un, given);

	if (k)
		drop(k);
}

void amp_kept_unused(void)
{
	for (unsigned i = 0; i < cnt; i++)
		table[i].used = !amp_kept_is_unix(table[i].name);
}

/* The file that we made, or a program before this one has, goes: nobody else will remove it. */
static void sweep(struct kept *k)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(un) - 1;
	struct amp_kept_file file;

	if (file_of(k->name, &file) && getsockname(k->fd, (struct sockaddr *)&un, &len) == 0 &&
	    un.sun_family == AF_UNIX && un.sun_path[0] == '/' &&
	    amp_kept_file_stands(un.sun_path, &file))
		unlink(un.sun_path);
	drop(k);
}

void amp_kept_sweep(void)
{
	for (unsigned i = cnt; i-- > 0;) {
		if (!table[i].used)
			sweep(&table[i]);
	}
}

void amp_kept_forget(void)
{
	while (cnt)
		sweep(&table[cnt - 1]);
	amp_kept_clear();
}
