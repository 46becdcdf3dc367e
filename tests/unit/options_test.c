/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs' own tables: documented defaults, values that don't go together, and rows that are fit for --help and the man page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <string.h>

#include "migrate/cli/options.h"
#include "migrate/conduct/config.h"

static struct err error;

#define ARG(text) ((char *)(uintptr_t)(text))
#define PARSE(command, config, ...) parse(command, config, (char *[]){ ARG("verb"), __VA_ARGS__, NULL })

static int parse(const struct opt_command *c, void *config, char **argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	err_clear(&error);
	return opt_parse(c, argc, argv, config, &error);
}

static void refused(int rc, const char *name)
{
	assert_int_equal(rc, -1);
	assert_int_equal(error.kind, ERR_USAGE);
	if (!strstr(error.text, name))
		fail_msg("\"%s\" does not name %s", error.text, name);
}

static void migrate_defaults_are_the_documented_ones(void **state)
{
	struct migrate_config c;

	(void)state;
	assert_int_equal(PARSE(&migrate_command, &c, ARG("41"), ARG("host")), 0);
	assert_int_equal(c.pid, 41);
	assert_string_equal(c.destination, "host");
	assert_int_equal(c.downtime_limit_ms, 300);
	assert_int_equal(c.timeout_ms, 0);
	assert_int_equal(c.max_bandwidth, 0);
	assert_int_equal(c.on_stall, STALL_FORCE);
	assert_int_equal(c.compress, COMPRESS_AUTO);
	assert_int_equal(c.tracker, TRACKER_AUTO);
	assert_int_equal(c.extract, EXTRACT_AUTO);
	assert_int_equal(c.pid_policy, DRAYAGE__PID_POLICY__PID_AUTO);
	assert_string_equal(c.congestion, "auto");
	assert_string_equal(c.state_dir, "/var/lib/drayage");
	assert_false(c.tcp_close || c.keep_source || c.verify || c.dry_run || c.json);
}

static void migrate_values_land_in_their_fields(void **state)
{
	struct migrate_config c;

	(void)state;
	assert_int_equal(PARSE(&migrate_command, &c, ARG("--tracker=soft-dirty"), ARG("--extract=copy"), ARG("--pid=new"), ARG("41"),
			       ARG("[::1]:99"), ARG("--on-stall=abort"), ARG("--max-bandwidth=100M"), ARG("-n"), ARG("--compress=lz4")),
			 0);
	assert_int_equal(c.tracker, TRACKER_SOFT_DIRTY);
	assert_int_equal(c.extract, EXTRACT_COPY);
	assert_int_equal(c.pid_policy, DRAYAGE__PID_POLICY__PID_NEW);
	assert_int_equal(c.on_stall, STALL_ABORT);
	assert_int_equal(c.max_bandwidth, 100 << 20);
	assert_true(c.dry_run);
}

static void migrate_refuses_what_does_not_go_together(void **state)
{
	struct migrate_config c;

	(void)state;
	refused(PARSE(&migrate_command, &c, ARG("41"), ARG("host:70777")), "HOST[:PORT]");
	refused(PARSE(&migrate_command, &c, ARG("41"), ARG("host:0")), "HOST[:PORT]");
	refused(PARSE(&migrate_command, &c, ARG("41"), ARG(":7077")), "HOST[:PORT]");
	refused(PARSE(&migrate_command, &c, ARG("41")), "HOST[:PORT]");
	refused(PARSE(&migrate_command, &c, ARG("41"), ARG("h"), ARG("--extract=splice"), ARG("--compress=lz4")), "--compress lz4");
}

static void agent_listens_on_loopback_unless_told(void **state)
{
	struct agent_config c;

	(void)state;
	assert_int_equal(parse(&agent_command, &c, (char *[]){ ARG("agent"), NULL }), 0);
	assert_string_equal(c.listen, "127.0.0.1:7077");
	assert_false(c.insecure);
	refused(PARSE(&agent_command, &c, ARG("--listen=localhost:x")), "--listen");
}

static void recover_forces_only_what_is_named(void **state)
{
	struct recover_config c;

	(void)state;
	assert_int_equal(parse(&recover_command, &c, (char *[]){ ARG("recover"), NULL }), 0);
	assert_null(c.id);
	refused(PARSE(&recover_command, &c, ARG("--thaw")), "--thaw");
	refused(PARSE(&recover_command, &c, ARG("--kill")), "--kill");
	refused(PARSE(&recover_command, &c, ARG("12ab")), "ID");
	refused(PARSE(&recover_command, &c, ARG("0123456789abcdef0123456789abcdef"), ARG("--thaw"), ARG("--kill")), "exclude");
	assert_int_equal(PARSE(&recover_command, &c, ARG("0123456789abcdef0123456789abcdef"), ARG("--kill")), 0);
	assert_true(c.kill);
}

static void rows_are_sound(const struct opt *rows, size_t config_size)
{
	for (const struct opt *o = rows; o->name; o++) {
		size_t len = strlen(o->help);

		assert_true(o->offset < config_size);
		assert_true(len > 0 && isupper((unsigned char)o->help[0]) && o->help[len - 1] == '.');
		assert_true(len < 500);
		if (o->type == OPT_CHOICE)
			assert_non_null(o->choices);
		for (const struct opt *p = o + 1; p->name; p++) {
			assert_string_not_equal(p->name, o->name);
			assert_true(!o->short_name || p->short_name != o->short_name);
		}
	}
}

static void every_row_is_sound(void **state)
{
	const struct opt_command *all[] = { &migrate_command, &agent_command, &recover_command };

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		rows_are_sound(all[i]->options, all[i]->config_size);
		rows_are_sound(all[i]->positionals, all[i]->config_size);
		for (const struct opt *o = all[i]->options; o->name; o++)
			assert_true((o->type == OPT_FLAG) == !o->argument);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(migrate_defaults_are_the_documented_ones),
		cmocka_unit_test(migrate_values_land_in_their_fields),
		cmocka_unit_test(migrate_refuses_what_does_not_go_together),
		cmocka_unit_test(agent_listens_on_loopback_unless_told),
		cmocka_unit_test(recover_forces_only_what_is_named),
		cmocka_unit_test(every_row_is_sound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
