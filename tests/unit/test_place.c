/* SPDX-License-Identifier: Apache-2.0 */
/* What place.h promises: pages land where their mapping will be, mappings follow the source's from round to round, and a peer that lies
 * gets nothing. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "pageserver/place.h"

enum { PAGE = 4096, MAX_VMAS = 16, ANON = 0x201, PRIVATE = 0x41, SHARED = 0x81, SHARED_ANON = 0x4081 };
#define BASE 0x7a1234400000ull
#define HUGE (2ull << 20)

struct round {
	Drayage__RoundBegin msg;
	VmaEntry vma[MAX_VMAS], *vmas[MAX_VMAS];
	Drayage__Range range[4], *ranges[4];
	Drayage__MappedFile file[4], *files[4];
};

static void round_init(struct round *r)
{
	*r = (struct round){ .msg = DRAYAGE__ROUND_BEGIN__INIT };
	r->msg.round = 1;
	for (unsigned i = 0; i < MAX_VMAS; i++)
		r->vmas[i] = &r->vma[i];
	for (unsigned i = 0; i < 4; i++) {
		r->ranges[i] = &r->range[i];
		r->files[i] = &r->file[i];
	}
	r->msg.vmas = r->vmas;
	r->msg.files = r->files;
}

static void add_vma(struct round *r, uint64_t start, uint64_t len, unsigned status, uint64_t file, uint64_t pgoff)
{
	VmaEntry *v = &r->vma[r->msg.n_vmas++];

	*v = (VmaEntry)VMA_ENTRY__INIT;
	v->start = start;
	v->end = start + len;
	v->status = status;
	v->shmid = file;
	v->pgoff = pgoff;
	v->prot = PROT_READ | PROT_WRITE;
	v->flags = status & 0x180 ? MAP_SHARED : MAP_PRIVATE;
}

static void add_file(struct round *r, uint32_t id, const char *path, uint64_t size, bool shmem)
{
	Drayage__MappedFile *f = &r->file[r->msg.n_files++];

	*f = (Drayage__MappedFile)DRAYAGE__MAPPED_FILE__INIT;
	f->id = id;
	f->path = (char *)(uintptr_t)path;
	f->size = size;
	f->has_shmem = shmem;
	f->shmem = shmem;
}

static void add_range(struct round *r, uint64_t start, uint64_t end)
{
	Drayage__Range *g = &r->range[r->msg.n_reset + r->msg.n_populate];

	*g = (Drayage__Range)DRAYAGE__RANGE__INIT;
	g->start = start;
	g->end = end;
}

static struct place *make(void)
{
	struct err e = { 0 };
	struct place *p = place_create(0, &e);

	assert_non_null(p);
	return p;
}

static void apply(struct place *p, struct round *r)
{
	struct err e = { 0 };

	if (place_apply(p, &r->msg, &e) < 0)
		fail_msg("%s", e.text);
}

static void refuses(struct place *p, struct round *r, enum err_kind kind)
{
	struct err e = { 0 };

	assert_int_equal(place_apply(p, &r->msg, &e), -1);
	if (e.kind != kind)
		fail_msg("kind %d: %s", e.kind, e.text);
}

/* The staged memory of one run; NULL when refused. */
static uint8_t *at(struct place *p, uint64_t addr, uint32_t pages)
{
	struct iovec iov;
	struct page_run run = { addr, pages, RUN_DATA };
	int rc = place_iovec(p, &run, &iov);

	if (rc < 0) {
		assert_int_equal(rc, -EFAULT);
		return NULL;
	}
	assert_int_equal(iov.iov_len, (size_t)pages * PAGE);
	assert_true(((uintptr_t)iov.iov_base ^ addr) == place_stage_bit(p));
	return iov.iov_base;
}

static int drop(struct place *p, uint64_t addr, uint32_t pages)
{
	return place_drop(p, &(struct page_run){ addr, pages, RUN_DROP });
}

