/* SPDX-License-Identifier: Apache-2.0 */
/* The code that a twin runs, copied into the target's scratch mapping. Freestanding: no library, no constants in memory, no state but
 * its area. Whoever writes nonsense into the area (the target can) harms what is sent of itself, nothing else. */
#include "migrate/extract/twin_blob.h"

#include <asm/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>

#define TWIN_CODE __attribute__((section("twin_code")))

static inline __attribute__((always_inline)) long call(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return ret;
}

/* Its own descriptors are closed, the session left (signals to the target's group or terminal aren't meant for it), the pipes made.
 * The stop lets the tracer fetch the pipes' other ends; SIGSTOP, since every signal that can be blocked is. */
static inline __attribute__((always_inline)) long set_up(struct twin_setup *s)
{
	uint64_t name[2] = { 0x6977742d79617264u /* "dray-twi" */, 'n' };
	long rc = call(__NR_close_range, 0, (long)~0u, 0, 0);

	call(__NR_setsid, 0, 0, 0, 0);
	call(__NR_prctl, PR_SET_NAME, (long)name, 0, 0);
	if (rc == 0)
		rc = call(__NR_pipe2, (long)s->command, O_CLOEXEC, 0, 0);
	if (rc == 0)
		rc = call(__NR_pipe2, (long)s->page, O_CLOEXEC, 0, 0);
	s->rc = (int32_t)rc;
	return rc;
}

/* The page at addr can't be read: say so, then let zeros stand in for it, so that the byte count stays what it must be. */
static inline __attribute__((always_inline)) long fill_hole(struct twin_area *a, long pipe, uint64_t addr)
{
	struct iovec iov = { .iov_base = a->zero, .iov_len = sizeof(a->zero) };
	uint64_t n = a->control.holes;

	a->control.hole[n % TWIN_HOLES] = addr;
	__atomic_store_n(&a->control.holes, n + 1, __ATOMIC_RELEASE);
	return call(__NR_vmsplice, pipe, (long)&iov, 1, 0);
}

TWIN_CODE void twin_main(struct twin_area *a)
{
	long command = -1, pipe = -1, n;

	if (set_up(&a->setup) == 0) {
		command = a->setup.command[0];
		pipe = a->setup.page[1];
	}
	n = call(__NR_getpid, 0, 0, 0, 0);
	call(__NR_kill, n, SIGSTOP, 0, 0);
	if (pipe < 0)
		goto out;
	call(__NR_close, a->setup.command[1], 0, 0, 0);
	call(__NR_close, a->setup.page[0], 0, 0, 0);
	for (;;) {
		struct iovec *iov = a->iov, *end;

		n = call(__NR_read, command, (long)iov, sizeof(a->iov), 0);
		if (n == -EINTR)
			continue;
		if (n <= 0 || n > (long)sizeof(a->iov))
			break;
		end = iov + (unsigned long)n / sizeof(*iov);
		while (iov < end) {
			n = call(__NR_vmsplice, pipe, (long)iov, end - iov, 0);
			if (n == -EINTR || n == -EAGAIN)
				continue;
			if (n == -EPIPE || n == -EBADF)
				goto out;
			if (n <= 0)
				n = fill_hole(a, pipe, (uint64_t)iov->iov_base);
			if (n < 0)
				goto out;
			while (iov < end && (unsigned long)n >= iov->iov_len)
				n -= (long)iov++->iov_len;
			if (iov < end) {
				iov->iov_base = (uint8_t *)iov->iov_base + n;
				iov->iov_len -= (unsigned long)n;
			}
		}
	}
out:
	for (;;)
		call(__NR_exit_group, 0, 0, 0, 0);
}
