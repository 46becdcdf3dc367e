/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/opt.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

struct unit { const char *suffix; uint64_t factor; };

static const struct unit byte_units[] = { { "", 1 }, { "K", 1ull << 10 }, { "M", 1ull << 20 }, { "G", 1ull << 30 },
					  { "T", 1ull << 40 }, { NULL, 0 } };
static const struct unit time_units[] = { { "", 1 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { NULL, 0 } };
static const struct unit no_units[] = { { "", 1 }, { NULL, 0 } };

static const struct unit *units_of(enum opt_type type)
{
	return type == OPT_BYTES ? byte_units : type == OPT_MS ? time_units : no_units;
}

static const char *what_is_allowed(enum opt_type type)
{
	return type == OPT_BYTES ? "a number of bytes, with K, M, G or T behind it if you like" :
	       type == OPT_MS ? "a number of milliseconds, or with s, m or h behind it" : "a number";
}

int opt_parse_number(const char *text, enum opt_type type, uint64_t *value, struct err *e)
{
	const struct unit *u;
	const char *p = text;
	uint64_t v = 0;

	for (; isdigit((unsigned char)*p); p++) {
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return err_set(e, ERR_USAGE, 0, "'%.40s' is too large", text);
	}
	for (u = units_of(type); u->suffix && strcasecmp(p, u->suffix) != 0; u++)
		;
	if (p == text || !u->suffix)
		return err_set(e, ERR_USAGE, 0, "'%.40s' is not %s", text, what_is_allowed(type));
	if (__builtin_mul_overflow(v, u->factor, &v))
		return err_set(e, ERR_USAGE, 0, "'%.40s' is too large", text);
	*value = v;
	return 0;
}

/* "auto, lz4 or none" */
static void list_choices(const struct opt_choice *c, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; c[i].name && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s", i == 0 ? "" : c[i + 1].name ? ", " : " or ", c[i].name);
}

/* A bound or default as one would type it: the largest unit that divides it. */
static void format_number(enum opt_type type, uint64_t v, char *buf, size_t size)
{
	const struct unit *best = NULL;

	for (const struct unit *u = units_of(type); u->suffix; u++) {
		if (v % u->factor == 0 && v >= u->factor && u->suffix[0])
			best = u;
	}
	if (best && v != 0)
		snprintf(buf, size, "%" PRIu64 "%s%s", v / best->factor, type == OPT_MS ? " " : "", best->suffix);
	else
		snprintf(buf, size, "%" PRIu64, v);
}

/* "1 to 16", "at least 1", or nothing */
static bool format_bounds(const struct opt *o, char *buf, size_t size)
{
	char low[32], high[32];

	if (o->type == OPT_FLAG || o->type == OPT_STRING || o->type == OPT_CHOICE || (o->min == 0 && o->max == 0))
		return false;
	format_number(o->type, o->min, low, sizeof(low));
	format_number(o->type, o->max, high, sizeof(high));
	if (o->max == 0)
		snprintf(buf, size, "at least %s", low);
	else
		snprintf(buf, size, "%s to %s", low, high);
	return true;
}

static int set_choice(const struct opt *o, const char *text, int *field, struct err *e)
{
	char all[160];

	for (const struct opt_choice *c = o->choices; c->name; c++) {
		if (strcmp(c->name, text) == 0) {
			*field = c->value;
			return 0;
		}
	}
	list_choices(o->choices, all, sizeof(all));
	return err_set(e, ERR_USAGE, 0, "'%.40s' is not one of %s", text, all);
}

static int set_number(const struct opt *o, const char *text, uint64_t *field, struct err *e)
{
	char bounds[80];
	uint64_t v;

	if (opt_parse_number(text, o->type, &v, e) != 0)
		return -1;
	if (v < o->min || (o->max && v > o->max)) {
		format_bounds(o, bounds, sizeof(bounds));
		return err_set(e, ERR_USAGE, 0, "'%.40s' is out of bounds: allowed is %s", text, bounds);
	}
	*field = v;
	return 0;
}

static int set_value(const struct opt *o, const char *text, void *config, struct err *e)
{
	void *field = (char *)config + o->offset;

	switch (o->type) {
	case OPT_FLAG:
		*(bool *)field = true;
		return 0;
	case OPT_NUMBER:
	case OPT_BYTES:
	case OPT_MS:
		return set_number(o, text, field, e);
	case OPT_CHOICE:
		return set_choice(o, text, field, e);
	case OPT_STRING:
		if (!text[0])
			return err_set(e, ERR_USAGE, 0, "must not be empty");
		*(const char **)field = text;
		return 0;
	}
	return err_set(e, ERR_INTERNAL, 0, "option of an unknown type");
}

static void set_presets(const struct opt *rows, void *config)
{
	struct err e = { 0 };

	for (const struct opt *o = rows; o->name; o++) {
		if (o->preset && set_value(o, o->preset, config, &e) != 0)
			assert(!"a default that its own option refuses");
	}
}

static const struct opt *find_long(const struct opt_command *c, const char *name, size_t len)
{
	for (const struct opt *o = c->options; o->name; o++) {
		if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
			return o;
	}
	return NULL;
}

static const struct opt *find_short(const struct opt_command *c, char name)
{
	for (const struct opt *o = c->options; o->name; o++) {
		if (o->short_name && o->short_name == name)
			return o;
	}
	return NULL;
}

struct cursor { int argc, next; char **argv; };

/* value: what stood behind '=' or the letter, or NULL. */
static int take_option(const struct opt *o, const char *shown, const char *value, struct cursor *at, void *config, struct err *e)
{
	if (o->type == OPT_FLAG && value)
		return err_set(e, ERR_USAGE, 0, "%s takes no value", shown);
	if (o->type != OPT_FLAG && !value) {
		if (at->next >= at->argc)
			return err_set(e, ERR_USAGE, 0, "%s wants a value: %s", shown, o->argument);
		value = at->argv[at->next++];
	}
	if (set_value(o, value, config, e) != 0)
		return err_wrap(e, "%s", shown);
	return 0;
}

static int unknown_option(const struct opt_command *c, const char *shown, struct err *e)
{
	return err_set(e, ERR_USAGE, 0, "%s: no such option; `dray %s --help` lists them", shown, c->name);
}

static int parse_long(const struct opt_command *c, const char *arg, struct cursor *at, void *config, struct err *e)
{
	size_t len = strcspn(arg + 2, "=");
	const struct opt *o = find_long(c, arg + 2, len);
	char shown[64];

	snprintf(shown, sizeof(shown), "--%.*s", (int)(len < 48 ? len : 48), arg + 2);
	if (!o)
		return unknown_option(c, shown, e);
	return take_option(o, shown, arg[2 + len] == '=' ? arg + 3 + len : NULL, at, config, e);
}

/* One or more letters: flags may be put together, the first that takes a value takes the rest. */
static int parse_short(const struct opt_command *c, const char *arg, struct cursor *at, void *config, struct err *e)
{
	for (const char *p = arg + 1; *p; p++) {
		const struct opt *o = find_short(c, *p);
		char shown[] = { '-', *p, '\0' };

		if (!o)
			return unknown_option(c, shown, e);
		if (o->type != OPT_FLAG)
			return take_option(o, shown, p[1] ? p + 1 : NULL, at, config, e);
		if (take_option(o, shown, NULL, at, config, e) != 0)
			return -1;
	}
	return 0;
}

static int take_positional(const struct opt_command *c, const struct opt **next, const char *arg, void *config, struct err *e)
{
	const struct opt *o = *next;

	if (!o->name)
		return err_set(e, ERR_USAGE, 0, "'%.80s' is one argument too many; `dray %s --help` shows what it takes", arg, c->name);
	if (set_value(o, arg, config, e) != 0)
		return err_wrap(e, "%s", o->name);
	*next = o + 1;
	return 0;
}

static int is_help(const struct opt_command *c, const char *arg)
{
	return strcmp(arg, "--help") == 0 || (strcmp(arg, "-h") == 0 && !find_short(c, 'h'));
}

int opt_parse(const struct opt_command *c, int argc, char **argv, void *config, struct err *e)
{
	struct cursor at = { .argc = argc, .next = 1, .argv = argv };
	const struct opt *positional = c->positionals;
	bool only_positionals = false;

	memset(config, 0, c->config_size);
	set_presets(c->options, config);
	set_presets(c->positionals, config);
	while (at.next < argc) {
		const char *arg = argv[at.next++];
		int rc;

		if (!only_positionals && is_help(c, arg))
			return OPT_HELP;
		if (!only_positionals && strcmp(arg, "--") == 0) {
			only_positionals = true;
			continue;
		}
		if (only_positionals || arg[0] != '-' || !arg[1])
			rc = take_positional(c, &positional, arg, config, e);
		else
			rc = arg[1] == '-' ? parse_long(c, arg, &at, config, e) : parse_short(c, arg, &at, config, e);
		if (rc != 0)
			return -1;
	}
	if (positional->name && !positional->optional)
		return err_set(e, ERR_USAGE, 0, "%s is missing: %s", positional->name, positional->help);
	return c->check && c->check(config, e) != 0 ? -1 : OPT_PARSED;
}

static void print_usage(const struct opt_command *c, FILE *out)
{
	fprintf(out, "usage: %s %s%s", c->program ? c->program : "dray", c->name, c->options->name ? " [OPTION]..." : "");
	for (const struct opt *o = c->positionals; o->name; o++)
		fprintf(out, o->optional ? " [%s]" : " %s", o->name);
	putc('\n', out);
}

/* What the row itself says, as sentences. */
static void describe(const struct opt *o, char *buf, size_t size)
{
	char part[160];
	size_t len = (size_t)snprintf(buf, size, "%s", o->help);

	if (o->choices && len < size) {
		list_choices(o->choices, part, sizeof(part));
		len += (size_t)snprintf(buf + len, size - len, " One of %s.", part);
	}
	if (format_bounds(o, part, sizeof(part)) && len < size)
		len += (size_t)snprintf(buf + len, size - len, " Allowed: %s.", part);
	if (o->preset && len < size)
		snprintf(buf + len, size - len, strcmp(o->preset, ".") == 0 ? " Default: \"%s\"." : " Default: %s.", o->preset);
}

/* Words of text in lines of up to `width` columns. Starts at column `at`; later lines are indented by `indent`. */
static void wrap(FILE *out, const char *text, size_t at, size_t indent, size_t width)
{
	size_t column = at;

	while (*text) {
		size_t word = strcspn(text, " ");

		if (column > indent && column + 1 + word > width) {
			fprintf(out, "\n%*s", (int)indent, "");
			column = indent;
		} else if (column > at || column > indent) {
			putc(' ', out);
			column++;
		}
		fwrite(text, 1, word, out);
		column += word;
		text += word;
		text += strspn(text, " ");
	}
	putc('\n', out);
}

static void help_row(const char *head, const char *text, FILE *out)
{
	enum { INDENT = 8, WIDTH = 90 };

	fprintf(out, "  %s\n%*s", head, INDENT, "");
	wrap(out, text, INDENT, INDENT, WIDTH);
}

static bool has_type(const struct opt_command *c, enum opt_type type)
{
	for (const struct opt *o = c->options; o->name; o++)
		if (o->type == type)
			return true;
	return false;
}

static void print_units(const struct opt_command *c, FILE *out)
{
	if (has_type(c, OPT_MS))
		fputs("\nMS is milliseconds, or has s, m or h behind it.\n", out);
	if (has_type(c, OPT_BYTES))
		fprintf(out, "%sBYTES is bytes, or has K, M, G or T behind it (powers of 1024).\n", has_type(c, OPT_MS) ? "" : "\n");
}

void opt_print_help(const struct opt_command *c, FILE *out)
{
	char text[1200], head[96];

	print_usage(c, out);
	fprintf(out, "%s\n", c->summary);
	if (c->about) {
		putc('\n', out);
		wrap(out, c->about, 0, 0, 90);
	}
	if (c->positionals->name)
		fputs("\nArguments:\n", out);
	for (const struct opt *o = c->positionals; o->name; o++) {
		describe(o, text, sizeof(text));
		help_row(o->name, text, out);
	}
	fputs("\nOptions:\n", out);
	for (const struct opt *o = c->options; o->name; o++) {
		describe(o, text, sizeof(text));
		snprintf(head, sizeof(head), "%s%c%s--%s%s%s", o->short_name ? "-" : "", o->short_name ? o->short_name : ' ',
			 o->short_name ? ", " : "   ", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
		help_row(head, text, out);
	}
	help_row("    --help", "Shows this text.", out);
	print_units(c, out);
}

static void man_row(const char *text, FILE *out)
{
	/* mdoc wants each sentence on its own line, and no line of text to start with a control character. */
	while (*text) {
		const char *end = text;
		size_t len;

		do {
			end += strcspn(end, ".") + (strchr(end, '.') ? 1 : 0);
		} while (*end && *end != ' ');
		len = (size_t)(end - text);
		char line[600];

		snprintf(line, sizeof(line), "%.*s", (int)len, text);
		wrap(out, line, 0, 0, 78);
		text = end + strspn(end, " ");
	}
}

void opt_print_man(const struct opt_command *c, FILE *out)
{
	char text[1200];

	fputs(".Bl -tag -width Ds\n", out);
	for (const struct opt *o = c->positionals; o->name; o++) {
		fprintf(out, ".It Ar %s\n", o->name);
		describe(o, text, sizeof(text));
		man_row(text, out);
	}
	for (const struct opt *o = c->options; o->name; o++) {
		fputs(".It ", out);
		if (o->short_name)
			fprintf(out, "Fl %c , ", o->short_name);
		fprintf(out, "Fl -%s%s%s\n", o->name, o->argument ? " Ar " : "", o->argument ? o->argument : "");
		describe(o, text, sizeof(text));
		man_row(text, out);
	}
	fputs(".It Fl -help\nShows the options and ends.\n.El\n", out);
}
