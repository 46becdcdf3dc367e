/* SPDX-License-Identifier: Apache-2.0 */
/* subject.h - processes for tests to act on, and conditions to await. A test that breaks a promise ends with exit code 1 by CHECK;
 * every subject dies with the test (PR_SET_PDEATHSIG). Threads: the test's own. */
#ifndef DRAY_TESTS_SUBJECT_H
#define DRAY_TESTS_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

#define CHECK(cond, ...)                                                             \
	do {                                                                         \
		if (!(cond)) {                                                       \
			fprintf(stderr, "%s:%d: %s", __FILE__, __LINE__, #cond);   \
			fprintf(stderr, " " __VA_ARGS__);                            \
			fprintf(stderr, "\n");                                       \
			exit(1);                                                     \
		}                                                                    \
	} while (0)

struct subject {
	pid_t pid;
	int line; /* to the subject: a stream socket */
};

/* Forks a child that runs body(line, arg) and ends with its value as exit code. Every other descriptor of the test stays open in it. */
struct subject subject_start(int (*body)(int line, void *arg), void *arg);
void subject_end(struct subject *s); /* SIGKILL and reaped; accepts one that has ended */
/* One byte each way: the subject says what it reached, the test lets it go on. subject_expect checks the byte, and fails after 20 s. */
void subject_say(int line, char c);
void subject_expect(int line, char c);
bool subject_silent(int line); /* nothing has been said */

/* Waits (up to 20 s, then CHECK fails with `what`) until cond(arg) holds. */
void await(bool (*cond)(void *arg), void *arg, const char *what);
/* Of /proc/PID/task/TID/stat: the state letter, 0 when gone. */
char task_state(pid_t pid, pid_t tid);
void await_task_state(pid_t pid, pid_t tid, const char *letters);
/* Waits until the task sleeps inside this system call (/proc/PID/task/TID/syscall). */
void await_in_syscall(pid_t pid, pid_t tid, long nr);
/* A number from /proc/PID/status, hexadecimal fields as such; -1 when there is none. */
long long status_number(pid_t pid, const char *field, int base);
char *proc_text(pid_t pid, const char *file); /* owned; "" when gone */
void nap(void);                               /* a millisecond, between two looks at a condition */
void hide_cgroup2(void);                      /* from here on there is none, in a mount namespace of the test's own */

#endif
