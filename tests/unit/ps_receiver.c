/* SPDX-License-Identifier: Apache-2.0 */
/* A session of the page server: what a sender says comes out in the sink, both layouts, old senders too; it is answered in the protocol's sizes,
 * published before the status and never without it; a socket that somebody else goes on to use is left where the session ends. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "pageserver/stock/receiver.h"
#include "proto/wire/ps_command.h"
#include "proto/wire/runs.h"

/* --- a sink that writes down what it is told ------------------------------------------------------------------------------------ */

struct notes {
	struct page_sink sink; /* first member */
	int peer;              /* the sender's end, to see what it has been told by when */
	bool parents;          /* whether there are any */
	char text[4096];
	size_t len;
	bool finished, told_early;
	unsigned finishes;
	time_t patience; /* of a sink that has any */
	bool cannot_open;
	ssize_t answered; /* the bytes that the sender had been told by the time that a page map was opened last */
	unsigned char sum; /* of the pages' first bytes */
};

static void note(struct notes *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct notes *n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	n->len += (size_t)vsnprintf(n->text + n->len, sizeof(n->text) - n->len, fmt, ap);
	va_end(ap);
	assert_true(n->len < sizeof(n->text));
}

static struct notes *notes_of(struct page_sink *s)
{
	return (struct notes *)s;
}

static int notes_has_parent(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	(void)e;
	*parent = notes_of(s)->parents;
	note(notes_of(s), "parent %d:%llu\n", kind, (unsigned long long)id);
	return 0;
}

static int notes_open(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	struct notes *n = notes_of(s);
	char all[64];

	n->answered = recv(n->peer, all, sizeof(all), MSG_PEEK | MSG_DONTWAIT);
	if (n->cannot_open)
		return err_set(e, ERR_SYSTEM, ENOSPC, "make its files");
	*parent = n->parents;
	note(n, "open %d:%llu\n", kind, (unsigned long long)id);
	return 0;
}

/* Pages that come in pieces are noted one by one, so that the notes don't depend on what a read happened to bring. */
static int notes_pages(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, const void *data, struct err *e)
{
	const unsigned char *p = data;

	(void)e;
	for (uint64_t i = 0; i < nr; i++)
		note(notes_of(s), "page %llx %u %02x\n", (unsigned long long)(vaddr + pages_to_bytes(i)), flags, p[pages_to_bytes(i)]);
	return 0;
}

static int notes_hole(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, struct err *e)
{
	if (vaddr == 0xbad000)
		return err_set(e, ERR_PROTOCOL, 0, "in no parent");
	note(notes_of(s), "hole %llx+%llu %u\n", (unsigned long long)vaddr, (unsigned long long)nr, flags);
	return 0;
}

/* Whether the sender has been told its status when the set is not safe yet: the last of its answers is not there while `finish` runs. */
static int notes_finish(struct page_sink *s, struct err *e)
{
	struct notes *n = notes_of(s);
	char all[64];

	(void)e;
	n->finished = true;
	n->finishes++;
	n->told_early = recv(n->peer, all, sizeof(all), MSG_PEEK | MSG_DONTWAIT) >= 4 + 1 + 4;
	return 0;
}

static void notes_destroy(struct page_sink *s)
{
	(void)s;
}

static const struct page_sink_ops notes_ops = { .has_parent = notes_has_parent, .open = notes_open, .pages = notes_pages, .hole = notes_hole,
						.finish = notes_finish, .destroy = notes_destroy };

/* --- a sender ------------------------------------------------------------------------------------------------------------------- */

struct rig {
	int ours, theirs; /* the server's end and the sender's */
	enum ps_layout layout;
	struct notes notes;
	struct page_server_config config;
	struct page_server_report report;
	struct err e;
	unsigned char answers[256];
	size_t answered;
};

static void rig_open(struct rig *r, enum ps_layout layout)
{
	int pair[2];

	*r = (struct rig){ .layout = layout, .notes.sink.ops = &notes_ops };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	r->ours = pair[0];
	r->theirs = r->notes.peer = pair[1];
}

static void rig_close(struct rig *r)
{
	close(r->ours);
	if (r->theirs >= 0)
		close(r->theirs);
}

