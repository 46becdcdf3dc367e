/* SPDX-License-Identifier: Apache-2.0 */
/* locks - threads that wait in the kernel for locks that it changes itself (priority inheritance), each lock on a page of its own among others. The process is moved
 * meanwhile, and nobody touches the locks before the kernel does.
 *
 *   locks DIR       writes DIR/ready when all wait. DIR/go: it lets them go and writes DIR/verdict, "ok" or what went wrong. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LOCKS = 8, APART = 16 * 4096 };

static char *memory;
static atomic_int done, failed;

static uint32_t *lock_of(long i) { return (uint32_t *)(void *)(memory + i * APART + 64); }
static long futex(uint32_t *at, int op) { return syscall(SYS_futex, at, op, 0, NULL, NULL, 0); }

static _Atomic long waiter[LOCKS]; /* its thread id */
static void *takes(void *arg)
{
	long i = (long)(intptr_t)arg;

	waiter[i] = syscall(SYS_gettid);
	if (futex(lock_of(i), FUTEX_LOCK_PI_PRIVATE) < 0)
		failed = errno;
	else
		futex(lock_of(i), FUTEX_UNLOCK_PI_PRIVATE);
	done++;
	return NULL;
}

static int in_futex(long tid)
{
	char path[64], text[200] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/syscall", tid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (!fgets(text, sizeof(text), f))
		text[0] = 0;
	fclose(f);
	return strncmp(text, "202 ", 4) == 0;
}

static void publish(const char *dir, const char *name, const char *text)
{
	char temporary[400], final[400];
	FILE *f;

	snprintf(temporary, sizeof(temporary), "%s/.%s", dir, name);
	snprintf(final, sizeof(final), "%s/%s", dir, name);
	f = fopen(temporary, "we");
	if (!f || fputs(text, f) < 0 || fclose(f) != 0 || rename(temporary, final) != 0)
		exit(1);
}

int main(int argc, char **argv)
{
	pthread_t t;
	char path[400], text[80];

	if (argc != 2)
		return 2;
	memory = mmap(NULL, (size_t)LOCKS * APART, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	memset(memory, 0x5a, (size_t)LOCKS * APART);
	for (long i = 0; i < LOCKS; i++) {
		*lock_of(i) = (uint32_t)syscall(SYS_gettid);
		if (pthread_create(&t, NULL, takes, (void *)(intptr_t)i) != 0)
			return 1;
	}
	for (int i = 0; i < LOCKS; i++)
		while (!waiter[i] || !in_futex(waiter[i]))
			usleep(1000);
	publish(argv[1], "ready", "");
	snprintf(path, sizeof(path), "%s/go", argv[1]);
	while (access(path, F_OK) != 0)
		usleep(1000);
	for (long i = 0; i < LOCKS; i++)
		futex(lock_of(i), FUTEX_UNLOCK_PI_PRIVATE);
	for (int n = 0; done < LOCKS && n < 100000; n++)
		usleep(1000);
	snprintf(text, sizeof(text), "%d of %d: %s\n", done, LOCKS, failed ? strerror(failed) : "right");
	publish(argv[1], "verdict", done == LOCKS && !failed ? "ok\n" : text);
	return 0;
}
