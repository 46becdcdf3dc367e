/* SPDX-License-Identifier: Apache-2.0 */
/* zoo - holds the specimens it is asked for and says on request whether they are whole: see tests/lib/zoo.h. */
#include "tests/lib/zoo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KINDS_MAX = 128 };
static const struct zoo_kind *held[KINDS_MAX];
static size_t count;

/* Appears whole: a reader never sees half of it. */
static void publish(const char *name, const char *text)
{
	char temporary[600], final[600];
	int fd;

	snprintf(temporary, sizeof(temporary), "%s/.%s", zoo_dir, name);
	snprintf(final, sizeof(final), "%s/%s", zoo_dir, name);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	zoo_need(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), temporary);
	close(fd);
	zoo_need(rename(temporary, final) == 0, final);
}

static void judge(void)
{
	static char text[16384];
	size_t len = 0;

	for (size_t i = 0; i < count; i++) {
		if (held[i]->check && !held[i]->check())
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s: %s\n", held[i]->name, zoo_why());
	}
	publish("verdict", len ? text : "ok\n");
}

static void hold(const char *name)
{
	const struct zoo_kind *k = zoo_find(name);

	if (!k || count == KINDS_MAX) {
		fprintf(stderr, "zoo: no kind %s\n", name);
		exit(2);
	}
	k->make();
	held[count++] = k;
}

int main(int argc, char **argv)
{
	char pid[16];

	if (argc < 3)
		return 2;
	snprintf(zoo_dir, sizeof(zoo_dir), "%s", argv[1]);
	for (int i = 2; i < argc; i++)
		hold(argv[i]);
	snprintf(pid, sizeof(pid), "%d\n", getpid());
	publish("ready", pid);
	for (;;) {
		struct timespec nap = { .tv_nsec = 2 * 1000 * 1000 };

		nanosleep(&nap, NULL);
		if (unlink(zoo_path("request")) == 0)
			judge();
		if (access(zoo_path("stop"), F_OK) == 0)
			return 0;
	}
}
