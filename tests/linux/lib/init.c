// SPDX-License-Identifier: BSD-3-Clause
/*
 * The first program of a Linux guest under test: it runs what the host asks for.
 *
 * The guest's first serial line (/dev/ttyS0, raw) carries frames both ways: an 8-byte header,
 * struct frame, and `len` bytes. A job is a shell command; any number run at once, each with
 * three pipes:
 *
 *	to the guest	RUN text	start a job with that number
 *			IN bytes	for its standard input; none: end of it
 *			KILL signal	to its process group
 *	to the host	OUT, ERR bytes	what it wrote; none: it closed the pipe
 *			EXIT status	as waitpid() has it
 *	job 0		UP, once	the guest is ready
 *			GOT count	bytes of the line that were read since the last one
 *
 * The host keeps no more than 2048 bytes of the line unread: a terminal holds 4096, and UML's
 * driver, once it was throttled, never reads again.
 *
 * Waiting is poll(); children are told by a signalfd. Input that a job does not take is kept, so
 * that one job holds up no other. The end of the serial line, which comes when the process on the
 * host that holds it has died, is the end of the guest: power off. A guest that cannot go on says
 * why on its console and powers off too.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define JOBS	  64
#define FRAME_MAX 1024u /* below what a tty takes at once */

enum { RUN = 1, IN, KILL, OUT, ERR, EXIT, UP, GOT };

struct frame {
	uint32_t job;
	uint16_t kind;
	uint16_t len;
};

struct job {
	uint32_t id; /* 0: free */
	pid_t pid;   /* 0: reaped */
	int fd[3];   /* our ends; -1: closed */
	uint8_t *in; /* not yet taken */
	size_t in_len;
	int in_end;
};

static struct job jobs[JOBS];
static int line = -1;

static void off(const char *why)
{
	if (why)
		fprintf(stderr, "init: %s: %s\n", why, strerror(errno));
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void put_all(const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = write(line, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			off("serial line");
		p += n;
		len -= (size_t)n;
	}
}

static void tell(uint32_t job, uint16_t kind, const void *data, size_t len)
{
	uint8_t buf[sizeof(struct frame) + FRAME_MAX];
	struct frame f = {.job = job, .kind = kind, .len = (uint16_t)len};

	memcpy(buf, &f, sizeof(f));
	memcpy(buf + sizeof(f), data, len);
	put_all(buf, sizeof(f) + len);
}

static struct job *find(uint32_t id)
{
	for (int i = 0; i < JOBS; i++) {
		if (jobs[i].id == id)
			return &jobs[i];
	}
	return NULL;
}

static void shut(struct job *j, int i)
{
	if (j->fd[i] >= 0)
		close(j->fd[i]);
	j->fd[i] = -1;
	if (!j->pid && j->fd[1] < 0 && j->fd[2] < 0) {
		if (j->fd[0] >= 0)
			close(j->fd[0]);
		free(j->in);
		memset(j, 0, sizeof(*j));
	}
}

static void start(uint32_t id, const char *text)
{
	struct job *j = find(0);
	int p[3][2], status = 127 << 8;
	sigset_t none;

	if (!j || pipe2(p[0], O_CLOEXEC) || pipe2(p[1], O_CLOEXEC) || pipe2(p[2], O_CLOEXEC)) {
		tell(id, EXIT, &status, sizeof(status));
		tell(id, OUT, "", 0);
		tell(id, ERR, "", 0);
		return;
	}
	j->pid = fork();
	if (j->pid < 0)
		off("fork");
	if (j->pid == 0) {
		dup2(p[0][0], 0);
		dup2(p[1][1], 1);
		dup2(p[2][1], 2);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGPIPE, SIG_DFL);
		setsid();
		execl("/bin/sh", "sh", "-c", text, NULL);
		_exit(127);
	}
	j->id = id;
	for (int i = 0; i < 3; i++) {
		j->fd[i] = p[i][i == 0];
		close(p[i][i != 0]);
		fcntl(j->fd[i], F_SETFL, O_NONBLOCK);
	}
}

static void flush_in(struct job *j)
{
	while (j->in_len) {
		ssize_t n = write(j->fd[0], j->in, j->in_len);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) { /* nobody reads it: lost to the job, as with any pipe */
			j->in_len = 0;
			break;
		}
		j->in_len -= (size_t)n;
		memmove(j->in, j->in + n, j->in_len);
	}
	if (j->in_end)
		shut(j, 0);
}

static void take_in(struct job *j, const uint8_t *data, size_t len)
{
	if (!j || j->fd[0] < 0)
		return;
	j->in_end = !len;
	j->in = realloc(j->in, j->in_len + len + 1);
	if (!j->in)
		off("memory");
	memcpy(j->in + j->in_len, data, len);
	j->in_len += len;
	flush_in(j);
}

