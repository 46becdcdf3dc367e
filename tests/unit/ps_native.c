/* SPDX-License-Identifier: Apache-2.0 */
/* Native sessions of a page server: our sender goes over to one by itself, and what it sends arrives, zeros and compressed pages too, in fewer bytes; a
 * session that breaks off or lies is not published and its sender is told why; a range is refused for what a stock sender's is refused for. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/pagesink/ps_sink.h"
#include "pageserver/stock/receiver.h"
#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/wire/hello.h"
#include "proto/wire/ps_native.h"
#include "proto/wire/ps_probe.h"
#include "proto/wire/runs.h"

/* --- a server whose sink is memory ---------------------------------------------------------------------------------------------- */

enum { PAGES = 4096, ROOM_PAGES = 400 };

struct server {
	struct page_sink sink; /* first member */
	pthread_t thread;
	int fd, rc;
	bool inherited, finished;
	int hold; /* finish waits for a byte from here; -1: not */
	struct page_server_config config;
	struct page_server_report report;
	struct err e;
	uint64_t holes;
	uint8_t flags[PAGES]; /* by page; 0: never came */
	uint8_t *bytes;
	uint8_t *room; /* ROOM_PAGES, for what comes; NULL: none */
	unsigned asked; /* how often for it */
};

static struct server *server_of(struct page_sink *s)
{
	return (struct server *)s;
}

enum { NO_FILES = 43 }; /* a page map that can't be made */

static int mem_map(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	(void)s; (void)kind; (void)e;
	*parent = id == 42;
	return 0;
}

static int mem_open(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	return id == NO_FILES ? err_set(e, ERR_SYSTEM, ENOSPC, "make its files") : mem_map(s, kind, id, parent, e);
}

static int mem_pages(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, const void *data, struct err *e)
{
	uint64_t first = bytes_to_pages(vaddr);

	if (first + nr > PAGES)
		return err_set(e, ERR_SYSTEM, ENOSPC, "this memory\nis small");
	memcpy(server_of(s)->bytes + vaddr, data, pages_to_bytes(nr));
	memset(server_of(s)->flags + first, (int)flags, nr);
	return 0;
}

static int mem_hole(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, struct err *e)
{
	if (vaddr == 0xbad000)
		return err_set(e, ERR_PROTOCOL, 0, "the hole is in no parent");
	server_of(s)->holes += flags & PAGE_IN_PARENT ? nr : 0;
	return 0;
}

static int mem_finish(struct page_sink *s, struct err *e)
{
	char go;

	(void)e;
	if (server_of(s)->hold >= 0)
		assert_int_equal(read(server_of(s)->hold, &go, 1), 1);
	server_of(s)->finished = true;
	return 0;
}

/* Sometimes, and not always for all that comes. */
static uint8_t *mem_room(struct page_sink *s, uint64_t *bytes)
{
	static const unsigned pages[] = { 0, 3, ROOM_PAGES };
	unsigned n = server_of(s)->room ? pages[server_of(s)->asked++ % 3] : 0;

	*bytes = pages_to_bytes(n);
	return n ? server_of(s)->room : NULL;
}

static const struct page_sink_ops mem_ops = { .has_parent = mem_map, .open = mem_open, .pages = mem_pages, .room = mem_room, .hole = mem_hole,
					      .finish = mem_finish };

static void *server_main(void *arg)
{
	struct server *s = arg;

	s->rc = ps_receive(s->fd, s->inherited, &s->sink, &s->config, &s->report, &s->e);
	return NULL;
}

/* Returns the sender's end. */
static int server_start(struct server *s, bool inherited)
{
	int pair[2];

	*s = (struct server){ .sink.ops = &mem_ops, .inherited = inherited, .hold = -1, .bytes = calloc(PAGES, DRAY_PAGE_SIZE) };
	assert_non_null(s->bytes);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s->fd = pair[0];
	assert_int_equal(pthread_create(&s->thread, NULL, server_main, s), 0);
	return pair[1];
}

/* Takes fd. */
static void server_end(struct server *s, int fd)
{
	if (fd >= 0)
		close(fd);
	pthread_join(s->thread, NULL);
	close(s->fd);
	free(s->bytes);
}

