/* SPDX-License-Identifier: Apache-2.0 */
/* Pages that somebody fetches late: each question is answered with what follows each other from there on, in the client's own header; what can't be or isn't there ends
 * the session by name; a client that goes without CLOSE has failed; and on a socket that somebody else goes on to use not a byte behind CLOSE is taken. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "pageserver/stock/lazy_server.h"
#include "proto/base/io.h"
#include "proto/wire/ps_command.h"
#include "proto/wire/runs.h"

/* --- a task with the pages 16 to 215 and 300, each with its number in it --------------------------------------------------------- */

enum { PID = 41, FIRST = 16, PAGES = 200, LONELY = 300 };

static int find(void *arg, uint64_t pid, uint64_t addr, uint64_t most, uint64_t *pages, struct err *e)
{
	uint64_t n = bytes_to_pages(addr);
	bool run = n >= FIRST && n < FIRST + PAGES;

	(void)arg;
	if (pid != PID || (!run && n != LONELY))
		return err_set(e, ERR_PROTOCOL, 0, "not there");
	*pages = run ? FIRST + PAGES - n : 1;
	*pages = *pages < most ? *pages : most;
	return 0;
}

static int read_pages(void *arg, uint64_t pid, uint64_t addr, uint32_t pages, void *data, struct err *e)
{
	(void)arg; (void)pid; (void)e;
	assert_true(pages <= LAZY_SERVE_PAGES);
	for (uint32_t i = 0; i < pages; i++)
		memset((char *)data + pages_to_bytes(i), (int)(bytes_to_pages(addr) + i), DRAY_PAGE_SIZE);
	return 0;
}

static int end(void *arg, struct err *e)
{
	(void)arg;
	return err_set(e, ERR_GONE, 0, "the task is gone");
}

/* --- a client -------------------------------------------------------------------------------------------------------------------- */

struct rig {
	int ours, theirs;
	enum ps_layout layout;
	struct lazy_rules rules;
	struct lazy_pages pages;
	struct lazy_report report;
	struct err e;
};

static void rig_open(struct rig *r, enum ps_layout layout, bool inherited)
{
	int pair[2];

	*r = (struct rig){ .layout = layout, .rules.inherited = inherited, .pages = { .find = find, .read = read_pages, .end_fd = -1, .end = end } };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	r->ours = pair[0];
	r->theirs = pair[1];
}

static void rig_close(struct rig *r)
{
	close(r->ours);
	if (r->theirs >= 0)
		close(r->theirs);
}

static void say(const struct rig *r, uint16_t code, uint64_t nr, uint64_t page, uint64_t pid)
{
	const struct ps_command c = { .code = code, .nr = nr, .vaddr = pages_to_bytes(page), .dst = pid };
	unsigned char header[PS_HEADER_MAX];

	ps_encode(r->layout, &c, header);
	assert_int_equal(write(r->theirs, header, r->layout), r->layout);
}

static int serve(struct rig *r)
{
	return lazy_serve(r->ours, &r->pages, &r->rules, &r->report, &r->e);
}

static void *serve_aside(void *arg)
{
	struct rig *r = arg;

	return serve(r) == 0 ? r : NULL;
}

static void answered(const struct rig *r, uint64_t nr, uint64_t page)
{
	unsigned char header[PS_HEADER_MAX], bytes[4096];
	struct ps_command c;

	assert_int_equal(read_full(r->theirs, header, r->layout), 0);
	assert_int_equal(ps_decode(r->layout, header, &c), 0);
	assert_true(c.code == PS_ADD_F && c.flags == PS_PRESENT && c.nr == nr && c.vaddr == pages_to_bytes(page) && c.dst == PID);
	for (uint64_t i = 0; i < nr; i++) {
		assert_int_equal(read_full(r->theirs, bytes, sizeof(bytes)), 0);
		assert_true(bytes[0] == (unsigned char)(page + i) && bytes[4095] == bytes[0]);
	}
}

static void closed(const struct rig *r)
{
	uint32_t status = 1;

	assert_int_equal(read_full(r->theirs, &status, sizeof(status)), 0);
	assert_int_equal(status, 0);
}

/* --- what must hold --------------------------------------------------------------------------------------------------------------- */

static void questions_are_answered_with_what_follows_each_other(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		pthread_t server;
		struct rig r;
		void *fine;

		rig_open(&r, i & 1 ? PS_LAYOUT_24 : PS_LAYOUT_32, i & 2);
		assert_int_equal(pthread_create(&server, NULL, serve_aside, &r), 0);
		say(&r, PS_GET, 1, FIRST, PID);
		say(&r, PS_GET, 16, FIRST + 1, PID);
		say(&r, PS_GET, UINT32_MAX, FIRST + 100, PID); /* all that there is, more than is read at once */
		say(&r, PS_GET, 2, LONELY, PID);
		say(&r, PS_GET, 1, FIRST, PID); /* once more */
		say(&r, PS_CLOSE, 0, 0, 0);
		answered(&r, 1, FIRST);
		answered(&r, 16, FIRST + 1);
		answered(&r, 100, FIRST + 100);
		answered(&r, 1, LONELY);
		answered(&r, 1, FIRST);
		closed(&r);
		pthread_join(server, &fine);
		assert_non_null(fine);
		assert_true(r.report.requests == 5 && r.report.pages == 1 + 16 + 100 + 1 + 1 && r.report.let_in);
		rig_close(&r);
	}
}

