/* SPDX-License-Identifier: Apache-2.0 */
/* What a keeper whose migrating process is gone does with the process that it holds, by the record and by what the destination says: never a second copy, and nothing is
 * forgotten before it is done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.pb-c.h"
#include "migrate/conduct/settle.h"
#include "proto/base/die_with.h"
#include "proto/base/io.h"
#include "proto/base/sock.h"
#include "proto/wire/control.h"
#include "proto/wire/hello.h"

enum { WAIT_MS = 120000 };

/* --- a destination that answers always the same --------------------------------------------------------------------------------- */

struct destination {
	int listener;
	Drayage__Outcome__What what;
	_Atomic unsigned asked, done;
	pthread_t thread;
};

static void answer(struct destination *d, int fd)
{
	Drayage__Outcome outcome = DRAYAGE__OUTCOME__INIT;
	uint8_t bytes[HELLO_SIZE];
	ProtobufCMessage *m;
	struct hello h;
	struct err e;

	if (read_full(fd, bytes, sizeof(bytes)) < 0 || hello_decode(bytes, &h) < 0)
		return;
	h.status = HELLO_OK;
	hello_encode(&h, bytes);
	write_full(fd, bytes, sizeof(bytes));
	m = control_expect(fd, WAIT_MS, CONTROL_QUERY, &e);
	if (!m)
		return;
	protobuf_c_message_free_unpacked(m, NULL);
	atomic_fetch_add(&d->asked, 1);
	outcome.what = d->what;
	if (control_send(fd, CONTROL_OUTCOME, &outcome.base, &e) < 0 || !(m = control_expect(fd, WAIT_MS, CONTROL_DONE, &e)))
		return;
	protobuf_c_message_free_unpacked(m, NULL);
	atomic_fetch_add(&d->done, 1);
}

