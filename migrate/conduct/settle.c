/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/settle.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/conduct/late_source.h"
#include "proto/base/fault.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

#define KEEPER_PATIENCE_US (10ull * 60 * 1000000) /* then the tree stays frozen for `dray recover` */
#define RECOVER_PATIENCE_US (10ull * 1000000)
enum { ASK_AGAIN_MS = 200, ASK_AGAIN_MAX_MS = 5000 };

int settle_ask(const struct link_config *link, pid_t original, uint64_t patience_us, enum link_outcome *outcome, uint32_t *there, struct err *e)
{
	struct run_list missing = { 0 };
	uint64_t end = clock_us() + patience_us, pages;
	int wait = ASK_AGAIN_MS;

	while (link_query(link, outcome, there, &missing, e) < 0) {
		run_list_clear(&missing);
		log_event(LOG_INFO, "ask-again", "destination=%s error=\"%s\"", link->address, e->text);
		if (clock_us() >= end) {
			char last[sizeof(e->text)];

			memcpy(last, e->text, sizeof(last));
			return err_set(e, ERR_UNDECIDED, 0, "whether the destination runs it is not known (%s)", last);
		}
		poll(NULL, 0, wait); /* a peer that is away: nothing to wait for but time */
		wait = wait * 2 > ASK_AGAIN_MAX_MS ? ASK_AGAIN_MAX_MS : wait * 2;
	}
	pages = missing.data_pages;
	run_list_finish(&missing);
	return pages > 0 ? late_source_resume(NULL, original, link, patience_us, outcome, there, e) : 0;
}

static enum keeper_verdict verdict_of(enum link_outcome outcome, bool keep_source)
{
	switch (outcome) {
	case LINK_RUNNING:
		return keep_source ? KEEPER_STAY_FROZEN : KEEPER_KILL;
	case LINK_ABORTED:
		return KEEPER_THAW;
	case LINK_UNKNOWN:
		break;
	}
	return KEEPER_STAY_FROZEN;
}

/* A record, and what is to be done about it. */
struct settle_case {
	struct journal *journal;
	struct journal_record record;
	struct link_config link;
	enum keeper_verdict verdict;
	bool decided;    /* once that is carried out nobody needs the record any more */
	bool runs_there; /* the destination said so, and waits to be told that it may forget */
};

/* Sets verdict and decided for the record. */
static void judge(struct settle_case *c, uint64_t patience_us, struct err *e)
{
	enum link_outcome outcome = LINK_UNKNOWN;
	uint32_t pid;

	c->decided = c->record.state != JOURNAL_KEPT;
	c->verdict = KEEPER_STAY_FROZEN;
	if (c->record.state == JOURNAL_KEPT)
		return;
	if (c->record.state != JOURNAL_COMMITTING) {
		c->verdict = KEEPER_THAW;
		return;
	}
	c->link.identity = c->record.identity;
	if (settle_ask(&c->link, c->record.freezer.pid, patience_us, &outcome, &pid, e) < 0) {
		c->decided = false;
		return;
	}
	if (outcome == LINK_UNKNOWN) {
		err_set(e, ERR_UNDECIDED, 0, "%s has no record of this migration: only its operator can tell whether the process runs there "
			"(then: dray recover ID --thaw or --kill)", c->link.address);
		c->decided = false;
	}
	c->runs_there = outcome == LINK_RUNNING;
	c->verdict = verdict_of(outcome, c->record.keep_source);
}

/* It is carried out: our record goes (or says that the original is kept), then the destination's. */
static void conclude(struct settle_case *c)
{
	struct err e;

	if (!c->decided)
		return;
	if (c->verdict == KEEPER_STAY_FROZEN) {
		c->record.state = JOURNAL_KEPT;
		if (journal_write(c->journal, &c->record, &e) < 0) {
			log_event(LOG_ERROR, "journal", "error=\"%s\"", e.text);
			return;
		}
	} else {
		journal_remove(c->journal);
	}
	if (c->runs_there)
		link_forget(&c->link);
}

/* ---- by the keeper ---- */

static struct settle_case *open_case(const struct settle_facts *f, struct err *e)
{
	struct settle_case *c = malloc(sizeof(*c));

	if (!c) {
		err_set(e, ERR_SYSTEM, ENOMEM, "settle");
		return NULL;
	}
	*c = (struct settle_case){ .link = { .address = f->destination, .congestion = f->congestion[0] ? f->congestion : NULL, .id = f->id } };
	if (!f->tls || !tls_configured(f->tls) || (c->link.tls = tls_gate_start(f->tls, e)))
		c->journal = journal_open(f->state_dir, &f->id, JOURNAL_SOURCE, e); /* fails when somebody else settles it (dray recover): the tree is theirs */
	if (c->journal)
		return c;
	tls_gate_stop(c->link.tls);
	free(c);
	return NULL;
}

