// SPDX-License-Identifier: BSD-3-Clause
/*
 * A worker that takes another's place is confined by a helper that is already:
 * #syscalls:helper clone fork vfork unshare mount umount2 pivot_root chdir chroot mkdir mkdirat rmdir unlinkat
 * #syscalls:helper setgroups setresuid setresgid capget capset prctl close_range setrlimit prlimit64 seccomp
 * #syscalls:helper landlock_create_ruleset landlock_restrict_self timer_create
 */
/* Theory of operation: confine.h. */
#include <bsd/string.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "confine.h"
#include "confine_filter.h"

#ifdef AMPSOCK_SANITIZED
/*
 * The sanitizers' own system calls are as many as they like, and their check for leaks, at the
 * end, starts a process that traces this one and reads /proc: user, capabilities and descriptors
 * are what is left to give up.
 */
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

/*
 * What the helper's requests need, and its starting another worker: to open devices and socket
 * paths whosever they are, low ports, to become the worker's user, to end it.
 */
static const unsigned helper_caps[] = {
	CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,	    CAP_KILL,	    CAP_SETGID,
	CAP_SETUID, CAP_SETPCAP,      CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT,
};

/* ---- the user ---- */

static const struct passwd *find_user(const struct amp_config *conf)
{
	const struct passwd *pw;

	if (conf->user[0])
		return getpwnam(conf->user);
	pw = getpwnam("ampsock");
	return pw ? pw : getpwnam("nobody");
}

static int choose_user(struct amp_confine *c, const struct amp_config *conf)
{
	const struct passwd *pw = find_user(conf);

	if (!pw) {
		amp_log(AMP_LOG_ERROR, "there is no user `%s` to run as: expected --user NAME",
			conf->user[0] ? conf->user : "ampsock");
		return -EINVAL;
	}
	if (c->on && pw->pw_uid == 0) {
		amp_log(AMP_LOG_ERROR,
			"the user `%s` is root: expected one without privileges, or "
			"--no-confine "
			"besides",
			pw->pw_name);
		return -EINVAL;
	}
	c->drop = pw->pw_uid != 0; /* 0: said expressly, and not confined */
	c->uid = pw->pw_uid;
	c->gid = pw->pw_gid;
	strlcpy(c->user, pw->pw_name, sizeof(c->user));
	return 0;
}

int amp_confine_init(struct amp_confine *c, const struct amp_config *conf)
{
	const struct passwd *pw;

	memset(c, 0, sizeof(*c));
	c->on = conf->confine;
	if (geteuid() == 0)
		return choose_user(c, conf);
	pw = conf->user[0] ? getpwnam(conf->user) : NULL;
	if (!conf->user[0] || (pw && pw->pw_uid == geteuid()))
		return 0;
	amp_log(AMP_LOG_ERROR,
		"cannot become the user `%s`: only root can; leave --user (or user =) out",
		conf->user);
	return -EINVAL;
}

static int become_user(const struct amp_confine *c)
{
	if (setgroups(0, NULL) || setresgid(c->gid, c->gid, c->gid) ||
	    setresuid(c->uid, c->uid, c->uid)) {
		int r = -errno;

		amp_log(AMP_LOG_ERROR, "cannot become the user `%s`: %s", c->user,
			strerror(-r));
		return r;
	}
	return 0;
}

/* ---- capabilities ---- */

static int set_caps(uint64_t keep)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	struct __user_cap_data_struct now[2] = {{0}};

	if (syscall(SYS_capget, &head, now))
		return -errno;
	for (unsigned i = 0; i < 2; i++) {
		data[i].permitted = now[i].permitted & (uint32_t)(keep >> (32 * i));
		data[i].effective = data[i].permitted;
	}
	return syscall(SYS_capset, &head, data) ? -errno : 0;
}