static void say_bytes(const struct rig *r, const void *bytes, size_t len)
{
	assert_int_equal(send(r->theirs, bytes, len, 0), len);
}

static void say(const struct rig *r, struct ps_command c)
{
	unsigned char header[PS_HEADER_MAX];

	ps_encode(r->layout, &c, header);
	say_bytes(r, header, r->layout);
}

static void say_page(const struct rig *r, unsigned char byte)
{
	unsigned char page[4096];

	memset(page, byte, sizeof(page));
	say_bytes(r, page, sizeof(page));
}

static int serve(struct rig *r, bool inherited)
{
	ssize_t n;
	int rc;

	if (!inherited)
		shutdown(r->theirs, SHUT_WR);
	rc = ps_receive(r->ours, inherited, &r->notes.sink, &r->config, &r->report, &r->e);
	n = recv(r->theirs, r->answers, sizeof(r->answers), MSG_DONTWAIT);
	r->answered = n > 0 ? (size_t)n : 0;
	return rc;
}

enum { TASK = 0x2901, SHARED = 0x702 };

static void say_session(const struct rig *r, uint16_t end)
{
	say(r, (struct ps_command){ .code = PS_PARENT, .dst = TASK });
	say(r, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
	say(r, (struct ps_command){ .code = PS_ADD_F, .flags = PS_IN_PARENT, .nr = 3, .vaddr = 0x10000, .dst = TASK });
	say(r, (struct ps_command){ .code = PS_ADD_F, .flags = PS_PRESENT | PS_LAZY, .nr = 2, .vaddr = 0x20000, .dst = TASK });
	say_page(r, 0xaa);
	say_page(r, 0xbb);
	say(r, (struct ps_command){ .code = PS_ADD_F, .flags = PS_LAZY, .nr = 1, .vaddr = 0x30000, .dst = TASK });
	say(r, (struct ps_command){ .code = PS_OPEN2, .dst = SHARED });
	say(r, (struct ps_command){ .code = PS_ADD_F, .flags = PS_PRESENT, .nr = 1, .vaddr = 0, .dst = SHARED });
	say_page(r, 0xcc);
	if (end)
		say(r, (struct ps_command){ .code = end });
}

static const char *const session_notes =
	"parent 1:41\nparent 1:41\nopen 1:41\nhole 10000+3 1\npage 20000 6 aa\npage 21000 6 bb\nhole 30000+1 2\nparent 2:7\nopen 2:7\npage 0 4 cc\n";

/* --- what must hold ------------------------------------------------------------------------------------------------------------- */

static void session_arrives(enum ps_layout layout, bool inherited, bool parents)
{
	static const unsigned char none[4 + 1 + 1 + 4], some[4 + 1 + 1 + 4] = { 1, 0, 0, 0, 1, 1 };
	struct rig r;

	rig_open(&r, layout);
	r.notes.parents = parents;
	say_session(&r, inherited ? PS_FORCE_CLOSE : PS_CLOSE);
	assert_int_equal(serve(&r, inherited), 0);
	assert_string_equal(r.notes.text, session_notes);
	assert_true(r.notes.finished);
	assert_false(r.notes.told_early);
	assert_int_equal(r.answered, sizeof(none));
	assert_memory_equal(r.answers, parents ? some : none, sizeof(none));
	assert_int_equal(r.report.header_size, layout);
	assert_true(r.report.maps == 2 && r.report.ranges == 4 && r.report.pages == 3 && r.report.in_parent == 3);
	rig_close(&r);
}

static void both_layouts_arrive(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++)
		session_arrives(i & 1 ? PS_LAYOUT_24 : PS_LAYOUT_32, i & 2, i & 4);
}

static void old_senders_arrive(void **state)
{
	struct rig r;

	(void)state;
	rig_open(&r, PS_LAYOUT_24);
	say(&r, (struct ps_command){ .code = PS_OPEN, .dst = 0x290a });
	say(&r, (struct ps_command){ .code = PS_ADD, .nr = 1, .vaddr = 0x10000, .dst = 0x290a });
	say_page(&r, 0x11);
	say(&r, (struct ps_command){ .code = PS_HOLE, .nr = 2, .vaddr = 0x20000, .dst = 0x290a });
	say(&r, (struct ps_command){ .code = PS_ADD, .nr = 1, .vaddr = 0x1000, .dst = 0x71b }); /* never opened */
	say_page(&r, 0x22);
	say(&r, (struct ps_command){ .code = PS_CLOSE });
	assert_int_equal(serve(&r, false), 0);
	assert_string_equal(r.notes.text, "open 1:41\npage 10000 4 11\nhole 20000+2 1\nopen 2:7\npage 1000 4 22\n");
	assert_int_equal(r.answered, 4);
	rig_close(&r);
}

