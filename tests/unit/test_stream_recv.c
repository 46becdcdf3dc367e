/* SPDX-License-Identifier: Apache-2.0 */
/* Streams put every page where it belongs, add up what they placed, and end with an error that names stream and cause when the peer
 * breaks a rule. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "pageserver/stream_recv.h"
#include "proto/base/io.h"
#include "proto/wire/frame.h"
#include "proto/wire/stream_ack.h"

enum { PAGE = 4096, STREAMS = 2, PAGES = 4096, WAIT = 120000 };
#define BASE 0x201234400000ull /* its stage address lies where a thread sanitizer allows mappings */

struct bed {
	struct place *place;
	struct stream_recv *recv;
	int out[STREAMS];
	uint64_t sequence[STREAMS];
	struct manifest sent;
};

static int setup_bed(void **state, bool again)
{
	struct bed *b = calloc(1, sizeof(*b));
	Drayage__RoundBegin msg = DRAYAGE__ROUND_BEGIN__INIT;
	VmaEntry vma = VMA_ENTRY__INIT, *vmas = &vma;
	struct err e = { 0 };

	vma.start = BASE;
	vma.end = BASE + (uint64_t)PAGES * PAGE;
	vma.status = 0x201;
	msg.round = 1;
	msg.vmas = &vmas;
	msg.n_vmas = 1;
	b->place = place_create(0, &e);
	if (!b->place || place_apply(b->place, &msg, &e) < 0)
		return -1;
	b->recv = stream_recv_create(b->place, STREAMS, &e);
	if (again)
		stream_recv_allow_again(b->recv);
	for (unsigned i = 0; i < STREAMS; i++) {
		int fd[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0 || stream_recv_add(b->recv, i, fd[0], &e) < 0)
			return -1;
		b->out[i] = fd[1];
	}
	stream_recv_open_round(b->recv, 1);
	*state = b;
	return 0;
}

static int setup(void **state)
{
	return setup_bed(state, false);
}

static int setup_again(void **state)
{
	return setup_bed(state, true);
}

static int teardown(void **state)
{
	struct bed *b = *state;

	stream_recv_destroy(b->recv);
	for (unsigned i = 0; i < STREAMS; i++) {
		if (b->out[i] >= 0)
			close(b->out[i]);
	}
	place_destroy(b->place);
	free(b);
	return 0;
}

/* A receiver that has seen enough cuts the connection under our hands. */
static void put(struct bed *b, unsigned stream, const void *buf, size_t len)
{
	int rc = write_full(b->out[stream], buf, len);

	assert_true(rc == 0 || rc == -EPIPE || rc == -ECONNRESET);
}

static void put_header(struct bed *b, unsigned stream, struct frame_header h)
{
	uint8_t head[FRAME_HEADER_SIZE];

	h.sequence = b->sequence[stream]++;
	frame_header_encode(&h, head);
	put(b, stream, head, sizeof(head));
}

static void end_round(struct bed *b, unsigned stream, uint32_t round)
{
	put_header(b, stream, (struct frame_header){ .kind = FRAME_ROUND_END, .round = round });
}

/* A frame of the runs with the page contents given, in the way that flags say. */
static void put_frame(struct bed *b, unsigned stream, uint32_t round, const struct page_run *run, uint32_t runs, const uint8_t *raw, uint16_t flags)
{
	struct frame_header h = { .kind = FRAME_PAGES, .flags = flags, .round = round, .runs = runs };
	uint8_t *table = malloc((size_t)runs * FRAME_RUN_SIZE), *packed = NULL;
	const uint8_t *payload = raw;
	size_t len;

	for (uint32_t i = 0; i < runs; i++) {
		h.data_pages += run[i].kind == RUN_DATA ? run[i].pages : 0;
		manifest_add(&b->sent, 0, round, &run[i]);
	}
	len = (size_t)h.data_pages * PAGE;
	if (flags & FRAME_LZ4) {
		packed = malloc(frame_lz4_bound(len));
		len = frame_lz4_encode(raw, len, 1, packed);
		payload = packed;
	}
	frame_runs_encode(run, runs, table);
	h.payload_len = (uint32_t)len;
	if (flags & FRAME_CHECKSUM)
		h.checksum = frame_checksum(table, (size_t)runs * FRAME_RUN_SIZE, payload, len);
	put_header(b, stream, h);
	put(b, stream, table, (size_t)runs * FRAME_RUN_SIZE);
	if (len)
		put(b, stream, payload, len);
	free(table);
	free(packed);
}

