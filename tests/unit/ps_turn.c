/* SPDX-License-Identifier: Apache-2.0 */
/* A session takes short slices while it may be asked something and long ones while it takes many pages; nothing else changes: neither niceness nor, where
 * there is another, the policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pageserver/stock/receiver.h"
#include "pageserver/stock/turn.h"
#include "proto/base/io.h"
#include "proto/wire/ps_command.h"

enum { SHORT_NS = 100 * 1000, LONG_NS = 100 * 1000 * 1000, MANY = 32 /* pages */, FEW = 1, PAGE = 4096 };

struct place {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static struct place place(void)
{
	struct place p = { .size = 0 };

	assert_int_equal(syscall(SYS_sched_getattr, 0, &p, sizeof(p), 0), 0);
	return p;
}

/* Kernels before 6.12 know no slices and say 0. */
static bool has_slices(void)
{
	return place().runtime != 0;
}

static void expect(int policy, uint64_t slice, int nice)
{
	struct place p = place();

	assert_int_equal(p.policy, policy);
	assert_int_equal(p.nice, nice);
	if (has_slices())
		assert_int_equal(p.runtime, slice);
}

static void *changes(void *arg)
{
	struct turn t = { 0 };
	uint64_t before = place().runtime;
	int nice = getpriority(PRIO_PROCESS, 0);

	(void)arg;
	assert_int_equal(setpriority(PRIO_PROCESS, 0, nice + 1), 0); /* of this thread */
	nice = getpriority(PRIO_PROCESS, 0);
	turn_for_pages(&t); /* of nobody who began */
	expect(SCHED_OTHER, before, nice);
	turn_begin(&t);
	expect(SCHED_OTHER, SHORT_NS, nice);
	turn_for_pages(&t);
	expect(SCHED_OTHER, LONG_NS, nice);
	turn_for_questions(&t);
	expect(SCHED_OTHER, SHORT_NS, nice);
	return NULL;
}

static void *stays(void *arg)
{
	const struct sched_param none = { 0 };
	const int policies[] = { SCHED_BATCH, SCHED_IDLE };
	int nice = getpriority(PRIO_PROCESS, 0);

	(void)arg;
	for (unsigned i = 0; i < 2; i++) {
		struct turn t = { 0 };
		uint64_t before;

		assert_int_equal(sched_setscheduler(0, policies[i], &none), 0);
		before = place().runtime;
		turn_begin(&t);
		turn_for_pages(&t);
		expect(policies[i], before, nice);
	}
	return NULL;
}

/* In a thread of its own, which takes what it changed along. */
static void run(void *(*body)(void *arg))
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, body, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void slices_are_short_or_long(void **state)
{
	(void)state;
	if (sched_getscheduler(0) != SCHED_OTHER)
		skip();
	run(changes);
}

static void another_policy_stays(void **state)
{
	(void)state;
	run(stays);
}

/* --- a session ------------------------------------------------------------------------------------------------------------------ */

/* Notes the slices of the session's thread. */
struct noting { struct page_sink sink; int ours, told[2]; uint64_t asked, taking; };

static int on_question(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	(void)kind;
	(void)id;
	(void)e;
	((struct noting *)s)->asked = place().runtime;
	*parent = false;
	return 0;
}

static int on_pages(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, const void *data, struct err *e)
{
	struct noting *n = (struct noting *)s;

	(void)vaddr;
	(void)flags;
	(void)data;
	(void)e;
	n->taking = place().runtime;
	for (uint64_t i = 0; i < nr; i++)
		assert_int_equal(write(n->told[1], "p", 1), 1);
	return 0;
}

static int on_finish(struct page_sink *s, struct err *e)
{
	(void)s;
	(void)e;
	return 0;
}

static void *session(void *arg)
{
	struct noting *n = arg;
	struct page_server_config c = { 0 };
	struct page_server_report report;
	struct err e;

	assert_int_equal(ps_receive(n->ours, false, &n->sink, &c, &report, &e), 0);
	return NULL;
}

static void say(int fd, struct ps_command c)
{
	uint8_t header[PS_HEADER_MAX];

	ps_encode(PS_LAYOUT_32, &c, header);
	assert_int_equal(write_full(fd, header, PS_LAYOUT_32), 0);
}

static void ask(int fd)
{
	uint32_t answer;

	say(fd, (struct ps_command){ .code = PS_PARENT, .dst = ps_dst_encode(PS_TASK, 1) });
	assert_int_equal(read_full(fd, &answer, sizeof(answer)), 0);
}

static void send_pages(int fd, const struct noting *n, uint64_t pages)
{
	static const uint8_t contents[MANY * PAGE];
	uint8_t taken[MANY];

	say(fd, (struct ps_command){ .code = PS_ADD_F, .flags = PS_PRESENT, .nr = pages, .vaddr = 0x10000, .dst = ps_dst_encode(PS_TASK, 1) });
	assert_int_equal(write_full(fd, contents, pages * PAGE), 0);
	assert_int_equal(read_full(n->told[0], taken, pages), 0);
}

static void who_may_be_asked_comes_before_who_takes_many_pages(void **state)
{
	static const struct page_sink_ops ops = { .has_parent = on_question, .open = on_question, .pages = on_pages, .finish = on_finish };
	struct noting n = { .sink.ops = &ops };
	pthread_t thread;
	int pair[2];

	(void)state;
	if (sched_getscheduler(0) != SCHED_OTHER || !has_slices())
		skip();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe(n.told), 0);
	n.ours = pair[0];
	assert_int_equal(pthread_create(&thread, NULL, session, &n), 0);
	ask(pair[1]);
	assert_int_equal(n.asked, SHORT_NS);
	send_pages(pair[1], &n, FEW);
	assert_int_equal(n.taking, SHORT_NS);
	send_pages(pair[1], &n, MANY);
	assert_int_equal(n.taking, LONG_NS);
	ask(pair[1]);
	assert_int_equal(n.asked, SHORT_NS);
	say(pair[1], (struct ps_command){ .code = PS_CLOSE });
	shutdown(pair[1], SHUT_WR);
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		close(pair[i]);
		close(n.told[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_are_short_or_long),
		cmocka_unit_test(another_policy_stays),
		cmocka_unit_test(who_may_be_asked_comes_before_who_takes_many_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
