/* SPDX-License-Identifier: Apache-2.0 */
/* The sender's side of the page-server protocol: it finds out which of three servers it has, says its pages in that one's layout, and fails,
 * rather than wait for ever, when the server does not play along. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/pagesink/ps_sink.h"
#include "pageserver/stock/receiver.h"
#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/base/tls_relay.h"
#include "proto/wire/ps_probe.h"
#include "proto/wire/runs.h"

/* --- a server that does what CRIU's do with their own header ------------------------------------------------------------------- */

struct stock {
	pthread_t thread;
	int fd;
	enum ps_layout layout;
	uint32_t parent, status;
	char text[4096];
	size_t len, commands;
};

static void stock_answer(const struct stock *s, const struct ps_command *c)
{
	uint8_t bytes[4], byte = (uint8_t)s->parent;
	bool probe = c->flags && c->code == PS_CLOSE;

	le32_put(bytes, c->code == PS_PARENT ? s->parent : ps_ends(c) ? s->status : 0);
	if (c->code == PS_OPEN2)
		write_full(s->fd, &byte, sizeof(byte));
	else if (c->code == PS_PARENT || probe || ps_ends(c))
		write_full(s->fd, bytes, sizeof(bytes));
}

static void stock_note(struct stock *s, const struct ps_command *c)
{
	if (c->code == PS_CLOSE && c->flags)
		return;
	s->len += (size_t)snprintf(s->text + s->len, sizeof(s->text) - s->len, "%s %u %llu %llx %llx\n", ps_name(c->code), c->flags,
				   (unsigned long long)c->nr, (unsigned long long)c->vaddr, (unsigned long long)c->dst);
}

static void *stock_serve(void *arg)
{
	struct stock *s = arg;
	uint8_t header[PS_HEADER_MAX], page[4096];
	struct ps_command c;

	do {
		if (read_full(s->fd, header, s->layout) < 0 || ps_decode(s->layout, header, &c) < 0)
			break;
		s->commands++;
		stock_note(s, &c);
		for (uint64_t i = 0; ps_has_pages(&c) && i < c.nr; i++)
			if (read_full(s->fd, page, sizeof(page)) < 0)
				return NULL;
		stock_answer(s, &c);
	} while (!ps_ends(&c));
	while (read(s->fd, page, sizeof(page)) > 0)
		;
	close(s->fd);
	return NULL;
}

/* Returns the sender's end. */
static int stock_start(struct stock *s, enum ps_layout layout)
{
	int pair[2];

	*s = (struct stock){ .layout = layout };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s->fd = pair[0];
	return pair[1];
}

static void stock_go(struct stock *s)
{
	assert_int_equal(pthread_create(&s->thread, NULL, stock_serve, s), 0);
}

static void stock_end(struct stock *s, int fd)
{
	close(fd);
	pthread_join(s->thread, NULL);
}

/* --- what must hold ------------------------------------------------------------------------------------------------------------- */

static void send_session(struct page_sink *s, bool want_parent)
{
	static const char pages[3 * 4096] = { 1 };
	bool parent = !want_parent;
	struct err e;

	assert_int_equal(s->ops->has_parent(s, PAGEMAP_TASK, 41, &parent, &e), 0);
	assert_true(parent == want_parent);
	parent = !want_parent;
	assert_int_equal(s->ops->open(s, PAGEMAP_TASK, 41, &parent, &e), 0);
	assert_true(parent == want_parent);
	assert_int_equal(s->ops->hole(s, 0x1000, 5, PAGE_IN_PARENT, &e), 0);
	assert_int_equal(s->ops->pages(s, 0x10000, 3, PAGE_PRESENT | PAGE_LAZY, pages, &e), 0);
	assert_int_equal(s->ops->open(s, PAGEMAP_SHMEM, 7, &parent, &e), 0);
	assert_int_equal(s->ops->pages(s, 0, 1, PAGE_PRESENT, pages, &e), 0);
}

static const char session_text[] = "PARENT 0 0 0 2901\nOPEN2 0 0 0 2901\nADD_F 1 5 1000 2901\nADD_F 6 3 10000 2901\nOPEN2 0 0 0 702\nADD_F 4 1 0 702\n";

