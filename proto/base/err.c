/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int exit_code;
} kinds[ERR_KINDS] = {
	[ERR_NONE] = { "none", 0 },
	[ERR_INTERNAL] = { "internal", 1 },
	[ERR_USAGE] = { "usage", 2 },
	[ERR_SYSTEM] = { "system", 1 },
	[ERR_PERMISSION] = { "permission", 3 },
	[ERR_GONE] = { "gone", 4 },
	[ERR_UNSUPPORTED] = { "unsupported", 5 },
	[ERR_PEER] = { "peer", 6 },
	[ERR_PROTOCOL] = { "protocol", 6 },
	[ERR_LIMIT] = { "limit", 7 },
	[ERR_TIMEOUT] = { "timeout", 8 },
	[ERR_CANCELLED] = { "cancelled", 9 },
	[ERR_CONFLICT] = { "conflict", 10 },
	[ERR_MISMATCH] = { "mismatch", 11 },
	[ERR_UNDECIDED] = { "undecided", 12 },
};

int err_exit_code(enum err_kind kind)
{
	return (unsigned)kind < ERR_KINDS ? kinds[kind].exit_code : 1;
}

const char *err_kind_name(enum err_kind kind)
{
	return (unsigned)kind < ERR_KINDS ? kinds[kind].name : "unknown";
}

void err_clear(struct err *e)
{
	e->kind = ERR_NONE;
	e->num = 0;
	e->text[0] = '\0';
}

static void append_errno(struct err *e)
{
	size_t len = strlen(e->text);
	char name[96];

	if (e->num == 0 || len + 3 >= sizeof(e->text))
		return;
	snprintf(e->text + len, sizeof(e->text) - len, ": %s", strerror_r(e->num, name, sizeof(name)));
}

__attribute__((format(printf, 4, 0)))
static void fill(struct err *e, enum err_kind kind, int num, const char *fmt, va_list ap)
{
	e->kind = kind;
	e->num = num;
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	append_errno(e);
}

int err_set(struct err *e, enum err_kind kind, int num, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(e, kind, num, fmt, ap);
	va_end(ap);
	return -1;
}

static enum err_kind kind_of_errno(int num)
{
	switch (num) {
	case EPERM:
	case EACCES:
		return ERR_PERMISSION;
	case ESRCH:
		return ERR_GONE;
	default:
		return ERR_SYSTEM;
	}
}

int err_sys(struct err *e, const char *fmt, ...)
{
	int num = errno;
	va_list ap;

	va_start(ap, fmt);
	fill(e, kind_of_errno(num), num, fmt, ap);
	va_end(ap);
	return -1;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char clause[256];
	char old[sizeof(e->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(clause, sizeof(clause), fmt, ap);
	va_end(ap);
	memcpy(old, e->text, sizeof(old));
	if (snprintf(e->text, sizeof(e->text), "%s: %s", clause, old) >= (int)sizeof(e->text))
		e->text[sizeof(e->text) - 1] = '\0'; /* the innermost words are what a long chain loses */
	return -1;
}
