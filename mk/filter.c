// SPDX-License-Identifier: BSD-3-Clause
/*
 * Makes a seccomp filter, at build time: what syscalls.sh found on stdin, a C array on stdout.
 *
 * A call that is dangerous with some arguments is only had in a variant (socket.inet), which
 * `variants` spells out; for the helper, which keeps privilege and runs the C library's
 * resolver with whatever modules that loads, they are let through whole.
 *
 * Usage: filter worker|helper MACHINE <LIST >HEADER   (MACHINE: as in gcc -dumpmachine)
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/rpmsg.h>
#include <linux/sockios.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../src/proxy/confine_filter.h"

#define WORDS_MAX 3

#define LOW32	    0xffffffffu
#define TYPE(t)	    SCMP_A1(SCMP_CMP_MASKED_EQ, LOW32 & ~(unsigned)(SOCK_NONBLOCK | SOCK_CLOEXEC), t)
#define FAMILY(f)   SCMP_A0(SCMP_CMP_MASKED_EQ, LOW32, f)
#define PROTOCOL(p) SCMP_A2(SCMP_CMP_MASKED_EQ, LOW32, p)
#define COMMAND(c)  SCMP_A1(SCMP_CMP_MASKED_EQ, LOW32, c)
#define NO_EXEC	    SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)

/* Each line is one combination of arguments that is let through. */
static const struct variant {
	const char *name;
	unsigned cnt;
	struct scmp_arg_cmp arg[WORDS_MAX];
} variants[] = {
	/* TCP and UDP, and nothing raw */
	{"socket.inet", 3, {FAMILY(AF_INET), TYPE(SOCK_STREAM), PROTOCOL(0)}},
	{"socket.inet", 3, {FAMILY(AF_INET), TYPE(SOCK_DGRAM), PROTOCOL(0)}},
	{"socket.inet", 3, {FAMILY(AF_INET6), TYPE(SOCK_STREAM), PROTOCOL(0)}},
	{"socket.inet", 3, {FAMILY(AF_INET6), TYPE(SOCK_DGRAM), PROTOCOL(0)}},
	/* getifaddrs() */
	{"socket.netlink", 3, {FAMILY(AF_NETLINK), TYPE(SOCK_RAW), PROTOCOL(0)}},
	{"socket.vsock", 3, {FAMILY(AF_VSOCK), TYPE(SOCK_STREAM), PROTOCOL(0)}},
	{"socket.vsock", 3, {FAMILY(AF_VSOCK), TYPE(SOCK_SEQPACKET), PROTOCOL(0)}},
	{"mmap.data", 1, {NO_EXEC}},
	{"mprotect.data", 1, {NO_EXEC}},
	{"fcntl.flags", 1, {COMMAND(F_GETFD)}},
	{"fcntl.flags", 1, {COMMAND(F_SETFD)}},
	{"fcntl.flags", 1, {COMMAND(F_GETFL)}},
	{"fcntl.flags", 1, {COMMAND(F_SETFL)}},
	{"fcntl.dup", 1, {COMMAND(F_DUPFD_CLOEXEC)}},
	{"fcntl.plock", 1, {COMMAND(F_SETLK)}},
	{"fcntl.lock", 1, {COMMAND(F_OFD_SETLK)}},
	{"fcntl.seals", 1, {COMMAND(F_GET_SEALS)}},
	{"ioctl.rpmsg", 1, {COMMAND(RPMSG_DESTROY_EPT_IOCTL)}},
	{"ioctl.nonblock", 1, {COMMAND(FIONBIO)}},
	{"ioctl.queued", 1, {COMMAND(SIOCINQ)}},
	{"ioctl.queued", 1, {COMMAND(SIOCOUTQ)}},
	/* itself */
	{"sched_getattr.self", 1, {SCMP_A0(SCMP_CMP_MASKED_EQ, LOW32, 0)}},
	{"sched_setattr.self", 1, {SCMP_A0(SCMP_CMP_MASKED_EQ, LOW32, 0)}},
	/* abort(); the process's own id is put in when the filter is loaded */
	{"tgkill.self", 1, {SCMP_A0(SCMP_CMP_EQ, AMP_FILTER_PID)}},
};

/* These the worker gets in a variant or not at all. */
static const char *const never_whole[] = {
	"socket", "mmap",  "mprotect", "fcntl",	 "ioctl",    "tgkill", "kill",	"tkill", "prctl",
	"clone",  "clone3", "fork",    "vfork",	 "execve",   "execveat", "open", "openat", "openat2",
	"ptrace", "unshare", "setns",  "socketpair", "pidfd_open", "pidfd_getfd", "rt_sigqueueinfo",
	"rt_tgsigqueueinfo", "process_vm_readv", "process_vm_writev", "pkey_mprotect",
	"shmat", "bpf", "io_uring_setup", "userfaultfd", "perf_event_open", "keyctl", "mount",
	"sched_setattr",
};

static const struct {
	const char *machine;
	uint32_t arch;
} machines[] = {
	{"x86_64", SCMP_ARCH_X86_64},	    {"i386", SCMP_ARCH_X86},	 {"i486", SCMP_ARCH_X86},
	{"i586", SCMP_ARCH_X86},	    {"i686", SCMP_ARCH_X86},	 {"aarch64", SCMP_ARCH_AARCH64},
	{"arm", SCMP_ARCH_ARM},		    {"riscv64", SCMP_ARCH_RISCV64}, {"s390x", SCMP_ARCH_S390X},
	{"powerpc64le", SCMP_ARCH_PPC64LE}, {"mipsel", SCMP_ARCH_MIPSEL},
	{"mips64el", SCMP_ARCH_MIPSEL64},
};

