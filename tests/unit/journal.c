/* SPDX-License-Identifier: Apache-2.0 */
/* A record says the same to whoever reads it, belongs to one live process, and a damaged one is no licence for anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/conduct/journal.h"
#include "proto/base/die_with.h"

static char dir[64];
static struct migration_id id;

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/journal-test-XXXXXX");
	migration_id_new(&id);
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir); /* fails if a test left a file behind */
}

static struct journal_record sample(void)
{
	struct journal_record r = { .state = JOURNAL_COMMITTING, .keep_source = true,
				    .freezer = { .kind = FREEZER_CGROUP, .pid = 4711, .start_time = 99, .home = "/a", .cgroup = "/a/b" } };

	strcpy(r.peer, "10.0.0.1:7077");
	strcpy(r.comm, "two words");
	return r;
}

static void record_reads_as_written(void **state)
{
	struct err e = { 0 };
	struct journal *j = journal_open(dir, &id, JOURNAL_SOURCE, &e);
	struct journal_record r = sample(), back;

	(void)state;
	assert_non_null(j);
	assert_int_equal(journal_write(j, &r, &e), 0);
	assert_int_equal(journal_read(j, &back, &e), 0);
	assert_int_equal(back.state, JOURNAL_COMMITTING);
	assert_int_equal(back.freezer.pid, 4711);
	assert_int_equal(back.freezer.start_time, 99);
	assert_string_equal(back.freezer.cgroup, "/a/b");
	assert_string_equal(back.peer, "10.0.0.1:7077");
	assert_string_equal(back.comm, "two words");
	assert_true(back.keep_source);
	assert_true(back.this_boot);
	journal_remove(j);
	journal_close(j);
}

static void name_of_a_process_cannot_forge_lines(void **state)
{
	struct err e = { 0 };
	struct journal *j = journal_open(dir, &id, JOURNAL_SOURCE, &e);
	struct journal_record r = sample(), back;

	(void)state;
	strcpy(r.comm, "x\nstate frozen\ny");
	strcpy(r.peer, "x\nstate frozen\ny");
	assert_int_equal(journal_write(j, &r, &e), 0);
	assert_int_equal(journal_read(j, &back, &e), 0);
	assert_int_equal(back.state, JOURNAL_COMMITTING);
	assert_string_equal(back.comm, "x?state frozen?y");
	assert_string_equal(back.peer, "x?state frozen?y");
	journal_remove(j);
	journal_close(j);
}

static void truncated_record_is_damaged_not_empty(void **state)
{
	struct err e = { 0 };
	struct journal *j = journal_open(dir, &id, JOURNAL_SOURCE, &e);
	struct journal_record r = sample();
	char path[200], hex[33];

	(void)state;
	assert_int_equal(journal_write(j, &r, &e), 0);
	migration_id_format(&id, hex);
	snprintf(path, sizeof(path), "%s/%s.source", dir, hex);
	assert_int_equal(truncate(path, 30), 0);
	assert_int_equal(journal_read(j, &r, &e), -1);
	assert_int_equal(e.kind, ERR_MISMATCH);
	journal_remove(j);
	assert_int_equal(journal_read(j, &r, &e), -1);
	assert_int_equal(e.kind, ERR_GONE);
	journal_close(j);
}

/* What has the name that a record is written by is no record, and what it leads to is nobody's to write over. */
static void a_record_is_not_written_through_a_link(void **state)
{
	struct err e = { 0 };
	struct journal *j = journal_open(dir, &id, JOURNAL_SOURCE, &e);
	struct journal_record r = sample();
	char path[200], other[200], hex[33];

	(void)state;
	migration_id_format(&id, hex);
	snprintf(path, sizeof(path), "%s/%s.source.new", dir, hex);
	snprintf(other, sizeof(other), "%s/other", dir);
	assert_int_equal(symlink("other", path), 0);
	assert_int_equal(journal_write(j, &r, &e), -1);
	assert_int_equal(access(other, F_OK), -1);
	unlink(path);
	journal_close(j);
}

/* Of a kernel that ran before, and with it what it tells of. */
static void a_record_of_another_boot_says_so(void **state)
{
	struct err e = { 0 };
	struct journal *j = journal_open(dir, &id, JOURNAL_SOURCE, &e);
	char path[200], hex[33];
	struct journal_record r;
	FILE *f;

	(void)state;
	migration_id_format(&id, hex);
	snprintf(path, sizeof(path), "%s/%s.source", dir, hex);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("state frozen\nboot 00000000-0000-0000-0000-000000000000\nend\n", f);
	fclose(f);
	assert_int_equal(journal_read(j, &r, &e), 0);
	assert_false(r.this_boot);
	journal_remove(j);
	journal_close(j);
}

/* Of those that are there first at once, all have the same. */
static void a_state_directory_has_one_identity(void **state)
{
	char path[100];

	(void)state;
	snprintf(path, sizeof(path), "%s/identity", dir);
	for (unsigned round = 0; round < 50; round++) {
		char identity[33], theirs[33];
		int line[2], status;
		struct err e = { 0 };
		pid_t pid[4];

		assert_int_equal(pipe(line), 0);
		for (unsigned i = 0; i < 4; i++) {
			pid[i] = fork();
			if (pid[i] == 0)
				_exit(journal_identity(dir, identity, &e) < 0 || write(line[1], identity, 33) != 33);
		}
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
			assert_int_equal(status, 0);
		}
		assert_int_equal(journal_identity(dir, identity, &e), 0);
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(read(line[0], theirs, 33), 33);
			assert_string_equal(theirs, identity);
		}
		close(line[0]);
		close(line[1]);
		unlink(path);
	}
}

