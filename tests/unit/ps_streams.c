/* SPDX-License-Identifier: Apache-2.0 */
/* Numbered native sessions: what is held of them, and what becomes of connections that fall silent, are reset, lose an answer, or end for good. Between the two sides
 * are wires that break where they are told to. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/pagesink/ps_held.h"
#include "migrate/pagesink/ps_sink.h"
#include "pageserver/stock/line.h"
#include "pageserver/stock/receiver.h"
#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/wire/hello.h"
#include "proto/wire/ps_native.h"
#include "proto/wire/ps_probe.h"
#include "proto/wire/runs.h"

/* --- what is held --------------------------------------------------------------------------------------------------------------- */

enum { RING = 1 << 20 };

static void held_add(struct ps_held *h, size_t len, unsigned stream)
{
	uint8_t *to = ps_held_room(h, len);

	assert_non_null(to);
	memset(to, (int)h->next, len);
	ps_held_add(h, len, stream);
}

static void check_held(const struct ps_held *h, uint64_t first)
{
	struct ps_held_item item;
	uint64_t at = h->from, number = first;

	for (; ps_held_at(h, at, &item); at = item.after, number++) {
		assert_int_equal(item.number, number);
		assert_int_equal(item.stream, number % 5);
		assert_int_equal(item.bytes[0], (uint8_t)number);
		assert_int_equal(item.bytes[item.len - 1], (uint8_t)number);
	}
	assert_int_equal(number, h->next);
	assert_int_equal(at, h->to);
}

static void what_is_held_stays_until_it_is_let_go(void **state)
{
	uint64_t x = 88172645463325252ull, gone = 0;
	struct ps_held h;

	(void)state;
	assert_int_equal(ps_held_init(&h, RING), 0);
	for (unsigned n = 0; n < 20000; n++) {
		size_t len;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		len = n % 7 ? 1 + x % 100 : 1 + x % (RING / 4);
		while (!ps_held_room(&h, len)) {
			assert_true(gone < h.next);
			gone += 1 + x % 3 < h.next - gone ? 1 + x % 3 : h.next - gone;
			ps_held_let_go(&h, gone);
		}
		held_add(&h, len, (unsigned)(h.next % 5));
		assert_true(h.to - h.from <= RING);
		if (n % 64 == 0)
			check_held(&h, gone);
	}
	ps_held_let_go(&h, h.next);
	assert_true(h.from == h.to && h.first == h.next);
	assert_non_null(ps_held_room(&h, RING / 2));
	assert_null(ps_held_room(&h, RING));
	ps_held_finish(&h);
}

static void numbers_are_made_whole_from_their_halves(void **state)
{
	(void)state;
	assert_int_equal(ps_native_taken(5, 5), 5);
	assert_int_equal(ps_native_taken(5, 9), 9);
	assert_int_equal(ps_native_taken(9, 5), 9); /* old news */
	assert_int_equal(ps_native_taken(0xfffffffeull, 3), 0x100000003ull);
	assert_int_equal(ps_native_taken(0x100000003ull, 0xfffffffe), 0x100000003ull);
}

/* --- wires ---------------------------------------------------------------------------------------------------------------------- */

enum { CONNECTIONS = 160, PAGES = 4096 };
enum how { HOLDS, RESETS, FALLS_SILENT };

/* Carries so many bytes to the server and back, 0: any number, then it breaks. */
struct wire {
	pthread_t thread;
	int sender, server; /* our ends */
	enum how how;
	size_t there, back;
};

/* What nobody hears any more is forgotten: the other direction may still have something. */
static bool carry(int from, int to, size_t *left)
{
	static _Thread_local uint8_t buf[64 * 1024];
	size_t most = *left && *left < sizeof(buf) ? *left : sizeof(buf);
	ssize_t n = recv(from, buf, most, 0);

	if (n <= 0)
		return false;
	(void)write_full(to, buf, (size_t)n);
	if (!*left)
		return true;
	*left -= (size_t)n;
	return *left > 0;
}

