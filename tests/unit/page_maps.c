/* SPDX-License-Identifier: Apache-2.0 */
/* What a set says of memory is what is read from it, through all the sets that it builds on; a set that lies, or that was broken off, is not
 * believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "images.pb-c.h"
#include "pageserver/images/pagemap.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/image/image.h"
#include "tests/lib/page_sets.h"
#include "tests/lib/socket_source.h"

enum { PAGE = PAGE_SETS_PAGE, BASE = PAGE_SETS_BASE };

static const int *const set = page_sets.set;

static void expect_unreadable(int dir, enum err_kind kind, const char *says)
{
	struct err e = { 0 };
	struct pagemap_reader *r = pagemap_open(dir, PAGEMAP_TASK, 41, &e);

	assert_null(r);
	if (e.kind != kind || !strstr(e.text, says))
		fail_msg("%s: \"%s\" does not say \"%s\"", err_kind_name(e.kind), e.text, says);
}

/* ---- files as others write them ---- */

struct entry { uint64_t vaddr; uint32_t compat; int64_t nr, flags; int in_parent; }; /* nr, flags: -1 absent */

static void write_map(int dir, const struct entry *v, size_t n)
{
	struct err e = { 0 };
	PagemapHead head = PAGEMAP_HEAD__INIT;
	struct image_out *o = image_create(dir, IMAGE_PAGEMAP, 41, &e);

	head.pages_id = 1;
	assert_non_null(o);
	assert_int_equal(image_put(o, &head.base, &e), 0);
	for (size_t i = 0; i < n; i++) {
		PagemapEntry m = PAGEMAP_ENTRY__INIT;

		m.vaddr = v[i].vaddr;
		m.compat_nr_pages = v[i].compat;
		m.has_nr_pages = v[i].nr >= 0;
		m.nr_pages = (uint64_t)v[i].nr;
		m.has_flags = v[i].flags >= 0;
		m.flags = (uint32_t)v[i].flags;
		m.has_in_parent = m.in_parent = v[i].in_parent;
		assert_int_equal(image_put(o, &m.base, &e), 0);
	}
	assert_int_equal(image_close(o, false, &e), 0);
}

static void write_pages(int dir, const char *bytes)
{
	struct err e = { 0 };
	struct image_out *o = image_create(dir, IMAGE_PAGES, 1, &e);
	char page[PAGE];

	assert_non_null(o);
	for (; *bytes; bytes++) {
		memset(page, *bytes, PAGE);
		assert_int_equal(image_put_raw(o, page, PAGE, &e), 0);
	}
	assert_int_equal(image_close(o, false, &e), 0);
}

/* ---- the tests ---- */

static void a_chain_reads_as_one(void **state)
{
	struct pagemap_reader *r;
	char all[3 * PAGE];
	struct err e = { 0 };

	(void)state;
	set_chain_of_three();
	r = set_reader(set[2], 41);
	expect_letters(r, "abC4e.g..JKLx.");
	for (int twice = 0; twice < 2; twice++) {
		expect_extent(r, 0, 2, PAGE_PRESENT, 2);
		expect_extent(r, 2, 1, PAGE_PRESENT, 1);
		expect_extent(r, 3, 1, PAGE_PRESENT, 0);
		expect_extent(r, 4, 1, PAGE_PRESENT, 2);
		expect_extent(r, 6, 1, PAGE_PRESENT, 2);
		expect_extent(r, 9, 3, PAGE_PRESENT, 1);
		expect_extent(r, 12, 1, PAGE_PRESENT, 0);
		expect_end(r);
		pagemap_rewind(r);
	}
	assert_true(pagemap_covers(r, BASE, 5));
	assert_false(pagemap_covers(r, BASE, 6));
	assert_false(pagemap_covers(r, BASE + 1, 1));
	assert_false(pagemap_covers(r, BASE, UINT64_MAX));
	assert_int_equal(pagemap_read(r, BASE + PAGE, 3, all, &e), 0);
	assert_int_equal(all[0], 'b');
	assert_int_equal(all[PAGE], 'C');
	assert_int_equal(all[2 * PAGE], '4');
	assert_int_equal(pagemap_read(r, BASE + 4 * PAGE, 2, all, &e), -1);
	assert_non_null(strstr(e.text, "pagemap-41.img: the page at 0x15000"));
	pagemap_close(r);
}