static bool is_mapped(struct place *p, uint64_t addr)
{
	unsigned char vec;

	return mincore((void *)(uintptr_t)(addr ^ place_stage_bit(p)), PAGE, &vec) == 0;
}

/* The lines of /proc/self/smaps for the mapping that holds addr, into text. */
static void smaps_of(uint64_t addr, char *text, size_t max)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	bool inside = false;

	assert_non_null(f);
	text[0] = '\0';
	while (fgets(line, sizeof(line), f)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= addr && addr < end;
		if (inside && strlen(text) + strlen(line) < max)
			strcat(text, line);
	}
	fclose(f);
}

static void pages_land_at_the_address_with_the_bit_flipped(void **state)
{
	struct place *p = make();
	struct round r;

	(void)state;
	round_init(&r);
	add_vma(&r, 0x400000, 4 * PAGE, ANON, 0, 0);
	add_vma(&r, BASE, 8 * PAGE, ANON, 0, 0);
	apply(p, &r);
	assert_true(place_stage_bit(p) != 0);
	memset(at(p, BASE + PAGE, 2), 7, 2 * PAGE);
	memset(at(p, 0x400000, 4), 8, 4 * PAGE);
	assert_int_equal(at(p, BASE, 1)[0], 0);
	assert_int_equal(at(p, BASE + 2 * PAGE, 1)[PAGE - 1], 7);
	place_destroy(p);
}

static void memory_outside_of_placeable_mappings_is_refused(void **state)
{
	struct place *p = make();
	char path[] = "/tmp/dray-place-XXXXXX";
	int fd = mkstemp(path);
	struct round r;

	(void)state;
	assert_int_equal(ftruncate(fd, 4 * PAGE), 0);
	round_init(&r);
	add_file(&r, 5, path, 4 * PAGE, false);
	add_vma(&r, BASE, 2 * PAGE, ANON, 0, 0);
	add_vma(&r, BASE + 2 * PAGE, 2 * PAGE, PRIVATE, 5, 0);
	add_vma(&r, BASE + 5 * PAGE, 2 * PAGE, ANON, 0, 0);
	add_vma(&r, BASE + 8 * PAGE, 2 * PAGE, SHARED, 5, 0);
	add_vma(&r, 0x7ffff7fc0000, 2 * PAGE, 0x209, 0, 0); /* vdso */
	apply(p, &r);
	assert_non_null(at(p, BASE, 4)); /* across two mappings side by side */
	assert_null(at(p, BASE, 5));
	assert_null(at(p, BASE + 4 * PAGE, 1));
	assert_null(at(p, BASE - PAGE, 2));
	assert_null(at(p, BASE + 8 * PAGE, 1)); /* the file's own */
	assert_null(at(p, 0x7ffff7fc0000, 1));
	assert_null(at(p, 0, 1));
	assert_null(at(p, (1ull << 47) - PAGE, 2));
	assert_null(at(p, BASE ^ place_stage_bit(p), 1));
	assert_int_equal(drop(p, BASE + 4 * PAGE, 1), -EFAULT);
	assert_int_equal(drop(p, BASE + 8 * PAGE, 1), -EFAULT);
	assert_int_equal(drop(p, BASE, 1u << 26), -EFAULT);
	place_destroy(p);
	close(fd);
	unlink(path);
}