static void fill(uint8_t *bytes, uint64_t pages, bool noise)
{
	uint64_t x = 88172645463325252ull;

	for (uint64_t i = 0; i < pages_to_bytes(pages) / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		le64_put(bytes + 8 * i, noise ? x : i / 64 + 1);
	}
}

/* --- what must hold ------------------------------------------------------------------------------------------------------------- */

/* Long ranges with pages of zeros in them, scattered pages, flags that change: as the dumper may say them. */
static void say_memory(struct page_sink *s, const uint8_t *bytes)
{
	bool parent;
	struct err e;

	assert_int_equal(s->ops->has_parent(s, PAGEMAP_TASK, 42, &parent, &e), 0);
	assert_true(parent);
	assert_int_equal(s->ops->open(s, PAGEMAP_TASK, 41, &parent, &e), 0);
	assert_false(parent);
	assert_int_equal(s->ops->pages(s, 0, 1000, PAGE_PRESENT, bytes, &e), 0);
	for (uint64_t p = 1000; p < 2000; p += 2)
		assert_int_equal(s->ops->pages(s, pages_to_bytes(p), 1, p % 16 ? PAGE_PRESENT : PAGE_PRESENT | PAGE_LAZY, bytes + pages_to_bytes(p), &e), 0);
	assert_int_equal(s->ops->hole(s, pages_to_bytes(2000), 500, PAGE_IN_PARENT, &e), 0);
	assert_int_equal(s->ops->pages(s, pages_to_bytes(2500), 31, PAGE_PRESENT, bytes + pages_to_bytes(2500), &e), 0);
	assert_int_equal(s->ops->pages(s, pages_to_bytes(2531), PAGES - 2531, PAGE_PRESENT | PAGE_LAZY, bytes + pages_to_bytes(2531), &e), 0);
}

static void check_memory(const struct server *s, const uint8_t *bytes)
{
	for (uint64_t p = 0; p < PAGES; p++) {
		bool here = p < 1000 || (p < 2000 && p % 2 == 0) || p >= 2500;
		int flags = p < 1000 || (p < 2000 && p % 16) || (p >= 2500 && p < 2531) ? PAGE_PRESENT : PAGE_PRESENT | PAGE_LAZY;

		assert_int_equal(s->flags[p], here ? flags : 0);
		if (here)
			assert_memory_equal(s->bytes + pages_to_bytes(p), bytes + pages_to_bytes(p), DRAY_PAGE_SIZE);
	}
	assert_int_equal(s->holes, 500);
}

/* layout: PS_LAYOUT_UNKNOWN for a native session. */
static uint64_t send_as(const uint8_t *bytes, enum ps_layout layout, enum compress_mode mode, bool inherited, bool room)
{
	struct server server;
	struct page_sink *s;
	struct err e;
	int fd = server_start(&server, inherited);
	char next[8];

	server.room = room ? calloc(ROOM_PAGES, DRAY_PAGE_SIZE) : NULL;
	s = ps_sink_create(fd, inherited, layout, mode, &e);
	assert_non_null(s);
	say_memory(s, bytes);
	assert_int_equal(s->ops->finish(s, &e), 0);
	s->ops->destroy(s);
	assert_int_equal(send(fd, "next", 4, MSG_NOSIGNAL), inherited ? 4 : -1);
	pthread_join(server.thread, NULL);
	assert_int_equal(server.rc, 0);
	assert_true(server.finished && server.report.native == (layout == PS_LAYOUT_UNKNOWN));
	assert_true(!room || server.asked > 2);
	if (inherited)
		assert_int_equal(recv(server.fd, next, sizeof(next), MSG_DONTWAIT), 4);
	check_memory(&server, bytes);
	assert_int_equal(server.report.pages, 1000 + 500 + PAGES - 2500);
	close(fd);
	close(server.fd);
	free(server.bytes);
	free(server.room);
	return server.report.received;
}

static uint64_t send_memory(const uint8_t *bytes, enum compress_mode mode, bool inherited)
{
	return send_as(bytes, PS_LAYOUT_UNKNOWN, mode, inherited, false);
}

