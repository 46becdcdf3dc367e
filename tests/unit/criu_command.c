/* SPDX-License-Identifier: Apache-2.0 */
/* criu's command line and configuration files: every spelling ends in the field that it is for, wrong ones are refused by name, files come
 * in their order and before the command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/criu/command.h"
#include "migrate/criu/option_file.h"
#include "migrate/criu/option_forms.h"

enum { MAX_WORDS = 24 };

static struct err error;

/* Parses words that are put apart by blanks. */
static int parse(struct criu_command *c, const char *line)
{
	char text[400], *argv[MAX_WORDS], *rest = text;
	int argc = 0;

	snprintf(text, sizeof(text), "criu %s", line);
	for (char *word; (word = strsep(&rest, " "));) {
		assert_true(argc < MAX_WORDS);
		argv[argc++] = word;
	}
	assert_int_equal(criu_command_init(c, &error), 0);
	return criu_command_parse(c, argc, argv, &error);
}

static struct criu_command good(const char *line)
{
	struct criu_command c;

	if (parse(&c, line) != 0)
		fail_msg("%s: %s", line, error.text);
	return c;
}

static void refused(const char *line, const char *words)
{
	struct criu_command c;

	assert_int_equal(parse(&c, line), -1);
	assert_int_equal(error.kind, ERR_USAGE);
	if (!strstr(error.text, words))
		fail_msg("%s: \"%s\" does not say \"%s\"", line, error.text, words);
	criu_command_finish(&c);
}

static void options_stand_anywhere_in_any_spelling(void **state)
{
	static const char *const lines[] = {
		"dump -t 41 -D /i -R", "dump -t41 -D/i -R", "-R dump --tree 41 --images-dir /i", "--tree=41 --images-dir=/i dump --leave-running",
		"-Rt 41 -D /i dump", "dump --tre 41 --images /i --leave-r",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct criu_command c = good(lines[i]);

		assert_int_equal(c.words.n, 1);
		assert_string_equal(c.words.v[0], "dump");
		assert_int_equal(c.opts->pid, 41);
		assert_true(c.opts->has_pid && c.opts->leave_running);
		assert_string_equal(c.opts->images_dir, "/i");
		criu_command_finish(&c);
	}
}

