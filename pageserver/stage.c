/* SPDX-License-Identifier: Apache-2.0 */
/* Making, removing and keeping the staged mappings: each one at its source address with one bit flipped. */
#include "pageserver/place_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { MAPS_MAX = 8 << 20 };
#define LOWEST_STAGE 0x10000u

struct own_range {
	uint64_t start, end;
};

/* Our own mappings now: libraries, heap, stacks, and what a sanitizer has reserved. */
static struct own_range *read_own_maps(size_t *count, struct err *e)
{
	cleanup_free char *text = file_read(AT_FDCWD, "/proc/self/maps", MAPS_MAX, NULL, e);
	struct own_range *own = NULL;
	size_t lines = 0;

	*count = 0;
	if (!text)
		return NULL;
	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	own = malloc((lines + 1) * sizeof(*own));
	if (!own) {
		err_set(e, ERR_SYSTEM, ENOMEM, "own mappings");
		return NULL;
	}
	for (const char *p = text; *p && *count < lines; p++) {
		unsigned long start, end;

		if (sscanf(p, "%lx-%lx", &start, &end) == 2)
			own[(*count)++] = (struct own_range){ start, end };
		while (*p && *p != '\n')
			p++;
		if (!*p)
			break;
	}
	return own;
}

static bool bit_fits(uint64_t bit, const struct segments *s, const struct own_range *own, size_t owns)
{
	for (size_t i = 0; i < s->count; i++) {
		uint64_t start = s->v[i].start ^ bit, end = ((s->v[i].end - 1) ^ bit) + 1;

		if ((start ^ (end - 1)) & ~(bit - 1))
			return false; /* the mapping lies across the bit: it would be torn apart */
		if (start < LOWEST_STAGE || end > PLACE_ADDRESS_END - DRAY_PAGE_SIZE)
			return false;
		for (size_t j = 0; j < owns; j++) {
			if (start < own[j].end && own[j].start < end)
				return false;
		}
	}
	return true;
}

int stage_choose_bit(struct place *p, const struct segments *s, struct err *e)
{
	static const unsigned candidates[] = { 45, 44, 46, 43 };
	size_t owns;
	cleanup_free struct own_range *own = read_own_maps(&owns, e);

	if (!own)
		return -1;
	for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++) {
		if (bit_fits(1ull << candidates[i], s, own, owns)) {
			p->bit = 1ull << candidates[i];
			return 0;
		}
	}
	return err_set(e, ERR_CONFLICT, 0, "no half of the address space takes the mappings beside those of this process");
}

static void *map_anonymous(void *at, size_t len, const struct segment *s)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | (s->grows_down ? MAP_GROWSDOWN : 0) |
		    (s->noreserve ? MAP_NORESERVE : 0);
	void *got = mmap(at, len, PROT_READ | PROT_WRITE, flags, -1, 0);

	/* A large reservation without access needs no memory at the source, but would as something writable. */
	if (got == MAP_FAILED && errno == ENOMEM)
		got = mmap(at, len, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, -1, 0);
	return got;
}

static void *map_file(void *at, size_t len, const struct segment *s, struct staged_file *f, struct err *e)
{
	int prot = PROT_READ | PROT_WRITE, flags = MAP_FIXED_NOREPLACE | (s->kind == SEGMENT_FILE_PRIVATE ? MAP_PRIVATE : MAP_SHARED) |
		    (s->noreserve ? MAP_NORESERVE : 0);

	if (s->kind == SEGMENT_FILE_SHARED) {
		/* Read-only here even where the source may write: contents are the file's, and no page is placed. */
		prot = s->readable ? PROT_READ : PROT_NONE;
		if (s->writable && stage_files_make_writable(f, e) < 0)
			return NULL;
	}
	return mmap(at, len, prot, flags, f->fd, (off_t)s->pgoff);
}