static void session_to_stock(enum ps_layout layout, bool told, bool inherited)
{
	struct page_sink *s;
	struct stock server;
	char text[sizeof(session_text) + 32];
	uint32_t features;
	struct err e;
	int fd = stock_start(&server, layout);

	server.parent = inherited;
	stock_go(&server);
	s = ps_sink_create(fd, inherited, told ? layout : PS_LAYOUT_UNKNOWN, COMPRESS_AUTO, &e);
	assert_non_null(s);
	assert_int_equal(ps_sink_layout(s), layout);
	assert_false(ps_sink_is_ours(s, &features));
	send_session(s, inherited);
	assert_int_equal(s->ops->finish(s, &e), 0);
	s->ops->destroy(s);
	stock_end(&server, fd);
	snprintf(text, sizeof(text), "%s%s 0 0 0 0\n", session_text, inherited ? "FORCE_CLOSE" : "CLOSE");
	assert_string_equal(server.text, text);
	assert_int_equal(server.commands, 7 + (told ? 0 : layout == PS_LAYOUT_24 ? 4 : 3));
}

static void stock_servers_are_told_apart(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++)
		session_to_stock(i & 1 ? PS_LAYOUT_24 : PS_LAYOUT_32, i & 2, i & 4);
}

/* Nothing that a server of either layout would do anything about. */
static void the_probe_does_nothing(void **state)
{
	uint8_t bytes[PS_PROBE_SIZE];

	(void)state;
	ps_probe_encode(bytes);
	for (unsigned size = PS_HEADER_MIN; size <= PS_HEADER_MAX; size += PS_HEADER_MAX - PS_HEADER_MIN) {
		for (unsigned at = 0; at < PS_PROBE_SIZE; at += size) {
			struct ps_command c;

			assert_int_equal(ps_decode((enum ps_layout)size, bytes + at, &c), 0);
			assert_int_equal(c.code, PS_CLOSE);
			assert_false(ps_ends(&c));
			assert_true(at > 0 || ps_begins_probe(&c));
		}
	}
	assert_int_equal(PS_PROBE_SIZE / PS_LAYOUT_24 * PS_STATUS_ANSWER, PS_PROBE_ANSWER_24);
	assert_int_equal(PS_PROBE_SIZE / PS_LAYOUT_32 * PS_STATUS_ANSWER, PS_PROBE_ANSWER_32);
}

struct ours {
	int fd;
	bool inherited;
	int rc;
	struct page_server_report report;
	struct err e;
};

static int null_map(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	(void)s; (void)kind; (void)id; (void)e;
	*parent = false;
	return 0;
}
static int null_pages(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, const void *data, struct err *e)
{
	(void)s; (void)vaddr; (void)nr; (void)flags; (void)data; (void)e;
	return 0;
}
static int null_hole(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, struct err *e)
{
	(void)s; (void)vaddr; (void)nr; (void)flags; (void)e;
	return 0;
}
static int null_finish(struct page_sink *s, struct err *e)
{
	(void)s; (void)e;
	return 0;
}
static const struct page_sink_ops null_ops = { .has_parent = null_map, .open = null_map, .pages = null_pages, .hole = null_hole,
					       .finish = null_finish };

static void *our_server(void *arg)
{
	struct page_sink sink = { &null_ops };
	static const struct page_server_config config;
	struct ours *o = arg;

	o->rc = ps_receive(o->fd, o->inherited, &sink, &config, &o->report, &o->e);
	return NULL;
}

/* As it is wished: natively, or as criu's. */
static void our_server_is_recognised(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct ours server = { .inherited = i & 1 };
		struct ps_sink_config config = { .inherited = i & 1, .choice.protocol = i & 2 ? PS_STOCK : PS_NATIVE };
		struct page_sink *s;
		pthread_t thread;
		uint32_t features;
		struct err e;
		int pair[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		server.fd = pair[0];
		assert_int_equal(pthread_create(&thread, NULL, our_server, &server), 0);
		config.fd = pair[1];
		s = ps_sink_open(&config, &e);
		assert_non_null(s);
		assert_true(ps_sink_is_ours(s, &features));
		send_session(s, false);
		assert_int_equal(s->ops->finish(s, &e), 0);
		s->ops->destroy(s);
		close(pair[1]);
		pthread_join(thread, NULL);
		assert_int_equal(server.rc, 0);
		assert_true(server.report.native == !(i & 2));
		assert_true(server.report.pages == 4 && server.report.in_parent == 5 && server.report.maps == 2);
		close(pair[0]);
	}
}