/* What the C library calls in their place on machines of 32 bits. Others do not have them. */
static const char *const twins[][2] = {
	{"mmap", "mmap2"},
	{"fcntl", "fcntl64"},
	{"fstat", "fstat64"},
	{"newfstatat", "fstatat64"},
	{"stat", "stat64"},
	{"lstat", "lstat64"},
	{"statfs", "statfs64"},
	{"fstatfs", "fstatfs64"},
	{"lseek", "_llseek"},
	{"clock_gettime", "clock_gettime64"},
	{"clock_getres", "clock_getres_time64"},
	{"clock_nanosleep", "clock_nanosleep_time64"},
	{"timer_settime", "timer_settime64"},
	{"timerfd_settime", "timerfd_settime64"},
	{"recvmmsg", "recvmmsg_time64"},
	{"ppoll", "ppoll_time64"},
	{"pselect6", "pselect6_time64"},
	{"futex", "futex_time64"},
	{"rt_sigtimedwait", "rt_sigtimedwait_time64"},
	{"rt_sigreturn", "sigreturn"},
	{"getuid", "getuid32"},
	{"geteuid", "geteuid32"},
	{"getgid", "getgid32"},
	{"getegid", "getegid32"},
	{"setgroups", "setgroups32"},
	{"setresuid", "setresuid32"},
	{"setresgid", "setresgid32"},
	{"chown", "chown32"},
	{"fchown", "fchown32"},
};

static scmp_filter_ctx ctx;
static bool worker;

static void fail(const char *place, const char *what, const char *name)
{
	fprintf(stderr, "filter: %s: %s `%s`\n", place, what, name);
	exit(1);
}

static int number_of(const char *name, const char *place)
{
	int nr = seccomp_syscall_resolve_name(name);

	if (nr == __NR_SCMP_ERROR)
		fail(place, "#syscalls: no such system call:", name);
	return nr;
}

static void allow_one(const char *name, const char *place, unsigned cnt,
		      const struct scmp_arg_cmp *arg)
{
	/* one that this machine does not have is no error: riscv64 has no epoll_wait */
	int r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, number_of(name, place), cnt, arg);

	if (r && r != -EEXIST && r != -EDOM)
		fail(place, strerror(-r), name);
}

static void allow(const char *name, const char *place, unsigned cnt,
		  const struct scmp_arg_cmp *arg)
{
	allow_one(name, place, cnt, arg);
	for (size_t i = 0; i < sizeof(twins) / sizeof(*twins); i++) {
		if (strcmp(twins[i][0], name) == 0)
			allow_one(twins[i][1], place, cnt, arg);
	}
}

static void add_variant(const char *name, const char *place)
{
	char base[64];
	bool found = false;

	snprintf(base, sizeof(base), "%.*s", (int)strcspn(name, "."), name);
	for (size_t i = 0; i < sizeof(variants) / sizeof(*variants); i++) {
		if (strcmp(variants[i].name, name))
			continue;
		allow(base, place, variants[i].cnt, variants[i].arg);
		found = true;
	}
	if (!found)
		fail(place, "#syscalls: no such variant, see mk/filter.c:", name);
}

static void add(const char *name, bool hot, const char *place)
{
	for (size_t i = 0; worker && i < sizeof(never_whole) / sizeof(*never_whole); i++) {
		if (strcmp(name, never_whole[i]) == 0)
			fail(place, "#syscalls: not for the worker, or only in a variant:", name);
	}
	if (strchr(name, '.'))
		add_variant(name, place);
	else
		allow(name, place, 0, NULL);
	if (hot)
		seccomp_syscall_priority(ctx, number_of(name, place), 255);
}

static void read_list(void)
{
	char line[512], *word[4], *save;
	unsigned n;

	while (fgets(line, sizeof(line), stdin)) {
		n = 0;
		for (char *w = strtok_r(line, " \n", &save); w && n < 4;
		     w = strtok_r(NULL, " \n", &save))
			word[n++] = w;
		if (n < 2)
			fail("standard input", "cannot read", line);
		add(word[0], n == 3 && strcmp(word[1], "hot") == 0, word[n - 1]);
	}
}

static void set_machine(const char *machine)
{
	size_t len = strcspn(machine, "-");

	for (size_t i = 0; i < sizeof(machines) / sizeof(*machines); i++) {
		if (strncmp(machines[i].machine, machine, len) || machines[i].machine[len])
			continue;
		if (machines[i].arch == seccomp_arch_native())
			return;
		seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
		if (seccomp_arch_add(ctx, machines[i].arch) == 0)
			return;
	}
	fail("MACHINE", "not known:", machine);
}

static void print_array(const char *who)
{
	FILE *tmp = tmpfile();
	struct sock_filter f;

	if (!tmp || seccomp_export_bpf(ctx, fileno(tmp))) {
		fprintf(stderr, "filter: cannot make the program\n");
		exit(1);
	}
	rewind(tmp);
	printf("/* Made by mk/filter.c from the #syscalls comments: do not edit. */\n"
	       "static const struct sock_filter amp_filter_%s[] = {\n",
	       who);
	while (fread(&f, sizeof(f), 1, tmp) == 1)
		printf("\t{0x%04x, %u, %u, 0x%08x},\n", f.code, f.jt, f.jf, f.k);
	printf("};\n");
	fclose(tmp);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: filter worker|helper MACHINE <LIST\n");
		return 2;
	}
	worker = strcmp(argv[1], "worker") == 0;
	ctx = seccomp_init(worker ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM));
	if (!ctx)
		return 1;
	set_machine(argv[2]);
	if (seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS))
		return 1;
	read_list();
	print_array(argv[1]);
	seccomp_release(ctx);
	return 0;
}
