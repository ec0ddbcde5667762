// SPDX-License-Identifier: BSD-3-Clause
/*
 * A preloaded ptrace() that lets User-mode Linux run on new processors, and die as one.
 *
 * User-mode Linux (UML) runs its guest's programs in processes that it traces, and swaps their
 * floating-point state with PTRACE_GETREGSET and PTRACE_SETREGSET of NT_X86_XSTATE. Linux 6.1
 * compiled in 2696 bytes for that (HOST_FP_SIZE: up to AVX-512 and PKRU). A host whose processor
 * has more (AMX: 11008 bytes) gives a short read to the first, but refuses a short write with
 * EFAULT: UML panics at its guest's first instruction, "ptrace set fp regs failed, errno = 14".
 * So a write is filled up to the length that the host itself reports. What is added is zero, and
 * the state-component bitmap (XSTATE_BV, 8 bytes at 512: Intel SDM volume 1, 13.4.2) names only
 * what came from UML: a component that is not named there is in its initial state. On a host with
 * a smaller area nothing is changed.
 *
 * And the traced processes must not outlive UML. They never exec, have no environment and wait
 * for a tracer for ever: PTRACE_O_EXITKILL is added to the options that UML sets, so that a
 * SIGKILL for the one is the end of all.
 *
 *	gcc -shared -fPIC -o libumlfp.so umlfp.c; LD_PRELOAD=.../libumlfp.so linux.uml ...
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* <sys/ptrace.h> declares ptrace() with an enum: the numbers of <linux/ptrace.h> instead. */
#define REQ_PEEKTEXT   1L
#define REQ_PEEKUSER   3L
#define REQ_OLDSETOPTS 21L
#define REQ_SETOPTS    0x4200L
#define REQ_GETREGSET  0x4204L
#define REQ_SETREGSET  0x4205L
#define OPT_EXITKILL   0x100000L
#define NT_XSTATE      0x202L /* NT_X86_XSTATE */

#define XSTATE_BV_AT 512
#define XSTATE_MIN   576 /* legacy area and header */
/* x87, SSE, AVX, BNDREGS, BNDCSR, the three of AVX-512, PKRU: those within 2696 bytes */
#define XSTATE_KNOWN 0x2ffUL

static unsigned char area[65536] __attribute__((aligned(64)));
static size_t area_len; /* as the host reports it; 0: not asked yet */

static long sys_ptrace(long req, long pid, void *addr, void *data)
{
	return syscall(SYS_ptrace, req, pid, addr, data);
}

static void ask_area_len(long pid, void *addr)
{
	struct iovec all = {.iov_base = area, .iov_len = sizeof(area)};

	if (sys_ptrace(REQ_GETREGSET, pid, addr, &all) == 0)
		area_len = all.iov_len;
}

static long set_xstate(long pid, void *addr, const struct iovec *given)
{
	struct iovec all = {.iov_base = area};
	unsigned long bv;

	if (!area_len)
		ask_area_len(pid, addr);
	if (given->iov_len >= area_len || given->iov_len < XSTATE_MIN)
		return sys_ptrace(REQ_SETREGSET, pid, addr, (void *)(unsigned long)given);
	memcpy(area, given->iov_base, given->iov_len);
	memset(area + given->iov_len, 0, area_len - given->iov_len);
	memcpy(&bv, area + XSTATE_BV_AT, sizeof(bv));
	bv &= XSTATE_KNOWN;
	memcpy(area + XSTATE_BV_AT, &bv, sizeof(bv));
	all.iov_len = area_len;
	return sys_ptrace(REQ_SETREGSET, pid, addr, &all);
}

long ptrace(long req, ...)
{
	void *addr, *data;
	long pid, word;
	va_list ap;

	va_start(ap, req);
	pid = va_arg(ap, int);
	addr = va_arg(ap, void *);
	data = va_arg(ap, void *);
	va_end(ap);
	req = (int)req; /* an enum in the caller: the upper half is not defined */

	/* The C library's PEEK calls return the word; the kernel's store it. */
	if (req >= REQ_PEEKTEXT && req <= REQ_PEEKUSER) {
		if (sys_ptrace(req, pid, addr, &word) < 0)
			return -1;
		errno = 0;
		return word;
	}
	if (req == REQ_SETOPTS || req == REQ_OLDSETOPTS)
		return sys_ptrace(req, pid, addr, (void *)((unsigned long)data | OPT_EXITKILL));
	if (req == REQ_SETREGSET && (long)addr == NT_XSTATE)
		return set_xstate(pid, addr, data);
	return sys_ptrace(req, pid, addr, data);
}
