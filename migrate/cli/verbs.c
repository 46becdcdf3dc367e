/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/verbs.h"

#include <stdlib.h>
#include <string.h>

#include "migrate/cli/doc_tables.h"
#include "proto/base/cleanup.h"

static void print_verbs(const struct verb *verbs, const struct verb_family *more, FILE *out)
{
	fputs("usage: dray VERB [ARGUMENT]...\nMoves running processes to other hosts.\n\nVerbs:\n", out);
	for (const struct verb *v = verbs; v->command; v++)
		fprintf(out, "  %-12s %s\n", v->command->name, v->command->summary);
	if (more)
		more->print(out);
	fputs("\n`dray VERB --help` shows what a verb takes. `dray --version` shows the version.\n", out);
}

static const struct verb *find(const struct verb *verbs, const char *name)
{
	for (const struct verb *v = verbs; v->command; v++) {
		if (strcmp(v->command->name, name) == 0)
			return v;
	}
	return NULL;
}

/* Help that could not be written (a full disk, a closed pipe) is a failure like any other. */
static int flushed(void)
{
	return fflush(stdout) != 0 || ferror(stdout) ? err_exit_code(ERR_SYSTEM) : 0;
}

static int unknown_verb(const char *name)
{
	fprintf(stderr, "dray: %s: no such %s; `dray --help` lists them\n", name, name[0] == '-' ? "option" : "verb");
	return err_exit_code(ERR_USAGE);
}

static int run(const struct verb *v, int argc, char **argv)
{
	cleanup_free void *config = calloc(1, v->command->config_size);
	struct err e = { 0 };
	int rc;

	if (!config)
		return err_exit_code(ERR_SYSTEM);
	rc = opt_parse(v->command, argc, argv, config, &e);
	if (rc == OPT_HELP) {
		opt_print_help(v->command, stdout);
		return flushed();
	}
	if (rc == OPT_PARSED)
		rc = v->run(config, &e);
	if (rc == 0)
		return flushed();
	fprintf(stderr, "dray %s: %s\n", v->command->name, e.text);
	rc = err_exit_code(e.kind);
	return rc ? rc : err_exit_code(ERR_INTERNAL);
}

static int man_options(const struct verb *verbs, const struct verb_family *more, char **argv)
{
	char *name = argv[2];
	const struct verb *v = name ? find(verbs, name) : NULL;

	if (!v && name && more && more->has(name))
		return more->main(3, (char *[]){ argv[0], name, argv[1], NULL });
	if (!v)
		return unknown_verb(name ? name : "--man-options");
	opt_print_man(v->command, stdout);
	return flushed();
}

int verbs_main(const struct verb *verbs, const struct verb_family *more, int argc, char **argv)
{
	const struct verb *v;

	if (argc < 2) {
		print_verbs(verbs, more, stderr);
		return err_exit_code(ERR_USAGE);
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_verbs(verbs, more, stdout);
		return flushed();
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("dray " DRAY_VERSION);
		return flushed();
	}
	if (strcmp(argv[1], "--man-options") == 0)
		return man_options(verbs, more, argv);
	if (strcmp(argv[1], "--doc") == 0)
		return argc == 3 && doc_table_print(argv[2], stdout) ? flushed() : unknown_verb(argv[1]);
	v = find(verbs, argv[1]);
	if (v)
		return run(v, argc - 1, argv + 1);
	return more && more->has(argv[1]) ? more->main(argc, argv) : unknown_verb(argv[1]);
}
