/* SPDX-License-Identifier: Apache-2.0 */
/* Every request in every state, with and without keep_open, answered with success and without: what is done and where it leads is what the
 * protocol says. The expectation is written down here once more, by rules instead of rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/rpc/rpc_session.h"

static bool one_of(unsigned type, const unsigned *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == type)
			return true;
	return false;
}
#define IN(type, ...) one_of(type, (const unsigned[]){ __VA_ARGS__ }, sizeof((const unsigned[]){ __VA_ARGS__ }) / sizeof(unsigned))

static bool may_keep_open(unsigned type)
{
	return IN(type, 5, 7, 8, 9, 10, 12);
}

static enum rpc_reaction expected_reaction(enum rpc_state state, unsigned type, bool keep)
{
	if (state == RPC_PRELOOP)
		return IN(type, 1, 4) ? RPC_RUN : RPC_SAY_EMPTY;
	if (keep && !may_keep_open(type))
		return RPC_HANG_UP;
	return IN(type, 0, 6) || type > 13 ? RPC_SAY_EMPTY : RPC_RUN;
}

static enum rpc_state expected_next(enum rpc_state state, unsigned type, bool keep, bool success)
{
	if (type == CRIU_REQ_TYPE__PRE_DUMP)
		return success ? RPC_PRELOOP : RPC_CLOSED;
	return state == RPC_IDLE && keep ? RPC_IDLE : RPC_CLOSED;
}

static int expected_exit(unsigned type, bool success)
{
	if (success || may_keep_open(type))
		return 0;
	return IN(type, 1, 2) ? 1 : 255;
}

static struct rpc_session in_state(enum rpc_state state)
{
	CriuReq pre_dump = CRIU_REQ__INIT;
	struct rpc_session s;

	rpc_session_init(&s);
	pre_dump.type = CRIU_REQ_TYPE__PRE_DUMP;
	if (state == RPC_PRELOOP) {
		assert_int_equal(rpc_session_request(&s, &pre_dump), RPC_RUN);
		rpc_session_answered(&s, &pre_dump, true);
	}
	assert_int_equal(s.state, state);
	return s;
}

static void walk(enum rpc_state state, unsigned type, int keep_open, bool success)
{
	struct rpc_session s = in_state(state);
	CriuReq req = CRIU_REQ__INIT;
	enum rpc_reaction expected = expected_reaction(state, type, keep_open > 0);

	req.type = (CriuReqType)type;
	req.has_keep_open = keep_open >= 0;
	req.keep_open = keep_open > 0;
	assert_int_equal(rpc_session_request(&s, &req), expected);
	if (expected != RPC_RUN) {
		assert_int_equal(s.state, RPC_CLOSED);
		assert_int_equal(s.exit_status, 255);
		return;
	}
	assert_int_equal(s.state, state);
	rpc_session_answered(&s, &req, success);
	assert_int_equal(s.state, expected_next(state, type, keep_open > 0, success));
	if (s.state == RPC_CLOSED)
		assert_int_equal(s.exit_status, expected_exit(type, success));
	else
		assert_int_equal(s.exit_status, 255); /* what ends it now is a loss */
}

static void every_request_in_every_state(void **state)
{
	static const unsigned beyond[] = { 14, 77, 0x7fffffff, 0xffffffff };

	(void)state;
	for (unsigned in = 0; in < RPC_CLOSED; in++) {
		for (int keep = -1; keep <= 1; keep++) {
			for (unsigned success = 0; success < 2; success++) {
				for (unsigned type = 0; type <= 13; type++)
					walk((enum rpc_state)in, type, keep, success);
				for (unsigned i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++)
					walk((enum rpc_state)in, beyond[i], keep, success);
			}
		}
	}
}

static void a_client_that_is_gone_closes_in_every_state(void **state)
{
	(void)state;
	for (unsigned in = 0; in < RPC_CLOSED; in++) {
		struct rpc_session s = in_state((enum rpc_state)in);

		rpc_session_lost(&s);
		assert_int_equal(s.state, RPC_CLOSED);
		assert_int_equal(s.exit_status, 255);
	}
}

static void the_table_and_the_drawing_name_every_request(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	rpc_session_print_table(out);
	rpc_session_print_drawing(out);
	fclose(out);
	for (unsigned type = 0; type <= 13; type++)
		assert_non_null(strstr(text, rpc_type_name(type)));
	assert_non_null(strstr(text, "| PRELOOP | DUMP | its own | closed | closed | as without | 0 or 1 |\n"));
	assert_non_null(strstr(text, "    PRELOOP --> PRELOOP: PRE_DUMP (done)\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_request_in_every_state),
		cmocka_unit_test(a_client_that_is_gone_closes_in_every_state),
		cmocka_unit_test(the_table_and_the_drawing_name_every_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
