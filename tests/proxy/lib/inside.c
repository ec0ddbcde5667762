// SPDX-License-Identifier: BSD-3-Clause
/*
 * One thing that a guest which has taken the worker over would like to do, done by a process that
 * was confined as the worker is: by confine.c, confine_root.c and the filter of the shipped
 * program, unchanged. confined.py builds it.
 *
 *	inside free ATTEMPT      without confinement: can it be done here at all?
 *	inside confined ATTEMPT  with it
 *
 * Exit status 0: done. 1: cannot even try. 100: refused, the number of the error is on standard
 * error. A signal: killed. With -DNO_FILTER the filter is left out, and what stands behind it shows.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proxy/config_inner.h"
#include "proxy/confine.h"
#include "proxy/confine_filter.h"

#ifdef NO_FILTER
int amp_filter_worker_load(void)
{
	return 0;
}

int amp_filter_helper_load(void)
{
	return 0;
}

uint64_t amp_filter_helper_id(void)
{
	return 0;
}
#endif

static pid_t victim; /* a process of the same user that is not us */

void *amp_config_must(void *ptr)
{
	if (!ptr)
		abort();
	return ptr;
}

static long try_open(void)
{
	return open("/etc/passwd", O_RDONLY);
}

static long try_open_old(void)
{
#ifdef SYS_open
	return syscall(SYS_open, "/etc/passwd", O_RDONLY);
#else
	return try_open();
#endif
}

static long try_openat2(void)
{
	uint64_t how[3] = {O_RDONLY, 0, 0};

	return syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", how, sizeof(how));
}

static long try_create(void)
{
	return mkdir("/tmp/ampsock-inside", 0700) ? -1 : rmdir("/tmp/ampsock-inside");
}

static long try_list(void)
{
	DIR *d = opendir("/");
	const struct dirent *e;
	long n = 0;

	if (!d)
		return -1;
	while ((e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	errno = ENOENT;
	return n ? 0 : -1;
}

static long try_exec(void)
{
	char *argv[] = {"true", NULL}, *envp[] = {NULL};

	return execve("/bin/true", argv, envp);
}

static long try_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid;
}

static long try_ptrace(void)
{
	return ptrace(PTRACE_SEIZE, victim, 0, 0);
}

static long try_traceme(void)
{
	return ptrace(PTRACE_TRACEME, 0, 0, 0);
}

static long try_peek(void)
{
	char byte;
	struct iovec own = {&byte, 1}, other = {(void *)(uintptr_t)&victim, 1};

	return process_vm_readv(victim, &own, 1, &other, 1, 0);
}

static long try_raw(void)
{
	return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static long try_packet(void)
{
	return socket(AF_PACKET, SOCK_DGRAM, 0);
}

static long try_ping(void)
{
	return socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
}

static long try_unix(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long try_audit(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 9);
}

static long try_kill(void)
{
	return kill(victim, SIGCONT);
}

static long try_tgkill(void)
{
	return syscall(SYS_tgkill, victim, victim, SIGCONT);
}

/* Turns of the processor: its own may be shorter, another's are not its affair. */
static long try_slice(void)
{
	struct {
		uint32_t size, policy;
		uint64_t rest[5];
	} attr = {.size = sizeof(attr)};

	return syscall(SYS_sched_setattr, victim, &attr, 0);
}

static long try_pidfd(void)
{
	return syscall(SYS_pidfd_open, victim, 0);
}

/* A signal of the kernel's, for another process, when there is something to read. */
static long try_owner(void)
{
	return fcntl(STDIN_FILENO, F_SETOWN, victim);
}

static long try_namespace(void)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNET);
}