static void what_is_sent_arrives_in_fewer_bytes(void **state)
{
	uint8_t *bytes = calloc(PAGES, DRAY_PAGE_SIZE);
	uint64_t all = pages_to_bytes(1000 + 500 + PAGES - 2500);

	(void)state;
	assert_non_null(bytes);
	assert_true(send_memory(bytes, COMPRESS_AUTO, false) < all / 50); /* zeros */
	fill(bytes, PAGES, true);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t sent = send_memory(bytes, i & 1 ? COMPRESS_LZ4 : COMPRESS_NONE, i & 2);

		assert_true(sent > all && sent < all + all / 50);
	}
	fill(bytes, PAGES, false);
	assert_true(send_memory(bytes, COMPRESS_LZ4, false) < all / 4);
	memset(bytes + pages_to_bytes(100), 0, pages_to_bytes(700)); /* in the middle of a long range */
	memset(bytes + pages_to_bytes(3000), 0, pages_to_bytes(1));
	assert_true(send_memory(bytes, COMPRESS_NONE, true) < all - pages_to_bytes(600));
	send_memory(bytes, COMPRESS_LZ4, false);
	free(bytes);
}

static void long_ranges_are_received_where_the_sink_has_room(void **state)
{
	static const enum ps_layout layouts[] = { PS_LAYOUT_UNKNOWN, PS_LAYOUT_24, PS_LAYOUT_32 };
	uint8_t *bytes = calloc(PAGES, DRAY_PAGE_SIZE);

	(void)state;
	assert_non_null(bytes);
	fill(bytes, PAGES, true);
	for (unsigned i = 0; i < 12; i++)
		send_as(bytes, layouts[i % 3], i >= 6 ? COMPRESS_LZ4 : COMPRESS_NONE, i & 1, true);
	free(bytes);
}

/* At a hole, at pages behind what the server can keep, at the end: the words come through, fit to be shown. */
static void the_sender_is_told_why(void **state)
{
	static uint8_t bytes[256 * 4096];

	(void)state;
	fill(bytes, 256, true);
	for (unsigned i = 0; i < 3; i++) {
		const char *words[] = { "the hole is in no parent", "this memory?is small: No space left on device", "exceed the 40960 bytes allowed" };
		struct server server;
		struct page_sink *s;
		bool parent;
		struct err e;
		int fd = server_start(&server, i == 1), rc = 0;

		server.config.limits.bytes = i == 2 ? 40960 : 0; /* looked at for the first time behind the hello */
		s = ps_sink_create(fd, i == 1, PS_LAYOUT_UNKNOWN, COMPRESS_NONE, &e);
		assert_non_null(s);
		assert_int_equal(s->ops->open(s, PAGEMAP_TASK, 41, &parent, &e), 0);
		if (i == 0)
			rc = s->ops->hole(s, 0xbad000, 1, PAGE_IN_PARENT, &e);
		for (uint64_t n = 0; n < 64 && i > 0 && rc == 0; n++) /* more than any socket's buffer takes */
			rc = s->ops->pages(s, pages_to_bytes(PAGES + 256 * n), 256, PAGE_PRESENT, bytes, &e);
		if (rc == 0)
			rc = s->ops->finish(s, &e);
		assert_int_equal(rc, -1);
		assert_int_equal(e.kind, ERR_PEER);
		if (!strstr(e.text, words[i]) || !strstr(e.text, "page map of task 41"))
			fail_msg("\"%s\" does not say \"%s\"", e.text, words[i]);
		s->ops->destroy(s);
		server_end(&server, fd);
		assert_int_equal(server.rc, -1);
		assert_false(server.finished);
	}
}

/* Opening is answered before it is done: what went wrong is heard from whatever is said next. */
static void the_sender_is_told_that_its_page_map_could_not_be_made(void **state)
{
	struct server server;
	struct page_sink *s;
	struct err e;
	bool parent;
	int fd = server_start(&server, false);

	(void)state;
	s = ps_sink_create(fd, false, PS_LAYOUT_UNKNOWN, COMPRESS_NONE, &e);
	assert_non_null(s);
	assert_int_equal(s->ops->open(s, PAGEMAP_TASK, NO_FILES, &parent, &e), 0);
	assert_int_equal(s->ops->finish(s, &e), -1);
	if (!strstr(e.text, "page map of task 43: make its files: No space left on device"))
		fail_msg("\"%s\" does not say so", e.text);
	s->ops->destroy(s);
	server_end(&server, fd);
	assert_int_equal(server.rc, -1);
	assert_false(server.finished);
}