static void a_parent_may_be_a_directory(void **state)
{
	cleanup_fd int inside = -1;
	struct page_sink *s;
	struct pagemap_reader *r;

	(void)state;
	assert_int_equal(mkdirat(set[1], "parent", 0700), 0);
	inside = openat(set[1], "parent", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	write_map(inside, (struct entry[]){ { BASE, 1, 1, 4, 0 } }, 1);
	write_pages(inside, "p");
	s = set_begin(set[1], "../0"); /* what is there is kept, whatever was asked for */
	assert_true(set_open(s, PAGEMAP_TASK, 41));
	set_hole(s, 0, 1);
	set_finish(s);
	r = set_reader(set[1], 41);
	expect_letters(r, "p.");
	pagemap_close(r);
	unlinkat(set[1], "parent/pagemap-41.img", 0);
	unlinkat(set[1], "parent/pages-1.img", 0);
	unlinkat(set[1], "parent", AT_REMOVEDIR);
}

static void a_parent_has_what_it_has(void **state)
{
	struct page_sink *s;
	struct err e = { 0 };
	bool parent = true;

	(void)state;
	set_chain_of_three();
	assert_int_equal(unlinkat(set[2], "pages-1.img", 0), 0);
	s = set_begin(set[3], "../2");
	assert_int_equal(s->ops->has_parent(s, PAGEMAP_TASK, 42, &parent, &e), 0);
	assert_false(parent);
	assert_int_equal(s->ops->has_parent(s, PAGEMAP_SHMEM, 41, &parent, &e), 0);
	assert_false(parent);
	assert_int_equal(s->ops->has_parent(s, PAGEMAP_TASK, 41, &parent, &e), 0);
	assert_false(parent); /* without its pages it can't be built upon */
	s->ops->destroy(s);
	s = set_begin(set[3], "../1");
	assert_int_equal(s->ops->has_parent(s, PAGEMAP_TASK, 41, &parent, &e), 0);
	assert_true(parent);
	s->ops->destroy(s);
}

static void a_parent_that_leads_nowhere_is_refused(void **state)
{
	struct image_set_options o = { .dirfd = set[1], .first_pages_id = 1, .parent = "../nowhere" };
	struct err e = { 0 };

	(void)state;
	assert_null(image_set_create(&o, &e));
	assert_non_null(strstr(e.text, "../nowhere"));
	assert_int_equal(files_in(set[1]), 0);
}

/* An old link, and nobody asked for a parent. */
static void a_link_that_leads_nowhere_is_no_parent(void **state)
{
	struct page_sink *s;

	(void)state;
	assert_int_equal(symlinkat("../nowhere", set[1], "parent"), 0);
	s = set_begin(set[1], NULL);
	assert_false(set_open(s, PAGEMAP_TASK, 41));
	set_put(s, 0, "a");
	set_finish(s);
	expect_set(set[1], 41, "a");
}

static void unfilled_holes_are_refused_by_name(void **state)
{
	struct pagemap_reader *r;
	struct page_extent x;
	struct page_sink *s;
	struct err e = { 0 };

	(void)state;
	set_chain_of_three();
	write_map(set[3], (struct entry[]){ { BASE, 6, 6, 1, 0 } }, 1);
	assert_int_equal(symlinkat("../2", set[3], "parent"), 0);
	r = set_reader(set[3], 41);
	expect_letters(r, "abC4e.");
	expect_extent(r, 0, 2, PAGE_PRESENT, 3);
	expect_extent(r, 2, 1, PAGE_PRESENT, 2);
	expect_extent(r, 3, 1, PAGE_PRESENT, 1);
	expect_extent(r, 4, 1, PAGE_PRESENT, 3);
	assert_int_equal(pagemap_next(r, &x, &e), -1);
	assert_non_null(strstr(e.text, "pagemap-41.img: the hole at 0x15000 of 1 pages is in no parent"));
	pagemap_close(r);

	s = set_begin(set[3], NULL);
	assert_true(set_open(s, PAGEMAP_TASK, 41));
	set_hole(s, 1, 4);
	assert_int_equal(s->ops->hole(s, BASE + 5 * PAGE, 2, PAGE_IN_PARENT, &e), -1);
	assert_non_null(strstr(e.text, "pagemap-41.img: the hole at 0x15000 of 2 pages is in no parent"));
	assert_int_equal(s->ops->finish(s, &e), -1);
	s->ops->destroy(s);
}

static void other_writers_forms_are_read(void **state)
{
	struct pagemap_reader *r;

	(void)state;
	write_map(set[0], (struct entry[]){ { BASE, 3, -1, -1, 0 } }, 1);
	write_pages(set[0], "abc");
	write_map(set[1], (struct entry[]){ { BASE, 1, -1, -1, 1 }, { BASE + PAGE, 0, 1, 4, 0 }, { BASE + 2 * PAGE, 1, -1, 1, 0 },
					    { BASE + 3 * PAGE, 1, 1, 6, 0 }, { BASE + 4 * PAGE, 1, 1, 2, 0 } }, 5);
	write_pages(set[1], "Bd");
	assert_int_equal(symlinkat("../0", set[1], "parent"), 0);
	r = set_reader(set[1], 41);
	expect_letters(r, "aBcd.");
	expect_extent(r, 0, 1, PAGE_PRESENT, 1);
	expect_extent(r, 1, 1, PAGE_PRESENT, 0);
	expect_extent(r, 2, 1, PAGE_PRESENT, 1);
	expect_extent(r, 3, 1, PAGE_PRESENT | PAGE_LAZY, 0);
	expect_extent(r, 4, 1, PAGE_LAZY, 0);
	expect_end(r);
	pagemap_close(r);
}

static void lying_page_maps_are_refused(void **state)
{
	static const struct {
		struct entry v[2];
		const char *says;
	} bad[] = {
		{ { { BASE + PAGE, 1, 1, 4, 0 }, { BASE, 1, 1, 4, 0 } }, "0x10000 overlaps or precedes" },
		{ { { BASE, 2, 2, 4, 0 }, { BASE + PAGE, 1, 1, 4, 0 } }, "0x11000 overlaps" },
		{ { { BASE, 1, 1, 4, 0 }, { BASE + PAGE + 8, 1, 1, 4, 0 } }, "within a page" },
		{ { { BASE, 1, 1, 4, 0 }, { BASE + PAGE, 0, 0, 4, 0 } }, "has no pages" },
		{ { { BASE, 1, 1, 4, 0 }, { BASE + PAGE, 0, -1, 4, 0 } }, "has no pages" },
		{ { { BASE, 1, 1, 4, 0 }, { BASE + PAGE, 0, INT64_MAX, 4, 0 } }, "past any address" },
		{ { { BASE, 1, 1, 4, 0 }, { BASE + PAGE, 0, (1ll << 52) - 1, 4, 0 } }, "past any address" },
		{ { { BASE, 1, 1, 4, 0 }, { UINT64_MAX - PAGE + 1, 1, 1, 4, 0 } }, "past any address" },
		{ { { BASE, 1, 1, 4, 0 }, { BASE + PAGE, 1, 1, 5, 0 } }, "both here and in the parent" },
		{ { { BASE, 1, 1, 4, 0 }, { BASE + PAGE, 1, 1, 0, 0 } }, "nowhere" },
		{ { { BASE, 1, 1, 4, 0 }, { BASE + PAGE, 1, 1, 12, 0 } }, "flags 0xc" },
	};

	(void)state;
	write_pages(set[0], "ab");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_map(set[0], bad[i].v, 2);
		expect_unreadable(set[0], strstr(bad[i].says, "0xc") ? ERR_UNSUPPORTED : ERR_PROTOCOL, bad[i].says);
		expect_unreadable(set[0], strstr(bad[i].says, "0xc") ? ERR_UNSUPPORTED : ERR_PROTOCOL, "pagemap-41.img: ");
	}
}

