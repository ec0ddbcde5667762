// SPDX-License-Identifier: BSD-3-Clause
/* Preloaded under the proxy: SIGTERM comes in the moment in which it hears of a child that has ended. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t waitpid(pid_t pid, int *status, int options)
{
	pid_t r = (pid_t)syscall(SYS_wait4, pid, status, options, NULL);

	if (r > 0)
		raise(SIGTERM);
	return r;
}