static void mappings_follow_the_source_from_round_to_round(void **state)
{
	struct place *p = make();
	struct round r;

	(void)state;
	round_init(&r);
	add_vma(&r, BASE, 4 * PAGE, ANON, 0, 0);
	add_vma(&r, BASE + 8 * PAGE, 4 * PAGE, ANON, 0, 0);
	apply(p, &r);
	memset(at(p, BASE, 4), 1, 4 * PAGE);
	memset(at(p, BASE + 8 * PAGE, 4), 2, 4 * PAGE);

	round_init(&r); /* the first split by mprotect and grown, the second shrunk at both ends, a third new */
	r.msg.round = 2;
	add_vma(&r, BASE, 2 * PAGE, ANON, 0, 0);
	add_vma(&r, BASE + 2 * PAGE, 4 * PAGE, ANON, 0, 0);
	add_vma(&r, BASE + 9 * PAGE, 2 * PAGE, ANON, 0, 0);
	add_vma(&r, BASE + 16 * PAGE, PAGE, ANON, 0, 0);
	apply(p, &r);
	assert_int_equal(at(p, BASE, 6)[4 * PAGE - 1], 1);
	assert_int_equal(at(p, BASE, 6)[4 * PAGE], 0);
	assert_int_equal(at(p, BASE + 9 * PAGE, 2)[0], 2);
	assert_null(at(p, BASE + 8 * PAGE, 1));
	assert_false(is_mapped(p, BASE + 8 * PAGE));
	assert_false(is_mapped(p, BASE + 11 * PAGE));
	assert_true(is_mapped(p, BASE + 16 * PAGE));

	round_init(&r);
	r.msg.round = 3;
	apply(p, &r);
	assert_false(is_mapped(p, BASE));
	assert_false(is_mapped(p, BASE + 16 * PAGE));
	place_destroy(p);
}

static void a_mapping_of_another_kind_replaces_the_old_one(void **state)
{
	struct place *p = make();
	char path[] = "/tmp/dray-place-XXXXXX";
	int fd = mkstemp(path);
	struct round r;

	(void)state;
	assert_int_equal(pwrite(fd, "file", 4, PAGE), 4);
	assert_int_equal(ftruncate(fd, 3 * PAGE), 0);
	round_init(&r);
	add_vma(&r, BASE, 4 * PAGE, ANON, 0, 0);
	apply(p, &r);
	memset(at(p, BASE, 4), 1, 4 * PAGE);

	round_init(&r);
	add_file(&r, 9, path, 3 * PAGE, false);
	add_vma(&r, BASE, PAGE, ANON, 0, 0);
	add_vma(&r, BASE + PAGE, 2 * PAGE, PRIVATE, 9, PAGE);
	add_vma(&r, BASE + 3 * PAGE, PAGE, ANON, 0, 0);
	apply(p, &r);
	assert_int_equal(at(p, BASE, 1)[0], 1);
	assert_memory_equal(at(p, BASE + PAGE, 1), "file", 4);
	assert_int_equal(at(p, BASE + 3 * PAGE, 1)[0], 1);

	round_init(&r); /* the same file from another offset */
	add_vma(&r, BASE + 2 * PAGE, PAGE, PRIVATE, 9, PAGE);
	apply(p, &r);
	assert_memory_equal(at(p, BASE + 2 * PAGE, 1), "file", 4);
	place_destroy(p);
	close(fd);
	unlink(path);
}

static void reset_makes_void_what_was_placed(void **state)
{
	struct place *p = make();
	struct round r;

	(void)state;
	round_init(&r);
	add_vma(&r, BASE, 4 * PAGE, ANON, 0, 0);
	apply(p, &r);
	memset(at(p, BASE, 4), 1, 4 * PAGE);
	add_range(&r, BASE + PAGE, BASE + 64 * PAGE);
	r.msg.reset = r.ranges;
	r.msg.n_reset = 1;
	apply(p, &r);
	assert_int_equal(at(p, BASE, 1)[0], 1);
	assert_int_equal(at(p, BASE + PAGE, 1)[0], 0);
	assert_int_equal(at(p, BASE + 3 * PAGE, 1)[0], 0);
	place_destroy(p);
}