static void *wire_main(void *arg)
{
	struct wire *w = arg;
	bool goes = true, hangs;

	while (goes) {
		struct pollfd p[] = { { .fd = w->sender, .events = POLLIN }, { .fd = w->server, .events = POLLIN } };

		assert_true(poll(p, 2, -1) > 0);
		if (p[0].revents)
			goes = carry(w->sender, w->server, &w->there);
		if (goes && p[1].revents)
			goes = carry(w->server, w->sender, &w->back);
	}
	hangs = w->how == FALLS_SILENT;
	for (struct pollfd p = { .fd = w->sender }; hangs && poll(&p, 1, 20) == 0;) /* until its end is closed */
		;
	shutdown(w->sender, SHUT_RDWR);
	shutdown(w->server, SHUT_RDWR);
	close(w->sender);
	close(w->server);
	return NULL;
}

/* --- a session ------------------------------------------------------------------------------------------------------------------ */

struct rig {
	struct page_sink sink; /* first member: the server's */
	struct ps_sink_config sender;
	struct page_server_config config;
	struct page_server_report report;
	struct err e;
	int line[2], rc, fd, hold; /* hold: finish waits for a byte from here; -1 */
	pthread_t thread;
	struct wire wire[CONNECTIONS];
	_Atomic unsigned wires;
	_Atomic bool publishing;
	enum how how;
	size_t there, back; /* of the wires to come */
	unsigned breaking;  /* so many break, the others hold */
	bool finished;
	uint64_t next; /* where pages must go on */
	uint8_t *bytes;
	uint64_t pages;
};

static int rig_map(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	(void)kind; (void)e;
	((struct rig *)s)->next = 0;
	*parent = id == 42;
	return 0;
}

/* Each once, in their order: as a set of images would have it. */
static int rig_pages(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, const void *data, struct err *e)
{
	struct rig *r = (struct rig *)s;

	(void)flags;
	if (vaddr < r->next || vaddr + pages_to_bytes(nr) > pages_to_bytes(PAGES))
		return err_set(e, ERR_PROTOCOL, 0, "overlaps what came before");
	memcpy(r->bytes + vaddr, data, pages_to_bytes(nr));
	r->next = vaddr + pages_to_bytes(nr);
	r->pages += nr;
	return 0;
}

static int rig_hole(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, struct err *e)
{
	struct rig *r = (struct rig *)s;

	(void)flags;
	if (vaddr < r->next)
		return err_set(e, ERR_PROTOCOL, 0, "a hole overlaps what came before");
	r->next = vaddr + pages_to_bytes(nr);
	return 0;
}

static int rig_finish(struct page_sink *s, struct err *e)
{
	struct rig *r = (struct rig *)s;
	char go;

	(void)e;
	atomic_store(&r->publishing, true);
	if (r->hold >= 0)
		assert_int_equal(read(r->hold, &go, 1), 1);
	r->finished = true;
	return 0;
}

static const struct page_sink_ops rig_ops = { .has_parent = rig_map, .open = rig_map, .pages = rig_pages, .hole = rig_hole, .finish = rig_finish };

static void *rig_main(void *arg)
{
	struct rig *r = arg;

	r->rc = ps_receive(r->fd, false, &r->sink, &r->config, &r->report, &r->e);
	return NULL;
}

/* A wire; the server's end of it. */
static int wire_start(struct rig *r, int *sender)
{
	struct wire *w = &r->wire[r->wires];
	int near[2], far[2];

	assert_true(r->wires < CONNECTIONS);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, near), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, far), 0);
	*w = (struct wire){ .sender = near[1], .server = far[0] };
	if (r->wires < r->breaking) {
		w->how = r->how;
		w->there = r->there;
		w->back = r->back;
	}
	r->wires++;
	*sender = near[0];
	assert_int_equal(pthread_create(&w->thread, NULL, wire_main, w), 0);
	return far[1];
}

