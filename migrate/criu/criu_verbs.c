/* SPDX-License-Identifier: Apache-2.0 */
/* The table of verbs, and their options in the form that help and man pages are made from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/criu/criu_call.h"
#include "migrate/criu/option_forms.h"

enum { TEXT_MAX = 700, ARGUMENT_MAX = 32 };

const struct criu_verb criu_verbs[] = {
	{ "dump", NULL, RPC_OP_DUMP, true, false, "Writes a tree of processes into images.", criu_run_dump },
	{ "pre-dump", NULL, RPC_OP_PRE_DUMP, true, false, "Writes the memory of a tree into images while it runs on.", criu_run_pre_dump },
	{ "restore", NULL, RPC_OP_RESTORE, true, false, "Makes a tree of processes from images.", criu_run_restore },
	{ "check", NULL, RPC_OP_CHECK, false, false, "Checks whether the kernel has what is needed.", criu_run_check },
	{ "page-server", NULL, RPC_OP_PAGE_SERVER, true, true, "Receives the pages of one dump.", criu_run_page_server },
	{ "service", NULL, CRIU_OP_SERVICE, true, true, "Answers requests of CRIU's RPC on a unix socket.", criu_run_service },
	{ "swrk", "FD", CRIU_OP_SWRK, false, true, "Answers requests of CRIU's RPC on a socket that was inherited.", criu_run_swrk },
	{ "dedup", NULL, CRIU_OP_DEDUP, true, false, "Frees the room of pages that later images have too.", criu_run_dedup },
	{ "cpuinfo", "dump|check", RPC_OP_CPUINFO, true, false, "Writes what the processor can do into an image, or compares it with one.",
	  criu_run_cpuinfo },
	{ "lazy-pages", NULL, CRIU_OP_LAZY_PAGES, true, false, "Gives restored trees the pages that they were restored without.", criu_run_lazy_pages },
	{ .name = NULL },
};

const struct criu_verb *criu_verb_find(const char *name)
{
	for (const struct criu_verb *v = criu_verbs; v->name; v++) {
		if (strcmp(v->name, name) == 0)
			return v;
	}
	return NULL;
}

/* --- help ----------------------------------------------------------------------------------------------------------------------- */

/* One allocation: what opt.h wants, the rows, their texts. */
struct made_command {
	struct opt_command command;
	size_t rows, positionals, room;
	struct opt none;
	struct opt word[2];
	struct row { struct opt opt; char text[TEXT_MAX], argument[ARGUMENT_MAX]; } *row;
	struct opt *options;
};

/* Not before a text that begins with them. */
static const char *standing_words(enum rpc_standing s, const char *text)
{
	if (strncmp(text, "Refused", 7) == 0 || strncmp(text, "Accepted", 8) == 0)
		return "";
	return s == RPC_REFUSED ? "Refused. " : s == RPC_ACCEPTED ? "Accepted without effect. " : "";
}

static enum rpc_standing standing_of(const struct rpc_option *o, unsigned ops)
{
	return rpc_option_refused_for(o) & ops ? RPC_REFUSED : o->native;
}

static bool add(struct made_command *m, const char *name, char letter, const char *argument, bool may_lack, enum rpc_standing s, const char *text)
{
	struct row *r = reallocarray(m->row, m->rows + 1, sizeof(*r));

	if (!r)
		return false;
	m->row = r;
	r += m->rows++;
	snprintf(r->text, sizeof(r->text), "%s%s", standing_words(s, text), text);
	snprintf(r->argument, sizeof(r->argument), may_lack ? "[%s]" : "%s", argument ? argument : "");
	r->opt = (struct opt){ .name = name, .short_name = letter, .type = argument ? OPT_STRING : OPT_FLAG };
	return true;
}

static bool add_rows(struct made_command *m, unsigned ops)
{
	bool good = true;

	for (const struct rpc_option *o = rpc_options; good && o->name; o++) {
		bool may_lack = o->cli && option_arity(o) == OPTION_MAY_HAVE_VALUE && o->argument;

		/* What every request has (directories, the log) the verbs have too that are none. */
		if (o->cli && (o->ops & ops || (o->ops & RPC_OPS_ALL) == RPC_OPS_ALL))
			good = add(m, o->cli, o->cli_short, o->argument, may_lack, standing_of(o, ops), rpc_option_text(o, RPC_WORDS_CLI));
	}
	for (const struct criu_own_option *o = criu_own_options; good && o->name; o++) {
		if (o->ops & ops)
			good = add(m, o->name, o->short_name, o->argument, false, o->standing, o->text);
	}
	return good;
}

/* Pointers into the rows, now that these stay where they are. */
static bool link_rows(struct made_command *m)
{
	m->options = calloc(m->rows + 1, sizeof(*m->options));
	for (size_t i = 0; m->options && i < m->rows; i++) {
		m->options[i] = m->row[i].opt;
		m->options[i].help = m->row[i].text;
		m->options[i].argument = m->row[i].argument[0] ? m->row[i].argument : NULL;
	}
	return m->options;
}

struct opt_command *criu_verb_command(const struct criu_verb *v, const char *program)
{
	struct made_command *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->command = (struct opt_command){ .program = program, .name = v->name, .summary = v->summary, .positionals = &m->none };
	if (v->word) {
		m->word[0] = (struct opt){ .name = v->word, .type = OPT_STRING, .help = strcmp(v->word, "FD") == 0 ? "The descriptor of the socket." : "What is to be done." };
		m->command.positionals = m->word;
	}
	if (!add_rows(m, v->ops) || !link_rows(m)) {
		criu_verb_command_free(&m->command);
		return NULL;
	}
	m->command.options = m->options;
	return &m->command;
}

void criu_verb_command_free(struct opt_command *c)
{
	struct made_command *m = (struct made_command *)c;

	free(m->options);
	free(m->row);
	free(m);
}
