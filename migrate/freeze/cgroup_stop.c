/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/freeze/cgroup_stop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

enum { WAIT_US = 10 * 1000 * 1000, STATE_TEXT = 256, NAP_NS = 1000 * 1000 };

/* The two versions. */
static const struct freezer_words { const char *file, *freeze, *thaw, *state_file, *frozen; } words[2] = {
	{ "freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN" },
	{ "cgroup.freeze", "1", "0", "cgroup.events", "frozen 1" },
};

static const struct freezer_words *words_of(const struct cgroup_stop *s)
{
	return &words[s->v2];
}

static int is_frozen(int state, const struct cgroup_stop *s, struct err *e)
{
	char text[STATE_TEXT] = "";

	if (pread(state, text, sizeof(text) - 1, 0) < 0)
		return err_sys(e, "%s", words_of(s)->state_file);
	return strstr(text, words_of(s)->frozen) != NULL;
}

static int open_state(const struct cgroup_stop *s, struct err *e)
{
	int fd = openat(s->dir, words_of(s)->state_file, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "%s", words_of(s)->state_file) : fd;
}

int cgroup_stop_open(struct cgroup_stop *s, const char *path, struct err *e)
{
	cleanup_fd int state = -1;
	int frozen;

	*s = CGROUP_STOP_NONE;
	s->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir < 0)
		return err_sys(e, "freezer cgroup %s", path);
	s->v2 = faccessat(s->dir, words[1].file, F_OK, 0) == 0;
	if (!s->v2 && faccessat(s->dir, words[0].file, F_OK, 0) < 0) {
		cgroup_stop_close(s);
		return err_set(e, ERR_USAGE, 0, "%s is no control group with a freezer: name the one that the process is in", path);
	}
	state = open_state(s, e);
	frozen = state < 0 ? -1 : is_frozen(state, s, e);
	if (frozen < 0) {
		cgroup_stop_close(s);
		return err_wrap(e, "%s", path);
	}
	s->was_frozen = frozen;
	return 0;
}

/* Version 2 tells by an event, version 1 has to be asked. */
static void wait_a_little(const struct cgroup_stop *s, int state, uint64_t left_us)
{
	struct pollfd p = { .fd = state, .events = POLLPRI };

	if (s->v2)
		poll(&p, 1, (int)(left_us / 1000) + 1);
	else
		nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
}

int cgroup_stop_freeze(struct cgroup_stop *s, struct err *e)
{
	uint64_t until = clock_us() + WAIT_US;
	cleanup_fd int state = open_state(s, e);
	int frozen;

	if (state < 0 || file_write(s->dir, words_of(s)->file, words_of(s)->freeze, e) < 0)
		return -1;
	s->frozen = true;
	while ((frozen = is_frozen(state, s, e)) == 0) {
		uint64_t now = clock_us();

		if (now >= until)
			return err_set(e, ERR_TIMEOUT, 0, "the control group has not frozen within %d s", WAIT_US / 1000000);
		wait_a_little(s, state, until - now);
	}
	return frozen < 0 ? -1 : 0;
}

int cgroup_stop_thaw(struct cgroup_stop *s, struct err *e)
{
	if (!s->frozen)
		return 0;
	s->frozen = false;
	return file_write(s->dir, words_of(s)->file, words_of(s)->thaw, e);
}

void cgroup_stop_put_back(struct cgroup_stop *s)
{
	struct err e = { 0 };

	if (s->dir < 0 || !s->was_frozen)
		return;
	if (file_write(s->dir, words_of(s)->file, words_of(s)->freeze, &e) < 0)
		log_event(LOG_WARN, "not-frozen-again", "why=\"%s\"", e.text);
}

void cgroup_stop_close(struct cgroup_stop *s)
{
	cleanup_fd_(&s->dir);
	*s = CGROUP_STOP_NONE;
}
