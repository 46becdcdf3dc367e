/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.h - from argv to the verb that does it: finds it in a table, parses its options, runs it, reports its error, gives the exit code.
 * Also --help, --version, `VERB --help`, and for what is made from tables `--man-options VERB` (man pages) and `--doc NAME` (docs/). Threads: the main one. */
#ifndef DRAY_MIGRATE_VERBS_H
#define DRAY_MIGRATE_VERBS_H

#include "migrate/cli/opt.h"

struct verb {
	const struct opt_command *command;
	int (*run)(const void *config, struct err *e); /* the command's config; 0 or -1 */
};

/* Verbs with a syntax of their own. */
struct verb_family {
	bool (*has)(const char *name);
	void (*print)(FILE *out);            /* a line for each: "  %-12s %s" of name and summary */
	int (*main)(int argc, char **argv);  /* of the whole command line; with --man-options alone behind the verb these are printed. The exit code */
};

/* verbs ends with a NULL command. more: NULL, or verbs that are not in it. Returns the process's exit code. */
int verbs_main(const struct verb *verbs, const struct verb_family *more, int argc, char **argv);

#endif