static void levels_add_up_or_stand_for_themselves(void **state)
{
	static const struct { const char *line; int level; } cases[] = {
		{ "check", 2 }, { "check -v", 3 }, { "check -vv", 4 }, { "check -v -v", 4 }, { "check -v0", 0 }, { "check -v4", 4 },
		{ "check --verbosity", 3 }, { "check --verbosity=1", 1 }, { "check -vvvvvv", 4 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct criu_command c = good(cases[i].line);

		assert_int_equal(c.opts->log_level, cases[i].level);
		assert_int_equal(c.words.n, 1); /* a level is never taken from the next word */
		criu_command_finish(&c);
	}
}

static void capabilities_are_words(void **state)
{
	static const struct { const char *line; unsigned caps; } cases[] = {
		{ "dump --cpu-cap", 15 }, { "dump --cpu-cap=none", 0 }, { "dump --cpu-cap=fpu", 9 }, { "dump --cpu-cap=cpu,ins", 14 },
		{ "dump --cpu-cap=all,^cpu", 13 }, { "dump --cpu-cap=\tfpu,\tins\t", 13 }, { "dump --cpu-cap=^fpu", 12 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct criu_command c = good(cases[i].line);

		assert_true(c.opts->has_cpu_cap);
		assert_int_equal(c.opts->cpu_cap, cases[i].caps);
		criu_command_finish(&c);
	}
	refused("dump --cpu-cap=xyz", "--cpu-cap: 'xyz'");
	refused("dump --cpu-cap=fpu,xyz,ins", "--cpu-cap: 'xyz'");
	refused("dump --cpu-cap=fpu,", "--cpu-cap: ''");
}

static void flags_have_a_no_form(void **state)
{
	struct criu_command c = good("dump --track-mem --shell-job --no-track-mem --page-server --no-page-server --ext-unix-sk --no-ext-unix-sk");

	(void)state;
	assert_false(c.opts->track_mem);
	assert_true(c.opts->shell_job);
	assert_false(c.page_server);
	assert_false(c.opts->ext_unix_sk);
	criu_command_finish(&c);
	refused("dump --no-images-dir", "--no-images-dir: no such option");
	refused("dump --no-exec-cmd", "--no-exec-cmd: no such option");
}

static void pairs_become_messages(void **state)
{
	struct criu_command c = good("restore --veth-pair eth0=veth1 --ext-mount-map /a:b -M auto --cgroup-root /r --cgroup-root cpu:/c "
				     "--inherit-fd fd[7]:pipe[44] -J net:41,1,2 --ext-unix-sk=99 --empty-ns net --external mnt[]");
	const CriuOpts *o = c.opts;

	(void)state;
	assert_int_equal(o->n_veths, 1);
	assert_string_equal(o->veths[0]->if_in, "eth0");
	assert_string_equal(o->veths[0]->if_out, "veth1");
	assert_int_equal(o->n_ext_mnt, 1);
	assert_string_equal(o->ext_mnt[0]->val, "b");
	assert_true(o->auto_ext_mnt);
	assert_int_equal(o->n_cg_root, 2);
	assert_null(o->cg_root[0]->ctrl);
	assert_string_equal(o->cg_root[1]->ctrl, "cpu");
	assert_string_equal(o->cg_root[1]->path, "/c");
	assert_int_equal(o->n_inherit_fd, 1);
	assert_int_equal(o->inherit_fd[0]->fd, 7);
	assert_string_equal(o->inherit_fd[0]->key, "pipe[44]");
	assert_string_equal(o->join_ns[0]->ns_file, "41");
	assert_string_equal(o->join_ns[0]->extra_opt, "1,2");
	assert_true(o->ext_unix_sk);
	assert_int_equal(o->unix_sk_ino[0]->inode, 99);
	assert_int_equal(o->empty_ns, 0x40000000);
	assert_string_equal(o->external[0], "mnt[]");
	criu_command_finish(&c);
	refused("restore --veth-pair eth0", "--veth-pair: 'eth0'");
	refused("restore --inherit-fd 7:x", "--inherit-fd: '7:x'");
	refused("restore --inherit-fd fd[7]", "--inherit-fd");
	refused("restore --empty-ns pid", "--empty-ns: 'pid'");
}

static void modes_are_words(void **state)
{
	struct criu_command c = good("dump --manage-cgroups --pre-dump-mode read --network-lock skip --image-io-mode direct");

	(void)state;
	assert_int_equal(c.opts->manage_cgroups_mode, CRIU_CG_MODE__SOFT);
	assert_int_equal(c.opts->pre_dump_mode, CRIU_PRE_DUMP_MODE__VM_READ);
	assert_int_equal(c.opts->network_lock, CRIU_NETWORK_LOCK_METHOD__SKIP);
	assert_int_equal(c.opts->image_io_mode, CRIU_IMAGE_IO_MODE__DIRECT);
	criu_command_finish(&c);
	c = good("restore --manage-cgroups=none");
	assert_int_equal(c.opts->manage_cgroups_mode, CRIU_CG_MODE__CG_NONE);
	criu_command_finish(&c);
	refused("dump --manage-cgroups=x", "--manage-cgroups: 'x'");
	refused("dump --pre-dump-mode x", "--pre-dump-mode: 'x'");
}

static void what_a_command_alone_has_is_kept_by_it(void **state)
{
	struct criu_command c = good("restore -W /w -d -S --pidfile p --action-script /a --action-script b --address 127.0.0.1 --port 77 "
				     "--ps-socket 5 --close 9 --log-pid -L /plugins");

	(void)state;
	assert_string_equal(c.work_dir, "/w");
	assert_true(c.detach && c.opts->rst_sibling);
	assert_string_equal(c.pidfile, "p");
	assert_int_equal(c.scripts.n, 2);
	assert_string_equal(c.scripts.v[1], "b");
	assert_string_equal(c.address, "127.0.0.1");
	assert_int_equal(c.port, 77);
	assert_int_equal(c.ps_socket, 5);
	assert_string_equal(c.close_fds.v[0], "9");
	criu_command_finish(&c);
	refused("page-server --port 99999999999", "--port: '99999999999'");
}

static void what_stands_behind_two_dashes_is_a_command(void **state)
{
	struct criu_command c = good("restore --exec-cmd -- echo -v --tree 7");

	(void)state;
	assert_int_equal(c.opts->n_exec_cmd, 4);
	assert_string_equal(c.opts->exec_cmd[1], "-v");
	assert_false(c.opts->has_pid);
	assert_int_equal(c.words.n, 1);
	criu_command_finish(&c);
}

static void unknown_and_wrong_options_are_named(void **state)
{
	(void)state;
	refused("dump --nonsense", "--nonsense: no such option");
	refused("dump -q", "-q: no such option");
	refused("dump -Rq", "-q: no such option");
	refused("dump --leave", "--leave: several options begin like that");
	refused("dump --leave-running=maybe", "--leave-running: takes no value");
	refused("dump -t", "-t: wants a value: PID");
	refused("dump --tree x", "--tree: 'x'");
}

/* --- files ---------------------------------------------------------------------------------------------------------------------- */

static int note(void *arg, const char *name, const char *value, struct err *e)
{
	char *out = arg;
	size_t len = strlen(out);

	(void)e;
	snprintf(out + len, 400 - len, "<%s|%s>", name, value ? value : "");
	return 0;
}

static void lines_of_a_file_are_options(void **state)
{
	char text[] = "# all of it\n\ntree 41\n  leave-running  # it goes on\nimages-dir \"/my \\\"own\\\" # dir\" # not this\n"
		      "log-file=a.log\nwork-dir\t/w\r\nno-track-mem#x\nparent \"\"\n";
	char out[400] = "";
	struct err e = { 0 };

	(void)state;
	assert_int_equal(option_file_parse(text, note, out, &e), 0);
	assert_string_equal(out, "<tree|41><leave-running|><images-dir|/my \"own\" # dir><log-file|a.log><work-dir|/w><no-track-mem|><parent|>");
}

static void wrong_lines_of_a_file_are_named(void **state)
{
	static const struct { const char *text, *words; } cases[] = {
		{ "tree 1\n--leave-running\n", "line 2: '--leave-running'" },
		{ "\n\nimages-dir \"/x\n", "line 3" },
		{ "tree 1 2\n", "line 1: '2'" },
		{ "images-dir \"/a\"b\n", "line 1: 'b'" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[80], out[400] = "";
		struct err e = { 0 };

		snprintf(text, sizeof(text), "%s", cases[i].text);
		assert_int_equal(option_file_parse(text, note, out, &e), -1);
		assert_int_equal(e.kind, ERR_USAGE);
		assert_non_null(strstr(e.text, cases[i].words));
	}
}

/* --- tables --------------------------------------------------------------------------------------------------------------------- */

static void no_name_stands_in_both_tables(void **state)
{
	(void)state;
	for (const struct criu_own_option *o = criu_own_options; o->name; o++) {
		assert_null(rpc_option_by_cli(o->name, strlen(o->name)));
		assert_true(!o->short_name || !rpc_option_by_short(o->short_name));
		assert_true(o->text[strlen(o->text) - 1] == '.');
		assert_true((o->value == CRIU_FLAG) <= !o->argument);
	}
}

static void every_option_can_be_set(void **state)
{
	(void)state;
	for (const struct rpc_option *o = rpc_options; o->name; o++) {
		struct criu_command c;
		struct err e = { 0 };

		if (!o->cli)
			continue;
		assert_int_equal(criu_command_init(&c, &e), 0);
		if (option_arity(o) == OPTION_HAS_VALUE) {
			assert_non_null(o->argument);
			assert_int_equal(criu_command_set(&c, o->cli, strlen(o->cli), NULL, &e), -1);
			assert_non_null(strstr(e.text, "wants a value"));
		} else if (criu_command_set(&c, o->cli, strlen(o->cli), NULL, &e) != 0) {
			fail_msg("%s: %s", o->cli, e.text);
		}
		criu_command_finish(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_stand_anywhere_in_any_spelling),
		cmocka_unit_test(levels_add_up_or_stand_for_themselves),
		cmocka_unit_test(capabilities_are_words),
		cmocka_unit_test(flags_have_a_no_form),
		cmocka_unit_test(pairs_become_messages),
		cmocka_unit_test(modes_are_words),
		cmocka_unit_test(what_a_command_alone_has_is_kept_by_it),
		cmocka_unit_test(what_stands_behind_two_dashes_is_a_command),
		cmocka_unit_test(unknown_and_wrong_options_are_named),
		cmocka_unit_test(lines_of_a_file_are_options),
		cmocka_unit_test(wrong_lines_of_a_file_are_named),
		cmocka_unit_test(no_name_stands_in_both_tables),
		cmocka_unit_test(every_option_can_be_set),
	};

	/* No configuration of whoever runs this. */
	setenv("HOME", "/nonexistent", 1);
	unsetenv("CRIU_CONFIG_FILE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
