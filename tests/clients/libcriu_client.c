/* SPDX-License-Identifier: Apache-2.0 */
/* libcriu_client - every call of Debian's libcriu against the server that the test names, one a run. Nothing of ours is in it.
 *
 *   libcriu_client service PATH | swrk PROGRAM  ACTION [ARGUMENT]...
 *
 *   check                          features                       version
 *   pre-dump PID DIR [PARENT]      dump PID DIR [PARENT] [refuse=STAGE]
 *   iters PID DIR ROUNDS [PORT]    into DIR/0 ... DIR/ROUNDS, the last of them the dump; the pages to the page server at this port of 127.0.0.1
 *   restore DIR                    restore-child DIR              they print the PID; the child is ended and waited for
 *   self DIR FILE                  dumps itself and goes on: writes what the call said to FILE, then waits until it is ended
 * Prints what the call returned; notifications to standard error. Exit 0: as documented for success. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criu/criu.h>

static const char *refused_at;
static int rounds, round_now;
static const char *rounds_dir;

static int opened(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		perror(path);
		exit(2);
	}
	return fd;
}

static int on_notify(char *action, criu_notify_arg_t arg)
{
	fprintf(stderr, "%s %d\n", action, criu_notify_pid(arg));
	return refused_at && strcmp(action, refused_at) == 0 ? -1 : 0;
}

static void into(const char *dir)
{
	criu_set_images_dir_fd(opened(dir));
	criu_set_log_file("log");
	criu_set_log_level(4);
}

static int said(const char *what, int rc)
{
	printf("%s %d%s%s\n", what, rc, rc < 0 ? " " : "", rc < 0 ? strerror(-rc) : "");
	return rc < 0;
}

/* --- actions -------------------------------------------------------------------------------------------------------------------- */

static int act_check(char **a)
{
	(void)a;
	return said("check", criu_check());
}

static int act_version(char **a)
{
	int rc = criu_check_version(31600);

	(void)a;
	return said("version", criu_get_version()) || said("at least 3.16", rc) || rc != 1;
}

static int act_features(char **a)
{
	struct criu_feature_check f = { .mem_track = true, .pidfd_store = true };
	int rc = criu_feature_check(&f, sizeof(f));

	(void)a;
	printf("mem_track %d lazy_pages %d pidfd_store %d\n", f.mem_track, f.lazy_pages, f.pidfd_store);
	return said("features", rc) || !f.pidfd_store || f.lazy_pages;
}

static void dump_options(char **a)
{
	criu_set_pid(atoi(a[0]));
	into(a[1]);
	if (a[2] && strncmp(a[2], "refuse=", 7) == 0)
		refused_at = a[2] + 7;
	else if (a[2])
		criu_set_parent_images(a[2]);
	criu_set_track_mem(true);
}

static int act_pre_dump(char **a)
{
	dump_options(a);
	return said("pre-dump", criu_pre_dump());
}

static int act_dump(char **a)
{
	dump_options(a);
	criu_set_notify_cb(on_notify);
	return said("dump", criu_dump());
}

static void into_round(int n)
{
	char path[4096], parent[32];

	snprintf(path, sizeof(path), "%s/%d", rounds_dir, n);
	snprintf(parent, sizeof(parent), "../%d", n - 1);
	into(path);
	if (n > 0)
		criu_set_parent_images(parent);
}

static int more(criu_predump_info info)
{
	(void)info;
	into_round(++round_now);
	return round_now < rounds;
}

static int act_iters(char **a)
{
	criu_set_pid(atoi(a[0]));
	rounds_dir = a[1];
	rounds = atoi(a[2]);
	criu_set_track_mem(true);
	if (a[3]) {
		int rc = criu_set_page_server_address_port("127.0.0.1", atoi(a[3]));

		if (rc != 0 && rc != -ENOMEM) /* which releases say when all is well */
			return said("page server", rc);
	}
	into_round(0);
	return said("iters", criu_dump_iters(more));
}

static int act_restore(char **a)
{
	into(a[0]);
	criu_set_notify_cb(on_notify);
	return said("restore", criu_restore());
}

static int act_restore_child(char **a)
{
	int pid, status;

	into(a[0]);
	pid = criu_restore_child();
	if (said("restore-child", pid))
		return 1;
	fflush(stdout);
	/* The test looks at it, then says so. */
	if (getchar() == EOF || kill(pid, SIGKILL) < 0 || waitpid(pid, &status, 0) != pid) {
		perror("not a child");
		return 1;
	}
	return !WIFSIGNALED(status);
}

static int act_self(char **a)
{
	FILE *out;
	int rc;

	into(a[0]);
	rc = criu_dump();
	out = fopen(a[1], "w");
	fprintf(out, "%d %d\n", (int)getpid(), rc);
	fclose(out);
	while (pause() < 0)
		;
	return 0;
}

int main(int argc, char **argv)
{
	static const struct { const char *name; int (*act)(char **); int arguments; } actions[] = {
		{ "check", act_check, 0 },       { "version", act_version, 0 },   { "features", act_features, 0 },
		{ "pre-dump", act_pre_dump, 2 }, { "dump", act_dump, 2 },         { "iters", act_iters, 3 },
		{ "restore", act_restore, 1 },   { "restore-child", act_restore_child, 1 }, { "self", act_self, 2 },
	};

	if (argc < 4 || criu_init_opts() != 0)
		return 2;
	if ((strcmp(argv[1], "service") == 0 ? criu_set_service_address(argv[2]) : criu_set_service_binary(argv[2])) != 0)
		return 2;
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(argv[3], actions[i].name) == 0 && argc >= 4 + actions[i].arguments)
			return actions[i].act(argv + 4);
	}
	fprintf(stderr, "no such action: %s\n", argv[3]);
	return 2;
}
