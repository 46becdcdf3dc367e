/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/zoo.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char zoo_dir[512];
static char wrong[512];

const struct zoo_kind *zoo_at(size_t i)
{
	static const struct zoo_kind *const lists[] = { zoo_fd_kinds, zoo_sock_kinds, zoo_task_kinds, zoo_mm_kinds, zoo_refused_kinds };

	for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++) {
		for (const struct zoo_kind *k = lists[l]; k->name; k++) {
			if (i-- == 0)
				return k;
		}
	}
	return NULL;
}

const struct zoo_kind *zoo_find(const char *name)
{
	const struct zoo_kind *k;

	for (size_t i = 0; (k = zoo_at(i)); i++) {
		if (strcmp(k->name, name) == 0)
			return k;
	}
	return NULL;
}

const char *zoo_path(const char *name)
{
	static char paths[4][600];
	static unsigned turn;
	char *p = paths[turn++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", zoo_dir, name);
	return p;
}

void zoo_need(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "zoo: %s: %s\n", what, strerror(errno));
		exit(3);
	}
}

bool zoo_wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(wrong, sizeof(wrong), fmt, ap);
	va_end(ap);
	return false;
}


const char *zoo_why(void)
{
	return wrong;
}