/* The child holds the journal until it is killed. */
static void record_belongs_to_one_live_process(void **state)
{
	struct journal_record r;
	struct err e = { 0 };
	bool owned;
	int line[2];
	char c;
	pid_t pid, test = getpid();

	(void)state;
	assert_int_equal(pipe(line), 0);
	pid = fork();
	if (pid == 0 && !die_with(test, SIGKILL))
		_exit(1);
	if (pid == 0) {
		struct journal *j = journal_open(dir, &id, JOURNAL_DESTINATION, &e);

		r = sample();
		if (!j || journal_write(j, &r, &e) < 0 || write(line[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(line[0], &c, 1), 1);
	assert_null(journal_open(dir, &id, JOURNAL_DESTINATION, &e));
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(journal_peek(dir, &id, JOURNAL_DESTINATION, &r, &owned, &e), 0);
	assert_true(owned);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(journal_peek(dir, &id, JOURNAL_DESTINATION, &r, &owned, &e), 0);
	assert_false(owned);
	struct journal *j = journal_open(dir, &id, JOURNAL_DESTINATION, &e);
	assert_non_null(j);
	journal_remove(j);
	journal_close(j);
	close(line[0]);
	close(line[1]);
}

static void what_a_killed_process_left_is_swept(void **state)
{
	char path[200], begun[200], hex[33];
	struct err e = { 0 };
	pid_t pid;
	int fd;

	(void)state;
	pid = fork();
	if (pid == 0)
		_exit(!journal_open(dir, &id, JOURNAL_DESTINATION, &e)); /* leaves its lock file, as a killed one does */
	waitpid(pid, NULL, 0);
	migration_id_format(&id, hex);
	snprintf(path, sizeof(path), "%s/%s.destination.lock", dir, hex);
	assert_int_equal(access(path, F_OK), 0);
	snprintf(begun, sizeof(begun), "%s/%s.destination.new", dir, hex); /* and a record that it had begun to write */
	fd = open(begun, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	journal_sweep(dir, JOURNAL_DESTINATION);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(begun, F_OK), -1);
}

/* Whoever begins sweeps, while others begin: it must not take from one of them the lock that it is just making. */
static void a_sweep_takes_no_lock_from_who_begins(void **state)
{
	pid_t test = getpid(), sweeper[2];
	unsigned taken = 0;

	(void)state;
	for (int i = 0; i < 2; i++) {
		sweeper[i] = fork();
		assert_true(sweeper[i] >= 0);
		if (sweeper[i] == 0 && !die_with(test, SIGKILL))
			_exit(1);
		while (sweeper[i] == 0)
			journal_sweep(dir, JOURNAL_SOURCE);
	}
	for (int i = 0; i < 3000; i++) {
		struct err e = { 0 };
		struct migration_id new;
		struct journal *j;

		migration_id_new(&new);
		j = journal_open(dir, &new, JOURNAL_SOURCE, &e);
		taken += !j;
		journal_close(j);
	}
	for (int i = 0; i < 2; i++) {
		kill(sweeper[i], SIGKILL);
		waitpid(sweeper[i], NULL, 0);
	}
	journal_sweep(dir, JOURNAL_SOURCE);
	assert_int_equal(taken, 0);
}

static bool count_one(const struct migration_id *which, const struct journal_record *r, bool owned, void *arg)
{
	(void)r;
	(void)owned;
	assert_memory_equal(which, &id, sizeof(id));
	++*(int *)arg;
	return true;
}

static void touch_name(char out[128], pid_t maker)
{
	char hex[33];
	int fd;

	migration_id_format(&id, hex);
	snprintf(out, 128, "%s/%s.source.lock.%d", dir, hex, (int)maker);
	fd = open(out, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
}

/* Between the making of a lock and its name. */
static void a_sweep_takes_away_what_a_killed_maker_left(void **state)
{
	char dead[128], alive[128];
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	touch_name(dead, pid);
	touch_name(alive, getpid());
	journal_sweep(dir, JOURNAL_DESTINATION);
	assert_int_equal(access(dead, F_OK), 0);
	journal_sweep(dir, JOURNAL_SOURCE);
	assert_int_equal(access(dead, F_OK), -1);
	assert_int_equal(access(alive, F_OK), 0);
	unlink(alive);
}

static void each_finds_the_records_of_its_side(void **state)
{
	struct err e = { 0 };
	struct journal *j = journal_open(dir, &id, JOURNAL_SOURCE, &e);
	struct journal_record r = sample();
	int n = 0;

	(void)state;
	assert_int_equal(journal_write(j, &r, &e), 0);
	assert_int_equal(journal_each(dir, JOURNAL_SOURCE, count_one, &n, &e), 0);
	assert_int_equal(n, 1);
	assert_int_equal(journal_each(dir, JOURNAL_DESTINATION, count_one, &n, &e), 0);
	assert_int_equal(n, 1);
	journal_remove(j);
	journal_close(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(record_reads_as_written, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(name_of_a_process_cannot_forge_lines, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(truncated_record_is_damaged_not_empty, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_record_is_not_written_through_a_link, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_record_of_another_boot_says_so, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_state_directory_has_one_identity, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(record_belongs_to_one_live_process, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(what_a_killed_process_left_is_swept, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_sweep_takes_away_what_a_killed_maker_left, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(a_sweep_takes_no_lock_from_who_begins, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(each_finds_the_records_of_its_side, make_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
