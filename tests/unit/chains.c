/* SPDX-License-Identifier: Apache-2.0 */
/* Whose set was published last is remembered, for so many senders; who published longest ago is forgotten first, and a sender whose session failed at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "pageserver/stock/chain.h"

static void set_of(struct chains *c, unsigned peer, unsigned number)
{
	char name[32], path[32];

	snprintf(name, sizeof(name), "10.0.%u.%u", peer / 256, peer % 256);
	snprintf(path, sizeof(path), "/sets/%u", number);
	chains_set(c, name, path);
}

static const char *last_of(const struct chains *c, unsigned peer)
{
	char name[32];

	snprintf(name, sizeof(name), "10.0.%u.%u", peer / 256, peer % 256);
	return chains_last(c, name);
}

static void the_last_set_of_each_sender_is_known(void **state)
{
	struct chains c = { 0 };

	(void)state;
	assert_null(last_of(&c, 1));
	chains_forget(&c, "10.0.0.1");
	set_of(&c, 1, 1);
	set_of(&c, 2, 2);
	set_of(&c, 1, 3);
	assert_string_equal(last_of(&c, 1), "/sets/3");
	assert_string_equal(last_of(&c, 2), "/sets/2");
	assert_int_equal(c.count, 2);
	chains_forget(&c, "10.0.0.1");
	assert_null(last_of(&c, 1));
	assert_string_equal(last_of(&c, 2), "/sets/2");
	chains_finish(&c);
	assert_null(last_of(&c, 2));
}

static void who_published_longest_ago_is_forgotten(void **state)
{
	struct chains c = { 0 };

	(void)state;
	for (unsigned i = 0; i < CHAINS_MAX; i++)
		set_of(&c, i, i);
	set_of(&c, 0, 5000); /* comes again, so it is not the oldest any more */
	for (unsigned i = 0; i < 10; i++)
		set_of(&c, CHAINS_MAX + i, i);
	assert_int_equal(c.count, CHAINS_MAX);
	assert_string_equal(last_of(&c, 0), "/sets/5000");
	for (unsigned i = 1; i <= 10; i++)
		assert_null(last_of(&c, i));
	assert_string_equal(last_of(&c, 11), "/sets/11");
	assert_string_equal(last_of(&c, CHAINS_MAX + 9), "/sets/9");
	chains_finish(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_set_of_each_sender_is_known),
		cmocka_unit_test(who_published_longest_ago_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
