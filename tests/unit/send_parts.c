/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of sending: how runs are cut, how bandwidth is rationed, when compression pays, what a zero page is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "migrate/extract/copy.h"
#include "migrate/send/bucket.h"
#include "migrate/send/choose.h"
#include "migrate/send/cursor.h"
#include "migrate/send/sender.h"
#include "migrate/send/sent_log.h"
#include "proto/wire/frame.h"

#define GB 1000000000ull

static void every_page_is_given_out_once_and_in_order(void **state)
{
	const struct page_run in[] = {
		{ 0x1000, 1, RUN_DATA }, { 0x5000, 700, RUN_DATA }, { 0x800000, 3u << 30, RUN_DROP }, { 0x40000000000, 5000, RUN_DATA },
	};
	uint64_t next[4] = { 0 };

	(void)state;
	for (uint32_t align = 1; align <= 512; align *= 512) {
		struct cursor c;
		struct page_run out[3];
		uint32_t pages;
		size_t at = 0, n;

		cursor_init(&c, in, 4);
		memset(next, 0, sizeof(next));
		while ((n = cursor_take(&c, 256, align, out, 3, &pages)) > 0) {
			uint32_t sum = 0;

			for (size_t i = 0; i < n; i++) {
				if (next[at] == in[at].pages)
					at++;
				assert_int_equal(out[i].kind, in[at].kind);
				assert_int_equal(out[i].addr, in[at].addr + next[at] * 4096);
				next[at] += out[i].pages;
				assert_true(next[at] <= in[at].pages);
				assert_true(out[i].pages <= (out[i].kind == RUN_DATA ? FRAME_MAX_PAGES : FRAME_MAX_DROP_PAGES));
				sum += out[i].kind == RUN_DATA ? out[i].pages : 0;
			}
			assert_int_equal(sum, pages);
			assert_true(pages <= 256);
		}
		for (at = 0; at < 4; at++)
			assert_int_equal(next[at], in[at].pages);
	}
}

static void pieces_end_where_huge_pages_do(void **state)
{
	const struct page_run in[] = { { 0x201000, 4000, RUN_DATA } };
	struct page_run out[4];
	struct cursor c;
	uint32_t pages;

	(void)state;
	cursor_init(&c, in, 1);
	assert_int_equal(cursor_take(&c, 2048, 512, out, 4, &pages), 1);
	assert_int_equal(run_end(&out[0]) % (2 << 20), 0);
	assert_int_equal(pages, 2047);
	assert_int_equal(cursor_take(&c, 2048, 512, out, 4, &pages), 1);
	assert_int_equal(out[0].addr, 0xa00000);
	assert_int_equal(pages, 4000 - 2047);
}

static void the_limit_is_kept_by_counting(void **state)
{
	struct bucket b;
	uint64_t now = 5000000, start = now, sent = 0;

	(void)state;
	bucket_init(&b, 10000000, now);
	for (int i = 0; i < 1000; i++) {
		now += bucket_take(&b, 100000, now);
		sent += 100000;
	}
	/* 100 MB at 10 MB/s: ten seconds of the bucket's time, but for what may go at once. */
	assert_true(now - start >= (sent - (uint64_t)bucket_burst(&b)) / 10);
	assert_true(now - start <= sent / 10 + 1000000);
}

static void a_pause_saves_up_no_more_than_a_burst(void **state)
{
	struct bucket b;
	uint64_t wait;

	(void)state;
	bucket_init(&b, 1000000, 0);
	assert_int_equal(bucket_take(&b, (uint64_t)bucket_burst(&b), 3600ull * 1000000), 0);
	wait = bucket_take(&b, 1000000, 3600ull * 1000000);
	assert_true(wait >= 1000000 && wait <= 1000001);
	bucket_init(&b, 0, 0);
	assert_int_equal(bucket_take(&b, UINT32_MAX, 1), 0);
}

static void compression_pays_on_slow_links_only(void **state)
{
	(void)state;
	assert_true(compress_pays(GB / 8, GB, 300));        /* 1 Gb/s, text */
	assert_true(compress_pays(GB / 2, GB, 300));
	assert_false(compress_pays(GB, GB, 300));           /* lz4 itself is the bottleneck */
	assert_false(compress_pays(10 * GB, 2 * GB, 390));  /* loopback */
	assert_false(compress_pays(GB / 8, 10 * GB, 100));  /* random bytes */
	assert_false(compress_pays(0, GB, 300));            /* nothing is known */
}

static void automatic_compression_follows_what_is_measured(void **state)
{
	struct compress_auto a;

	(void)state;
	compress_auto_init(&a, 0);
	assert_false(compress_auto_wants(&a));
	for (int i = 0; i < 32; i++)
		compress_auto_sent(&a, 1 << 20, 10000); /* 105 MB/s */
	assert_true(compress_auto_wants(&a));
	for (int i = 0; i < 4; i++)
		compress_auto_compressed(&a, 1 << 20, 1 << 18, 1000);
	assert_int_equal(a.state, AUTO_ON);
	for (int i = 0; i < 600 && a.state == AUTO_ON; i++)
		compress_auto_compressed(&a, 1 << 20, 1 << 20, 1000);
	for (int i = 0; i < 4; i++)
		compress_auto_compressed(&a, 1 << 20, 1 << 20, 1000); /* the data became random */
	assert_int_equal(a.state, AUTO_OFF);

	compress_auto_init(&a, 0);
	for (int i = 0; i < 32; i++)
		compress_auto_sent(&a, 1 << 20, 150); /* 7 GB/s */
	for (int i = 0; i < 4; i++)
		compress_auto_compressed(&a, 1 << 20, 1 << 18, 1000);
	assert_int_equal(a.state, AUTO_OFF);
}

