/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/criu/criu_main.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "migrate/criu/criu_call.h"
#include "proto/base/log.h"

/* Scripts and clients compare it; docs/rpc.md says what it stands for. */
#define CRIU_VERSION "4.2"

enum { CRIU_FAILED = 1 };

bool criu_is_name(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return path && strcmp(slash ? slash + 1 : path, "criu") == 0;
}

static int exit_code(bool as_criu, enum err_kind kind)
{
	int code = as_criu ? CRIU_FAILED : err_exit_code(kind);

	return code ? code : CRIU_FAILED;
}

static int flushed(void)
{
	return fflush(stdout) != 0 || ferror(stdout) ? CRIU_FAILED : 0;
}

static void print_verbs(FILE *out)
{
	fputs("usage: criu VERB [OPTION]...\nDrayage, answering as criu " CRIU_VERSION " does.\n\nVerbs:\n", out);
	for (const struct criu_verb *v = criu_verbs; v->name; v++) {
		char name[32];

		snprintf(name, sizeof(name), "%s %s", v->name, v->word ? v->word : "");
		fprintf(out, "  %-20s %s\n", name, v->summary);
	}
	fputs("\n`criu VERB --help` lists a verb's options. `criu --version` shows the version.\n", out);
}

static int print_version(void)
{
	puts("Version: " CRIU_VERSION "\nDrayage " DRAY_VERSION);
	return flushed();
}

static int print_options(const struct criu_verb *v, bool as_criu, void print(const struct opt_command *, FILE *))
{
	struct opt_command *command = criu_verb_command(v, as_criu ? "criu" : "dray");

	if (!command)
		return CRIU_FAILED;
	print(command, stdout);
	criu_verb_command_free(command);
	return flushed();
}

static int usage(bool as_criu, const char *what, const char *words)
{
	fprintf(stderr, "%s%s%s; `%s --help` lists the verbs\n", as_criu ? "criu: " : "dray: ", what, words, as_criu ? "criu" : "dray");
	return exit_code(as_criu, ERR_USAGE);
}

static int check_words(const struct criu_verb *v, const struct criu_list *words, struct err *e)
{
	if (words->n > (v->word ? 2u : 1u))
		return err_set(e, ERR_USAGE, 0, "'%.60s' is one argument too many", words->v[words->n - 1]);
	if (v->word && words->n < 2)
		return err_set(e, ERR_USAGE, 0, "%s is missing behind the verb", v->word);
	return 0;
}

/* The exit status. */
static int run(const struct criu_verb *v, struct criu_call *c)
{
	struct err e = { 0 };
	int rc = check_words(v, &c->command.words, &e);

	if (rc == 0)
		rc = criu_call_hand_over(c, v->ops, &e);
	if (rc == 0 && v->directories)
		rc = criu_call_open(c, &e);
	if (rc == 0) {
		log_event(LOG_INFO, "verb", "name=%s version=" DRAY_VERSION, v->name);
		rc = v->run(c, &e);
	}
	if (rc >= 0)
		return rc ? rc : flushed();
	if (c->own_stderr >= 0)
		log_event(LOG_ERROR, "failed", "verb=%s error=\"%s\"", v->name, e.text);
	dprintf(criu_call_stderr(c), "%s %s: %s\n", c->as_criu ? "criu" : "dray", v->name, e.text);
	return exit_code(c->as_criu, e.kind);
}

static int dispatch(struct criu_call *c)
{
	const struct criu_list *words = &c->command.words;
	const struct criu_verb *v = words->n ? criu_verb_find(words->v[0]) : NULL;

	if (c->command.version)
		return print_version();
	if (words->n && !v)
		return usage(c->as_criu, words->v[0], ": no such verb");
	if (v)
		return c->command.help ? print_options(v, c->as_criu, opt_print_help) : run(v, c);
	print_verbs(c->command.help ? stdout : stderr);
	return c->command.help ? flushed() : exit_code(c->as_criu, ERR_USAGE);
}

static int parse_and_run(int argc, char **argv, bool as_criu)
{
	struct criu_call c = { .as_criu = as_criu, .images = -1, .work = -1, .own_stderr = -1, .argc = argc, .argv = argv };
	struct err e = { 0 };
	int status;

	if (criu_command_init(&c.command, &e) == 0 && criu_command_parse(&c.command, argc, argv, &e) == 0) {
		status = dispatch(&c);
	} else {
		fprintf(stderr, "%s: %s\n", as_criu ? "criu" : "dray", e.text);
		status = exit_code(as_criu, e.kind);
	}
	criu_call_finish(&c);
	return status;
}

int criu_main(int argc, char **argv)
{
	return parse_and_run(argc, argv, true);
}

/* --- as verbs of dray ----------------------------------------------------------------------------------------------------------- */

static bool is_verb_of_dray(const char *name)
{
	const struct criu_verb *v = criu_verb_find(name);

	return strcmp(name, "criu") == 0 || (v && !v->own_of_dray);
}

static void print_verbs_of_dray(FILE *out)
{
	for (const struct criu_verb *v = criu_verbs; v->name; v++) {
		if (!v->own_of_dray)
			fprintf(out, "  %-12s %s\n", v->name, v->summary);
	}
	fprintf(out, "  %-12s %s\n", "criu", "Answers as criu does: its verbs, options and exit codes.");
}

static int main_of_dray(int argc, char **argv)
{
	const struct criu_verb *v = criu_verb_find(argv[1]);

	if (!v)
		return criu_main(argc - 1, argv + 1);
	if (argc == 3 && strcmp(argv[2], "--man-options") == 0)
		return print_options(v, false, opt_print_man);
	return parse_and_run(argc, argv, false);
}

const struct verb_family criu_verbs_of_dray = { is_verb_of_dray, print_verbs_of_dray, main_of_dray };