static void missing_and_short_pages_are_refused(void **state)
{
	(void)state;
	write_map(set[0], (struct entry[]){ { BASE, 2, 2, 4, 0 } }, 1);
	expect_unreadable(set[0], ERR_PROTOCOL, "pages-1.img");
	write_pages(set[0], "a");
	expect_unreadable(set[0], ERR_PROTOCOL, "pages-1.img is truncated: its page map speaks of 2 pages, 1 are there");
	write_map(set[1], (struct entry[]){ { BASE, 2, 2, 1, 0 } }, 1);
	assert_int_equal(symlinkat("../0", set[1], "parent"), 0);
	expect_unreadable(set[1], ERR_PROTOCOL, "1 set back: pages-1.img is truncated");
	write_map(set[0], NULL, 0);
	assert_int_equal(unlinkat(set[0], "pagemap-41.img", 0), 0);
	expect_unreadable(set[0], ERR_GONE, "pagemap-41.img");
}

static void links_are_not_followed(void **state)
{
	(void)state;
	write_map(set[0], (struct entry[]){ { BASE, 1, 1, 4, 0 } }, 1);
	write_pages(set[0], "a");
	assert_int_equal(symlinkat("../0/pagemap-41.img", set[1], "pagemap-41.img"), 0);
	assert_int_equal(symlinkat("../0/pages-1.img", set[1], "pages-1.img"), 0);
	expect_unreadable(set[1], ERR_PERMISSION, "pagemap-41.img is a symbolic link");
	assert_int_equal(unlinkat(set[1], "pagemap-41.img", 0), 0);
	write_map(set[1], (struct entry[]){ { BASE, 1, 1, 4, 0 } }, 1);
	expect_unreadable(set[1], ERR_PERMISSION, "pages-1.img is a symbolic link");
}