static long try_mount(void)
{
	return unshare(CLONE_NEWNS) ? -1 : mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static long try_chroot(void)
{
	return chroot("/");
}

static long try_exec_map(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED
		       ? -1
		       : 0;
}

static char page[8192];

static long try_exec_protect(void)
{
	uintptr_t at = ((uintptr_t)page + 4095) & ~(uintptr_t)4095;

	return mprotect((void *)at, 4096, PROT_READ | PROT_EXEC);
}

static long try_root(void)
{
	return setresuid(0, 0, 0);
}

static long try_caps(void)
{
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

static long try_limits(void)
{
	struct rlimit rl;

	return prlimit(victim, RLIMIT_NOFILE, NULL, &rl);
}

static long try_uring(void)
{
	char params[120] = {0};

	return syscall(SYS_io_uring_setup, 1, params);
}

static long try_bpf(void)
{
	uint32_t attr[18] = {2, 4, 4, 1}; /* BPF_MAP_TYPE_ARRAY of one */

	return syscall(SYS_bpf, 0, attr, sizeof(attr));
}

static long try_fault(void)
{
	return syscall(SYS_userfaultfd, 1);
}

static long try_keys(void)
{
	return syscall(SYS_keyctl, 0, -3, 1); /* KEYCTL_GET_KEYRING_ID of the session */
}

static long try_terminal(void)
{
	int n;

	return ioctl(STDIN_FILENO, FIONREAD, &n) == 0 || errno == ENOTTY ||
			       errno == EINVAL /* asked, and that is what was wanted */
		       ? ioctl(STDIN_FILENO, TIOCSTI, "x") == 0 || errno == ENOTTY ? 0 : -1
		       : -1;
}

static long try_nothing(void)
{
	static const struct timespec now;

	return poll(NULL, 0, 0) || write(STDERR_FILENO, "", 0) || now.tv_sec ? -1 : 0;
}

static long try_other_abi(void)
{
#ifdef __x86_64__
	long r;

	/* getpid() of i386, whose numbers are others */
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
	return r;
#else
	errno = ENOSYS;
	return -1;
#endif
}

static const struct {
	const char *name;
	long (*run)(void);
} attempts[] = {
	{"nothing", try_nothing},
	{"open", try_open},
	{"open-old", try_open_old},
	{"openat2", try_openat2},
	{"create", try_create},
	{"list", try_list},
	{"exec", try_exec},
	{"fork", try_fork},
	{"ptrace", try_ptrace},
	{"traceme", try_traceme},
	{"peek", try_peek},
	{"raw", try_raw},
	{"packet", try_packet},
	{"ping", try_ping},
	{"unix", try_unix},
	{"audit", try_audit},
	{"kill", try_kill},
	{"tgkill", try_tgkill},
	{"slice", try_slice},
	{"pidfd", try_pidfd},
	{"owner", try_owner},
	{"namespace", try_namespace},
	{"mount", try_mount},
	{"chroot", try_chroot},
	{"exec-map", try_exec_map},
	{"exec-protect", try_exec_protect},
	{"root", try_root},
	{"caps", try_caps},
	{"limits", try_limits},
	{"uring", try_uring},
	{"bpf", try_bpf},
	{"fault", try_fault},
	{"keys", try_keys},
	{"terminal", try_terminal},
	{"other-abi", try_other_abi},
};

/* Someone to harm, of the user that we shall be; it ends with us, whose end of a pipe it reads. */
static void start_victim(const struct amp_confine *c)
{
	int up[2], life[2];
	char byte;

	if (pipe2(up, O_CLOEXEC) || pipe2(life, O_CLOEXEC))
		exit(1);
	victim = fork();
	if (victim < 0)
		exit(1);
	if (victim == 0) {
		if (c->drop &&
		    (setresgid(c->gid, c->gid, c->gid) || setresuid(c->uid, c->uid, c->uid)))
			_exit(1);
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		close(STDERR_FILENO);
		close(life[1]);
		if (write(up[1], "", 1) != 1)
			_exit(1);
		_exit(read(life[0], &byte, 1) != 0);
	}
	close(life[0]);
	amp_confine_keep(life[1]);
	close(up[1]);
	if (read(up[0], &byte, 1) != 1)
		exit(1);
	close(up[0]);
}

static void confine(void)
{
	struct amp_config conf = {.confine = true};
	struct amp_confine c;

	if (amp_confine_init(&c, &conf))
		exit(1);
	start_victim(&c);
	if (amp_confine_close_others() || amp_confine_worker(&c))
		exit(1);
}

int main(int argc, char **argv)
{
	struct amp_confine none = {0};
	size_t i;

	if (argc != 3)
		return 1;
	for (i = 0; i < sizeof(attempts) / sizeof(*attempts); i++) {
		if (strcmp(attempts[i].name, argv[2]) == 0)
			break;
	}
	if (i == sizeof(attempts) / sizeof(*attempts)) {
		for (i = 0; i < sizeof(attempts) / sizeof(*attempts); i++)
			printf("%s\n", attempts[i].name);
		return 1;
	}
	if (strcmp(argv[1], "confined") == 0)
		confine();
	else
		start_victim(&none);
	errno = 0;
	if (attempts[i].run() >= 0)
		_exit(0);
	dprintf(STDERR_FILENO, "%d\n", errno);
	_exit(100);
}
