/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/bench_server.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/io.h"

enum { STOP_MS = 10000 };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static _Noreturn void run(const struct page_server_options *p, const int out[2])
{
	struct err e = { 0 };

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	close(out[0]);
	dup2(out[1], STDOUT_FILENO);
	close(out[1]);
	if (page_server_run(p, &e) < 0)
		fprintf(stderr, "page server: %s\n", e.text);
	_exit(err_is_set(&e));
}

struct bench_server bench_server_start(const struct page_server_options *p)
{
	struct bench_server s = { .pid = 0 };
	char line[128] = "", *colon;
	int out[2];

	if (pipe(out) < 0 || (s.pid = fork()) < 0)
		die("start the server");
	if (s.pid == 0)
		run(p, out);
	close(out[1]);
	for (size_t n = 0; n < sizeof(line) - 1 && read(out[0], line + n, 1) == 1 && line[n] != '\n'; n++)
		;
	close(out[0]);
	colon = strrchr(line, ':');
	if (!colon)
		die("the server did not start");
	s.port = (uint16_t)strtoul(colon + 1, NULL, 10);
	return s;
}

void bench_server_stop(const struct bench_server *s)
{
	if (!s->pid)
		return;
	kill(s->pid, SIGTERM);
	for (uint64_t end = clock_us() + STOP_MS * 1000ull; waitpid(s->pid, NULL, WNOHANG) == 0; usleep(1000))
		if (clock_us() > end)
			kill(s->pid, SIGTERM); /* asked again it waits for no session */
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)type;
	return where->level ? remove(path) : 0;
}

void bench_server_forget(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