static void what_follows_an_inherited_session_is_left(void **state)
{
	static const uint16_t ends[] = { PS_CLOSE, PS_FORCE_CLOSE };
	char next[16] = "";

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct rig r;

		rig_open(&r, i & 1 ? PS_LAYOUT_24 : PS_LAYOUT_32);
		say_session(&r, ends[i / 2]);
		say_bytes(&r, "tar stream", 10);
		assert_int_equal(serve(&r, true), 0);
		assert_int_equal(recv(r.ours, next, sizeof(next), MSG_DONTWAIT), 10);
		assert_memory_equal(next, "tar stream", 10);
		rig_close(&r);
	}
}

static uint8_t in_place[64 * 4096];

static uint8_t *notes_room(struct page_sink *s, uint64_t *bytes)
{
	(void)s;
	*bytes = sizeof(in_place);
	return in_place;
}

/* Also where a long range is the last that it says, and is received where it belongs. */
static void what_follows_a_long_range_is_left(void **state)
{
	const struct ps_command range = { .code = PS_ADD_F, .flags = PS_PRESENT, .nr = 20, .vaddr = 0x20000, .dst = TASK };
	struct page_sink_ops ops = notes_ops;
	char next[16] = "";

	(void)state;
	ops.room = notes_room;
	for (unsigned i = 0; i < 2; i++) {
		struct rig r;

		rig_open(&r, i ? PS_LAYOUT_24 : PS_LAYOUT_32);
		r.notes.sink.ops = &ops;
		say(&r, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
		say(&r, range);
		for (unsigned n = 0; n < range.nr; n++)
			say_page(&r, (unsigned char)n);
		say(&r, (struct ps_command){ .code = PS_CLOSE });
		say_bytes(&r, "tar stream", 10);
		assert_int_equal(serve(&r, true), 0);
		assert_int_equal(in_place[4096], 1);
		assert_int_equal(recv(r.ours, next, sizeof(next), MSG_DONTWAIT), 10);
		assert_memory_equal(next, "tar stream", 10);
		rig_close(&r);
	}
}

/* Nothing shows the layout then: both lengths must be gone from the socket. */
static void a_session_of_nothing_succeeds(void **state)
{
	char next[8];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct rig r;

		rig_open(&r, i & 1 ? PS_LAYOUT_24 : PS_LAYOUT_32);
		say(&r, (struct ps_command){ .code = PS_CLOSE });
		assert_int_equal(serve(&r, i & 2), 0);
		assert_true(r.notes.finished);
		assert_int_equal(r.answered, 4);
		assert_int_equal(recv(r.ours, next, sizeof(next), MSG_DONTWAIT), i & 2 ? -1 : 0);
		rig_close(&r);
	}
}

