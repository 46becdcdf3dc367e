/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/criu/command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/cli/opt.h"
#include "migrate/criu/option_file.h"
#include "migrate/criu/option_forms.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { FILE_MAX = 64 * 1024 };
#define SYSTEM_FILE "/etc/criu/default.conf"
#define USER_FILE ".criu/default.conf"

static int no_memory(struct err *e)
{
	return err_set(e, ERR_SYSTEM, ENOMEM, "command line");
}

static int list_add(struct criu_list *l, const char *text, struct err *e)
{
	char *copy = strdup(text), **more = copy ? reallocarray(l->v, l->n + 1, sizeof(*more)) : NULL;

	if (!more) {
		free(copy);
		return no_memory(e);
	}
	l->v = more;
	l->v[l->n++] = copy;
	return 0;
}

static void list_finish(struct criu_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct criu_list){ .v = NULL };
}

int criu_command_init(struct criu_command *c, struct err *e)
{
	*c = (struct criu_command){ .port = -1, .ps_socket = -1, .status_fd = -1, .ps_layout = -1, .streams = -1, .opts = malloc(sizeof(*c->opts)) };
	if (!c->opts)
		return no_memory(e);
	criu_opts__init(c->opts);
	return 0;
}

void criu_command_finish(struct criu_command *c)
{
	list_finish(&c->words);
	list_finish(&c->scripts);
	list_finish(&c->close_fds);
	list_finish(&c->ignored);
	free(c->work_dir);
	free(c->pidfile);
	free(c->address);
	free(c->feature);
	free(c->engine);
	free(c->criu);
	free(c->ps_protocol);
	if (c->opts)
		criu_opts__free_unpacked(c->opts, NULL);
	*c = (struct criu_command){ .opts = NULL };
}

/* --- an option of either table -------------------------------------------------------------------------------------------------- */

struct option { const struct rpc_option *rpc; const struct criu_own_option *own; bool negated; };

static bool found(const struct option *o)
{
	return o->rpc || o->own;
}

static enum option_arity arity(const struct option *o)
{
	return o->rpc ? option_arity(o->rpc) : o->own->argument ? OPTION_HAS_VALUE : OPTION_ALONE;
}

static struct option find_whole(const char *name, size_t len)
{
	struct option o = { .rpc = rpc_option_by_cli(name, len) };

	for (const struct criu_own_option *row = criu_own_options; !o.rpc && row->name; row++) {
		if (strlen(row->name) == len && memcmp(row->name, name, len) == 0)
			o.own = row;
	}
	return o;
}

/* How many names begin so; *o is one of them. */
static unsigned count_beginning(const char *name, size_t len, struct option *o)
{
	unsigned n = 0;

	for (const struct rpc_option *row = rpc_options; row->name; row++) {
		if (row->cli && strncmp(row->cli, name, len) == 0)
			*o = (struct option){ .rpc = row }, n++;
	}
	for (const struct criu_own_option *row = criu_own_options; row->name; row++) {
		if (strncmp(row->name, name, len) == 0)
			*o = (struct option){ .own = row }, n++;
	}
	return n;
}

static struct option find_negated(const char *name, size_t len)
{
	struct option o = { .rpc = NULL };

	if (len > 3 && strncmp(name, "no-", 3) == 0)
		o = find_whole(name + 3, len - 3);
	if (found(&o) && (arity(&o) == OPTION_HAS_VALUE || (o.rpc && rpc_option_field(o.rpc)->type != PROTOBUF_C_TYPE_BOOL)))
		o = (struct option){ .rpc = NULL };
	o.negated = true;
	return o;
}

static int find(const char *name, size_t len, struct option *o, struct err *e)
{
	unsigned n;

	*o = find_whole(name, len);
	if (!found(o))
		*o = find_negated(name, len);
	if (found(o))
		return 0;
	n = len ? count_beginning(name, len, o) : 0;
	if (n == 1)
		return 0;
	return err_set(e, ERR_USAGE, 0, "%s; --help lists them", n ? "several options begin like that" : "no such option");
}