/* What the server around a session does with a connection, for a sender that waits for the answer to its hello. */
struct newcomer { int fd, line; };

static void *route(void *arg)
{
	struct newcomer *n = arg;
	struct line_message m = { .word = LINE_HELLO, .fd = n->fd };

	if (read_full(n->fd, m.hello, HELLO_SIZE) == 0)
		line_say(n->line, &m);
	close(n->fd);
	free(n);
	return NULL;
}

static int rig_connect(void *arg, struct err *e)
{
	struct newcomer *n = malloc(sizeof(*n));
	struct rig *r = arg;
	pthread_t thread;
	int fd;

	(void)e;
	assert_non_null(n);
	*n = (struct newcomer){ .fd = wire_start(r, &fd), .line = r->line[0] };
	assert_int_equal(pthread_create(&thread, NULL, route, n), 0);
	pthread_detach(thread);
	return fd;
}

static void rig_start(struct rig *r, unsigned streams, enum how how, size_t there, size_t back, unsigned breaking)
{
	*r = (struct rig){ .sink.ops = &rig_ops, .hold = -1, .how = how, .there = there, .back = back, .breaking = breaking,
			   .bytes = calloc(PAGES, DRAY_PAGE_SIZE) };
	assert_non_null(r->bytes);
	assert_int_equal(line_pair(r->line), 0);
	r->config = (struct page_server_config){ .line = &r->line[1], .alive_ms = 20, .grace_ms = 20000 };
	r->sender = (struct ps_sink_config){ .choice = { .streams = streams }, .mode = COMPRESS_NONE, .connect = rig_connect, .arg = r,
						.silence_ms = how == FALLS_SILENT ? 300 : 60 * 1000 };
	r->fd = wire_start(r, &r->sender.fd);
	assert_int_equal(pthread_create(&r->thread, NULL, rig_main, r), 0);
}

static void check_memory(const struct rig *r, const uint8_t *bytes)
{
	assert_int_equal(r->rc, 0);
	assert_true(r->finished && r->report.native);
	assert_int_equal(r->pages, 2 * (1000 + 500 + PAGES - 2000));
	assert_int_equal(r->report.pages, r->pages);
	for (uint64_t p = 0; p < PAGES; p++)
		if (p < 1000 || p >= 2000 || p % 2 == 0)
			assert_memory_equal(r->bytes + pages_to_bytes(p), bytes + pages_to_bytes(p), DRAY_PAGE_SIZE);
}

/* bytes: what must have come; NULL: the session failed. */
static void rig_end(struct rig *r, const uint8_t *bytes)
{
	close(r->sender.fd);
	pthread_join(r->thread, NULL);
	close(r->fd);
	for (unsigned i = 0; i < r->wires; i++)
		pthread_join(r->wire[i].thread, NULL);
	close(r->line[0]);
	close(r->line[1]);
	if (bytes)
		check_memory(r, bytes);
	free(r->bytes);
}

static void fill(uint8_t *bytes, uint64_t pages)
{
	uint64_t x = 88172645463325252ull;

	for (uint64_t i = 0; i < pages_to_bytes(pages) / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		le64_put(bytes + 8 * i, x);
	}
}

#define must(call) do { if ((call) < 0) fail_msg("%s", e.text); } while (0)