static void dropped_pages_read_as_zero_or_as_the_file(void **state)
{
	struct place *p = make();
	char path[] = "/tmp/dray-place-XXXXXX", text[4];
	int fd = mkstemp(path);
	struct round r;

	(void)state;
	assert_int_equal(write(fd, "file", 4), 4);
	assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
	round_init(&r);
	add_file(&r, 1, path, 2 * PAGE, false);
	add_file(&r, 2, "seg", 2 * PAGE, true);
	add_vma(&r, BASE, 2 * PAGE, ANON, 0, 0);
	add_vma(&r, BASE + 2 * PAGE, 2 * PAGE, PRIVATE, 1, 0);
	add_vma(&r, BASE + 4 * PAGE, 2 * PAGE, SHARED_ANON, 2, 0);
	apply(p, &r);
	memset(at(p, BASE, 6), 3, 6 * PAGE);
	assert_int_equal(drop(p, BASE + PAGE, 5), 0);
	assert_int_equal(at(p, BASE, 1)[0], 3);
	assert_int_equal(at(p, BASE + PAGE, 1)[0], 0);
	assert_memory_equal(at(p, BASE + 2 * PAGE, 1), "file", 4);
	assert_int_equal(at(p, BASE + 4 * PAGE, 1)[0], 0);
	assert_int_equal(at(p, BASE + 5 * PAGE, 1)[0], 0);
	/* the file itself never changes */
	assert_int_equal(pread(fd, text, 4, 0), 4);
	assert_memory_equal(text, "file", 4);
	place_destroy(p);
	close(fd);
	unlink(path);
}

static void mappings_of_one_segment_share_and_keep_its_name(void **state)
{
	struct place *p = make();
	struct round r;
	char smaps[4096];

	(void)state;
	round_init(&r);
	add_file(&r, 1, "/dev/zero", 4 * PAGE, true);
	add_file(&r, 2, "named", 4 * PAGE, true);
	add_vma(&r, BASE, 4 * PAGE, SHARED_ANON, 1, 0);
	add_vma(&r, BASE + 16 * PAGE, 2 * PAGE, SHARED_ANON, 1, 2 * PAGE);
	add_vma(&r, BASE + 32 * PAGE, 4 * PAGE, SHARED_ANON, 2, 0);
	add_vma(&r, BASE + 64 * PAGE, PAGE, SHARED_ANON, 2, 3 * PAGE);
	apply(p, &r);
	at(p, BASE + 3 * PAGE, 1)[5] = 42;
	assert_int_equal(at(p, BASE + 17 * PAGE, 1)[5], 42);
	at(p, BASE + 64 * PAGE, 1)[0] = 43;
	assert_int_equal(at(p, BASE + 32 * PAGE, 4)[3 * PAGE], 43);
	smaps_of((uintptr_t)at(p, BASE, 1), smaps, sizeof(smaps));
	assert_non_null(strstr(smaps, "rw-s"));
	assert_non_null(strstr(smaps, " /dev/zero (deleted)\n"));
	smaps_of((uintptr_t)at(p, BASE + 32 * PAGE, 1), smaps, sizeof(smaps));
	assert_non_null(strstr(smaps, " /memfd:named (deleted)\n"));
	assert_true(place_file_fd(p, 2) >= 0);
	assert_int_equal(place_file_fd(p, 3), -1);

	round_init(&r); /* a memory file that grew, a segment of which more is known now */
	add_file(&r, 1, "/dev/zero", 8 * PAGE, true);
	add_file(&r, 2, "named", 8 * PAGE, true);
	add_vma(&r, BASE, 8 * PAGE, SHARED_ANON, 1, 0);
	add_vma(&r, BASE + 32 * PAGE, 8 * PAGE, SHARED_ANON, 2, 0);
	apply(p, &r);
	at(p, BASE + 7 * PAGE, 1)[0] = 1;
	assert_int_equal(at(p, BASE + 3 * PAGE, 1)[5], 42);
	at(p, BASE + 39 * PAGE, 1)[0] = 1;
	assert_int_equal(at(p, BASE + 32 * PAGE, 4)[3 * PAGE], 43);
	place_destroy(p);
}