static void a_close_with_flags_ends_nothing(void **state)
{
	struct rig r;

	(void)state;
	rig_open(&r, PS_LAYOUT_32);
	say(&r, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
	say(&r, (struct ps_command){ .code = PS_CLOSE, .flags = 1 });
	say(&r, (struct ps_command){ .code = PS_OPEN2, .dst = SHARED });
	say(&r, (struct ps_command){ .code = PS_CLOSE });
	assert_int_equal(serve(&r, false), 0);
	assert_string_equal(r.notes.text, "parent 1:41\nopen 1:41\nparent 2:7\nopen 2:7\n");
	assert_int_equal(r.notes.finishes, 1);
	assert_int_equal(r.answered, 1 + 4 + 1 + 4);
	rig_close(&r);
}

/* Its tasks stand still meanwhile. */
static void who_opens_a_page_map_is_answered_before_its_files_are_made(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct rig r;

		rig_open(&r, i ? PS_LAYOUT_24 : PS_LAYOUT_32);
		say(&r, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
		say(&r, (struct ps_command){ .code = PS_OPEN2, .dst = SHARED });
		say(&r, (struct ps_command){ .code = PS_CLOSE });
		assert_int_equal(serve(&r, false), 0);
		assert_int_equal(r.notes.answered, 2);
		rig_close(&r);
	}
}

static void files_that_cannot_be_made_end_the_session(void **state)
{
	struct rig r;

	(void)state;
	rig_open(&r, PS_LAYOUT_32);
	r.notes.cannot_open = true;
	say(&r, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
	say(&r, (struct ps_command){ .code = PS_CLOSE });
	assert_int_equal(serve(&r, false), -1);
	assert_int_equal(r.e.kind, ERR_SYSTEM);
	assert_non_null(strstr(r.e.text, "page map of task 41"));
	assert_false(r.notes.finished);
	assert_int_equal(r.answered, 1); /* and no status */
	assert_int_equal(r.report.maps, 0);
	rig_close(&r);
}

/* Every length that a session can break off at. */
static void breaks_off(enum ps_layout layout, bool inherited)
{
	static unsigned char bytes[32768];
	struct rig r;
	size_t whole;

	rig_open(&r, layout);
	say_session(&r, PS_CLOSE);
	whole = (size_t)recv(r.ours, bytes, sizeof(bytes), MSG_DONTWAIT);
	rig_close(&r);
	for (size_t cut = 0; cut < whole; cut++) {
		rig_open(&r, layout);
		say_bytes(&r, bytes, cut);
		shutdown(r.theirs, SHUT_WR);
		assert_int_equal(serve(&r, inherited), -1);
		assert_false(r.notes.finished);
		assert_int_equal(r.e.kind, ERR_PEER);
		rig_close(&r);
	}
}

static void a_session_that_breaks_off_is_not_published(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		breaks_off(i & 1 ? PS_LAYOUT_24 : PS_LAYOUT_32, i & 2);
}

static void refused(enum ps_layout layout, struct ps_command c, const char *words)
{
	struct rig r;

	rig_open(&r, layout);
	say(&r, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
	say(&r, c);
	assert_int_equal(serve(&r, false), -1);
	assert_false(r.notes.finished);
	assert_int_equal(r.answered, 1);
	if (!strstr(r.e.text, words))
		fail_msg("\"%s\" does not say \"%s\"", r.e.text, words);
	rig_close(&r);
}

static void what_cannot_be_is_refused_by_name(void **state)
{
	static const struct { struct ps_command c; const char *words; } cases[] = {
		{ { .code = PS_ADD_F, .flags = PS_PRESENT, .nr = 1, .vaddr = 0x10001, .dst = TASK }, "task 41: 0x10001, 1 pages: a range" },
		{ { .code = PS_ADD_F, .flags = PS_PRESENT, .nr = 0, .vaddr = 0x10000, .dst = TASK }, "empty" },
		{ { .code = PS_ADD_F, .flags = PS_PRESENT, .nr = UINT64_MAX, .vaddr = 0x1000, .dst = TASK }, "longer than memory" },
		{ { .code = PS_ADD_F, .flags = PS_PRESENT, .nr = 1, .vaddr = 0xfffffffffffff000, .dst = TASK }, "longer than memory" },
		{ { .code = PS_ADD_F, .flags = 7, .nr = 1, .vaddr = 0x1000, .dst = TASK }, "flags" },
		{ { .code = PS_ADD_F, .flags = PS_IN_PARENT, .nr = 1, .vaddr = 0xbad000, .dst = TASK }, "0xbad000, 1 pages: in no parent" },
		{ { .code = PS_ADD_F, .flags = PS_PRESENT, .nr = 1, .vaddr = 0x1000, .dst = 0x2903 }, "unknown type 3" },
		{ { .code = PS_OPEN2, .dst = 0x29ff }, "unknown type 255" },
		{ { .code = PS_PARENT, .dst = 0x2900 }, "unknown type 0" },
		{ { .code = PS_GET, .nr = 1, .vaddr = 0x1000, .dst = 41 }, "lazy-pages" },
		{ { .code = 0x4547 }, "0x4547 is no command" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refused(PS_LAYOUT_32, cases[i].c, cases[i].words);
	refused(PS_LAYOUT_24, cases[0].c, cases[0].words);
}

/* A gibibyte announced and not sent costs nothing but the wait. */
static void an_idle_sender_is_dropped(void **state)
{
	struct rig r;

	(void)state;
	rig_open(&r, PS_LAYOUT_32);
	r.config.limits.idle_ms = 30;
	say(&r, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
	say(&r, (struct ps_command){ .code = PS_ADD_F, .flags = PS_PRESENT, .nr = 1 << 18, .vaddr = 0x1000, .dst = TASK });
	say_page(&r, 1);
	assert_int_equal(serve(&r, true), -1);
	assert_int_equal(r.e.kind, ERR_TIMEOUT);
	assert_non_null(strstr(r.e.text, "nothing came for 30 ms"));
	assert_false(r.notes.finished);
	rig_close(&r);
}

static void a_session_has_its_time(void **state)
{
	struct rig r;

	(void)state;
	rig_open(&r, PS_LAYOUT_32);
	r.config.limits.time_ms = 30;
	say(&r, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
	assert_int_equal(serve(&r, true), -1);
	assert_int_equal(r.e.kind, ERR_TIMEOUT);
	assert_non_null(strstr(r.e.text, "longer than 30 ms"));
	rig_close(&r);
}

static void say_a_page_more(const struct rig *r, uint64_t vaddr)
{
	say(r, (struct ps_command){ .code = PS_ADD_F, .flags = PS_PRESENT, .nr = 1, .vaddr = vaddr, .dst = TASK });
	say_page(r, 1);
}

/* Whatever was taken, more is there by the time that it is looked for; a minute is for a server that never has enough. */
static int take_and_say_more(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, const void *data, struct err *e)
{
	const struct notes *n = notes_of(s);
	const struct rig sender = { .theirs = n->peer, .layout = PS_LAYOUT_32 };

	(void)flags, (void)data, (void)e;
	assert_true(time(NULL) < n->patience);
	assert_int_equal(nr, 1);
	say_a_page_more(&sender, vaddr + 4096);
	return 0;
}

/* A sender that is never waited for is cut off all the same. */
static void a_session_that_goes_on_and_on_has_its_time(void **state)
{
	struct page_sink_ops ops = notes_ops;
	struct rig r;

	(void)state;
	ops.pages = take_and_say_more;
	rig_open(&r, PS_LAYOUT_32);
	r.notes.sink.ops = &ops;
	r.notes.patience = time(NULL) + 60;
	r.config.limits.time_ms = 30;
	say(&r, (struct ps_command){ .code = PS_OPEN2, .dst = TASK });
	say_a_page_more(&r, 0x1000);
	assert_int_equal(ps_receive(r.ours, false, &r.notes.sink, &r.config, &r.report, &r.e), -1);
	assert_int_equal(r.e.kind, ERR_TIMEOUT);
	assert_non_null(strstr(r.e.text, "longer than 30 ms"));
	rig_close(&r);
}

/* Says more behind the status, then hangs up. */
static void *hang_up_late(void *arg)
{
	const struct rig *r = arg;
	unsigned char answers[64];
	size_t got = 0;

	while (got < 4 + 1 + 1 + 4)
		got += (size_t)recv(r->theirs, answers, sizeof(answers), 0);
	(void)send(r->theirs, answers, got, MSG_NOSIGNAL);
	shutdown(r->theirs, SHUT_WR);
	return NULL;
}

/* Whoever closes first may take the status along, or keep the port. Nothing of what the sender still says is left unread. */
static void the_sender_hangs_up_first(void **state)
{
	struct rig r;
	pthread_t sender;
	char rest[64];

	(void)state;
	rig_open(&r, PS_LAYOUT_24);
	say_session(&r, PS_CLOSE);
	assert_int_equal(pthread_create(&sender, NULL, hang_up_late, &r), 0);
	assert_int_equal(ps_receive(r.ours, false, &r.notes.sink, &r.config, &r.report, &r.e), 0);
	assert_int_equal(recv(r.ours, rest, sizeof(rest), 0), 0);
	pthread_join(sender, NULL);
	rig_close(&r);
}

static void a_session_has_its_bytes(void **state)
{
	struct rig r;

	(void)state;
	for (unsigned allowed = 2; allowed <= 3; allowed++) {
		rig_open(&r, PS_LAYOUT_24);
		r.config.limits.bytes = allowed * 4096;
		say_session(&r, PS_CLOSE);
		assert_int_equal(serve(&r, false), allowed == 3 ? 0 : -1);
		assert_int_equal(r.e.kind, allowed == 3 ? ERR_NONE : ERR_LIMIT);
		assert_int_equal(r.report.pages, allowed);
		rig_close(&r);
	}
}

/* 3 pages with contents, 3 holes, a lazy one, two page maps: nothing that is said is free. */
static void a_session_has_its_pages(void **state)
{
	struct rig r;

	(void)state;
	for (unsigned allowed = 1; allowed <= 9; allowed++) {
		rig_open(&r, PS_LAYOUT_32);
		r.config.limits.pages = allowed;
		say_session(&r, PS_CLOSE);
		assert_int_equal(serve(&r, false), allowed == 9 ? 0 : -1);
		assert_int_equal(r.e.kind, allowed == 9 ? ERR_NONE : ERR_LIMIT);
		assert_true(r.notes.finished == (allowed == 9));
		assert_true(r.report.maps + r.report.pages + r.report.in_parent <= allowed);
		rig_close(&r);
	}
}

/* Until it is used up: a page map by each open, implied ones too, and counts that would overflow a sum. */
static void a_page_map_is_a_page_too(void **state)
{
	static const struct ps_command says[] = {
		{ .code = PS_OPEN2, .dst = TASK },
		{ .code = PS_ADD_F, .flags = PS_LAZY, .nr = 1, .vaddr = 0x1000, .dst = SHARED },
		{ .code = PS_ADD_F, .flags = PS_LAZY, .nr = INT64_MAX >> 13, .vaddr = 0x2000, .dst = SHARED },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
		struct rig r;

		rig_open(&r, PS_LAYOUT_32);
		r.config.limits.pages = 9;
		for (unsigned n = 0; n < 10; n++) {
			struct ps_command c = says[i];

			if (c.dst == SHARED)
				c.dst += (uint64_t)(i == 1 ? n : 0) << 8;
			say(&r, c);
		}
		assert_int_equal(serve(&r, true), -1);
		assert_int_equal(r.e.kind, ERR_LIMIT);
		assert_non_null(strstr(r.e.text, "more than the 9 pages allowed (--session-pages)"));
		rig_close(&r);
	}
}

static void a_sender_that_left_is_no_signal(void **state)
{
	struct rig r;

	(void)state;
	rig_open(&r, PS_LAYOUT_24);
	say_session(&r, PS_CLOSE);
	close(r.theirs);
	r.theirs = -1;
	assert_int_equal(ps_receive(r.ours, false, &r.notes.sink, &r.config, &r.report, &r.e), -1);
	assert_int_equal(r.e.kind, ERR_PEER);
	assert_false(r.notes.finished);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_layouts_arrive),
		cmocka_unit_test(old_senders_arrive),
		cmocka_unit_test(what_follows_an_inherited_session_is_left),
		cmocka_unit_test(what_follows_a_long_range_is_left),
		cmocka_unit_test(a_session_of_nothing_succeeds),
		cmocka_unit_test(a_close_with_flags_ends_nothing),
		cmocka_unit_test(who_opens_a_page_map_is_answered_before_its_files_are_made),
		cmocka_unit_test(files_that_cannot_be_made_end_the_session),
		cmocka_unit_test(a_session_that_breaks_off_is_not_published),
		cmocka_unit_test(what_cannot_be_is_refused_by_name),
		cmocka_unit_test(an_idle_sender_is_dropped),
		cmocka_unit_test(a_session_has_its_time),
		cmocka_unit_test(a_session_that_goes_on_and_on_has_its_time),
		cmocka_unit_test(the_sender_hangs_up_first),
		cmocka_unit_test(a_session_has_its_bytes),
		cmocka_unit_test(a_session_has_its_pages),
		cmocka_unit_test(a_page_map_is_a_page_too),
		cmocka_unit_test(a_sender_that_left_is_no_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