static int set_own(struct criu_command *c, const struct criu_own_option *o, const char *value, struct err *e)
{
	void *field = (char *)c + o->offset;
	uint64_t n;
	char *copy;

	switch (o->value) {
	case CRIU_FLAG:
		*(bool *)field = !value;
		return 0;
	case CRIU_NUMBER:
		if (opt_parse_number(value, OPT_NUMBER, &n, e) != 0)
			return -1;
		*(int *)field = (int)n;
		return n <= INT_MAX ? 0 : err_set(e, ERR_USAGE, 0, "'%.20s' is too large", value);
	case CRIU_STRING:
		copy = strdup(value);
		if (!copy)
			return no_memory(e);
		free(*(char **)field);
		*(char **)field = copy;
		return 0;
	case CRIU_LIST:
		return list_add(field, value ? value : "", e);
	}
	return err_set(e, ERR_INTERNAL, 0, "option of an unknown type");
}

/* shown: as it was typed. */
static int set(struct criu_command *c, const struct option *o, const char *shown, const char *value, struct err *e)
{
	int rc;

	if (arity(o) == OPTION_ALONE && value)
		rc = err_set(e, ERR_USAGE, 0, "takes no value");
	else if (arity(o) == OPTION_HAS_VALUE && !value)
		rc = err_set(e, ERR_USAGE, 0, "wants a value: %s", o->rpc ? o->rpc->argument : o->own->argument);
	else if (o->rpc)
		rc = option_form_set(o->rpc, c->opts, o->negated ? "no" : value, e);
	else
		rc = set_own(c, o->own, o->negated ? "no" : value, e);
	return rc != 0 ? err_wrap(e, "%s", shown) : 0;
}

int criu_command_set(struct criu_command *c, const char *name, size_t len, const char *value, struct err *e)
{
	char shown[64];
	struct option o;

	snprintf(shown, sizeof(shown), "%.*s", (int)(len < 60 ? len : 60), name);
	return find(name, len, &o, e) != 0 ? err_wrap(e, "%s", shown) : set(c, &o, shown, value, e);
}

/* --- files ---------------------------------------------------------------------------------------------------------------------- */

static int take_file_line(void *arg, const char *name, const char *value, struct err *e)
{
	return criu_command_set(arg, name, strlen(name), value, e);
}

int criu_command_read_file(struct criu_command *c, const char *path, struct err *e)
{
	cleanup_free char *text = file_read(AT_FDCWD, path, FILE_MAX, NULL, e);

	if (!text && e->num != ENOENT)
		return -1;
	if (!text) {
		err_clear(e);
		return 0;
	}
	return option_file_parse(text, take_file_line, c, e) != 0 ? err_wrap(e, "%s", path) : 1;
}

static int read_user_file(struct criu_command *c, struct err *e)
{
	const char *home = getenv("HOME");
	cleanup_free char *path = NULL;

	if (!home || !home[0])
		return 0;
	if (asprintf(&path, "%s/" USER_FILE, home) < 0) {
		path = NULL;
		return no_memory(e);
	}
	return criu_command_read_file(c, path, e);
}

/* What the command line says of files comes before everything else that it says. */
static int read_files(struct criu_command *c, const char *named, bool no_defaults, struct err *e)
{
	const char *more = getenv("CRIU_CONFIG_FILE");

	if (!named && !no_defaults && (criu_command_read_file(c, SYSTEM_FILE, e) < 0 || read_user_file(c, e) < 0))
		return -1;
	if (more && more[0] && criu_command_read_file(c, more, e) < 0)
		return -1;
	return named && criu_command_read_file(c, named, e) < 0 ? -1 : 0;
}

/* --- command line --------------------------------------------------------------------------------------------------------------- */

struct cursor { int argc, next; char **argv; };

/* attached: what stood behind `=` or the letter, or NULL. */
static int take(struct criu_command *c, const struct option *o, const char *shown, const char *attached, struct cursor *at, struct err *e)
{
	if (!attached && arity(o) == OPTION_HAS_VALUE && at->next < at->argc)
		attached = at->argv[at->next++];
	return set(c, o, shown, attached, e);
}

static int take_long(struct criu_command *c, const char *arg, struct cursor *at, struct err *e)
{
	size_t len = strcspn(arg + 2, "=");
	char shown[64];
	struct option o;

	snprintf(shown, sizeof(shown), "--%.*s", (int)(len < 60 ? len : 60), arg + 2);
	if (find(arg + 2, len, &o, e) != 0)
		return err_wrap(e, "%s", shown);
	return take(c, &o, shown, arg[2 + len] == '=' ? arg + 3 + len : NULL, at, e);
}

