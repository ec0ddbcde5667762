// SPDX-License-Identifier: BSD-3-Clause
/*
 * The C library's resolver, with whatever modules /etc/nsswitch.conf names, and threads:
 * #syscalls:helper socket connect bind getsockname getpeername getsockopt setsockopt shutdown sendto recvfrom
 * #syscalls:helper sendmsg recvmsg sendmmsg recvmmsg poll ppoll select pselect6 ioctl fcntl readv writev pread64 pwrite64
 * #syscalls:helper open openat close read write lseek stat lstat newfstatat fstat statx statfs fstatfs access faccessat
 * #syscalls:helper faccessat2 readlink readlinkat getdents64 getcwd mmap munmap mremap mprotect madvise brk futex
 * #syscalls:helper set_robust_list get_robust_list rseq clone clone3 sched_yield sched_getaffinity set_tid_address
 * #syscalls:helper getrandom getuid geteuid getgid getegid getpid getppid gettid getresuid getresgid getgroups uname
 * #syscalls:helper sysinfo prlimit64 getrlimit gettimeofday time clock_getres clock_nanosleep nanosleep times getrusage
 * #syscalls:helper rt_sigprocmask rt_sigaction rt_sigreturn rt_sigtimedwait sigaltstack prctl arch_prctl exit exit_group
 * #syscalls:helper epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 pipe2 dup dup2 dup3 socketpair
 * #syscalls:helper timerfd_create timerfd_settime timerfd_gettime inotify_init1 inotify_add_watch inotify_rm_watch
 */
/*
 * The host's resolver, which the helper alone has. getaddrinfo() takes as long as a name server
 * that is not there takes, and cannot be stopped. So each job has a thread of its own, which ends
 * with it, and not one of a pool's: a pool (libuv's runs two such jobs at a time) is full of one
 * guest's names when their server is silent, and the others' wait behind them. The worker bounds
 * what a link may have here at once. Its answer goes to the worker, which may have forgotten
 * the id.
 */
#include <errno.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helper_msg.h"

#define JOBS_MAX  1024u /* the worker limits each link to a few: this is for one gone wrong */
#define STACK_LEN (512u * 1024u) /* glibc's resolver puts buffers of 64 KiB there */

struct job {
	int news_fd; /* its own: the worker that asked may be dead when the answer comes */
	struct amp_helper_req req;
};

static atomic_uint busy;

static void put_addrs(struct amp_helper_ans *ans, const struct addrinfo *res)
{
	const struct addrinfo *a;
	unsigned n = 0;

	memset(&ans->u.names, 0, sizeof(ans->u.names));
	for (a = res; a && n < AMP_HELPER_ADDRS; a = a->ai_next) {
		if (a->ai_addrlen > sizeof(ans->u.names.addr[n].addr))
			continue;
		ans->u.names.addr[n].len = a->ai_addrlen;
		ans->u.names.addr[n].type = (uint32_t)a->ai_socktype;
		ans->u.names.addr[n].protocol = (uint32_t)a->ai_protocol;
		memcpy(&ans->u.names.addr[n].addr, a->ai_addr, a->ai_addrlen);
		n++;
	}
	if (res && res->ai_canonname && strlen(res->ai_canonname) < sizeof(ans->u.names.canon))
		strcpy(ans->u.names.canon, res->ai_canonname);
	ans->more = n;
}

/* wait: until the worker, which may be busy, has room for it; for threads of their own. */
static void answer(const struct amp_helper_req *req, int news_fd, struct amp_helper_ans *ans,
		   int err, bool wait)
{
	size_t len = AMP_HELPER_ANS_HEAD +
		     (req->op == AMP_HELPER_RESOLVE ? sizeof(ans->u.names) : ans->text_len);
	struct pollfd p = {.fd = news_fd, .events = POLLOUT};
	int r;

	ans->magic = AMP_HELPER_MAGIC;
	ans->op = req->op;
	ans->id = req->id;
	ans->result = err;
	while ((r = amp_helper_send(news_fd, ans, len, -1)) == -EAGAIN && wait)
		poll(&p, 1, -1);
	if (r && r != -EPIPE && r != -ECONNRESET) /* the worker has ended: nobody waits */
		amp_log(AMP_LOG_WARN, "an answer of the resolver was lost: %s", strerror(-r));
}