/* With questions before, and without any, where nothing has shown how long a header is. */
static void what_follows_an_inherited_session_is_left(void **state)
{
	static const uint16_t ends[] = { PS_CLOSE, PS_FORCE_CLOSE };
	char next[16] = "";

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		struct rig r;

		rig_open(&r, i & 1 ? PS_LAYOUT_24 : PS_LAYOUT_32, true);
		if (i & 2)
			say(&r, PS_GET, 1, FIRST, PID);
		say(&r, ends[i / 4], 0, 0, 0);
		assert_int_equal(write(r.theirs, "tar stream", 10), 10);
		assert_int_equal(serve(&r), 0);
		assert_int_equal(recv(r.ours, next, sizeof(next), MSG_DONTWAIT), 10);
		assert_memory_equal(next, "tar stream", 10);
		if (i & 2)
			answered(&r, 1, FIRST);
		closed(&r);
		rig_close(&r);
	}
}

static void refused(enum ps_layout layout, uint16_t code, uint64_t nr, uint64_t vaddr, uint64_t pid, const char *words)
{
	const struct ps_command c = { .code = code, .nr = nr, .vaddr = vaddr, .dst = pid };
	unsigned char header[PS_HEADER_MAX];
	struct rig r;

	rig_open(&r, layout, false);
	say(&r, PS_GET, 1, FIRST, PID);
	ps_encode(layout, &c, header);
	assert_int_equal(write(r.theirs, header, layout), layout);
	assert_int_equal(serve(&r), -1);
	assert_int_equal(r.e.kind, ERR_PROTOCOL);
	if (!strstr(r.e.text, words))
		fail_msg("\"%s\" does not say \"%s\"", r.e.text, words);
	rig_close(&r);
}

static void what_cannot_be_or_is_not_there_is_refused_by_name(void **state)
{
	static const enum ps_layout layouts[] = { PS_LAYOUT_24, PS_LAYOUT_32 };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		refused(layouts[i], PS_GET, 0, 0x10000, PID, "0 pages at 0x10000 of task 41: it is empty");
		refused(layouts[i], PS_GET, 1, 0x10001, PID, "not that of a page");
		refused(layouts[i], PS_GET, 1, 0xfffffffffffff000, PID, "longer than memory");
		refused(layouts[i], PS_GET, UINT32_MAX, 0x7ffffffffffff000, PID, "longer than memory");
		refused(layouts[i], PS_GET, 1, 0x1000, PID, "not there");
		refused(layouts[i], PS_GET, 1, 0x10000, 42, "task 42: not there");
		refused(layouts[i], PS_ADD_F, 1, 0x10000, PID, "says ADD_F");
		refused(layouts[i], PS_OPEN2, 0, 0, PID << 8 | 1, "says OPEN2");
		refused(layouts[i], 0x4d, 0, 0, 0, "says 0x4d, which is no command");
	}
	refused(PS_LAYOUT_32, PS_GET, UINT64_MAX, 0x10000, PID, "longer than memory");
}

static void a_client_that_goes_without_a_word_has_failed(void **state)
{
	(void)state;
	for (size_t cut = 0; cut < 2 * PS_HEADER_MAX; cut++) {
		struct ps_command c = { .code = PS_GET, .nr = 1, .vaddr = pages_to_bytes(FIRST), .dst = PID };
		unsigned char said[2 * PS_HEADER_MAX];
		struct rig r;

		ps_encode(PS_LAYOUT_32, &c, said);
		c = (struct ps_command){ .code = PS_CLOSE };
		ps_encode(PS_LAYOUT_32, &c, said + PS_HEADER_MAX);
		rig_open(&r, PS_LAYOUT_32, cut % 2);
		assert_int_equal(write(r.theirs, said, cut), cut);
		shutdown(r.theirs, SHUT_WR);
		assert_int_equal(serve(&r), -1);
		assert_int_equal(r.e.kind, ERR_PEER);
		assert_string_equal(r.e.text, "lazy pages: the client ended without a word");
		rig_close(&r);
	}
}

static void patience_has_an_end(void **state)
{
	static const struct { uint64_t idle_ms, time_ms; const char *words; } cases[] = { { 30, 0, "said and took nothing" }, { 0, 30, "took longer" } };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct rig r;

		rig_open(&r, PS_LAYOUT_32, false);
		r.rules.idle_ms = cases[i].idle_ms;
		r.rules.time_ms = cases[i].time_ms;
		say(&r, PS_GET, 1, FIRST, PID);
		assert_int_equal(serve(&r), -1);
		assert_int_equal(r.e.kind, ERR_TIMEOUT);
		assert_non_null(strstr(r.e.text, cases[i].words));
		rig_close(&r);
	}
}

/* Whose pages they are may end while a client says nothing. */
static void the_end_of_the_pages_ends_the_session(void **state)
{
	struct rig r;
	int gone[2];

	(void)state;
	assert_int_equal(pipe(gone), 0);
	close(gone[1]);
	rig_open(&r, PS_LAYOUT_32, false);
	r.pages.end_fd = gone[0];
	assert_int_equal(serve(&r), -1);
	assert_string_equal(r.e.text, "the task is gone");
	rig_close(&r);
	close(gone[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(questions_are_answered_with_what_follows_each_other),
		cmocka_unit_test(what_follows_an_inherited_session_is_left),
		cmocka_unit_test(what_cannot_be_or_is_not_there_is_refused_by_name),
		cmocka_unit_test(a_client_that_goes_without_a_word_has_failed),
		cmocka_unit_test(patience_has_an_end),
		cmocka_unit_test(the_end_of_the_pages_ends_the_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