static void circles_are_refused(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		write_map(set[i], (struct entry[]){ { BASE, 1, 1, 1, 0 } }, 1);
		assert_int_equal(symlinkat(i ? "../0" : "../1", set[i], "parent"), 0);
	}
	expect_unreadable(set[0], ERR_PROTOCOL, "circle");
	expect_unreadable(set[1], ERR_PROTOCOL, "circle");
}

/* 300 sets, one inside the other, each with a hole for the one before. */
static void endless_chains_are_refused(void **state)
{
	enum { MANY = 300 };
	int dir[MANY];

	(void)state;
	dir[0] = set[0];
	for (int i = 0; i < MANY; i++) {
		write_map(dir[i], (struct entry[]){ { BASE, 1, 1, 1, 0 } }, 1);
		if (i + 1 == MANY)
			break;
		assert_int_equal(mkdirat(dir[i], "parent", 0700), 0);
		dir[i + 1] = openat(dir[i], "parent", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(dir[i + 1] >= 0);
	}
	expect_unreadable(set[0], ERR_LIMIT, "more than 256 sets build on each other");
	for (int i = MANY - 1; i > 0; i--) {
		assert_int_equal(unlinkat(dir[i], "pagemap-41.img", 0), 0);
		close(dir[i]);
		assert_int_equal(unlinkat(dir[i - 1], "parent", AT_REMOVEDIR), 0);
	}
}

/* Both counters, for readers that know one of them. */
static void counts_past_the_old_counter_are_split(void **state)
{
	struct page_sink *s = set_begin(set[0], NULL);
	struct err e = { 0 };
	ProtobufCMessage *m;
	struct image_in *in;
	uint64_t huge = (1ull << 32) + 5;
	struct pagemap_reader *r;

	(void)state;
	set_open(s, PAGEMAP_TASK, 41);
	assert_int_equal(s->ops->hole(s, BASE, huge, PAGE_LAZY, &e), 0);
	set_put(s, huge, "z");
	set_finish(s);
	in = image_open(set[0], IMAGE_PAGEMAP, 41, &e);
	assert_non_null(in);
	assert_int_equal(image_get(in, &pagemap_head__descriptor, &m, &e), 1);
	protobuf_c_message_free_unpacked(m, NULL);
	for (int i = 0; i < 3; i++) {
		static const uint64_t nr[] = { UINT32_MAX, 6, 1 };
		PagemapEntry *x;

		assert_int_equal(image_get(in, &pagemap_entry__descriptor, &m, &e), 1);
		x = (PagemapEntry *)m;
		assert_int_equal(x->compat_nr_pages, nr[i]);
		assert_true(x->has_nr_pages && x->has_flags && !x->has_in_parent);
		assert_int_equal(x->nr_pages, nr[i]);
		assert_int_equal(x->vaddr, BASE + (i == 0 ? 0 : i == 1 ? (uint64_t)UINT32_MAX : huge) * PAGE);
		protobuf_c_message_free_unpacked(m, NULL);
	}
	image_in_close(in);
	r = set_reader(set[0], 41);
	expect_extent(r, 0, huge, PAGE_LAZY, 0);
	expect_extent(r, huge, 1, PAGE_PRESENT, 0);
	pagemap_close(r);
}

static void writers_mistakes_are_refused(void **state)
{
	static const struct {
		uint64_t vaddr, nr;
		uint32_t flags;
		bool is_hole;
		const char *says;
	} bad[] = {
		{ BASE, 1, PAGE_PRESENT, false, "0x10000 overlaps or precedes" },
		{ BASE + 5 * PAGE + 1, 1, PAGE_PRESENT, false, "is no range" },
		{ BASE + 5 * PAGE, 0, PAGE_PRESENT, false, "is no range" },
		{ BASE + 5 * PAGE, UINT64_MAX, PAGE_LAZY, true, "is no range" },
		{ BASE + 5 * PAGE, 1ull << 51, PAGE_LAZY, true, "is no range" },
		{ BASE + 5 * PAGE, 1, PAGE_LAZY, false, "flags 0x2" },
		{ BASE + 5 * PAGE, 1, PAGE_PRESENT | PAGE_IN_PARENT, false, "flags 0x5" },
		{ BASE + 5 * PAGE, 1, PAGE_PRESENT | 8, false, "flags 0xc" },
		{ BASE + 5 * PAGE, 1, PAGE_PRESENT, true, "flags 0x4" },
		{ BASE + 5 * PAGE, 1, 0, true, "flags 0x0" },
	};
	static const char page[PAGE];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct page_sink *s = set_begin(set[0], NULL);
		struct err e = { 0 };
		int rc;

		set_open(s, PAGEMAP_TASK, 41);
		set_put(s, 0, "ab");
		rc = bad[i].is_hole ? s->ops->hole(s, bad[i].vaddr, bad[i].nr, bad[i].flags, &e)
				    : s->ops->pages(s, bad[i].vaddr, bad[i].nr, bad[i].flags, page, &e);
		assert_int_equal(rc, -1);
		if (!strstr(e.text, bad[i].says) || !strstr(e.text, "pagemap-41.img"))
			fail_msg("\"%s\" does not say \"%s\"", e.text, bad[i].says);
		assert_int_equal(s->ops->finish(s, &e), -1);
		s->ops->destroy(s);
		assert_int_equal(files_in(set[0]), 0);
	}
}

