/* SPDX-License-Identifier: Apache-2.0 */
/* imager - dumps a process into image directories, without any of the front ends: for tests.
 *
 *   imager PID STEP...       the steps are rounds of one caller, so that what is tracked stays with it
 *
 *   STEP: VERB,DIR[,WORD...]    VERB: pre-dump, dump. DIR is made where it is missing. Words:
 *     parent=PATH    relative to DIR          work=DIR        for stats-dump, else DIR
 *     track          track_mem                tcp-close       auto-dedup
 *     run, stop      final state (else killed)
 *     cgroup=DIR     freeze by it
 *     lazy=WHERE     what may be fetched late is served to one client: a path (unix socket), or a port of 127.0.0.1
 *     refuse=NAME    the hook of that name (pre-dump, query-ext-files, post-dump) says no
 *     pause=NAME     the hook of that name writes its name to stdout and waits for a byte on stdin
 *
 * A line for each step: "VERB scanned=N parent=N written=N freezing=US frozen=US memdump=US memwrite=US", or the error on stderr, exit code 1. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "migrate/dump/dump.h"
#include "proto/base/sock.h"

static const char *const moments[] = { [DUMP_PRE_DUMP] = "pre-dump", [DUMP_NETWORK_LOCK] = "network-lock",
	[DUMP_QUERY_EXT_FILES] = "query-ext-files", [DUMP_POST_DUMP] = "post-dump",
	[DUMP_LAZY_READY] = "status-ready", [DUMP_NETWORK_UNLOCK] = "network-unlock" };

struct step {
	struct dump_request q;
	const char *verb, *dir, *work, *refuse, *pause;
};

static int hook(void *arg, enum dump_moment when, struct err *e)
{
	const struct step *s = arg;
	char c;

	if (s->pause && strcmp(s->pause, moments[when]) == 0) {
		printf("%s\n", moments[when]);
		fflush(stdout);
		if (read(STDIN_FILENO, &c, 1) < 0)
			return err_sys(e, "stdin");
	}
	if (s->refuse && strcmp(s->refuse, moments[when]) == 0)
		return err_set(e, ERR_CANCELLED, 0, "%s was refused", moments[when]);
	return 0;
}

static const char *value_of(const char *word, const char *key)
{
	size_t len = strlen(key);

	return strncmp(word, key, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

static int listen_at(const char *path)
{
	char address[64];
	struct err e = { 0 };
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd;

	if (path[0] != '/') {
		snprintf(address, sizeof(address), "127.0.0.1:%s", path);
		fd = sock_listen(address, 0, &e);
		if (fd >= 0)
			return fd;
		fprintf(stderr, "imager: %s\n", e.text);
		exit(1);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0) {
		fprintf(stderr, "imager: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return fd;
}

static void take_word(struct step *s, const char *word)
{
	const char *v;

	if ((v = value_of(word, "parent")))
		s->q.parent = v;
	else if ((v = value_of(word, "work")))
		s->work = v;
	else if ((v = value_of(word, "cgroup")))
		s->q.freeze_cgroup = v;
	else if ((v = value_of(word, "lazy"))) {
		s->q.lazy = true;
		s->q.lazy_listener = listen_at(v);
	} else if ((v = value_of(word, "refuse")))
		s->refuse = v;
	else if ((v = value_of(word, "pause")))
		s->pause = v;
	else if (strcmp(word, "track") == 0)
		s->q.track_mem = true;
	else if (strcmp(word, "tcp-close") == 0)
		s->q.tcp_close = true;
	else if (strcmp(word, "auto-dedup") == 0)
		s->q.auto_dedup = true;
	else if (strcmp(word, "run") == 0)
		s->q.final_state = DUMP_RUN_ON;
	else if (strcmp(word, "stop") == 0)
		s->q.final_state = DUMP_STOPPED;
	else {
		fprintf(stderr, "imager: what is \"%s\"?\n", word);
		exit(2);
	}
}

static int open_dir(const char *path)
{
	int fd;

	mkdir(path, 0755);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "imager: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return fd;
}

static int take_step(struct dumper *d, pid_t pid, char *text)
{
	struct step s = { .q = { .pid = pid, .requester_socket = -1, .hook = hook, .hook_arg = &s } };
	struct dump_stats stats = { 0 };
	struct err e = { 0 };
	char *rest = text;
	int rc;

	s.verb = strsep(&rest, ",");
	s.dir = strsep(&rest, ",");
	while (rest)
		take_word(&s, strsep(&rest, ","));
	s.q.images_dir = open_dir(s.dir ? s.dir : "");
	s.q.work_dir = open_dir(s.work ? s.work : s.dir);
	rc = (strcmp(s.verb, "dump") == 0 ? dumper_dump : dumper_pre_dump)(d, &s.q, &stats, &e);
	close(s.q.images_dir);
	close(s.q.work_dir);
	if (s.q.lazy)
		close(s.q.lazy_listener);
	if (rc < 0) {
		fprintf(stderr, "imager: %s\n", e.text);
		return -1;
	}
	printf("%s scanned=%llu parent=%llu written=%llu freezing=%llu frozen=%llu memdump=%llu memwrite=%llu\n", s.verb,
	       (unsigned long long)stats.pages_scanned, (unsigned long long)stats.pages_skipped_parent, (unsigned long long)stats.pages_written,
	       (unsigned long long)stats.freezing_us, (unsigned long long)stats.frozen_us, (unsigned long long)stats.memdump_us,
	       (unsigned long long)stats.memwrite_us);
	return 0;
}

int main(int argc, char **argv)
{
	struct err e = { 0 };
	struct dumper *d = dumper_create(&e);
	int rc = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3 || !d) {
		fprintf(stderr, "usage: imager PID STEP...\n");
		return 2;
	}
	for (int i = 2; rc == 0 && i < argc; i++)
		rc = take_step(d, (pid_t)atoi(argv[1]), argv[i]);
	dumper_destroy(d);
	return rc < 0;
}
