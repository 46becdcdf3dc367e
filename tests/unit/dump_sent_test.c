/* SPDX-License-Identifier: Apache-2.0 */
/* What a page server has of a task is read back as it was written, however much it is; a list that can't be is refused. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/dump/dump_sent.h"
#include "proto/image/image.h"
#include "state.pb-c.h"
#include "tests/lib/remove_tree.h"

static int directory(char path[32])
{
	int fd;

	strcpy(path, "/tmp/dray-sent-XXXXXX");
	assert_non_null(mkdtemp(path));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* Several entries of the file; a run that is not data is left out. */
static void what_is_written_is_read(void **state)
{
	struct run_list in = { 0 }, out = { 0 };
	char path[32];
	struct err e;
	int dir = directory(path);

	(void)state;
	for (uint64_t i = 0; i < 100000; i++)
		assert_int_equal(run_list_add(&in, 0x400000 + i * 0x3000, 1 + i % 2, RUN_DATA), 0);
	assert_int_equal(run_list_add(&in, 0x7ffff0000000, 7, RUN_DATA), 0);
	assert_int_equal(dump_sent_write(dir, 41, &in, &e), 0);
	assert_int_equal(dump_sent_read(dir, 41, &out, &e), 0);
	assert_int_equal(out.count, in.count);
	assert_memory_equal(out.run, in.run, in.count * sizeof(*in.run));
	run_list_clear(&out);
	assert_int_equal(dump_sent_read(dir, 42, &out, &e), -1);
	assert_int_equal(e.kind, ERR_GONE);
	run_list_clear(&in);
	assert_int_equal(run_list_add(&in, 0x1000, 1, RUN_DROP), 0);
	assert_int_equal(dump_sent_write(dir, 42, &in, &e), 0);
	assert_int_equal(dump_sent_read(dir, 42, &out, &e), 0);
	assert_int_equal(out.count, 0);
	run_list_finish(&in);
	run_list_finish(&out);
	close(dir);
	remove_tree(path);
}

static void what_cannot_be_is_refused(void **state)
{
	static uint64_t wrong[][4] = { { 1, 0, 0, 1 }, { UINT64_MAX, 1, 0, 1 }, { 1, UINT64_MAX, 0, 1 }, { 1, 1, UINT64_MAX, 1 } };
	char path[32];
	int dir = directory(path);

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		Drayage__SentPages m = DRAYAGE__SENT_PAGES__INIT;
		struct run_list out = { 0 };
		struct err e;

		m.runs = wrong[i];
		m.n_runs = 4;
		assert_int_equal(image_write_one(dir, IMAGE_DRAYAGE_SENT, 41, &m.base, &e), 0);
		assert_int_equal(dump_sent_read(dir, 41, &out, &e), -1);
		assert_int_equal(e.kind, ERR_PROTOCOL);
		run_list_finish(&out);
	}
	close(dir);
	remove_tree(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(what_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
