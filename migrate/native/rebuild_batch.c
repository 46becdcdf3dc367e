/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of calls inside the husk, each with a label for its error, and their arguments in the scratch area. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "migrate/native/rebuild_priv.h"

static int name_failure(struct outside *o)
{
	for (size_t i = 0; i < o->calls; i++)
		if (o->call[i].ret < 0 && o->call[i].ret > -4096 && !(o->call[i].flags & REMOTE_MAY_FAIL))
			return err_wrap(o->e, "task %u: %s", o->task->ps->pid, o->label[i]);
	return err_wrap(o->e, "task %u", o->task->ps->pid);
}

int batch_flush(struct outside *o)
{
	size_t n = o->calls, used = o->data_used;
	int rc = err_is_set(o->e) ? -1 : 0;

	if (rc == 0 && used)
		rc = remote_write(o->r->pid, remote_scratch_data(o->r), o->data, used, o->e);
	if (rc == 0 && n) {
		rc = remote_run(o->r, o->thread, o->call, n, "rebuild", o->e);
		if (rc < 0)
			name_failure(o);
		for (size_t i = 0; i < n; i++)
			if (o->result[i])
				*o->result[i] = o->call[i];
	}
	o->calls = 0;
	o->data_used = 0;
	return rc;
}

void batch_room(struct outside *o, size_t calls, size_t bytes)
{
	if (o->calls + calls > BATCH_CALLS || o->data_used + bytes + 64 * 16 > o->data_size)
		batch_flush(o);
	if (calls > BATCH_CALLS || bytes + 64 * 16 > o->data_size)
		err_set(o->e, ERR_LIMIT, 0, "task %u: %zu bytes of arguments at once", o->task->ps->pid, bytes);
}

uint64_t batch_put(struct outside *o, const void *bytes, size_t len)
{
	size_t at = (o->data_used + 15) & ~(size_t)15;

	if (at + len > o->data_size) {
		if (!err_is_set(o->e))
			err_set(o->e, ERR_INTERNAL, 0, "task %u: arguments without room", o->task->ps->pid);
		return 0;
	}
	memcpy(o->data + at, bytes, len);
	o->data_used = at + len;
	return remote_scratch_data(o->r) + at;
}

__attribute__((format(printf, 4, 0)))
static void add(struct outside *o, const struct remote_call *call, struct remote_call *result, const char *fmt, va_list ap)
{
	if (o->calls == BATCH_CALLS)
		batch_flush(o);
	if (err_is_set(o->e))
		return;
	o->call[o->calls] = *call;
	/* What did not run must not look like a failure. */
	o->call[o->calls].ret = 0;
	o->result[o->calls] = result;
	vsnprintf(o->label[o->calls], sizeof(o->label[0]), fmt, ap);
	o->calls++;
}

void batch_call(struct outside *o, struct remote_call call, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(o, &call, NULL, fmt, ap);
	va_end(ap);
}

void batch_ask(struct outside *o, struct remote_call call, struct remote_call *result, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(o, &call, result, fmt, ap);
	va_end(ap);
}
