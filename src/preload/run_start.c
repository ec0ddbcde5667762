// SPDX-License-Identifier: BSD-3-Clause
/* ampsock-run: the links, and the program's start. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ampsock.h"
#include "ampsock_hosted.h"
#include "../ampsock_config.h"
#include "../port/port.h"
#include "run.h"
#include "run_start.h"

#define LIBRARY	  "libampsock-preload.so"
#define SOON_MS	  1000 /* then the terminal hears what is waited for */
#define LINK_UP_S 9    /* besides */
#define LOOK_MS	  100

/* ---- links ---- */

static int bad_link(const char *link, const char *what)
{
	fprintf(stderr, "ampsock-run: --link %s: %s\n", link, what);
	return RUN_EXIT_USAGE;
}

/* The last comma parts rest from what comes before it, which goes to head. */
static const char *split(const char *text, char *head, size_t room)
{
	const char *comma = strrchr(text, ',');
	const char *fd = strstr(text, ",fd:"); /* fd:IN,OUT has a comma of its own */

	if (fd)
		comma = fd;
	if (!comma || comma == text || !comma[1] || (size_t)(comma - text) >= room)
		return NULL;
	memcpy(head, text, (size_t)(comma - text));
	head[comma - text] = '\0';
	return comma + 1;
}

static int device_up(const char *link, const char *rest)
{
	char path[PATH_MAX], *end;
	const char *cid = split(rest, path, sizeof(path));
	unsigned long v;

	if (!cid)
		return bad_link(link, "expected vsock-device:PATH,CID");
	errno = 0;
	v = strtoul(cid, &end, 10);
	if (errno || *end || *cid < '0' || *cid > '9' || v < 3 || v >= UINT32_MAX)
		return bad_link(link, "the CID of a guest is a number of at least 3");
	return amp_link_vsock_device(path, (uint32_t)v);
}

static int rpmsg_up(const char *link, const char *rest, int (*up)(const char *, const char *))
{
	char path[PATH_MAX];
	const char *bell = split(rest, path, sizeof(path));

	if (!bell)
		return bad_link(link,
				"expected a file, a comma, and the bell's path or fd:IN,OUT");
	return up(path, bell);
}

/*
 * A guest's link ends when its device does (a proxy that restarts): then it is looked for
 * again. One whose device begins anew on the connection that it has (a proxy that was upgraded)
 * is down and up within one turn, and nobody has to look. Hosts, and rpmsg's two sides, come
 * again by themselves. All under the lock of the stack, in which link_event() is called.
 */
static struct {
	const char *path[AMPSOCK_VSOCK_LINKS];
	int link[AMPSOCK_VSOCK_LINKS]; /* its number; -1: it has none, or another has it by now */
	bool up[AMPSOCK_VSOCK_LINKS];
	unsigned cnt;
	int at; /* being brought up, by thread who; -1: none */
	pthread_t who;
	sem_t lost;
} guests = {.at = -1};

static void link_event(void *arg, int link, int up)
{
	bool mine = up && guests.at >= 0 && pthread_equal(guests.who, pthread_self());

	(void)arg;
	for (unsigned i = 0; i < guests.cnt; i++) {
		if (guests.link[i] != link)
			continue;
		if (mine)
			guests.link[i] = -1;
		else
			guests.up[i] = up;
		if (!up)
			sem_post(&guests.lost);
	}
	if (mine) {
		guests.link[guests.at] = link;
		guests.up[guests.at] = true;
		guests.at = -1;
	}
}

/* One at a time. */
static int bring_up(unsigned i, int timeout_ms)
{
	int r;

	amp_port_lock();
	guests.at = (int)i;
	guests.who = pthread_self();
	amp_port_unlock();
	r = amp_link_vhost_user(guests.path[i], timeout_ms);
	amp_port_lock();
	guests.at = -1;
	amp_port_unlock();
	return r;
}

