/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "pageserver/images/aside.h"
#include "pageserver/images/dedup.h"
#include "pageserver/images/flatten.h"
#include "pageserver/images/pagemap.h"
#include "pageserver/images/pagemap_list.h"
#include "proto/base/cleanup.h"

/* Rounds that build on each other before they are folded into one. */
enum { FOLD_AT = 16 };

struct page_store {
	struct page_store_options o;
	struct aside aside;
	unsigned oldest, before, newest; /* rounds that are whole, from 1: the first, the last two; 0: none */
	unsigned now;            /* the one that was given out last */
	int now_dir;
};

struct round_name { char text[16]; };

static struct round_name round_name(unsigned round)
{
	struct round_name n;

	snprintf(n.text, sizeof(n.text), "%u", round);
	return n;
}

static int round_open(const struct page_store *s, unsigned round, struct err *e)
{
	int fd = openat(s->aside.dir, round_name(round).text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "open round %u", round) : fd;
}

struct page_store *page_store_create(const struct page_store_options *o, struct err *e)
{
	struct page_store *s = calloc(1, sizeof(*s));

	if (!s) {
		err_sys(e, "memory for a store of pages");
		return NULL;
	}
	s->o = *o;
	s->now_dir = -1;
	if (aside_open(&s->aside, o->dirfd, e) == 0)
		return s;
	free(s);
	return NULL;
}

static void close_round(struct page_store *s)
{
	if (s->now_dir < 0)
		return;
	close(steal_fd(&s->now_dir));
	if (s->newest != s->now)
		aside_remove(s->aside.dir, round_name(s->now).text);
}

static void remove_rounds(struct page_store *s, unsigned end)
{
	while (s->oldest < end)
		aside_remove(s->aside.dir, round_name(s->oldest++).text);
}

void page_store_destroy(struct page_store *s)
{
	if (!s)
		return;
	if (s->now_dir >= 0)
		close(s->now_dir);
	aside_close(&s->aside);
	free(s);
}

/* ---- a round ---- */

static bool has(const struct pagemap_list *l, const struct pagemap_name *m)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->v[i].kind == m->kind && l->v[i].id == m->id)
			return true;
	return false;
}

/* Who ended since the round before has pages in the older rounds that nobody asks for any more. */
static void free_ended(int before, int newest)
{
	struct pagemap_list old = { 0 }, now = { 0 };
	struct err ignored = { 0 };

	if (pagemap_list_read(&old, before, &ignored) == 0 && pagemap_list_read(&now, newest, &ignored) == 0)
		for (size_t i = 0; i < old.count; i++)
			if (!has(&now, &old.v[i]))
				dedup_free_map(before, old.v[i].kind, old.v[i].id);
	pagemap_list_finish(&old);
	pagemap_list_finish(&now);
}

static void sweep(struct page_store *s)
{
	struct err ignored = { 0 };
	cleanup_fd int before = s->before ? round_open(s, s->before, &ignored) : -1;
	cleanup_fd int newest = before >= 0 ? round_open(s, s->newest, &ignored) : -1;

	if (newest >= 0)
		free_ended(before, newest);
}

static int fold(struct page_store *s, struct err *e)
{
	cleanup_fd int dir = round_open(s, s->newest, e);
	struct image_flatten_options o = { .dirfd = dir, .first_pages_id = 1, .consume = true };

	if (dir < 0 || image_set_flatten(&o, NULL, e) < 0)
		return err_wrap(e, "fold %u rounds", s->newest - s->oldest + 1);
	remove_rounds(s, s->newest);
	s->before = 0;
	return 0;
}

/* Between two rounds, when nobody waits for an answer. */
static int tidy(struct page_store *s, struct err *e)
{
	close_round(s);
	sweep(s);
	return s->newest && s->newest - s->oldest + 1 >= FOLD_AT ? fold(s, e) : 0;
}

static void round_is_whole(void *arg)
{
	struct page_store *s = arg;

	if (!s->newest)
		s->oldest = s->now;
	s->before = s->newest;
	s->newest = s->now;
}

/* A round that was broken off leaves its number unused. */
static int make_round(struct page_store *s, struct err *e)
{
	s->now++;
	if (mkdirat(s->aside.dir, round_name(s->now).text, 0700) < 0)
		return err_sys(e, "make a directory for round %u", s->now);
	s->now_dir = round_open(s, s->now, e);
	return s->now_dir < 0 ? -1 : 0;
}

struct page_sink *page_store_round(struct page_store *s, struct err *e)
{
	struct image_set_options o = { .first_pages_id = 1, .auto_dedup = true, .check_holes = true, .published = round_is_whole,
				       .published_arg = s };
	char parent[32];

	if (tidy(s, e) < 0 || make_round(s, e) < 0)
		return NULL;
	snprintf(parent, sizeof(parent), "../%s", round_name(s->newest).text);
	o.parent = s->newest ? parent : NULL;
	o.dirfd = s->now_dir;
	return image_set_create(&o, e);
}

/* ---- publication ---- */

static int flatten_all(struct page_sink *to, int from, struct err *e)
{
	struct pagemap_list maps = { 0 };
	int rc = pagemap_list_read(&maps, from, e);

	for (size_t i = 0; i < maps.count && rc == 0; i++)
		rc = flatten_map(to, from, maps.v[i].kind, maps.v[i].id, true, e);
	pagemap_list_finish(&maps);
	return rc < 0 ? -1 : to->ops->finish(to, e);
}

static int publish(struct page_store *s, struct err *e)
{
	struct image_set_options o = { .dirfd = s->o.dirfd, .first_pages_id = s->o.first_pages_id, .durable = s->o.durable };
	cleanup_fd int from = round_open(s, s->newest, e);
	struct page_sink *to = from < 0 ? NULL : image_set_create(&o, e);
	int rc;

	if (!to)
		return -1;
	rc = flatten_all(to, from, e);
	to->ops->destroy(to);
	return rc;
}

int page_store_publish(struct page_store *s, struct err *e)
{
	int rc;

	close_round(s);
	if (!s->newest)
		return err_set(e, ERR_USAGE, 0, "the store has no round to publish");
	rc = publish(s, e);
	remove_rounds(s, s->newest + 1);
	s->newest = s->before = s->oldest = 0;
	return rc;
}

static uint64_t bytes_in(int dirfd)
{
	int own = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *d = own < 0 ? NULL : fdopendir(own);
	struct dirent *entry;
	uint64_t sum = 0;
	struct stat st;

	while (d && (entry = readdir(d)))
		if (fstatat(dirfd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_blocks * 512;
	return sum;
}

uint64_t page_store_bytes(const struct page_store *s)
{
	uint64_t sum = 0;

	for (unsigned round = s->oldest; s->newest && round <= s->newest; round++) {
		struct err ignored = { 0 };
		cleanup_fd int dir = round_open(s, round, &ignored);

		if (dir >= 0)
			sum += bytes_in(dir);
	}
	return sum;
}
