/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of the kernel's texts are found by their whole name at the start of a line; a process's name, which it chooses, hides nothing. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/proc_stat.h"
#include "proto/base/proc_text.h"

static const char status[] = "Name:\tUmask:\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t71\nNSpid:\t4711\t82\t7\nSigPnd:\t0000000000000100\nNStgid:\n";

static void fields_are_found_by_their_whole_name(void **state)
{
	(void)state;
	assert_int_equal(text_number(status, "Umask", 8, 1), 022);
	assert_int_equal(text_number(status, "SigPnd", 16, 1), 0x100);
	assert_int_equal(*text_field(status, "State"), 'S');
	assert_null(text_field(status, "pid"));
	assert_null(text_field(status, "Tgi"));
	assert_int_equal(text_number(status, "Seccomp", 10, 5), 5);
	assert_null(text_field("", "Tgid"));
}

static void the_last_of_a_list_is_the_innermost(void **state)
{
	(void)state;
	assert_int_equal(text_last_number(status, "NSpid"), 7);
	assert_int_equal(text_last_number(status, "Tgid"), 71);
	assert_int_equal(text_last_number(status, "NStgid"), -1);
	assert_int_equal(text_last_number(status, "NSsid"), -1);
}

static void a_name_hides_nothing_in_stat(void **state)
{
	static const char text[] = "4711 (a) Z 1 (2) R) T 1 2 3 4 5 4194308 7 8 9 10 11 12 13 14 15 16 17 18 987654321 20\n";
	struct proc_stat s = { 0 };

	(void)state;
	assert_int_equal(proc_stat_parse(text, &s), 0);
	assert_int_equal(s.state, 'T');
	assert_true(s.exiting);
	assert_int_equal(s.start_time, 987654321);
	assert_int_equal(text_stat_number(text, 4), 1);
	assert_int_equal(text_stat_number(text, 60), 0);
	assert_int_equal(proc_stat_parse("no process", &s), -1);
	assert_int_equal(proc_stat_parse("1 (x)", &s), -1);
}

static void we_find_ourselves(void **state)
{
	struct proc_stat s;
	struct err e = { 0 };
	char *text = status_text(getpid(), getpid(), &e);

	(void)state;
	assert_non_null(text);
	assert_int_equal(text_number(text, "Tgid", 10, 0), getpid());
	free(text);
	assert_int_equal(proc_stat_read(getpid(), getpid(), &s), 0);
	assert_int_equal(s.state, 'R');
	assert_false(s.exiting || proc_stat_ended(&s));
	assert_true(s.start_time > 0);
	assert_int_equal(s.parent, getppid());
}

static void *wait_at(void *arg)
{
	pthread_barrier_t *b = ((void **)arg)[1];

	*(pid_t *)((void **)arg)[0] = gettid();
	pthread_barrier_wait(b); /* its number is known */
	pthread_barrier_wait(b); /* and was asked about */
	return NULL;
}

static void a_number_that_is_no_process_is_named_for_what_it_is(void **state)
{
	pthread_barrier_t b;
	pthread_t thread;
	pid_t tid = 0;
	void *arg[] = { &tid, &b };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(proc_check_pid(getpid(), &e), 0);
	for (pid_t none = -1; none <= 0; none++)
		assert_true(proc_check_pid(none, &e) == -1 && e.kind == ERR_GONE);
	assert_true(proc_check_pid(0x3ffffff, &e) == -1 && e.kind == ERR_GONE);
	assert_string_equal(e.text, "no process 67108863");
	pthread_barrier_init(&b, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, wait_at, arg), 0);
	pthread_barrier_wait(&b);
	assert_true(proc_check_pid(tid, &e) == -1 && e.kind == ERR_USAGE);
	assert_non_null(strstr(e.text, "is a thread of process"));
	pthread_barrier_wait(&b);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_found_by_their_whole_name),
		cmocka_unit_test(the_last_of_a_list_is_the_innermost),
		cmocka_unit_test(a_name_hides_nothing_in_stat),
		cmocka_unit_test(we_find_ourselves),
		cmocka_unit_test(a_number_that_is_no_process_is_named_for_what_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
