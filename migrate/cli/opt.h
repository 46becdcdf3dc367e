/* SPDX-License-Identifier: Apache-2.0 */
/* opt.h - the command line from tables: one row an option gives its parsing, its validation, --help and the man page.
 *
 * A value lands in the caller's config struct at the row's offset; afterwards the config is passed on as const. Options and positional
 * arguments may stand in any order, "--name=value", "--name value", "-n value" and "-nvalue" are the same, "--" ends the options,
 * the last of a repeated option counts. Every table has --help beyond its rows.
 * Threads: any; no state. Ownership: strings in a config point into argv or the table. Fails: err of kind ERR_USAGE that names the
 * option and what is allowed. */
#ifndef DRAY_MIGRATE_OPT_H
#define DRAY_MIGRATE_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/err.h"

enum opt_type {
	OPT_FLAG,   /* bool; takes no value */
	OPT_NUMBER, /* uint64_t */
	OPT_BYTES,  /* uint64_t; suffixes K, M, G, T are powers of 1024 */
	OPT_MS,     /* uint64_t milliseconds; suffixes ms, s, m, h */
	OPT_STRING, /* const char * */
	OPT_CHOICE, /* int: the value of a choice */
};

struct opt_choice { const char *name; int value; };

struct opt {
	const char *name; /* without dashes; of a positional: as it stands in the synopsis */
	char short_name;  /* 0: none */
	enum opt_type type;
	size_t offset;
	const char *argument; /* what --help calls its value */
	uint64_t min, max;    /* of numbers; max 0: no upper bound */
	const struct opt_choice *choices; /* ends with a NULL name */
	const char *preset;   /* the default as one would type it; NULL: zero */
	bool optional;        /* of a positional: may be left out */
	/* Prose for --help and the man page: plain text. The default and the choices are added from the row itself. */
	const char *help;
};

struct opt_command {
	const char *program; /* NULL: dray */
	const char *name;    /* the verb */
	const char *summary; /* one line */
	const char *about;   /* a paragraph, or NULL */
	const struct opt *options;     /* ends with a NULL name */
	const struct opt *positionals; /* ends with a NULL name */
	size_t config_size;
	/* Whether the values go together; NULL: always. 0, or -1 with ERR_USAGE that names the options. */
	int (*check)(const void *config, struct err *e);
};

enum opt_result { OPT_PARSED = 0, OPT_HELP = 1 };

/* Sets every row's default, then parses argv[1..argc). argv[0] is the verb. OPT_PARSED, OPT_HELP (--help was seen: the config
 * is not to be used) or -1. */
int opt_parse(const struct opt_command *c, int argc, char **argv, void *config, struct err *e);

void opt_print_help(const struct opt_command *c, FILE *out);
void opt_print_man(const struct opt_command *c, FILE *out); /* the .Bl list of the man page, mdoc */

/* The values alone, for tests and for other texts (environment, files). 0 or -1 with what is allowed in e. */
int opt_parse_number(const char *text, enum opt_type type, uint64_t *value, struct err *e);

#endif
