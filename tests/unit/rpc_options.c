/* SPDX-License-Identifier: Apache-2.0 */
/* Every field of criu_opts has a row and every row a field; what a row refuses is refused by name, by exactly the operations that look
 * at it; what it accepts or does passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/rpc/options.h"

static void every_field_has_a_row_and_every_row_a_field(void **state)
{
	uint32_t before = 0;
	size_t rows = 0;

	(void)state;
	for (const struct rpc_option *o = rpc_options; o->name; o++, rows++) {
		assert_non_null(rpc_option_field(o));
		assert_string_equal(rpc_option_field(o)->name, o->name);
		assert_true(o->number > before);
		before = o->number;
		assert_ptr_equal(rpc_option_by_number(o->number), o);
	}
	assert_int_equal(rows, criu_opts__descriptor.n_fields);
}

static void every_row_says_what_it_does(void **state)
{
	(void)state;
	for (const struct rpc_option *o = rpc_options; o->name; o++) {
		assert_true(o->ops != 0 && (rpc_option_refused_for(o) & ~o->ops) == 0);
		assert_true(strlen(o->text) > 5 && o->text[strlen(o->text) - 1] == '.');
		assert_null(strchr(o->text, '|'));
		assert_true(!o->harmless || o->native == RPC_REFUSED);
		if (o->cli)
			assert_ptr_equal(rpc_option_by_cli(o->cli, strlen(o->cli)), o);
		if (o->cli_short)
			assert_ptr_equal(rpc_option_by_short(o->cli_short), o);
	}
}

/* Sets the field to something that asks. */
static void ask(const struct rpc_option *o, CriuOpts *opts)
{
	static CriuVethPair veth = CRIU_VETH_PAIR__INIT, *veths = &veth;
	static CriuPageServerInfo ps = CRIU_PAGE_SERVER_INFO__INIT;
	static char word[] = "x", *text = word;
	const ProtobufCFieldDescriptor *f = rpc_option_field(o);
	char *base = (char *)opts;
	uint32_t number = 1;

	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		*(size_t *)(void *)(base + f->quantifier_offset) = 1;
		*(void **)(void *)(base + f->offset) = f->type == PROTOBUF_C_TYPE_STRING ? (void *)&text : (void *)&veths;
		return;
	}
	if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE) {
		ps.address = text;
		*(void **)(void *)(base + f->offset) = f->type == PROTOBUF_C_TYPE_STRING ? (void *)text : (void *)&ps;
		return;
	}
	if (f->type == PROTOBUF_C_TYPE_ENUM)
		number = (uint32_t)((const ProtobufCEnumDescriptor *)f->descriptor)->values[1].value;
	if (o->number == 34)
		number = CRIU_CG_MODE__STRICT;
	if (o->number == 38)
		number = 0x40000000;
	*(protobuf_c_boolean *)(void *)(base + f->quantifier_offset) = true;
	*(uint32_t *)(void *)(base + f->offset) = number;
}

static void what_is_refused_is_refused_by_name_where_it_counts(void **state)
{
	(void)state;
	for (const struct rpc_option *o = rpc_options; o->name; o++) {
		for (unsigned op = 1; op <= RPC_OPS_ALL; op <<= 1) {
			bool misplaced = o->number == 65 && op != RPC_OP_RESTORE;
			bool nowhere = o->number == 11 && op & (RPC_OP_DUMP | RPC_OP_PRE_DUMP); /* no port */
			CriuOpts opts = CRIU_OPTS__INIT;
			struct err e = { 0 };
			int rc;

			ask(o, &opts);
			assert_true(rpc_option_asks(o, &opts));
			rc = rpc_options_check(&opts, (enum rpc_op)op, RPC_WORDS_FIELDS, &e);
			assert_int_equal(rc, misplaced || nowhere || rpc_option_refused_for(o) & op ? -1 : 0);
			if (rc != 0) {
				assert_int_equal(e.kind, ERR_USAGE);
				assert_non_null(strstr(e.text, o->name));
			}
		}
	}
}

/* No field's name is told to who typed something. */
static void what_was_typed_is_refused_as_it_was_typed(void **state)
{
	(void)state;
	for (const struct rpc_option *o = rpc_options; o->name; o++) {
		for (unsigned op = 1; op <= RPC_OPS_ALL; op <<= 1) {
			CriuOpts opts = CRIU_OPTS__INIT;
			struct err e = { 0 };
			char shown[RPC_SHOWN_MAX];

			ask(o, &opts);
			if (!o->cli || rpc_options_check(&opts, (enum rpc_op)op, RPC_WORDS_CLI, &e) == 0)
				continue;
			assert_int_equal(strncmp(rpc_option_shown(o, RPC_WORDS_CLI, shown), "--", 2), 0);
			assert_ptr_equal(strstr(e.text, shown), e.text);
			assert_null(strchr(e.text, '_'));
			assert_null(strstr(e.text, "option "));
		}
	}
}