static uint8_t *staged(struct bed *b, uint64_t page)
{
	return (uint8_t *)(uintptr_t)((BASE + page * PAGE) ^ place_stage_bit(b->place));
}

static uint8_t *content(size_t pages, unsigned seed, bool random)
{
	uint8_t *p = malloc(pages * PAGE);
	uint32_t x = seed;

	for (size_t i = 0; i < pages * PAGE; i++) {
		x = x * 1664525u + 1013904223u;
		p[i] = random ? (uint8_t)(x >> 24) : (uint8_t)(seed + i / 512);
	}
	return p;
}

static void barrier(struct bed *b, uint32_t round, struct stream_recv_stats *st)
{
	struct err e = { 0 };

	if (stream_recv_barrier(b->recv, round, -1, WAIT, st, &e) < 0)
		fail_msg("%s", e.text);
}

static void fails(struct bed *b, enum err_kind kind, const char *text)
{
	struct stream_recv_stats st;
	struct err e = { 0 };

	assert_int_equal(stream_recv_barrier(b->recv, 1, -1, WAIT, &st, &e), -1);
	if (e.kind != kind || !strstr(e.text, text))
		fail_msg("kind %d: %s", e.kind, e.text);
}

static void frames_of_every_kind_arrive(void **state)
{
	static const uint16_t kinds[] = { 0, FRAME_CHECKSUM, FRAME_LZ4, FRAME_LZ4 | FRAME_CHECKSUM };
	/* 41 pages: neither a whole number of blocks nor blocks within runs; one drop between, neighbours apart in the table */
	const struct page_run run[] = { { BASE, 7, RUN_DATA }, { BASE + 7 * PAGE, 1, RUN_DROP }, { BASE + 8 * PAGE, 20, RUN_DATA },
		{ BASE + 28 * PAGE, 13, RUN_DATA }, { BASE + 100 * PAGE, 1, RUN_DATA } };
	struct bed *b = *state;
	struct stream_recv_stats st;

	for (unsigned i = 0; i < 8; i++) {
		uint8_t *raw = content(41, 5 + i, i >= 4);

		memset(staged(b, 7), 1, PAGE);
		put_frame(b, i % STREAMS, i + 1, run, 5, raw, kinds[i % 4]);
		for (unsigned s = 0; s < STREAMS; s++)
			end_round(b, s, i + 1);
		barrier(b, i + 1, &st);
		assert_int_equal(st.pages, 41);
		assert_true(manifest_equal(&st.manifest, &b->sent));
		assert_memory_equal(staged(b, 0), raw, 7 * PAGE);
		assert_int_equal(staged(b, 7)[0], 0);
		assert_memory_equal(staged(b, 8), raw + 7 * PAGE, 33 * PAGE);
		assert_memory_equal(staged(b, 100), raw + 40 * PAGE, PAGE);
		free(raw);
		stream_recv_open_round(b->recv, i + 2);
	}
}

static void the_largest_frame_arrives(void **state)
{
	struct bed *b = *state;
	struct stream_recv_stats st;
	struct page_run run[FRAME_MAX_RUNS];
	uint8_t *raw = content(FRAME_MAX_PAGES, 3, true);

	for (unsigned i = 0; i < FRAME_MAX_RUNS; i++)
		run[i] = (struct page_run){ BASE + 2ull * i * PAGE, 1, RUN_DATA };
	put_frame(b, 0, 1, run, FRAME_MAX_RUNS, raw, 0);
	for (unsigned i = 0; i < FRAME_MAX_RUNS; i++)
		run[i].addr += PAGE;
	put_frame(b, 1, 1, run, FRAME_MAX_RUNS, raw, FRAME_LZ4 | FRAME_CHECKSUM);
	end_round(b, 0, 1);
	end_round(b, 1, 1);
	barrier(b, 1, &st);
	assert_int_equal(st.pages, 2 * FRAME_MAX_PAGES);
	assert_true(st.wire_bytes > 2ull * FRAME_MAX_PAGES * PAGE);
	for (unsigned i = 0; i < FRAME_MAX_RUNS; i++) {
		assert_memory_equal(staged(b, 2 * i), raw + (size_t)i * PAGE, PAGE);
		assert_memory_equal(staged(b, 2 * i + 1), raw + (size_t)i * PAGE, PAGE);
	}
	free(raw);
}