/* Long ranges, scattered pages, holes, a second page map. */
static void say_memory(struct page_sink *s, const uint8_t *bytes)
{
	bool parent;
	struct err e = { 0 };

	for (unsigned map = 41; map < 43; map++) {
		must(s->ops->has_parent(s, PAGEMAP_TASK, map, &parent, &e));
		assert_int_equal(parent, map == 42);
		must(s->ops->open(s, PAGEMAP_TASK, map, &parent, &e));
		assert_int_equal(parent, map == 42);
		must(s->ops->pages(s, 0, 1000, PAGE_PRESENT, bytes, &e));
		for (uint64_t p = 1000; p < 2000; p += 2) {
			must(s->ops->pages(s, pages_to_bytes(p), 1, PAGE_PRESENT, bytes + pages_to_bytes(p), &e));
			if (p % 16 == 0)
				must(s->ops->hole(s, pages_to_bytes(p + 1), 1, PAGE_IN_PARENT, &e));
		}
		must(s->ops->pages(s, pages_to_bytes(2000), PAGES - 2000, PAGE_PRESENT, bytes + pages_to_bytes(2000), &e));
	}
}

/* --- what must hold ------------------------------------------------------------------------------------------------------------- */

static uint8_t memory[PAGES * 4096], packable[PAGES * 4096];

static void session_of(const uint8_t *bytes, enum compress_mode mode, unsigned streams, enum how how, size_t there, size_t back, unsigned breaking)
{
	struct page_sink *s;
	struct err e = { 0 };
	struct rig r;

	rig_start(&r, streams, how, there, back, breaking);
	r.sender.mode = mode;
	s = ps_sink_open(&r.sender, &e);
	assert_non_null(s);
	say_memory(s, bytes);
	must(s->ops->finish(s, &e));
	s->ops->destroy(s);
	assert_true(r.wires >= streams + (breaking > 0));
	rig_end(&r, bytes);
}

static void session(unsigned streams, enum how how, size_t there, size_t back, unsigned breaking)
{
	session_of(memory, COMPRESS_NONE, streams, how, there, back, breaking);
}

static void commands_go_on_any_number_of_connections(void **state)
{
	(void)state;
	session(1, HOLDS, 0, 0, 0);
	session(3, HOLDS, 0, 0, 0);
	session(STREAMS_MAX, HOLDS, 0, 0, 0);
}

/* In the middle of frames, of pages in them, of headers. */
static void cut_connections_go_on_where_they_were(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 12; i++)
		session(1 + i % 3, RESETS, 400000 + i * 77777 + i, 0, 1 + i % 3 + i % 2);
	session(2, RESETS, 3 << 20, 0, 12);
}

/* None of them carries a frame of 1 MiB to its end; those of packed pages begin and end in the midst of blocks. */
static void frames_take_as_many_connections_as_they_need(void **state)
{
	(void)state;
	session(1, RESETS, 400001, 0, CONNECTIONS);
	session(3, RESETS, 700000, 0, CONNECTIONS);
	session_of(packable, COMPRESS_LZ4, 1, RESETS, 200003, 0, CONNECTIONS);
	session_of(packable, COMPRESS_NONE, 2, RESETS, 600000, 0, CONNECTIONS);
}

static void silent_connections_are_made_anew(void **state)
{
	(void)state;
	session(1, FALLS_SILENT, 5000000, 0, 1);
	session(3, FALLS_SILENT, 3000000, 0, 3);
}

/* Hellos and the identity are 76 bytes; then come answers of 8: each of the first few is lost, or cut in two. */
static void lost_answers_are_given_again(void **state)
{
	(void)state;
	for (size_t back = 76 + 1; back < 76 + 8 * 5; back += 3)
		session(1 + back % 2, RESETS, 0, back, 1);
	session(1, FALLS_SILENT, 0, 76 + 3, 1);
}

/* Cuts the first connection once the set is being published, and lets that go on when another has come, or at once. */
struct breaker { struct rig *r; int go; bool waits; };

static void *break_while_publishing(void *arg)
{
	struct breaker *b = arg;

	while (!atomic_load(&b->r->publishing))
		usleep(1000);
	shutdown(b->r->wire[0].server, SHUT_RDWR);
	while (b->waits && atomic_load(&b->r->wires) < 2)
		usleep(1000);
	assert_int_equal(write(b->go, "", 1), 1);
	return NULL;
}

