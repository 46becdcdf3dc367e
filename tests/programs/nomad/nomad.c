/* SPDX-License-Identifier: Apache-2.0 */
/* nomad - a process whose threads do at random all that may move, for ever, and check what comes of it: memory mapped, moved, discarded, protected and
 * written in every way, children, futexes, pipes, sockets, files, timers, signals, registers. It is moved to and fro meanwhile (tests/soak).
 *
 *   nomad --seed N --dir DIR --beat FILE --report FILE --ready FILE [--children]
 *
 * It knows what each piece of memory must hold and each number that must come next. Signals as in bench/workload.c: USR1 has all memory looked at and a verdict
 * written to --report; --beat gets a number each millisecond. Choices come from the seed, their interleaving from the scheduler.
 * Needs nothing of ours, so that it is the same in each build. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/programs/nomad/nomad.h"

const char *dir = ".";
uint64_t seed = 1;
bool children;
static const char *beat_path, *report_path, *ready_path;

/* ---- what is wrong ---- */

static pthread_mutex_t wrong_lock = PTHREAD_MUTEX_INITIALIZER;
static char wrong[2048];

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void fail(const char *fmt, ...)
{
	int saved = errno;
	size_t at;
	va_list ap;

	pthread_mutex_lock(&wrong_lock);
	at = strlen(wrong);
	if (at < sizeof(wrong) - 300) {
		at += (size_t)snprintf(wrong + at, 64, "[%llu.%03llu tid %ld] ", (unsigned long long)now_ns() / 1000000000, (unsigned long long)now_ns() / 1000000 % 1000,
				       syscall(SYS_gettid));
		va_start(ap, fmt);
		vsnprintf(wrong + at, 200, fmt, ap);
		va_end(ap);
		at = strlen(wrong);
		snprintf(wrong + at, sizeof(wrong) - at, " (errno %d); ", saved);
	}
	pthread_mutex_unlock(&wrong_lock);
}

/* ---- chance ---- */

uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint64_t next_random(uint64_t *s)
{
	return mix(*s += 0x9e3779b97f4a7c15);
}

unsigned below(uint64_t *s, unsigned n)
{
	return (unsigned)(next_random(s) % n);
}

/* Mostly at once, sometimes after a while. */
void dawdle(uint64_t *s, unsigned most_us)
{
	unsigned us = below(s, 3) ? 0 : below(s, most_us);

	if (us)
		nanosleep(&(struct timespec){ .tv_nsec = us * 1000l }, NULL);
}

pthread_t begin(void *(*body)(void *), void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, body, arg) != 0)
		abort();
	return t;
}

/* ---- the whole ---- */

static void publish(const char *path, const char *text)
{
	char temporary[500];
	int fd;

	snprintf(temporary, sizeof(temporary), "%s.new", path);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || rename(temporary, path) < 0)
		abort();
	close(fd);
}

static volatile sig_atomic_t asked;
static void on_usr1(int sig)
{
	(void)sig;
	asked = 1;
}

static void block_signals(void)
{
	struct sigaction usr1 = { .sa_handler = on_usr1, .sa_flags = SA_RESTART };
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL); /* each thread that begins inherits it */
	sigaction(SIGUSR1, &usr1, NULL);
}

static void report(void)
{
	static char text[4096];

	asked = 0;
	check_memory();
	pthread_mutex_lock(&wrong_lock);
	snprintf(text, sizeof(text), "{\"verdict\":\"%s\",\"why\":\"%s\"}\n", wrong[0] ? "wrong" : "right", wrong);
	pthread_mutex_unlock(&wrong_lock);
	publish(report_path, text);
}

static bool parse(int argc, char **argv)
{
	static const struct option options[] = { { "seed", 1, NULL, 's' }, { "dir", 1, NULL, 'd' }, { "beat", 1, NULL, 'b' }, { "report", 1, NULL, 'r' },
						 { "ready", 1, NULL, 'y' }, { "children", 0, NULL, 'c' }, { 0 } };

	for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (opt) {
		case 's': seed = strtoull(optarg, NULL, 10); break;
		case 'd': dir = optarg; break;
		case 'b': beat_path = optarg; break;
		case 'r': report_path = optarg; break;
		case 'y': ready_path = optarg; break;
		case 'c': children = true; break;
		default: return false;
		}
	}
	return optind == argc && beat_path && report_path && ready_path;
}

int main(int argc, char **argv)
{
	sigset_t blocked;
	int beat;

	if (!parse(argc, argv))
		return 2;
	/* What the C library will want of the heap it has before the heap's end is played with. */
	mallopt(M_TOP_PAD, 4 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_ARENA_MAX, 1);
	free(malloc(100000));
	beat = open(beat_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
	if (beat < 0)
		return 1;
	block_signals();
	handle_signals();
	begin_descriptors();
	begin_waits();
	begin_memory();
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	sigdelset(&blocked, SIGUSR1);
	sigdelset(&blocked, SIGRTMIN + 5);
	sigdelset(&blocked, SIGTERM);
	pthread_sigmask(SIG_SETMASK, &blocked, NULL);
	publish(ready_path, "");
	for (unsigned long long n = 1;; n++) {
		char line[32];
		int len = snprintf(line, sizeof(line), "%llu\n", n);

		if (write(beat, line, (size_t)len) != len)
			return 1;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		if (asked)
			report();
	}
}