struct writer { struct bed *b; unsigned stream; };

static void *write_round(void *arg)
{
	struct writer *w = arg;
	uint8_t *raw = content(64, w->stream, false);

	for (unsigned i = w->stream; i < PAGES / 64; i += STREAMS) {
		struct page_run run = { BASE + 64ull * i * PAGE, 64, RUN_DATA };
		struct bed own = { .out = { w->b->out[0], w->b->out[1] }, .sequence = { i / STREAMS, i / STREAMS } };

		put_frame(&own, w->stream, 1, &run, 1, raw, 0);
	}
	free(raw);
	return NULL;
}

static void streams_run_side_by_side(void **state)
{
	struct bed *b = *state;
	struct writer w[STREAMS];
	pthread_t t[STREAMS];
	struct stream_recv_stats st;
	struct manifest all = { 0 };

	for (unsigned i = 0; i < STREAMS; i++) {
		w[i] = (struct writer){ b, i };
		assert_int_equal(pthread_create(&t[i], NULL, write_round, &w[i]), 0);
	}
	for (unsigned i = 0; i < STREAMS; i++) {
		pthread_join(t[i], NULL);
		b->sequence[i] = PAGES / 64 / STREAMS;
		end_round(b, i, 1);
	}
	barrier(b, 1, &st);
	manifest_add(&all, 0, 1, &(struct page_run){ BASE, PAGES, RUN_DATA });
	assert_int_equal(st.pages, PAGES);
	assert_true(manifest_equal(&st.manifest, &all));
}

static void a_wrong_checksum_ends_the_migration(void **state)
{
	struct bed *b = *state;
	struct page_run run = { BASE, 1, RUN_DATA };
	struct frame_header h = { .kind = FRAME_PAGES, .flags = FRAME_CHECKSUM, .round = 1, .runs = 1, .data_pages = 1, .payload_len = PAGE,
		.checksum = 1 };
	uint8_t table[FRAME_RUN_SIZE], page[PAGE] = { 0 };

	frame_runs_encode(&run, 1, table);
	put_header(b, 1, h);
	put(b, 1, table, sizeof(table));
	put(b, 1, page, sizeof(page));
	fails(b, ERR_MISMATCH, "stream 1, frame 0: payload");
}

static void random_bytes_end_the_migration(void **state)
{
	struct bed *b = *state;
	uint8_t *noise = content(1, 9, true);

	put(b, 0, noise, PAGE);
	free(noise);
	fails(b, ERR_PROTOCOL, "stream 0, frame 0: header");
}

static void pages_outside_of_the_mappings_end_the_migration(void **state)
{
	struct bed *b = *state;
	struct page_run run = { BASE + ((uint64_t)PAGES - 1) * PAGE, 2, RUN_DATA };
	uint8_t *raw = content(2, 1, false);

	put_frame(b, 0, 1, &run, 1, raw, 0);
	free(raw);
	fails(b, ERR_PROTOCOL, "stream 0, frame 0: pages");
}

static void a_frame_of_another_round_ends_the_migration(void **state)
{
	struct bed *b = *state;

	end_round(b, 0, 2);
	fails(b, ERR_PROTOCOL, "a frame of round 2 while round 1 is open");
}

static void a_frame_after_the_rounds_end_ends_the_migration(void **state)
{
	struct bed *b = *state;

	end_round(b, 0, 1);
	end_round(b, 0, 1);
	fails(b, ERR_PROTOCOL, "round 1 is over");
}

static void a_frame_out_of_sequence_ends_the_migration(void **state)
{
	struct bed *b = *state;

	b->sequence[0] = 1;
	end_round(b, 0, 1);
	fails(b, ERR_PROTOCOL, "numbered 1");
}

static void a_stream_that_is_cut_is_named(void **state)
{
	struct bed *b = *state;

	put(b, 1, "DRF1", 4);
	close(b->out[1]);
	b->out[1] = -1;
	fails(b, ERR_PEER, "stream 1, frame 0: header: the connection was cut");
}

static void a_stream_that_ends_early_is_noticed(void **state)
{
	struct bed *b = *state;

	put_header(b, 0, (struct frame_header){ .kind = FRAME_END, .round = 1 });
	fails(b, ERR_PROTOCOL, "stream 0, frame 1: the stream ends inside round 1");
}