static void a_stack_still_grows_after_the_move(void **state)
{
	struct place *p = make();
	struct round r;
	char smaps[4096];
	uint8_t *moved;

	(void)state;
	round_init(&r);
	add_vma(&r, BASE, PAGE, ANON, 0, 0); /* right below it: no gap is enforced on fixed mappings */
	add_vma(&r, BASE + PAGE, 4 * PAGE, ANON, 0, 0);
	r.vma[1].flags |= MAP_GROWSDOWN;
	apply(p, &r);
	memset(at(p, BASE, 5), 9, 5 * PAGE);

	round_init(&r); /* it has grown */
	add_vma(&r, BASE - 8 * PAGE, 13 * PAGE, ANON, 0, 0);
	r.vma[0].flags |= MAP_GROWSDOWN;
	apply(p, &r);
	assert_int_equal(at(p, BASE, 5)[PAGE], 9);
	moved = mremap(at(p, BASE - 8 * PAGE, 13), 13 * PAGE, 13 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(BASE - 8 * PAGE));
	assert_ptr_equal(moved, (void *)(BASE - 8 * PAGE));
	smaps_of(BASE, smaps, sizeof(smaps));
	assert_non_null(strstr(smaps, " gd "));
	moved[-PAGE] = 1; /* and it grows */
	assert_int_equal(moved[9 * PAGE], 9);
	munmap(moved - PAGE, 14 * PAGE);
	place_destroy(p);
}

static void memory_above_the_limit_is_refused(void **state)
{
	enum { MIB = 256 };
	struct err e = { 0 };
	struct place *p = place_create(32 << 20, &e);
	struct iovec iov;
	struct round r;
	unsigned placed = 0, again = 0;
	int rc;

	(void)state;
	round_init(&r);
	add_vma(&r, BASE, 64ull * MIB * PAGE, ANON, 0, 0);
	apply(p, &r);
	for (;; placed++) {
		rc = place_iovec(p, &(struct page_run){ BASE + (uint64_t)placed * MIB * PAGE, MIB, RUN_DATA }, &iov);
		if (rc < 0 || placed == 64)
			break;
		memset(iov.iov_base, 1, iov.iov_len);
	}
	assert_int_equal(rc, -EDQUOT);
	assert_in_range(placed, 28, 37);
	assert_in_range(place_resident_bytes(p), 28 << 20, 40 << 20);
	/* Placing what is there again takes no more memory. */
	place_destroy(p);
	p = place_create(32 << 20, &e);
	apply(p, &r);
	for (again = 0; again < 100; again++) {
		assert_int_equal(place_iovec(p, &(struct page_run){ BASE + (again % 24) * MIB * PAGE, MIB, RUN_DATA }, &iov), 0);
		memset(iov.iov_base, 1, iov.iov_len);
	}
	place_destroy(p);
}

static unsigned long field_kib(const char *smaps, const char *name)
{
	const char *s = strstr(smaps, name);

	return s ? strtoul(s + strlen(name), NULL, 10) : 0;
}