static void a_connection_may_be_cut_while_the_set_is_published(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct page_sink *s;
		struct err e = { 0 };
		struct breaker b;
		pthread_t late;
		struct rig r;
		int hold[2];

		assert_int_equal(pipe(hold), 0);
		rig_start(&r, 1, HOLDS, 0, 0, 0);
		s = ps_sink_open(&r.sender, &e);
		assert_non_null(s);
		say_memory(s, memory);
		r.hold = hold[0];
		b = (struct breaker){ &r, hold[1], i & 1 };
		assert_int_equal(pthread_create(&late, NULL, break_while_publishing, &b), 0);
		must(s->ops->finish(s, &e));
		pthread_join(late, NULL);
		s->ops->destroy(s);
		rig_end(&r, memory);
		assert_true(r.wires > 1);
		close(hold[0]);
		close(hold[1]);
	}
}

static int no_more(void *arg, struct err *e)
{
	(void)arg;
	return err_set(e, ERR_PEER, 0, "nobody is there");
}

/* The sender gave up, or is gone without a word; there is nobody who could come again. */
static void a_session_whose_sender_is_gone_ends(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		bool parent, gives_up = i == 0;
		struct page_sink *s;
		struct err e = { 0 };
		struct rig r;

		rig_start(&r, 1, HOLDS, 0, 0, 0);
		r.config.grace_ms = i == 1 ? 50 : 600 * 1000;
		s = ps_sink_open(&r.sender, &e);
		assert_non_null(s);
		assert_int_equal(s->ops->open(s, PAGEMAP_TASK, 41, &parent, &e), 0);
		assert_int_equal(s->ops->pages(s, 0, 1000, PAGE_PRESENT, memory, &e), 0);
		if (i == 2)
			assert_true(line_say_word(r.line[0], LINE_ALONE));
		if (!gives_up)
			shutdown(r.wire[0].server, SHUT_RDWR);
		s->ops->destroy(s);
		rig_end(&r, NULL);
		assert_int_equal(r.rc, -1);
		assert_non_null(strstr(r.e.text, gives_up ? "gave the session up" : "no other connection came"));
		assert_false(r.finished);
	}
}

/* Nobody has the token then, so nobody is waited for. */
static void a_sender_that_does_not_hear_the_answer_to_its_hello_is_gone(void **state)
{
	struct hello h = { .version = HELLO_VERSION, .role = HELLO_IMAGES, .features = HELLO_FEATURE_NUMBERED };
	struct rig r = { .sink.ops = &rig_ops };
	uint8_t bytes[HELLO_SIZE];
	int pair[2];

	(void)state;
	assert_int_equal(line_pair(r.line), 0);
	r.config = (struct page_server_config){ .line = &r.line[1], .grace_ms = 600 * 1000 };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	hello_encode(&h, bytes);
	assert_int_equal(write(pair[1], bytes, sizeof(bytes)), sizeof(bytes));
	close(pair[1]);
	assert_int_equal(ps_receive(pair[0], false, &r.sink, &r.config, &r.report, &r.e), -1);
	assert_int_equal(r.e.kind, ERR_PEER);
	assert_string_equal(r.e.text, "the connection ended: the sender cut it");
	close(pair[0]);
	close(r.line[0]);
	close(r.line[1]);
}

/* Nothing comes in the place of a connection that stays cut: the dump fails, and does not hang. */
static void a_server_that_is_gone_ends_the_dump(void **state)
{
	struct page_sink *s;
	struct err e = { 0 };
	struct rig r;
	bool parent;

	(void)state;
	rig_start(&r, 1, HOLDS, 0, 0, 0);
	r.config.grace_ms = 50;
	r.sender.connect = no_more;
	r.sender.patience_ms = 100;
	s = ps_sink_open(&r.sender, &e);
	assert_non_null(s);
	assert_int_equal(s->ops->open(s, PAGEMAP_TASK, 41, &parent, &e), 0);
	shutdown(r.wire[0].server, SHUT_RDWR);
	assert_int_equal(s->ops->has_parent(s, PAGEMAP_TASK, 42, &parent, &e), -1);
	assert_non_null(strstr(e.text, "nobody is there"));
	s->ops->destroy(s);
	rig_end(&r, NULL);
	assert_int_equal(r.rc, -1);
}

