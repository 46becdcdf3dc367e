/* SPDX-License-Identifier: Apache-2.0 */
#include "control.pb-c.h"
#include "migrate/agent/session_priv.h"
#include "proto/base/log.h"

/* Who finds the record, should we be killed over this, does the same: nothing was committed. */
void session_abort(struct session *s)
{
	Drayage__Abort msg = DRAYAGE__ABORT__INIT;
	struct err ignored;

	log_event(s->err.kind == ERR_CANCELLED ? LOG_INFO : LOG_WARN, "abort", "state=%s error=\"%s\"", session_state_name(s), s->err.text);
	if (s->freezer.kind != FREEZER_NONE && freezer_kill(&s->freezer, &ignored) < 0)
		log_event(LOG_ERROR, "kill", "error=\"%s\"", ignored.text);
	husk_kill(&s->husk);
	freezer_remove(&s->freezer);
	journal_remove(s->journal);
	msg.kind = s->err.kind;
	msg.number = s->err.num;
	msg.text = s->err.text;
	control_send(s->control, CONTROL_ABORT, &msg.base, &ignored);
}

/* The record says of it what it said: who is asked, or comes next, ends what is left and answers that it does not run here. */
void session_give_up_late(struct session *s)
{
	struct err e;

	log_event(LOG_ERROR, "late-pages-lost", "pid=%d error=\"%s\"", (int)s->husk.pid, s->err.text);
	late_session_leave(s->late);
	if (freezer_kill(&s->freezer, &e) < 0 && e.kind != ERR_GONE)
		log_event(LOG_ERROR, "kill", "error=\"%s\"", e.text);
	else
		freezer_remove(&s->freezer);
}
