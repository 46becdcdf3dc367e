/* SPDX-License-Identifier: Apache-2.0 */
/* page_sets.h - image directories for tests: written a page a letter, read back as letters. Page n is the one at PAGE_SETS_BASE + n pages.
 * Threads: one. Fails: prints what, and aborts. */
#ifndef DRAY_TESTS_PAGE_SETS_H
#define DRAY_TESTS_PAGE_SETS_H

#include <stdbool.h>
#include <stdint.h>

#include "pageserver/images/pagemap.h"

#define PAGE_SETS_BASE 0x10000ul
enum { PAGE_SETS = 4, PAGE_SETS_PAGE = 4096 };

struct page_sets {
	char root[64];
	int at;             /* the root */
	int set[PAGE_SETS]; /* its directories "0" to "3" */
};
extern struct page_sets page_sets;
/* A test's setup and teardown, so a state comes along that they have no use for. 0 or -1. */
int page_sets_make(void **unused);
int page_sets_remove(void **unused); /* files and links in the sets; fails where a directory was left */
#define IN_SETS(f) cmocka_unit_test_setup_teardown(f, page_sets_make, page_sets_remove)
unsigned files_in(int dir);                /* names in it, `parent` and directories too */
bool can_punch(int dir);                   /* a punched page is free there, a page at a time */

/* ---- writing ---- */
struct page_sink *set_begin(int dir, const char *parent);
bool set_open(struct page_sink *s, enum pagemap_kind kind, uint64_t id); /* whether it has a parent */
void set_put(struct page_sink *s, uint64_t n, const char *letters);
void set_hole(struct page_sink *s, uint64_t n, uint64_t nr);
void set_finish(struct page_sink *s);
/* Three sets of task 41, each on the one before; the last reads as CHAIN_OF_THREE. */
void set_chain_of_three(void);
#define CHAIN_OF_THREE "abC4e.g..JKLx."

/* ---- reading ---- */
struct pagemap_reader *set_reader(int dir, uint64_t id);
/* From page 0 on; '.': it is not there. */
void expect_letters(struct pagemap_reader *r, const char *letters);
void expect_set(int dir, uint64_t id, const char *letters); /* the same of a set that is opened for it */
void expect_extent(struct pagemap_reader *r, uint64_t n, uint64_t nr, uint32_t flags, unsigned depth);
void expect_end(struct pagemap_reader *r);

#endif