static void *destination_main(void *arg)
{
	struct destination *d = arg;
	int fd;

	while ((fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		answer(d, fd);
		close(fd);
	}
	return NULL;
}

static void destination_start(struct destination *d, Drayage__Outcome__What what, struct settle_facts *f)
{
	struct err e;

	*d = (struct destination){ .listener = sock_listen("127.0.0.1:0", 0, &e), .what = what };
	assert_true(d->listener >= 0);
	snprintf(f->destination, sizeof(f->destination), "127.0.0.1:%d", sock_port(d->listener));
	assert_int_equal(pthread_create(&d->thread, NULL, destination_main, d), 0);
}

static void destination_stop(struct destination *d)
{
	shutdown(d->listener, SHUT_RDWR);
	pthread_join(d->thread, NULL);
	close(d->listener);
}

/* --- a migration ---------------------------------------------------------------------------------------------------------------- */

static struct settle_facts facts;

static int make_dir(void **state)
{
	(void)state;
	facts = (struct settle_facts){ .state_dir = "/tmp/settle-test-XXXXXX", .destination = "127.0.0.1:1" };
	migration_id_new(&facts.id);
	return mkdtemp(facts.state_dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(facts.state_dir); /* fails if a test left a file behind */
}

static void write_record(enum journal_state what, bool keep_source)
{
	struct journal_record r = { .state = what, .keep_source = keep_source };
	struct err e = { 0 };
	struct journal *j = journal_open(facts.state_dir, &facts.id, JOURNAL_SOURCE, &e);

	snprintf(r.peer, sizeof(r.peer), "%s", facts.destination);
	assert_non_null(j);
	assert_int_equal(journal_write(j, &r, &e), 0);
	journal_close(j);
}

/* And takes it away. */
static enum journal_state recorded(void)
{
	struct journal_record r = { .state = JOURNAL_NONE };
	struct err e = { 0 };
	struct journal *j = journal_open(facts.state_dir, &facts.id, JOURNAL_SOURCE, &e);

	assert_non_null(j);
	if (journal_read(j, &r, &e) < 0)
		assert_int_equal(e.kind, ERR_GONE);
	journal_remove(j);
	journal_close(j);
	return r.state;
}

static void settles(bool kept, enum keeper_verdict verdict, bool failed)
{
	assert_int_equal(settle_for_keeper(&facts, kept), verdict);
	settled_by_keeper(&facts, failed);
}

/* --- what must hold ------------------------------------------------------------------------------------------------------------- */

static void what_was_never_committed_runs_on(void **state)
{
	(void)state;
	settles(true, KEEPER_THAW, false);
	assert_int_equal(recorded(), JOURNAL_NONE);
	write_record(JOURNAL_FROZEN, false);
	settles(true, KEEPER_THAW, false);
	assert_int_equal(recorded(), JOURNAL_NONE);
	write_record(JOURNAL_ARMED, false);
	settles(false, KEEPER_THAW, false);
	assert_int_equal(recorded(), JOURNAL_NONE);
}

/* Its migrating process was killed behind that. */
static void what_is_kept_stays_as_it_is(void **state)
{
	(void)state;
	write_record(JOURNAL_KEPT, true);
	settles(true, KEEPER_STAY_FROZEN, false);
	assert_int_equal(recorded(), JOURNAL_KEPT);
}

static void what_could_not_be_done_is_not_forgotten(void **state)
{
	(void)state;
	write_record(JOURNAL_FROZEN, false);
	settles(true, KEEPER_THAW, true);
	assert_int_equal(recorded(), JOURNAL_FROZEN);
}

static void a_record_that_can_not_be_read_lets_nobody_run(void **state)
{
	char path[600], hex[33];

	(void)state;
	migration_id_format(&facts.id, hex);
	snprintf(path, sizeof(path), "%s/%s.source", facts.state_dir, hex);
	write_record(JOURNAL_COMMITTING, false);
	assert_int_equal(truncate(path, 20), 0);
	settles(true, KEEPER_STAY_FROZEN, false);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(unlink(path), 0);
}

/* Somebody else settles it. */
static void a_record_in_other_hands_lets_nobody_run_that_may_be_committed(void **state)
{
	pid_t test = getpid(), holder;
	struct err e = { 0 };
	int line[2];
	char c;

	(void)state;
	assert_int_equal(pipe(line), 0);
	holder = fork();
	if (holder == 0) {
		if (!die_with(test, SIGKILL) || !journal_open(facts.state_dir, &facts.id, JOURNAL_SOURCE, &e) || write(line[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(line[0], &c, 1), 1);
	settles(true, KEEPER_STAY_FROZEN, false);
	settles(false, KEEPER_THAW, false);
	kill(holder, SIGKILL);
	waitpid(holder, NULL, 0);
	close(line[0]);
	close(line[1]);
	assert_int_equal(recorded(), JOURNAL_NONE);
}

static void asks(Drayage__Outcome__What what, bool keep_source, enum keeper_verdict verdict, enum journal_state afterwards, unsigned done)
{
	struct destination d;

	destination_start(&d, what, &facts);
	write_record(JOURNAL_COMMITTING, keep_source);
	assert_int_equal(settle_for_keeper(&facts, true), verdict);
	assert_int_equal(d.done, 0); /* not before it is carried out */
	settled_by_keeper(&facts, false);
	destination_stop(&d);
	assert_int_equal(d.asked, 1 + done);
	assert_int_equal(d.done, done);
	assert_int_equal(recorded(), afterwards);
}

static void the_destination_decides(void **state)
{
	(void)state;
	asks(DRAYAGE__OUTCOME__WHAT__RUNNING_HERE, false, KEEPER_KILL, JOURNAL_NONE, 1);
	asks(DRAYAGE__OUTCOME__WHAT__RUNNING_HERE, true, KEEPER_STAY_FROZEN, JOURNAL_KEPT, 1);
	asks(DRAYAGE__OUTCOME__WHAT__ABORTED, false, KEEPER_THAW, JOURNAL_NONE, 0);
	asks(DRAYAGE__OUTCOME__WHAT__ABORTED, true, KEEPER_THAW, JOURNAL_NONE, 0);
}

/* It may be another one, or have another directory: that is no answer for good. */
static void a_destination_that_knows_nothing_decides_nothing(void **state)
{
	(void)state;
	asks(DRAYAGE__OUTCOME__WHAT__UNKNOWN, false, KEEPER_STAY_FROZEN, JOURNAL_COMMITTING, 0);
}

/* `dray recover`, of a record alone. */
static void recover_tells_what_it_could_not_decide(void **state)
{
	struct settle_job job = { .state_dir = facts.state_dir };
	enum keeper_verdict verdict;
	struct destination d;
	struct err e = { 0 };

	(void)state;
	destination_start(&d, DRAYAGE__OUTCOME__WHAT__UNKNOWN, &facts);
	write_record(JOURNAL_COMMITTING, false);
	assert_int_equal(settle_record(&job, &facts.id, &verdict, &e), -1);
	assert_int_equal(e.kind, ERR_UNDECIDED);
	destination_stop(&d);
	assert_int_equal(recorded(), JOURNAL_COMMITTING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_never_committed_runs_on, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(what_is_kept_stays_as_it_is, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(what_could_not_be_done_is_not_forgotten, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_record_that_can_not_be_read_lets_nobody_run, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_record_in_other_hands_lets_nobody_run_that_may_be_committed, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(the_destination_decides, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_destination_that_knows_nothing_decides_nothing, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(recover_tells_what_it_could_not_decide, make_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
