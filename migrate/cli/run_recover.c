/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "migrate/cli/run.h"
#include "migrate/conduct/config.h"
#include "migrate/conduct/journal.h"
#include "migrate/conduct/settle.h"
#include "proto/base/json.h"
#include "proto/base/log.h"

struct walk {
	const struct recover_config *config;
	struct settle_job job;
	struct err *err;
	unsigned seen, failed;
};

static const char *verdict_text(enum keeper_verdict v)
{
	return v == KEEPER_KILL ? "runs at the destination; ended here" : v == KEEPER_THAW ? "runs on here" : "kept here, stopped";
}

static void show(const struct walk *w, const struct migration_id *id, const struct journal_record *r, bool owned, const char *result)
{
	char hex[33];

	migration_id_format(id, hex);
	if (w->config->json) {
		struct json j;

		json_begin(&j, stdout);
		json_object_open(&j, NULL);
		json_string(&j, "id", hex);
		json_string(&j, "state", journal_state_name(r->state));
		json_i64(&j, "pid", r->freezer.pid);
		json_string(&j, "comm", r->comm);
		json_string(&j, "destination", r->peer);
		json_bool(&j, "under_way", owned);
		json_string(&j, "result", result);
		json_object_close(&j);
		json_end(&j);
		return;
	}
	printf("%s %s pid %d (%s) to %s%s%s\n", hex, owned ? "under way" : journal_state_name(r->state), (int)r->freezer.pid, r->comm,
	       r->peer, result ? ": " : "", result ? result : "");
}

static bool recover_one(const struct migration_id *id, const struct journal_record *r, bool owned, void *arg)
{
	struct walk *w = arg;
	const struct recover_config *c = w->config;
	enum keeper_verdict verdict;
	struct migration_id wanted;
	struct err e = { 0 };

	if (c->id && (!migration_id_parse(c->id, &wanted) || memcmp(&wanted, id, sizeof(wanted)) != 0))
		return true;
	w->seen++;
	if (c->list || (owned && !c->id)) {
		show(w, id, r, owned, NULL);
		return true;
	}
	if (settle_record(&w->job, id, &verdict, &e) < 0) {
		w->failed++;
		*w->err = e;
		show(w, id, r, owned, e.text);
	} else {
		show(w, id, r, owned, verdict_text(verdict));
	}
	return true;
}

int run_recover(const void *config, struct err *e)
{
	const struct recover_config *c = config;
	struct walk w = { .config = c, .err = e };
	int rc;

	log_set_level(c->log_level);
	if (strcmp(c->state_dir, DRAY_STATE_DIR) != 0 && access(c->state_dir, F_OK) < 0) /* the usual one is made when the first record is */
		return err_sys(e, "--state-dir %s", c->state_dir);
	w.job = (struct settle_job){ .state_dir = c->state_dir, .force = c->thaw ? SETTLE_THAW : c->kill ? SETTLE_KILL : SETTLE_ASK };
	if (tls_configured(&c->tls) && !(w.job.tls = tls_gate_start(&c->tls, e)))
		return -1;
	if (!c->list)
		journal_sweep(c->state_dir, JOURNAL_SOURCE);
	rc = journal_each(c->state_dir, JOURNAL_SOURCE, recover_one, &w, e);
	tls_gate_stop(w.job.tls);
	if (rc < 0)
		return -1;
	if (!c->id && rc > 0) /* what it stands for may be frozen */
		return err_wrap(e, "%s", c->state_dir);
	if (!c->id && !c->json && w.seen == 0)
		printf("nothing is unsettled (%s)\n", c->state_dir);
	if (c->id && w.seen == 0)
		return err_set(e, ERR_GONE, 0, "no record of migration %s in %s; dray recover --list shows those that are there", c->id, c->state_dir);
	return w.failed ? -1 : 0;
}