static void the_extractor_follows_the_facts(void **state)
{
	struct extract_facts f = { .twins = true, .compress = COMPRESS_AUTO };

	(void)state;
	assert_int_equal(sender_choose_extract(EXTRACT_AUTO, &f), EXTRACT_SPLICE);
	f.link_bytes_per_s = GB / 8;
	assert_int_equal(sender_choose_extract(EXTRACT_AUTO, &f), EXTRACT_COPY);
	assert_int_equal(sender_choose_extract(EXTRACT_SPLICE, &f), EXTRACT_SPLICE);
	f.compress = COMPRESS_NONE;
	assert_int_equal(sender_choose_extract(EXTRACT_AUTO, &f), EXTRACT_SPLICE);
	f.compress = COMPRESS_AUTO;
	f.link_bytes_per_s = 0;
	f.max_bandwidth = GB / 10;
	assert_int_equal(sender_choose_extract(EXTRACT_AUTO, &f), EXTRACT_COPY);
	f.max_bandwidth = 0;
	f.zero_percent = 80;
	assert_int_equal(sender_choose_extract(EXTRACT_AUTO, &f), EXTRACT_COPY);
	f.zero_percent = 10;
	assert_int_equal(sender_choose_extract(EXTRACT_AUTO, &f), EXTRACT_SPLICE);
	f.twins = false;
	assert_int_equal(sender_choose_extract(EXTRACT_SPLICE, &f), EXTRACT_COPY);
}

static void one_bit_makes_a_page_not_zero(void **state)
{
	static uint8_t page[4096] __attribute__((aligned(4096)));

	(void)state;
	assert_true(page_is_zero(page));
	for (size_t i = 0; i < sizeof(page); i += 7) {
		page[i] = 0x10;
		assert_false(page_is_zero(page));
		page[i] = 0;
	}
	page[4095] = 1;
	assert_false(page_is_zero(page));
}

static void what_was_lost_is_taken_back_with_its_counts(void **state)
{
	const struct page_run first = { 0x1000, 4, RUN_DATA }, second[] = { { 0x9000, 2, RUN_DATA }, { 0x20000, 9, RUN_DROP } };
	const struct page_run hole = { 0xa000, 1, RUN_DATA }; /* of the second frame, sent once more */
	struct sent_log log = { 0 };
	struct sent_counts counts = { 0 };
	struct run_list again = { 0 };

	(void)state;
	sent_log_begin(&log, 100);
	assert_int_equal(sent_log_add(&log, &counts, &first, 1), 0);
	counts.stats.pages = 4;
	counts.manifest.pages = 4;
	assert_int_equal(sent_log_add(&log, &counts, second, 2), 0);
	counts.stats.pages = 6;
	assert_int_equal(sent_log_add(&log, &counts, &hole, 1), 0);
	counts.stats.pages = 7;
	assert_int_equal(sent_log_take_back(&log, 99, &counts, &again), -ERANGE);
	assert_int_equal(sent_log_take_back(&log, 104, &counts, &again), -ERANGE);
	assert_int_equal(sent_log_take_back(&log, 103, &counts, &again), 0); /* all arrived */
	assert_int_equal(again.count, 0);
	assert_int_equal(counts.stats.pages, 7);
	run_list_add(&again, 0x3000, 1, RUN_DATA); /* was to be sent once more before, and wasn't yet */
	assert_int_equal(sent_log_take_back(&log, 101, &counts, &again), 0);
	assert_int_equal(counts.stats.pages, 4);
	assert_int_equal(counts.manifest.pages, 4);
	assert_int_equal(again.count, 3);
	assert_int_equal(again.data_pages, 3);
	assert_int_equal(again.run[0].addr, 0x3000);
	assert_int_equal(again.run[1].addr, 0x9000);
	assert_int_equal(again.run[1].pages, 2);
	assert_int_equal(again.run[2].kind, RUN_DROP);
	assert_int_equal(sent_log_take_back(&log, 102, &counts, &again), -ERANGE);
	assert_int_equal(sent_log_take_back(&log, 100, &counts, &again), 0);
	assert_int_equal(counts.stats.pages, 0);
	assert_int_equal(again.data_pages, 6); /* the page at 0x3000 is one of the first frame's */
	run_list_finish(&again);
	sent_log_finish(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_page_is_given_out_once_and_in_order),
		cmocka_unit_test(pieces_end_where_huge_pages_do),
		cmocka_unit_test(the_limit_is_kept_by_counting),
		cmocka_unit_test(a_pause_saves_up_no_more_than_a_burst),
		cmocka_unit_test(compression_pays_on_slow_links_only),
		cmocka_unit_test(automatic_compression_follows_what_is_measured),
		cmocka_unit_test(the_extractor_follows_the_facts),
		cmocka_unit_test(one_bit_makes_a_page_not_zero),
		cmocka_unit_test(what_was_lost_is_taken_back_with_its_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
