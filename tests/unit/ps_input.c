/* SPDX-License-Identifier: Apache-2.0 */
/* How far the page server reads ahead: a small range costs one system call with the header behind it, and a long one leaves what can be spliced in the socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pageserver/stock/input.h"
#include "proto/base/io.h"
#include "proto/wire/runs.h"
#include "tests/lib/bench_env.h"

enum { HEADER = 32 };

/* Not read yet. */
static size_t in_socket(int fd)
{
	static uint8_t bytes[16 * DRAY_PAGE_SIZE];
	ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);

	return n > 0 ? (size_t)n : 0;
}

/* A page that is spliced, a header and a page that are not, and what comes behind them. */
static void a_small_range_behind_a_spliced_one_is_read_ahead_of(void **state)
{
	static const uint8_t bytes[3 * DRAY_PAGE_SIZE + 3 * HEADER];
	const uint8_t *got;
	struct ps_input in;
	int pair[2], pipes[2];
	ssize_t n;

	(void)state;
	assert_int_equal(bench_tcp_pair(pair), 0);
	assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(ps_input_begin(&in, pair[1], true, 0, 0), 0);
	ps_input_allow_splice(&in);
	assert_int_equal(write_full(pair[0], bytes, sizeof(bytes)), 0);
	while (in_socket(pair[1]) < sizeof(bytes))
		usleep(1000);
	for (size_t at = 0; at < DRAY_PAGE_SIZE; at += (size_t)n) {
		n = ps_input_into_pipe(&in, pipes[1], DRAY_PAGE_SIZE - at);
		assert_true(n > 0);
	}
	assert_true(in.splices);
	assert_int_equal(ps_input_take(&in, HEADER, &got), 0);
	assert_int_equal(in_socket(pair[1]), sizeof(bytes) - DRAY_PAGE_SIZE - HEADER); /* it may be of one that is spliced */
	assert_int_equal(ps_input_pages(&in, DRAY_PAGE_SIZE, &got), DRAY_PAGE_SIZE);
	assert_int_equal(in_socket(pair[1]), 0);
	assert_int_equal(in.to - in.from, sizeof(bytes) - 2 * DRAY_PAGE_SIZE - HEADER);
	ps_input_finish(&in);
	for (unsigned i = 0; i < 2; i++) {
		close(pair[i]);
		close(pipes[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_small_range_behind_a_spliced_one_is_read_ahead_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