static void obey(const struct frame *f, uint8_t *data)
{
	struct job *j = find(f->job);

	data[f->len] = '\0';
	if (f->kind == RUN)
		start(f->job, (const char *)data);
	else if (f->kind == IN)
		take_in(j, data, f->len);
	else if (f->kind == KILL && j && j->pid)
		kill(-j->pid, data[0]);
}

static void read_line(void)
{
	static uint8_t buf[1 << 16];
	static size_t len;
	ssize_t n = read(line, buf + len, sizeof(buf) - 1 - len);
	size_t at = 0;
	struct frame f;
	uint32_t got;

	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		off(NULL);
	if (n < 0)
		return;
	got = (uint32_t)n;
	tell(0, GOT, &got, sizeof(got));
	len += (size_t)n;
	while (len - at >= sizeof(f)) {
		uint8_t keep;

		memcpy(&f, buf + at, sizeof(f));
		if (f.len > sizeof(buf) / 2)
			off("no frame");
		if (len - at < sizeof(f) + f.len)
			break;
		at += sizeof(f);
		keep = buf[at + f.len];
		obey(&f, buf + at);
		at += f.len;
		buf[at] = keep;
	}
	len -= at;
	memmove(buf, buf + at, len);
}

static void read_pipe(struct job *j, int i)
{
	uint8_t buf[FRAME_MAX];
	ssize_t n = read(j->fd[i], buf, sizeof(buf));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	tell(j->id, i == 1 ? OUT : ERR, buf, n > 0 ? (size_t)n : 0);
	if (n <= 0)
		shut(j, i);
}

/* Orphans of jobs are ours too, as the first program: reaped without a word. */
static void reap(int sfd)
{
	struct signalfd_siginfo si;
	int status;
	pid_t pid;

	while (read(sfd, &si, sizeof(si)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < JOBS; i++) {
			if (!jobs[i].id || jobs[i].pid != pid)
				continue;
			tell(jobs[i].id, EXIT, &status, sizeof(status));
			jobs[i].pid = 0;
			shut(&jobs[i], 0);
		}
	}
}

static void serve(int sfd)
{
	struct pollfd p[2 + 3 * JOBS];

	for (;;) {
		p[0] = (struct pollfd){.fd = line, .events = POLLIN};
		p[1] = (struct pollfd){.fd = sfd, .events = POLLIN};
		for (int i = 0; i < JOBS; i++) {
			struct job *j = &jobs[i];
			struct pollfd *q = &p[2 + 3 * i];

			q[0] = (struct pollfd){.fd = j->id && j->in_len ? j->fd[0] : -1,
					       .events = POLLOUT};
			q[1] = (struct pollfd){.fd = j->id ? j->fd[1] : -1, .events = POLLIN};
			q[2] = (struct pollfd){.fd = j->id ? j->fd[2] : -1, .events = POLLIN};
		}
		if (poll(p, 2 + 3 * JOBS, -1) < 0)
			continue;
		for (int i = 0; i < JOBS; i++) {
			const struct pollfd *q = &p[2 + 3 * i];

			if (q[0].revents)
				flush_in(&jobs[i]);
			if (q[1].revents)
				read_pipe(&jobs[i], 1);
			if (q[2].revents && jobs[i].id)
				read_pipe(&jobs[i], 2);
		}
		if (p[1].revents)
			reap(sfd);
		if (p[0].revents)
			read_line();
	}
}

/* A kernel without devtmpfs has its nodes made by busybox, and what it may not list by hand. */
static void make_dev(void)
{
	mkdir("/dev", 0755);
	if (mount("dev", "/dev", "devtmpfs", 0, NULL) != 0) {
		mount("dev", "/dev", "tmpfs", 0, "mode=0755");
		if (system("/bin/busybox mdev -s") < 0)
			off("mdev");
		mknod("/dev/ttyS0", S_IFCHR | 0600, makedev(4, 64));
		mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3));
	}
}

int main(void)
{
	struct termios t;
	sigset_t set;
	int sfd, con;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/tmp", 01777);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	mount("tmp", "/tmp", "tmpfs", 0, NULL);
	make_dev();
	con = open("/dev/console", O_RDWR | O_NOCTTY);
	if (con >= 0) {
		dup2(con, 0);
		dup2(con, 1);
		dup2(con, 2);
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sfd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
	setenv("HOME", "/tmp", 1);
	line = open("/dev/ttyS0", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (line < 0 || sfd < 0 || tcgetattr(line, &t) != 0)
		off("/dev/ttyS0");
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL;
	if (tcsetattr(line, TCSANOW, &t) != 0)
		off("/dev/ttyS0");
	tell(0, UP, "", 0);
	serve(sfd);
}
