/* SPDX-License-Identifier: Apache-2.0 */
/* criu_call.h - one call of a verb of criu: what was asked for, and the directories and the log that it works with.
 * Threads: the main one, the only one of its process: directory, standard error and umask are changed. */
#ifndef DRAY_MIGRATE_CRIU_CALL_H
#define DRAY_MIGRATE_CRIU_CALL_H

#include <stdbool.h>

#include "migrate/cli/opt.h"
#include "migrate/criu/command.h"

struct criu_call {
	struct criu_command command;
	bool as_criu;    /* criu's exit codes and words */
	int images, work; /* open directories, -1 before criu_call_open; the process is in the second one then */
	int own_stderr;  /* what standard error was before a log file took its place; -1 */
	int argc;        /* the command line, borrowed */
	char **argv;
};

/* Opens the directories and the log file, sets the level of logging. */
int criu_call_open(struct criu_call *c, struct err *e);
void criu_call_finish(struct criu_call *c);
/* Becomes the installed criu, with the same command line, when the engine is to be that one (migrate/rpc/engine.h). Before criu_call_open. 0: it is
 * not; -1. */
int criu_call_hand_over(struct criu_call *c, unsigned ops, struct err *e);
/* The command line as criu itself takes it; ends with NULL; the array is the caller's. NULL without memory. */
char **criu_call_stock_argv(const struct criu_call *c);
/* Standard error as it was: where a person reads, though there is a log file. */
int criu_call_stderr(const struct criu_call *c);

/* A verb: the exit status, or -1 with e set. */
typedef int criu_run(struct criu_call *c, struct err *e);

struct criu_verb {
	const char *name;
	const char *word;     /* what has to stand behind it; NULL: nothing */
	unsigned ops;         /* whose options it has */
	bool directories;     /* criu_call_open comes first */
	bool own_of_dray;     /* dray has a verb of that name, with options of its own */
	const char *summary;
	criu_run *run;
};
extern const struct criu_verb criu_verbs[]; /* ends with a NULL name */
const struct criu_verb *criu_verb_find(const char *name);
/* Its options as dray's own verbs have theirs, for help and man page: rows and texts are the caller's, freed with criu_verb_command_free. NULL
 * without memory. */
struct opt_command *criu_verb_command(const struct criu_verb *v, const char *program);
void criu_verb_command_free(struct opt_command *c);

/* --- the verbs --- */
criu_run criu_run_dump, criu_run_pre_dump, criu_run_restore, criu_run_cpuinfo; /* requests, as the RPC's */
criu_run criu_run_page_server, criu_run_service, criu_run_swrk;
criu_run criu_run_check, criu_run_dedup, criu_run_lazy_pages;

#endif