static bool huge_pages_here(void)
{
	void *p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *q = (uint8_t *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	bool works;

	q[0] = 1;
	works = madvise(q, HUGE, 25 /* MADV_COLLAPSE */) == 0;
	munmap(p, 2 * HUGE);
	return works;
}

static void announced_memory_becomes_huge_without_advice_on_it(void **state)
{
	struct place *p = make();
	struct round r;
	char smaps[4096];
	uint8_t *m;

	(void)state;
	if (!huge_pages_here()) {
		place_destroy(p);
		skip();
	}
	round_init(&r);
	add_vma(&r, BASE, 4 * HUGE, ANON, 0, 0);
	add_range(&r, BASE, BASE + 3 * HUGE);
	r.msg.populate = r.ranges;
	r.msg.n_populate = 1;
	apply(p, &r);
	memset(at(p, BASE + HUGE - PAGE, 2), 5, 2 * PAGE); /* touches two blocks */
	m = at(p, BASE + 3 * HUGE, 1);
	m[0] = 1;
	smaps_of((uintptr_t)m, smaps, sizeof(smaps));
	assert_int_equal(field_kib(smaps, "AnonHugePages:"), 3 * 2048); /* all that was announced, nothing that wasn't */
	assert_int_equal(field_kib(smaps, "\nRss:"), 3 * 2048 + 4);
	assert_null(strstr(smaps, " hg "));
	assert_int_equal(field_kib(smaps, "\nSize:"), 4 * 2048);
	/* A zero page that travels as a drop leaves the huge page whole. */
	assert_int_equal(drop(p, BASE + HUGE, 1), 0);
	assert_int_equal(at(p, BASE + HUGE, 1)[0], 0);
	assert_int_equal(at(p, BASE + HUGE - PAGE, 1)[0], 5);
	smaps_of((uintptr_t)m, smaps, sizeof(smaps));
	assert_int_equal(field_kib(smaps, "AnonHugePages:"), 3 * 2048);
	/* What was placed before survives another announcement. */
	apply(p, &r);
	assert_int_equal(at(p, BASE + HUGE - PAGE, 1)[0], 5);
	place_destroy(p);
}

static void told_otherwise_at_last(struct place *p, uint64_t start, uint64_t end, bool grows)
{
	struct err e = { 0 };
	char smaps[4096];

	if (place_set_growing(p, start, end, grows, &e) < 0)
		fail_msg("%s", e.text);
	smaps_of((uintptr_t)at(p, start, 1), smaps, sizeof(smaps));
	assert_true((strstr(smaps, " gd ") != NULL) == grows);
}

static void what_grows_may_be_told_at_last(void **state)
{
	struct place *p = make();
	struct round r;
	char smaps[4096];

	(void)state;
	round_init(&r);
	add_vma(&r, BASE, 8 * PAGE, ANON, 0, 0);
	add_vma(&r, BASE + 8 * PAGE, 4 * PAGE, ANON, 0, 0);
	r.vma[1].flags |= MAP_GROWSDOWN;
	apply(p, &r);
	memset(at(p, BASE, 12), 9, 4 * PAGE);
	memset(at(p, BASE + 6 * PAGE, 6), 9, 6 * PAGE);
	told_otherwise_at_last(p, BASE + 4 * PAGE, BASE + 8 * PAGE, true);
	told_otherwise_at_last(p, BASE + 8 * PAGE, BASE + 12 * PAGE, false);
	told_otherwise_at_last(p, BASE, BASE + 4 * PAGE, false);
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(at(p, BASE + i * PAGE, 1)[PAGE - 1], i < 4 || i > 5 ? 9 : 0);
	smaps_of((uintptr_t)at(p, BASE + 4 * PAGE, 1), smaps, sizeof(smaps));
	assert_int_equal(field_kib(smaps, "Rss:"), 2 * 4); /* what was zeros takes none */
	place_destroy(p);
}

/* Two mappings that can't become one, with the border inside a block. */
static void a_block_that_cannot_be_huge_spoils_no_other(void **state)
{
	struct place *p = make();
	struct round r;
	char smaps[4096];
	uint8_t *m;

	(void)state;
	if (!huge_pages_here()) {
		place_destroy(p);
		skip();
	}
	round_init(&r);
	add_vma(&r, BASE, HUGE + PAGE, ANON, 0, 0);
	add_vma(&r, BASE + HUGE + PAGE, 15 * HUGE - PAGE, ANON, 0, 0);
	r.vma[0].flags |= MAP_GROWSDOWN;
	add_range(&r, BASE, BASE + 2 * HUGE);
	r.msg.n_populate++;
	add_range(&r, BASE + 12 * HUGE, BASE + 14 * HUGE);
	r.msg.n_populate++;
	r.msg.populate = r.ranges;
	apply(p, &r);
	memset(at(p, BASE + HUGE, 4), 5, 4 * PAGE);
	m = at(p, BASE + 12 * HUGE, 4);
	memset(m, 6, 4 * PAGE);
	smaps_of((uintptr_t)m, smaps, sizeof(smaps));
	assert_int_equal(field_kib(smaps, "AnonHugePages:"), 2 * 2048);
	assert_int_equal(at(p, BASE + HUGE, 4)[4 * PAGE - 1], 5);
	assert_int_equal(at(p, BASE + HUGE - PAGE, 1)[0], 0);
	place_destroy(p);
}

static void lists_that_are_wrong_stage_nothing(void **state)
{
	static const struct { uint64_t start, len; unsigned status; uint64_t file, pgoff; enum err_kind kind; } bad[] = {
		{ BASE + 1, PAGE, ANON, 0, 0, ERR_PROTOCOL },
		{ BASE, PAGE + 1, ANON, 0, 0, ERR_PROTOCOL },
		{ BASE, 0, ANON, 0, 0, ERR_PROTOCOL },
		{ BASE, -PAGE, ANON, 0, 0, ERR_PROTOCOL },
		{ 0, PAGE, ANON, 0, 0, ERR_PROTOCOL },
		{ (1ull << 47) - PAGE, PAGE, ANON, 0, 0, ERR_PROTOCOL },
		{ 1ull << 50, PAGE, ANON, 0, 0, ERR_PROTOCOL },
		{ BASE, PAGE, PRIVATE, 77, 0, ERR_PROTOCOL },
		{ BASE, PAGE, 0x1, 0, 0, ERR_PROTOCOL },
		{ BASE, PAGE, 0x501, 0, 0, ERR_UNSUPPORTED },
		{ 0x410000, PAGE, ANON, 0, 0, ERR_PROTOCOL }, /* overlaps the first */
	};
	struct place *p = make();
	struct round r;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		round_init(&r);
		add_vma(&r, 0x400000, 32 * PAGE, ANON, 0, 0);
		add_vma(&r, bad[i].start, bad[i].len, bad[i].status, bad[i].file, bad[i].pgoff);
		refuses(p, &r, bad[i].kind);
		assert_null(at(p, 0x400000, 1));
	}
	round_init(&r);
	add_vma(&r, BASE, 4 * HUGE, ANON, 0, 0);
	add_range(&r, BASE + PAGE, BASE + HUGE);
	r.msg.populate = r.ranges;
	r.msg.n_populate = 1;
	refuses(p, &r, ERR_PROTOCOL);
	place_destroy(p);
}