static int guest_up(const char *path)
{
	unsigned i = guests.cnt;
	int r;

	if (i == AMPSOCK_VSOCK_LINKS)
		return -ENOBUFS;
	if (i == 0) {
		sem_init(&guests.lost, 0, 0);
		amp_link_callback(link_event, NULL);
	}
	amp_port_lock();
	guests.path[i] = path;
	guests.link[i] = -1;
	guests.cnt++;
	amp_port_unlock();
	r = bring_up(i, SOON_MS);
	if (r == -ENOENT || r == -ECONNREFUSED || r == -EAGAIN) {
		fprintf(stderr,
			"ampsock-run: --link vhost-user:%s: nobody answers there; tried again "
			"for %d seconds\n",
			path, LINK_UP_S);
		r = bring_up(i, LINK_UP_S * 1000);
	}
	if (r) {
		amp_port_lock();
		guests.cnt--;
		amp_port_unlock();
	}
	return r;
}

static bool is_up(unsigned i)
{
	bool up;

	amp_port_lock();
	up = guests.up[i];
	amp_port_unlock();
	return up;
}

static void *look_again(void *arg)
{
	/* of who is refused, as another guest is there: it may stay for long */
	const struct timespec nap = {.tv_nsec = LOOK_MS * 1000000l};

	(void)arg;
	for (;;) {
		bool failed = false;

		while (sem_wait(&guests.lost) < 0)
			;
		for (unsigned i = 0; i < guests.cnt; i++)
			failed |= !is_up(i) && bring_up(i, 1000) != 0;
		if (failed) {
			nanosleep(&nap, NULL);
			sem_post(&guests.lost);
		}
	}
	return NULL;
}

int run_links_watch(void)
{
	pthread_t t;

	return guests.cnt ? -pthread_create(&t, NULL, look_again, NULL) : 0;
}

int run_link_up(const char *link)
{
	const char *colon = strchr(link, ':'), *rest = colon ? colon + 1 : "";
	size_t len = colon ? (size_t)(colon - link) : 0;
	int r;

	if (len == 10 && memcmp(link, "vhost-user", len) == 0)
		r = *rest ? guest_up(rest) : bad_link(link, "expected a path");
	else if (len == 12 && memcmp(link, "vsock-device", len) == 0)
		r = device_up(link, rest);
	else if (len == 12 && memcmp(link, "rpmsg-remote", len) == 0)
		r = rpmsg_up(link, rest, amp_link_rpmsg_remote);
	else if (len == 10 && memcmp(link, "rpmsg-host", len) == 0)
		r = rpmsg_up(link, rest, amp_link_rpmsg_host);
	else
		return bad_link(link, "expected vhost-user:PATH, vsock-device:PATH,CID, "
				      "rpmsg-remote:FILE,BELL or rpmsg-host:FILE,BELL");
	if (r >= 0)
		return r;
	fprintf(stderr, "ampsock-run: --link %s: %s\n", link,
		r == -EPIPE || r == -ECONNRESET ? "who listens there closed the connection: it "
						  "has another guest, or is no "
						  "vhost-user back-end. Its log says which"
						: strerror(-r));
	return RUN_EXIT_LINK;
}

/* ---- the program ---- */

/* Where execvp() will find it. Nothing found is for execvp() to say. */
static bool find(const char *name, char *path, size_t room)
{
	const char *dirs = getenv("PATH"), *end;

	if (strchr(name, '/'))
		return (size_t)snprintf(path, room, "%s", name) < room;
	for (dirs = dirs ? dirs : "/bin:/usr/bin";; dirs = end + 1) {
		size_t len;

		end = dirs + strcspn(dirs, ":");
		len = (size_t)(end - dirs);
		if ((size_t)snprintf(path, room, "%.*s/%s", (int)len, len ? dirs : ".", name) <
			    room &&
		    access(path, X_OK) == 0)
			return true;
		if (!*end)
			return false;
	}
}