/* A tree that is not kept was never committed: whatever the record says, and whoever has it in his hands, it runs on. */
enum keeper_verdict settle_for_keeper(void *arg, bool kept)
{
	struct settle_facts *f = arg;
	struct settle_case *c;
	struct err e;

	c = f->open = open_case(f, &e);
	if (!c) {
		log_event(LOG_ERROR, "settle", "error=\"%s\"", e.text);
		return kept ? KEEPER_STAY_FROZEN : KEEPER_THAW;
	}
	c->decided = true;
	c->verdict = KEEPER_THAW;
	if (kept && journal_read(c->journal, &c->record, &e) == 0) {
		judge(c, KEEPER_PATIENCE_US, &e);
	} else if (kept && e.kind != ERR_GONE) { /* a damaged record is no licence to run a second copy */
		c->verdict = KEEPER_STAY_FROZEN;
		c->decided = false;
	}
	fault_point("settle.decided", -1);
	log_event(LOG_WARN, "settled", "verdict=%d decided=%d", (int)c->verdict, c->decided);
	return c->verdict;
}

void settled_by_keeper(void *arg, bool failed)
{
	struct settle_facts *f = arg;
	struct settle_case *c = f->open;

	if (!c)
		return;
	if (!failed)
		conclude(c);
	journal_close(c->journal);
	tls_gate_stop(c->link.tls);
	free(c);
	f->open = NULL;
}

/* ---- by `dray recover` ---- */

static int carry_out(struct journal_record *r, enum keeper_verdict verdict, struct err *e)
{
	int rc = 0;

	if (!r->this_boot)
		return 0; /* the tree went with the kernel */
	if (verdict == KEEPER_THAW)
		rc = freezer_thaw(&r->freezer, e);
	else if (verdict == KEEPER_KILL)
		rc = freezer_kill(&r->freezer, e);
	if (rc < 0 && e->kind == ERR_GONE)
		rc = 0;
	if (rc == 0 && verdict != KEEPER_STAY_FROZEN)
		freezer_remove(&r->freezer);
	return rc;
}

/* -1: it should be decided and can't be. */
static int decide(const struct settle_job *job, struct settle_case *c, struct err *e)
{
	if (job->force != SETTLE_ASK) {
		c->decided = true;
		c->verdict = job->force == SETTLE_THAW ? KEEPER_THAW : KEEPER_KILL;
		return 0;
	}
	judge(c, RECOVER_PATIENCE_US, e);
	return c->decided || c->record.state == JOURNAL_KEPT ? 0 : -1;
}

int settle_record(const struct settle_job *job, const struct migration_id *id, enum keeper_verdict *verdict, struct err *e)
{
	struct settle_case c = { .journal = journal_open(job->state_dir, id, JOURNAL_SOURCE, e),
				 .link = { .congestion = "auto", .id = *id, .tls = job->tls } };
	int rc;

	if (!c.journal)
		return -1;
	rc = journal_read(c.journal, &c.record, e);
	c.link.address = c.record.peer;
	if (rc == 0)
		rc = decide(job, &c, e);
	*verdict = c.verdict;
	if (rc == 0 && c.decided)
		rc = carry_out(&c.record, c.verdict, e);
	if (rc == 0)
		conclude(&c);
	journal_close(c.journal);
	return rc;
}

/* ---- by whoever comes next ---- */

static bool settle_leftover(const struct migration_id *id, const struct journal_record *r, bool owned, void *arg)
{
	const struct settle_job job = { .state_dir = arg };
	enum keeper_verdict verdict = KEEPER_STAY_FROZEN;
	struct err e = { 0 };
	char hex[33];
	int rc;

	if (owned || (r->state != JOURNAL_ARMED && r->state != JOURNAL_FROZEN))
		return true;
	migration_id_format(id, hex);
	rc = settle_record(&job, id, &verdict, &e);
	log_event(rc < 0 ? LOG_WARN : LOG_INFO, "settle-leftover", "id=%s pid=%d state=%s error=\"%s\"", hex, (int)r->freezer.pid,
		  journal_state_name(r->state), rc < 0 ? e.text : "");
	return true;
}

void settle_leftovers(const char *state_dir)
{
	struct err e = { 0 };

	journal_sweep(state_dir, JOURNAL_SOURCE);
	if (journal_each(state_dir, JOURNAL_SOURCE, settle_leftover, (void *)(uintptr_t)state_dir, &e) < 0)
		log_event(LOG_WARN, "settle-leftovers", "error=\"%s\"", e.text);
}