/* Leaves pages of zeros out: they need no memory. */
static void copy_pages(char *to, const char *from, size_t len)
{
	static const char zeros[DRAY_PAGE_SIZE];

	for (size_t at = 0; at < len; at += DRAY_PAGE_SIZE)
		if (memcmp(from + at, zeros, DRAY_PAGE_SIZE) != 0)
			memcpy(to + at, from + at, DRAY_PAGE_SIZE);
}

/* Only mmap makes a mapping that grows: what is in it is laid aside. */
static int map_again(struct place *p, const struct segment *s, struct err *e)
{
	size_t len = s->end - s->start;
	char *at = staged_at(p, s->start), *aside = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int rc = 0;

	if (aside == MAP_FAILED)
		return err_sys(e, "memory for a mapping of %zu bytes", len);
	copy_pages(aside, at, len);
	if (munmap(at, len) < 0 || map_anonymous(at, len, s) == MAP_FAILED)
		rc = err_sys(e, "stage mapping %llx-%llx again", (unsigned long long)s->start, (unsigned long long)s->end);
	else
		copy_pages(at, aside, len);
	munmap(aside, len);
	return rc;
}

int place_set_growing(struct place *p, uint64_t start, uint64_t end, bool grows, struct err *e)
{
	for (size_t i = segments_find(&p->segs, start); i < p->segs.count && p->segs.v[i].start < end; i++) {
		struct segment piece = p->segs.v[i];

		if (piece.kind != SEGMENT_ANON || piece.grows_down == grows)
			continue;
		piece.start = piece.start > start ? piece.start : start;
		piece.end = piece.end < end ? piece.end : end;
		piece.grows_down = grows;
		if (map_again(p, &piece, e) < 0)
			return -1;
	}
	return 0;
}

struct change {
	struct place *p;
	struct err *e;
	uint64_t until; /* source addresses from here on were not mapped */
};

static int map_piece(void *arg, const struct segment *s)
{
	struct change *c = arg;
	void *at = staged_at(c->p, s->start), *got;
	size_t len = s->end - s->start;
	struct staged_file *f = s->kind == SEGMENT_ANON ? NULL : stage_files_find(&c->p->files, s->file);

	c->until = s->start;
	if ((uintptr_t)at < LOWEST_STAGE)
		return err_set(c->e, ERR_CONFLICT, 0, "mapping %llx-%llx came behind the first round, and there is no place here to stage it",
			       (unsigned long long)s->start, (unsigned long long)s->end);
	got = f ? map_file(at, len, s, f, c->e) : map_anonymous(at, len, s);
	if (!got)
		return -1;
	if (got == MAP_FAILED) {
		enum err_kind kind = errno == EEXIST ? ERR_CONFLICT : ERR_SYSTEM;

		return err_set(c->e, kind, errno, "stage mapping %llx-%llx%s%s", (unsigned long long)s->start,
			       (unsigned long long)s->end, f ? " of " : "", f ? f->path : "");
	}
	c->until = s->end;
	return 0;
}

static int unmap_piece(void *arg, const struct segment *s)
{
	struct change *c = arg;

	if (s->start < c->until)
		munmap(staged_at(c->p, s->start), s->end - s->start);
	return 0;
}

int stage_change(struct place *p, struct segments *to, struct err *e)
{
	struct change c = { .p = p, .e = e, .until = UINT64_MAX };

	segments_compare(&p->segs, to, false, unmap_piece, &c);
	if (segments_compare(to, &p->segs, false, map_piece, &c) < 0) {
		/* Nobody goes on after that; leave no mapping behind: what was new so far, then what was kept. */
		segments_compare(to, &p->segs, false, unmap_piece, &c);
		c.until = UINT64_MAX;
		segments_compare(&p->segs, to, true, unmap_piece, &c);
		segments_finish(&p->segs);
		segments_finish(to);
		return -1;
	}
	segments_finish(&p->segs);
	p->segs = *to;
	*to = (struct segments){ 0 };
	return 0;
}

void stage_clear(struct place *p)
{
	for (size_t i = 0; i < p->segs.count; i++)
		munmap(staged_at(p, p->segs.v[i].start), p->segs.v[i].end - p->segs.v[i].start);
	segments_finish(&p->segs);
}