static void ids_may_be_mixed(void **state)
{
	struct page_sink *s = set_begin(set[0], NULL);
	struct pagemap_reader *r;
	struct err e = { 0 };
	bool parent;

	(void)state;
	for (uint64_t n = 0; n < 4; n++)
		for (uint64_t id = 41; id < 44; id++) {
			char byte[2] = { (char)('a' + n + 5 * (id - 41)), 0 };

			assert_int_equal(page_sink_resume(s, PAGEMAP_TASK, id, &parent, &e), 0);
			set_put(s, 2 * n, byte);
		}
	assert_int_equal(image_set_pages_written(s), 12);
	set_finish(s);
	assert_int_equal(files_in(set[0]), 6);
	for (uint64_t id = 41; id < 44; id++) {
		char want[] = "a.b.c.d.";

		for (int n = 0; n < 8; n += 2)
			want[n] = (char)(want[n] + 5 * (id - 41));
		r = set_reader(set[0], id);
		expect_letters(r, want);
		pagemap_close(r);
	}
}

static void opened_again_begins_anew(void **state)
{
	struct page_sink *s = set_begin(set[0], NULL);
	struct pagemap_reader *r;

	(void)state;
	set_open(s, PAGEMAP_TASK, 41);
	set_put(s, 0, "abc");
	set_open(s, PAGEMAP_SHMEM, 41);
	set_put(s, 0, "s");
	set_open(s, PAGEMAP_TASK, 41);
	set_put(s, 1, "Z");
	assert_int_equal(image_set_pages_written(s), 2);
	set_finish(s);
	assert_int_equal(files_in(set[0]), 4);
	r = set_reader(set[0], 41);
	expect_letters(r, ".Z.");
	pagemap_close(r);
}

