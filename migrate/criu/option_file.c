/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/criu/option_file.h"

#include <stdbool.h>
#include <string.h>

static const char blanks[] = " \t\r";

/* The value in quotes, unescaped in place; *rest is what stands behind it. */
static int take_quoted(char *p, char **rest, struct err *e)
{
	char *to = p;

	for (; *p != '"'; p++) {
		if (!*p)
			return err_set(e, ERR_USAGE, 0, "a quotation mark has no second one");
		if (p[0] == '\\' && p[1] == '"')
			p++;
		*to++ = *p;
	}
	*rest = p + 1;
	*to = '\0';
	return 0;
}

/* Ends the word at p; what is behind it. */
static char *take_word(char *p)
{
	size_t len = strcspn(p, " \t\r#");
	bool comment = p[len] == '#';
	char *rest = p[len] ? p + len + 1 : p + len;

	p[len] = '\0';
	if (comment)
		*rest = '\0';
	return rest;
}

static char *skip(char *p)
{
	return p + strspn(p, blanks);
}

static int take_value(char *p, char **value, struct err *e)
{
	char *rest = p;

	*value = NULL;
	p = skip(p);
	if (!*p || *p == '#')
		return 0;
	*value = *p == '"' ? p + 1 : p;
	if (*p != '"')
		rest = take_word(p);
	else if (take_quoted(p + 1, &rest, e) != 0)
		return -1;
	rest = skip(rest);
	return *rest && *rest != '#' ? err_set(e, ERR_USAGE, 0, "'%.40s' is one word too many: quote a value that has blanks", rest) : 0;
}

static int take_line(char *line, option_line *take, void *arg, struct err *e)
{
	char *name = skip(line), *end, *value;
	size_t len = strcspn(name, " \t\r#=");

	if (!*name || *name == '#')
		return 0;
	if (*name == '-')
		return err_set(e, ERR_USAGE, 0, "'%.40s': options stand without dashes here", name);
	end = name + len;
	if (*end == '=')
		*end++ = ' ';
	if (take_value(end, &value, e) != 0)
		return -1;
	name[len] = '\0';
	return take(arg, name, value, e);
}

int option_file_parse(char *text, option_line *take, void *arg, struct err *e)
{
	unsigned number = 1;

	for (char *line; (line = strsep(&text, "\n")); number++) {
		if (take_line(line, take, arg, e) != 0)
			return err_wrap(e, "line %u", number);
	}
	return 0;
}