static void an_lz4_block_that_lies_ends_the_migration(void **state)
{
	struct bed *b = *state;
	struct page_run run = { BASE, 1, RUN_DATA };
	struct frame_header h = { .kind = FRAME_PAGES, .flags = FRAME_LZ4, .round = 1, .runs = 1, .data_pages = 1, .payload_len = 20 };
	uint8_t table[FRAME_RUN_SIZE], payload[20] = { 0xff, 0x0f };

	frame_runs_encode(&run, 1, table);
	put_header(b, 0, h);
	put(b, 0, table, sizeof(table));
	put(b, 0, payload, sizeof(payload));
	fails(b, ERR_PROTOCOL, "stream 0, frame 0: payload");
}

static void waiting_ends_when_the_owner_is_called_or_the_time_is_up(void **state)
{
	struct bed *b = *state;
	struct stream_recv_stats st;
	struct err e = { 0 };
	int wake = eventfd(1, EFD_CLOEXEC);

	assert_int_equal(stream_recv_barrier(b->recv, 1, wake, WAIT, &st, &e), -1);
	assert_int_equal(e.kind, ERR_CANCELLED);
	assert_int_equal(stream_recv_barrier(b->recv, 1, -1, 10, &st, &e), -1);
	assert_int_equal(e.kind, ERR_TIMEOUT);
	close(wake);
	end_round(b, 0, 1);
	end_round(b, 1, 1);
	barrier(b, 1, &st);
	assert_int_equal(st.pages, 0);
	put_header(b, 0, (struct frame_header){ .kind = FRAME_END });
	put_header(b, 1, (struct frame_header){ .kind = FRAME_END });
}

static void streams_are_those_of_the_offer(void **state)
{
	struct bed *b = *state;
	struct err e = { 0 };

	assert_int_equal(stream_recv_add(b->recv, STREAMS, dup(b->out[0]), &e), -1);
	assert_int_equal(e.kind, ERR_PROTOCOL);
	assert_int_equal(stream_recv_add(b->recv, 0, dup(b->out[0]), &e), -1);
	assert_int_equal(e.kind, ERR_PROTOCOL);
	assert_null(stream_recv_create(b->place, 17, &e));
	assert_null(stream_recv_create(b->place, 0, &e));
}

/* What the destination says next on a stream. */
static uint64_t acknowledged(struct bed *b, unsigned stream)
{
	uint8_t buf[STREAM_ACK_SIZE];
	uint64_t next = 0;

	assert_true(wait_readable(b->out[stream], WAIT) > 0);
	assert_int_equal(read_full(b->out[stream], buf, sizeof(buf)), 0);
	assert_int_equal(stream_ack_decode(buf, &next), 0);
	return next;
}

/* A new connection in the stream's place; the old one's end is the caller's to close. */
static int connect_again(struct bed *b, unsigned stream)
{
	int old = b->out[stream], fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	b->out[stream] = fd[1];
	stream_recv_again(b->recv, stream, fd[0]);
	return old;
}

static void a_round_is_acknowledged_by_each_stream(void **state)
{
	struct bed *b = *state;
	struct stream_recv_stats st;

	end_round(b, 0, 1);
	assert_int_equal(acknowledged(b, 0), 1);
	end_round(b, 1, 1);
	assert_int_equal(acknowledged(b, 1), 1);
	barrier(b, 1, &st);
}

static void a_cut_stream_goes_on_where_it_was(void **state)
{
	const struct page_run first = { BASE, 2, RUN_DATA }, cut = { BASE + 2 * PAGE, 4, RUN_DATA };
	const uint8_t half[PAGE] = { 1 };
	struct bed *b = *state;
	struct stream_recv_stats st;
	uint8_t *raw = content(4, 9, true), table[FRAME_RUN_SIZE];

	put_frame(b, 0, 1, &first, 1, raw, 0);
	/* cut within its payload; what of it arrived doesn't count */
	frame_runs_encode(&cut, 1, table);
	put_header(b, 0, (struct frame_header){ .kind = FRAME_PAGES, .round = 1, .runs = 1, .data_pages = 4, .payload_len = 4 * PAGE });
	put(b, 0, table, sizeof(table));
	put(b, 0, half, sizeof(half));
	close(b->out[0]);
	connect_again(b, 0);
	assert_int_equal(acknowledged(b, 0), 1);
	b->sequence[0] = 1;
	put_frame(b, 0, 1, &cut, 1, raw, FRAME_CHECKSUM);
	end_round(b, 0, 1);
	assert_int_equal(acknowledged(b, 0), 3);
	end_round(b, 1, 1);
	barrier(b, 1, &st);
	assert_int_equal(st.pages, 6);
	assert_true(manifest_equal(&st.manifest, &b->sent));
	assert_memory_equal(staged(b, 2), raw, 4 * PAGE);
	free(raw);
}