/* Of what exec() could give: for who may. Without CAP_SETPCAP it counts for nothing, either. */
static void bound_caps(uint64_t keep)
{
	for (unsigned cap = 0; cap < 64; cap++) {
		if (!(keep & 1ull << cap))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

/* ---- descriptors ---- */

static int *kept;
static size_t kept_cnt;

void amp_confine_keep(int fd)
{
	if (fd < 0)
		return;
	kept = realloc(kept, (kept_cnt + 1) * sizeof(*kept));
	if (!kept) {
		amp_log(AMP_LOG_ERROR, "cannot start: no memory");
		exit(1);
	}
	kept[kept_cnt++] = fd;
}

static int ascending(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void close_between(int first, int last)
{
	if (first <= last)
		syscall(SYS_close_range, (unsigned)first, (unsigned)last, 0);
}

int amp_confine_close_others(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), next = STDERR_FILENO + 1;

	if (null < 0)
		return -errno;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (null > STDERR_FILENO)
		close(null);
	if (kept_cnt)
		qsort(kept, kept_cnt, sizeof(*kept), ascending);
	for (size_t i = 0; i < kept_cnt; i++) {
		if (kept[i] < next)
			continue;
		close_between(next, kept[i] - 1);
		next = kept[i] + 1;
	}
	syscall(SYS_close_range, (unsigned)next, ~0u, 0);
	free(kept);
	kept = NULL;
	kept_cnt = 0;
	return 0;
}

/* ---- limits ---- */

static void limit(int what, rlim_t n)
{
	const struct rlimit rl = {n, n};

	(void)setrlimit((__rlimit_resource_t)what, &rl);
}

static void set_limits(void)
{
	struct stat st;

	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NPROC, 0);
	/* a log that goes to a file must be able to grow */
	if (fstat(STDERR_FILENO, &st) == 0 && !S_ISREG(st.st_mode))
		limit(RLIMIT_FSIZE, 0);
}

/* ---- the whole ---- */

static void said_missing(const char *what, int err)
{
	if (err)
		amp_log(AMP_LOG_INFO, "confinement: %s cannot be had here: %s", what,
			strerror(-err));
}

static int load_filter(int (*load)(void))
{
	int r = load();

	if (r)
		amp_log(AMP_LOG_ERROR,
			"confinement: the filter of system calls cannot be had: %s; a kernel "
			"with "
			"CONFIG_SECCOMP_FILTER is needed, or --no-confine",
			strerror(-r));
	return r;
}

static int no_new_privs(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		return 0;
	amp_log(AMP_LOG_ERROR, "confinement: no_new_privs: %s", strerror(errno));
	return -errno;
}

int amp_confine_worker(const struct amp_confine *c)
{
	int r = 0;

	if (c->on && !sanitized) /* it takes the rights that go next */
		said_missing("an empty root", amp_confine_empty_root(geteuid() == 0));
	if (c->on || c->drop)
		bound_caps(0);
	if (c->drop)
		r = become_user(c);
	if (!r && (c->on || c->drop))
		r = set_caps(0);
	if (r)
		return r;
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of user has taken it back */
	if (!c->on)
		return 0;
	r = no_new_privs();
	if (r)
		return r;
	if (sanitized) {
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		return 0;
	}
	said_missing("Landlock", amp_confine_landlock());
	set_limits();
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return load_filter(amp_filter_worker_load);
}

int amp_confine_helper(const struct amp_confine *c, uint64_t *filter)
{
	uint64_t keep = 0, had = *filter;
	int r;

	*filter = 0;
	if (!c->on)
		return 0;
	for (unsigned i = 0; i < sizeof(helper_caps) / sizeof(*helper_caps); i++)
		keep |= 1ull << helper_caps[i];
	bound_caps(keep);
	r = set_caps(keep);
	if (!r)
		r = no_new_privs();
	if (r || sanitized)
		return r;
	*filter = amp_filter_helper_id();
	/* whoever said so may be mistaken about the first part of it, and must not be */
	if (had == *filter && prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == SECCOMP_MODE_FILTER)
		return 0;
	return load_filter(amp_filter_helper_load);
}