/* --- what a sender of ours does not say ----------------------------------------------------------------------------------------- */

struct said { uint8_t bytes[64 * 1024]; size_t len; };

static uint8_t *put(struct said *s, size_t len)
{
	uint8_t *at = s->bytes + s->len;

	s->len += len;
	assert_true(s->len <= sizeof(s->bytes));
	return at;
}

static void put_command(struct said *s, struct ps_command c)
{
	ps_encode(PS_LAYOUT_32, &c, put(s, PS_HEADER_MAX));
}

static void put_hello_with(struct said *s, uint8_t role, uint64_t features)
{
	struct hello h = { .version = HELLO_VERSION, .role = role, .features = features };

	hello_encode(&h, put(s, HELLO_SIZE));
}

static void put_hello(struct said *s, uint8_t role)
{
	put_hello_with(s, role, HELLO_FEATURE_CHECKSUM);
}

enum { TASK = 0x2901 };

/* A frame of two pages at 0x10000 and one of zeros behind them, with a checksum. */
static void put_frame(struct said *s, struct ps_command c, struct frame_header h, struct page_run first)
{
	struct page_run run[2] = { first, { .addr = 0x12000, .pages = 1, .kind = RUN_DROP } };
	uint8_t payload[2 * 4096], table[2 * FRAME_RUN_SIZE];

	fill(payload, 2, true);
	frame_runs_encode(run, 2, table);
	h.checksum += frame_checksum(table, sizeof(table), payload, sizeof(payload));
	put_command(s, c);
	frame_header_encode(&h, put(s, FRAME_HEADER_SIZE));
	memcpy(put(s, sizeof(table)), table, sizeof(table));
	memcpy(put(s, sizeof(payload)), payload, sizeof(payload));
}

static const struct ps_command good_command = { .code = PS_FRAME, .flags = PS_PRESENT, .nr = 3, .vaddr = 0x10000, .dst = TASK };
static const struct frame_header good_header = { .kind = FRAME_PAGES, .flags = FRAME_CHECKSUM, .round = 1, .runs = 2, .data_pages = 2,
						 .payload_len = 2 * 4096 };
static const struct page_run good_run = { .addr = 0x10000, .pages = 2, .kind = RUN_DATA };