/* The old connection isn't cut, and full of frames: all that came on it is placed before the new one is heard, none of it later. */
static void nothing_old_comes_behind_what_is_new(void **state)
{
	enum { FRAMES = 16 };
	const struct page_run run = { BASE, 1, RUN_DATA };
	struct bed *b = *state;
	struct stream_recv_stats st;
	uint8_t *raw = content(FRAMES + 1, 4, true);
	uint64_t placed;
	int old;

	for (unsigned i = 0; i < FRAMES; i++)
		put_frame(b, 0, 1, &run, 1, raw + i * PAGE, 0);
	old = connect_again(b, 0);
	placed = acknowledged(b, 0);
	assert_true(placed <= FRAMES);
	b->sequence[0] = placed;
	put_frame(b, 0, 1, &run, 1, raw + FRAMES * PAGE, 0);
	end_round(b, 0, 1);
	end_round(b, 1, 1);
	barrier(b, 1, &st);
	assert_memory_equal(staged(b, 0), raw + FRAMES * PAGE, PAGE);
	assert_int_equal(st.pages, placed + 1);
	close(old);
	free(raw);
}

static void a_stream_that_failed_takes_no_connection(void **state)
{
	struct bed *b = *state;
	uint8_t junk[FRAME_HEADER_SIZE] = { 0 };

	put(b, 0, junk, sizeof(junk));
	fails(b, ERR_PROTOCOL, "stream 0");
	close(connect_again(b, 0));
	assert_true(acknowledged(b, 0) == STREAM_ACK_NEVER);
	close(connect_again(b, 1));
	assert_true(acknowledged(b, 1) == STREAM_ACK_NEVER);
}

/* Cut, and nobody comes back: what waits for the round hears its owner all the same, and the end. */
static void waiting_for_a_cut_stream_can_be_ended(void **state)
{
	struct bed *b = *state;
	struct stream_recv_stats st;
	struct err e = { 0 };
	int wake = eventfd(1, EFD_CLOEXEC);

	close(b->out[0]);
	b->out[0] = -1;
	assert_int_equal(stream_recv_barrier(b->recv, 1, wake, WAIT, &st, &e), -1);
	assert_int_equal(e.kind, ERR_CANCELLED);
	close(wake);
}

#define AGAIN_TEST(f) cmocka_unit_test_setup_teardown(f, setup_again, teardown)
#define BED_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(frames_of_every_kind_arrive),
		BED_TEST(the_largest_frame_arrives),
		BED_TEST(streams_run_side_by_side),
		BED_TEST(a_wrong_checksum_ends_the_migration),
		BED_TEST(random_bytes_end_the_migration),
		BED_TEST(pages_outside_of_the_mappings_end_the_migration),
		BED_TEST(a_frame_of_another_round_ends_the_migration),
		BED_TEST(a_frame_after_the_rounds_end_ends_the_migration),
		BED_TEST(a_frame_out_of_sequence_ends_the_migration),
		BED_TEST(a_stream_that_is_cut_is_named),
		BED_TEST(a_stream_that_ends_early_is_noticed),
		BED_TEST(an_lz4_block_that_lies_ends_the_migration),
		BED_TEST(waiting_ends_when_the_owner_is_called_or_the_time_is_up),
		BED_TEST(streams_are_those_of_the_offer),
		AGAIN_TEST(a_round_is_acknowledged_by_each_stream),
		AGAIN_TEST(a_cut_stream_goes_on_where_it_was),
		AGAIN_TEST(nothing_old_comes_behind_what_is_new),
		AGAIN_TEST(a_stream_that_failed_takes_no_connection),
		AGAIN_TEST(waiting_for_a_cut_stream_can_be_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
