/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/bench_dir.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include "tests/lib/remove_tree.h"

/* The pipe's other end is held by everyone whose end matters. */
static _Noreturn void wait_and_remove(int alive, const char *path)
{
	char byte;

	setsid(); /* a signal to the group is not meant for us */
	dup2(alive, STDIN_FILENO);
	close_range(STDIN_FILENO + 1, ~0u, 0); /* who reads what the program prints waits for its end, not for ours */
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	remove_tree(path);
	_exit(0);
}

void bench_dir_make(char *path)
{
	pid_t pid = -1;
	int alive[2];

	if (mkdtemp(path) && pipe2(alive, O_CLOEXEC) == 0 && (pid = fork()) == 0)
		wait_and_remove(alive[0], path);
	if (pid < 0) {
		perror(path);
		exit(1);
	}
	close(alive[0]);
}

void bench_dir_remove(const char *path)
{
	remove_tree(path);
}