/* POSIX's words: EAI_SYSTEM is about an errno that is not the guest's, two are glibc's own. */
static int eai_of(int err)
{
	switch (err) {
	case EAI_SYSTEM:
		return EAI_AGAIN;
	case EAI_NODATA:
		return EAI_NONAME;
	case EAI_ADDRFAMILY:
		return EAI_FAMILY;
	default:
		return err;
	}
}

static int addr_job(const struct amp_helper_req *req, struct amp_helper_ans *ans)
{
	const struct addrinfo hints = {
		.ai_family = (int)req->arg[0],
		.ai_socktype = (int)req->arg[1],
		.ai_flags = (int)(req->arg[2] & (AI_CANONNAME | AI_ADDRCONFIG | AI_PASSIVE |
						 AI_V4MAPPED | AI_NUMERICHOST)),
	};
	struct addrinfo *res = NULL;
	int err = getaddrinfo(req->path[0] ? req->path : NULL, req->name[0] ? req->name : NULL,
			      &hints, &res);

	put_addrs(ans, err ? NULL : res);
	if (!err)
		freeaddrinfo(res);
	return eai_of(err);
}

static int name_job(const struct amp_helper_req *req, struct amp_helper_ans *ans)
{
	char host[NI_MAXHOST], service[NI_MAXSERV];
	int err = getnameinfo((const struct sockaddr *)&req->sa, req->sa_len, host,
			      sizeof(host), service, sizeof(service), (int)req->arg[0]);
	size_t host_len, service_len;

	if (err)
		return eai_of(err);
	host_len = strlen(host) + 1;
	service_len = strlen(service) + 1;
	memcpy(ans->u.text, host, host_len);
	memcpy(ans->u.text + host_len, service, service_len);
	ans->text_len = (uint32_t)(host_len + service_len);
	return 0;
}

static void *run(void *arg)
{
	struct job *job = arg;
	struct amp_helper_ans ans;
	int err;

	memset(&ans, 0, AMP_HELPER_ANS_HEAD);
	err = job->req.op == AMP_HELPER_NAME ? name_job(&job->req, &ans)
					     : addr_job(&job->req, &ans);
	answer(&job->req, job->news_fd, &ans, err, true);
	close(job->news_fd);
	free(job);
	atomic_fetch_sub(&busy, 1);
	return NULL;
}

/* Signals are the loop's. */
static int start(struct job *job)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t thread;
	int r = pthread_attr_init(&attr);

	if (r)
		return r;
	/* an arena for each thread would stay, with what it holds back, when the thread is gone */
	mallopt(M_ARENA_MAX, 1);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_LEN);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, &attr, run, job);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return r;
}

void amp_helper_name(int news_fd, const struct amp_helper_req *req)
{
	struct job *job = atomic_load(&busy) < JOBS_MAX ? malloc(sizeof(*job)) : NULL;
	struct amp_helper_ans ans;

	if (job) {
		job->req = *req;
		job->news_fd = fcntl(news_fd, F_DUPFD_CLOEXEC, 0);
		atomic_fetch_add(&busy, 1);
		if (job->news_fd >= 0 && start(job) == 0)
			return;
		atomic_fetch_sub(&busy, 1);
		if (job->news_fd >= 0)
			close(job->news_fd);
		free(job);
	}
	memset(&ans, 0, sizeof(ans));
	answer(req, news_fd, &ans, EAI_AGAIN, false);
}

unsigned amp_helper_name_busy(void)
{
	return atomic_load(&busy);
}
