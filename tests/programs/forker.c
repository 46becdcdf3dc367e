/* SPDX-License-Identifier: Apache-2.0 */
/* forker - forks when it is told to, and has its children read memory of which no byte is zero. It needs none of that memory itself, nor anything
 * else that might come late: it is moved by post-copy and forks before any page is there.
 *
 *   forker DIR MIB CHILDREN [ORPHANS]    writes DIR/ready. DIR/go: forks. A child that reads a zero makes DIR/zero, one that read all is right ends.
 *                                        So do ORPHANS grandchildren before, whose parent ends at once.
 *
 * So no library call after DIR/ready: their data and errno are memory like any other, and so is what a sanitizer looks into. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PLAIN __attribute__((no_sanitize("address", "undefined")))

PLAIN static inline long call(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = 0;
	long rc;

	__asm__ volatile("syscall" : "=a"(rc) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return rc;
}

PLAIN static inline void pause_ms(long ms)
{
	struct timespec t = { .tv_nsec = ms * 1000000 };

	call(SYS_nanosleep, (long)&t, 0, 0, 0);
}

/* Each child begins elsewhere, so that each waits for a page of its own. */
PLAIN static inline void read_all(const volatile unsigned char *memory, long size, long from, const char *zero)
{
	for (long i = 0; i < size; i += 4096)
		if (memory[(from + i) % size] == 0)
			call(SYS_creat, (long)zero, 0644, 0, 0);
}

PLAIN static void run(const unsigned char *memory, long size, long children, long orphans, const char *go, const char *zero)
{
	while (call(SYS_access, (long)go, F_OK, 0, 0) != 0)
		pause_ms(1);
	for (long i = 0; i < children + orphans; i++) {
		long child = call(SYS_clone, SIGCHLD, 0, 0, 0);

		if (child != 0 && i < orphans)
			call(SYS_wait4, child, 0, 0, 0);
		if (child != 0)
			continue;
		if (i < orphans && call(SYS_clone, SIGCHLD, 0, 0, 0) != 0)
			call(SYS_exit_group, 0, 0, 0, 0);
		read_all(memory, size, i * 65536, zero);
		call(SYS_exit_group, 0, 0, 0, 0);
	}
	for (;;)
		pause_ms(1000);
}

PLAIN int main(int argc, char **argv)
{
	long size = argc == 4 || argc == 5 ? atol(argv[2]) << 20 : 0;
	char go[300], zero[300], ready[300];
	unsigned char *memory;
	int fd;

	if (size <= 0)
		return 2;
	snprintf(go, sizeof(go), "%s/go", argv[1]);
	snprintf(zero, sizeof(zero), "%s/zero", argv[1]);
	snprintf(ready, sizeof(ready), "%s/ready", argv[1]);
	memory = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	memset(memory, 0x5a, (size_t)size);
	signal(SIGCHLD, SIG_IGN);
	fd = open(ready, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0 || close(fd) < 0)
		return 1;
	run(memory, size, atol(argv[3]), argc == 5 ? atol(argv[4]) : 0, go, zero);
}
