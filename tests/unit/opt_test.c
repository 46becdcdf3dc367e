/* SPDX-License-Identifier: Apache-2.0 */
/* A command line is read as its table says, or refused with words that name the option and what is allowed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/cli/opt.h"

enum colour { RED = 3, GREEN = 5, BLUE = 9 };
struct sample {
	uint64_t pid, streams, memory, limit;
	const char *where, *tag;
	bool json, quiet;
	int colour;
};

static const struct opt_choice colours[] = { { "red", RED }, { "green", GREEN }, { "blue", BLUE }, { NULL, 0 } };
static const struct opt options[] = {
	{ .name = "streams", .short_name = 'n', .type = OPT_NUMBER, .offset = offsetof(struct sample, streams), .argument = "N",
	  .min = 1, .max = 16, .preset = "4", .help = "How many streams." },
	{ .name = "memory", .type = OPT_BYTES, .offset = offsetof(struct sample, memory), .argument = "BYTES", .help = "How much." },
	{ .name = "limit", .type = OPT_MS, .offset = offsetof(struct sample, limit), .argument = "MS", .min = 1, .max = 60000,
	  .preset = "300", .help = "How long." },
	{ .name = "tag", .type = OPT_STRING, .offset = offsetof(struct sample, tag), .argument = "TEXT", .help = "A name." },
	{ .name = "colour", .short_name = 'c', .type = OPT_CHOICE, .offset = offsetof(struct sample, colour), .argument = "HOW",
	  .choices = colours, .preset = "green", .help = "Paint." },
	{ .name = "json", .short_name = 'j', .type = OPT_FLAG, .offset = offsetof(struct sample, json), .help = "Machines read." },
	{ .name = "quiet", .short_name = 'q', .type = OPT_FLAG, .offset = offsetof(struct sample, quiet), .help = "Less." },
	{ .name = NULL },
};
static const struct opt positionals[] = {
	{ .name = "PID", .type = OPT_NUMBER, .offset = offsetof(struct sample, pid), .min = 1, .max = 4194304, .help = "the process" },
	{ .name = "WHERE", .type = OPT_STRING, .offset = offsetof(struct sample, where), .optional = true, .help = "the place" },
	{ .name = NULL },
};
static const struct opt_command command = { .name = "sample", .summary = "Samples.", .options = options,
					    .positionals = positionals, .config_size = sizeof(struct sample) };

static struct err error;

#define PARSE(s, ...) parse(s, (char *[]){ (char *)(uintptr_t)"sample", __VA_ARGS__, NULL })
#define ARG(text) ((char *)(uintptr_t)(text))

static int parse(struct sample *s, char **argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	memset(s, 0xaa, sizeof(*s));
	err_clear(&error);
	return opt_parse(&command, argc, argv, s, &error);
}

static void refused(int rc, const char *option, const char *why)
{
	assert_int_equal(rc, -1);
	assert_int_equal(error.kind, ERR_USAGE);
	if (!strstr(error.text, option) || !strstr(error.text, why))
		fail_msg("\"%s\" names not both \"%s\" and \"%s\"", error.text, option, why);
}

static void defaults_stand_where_nothing_is_said(void **state)
{
	struct sample s;

	(void)state;
	assert_int_equal(PARSE(&s, ARG("7")), OPT_PARSED);
	assert_int_equal(s.pid, 7);
	assert_int_equal(s.streams, 4);
	assert_int_equal(s.memory, 0);
	assert_int_equal(s.limit, 300);
	assert_int_equal(s.colour, GREEN);
	assert_false(s.json);
	assert_null(s.tag);
	assert_null(s.where);
}

static void every_way_to_write_an_option_is_read(void **state)
{
	struct sample s;

	(void)state;
	assert_int_equal(PARSE(&s, ARG("--streams=2"), ARG("7"), ARG("-jq"), ARG("-cred"), ARG("--tag"), ARG("-x"), ARG("there")), 0);
	assert_int_equal(s.streams, 2);
	assert_true(s.json && s.quiet);
	assert_int_equal(s.colour, RED);
	assert_string_equal(s.tag, "-x");
	assert_string_equal(s.where, "there");
	assert_int_equal(PARSE(&s, ARG("-n"), ARG("3"), ARG("-n9"), ARG("7"), ARG("--"), ARG("--json")), 0);
	assert_int_equal(s.streams, 9);
	assert_string_equal(s.where, "--json");
	assert_false(s.json);
}

static void units_multiply(void **state)
{
	struct sample s;

	(void)state;
	assert_int_equal(PARSE(&s, ARG("7"), ARG("--memory"), ARG("3g"), ARG("--limit"), ARG("2s")), 0);
	assert_int_equal(s.memory, 3ull << 30);
	assert_int_equal(s.limit, 2000);
	assert_int_equal(PARSE(&s, ARG("7"), ARG("--memory=16777215T"), ARG("--limit=50ms")), 0);
	assert_int_equal(s.memory, 16777215ull << 40);
	assert_int_equal(s.limit, 50);
}

static void numbers_that_do_not_fit_are_refused(void **state)
{
	struct sample s;

	(void)state;
	refused(PARSE(&s, ARG("7"), ARG("--streams=17")), "--streams", "1 to 16");
	refused(PARSE(&s, ARG("7"), ARG("--streams"), ARG("0")), "--streams", "1 to 16");
	refused(PARSE(&s, ARG("7"), ARG("-n-1")), "-n", "is not a number");
	refused(PARSE(&s, ARG("7"), ARG("--streams=")), "--streams", "is not a number");
	refused(PARSE(&s, ARG("7"), ARG("--streams=4K")), "--streams", "is not a number");
	refused(PARSE(&s, ARG("7"), ARG("--memory=16777216T")), "--memory", "too large");
	refused(PARSE(&s, ARG("7"), ARG("--memory=18446744073709551616")), "--memory", "too large");
	refused(PARSE(&s, ARG("7"), ARG("--memory=5 M")), "--memory", "K, M, G or T");
	refused(PARSE(&s, ARG("7"), ARG("--limit=2h")), "--limit", "to 1 m");
	refused(PARSE(&s, ARG("0")), "PID", "1 to 4194304");
	refused(PARSE(&s, ARG("redis")), "PID", "is not a number");
}

static void what_the_table_does_not_know_is_refused_by_name(void **state)
{
	struct sample s;

	(void)state;
	refused(PARSE(&s, ARG("7"), ARG("--stream=3")), "--stream:", "no such option");
	refused(PARSE(&s, ARG("7"), ARG("-jx")), "-x", "no such option");
	refused(PARSE(&s, ARG("7"), ARG("--colour"), ARG("pink")), "--colour", "red, green or blue");
	refused(PARSE(&s, ARG("7"), ARG("--json=yes")), "--json", "takes no value");
	refused(PARSE(&s, ARG("7"), ARG("--tag")), "--tag", "wants a value");
	refused(PARSE(&s, ARG("7"), ARG("--tag=")), "--tag", "empty");
	refused(PARSE(&s, ARG("7"), ARG("a"), ARG("b")), "'b'", "too many");
	refused(PARSE(&s, ARG("--json")), "PID", "missing");
}

static void help_wins_over_errors_behind_it(void **state)
{
	struct sample s;

	(void)state;
	assert_int_equal(PARSE(&s, ARG("--help"), ARG("--nonsense")), OPT_HELP);
	assert_int_equal(PARSE(&s, ARG("7"), ARG("-h")), OPT_HELP);
}

static void help_and_man_text_name_every_row(void **state)
{
	char help[8192] = "", man[8192] = "", name[64];
	FILE *h = fmemopen(help, sizeof(help), "w"), *m = fmemopen(man, sizeof(man), "w");

	(void)state;
	opt_print_help(&command, h);
	opt_print_man(&command, m);
	fclose(h);
	fclose(m);
	for (const struct opt *o = options; o->name; o++) {
		snprintf(name, sizeof(name), "--%s", o->name);
		assert_non_null(strstr(help, name));
		snprintf(name, sizeof(name), "Fl -%s", o->name);
		assert_non_null(strstr(man, name));
	}
	assert_non_null(strstr(help, "usage: dray sample [OPTION]... PID [WHERE]"));
	assert_non_null(strstr(help, "Allowed: 1 to 16. Default: 4."));
	assert_non_null(strstr(man, ".It Fl c , Fl -colour Ar HOW\nPaint.\nOne of red, green or blue.\nDefault: green.\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_stand_where_nothing_is_said),
		cmocka_unit_test(every_way_to_write_an_option_is_read),
		cmocka_unit_test(units_multiply),
		cmocka_unit_test(numbers_that_do_not_fit_are_refused),
		cmocka_unit_test(what_the_table_does_not_know_is_refused_by_name),
		cmocka_unit_test(help_wins_over_errors_behind_it),
		cmocka_unit_test(help_and_man_text_name_every_row),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