/* Clients fill in defaults: those ask for nothing. */
static void defaults_ask_for_nothing(void **state)
{
	(void)state;
	for (const struct rpc_option *o = rpc_options; o->name; o++) {
		const ProtobufCFieldDescriptor *f = rpc_option_field(o);
		CriuOpts opts = CRIU_OPTS__INIT;

		if (f->label == PROTOBUF_C_LABEL_REPEATED || f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE)
			continue;
		*(protobuf_c_boolean *)(void *)((char *)&opts + f->quantifier_offset) = true;
		assert_true(rpc_option_present(o, &opts));
		assert_false(rpc_option_asks(o, &opts));
	}
}

static void soft_cgroups_pass_and_strict_ones_do_not(void **state)
{
	CriuOpts opts = CRIU_OPTS__INIT;
	struct err e = { 0 };

	(void)state;
	opts.has_manage_cgroups_mode = true;
	opts.manage_cgroups_mode = CRIU_CG_MODE__SOFT;
	assert_int_equal(rpc_options_check(&opts, RPC_OP_DUMP, RPC_WORDS_FIELDS, &e), 0);
	opts.manage_cgroups_mode = CRIU_CG_MODE__FULL;
	assert_int_equal(rpc_options_check(&opts, RPC_OP_DUMP, RPC_WORDS_FIELDS, &e), -1);
	opts.manage_cgroups_mode = (CriuCgMode)77;
	assert_int_equal(rpc_options_check(&opts, RPC_OP_PAGE_SERVER, RPC_WORDS_FIELDS, &e), -1);
	assert_non_null(strstr(e.text, "77"));
}

static void a_log_file_is_a_name(void **state)
{
	static const char *const bad[] = { "", "/tmp/x", "a/b", "..", "." };
	CriuOpts opts = CRIU_OPTS__INIT;
	struct err e = { 0 };

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		opts.log_file = (char *)(uintptr_t)bad[i];
		assert_int_equal(rpc_options_check(&opts, RPC_OP_CHECK, RPC_WORDS_FIELDS, &e), -1);
	}
	opts.log_file = (char[]){ "dump.log" };
	assert_int_equal(rpc_options_check(&opts, RPC_OP_CHECK, RPC_WORDS_FIELDS, &e), 0);
}

static void set(CriuOpts *o, const char *cli, const char *value, int expected)
{
	struct err e = { 0 };

	assert_int_equal(rpc_option_set(rpc_option_by_cli(cli, strlen(cli)), o, value, &e), expected);
}

static void values_are_set_as_the_command_line_writes_them(void **state)
{
	CriuOpts *o = malloc(sizeof(*o));

	(void)state;
	criu_opts__init(o);
	set(o, "tree", "41", 0);
	set(o, "leave-running", NULL, 0);
	set(o, "shell-job", "no", 0);
	set(o, "ghost-limit", "2M", 0);
	set(o, "manage-cgroups", "soft", 0);
	set(o, "images-dir", "first", 0);
	set(o, "images-dir", "second", 0);
	set(o, "external", "a", 0);
	set(o, "external", "b", 0);
	set(o, "tree", "99999999999", -1);
	set(o, "manage-cgroups", "sometimes", -1);
	set(o, "shell-job", "perhaps", -1);
	set(o, "veth-pair", "a=b", -1);
	set(o, "images-dir", NULL, -1);
	assert_true(o->has_pid && o->pid == 41);
	assert_true(o->leave_running && o->has_leave_running);
	assert_true(o->has_shell_job && !o->shell_job);
	assert_int_equal(o->ghost_limit, 2 << 20);
	assert_int_equal(o->manage_cgroups_mode, CRIU_CG_MODE__SOFT);
	assert_string_equal(o->images_dir, "second");
	assert_int_equal(o->n_external, 2);
	assert_string_equal(o->external[1], "b");
	criu_opts__free_unpacked(o, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_has_a_row_and_every_row_a_field),
		cmocka_unit_test(every_row_says_what_it_does),
		cmocka_unit_test(what_is_refused_is_refused_by_name_where_it_counts),
		cmocka_unit_test(what_was_typed_is_refused_as_it_was_typed),
		cmocka_unit_test(defaults_ask_for_nothing),
		cmocka_unit_test(soft_cgroups_pass_and_strict_ones_do_not),
		cmocka_unit_test(a_log_file_is_a_name),
		cmocka_unit_test(values_are_set_as_the_command_line_writes_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