static void put_session(struct said *s)
{
	put_hello(s, HELLO_IMAGES);
	put_command(s, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
	put_frame(s, good_command, good_header, good_run);
	put_command(s, (struct ps_command){ .code = PS_CLOSE });
}

/* What comes of the first `len` bytes. words: NULL for a session that is published; "" for one that just ends. */
static void comes_of(const struct said *said, size_t len, const char *words)
{
	struct server server;
	int fd = server_start(&server, false);

	assert_int_equal(send(fd, said->bytes, len, MSG_NOSIGNAL), len);
	shutdown(fd, SHUT_WR);
	pthread_join(server.thread, NULL);
	assert_int_equal(server.rc, words ? -1 : 0);
	assert_true(server.finished == !words);
	if (words && !strstr(server.e.text, words))
		fail_msg("\"%s\" does not say \"%s\"", server.e.text, words);
	close(fd);
	close(server.fd);
	free(server.bytes);
}

/* Without a probe, too; and broken off anywhere it is none. */
static void a_session_that_breaks_off_is_not_published(void **state)
{
	struct said said = { .len = 0 };

	(void)state;
	put_session(&said);
	comes_of(&said, said.len, NULL);
	for (size_t cut = 0; cut < said.len; cut++)
		comes_of(&said, cut, "the connection ended");
}

static void frame_is_refused(struct ps_command c, struct frame_header h, struct page_run first, const char *words)
{
	struct said said = { .len = 0 };

	put_hello(&said, HELLO_IMAGES);
	put_command(&said, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
	put_frame(&said, c, h, first);
	put_command(&said, (struct ps_command){ .code = PS_CLOSE });
	comes_of(&said, said.len, words);
}

static void frames_that_cannot_be_are_refused(void **state)
{
	static const char none[] = "a frame that isn't one";
	struct ps_command c = good_command;
	struct frame_header h = good_header;
	struct page_run run = good_run;

	(void)state;
	c.nr = 2, frame_is_refused(c, h, run, none);
	c.nr = UINT64_MAX, frame_is_refused(c, h, run, none);
	c = good_command, c.vaddr = 0x11000, frame_is_refused(c, h, run, none);
	c = good_command, c.flags = PS_IN_PARENT, frame_is_refused(c, h, run, none);
	c = good_command, c.flags = PS_PRESENT | PS_IN_PARENT, frame_is_refused(c, h, run, "flags contradict");
	c = good_command, c.dst = 0x2963, frame_is_refused(c, h, run, "unknown type 99");
	h.sequence = 1, frame_is_refused(good_command, h, run, none);
	h = good_header, h.mm = 1, frame_is_refused(good_command, h, run, none);
	h = good_header, h.round = 2, frame_is_refused(good_command, h, run, none);
	h = good_header, h.kind = FRAME_END, frame_is_refused(good_command, h, run, none);
	h = good_header, h.data_pages = 1024, frame_is_refused(good_command, h, run, none);
	h = good_header, h.checksum = 1, frame_is_refused(good_command, h, run, "checksum");
	run.addr = 0x10001, frame_is_refused(good_command, good_header, run, none);
	run.addr = 1ull << 47, frame_is_refused(good_command, good_header, run, none);
	run = good_run, run.pages = 0, frame_is_refused(good_command, good_header, run, none);
	run = good_run, run.kind = 7, frame_is_refused(good_command, good_header, run, none);
}

static void another_version_is_told_so(void **state)
{
	struct hello h = { .version = HELLO_VERSION + 1, .role = HELLO_IMAGES };
	uint8_t bytes[HELLO_SIZE];
	struct server server;
	int fd = server_start(&server, false);

	(void)state;
	hello_encode(&h, bytes);
	assert_int_equal(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
	assert_int_equal(read_full(fd, bytes, sizeof(bytes)), 0);
	assert_int_equal(hello_decode(bytes, &h), 0);
	assert_int_equal(h.status, HELLO_BAD_VERSION);
	server_end(&server, fd);
	assert_int_equal(server.rc, -1);
	assert_int_equal(server.e.kind, ERR_PROTOCOL);
	assert_non_null(strstr(server.e.text, "version 2"));
}

/* On inherited sockets, and of servers that take one session: nobody could bring another connection. */
static void commands_have_no_numbers_where_there_is_no_line(void **state)
{
	struct said said = { .len = 0 };

	(void)state;
	put_hello_with(&said, HELLO_IMAGES, HELLO_FEATURE_CHECKSUM | HELLO_FEATURE_NUMBERED);
	put_command(&said, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
	put_frame(&said, good_command, good_header, good_run);
	put_command(&said, (struct ps_command){ .code = PS_CLOSE });
	comes_of(&said, said.len, NULL);
}

/* A frame without a hello before it, a hello for somebody else, a hello in the middle of a session. */
static void frames_and_hellos_have_their_place(void **state)
{
	struct said said = { .len = 0 };

	(void)state;
	put_command(&said, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
	put_frame(&said, good_command, good_header, good_run);
	comes_of(&said, said.len, "0x2001 is no command");
	said.len = 0;
	put_hello(&said, HELLO_STREAM);
	comes_of(&said, said.len, "role 2");
	said.len = 0;
	put_session(&said);
	said.len -= PS_HEADER_MAX;
	put_hello(&said, HELLO_IMAGES);
	comes_of(&said, said.len, "no command");
}

static struct ps_native_answer next_answer(int fd)
{
	uint8_t bytes[PS_NATIVE_ANSWER];
	struct ps_native_answer a;

	assert_int_equal(read_full(fd, bytes, sizeof(bytes)), 0);
	assert_int_equal(ps_native_answer_decode(bytes, &a), 0);
	return a;
}

/* Of lz4 blocks, in a payload that is said to be so much longer, or shorter. */
static void put_blocks(struct said *s, int more)
{
	const struct page_run run = { .addr = 0x10000, .pages = 2, .kind = RUN_DATA };
	struct frame_header h = { .kind = FRAME_PAGES, .flags = FRAME_LZ4, .round = 1, .runs = 1, .data_pages = 2 };
	uint8_t raw[2 * 4096], stored[4 * 4096];
	size_t len;

	fill(raw, 2, false);
	len = frame_lz4_encode(raw, sizeof(raw), 1, stored);
	assert_true(len + PS_HEADER_MAX < sizeof(raw));
	h.payload_len = (uint32_t)len + (uint32_t)more;
	put_hello(s, HELLO_IMAGES);
	put_command(s, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
	put_command(s, (struct ps_command){ .code = PS_FRAME, .flags = PS_PRESENT, .nr = 2, .vaddr = 0x10000, .dst = TASK });
	frame_header_encode(&h, put(s, FRAME_HEADER_SIZE));
	frame_runs_encode(&run, 1, put(s, FRAME_RUN_SIZE));
	memcpy(put(s, len), stored, len);
	put_command(s, (struct ps_command){ .code = PS_CLOSE });
}

/* What stands behind its blocks is none of the next commands; nor is what a block would have of them waited for. */
static void a_frame_is_as_long_as_it_says(void **state)
{
	static const int more[] = { 0, PS_HEADER_MAX, -1, -PS_HEADER_MAX };

	(void)state;
	for (unsigned i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		struct said said = { .len = 0 };

		put_blocks(&said, more[i]);
		comes_of(&said, said.len - (more[i] < 0 ? PS_HEADER_MAX + 1 : 0), more[i] ? "a frame that isn't one" : NULL);
	}
}

/* Over TCP a connection that is closed with bytes unread is reset, and may take along what was said last. */
static int tcp_pair(int pair[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	pair[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(pair[1], (struct sockaddr *)&a, len), 0);
	pair[0] = accept(listener, NULL, NULL);
	assert_true(pair[0] >= 0);
	return close(listener);
}

static void *serve_and_close(void *arg)
{
	struct server *s = arg;

	server_main(s);
	close(s->fd);
	return NULL;
}

static void the_words_are_not_lost_with_the_connection(void **state)
{
	static const uint8_t much[16 << 20]; /* more than is read ahead, and than a socket holds */
	struct server server = { .sink.ops = &mem_ops, .hold = -1 };
	struct said said = { .len = 0 };
	struct ps_native_answer a;
	uint8_t bytes[1024];
	int pair[2];

	(void)state;
	assert_int_equal(tcp_pair(pair), 0);
	server.fd = pair[0];
	assert_int_equal(pthread_create(&server.thread, NULL, serve_and_close, &server), 0);
	put_hello(&said, HELLO_IMAGES);
	put_command(&said, (struct ps_command){ .code = PS_ADD_F, .flags = PS_PRESENT, .nr = 0, .vaddr = 0x10000, .dst = TASK });
	assert_int_equal(send(pair[1], said.bytes, said.len, MSG_NOSIGNAL), said.len);
	assert_int_equal(write_full(pair[1], much, sizeof(much)), 0);
	assert_int_equal(read_full(pair[1], bytes, HELLO_SIZE), 0);
	a = next_answer(pair[1]);
	assert_int_equal(a.kind, ERR_PROTOCOL);
	assert_int_equal(read_full(pair[1], bytes, a.text), 0);
	assert_int_equal(recv(pair[1], bytes, 1, 0), 0);
	close(pair[1]);
	pthread_join(server.thread, NULL);
	assert_int_equal(server.rc, -1);
}

/* --- while a set is published ---------------------------------------------------------------------------------------------------- */

/* The server publishes until it has been heard a few times; a sender that did not ask for that hears nothing but the status. */
static void publishing_is_heard_of(bool asked)
{
	uint64_t features = HELLO_FEATURE_CHECKSUM | (asked ? HELLO_FEATURE_ALIVE : 0);
	struct said said = { .len = 0 };
	uint8_t bytes[HELLO_SIZE];
	struct server server;
	struct ps_native_answer a;
	struct hello h;
	int hold[2], fd = server_start(&server, false);

	assert_int_equal(pipe(hold), 0);
	server.hold = hold[0];
	server.config.alive_ms = 1;
	put_hello_with(&said, HELLO_IMAGES, features);
	put_command(&said, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
	put_command(&said, (struct ps_command){ .code = PS_CLOSE });
	assert_int_equal(send(fd, said.bytes, said.len, MSG_NOSIGNAL), said.len);
	assert_int_equal(read_full(fd, bytes, sizeof(bytes)), 0);
	assert_int_equal(hello_decode(bytes, &h), 0);
	assert_true(h.features == features);
	assert_int_equal(next_answer(fd).kind, 0);
	for (unsigned i = 0; i < 3 && asked; i++)
		assert_int_equal(next_answer(fd).kind, PS_NATIVE_ALIVE);
	if (!asked) /* for many times as long as it would take */
		assert_int_equal(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 50), 0);
	assert_int_equal(write(hold[1], "", 1), 1);
	do
		a = next_answer(fd);
	while (asked && a.kind == PS_NATIVE_ALIVE);
	assert_true(a.kind == 0 && a.value == 0);
	server_end(&server, fd);
	assert_int_equal(server.rc, 0);
	close(hold[0]);
	close(hold[1]);
}

static void a_native_sender_hears_that_publishing_goes_on(void **state)
{
	(void)state;
	publishing_is_heard_of(true);
	publishing_is_heard_of(false);
}

struct slow_server {
	int fd;
	uint64_t features;
};

/* Says three times that it lives before it says its status. */
static void *slow_main(void *arg)
{
	const struct slow_server *s = arg;
	const struct ps_native_answer alive = { .kind = PS_NATIVE_ALIVE }, none = { 0 };
	struct hello h = { .version = HELLO_VERSION, .role = HELLO_IMAGES, .features = s->features, .max_frame_pages = PS_FRAME_PAGES };
	uint8_t in[PS_PROBE_SIZE], out[HELLO_SIZE];

	read_full(s->fd, in, PS_PROBE_SIZE);
	ps_identity_encode(PS_FEATURE_NATIVE, out);
	write_full(s->fd, out, PS_IDENTITY_SIZE);
	read_full(s->fd, in, HELLO_SIZE);
	hello_encode(&h, out);
	write_full(s->fd, out, HELLO_SIZE);
	read_full(s->fd, in, PS_HEADER_MAX); /* CLOSE */
	ps_native_answer_encode(&alive, out);
	for (unsigned i = 0; i < 3; i++)
		write_full(s->fd, out, PS_NATIVE_ANSWER);
	ps_native_answer_encode(&none, out);
	write_full(s->fd, out, PS_NATIVE_ANSWER);
	return NULL;
}

/* What nobody agreed on is no answer. */
static void our_sender_waits_on(void **state)
{
	(void)state;
	for (unsigned agreed = 0; agreed < 2; agreed++) {
		struct slow_server server = { .features = agreed ? HELLO_FEATURE_ALIVE : 0 };
		struct page_sink *s;
		pthread_t thread;
		struct err e;
		int pair[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		server.fd = pair[0];
		assert_int_equal(pthread_create(&thread, NULL, slow_main, &server), 0);
		s = ps_sink_create(pair[1], false, PS_LAYOUT_UNKNOWN, COMPRESS_NONE, &e);
		assert_non_null(s);
		assert_int_equal(s->ops->finish(s, &e), agreed ? 0 : -1);
		assert_int_equal(agreed ? ERR_PROTOCOL : e.kind, ERR_PROTOCOL);
		s->ops->destroy(s);
		pthread_join(thread, NULL);
		close(pair[0]);
		close(pair[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_sent_arrives_in_fewer_bytes),
		cmocka_unit_test(long_ranges_are_received_where_the_sink_has_room),
		cmocka_unit_test(the_sender_is_told_why),
		cmocka_unit_test(the_sender_is_told_that_its_page_map_could_not_be_made),
		cmocka_unit_test(a_session_that_breaks_off_is_not_published),
		cmocka_unit_test(frames_that_cannot_be_are_refused),
		cmocka_unit_test(a_frame_is_as_long_as_it_says),
		cmocka_unit_test(another_version_is_told_so),
		cmocka_unit_test(commands_have_no_numbers_where_there_is_no_line),
		cmocka_unit_test(frames_and_hellos_have_their_place),
		cmocka_unit_test(the_words_are_not_lost_with_the_connection),
		cmocka_unit_test(a_native_sender_hears_that_publishing_goes_on),
		cmocka_unit_test(our_sender_waits_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
