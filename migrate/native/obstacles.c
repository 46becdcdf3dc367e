/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/native/obstacles.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"

enum { LIST_MAX = 448 }; /* the layers above add clauses, and an answer to another host has 600 bytes */

void obstacles_finish(struct obstacles *o)
{
	free(o->v);
	*o = (struct obstacles){ 0 };
}

static bool has(const struct obstacles *o, const char *what)
{
	for (size_t i = 0; i < o->count; i++)
		if (strcmp(o->v[i].what, what) == 0)
			return true;
	return false;
}

void obstacles_keep(struct obstacles *o, const struct obstacles *again)
{
	size_t kept = 0;

	for (size_t i = 0; i < o->count; i++)
		if (has(again, o->v[i].what))
			o->v[kept++] = o->v[i];
	o->count = kept;
}

/* The first has room in any case. False: this one has none. */
static bool append(char list[LIST_MAX], size_t *len, const struct obstacle *o)
{
	char one[sizeof(o->what) + sizeof(o->way_out) + 32];
	int n = snprintf(one, sizeof(one), "%s%s%s%s%s", *len ? "; " : "", o->what, o->way_out[0] ? " (would go with " : "", o->way_out,
			 o->way_out[0] ? ")" : "");

	if (*len + (size_t)n >= LIST_MAX)
		return false;
	*len += (size_t)snprintf(list + *len, LIST_MAX - *len, "%s", one);
	return true;
}

static bool all_have_way_out(const struct obstacles *o)
{
	for (size_t i = 0; i < o->count; i++)
		if (!o->v[i].way_out[0])
			return false;
	return true;
}

int obstacles_refuse(const struct obstacles *o, const char *otherwise, struct err *e)
{
	char list[LIST_MAX], more[64] = "";
	size_t len = 0, shown = 0;

	if (all_have_way_out(o))
		otherwise = NULL;
	while (shown < o->count && append(list, &len, &o->v[shown]))
		shown++;
	for (size_t i = shown; i < o->count; i++)
		log_event(LOG_WARN, "obstacle", "what=\"%s\" way-out=\"%s\"", o->v[i].what, o->v[i].way_out);
	if (shown < o->count)
		snprintf(more, sizeof(more), "; and %zu more, which the log names", o->count - shown);
	return err_set(e, ERR_UNSUPPORTED, 0, "%s%s%s%s", list, more, otherwise ? "; " : "", otherwise ? otherwise : "");
}