static void a_set_replaces_the_one_before_it(void **state)
{
	struct pagemap_reader *r;

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct page_sink *s = set_begin(set[0], NULL);
		char byte[2] = { (char)('a' + i), 0 };

		set_open(s, PAGEMAP_TASK, 41);
		set_put(s, 0, byte);
		set_finish(s);
		assert_int_equal(files_in(set[0]), 2);
		r = set_reader(set[0], 41);
		expect_letters(r, byte);
		pagemap_close(r);
	}
}

static void sets_written_at_once_do_not_mix(void **state)
{
	struct page_sink *a = set_begin(set[0], NULL), *b = set_begin(set[0], NULL);
	struct pagemap_reader *r;
	struct err e = { 0 };

	(void)state;
	set_open(a, PAGEMAP_TASK, 41);
	set_open(b, PAGEMAP_TASK, 41);
	set_put(a, 0, "a");
	set_put(b, 0, "b");
	set_finish(a);
	assert_int_equal(b->ops->finish(b, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	b->ops->destroy(b);
	assert_int_equal(files_in(set[0]), 2);
	r = set_reader(set[0], 41);
	expect_letters(r, "a");
	pagemap_close(r);
}

static void broken_off_leaves_nothing(void **state)
{
	struct page_sink *s;

	(void)state;
	set_chain_of_three();
	s = set_begin(set[3], "../2");
	set_open(s, PAGEMAP_TASK, 41);
	set_hole(s, 0, 1);
	set_put(s, 1, "xyz");
	set_open(s, PAGEMAP_SHMEM, 7);
	set_put(s, 0, "s");
	assert_int_equal(files_in(set[3]), 1); /* the directory aside */
	s->ops->destroy(s);
	assert_int_equal(files_in(set[3]), 0);
}

/* A size limit stands in for a full disk. Scattered pages are gathered before they are written: whichever call finds out says so. */
static void a_full_disk_publishes_nothing(void **state)
{
	struct page_sink *s = set_begin(set[0], NULL);
	struct rlimit old, small;
	struct err e = { 0 };
	static const char page[PAGE];
	int rc = 0;

	(void)state;
	set_open(s, PAGEMAP_TASK, 41);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){ 1000000, old.rlim_max };
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (int i = 0; i < 1000 && rc == 0; i++)
		rc = s->ops->pages(s, BASE + 2ul * i * PAGE, 1, PAGE_PRESENT, page, &e);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(rc, -1);
	assert_int_equal(e.num, EFBIG);
	assert_non_null(strstr(e.text, "pages-1.img"));
	assert_int_equal(s->ops->finish(s, &e), -1);
	s->ops->destroy(s);
	assert_int_equal(files_in(set[0]), 0);
}

static void a_killed_writers_files_are_swept(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		struct page_sink *s = set_begin(set[0], NULL);

		set_open(s, PAGEMAP_TASK, 41);
		set_put(s, 0, "abc");
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(files_in(set[0]), 1);
	set_finish(set_begin(set[0], NULL));
	assert_int_equal(files_in(set[0]), 0);
}

static uint64_t blocks(int dir)
{
	struct stat st;

	assert_int_equal(fstatat(dir, "pages-1.img", &st, 0), 0);
	return (uint64_t)st.st_blocks / 8;
}

static void dedup_frees_what_is_written_again(void **state)
{
	struct pagemap_reader *r;
	uint64_t freed = 99;
	struct err e = { 0 };
	bool seen = can_punch(set[0]);

	(void)state;
	set_chain_of_three();
	if (image_set_dedup(set[2], &freed, &e) < 0) {
		assert_int_equal(e.kind, ERR_UNSUPPORTED);
		skip();
	}
	if (seen) {
		assert_int_equal(freed, 5); /* 4 in set 1; D, c and kl in set 0 */
		assert_int_equal(blocks(set[0]), 6);
		assert_int_equal(blocks(set[1]), 4);
	}
	r = set_reader(set[2], 41);
	expect_letters(r, "abC4e.g..JKLx.");
	pagemap_close(r);
	r = set_reader(set[1], 41);
	expect_letters(r, "abC");
	pagemap_close(r);
}

static void auto_dedup_waits_for_publication(void **state)
{
	struct image_set_options o = { .dirfd = set[3], .first_pages_id = 1, .parent = "../2", .auto_dedup = true, .check_holes = true };
	bool seen = can_punch(set[0]);
	struct err e = { 0 };
	struct page_sink *s;

	(void)state;
	set_chain_of_three();
	s = image_set_create(&o, &e);
	set_open(s, PAGEMAP_TASK, 41);
	set_put(s, 0, "ABCD");
	s->ops->destroy(s);
	assert_int_equal(blocks(set[0]), 10);
	assert_int_equal(blocks(set[2]), 2);
	s = image_set_create(&o, &e);
	set_open(s, PAGEMAP_TASK, 41);
	set_put(s, 0, "ABCD");
	set_hole(s, 4, 1);
	set_finish(s);
	if (seen) {
		assert_int_equal(blocks(set[0]), 6);
		assert_int_equal(blocks(set[1]), 3);
		assert_int_equal(blocks(set[2]), 1);
	}
}

/* Its ids are its own: what a task of the same number has in the set before fills no hole of it, and nothing of that is freed. */
static void shared_memory_builds_on_shared_memory(void **state)
{
	struct image_set_options o = { .dirfd = set[1], .first_pages_id = 1, .parent = "../0", .auto_dedup = true, .check_holes = true };
	struct page_sink *s = set_begin(set[0], NULL);
	bool seen = can_punch(set[0]), parent;
	struct pagemap_reader *r;
	struct err e = { 0 };
	struct stat st;

	(void)state;
	set_open(s, PAGEMAP_TASK, 7);
	set_put(s, 0, "tsuv");
	set_open(s, PAGEMAP_SHMEM, 7);
	set_put(s, 0, "abcd");
	set_open(s, PAGEMAP_SHMEM, 8);
	set_put(s, 9, "e");
	set_finish(s);
	s = image_set_create(&o, &e);
	assert_int_equal(s->ops->has_parent(s, PAGEMAP_SHMEM, 8, &parent, &e), 0);
	assert_true(parent);
	assert_int_equal(s->ops->has_parent(s, PAGEMAP_TASK, 8, &parent, &e), 0);
	assert_false(parent);
	assert_true(set_open(s, PAGEMAP_SHMEM, 7));
	set_hole(s, 0, 2);
	set_put(s, 2, "CD");
	assert_true(set_open(s, PAGEMAP_SHMEM, 8));
	set_hole(s, 9, 1);
	set_finish(s);
	r = pagemap_open(set[1], PAGEMAP_SHMEM, 7, &e);
	assert_non_null(r);
	expect_letters(r, "abCD.");
	pagemap_close(r);
	expect_set(set[0], 7, "tsuv");
	assert_int_equal(fstatat(set[0], "pages-2.img", &st, 0), 0);
	assert_true(!seen || st.st_blocks / 8 == 2);
	assert_int_equal(blocks(set[0]), 4);
}

/* ---- pages that come through a pipe ---- */

struct filler { int to; size_t pages; const char *behind; pthread_t thread; int rc; };

static void *fill_stream(void *arg)
{
	struct filler *f = arg;
	char page[PAGE];

	for (size_t i = 0; i < f->pages && f->rc == 0; i++) {
		memset(page, 'a' + (int)(i % 26), PAGE);
		f->rc = write_full(f->to, page, PAGE);
	}
	if (f->rc == 0)
		f->rc = write_full(f->to, f->behind, strlen(f->behind));
	close(f->to);
	return NULL;
}

static void pages_are_pulled(void **state)
{
	enum { MANY = 700 };
	int p[2], made = socketpair(AF_UNIX, SOCK_STREAM, 0, p), from = p[0];
	struct socket_source source = { .source.move = socket_source_move, .from = from };
	struct filler f = { .to = p[1], .pages = MANY, .behind = "behind" };
	struct page_sink *s = set_begin(set[0], NULL);
	struct err e = { 0 };
	char behind[8] = "", want[MANY + 1] = "";
	struct pagemap_reader *r;

	(void)state;
	assert_int_equal(made, 0);
	set_open(s, PAGEMAP_TASK, 41);
	assert_int_equal(pthread_create(&f.thread, NULL, fill_stream, &f), 0);
	if (s->ops->pull(s, BASE, 1, PAGE_PRESENT, &source.source, &e) < 0 ||
	    s->ops->pull(s, BASE + PAGE, MANY - 1, PAGE_PRESENT | PAGE_LAZY, &source.source, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(read(from, behind, sizeof(behind)), 6);
	assert_string_equal(behind, "behind");
	close(from);
	pthread_join(f.thread, NULL);
	assert_int_equal(f.rc, 0);
	set_finish(s);
	for (int i = 0; i < MANY; i++)
		want[i] = (char)('a' + i % 26);
	r = set_reader(set[0], 41);
	expect_letters(r, want);
	pagemap_close(r);
}

static void a_source_that_ends_early_breaks_the_set(void **state)
{
	struct page_sink *s = set_begin(set[0], NULL);
	struct socket_source source = { .source.move = socket_source_move };
	struct err e = { 0 };
	int p[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
	source.from = p[0];
	set_open(s, PAGEMAP_TASK, 41);
	assert_int_equal(write(p[1], "some", 4), 4);
	close(p[1]);
	assert_int_equal(s->ops->pull(s, BASE, 1, PAGE_PRESENT, &source.source, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	assert_int_equal(s->ops->finish(s, &e), -1);
	s->ops->destroy(s);
	close(p[0]);
	assert_int_equal(files_in(set[0]), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SETS(a_chain_reads_as_one),
		IN_SETS(a_parent_may_be_a_directory),
		IN_SETS(a_parent_has_what_it_has),
		IN_SETS(a_parent_that_leads_nowhere_is_refused),
		IN_SETS(a_link_that_leads_nowhere_is_no_parent),
		IN_SETS(unfilled_holes_are_refused_by_name),
		IN_SETS(other_writers_forms_are_read),
		IN_SETS(lying_page_maps_are_refused),
		IN_SETS(missing_and_short_pages_are_refused),
		IN_SETS(links_are_not_followed),
		IN_SETS(circles_are_refused),
		IN_SETS(endless_chains_are_refused),
		IN_SETS(counts_past_the_old_counter_are_split),
		IN_SETS(writers_mistakes_are_refused),
		IN_SETS(ids_may_be_mixed),
		IN_SETS(opened_again_begins_anew),
		IN_SETS(a_set_replaces_the_one_before_it),
		IN_SETS(sets_written_at_once_do_not_mix),
		IN_SETS(broken_off_leaves_nothing),
		IN_SETS(a_full_disk_publishes_nothing),
		IN_SETS(a_killed_writers_files_are_swept),
		IN_SETS(dedup_frees_what_is_written_again),
		IN_SETS(auto_dedup_waits_for_publication),
		IN_SETS(shared_memory_builds_on_shared_memory),
		IN_SETS(pages_are_pulled),
		IN_SETS(a_source_that_ends_early_breaks_the_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