/* A limit that the server has: its words come through from whichever connection the pages are on. */
static void words_come_through(void **state)
{
	(void)state;
	for (unsigned streams = 1; streams <= 3; streams += 2) {
		struct page_sink *s;
		struct err e = { 0 };
		struct rig r;
		bool parent;
		int rc = 0;

		rig_start(&r, streams, HOLDS, 0, 0, 0);
		r.config.limits.bytes = 1 << 20;
		s = ps_sink_open(&r.sender, &e);
		assert_non_null(s);
		assert_int_equal(s->ops->open(s, PAGEMAP_TASK, 41, &parent, &e), 0);
		for (uint64_t p = 0; rc == 0 && p + 64 < PAGES; p += 64)
			rc = s->ops->pages(s, pages_to_bytes(p), 64, PAGE_PRESENT, memory + pages_to_bytes(p), &e);
		if (rc == 0)
			rc = s->ops->finish(s, &e);
		assert_int_equal(rc, -1);
		assert_non_null(strstr(e.text, "exceed the 1048576 bytes"));
		s->ops->destroy(s);
		rig_end(&r, NULL);
		assert_int_equal(r.rc, -1);
	}
}

/* Who does not know the token is not let near the session, whatever number he says; nor is a number that the session is not at taken. */
static void strangers_do_not_get_in(void **state)
{
	struct hello h = { .version = HELLO_VERSION, .role = HELLO_IMAGES_MORE, .features = HELLO_FEATURE_NUMBERED };
	struct line_message m = { .word = LINE_HELLO };
	struct page_sink *s;
	struct err e = { 0 };
	struct rig r;
	int pair[2];
	char byte;

	(void)state;
	rig_start(&r, 1, HOLDS, 0, 0, 0);
	s = ps_sink_open(&r.sender, &e);
	assert_non_null(s);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	stream_token_new(&h.token);
	hello_encode(&h, m.hello);
	m.fd = pair[0];
	assert_true(line_say(r.line[0], &m));
	close(pair[0]);
	assert_int_equal(recv(pair[1], &byte, 1, 0), 0);
	close(pair[1]);
	say_memory(s, memory);
	must(s->ops->finish(s, &e));
	s->ops->destroy(s);
	rig_end(&r, memory);
}

static int make_memory(void **state)
{
	(void)state;
	fill(memory, PAGES);
	for (size_t p = 0; p < PAGES; p++) /* a third of each page is as random, and there are pages of zeros */
		if (p % 7)
			memcpy(packable + pages_to_bytes(p) + 100, memory + pages_to_bytes(p), DRAY_PAGE_SIZE / 3);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_held_stays_until_it_is_let_go),
		cmocka_unit_test(numbers_are_made_whole_from_their_halves),
		cmocka_unit_test(commands_go_on_any_number_of_connections),
		cmocka_unit_test(cut_connections_go_on_where_they_were),
		cmocka_unit_test(frames_take_as_many_connections_as_they_need),
		cmocka_unit_test(silent_connections_are_made_anew),
		cmocka_unit_test(lost_answers_are_given_again),
		cmocka_unit_test(a_connection_may_be_cut_while_the_set_is_published),
		cmocka_unit_test(a_session_whose_sender_is_gone_ends),
		cmocka_unit_test(a_sender_that_does_not_hear_the_answer_to_its_hello_is_gone),
		cmocka_unit_test(a_server_that_is_gone_ends_the_dump),
		cmocka_unit_test(words_come_through),
		cmocka_unit_test(strangers_do_not_get_in),
	};

	return cmocka_run_group_tests(tests, make_memory, NULL);
}