static void a_stock_server_is_not_enough_where_ours_is_wanted(void **state)
{
	struct ps_sink_config config = { .choice.protocol = PS_NATIVE };
	struct stock server;
	struct err e;

	(void)state;
	config.fd = stock_start(&server, PS_LAYOUT_24);
	stock_go(&server);
	assert_null(ps_sink_open(&config, &e));
	assert_int_equal(e.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(e.text, "--ps-protocol native"));
	stock_end(&server, config.fd);
}

static void choices_are_read(void **state)
{
	struct ps_choice c;
	struct err e;

	(void)state;
	assert_int_equal(ps_choice_parse(NULL, -1, -1, &c, &e), 0);
	assert_true(c.protocol == PS_AUTO && c.layout == PS_LAYOUT_UNKNOWN);
	assert_int_equal(ps_choice_parse("stock", 24, -1, &c, &e), 0);
	assert_true(c.protocol == PS_STOCK && c.layout == PS_LAYOUT_24);
	assert_int_equal(ps_choice_parse("native", -1, -1, &c, &e), 0);
	assert_int_equal(c.protocol, PS_NATIVE);
	assert_int_equal(ps_choice_parse("nativ", -1, -1, &c, &e), -1);
	assert_int_equal(ps_choice_parse("native", 32, -1, &c, &e), -1);
	assert_int_equal(ps_choice_parse("auto", 30, -1, &c, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
}

static void a_status_is_not_overlooked(void **state)
{
	struct page_sink *s;
	struct stock server;
	struct err e;
	int fd = stock_start(&server, PS_LAYOUT_32);

	(void)state;
	server.status = (uint32_t)-28;
	stock_go(&server);
	s = ps_sink_create(fd, false, PS_LAYOUT_32, COMPRESS_AUTO, &e);
	assert_int_equal(s->ops->finish(s, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	assert_non_null(strstr(e.text, "-28"));
	s->ops->destroy(s);
	stock_end(&server, fd);
}

static void a_server_that_leaves_is_no_signal(void **state)
{
	static const char page[4096];
	struct page_sink *s;
	struct stock server;
	bool parent;
	struct err e;
	int fd = stock_start(&server, PS_LAYOUT_24);

	(void)state;
	close(server.fd);
	assert_null(ps_sink_create(fd, false, PS_LAYOUT_UNKNOWN, COMPRESS_AUTO, &e));
	assert_int_equal(e.kind, ERR_PEER);
	assert_non_null(strstr(e.text, "layout"));
	s = ps_sink_create(fd, false, PS_LAYOUT_24, COMPRESS_AUTO, &e);
	assert_int_equal(s->ops->has_parent(s, PAGEMAP_TASK, 1, &parent, &e), -1);
	assert_int_equal(s->ops->pages(s, 0x1000, 1, PAGE_PRESENT, page, &e), -1);
	assert_non_null(strstr(e.text, "0x1000"));
	assert_int_equal(s->ops->finish(s, &e), -1);
	s->ops->destroy(s);
	close(fd);
}

static void what_is_no_page_server_is_refused(void **state)
{
	struct err e;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(write_full(pair[0], "SSH-2.0-OpenSSH_9.2\r\n", 21), 0);
	assert_null(ps_sink_create(pair[1], false, PS_LAYOUT_UNKNOWN, COMPRESS_AUTO, &e));
	assert_int_equal(e.kind, ERR_PROTOCOL);
	close(pair[0]);
	close(pair[1]);
}

/* A stock server behind a relay: takes the records that the sink cut, holds them against what such a server can read, and passes their bytes on. */
struct records {
	int fd, on; /* from the sink; to the server */
	enum ps_layout layout;
	uint64_t pages, left; /* bytes of the range */
	const char *fault;
};

static const char *record_fault(struct records *r, const uint8_t *bytes, size_t len)
{
	struct ps_command c;

	if (r->left == 0 && len != (size_t)r->layout)
		return len == PS_PROBE_SIZE ? NULL : "a header is not a record";
	if (r->left == 0) {
		if (ps_decode(r->layout, bytes, &c) < 0)
			return "no command begins the record";
		r->pages = r->left = ps_has_pages(&c) ? pages_to_bytes(c.nr) : 0;
		return NULL;
	}
	if (len > r->left)
		return "pages and what is behind them in a record";
	if ((r->pages - r->left) % 65536 + len > 65536)
		return "a record crosses a portion of 64 KiB";
	r->left -= len;
	return NULL;
}

static void *take_records(void *arg)
{
	static uint8_t bytes[TLS_CUT_MAX];
	struct records *r = arg;
	uint8_t head[TLS_CUT_HEAD];

	while (!r->fault && read_full(r->fd, head, sizeof(head)) == 0) {
		size_t len = le32_get(head);

		if (len == 0 || len > sizeof(bytes) || read_full(r->fd, bytes, len) < 0)
			r->fault = "a record that can't be";
		else
			r->fault = record_fault(r, bytes, len);
		if (!r->fault && write_full(r->on, bytes, len) < 0)
			r->fault = "the server is gone";
	}
	shutdown(r->on, SHUT_WR);
	return NULL;
}

/* Back the bytes go as they are. */
static void *pass_answers(void *arg)
{
	const struct records *r = arg;
	char byte;

	while (read(r->on, &byte, 1) == 1)
		if (write_full(r->fd, &byte, 1) < 0)
			break;
	return NULL;
}

static void session_in_records(enum ps_layout layout)
{
	static const char many[37 * 4096] = { 2 };
	struct tls_link link = TLS_LINK_NONE;
	struct ps_sink_config config = { .tls = &link, .mode = COMPRESS_AUTO };
	struct records r = { .layout = layout };
	pthread_t there, back;
	struct page_sink *s;
	struct stock server;
	int pair[2];
	struct err e;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	link.fd = pair[1];
	link.cut = TLS_CUT_BY_LENGTH;
	r.on = stock_start(&server, layout);
	r.fd = pair[0];
	stock_go(&server);
	assert_int_equal(pthread_create(&there, NULL, take_records, &r), 0);
	assert_int_equal(pthread_create(&back, NULL, pass_answers, &r), 0);
	config.fd = pair[1];
	s = ps_sink_open(&config, &e);
	assert_non_null(s);
	assert_int_equal(ps_sink_layout(s), layout);
	send_session(s, false);
	assert_int_equal(s->ops->pages(s, 0x100000, 37, PAGE_PRESENT, many, &e), 0);
	assert_int_equal(s->ops->finish(s, &e), 0);
	s->ops->destroy(s);
	pthread_join(there, NULL);
	assert_string_equal(r.fault ? r.fault : "", "");
	pthread_join(server.thread, NULL);
	pthread_join(back, NULL);
	close(r.on);
	close(pair[0]);
	close(pair[1]);
	assert_memory_equal(server.text, session_text, strlen(session_text));
}

static void records_are_what_a_stock_server_can_read(void **state)
{
	(void)state;
	session_in_records(PS_LAYOUT_24);
	session_in_records(PS_LAYOUT_32);
}

/* docs/page-server.md has these figures. */
static void a_server_is_given_time_by_the_size_of_the_set(void **state)
{
	const uint64_t gib = 1 << 18;

	(void)state;
	assert_int_equal(ps_status_patience_ms(0, false), 120 * 1000);
	assert_int_equal(ps_status_patience_ms(gib, false), (120 + 32) * 1000);
	assert_int_equal(ps_status_patience_ms(300 * gib, false), (2 * 60 + 42) * 60 * 1000);
	assert_int_equal(ps_status_patience_ms(300 * gib, true), 120 * 1000);
	assert_int_equal(ps_status_patience_ms(UINT64_MAX / 8192, false), INT_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stock_servers_are_told_apart),
		cmocka_unit_test(the_probe_does_nothing),
		cmocka_unit_test(our_server_is_recognised),
		cmocka_unit_test(a_stock_server_is_not_enough_where_ours_is_wanted),
		cmocka_unit_test(choices_are_read),
		cmocka_unit_test(a_status_is_not_overlooked),
		cmocka_unit_test(a_server_that_leaves_is_no_signal),
		cmocka_unit_test(what_is_no_page_server_is_refused),
		cmocka_unit_test(records_are_what_a_stock_server_can_read),
		cmocka_unit_test(a_server_is_given_time_by_the_size_of_the_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