/* NULL, or why the library would not be loaded into this ELF file. */
static const char *refuse(const uint8_t *b, size_t len)
{
	Elf64_Ehdr h;

	if (len < sizeof(h) || memcmp(b, ELFMAG, SELFMAG) != 0)
		return NULL; /* a script: its interpreter is asked for by nobody */
	memcpy(&h, b, sizeof(h));
	if (h.e_ident[EI_CLASS] != ELFCLASS64)
		return "it is no 64-bit program";
	for (unsigned i = 0; i < h.e_phnum; i++) {
		Elf64_Phdr p;
		size_t at = h.e_phoff + (size_t)i * h.e_phentsize;

		if (h.e_phentsize < sizeof(p) || at > len || len - at < sizeof(p))
			return NULL;
		memcpy(&p, b + at, sizeof(p));
		if (p.p_type == PT_INTERP)
			return NULL;
	}
	return "it is statically linked: nothing can be preloaded";
}

int run_check_program(const char *name)
{
	uint8_t b[4096];
	char path[PATH_MAX];
	const char *why = NULL;
	struct stat st;
	ssize_t n = -1;
	int fd;

	if (!find(name, path, sizeof(path)))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) == 0 && (((st.st_mode & S_ISUID) && st.st_uid != getuid()) ||
				    ((st.st_mode & S_ISGID) && st.st_gid != getgid())))
		why = "it is set-user-id or set-group-id: nothing can be preloaded";
	n = read(fd, b, sizeof(b));
	close(fd);
	if (!why && n > 0)
		why = refuse(b, (size_t)n);
	if (!why)
		return 0;
	fprintf(stderr, "ampsock-run: %s: %s\n", path, why);
	return RUN_EXIT_NOT_RUN;
}

/* Beside this program, or where it is installed to. */
static int find_library(char *path, size_t room)
{
	static const char *const where[] = {"", "../lib/", "../lib/ampsock/",
					    "../lib/x86_64-linux-gnu/"};
	const char *env = getenv("AMPSOCK_PRELOAD");
	char self[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (env)
		return (size_t)snprintf(path, room, "%s", env) < room ? 0 : -1;
	if (n <= 0)
		return -1;
	self[n] = '\0';
	slash = strrchr(self, '/');
	slash[1] = '\0';
	for (size_t i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
		if ((size_t)snprintf(path, room, "%s%s" LIBRARY, self, where[i]) < room &&
		    access(path, R_OK) == 0)
			return 0;
	}
	return -1;
}

static int set_env(void)
{
	char lib[PATH_MAX], both[2 * PATH_MAX], run[128];
	const char *old = getenv("LD_PRELOAD");

	if (find_library(lib, sizeof(lib))) {
		fprintf(stderr, "ampsock-run: " LIBRARY " is not there\n");
		return -1;
	}
	if (strpbrk(lib, " :")) {
		fprintf(stderr,
			"ampsock-run: %s: the loader takes no path with a blank or colon\n",
			lib);
		return -1;
	}
	snprintf(both, sizeof(both), "%s%s%s", lib, old && *old ? ":" : "", old ? old : "");
	snprintf(run, sizeof(run), AMP_RUN_ENV_FMT, (unsigned long long)amp_run.nonce,
		 (unsigned long long)amp_run.token[0], (unsigned long long)amp_run.token[1],
		 amp_run.offload);
	return setenv("LD_PRELOAD", both, 1) || setenv(AMP_RUN_ENV, run, 1) ? -1 : 0;
}

/* exec in the child; what went wrong comes back through the pipe, which exec closes. */
static void child(char **argv, const sigset_t *mask, int tell)
{
	int err;

	sigprocmask(SIG_SETMASK, mask, NULL);
	err = set_env() ? 0 : (execvp(argv[0], argv), errno);
	if (write(tell, &err, sizeof(err)) < 0)
		_exit(RUN_EXIT_NOT_RUN);
	_exit(err == ENOENT ? RUN_EXIT_NONE : RUN_EXIT_NOT_RUN);
}

pid_t run_start(char **argv, const sigset_t *mask)
{
	int p[2], err;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		fprintf(stderr, "ampsock-run: %s\n", strerror(errno));
		return -1;
	}
	if (pid == 0)
		child(argv, mask, p[1]);
	close(p[1]);
	if (read(p[0], &err, sizeof(err)) == (ssize_t)sizeof(err) && err)
		fprintf(stderr, "ampsock-run: %s: %s\n", argv[0], strerror(err));
	close(p[0]);
	return pid;
}
