/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/settle.h"

#include <poll.h>
#include <string.h>

#include "migrate/conduct/late_source.h"
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

/* What a record calls for. *decided: nobody needs the record any more. */
static enum keeper_verdict judge(const struct journal_record *r, struct link_config *link, uint64_t patience_us, bool *decided,
				 struct err *e)
{
	enum link_outcome outcome = LINK_UNKNOWN;
	uint32_t pid;

	*decided = r->state != JOURNAL_KEPT;
	if (r->state == JOURNAL_KEPT)
		return KEEPER_STAY_FROZEN;
	if (r->state != JOURNAL_COMMITTING)
		return KEEPER_THAW;
	link->identity = r->identity;
	if (settle_ask(link, r->freezer.pid, patience_us, &outcome, &pid, e) < 0) {
		*decided = false;
		return KEEPER_STAY_FROZEN;
	}
	if (outcome == LINK_UNKNOWN) {
		err_set(e, ERR_UNDECIDED, 0, "%s has no record of this migration: only its operator can tell whether the process runs there "
			"(then: dray recover ID --thaw or --kill)", link->address);
		*decided = false;
	}
	return verdict_of(outcome, r->keep_source);
}

enum keeper_verdict settle_for_keeper(void *arg)
{
	const struct settle_facts *f = arg;
	struct link_config link = { .address = f->destination, .congestion = f->congestion[0] ? f->congestion : NULL, .id = f->id };
	enum keeper_verdict verdict = KEEPER_THAW;
	struct journal_record r;
	struct journal *j;
	bool decided = true;
	struct err e;

	if (f->tls && tls_configured(f->tls) && !(link.tls = tls_gate_start(f->tls, &e))) {
		log_event(LOG_ERROR, "settle", "error=\"%s\"", e.text);
		return KEEPER_STAY_FROZEN;
	}
	j = journal_open(f->state_dir, &f->id, JOURNAL_SOURCE, &e);
	if (!j) { /* somebody else settles it (dray recover): the tree is theirs */
		log_event(LOG_ERROR, "settle", "error=\"%s\"", e.text);
		return KEEPER_STAY_FROZEN;
	}
	if (journal_read(j, &r, &e) == 0)
		verdict = judge(&r, &link, KEEPER_PATIENCE_US, &decided, &e);
	else if (e.kind != ERR_GONE)
		verdict = KEEPER_STAY_FROZEN; /* a damaged record is no licence to run a second copy */
	log_event(LOG_WARN, "settled", "verdict=%d decided=%d", (int)verdict, decided);
	if (decided)
		journal_remove(j);
	journal_close(j);
	tls_gate_stop(link.tls);
	return verdict;
}

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

/* Sets *verdict and *decided for a record as it stands. -1: it should be decided and can't be. */
static int decide(const struct settle_job *job, const struct journal_record *r, const struct migration_id *id, enum keeper_verdict *verdict,
		  bool *decided, struct err *e)
{
	struct link_config link = { .address = r->peer, .congestion = "auto", .id = *id, .tls = job->tls };

	*decided = true;
	if (job->force != SETTLE_ASK) {
		*verdict = job->force == SETTLE_THAW ? KEEPER_THAW : KEEPER_KILL;
		return 0;
	}
	*verdict = judge(r, &link, RECOVER_PATIENCE_US, decided, e);
	return *decided || r->state == JOURNAL_KEPT ? 0 : -1;
}

int settle_record(const struct settle_job *job, const struct migration_id *id, enum keeper_verdict *verdict, struct err *e)
{
	struct journal *j = journal_open(job->state_dir, id, JOURNAL_SOURCE, e);
	struct journal_record r;
	bool decided = false;
	int rc;

	if (!j)
		return -1;
	rc = journal_read(j, &r, e);
	if (rc == 0)
		rc = decide(job, &r, id, verdict, &decided, e);
	if (rc == 0 && decided)
		rc = carry_out(&r, *verdict, e);
	if (rc == 0 && decided)
		journal_remove(j);
	journal_close(j);
	return rc;
}
