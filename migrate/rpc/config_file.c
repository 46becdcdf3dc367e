/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { FILE_MAX = 64 * 1024 };

/* The value without blanks around it; NULL: there is none. */
static char *trim(char *text)
{
	size_t len;

	text += strspn(text, " \t");
	len = strlen(text);
	while (len && strchr(" \t\r", text[len - 1]))
		len--;
	text[len] = '\0';
	return len ? text : NULL;
}

static int take_line(char *line, CriuOpts *into, struct err *e)
{
	char *name = trim(line), *value = NULL;
	const struct rpc_option *o;
	size_t len;

	if (!name || *name == '#')
		return 0;
	len = strcspn(name, " \t");
	if (name[len]) {
		name[len] = '\0';
		value = trim(name + len + 1);
	}
	o = rpc_option_by_cli(name, len);
	if (!o)
		return err_set(e, ERR_USAGE, 0, "\"%.60s\" is no option that a configuration file may have here", name);
	return rpc_option_set(o, into, value, e);
}

int rpc_config_text_read(char *text, const char *name, CriuOpts *into, struct err *e)
{
	unsigned number = 1;

	for (char *line; (line = strsep(&text, "\n")); number++) {
		if (take_line(line, into, e) != 0)
			return err_wrap(e, "%s line %u", name, number);
	}
	return 0;
}

int rpc_config_file_read(const char *path, CriuOpts *into, struct err *e)
{
	cleanup_free char *text = file_read(AT_FDCWD, path, FILE_MAX, NULL, e);

	if (!text) {
		if (e->num != ENOENT)
			return -1;
		err_clear(e);
		return 0;
	}
	return rpc_config_text_read(text, path, into, e) == 0 ? 1 : -1;
}