static struct option find_short(char letter)
{
	struct option o = { .rpc = rpc_option_by_short(letter) };

	for (const struct criu_own_option *row = criu_own_options; !found(&o) && row->name; row++) {
		if (row->short_name == letter)
			o.own = row;
	}
	return o;
}

/* One or more letters: flags may be put together, the first that can have a value has the rest. */
static int take_short(struct criu_command *c, const char *arg, struct cursor *at, struct err *e)
{
	for (const char *p = arg + 1; *p; p++) {
		struct option o = find_short(*p);
		char shown[] = { '-', *p, '\0' };

		if (!found(&o))
			return err_set(e, ERR_USAGE, 0, "%s: no such option; --help lists them", shown);
		if (arity(&o) != OPTION_ALONE)
			return take(c, &o, shown, p[1] ? p + 1 : NULL, at, e);
		if (set(c, &o, shown, NULL, e) != 0)
			return -1;
	}
	return 0;
}

/* What is to be run when all is done. */
static int take_rest(struct criu_command *c, struct cursor *at, struct err *e)
{
	struct criu_list l = { c->opts->exec_cmd, c->opts->n_exec_cmd };
	int rc = 0;

	while (rc == 0 && at->next < at->argc)
		rc = list_add(&l, at->argv[at->next++], e);
	c->opts->exec_cmd = l.v;
	c->opts->n_exec_cmd = l.n;
	return rc;
}

static bool is(const char *arg, const char *letter, const char *word)
{
	return strcmp(arg, letter) == 0 || strcmp(arg, word) == 0;
}

static int take_argument(struct criu_command *c, const char *arg, struct cursor *at, struct err *e)
{
	if (strcmp(arg, "--") == 0)
		return take_rest(c, at, e);
	if (is(arg, "-h", "--help"))
		return c->help = true, 0;
	if (is(arg, "-V", "--version"))
		return c->version = true, 0;
	if (arg[0] == '-' && arg[1])
		return arg[1] == '-' ? take_long(c, arg, at, e) : take_short(c, arg, at, e);
	return list_add(&c->words, arg, e);
}

static int read_argv(struct criu_command *c, int argc, char **argv, struct err *e)
{
	struct cursor at = { .argc = argc, .next = 1, .argv = argv };

	while (at.next < argc) {
		if (take_argument(c, argv[at.next++], &at, e) != 0)
			return -1;
	}
	return 0;
}

/* The file that --config names was read already. */
static void forget_config_file(struct criu_command *c)
{
	free(c->opts->config_file);
	c->opts->config_file = NULL;
}

/* What has no effect where pages go to no page server, nor come from one. */
static const char *where_option(const struct criu_command *c)
{
	const CriuOpts *o = c->opts;
	const struct { bool given; const char *name; } options[] = {
		{ c->address, "--address" }, { c->port >= 0, "--port" }, { c->ps_socket >= 0, "--ps-socket" }, { c->ps_protocol, "--ps-protocol" },
		{ c->ps_layout >= 0, "--ps-layout" }, { c->streams >= 0, "--streams" }, { o->tls, "--tls" }, { o->tls_cacert, "--tls-cacert" },
		{ o->tls_cacrl, "--tls-cacrl" }, { o->tls_cert, "--tls-cert" }, { o->tls_key, "--tls-key" }, { o->tls_no_cn_verify, "--tls-no-cn-verify" },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (options[i].given)
			return options[i].name;
	}
	return NULL;
}

int criu_command_parse(struct criu_command *c, int argc, char **argv, struct err *e)
{
	struct criu_command first = { .opts = NULL };
	int rc = criu_command_init(&first, e);

	if (rc == 0)
		rc = read_argv(&first, argc, argv, e);
	if (rc == 0)
		c->typed_where = where_option(&first);
	if (rc == 0 && !first.help && !first.version)
		rc = read_files(c, first.opts->config_file, first.no_default_config, e);
	criu_command_finish(&first);
	if (rc == 0)
		rc = read_argv(c, argc, argv, e);
	forget_config_file(c);
	return rc;
}