static void files_that_differ_are_refused_by_name(void **state)
{
	struct place *p = make();
	struct round r;
	struct err e = { 0 };

	(void)state;
	round_init(&r);
	add_file(&r, 1, "/proc/self/exe", 1, false);
	assert_int_equal(place_apply(p, &r.msg, &e), -1);
	assert_int_equal(e.kind, ERR_MISMATCH);
	assert_non_null(strstr(e.text, "/proc/self/exe"));
	round_init(&r);
	add_file(&r, 1, "/nonexistent/dray", 1, false);
	refuses(p, &r, ERR_SYSTEM);
	round_init(&r);
	add_file(&r, 1, "/dev/null", 0, false);
	refuses(p, &r, ERR_UNSUPPORTED);
	round_init(&r);
	add_file(&r, 1, "relative", 0, false);
	refuses(p, &r, ERR_PROTOCOL);
	place_destroy(p);
}

static void own_mappings_in_the_way_move_the_bit(void **state)
{
	struct place *p = make();
	void *own = mmap((void *)(BASE ^ 1ull << 45), PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	struct round r;

	(void)state;
	assert_true(own != MAP_FAILED);
	round_init(&r);
	add_vma(&r, BASE, PAGE, ANON, 0, 0);
	apply(p, &r);
	assert_true(place_stage_bit(p) != 1ull << 45);
	place_destroy(p);
	munmap(own, PAGE);
}

/* What comes into the way later is an error, and whatever was staged is gone. */
static void a_late_collision_leaves_nothing_behind(void **state)
{
	struct place *p = make();
	struct round r;
	void *own;

	(void)state;
	round_init(&r);
	add_vma(&r, BASE, 2 * PAGE, ANON, 0, 0);
	apply(p, &r);
	own = mmap((void *)((BASE + 8 * PAGE) ^ place_stage_bit(p)), PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	assert_true(own != MAP_FAILED);
	add_vma(&r, BASE + 4 * PAGE, PAGE, ANON, 0, 0);
	add_vma(&r, BASE + 7 * PAGE, 2 * PAGE, ANON, 0, 0);
	add_vma(&r, BASE + 16 * PAGE, PAGE, ANON, 0, 0);
	refuses(p, &r, ERR_CONFLICT);
	assert_false(is_mapped(p, BASE));
	assert_false(is_mapped(p, BASE + 4 * PAGE));
	assert_false(is_mapped(p, BASE + 16 * PAGE));
	assert_true(is_mapped(p, BASE + 8 * PAGE)); /* our own stays */
	place_destroy(p);
	munmap(own, PAGE);
}

/* A mapping that came after the bit was chosen, whose staged address would be 0: what root could map there is no failure without a word. */
static void what_comes_late_and_has_no_place_is_refused(void **state)
{
	struct place *p = make();
	struct round r;

	(void)state;
	round_init(&r);
	add_vma(&r, BASE, 2 * PAGE, ANON, 0, 0);
	apply(p, &r);
	round_init(&r);
	add_vma(&r, place_stage_bit(p), PAGE, ANON, 0, 0);
	add_vma(&r, BASE, 2 * PAGE, ANON, 0, 0);
	refuses(p, &r, ERR_CONFLICT);
	assert_false(is_mapped(p, BASE));
	place_destroy(p);
}

/* Sanitizers and language runtimes reserve terabytes without access. */
static void a_huge_reservation_can_be_staged(void **state)
{
	struct place *p = make();
	struct round r;

	(void)state;
	round_init(&r);
	add_vma(&r, 0x10000000000, 1ull << 40, ANON, 0, 0);
	apply(p, &r);
	at(p, 0x10000000000 + (1ull << 39), 1)[0] = 1;
	place_destroy(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_land_at_the_address_with_the_bit_flipped),
		cmocka_unit_test(memory_outside_of_placeable_mappings_is_refused),
		cmocka_unit_test(mappings_follow_the_source_from_round_to_round),
		cmocka_unit_test(a_mapping_of_another_kind_replaces_the_old_one),
		cmocka_unit_test(reset_makes_void_what_was_placed),
		cmocka_unit_test(dropped_pages_read_as_zero_or_as_the_file),
		cmocka_unit_test(mappings_of_one_segment_share_and_keep_its_name),
		cmocka_unit_test(a_stack_still_grows_after_the_move),
		cmocka_unit_test(what_grows_may_be_told_at_last),
		cmocka_unit_test(memory_above_the_limit_is_refused),
		cmocka_unit_test(announced_memory_becomes_huge_without_advice_on_it),
		cmocka_unit_test(a_block_that_cannot_be_huge_spoils_no_other),
		cmocka_unit_test(lists_that_are_wrong_stage_nothing),
		cmocka_unit_test(files_that_differ_are_refused_by_name),
		cmocka_unit_test(own_mappings_in_the_way_move_the_bit),
		cmocka_unit_test(a_late_collision_leaves_nothing_behind),
		cmocka_unit_test(what_comes_late_and_has_no_place_is_refused),
		cmocka_unit_test(a_huge_reservation_can_be_staged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
