/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/late_source.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/conduct/late_pages.h"
#include "migrate/extract/copy.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/wire/late.h"

enum { ASK_AGAIN_MS = 200, ASK_AGAIN_MAX_MS = 5000 };

/* How the answering thread ended. */
enum late_end { LATE_GOING_ON = 0, LATE_COMPLETE, LATE_LOST };

struct late_source {
	pid_t pid;
	struct copy_source memory;
	struct late_pages pages;
	int fd[LATE_CONNECTIONS];
	pthread_t answerer;
	bool answering;
	unsigned char *buf[LATE_CONNECTIONS]; /* a message: header, contents */
	_Atomic int end; /* enum late_end */
	_Atomic uint64_t faults, sent_pages, wire_bytes;
};

struct late_source *late_source_create(pid_t pid, struct err *e)
{
	struct late_source *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(e, ERR_SYSTEM, ENOMEM, "post-copy");
		return NULL;
	}
	*s = (struct late_source){ .pid = pid, .memory = COPY_SOURCE_NONE, .fd = { -1, -1 } };
	for (size_t i = 0; i < LATE_CONNECTIONS; i++)
		s->buf[i] = malloc(LATE_HEADER_SIZE + pages_to_bytes(LATE_MAX_PAGES));
	if (!s->buf[LATE_FAULTS] || !s->buf[LATE_PUSH])
		err_set(e, ERR_SYSTEM, ENOMEM, "post-copy");
	else if (copy_source_open(&s->memory, pid, e) == 0)
		return s;
	late_source_destroy(s);
	return NULL;
}

static void stop_answering(struct late_source *s)
{
	if (s->fd[LATE_FAULTS] >= 0)
		shutdown(s->fd[LATE_FAULTS], SHUT_RDWR);
	if (s->answering)
		pthread_join(s->answerer, NULL);
	s->answering = false;
}

static void disconnect(struct late_source *s)
{
	stop_answering(s);
	for (size_t i = 0; i < LATE_CONNECTIONS; i++) {
		if (s->fd[i] >= 0)
			close(s->fd[i]);
		s->fd[i] = -1;
	}
	late_pages_finish(&s->pages);
}

void late_source_destroy(struct late_source *s)
{
	if (!s)
		return;
	disconnect(s);
	copy_source_close(&s->memory);
	for (size_t i = 0; i < LATE_CONNECTIONS; i++)
		free(s->buf[i]);
	free(s);
}

int late_source_connect(struct late_source *s, const struct link_config *link, struct err *e)
{
	for (unsigned i = 0; i < LATE_CONNECTIONS; i++) {
		s->fd[i] = link_open(link, HELLO_LATE, i, NULL, e);
		if (s->fd[i] < 0)
			return err_wrap(e, "post-copy");
	}
	return 0;
}

/* ---- sending ---- */

/* A page that can't be read is none: the original is frozen, so nothing takes one away. */
static int send_run(struct late_source *s, enum late_connection which, const struct page_run *run)
{
	unsigned char *buf = s->buf[which], *data = buf + LATE_HEADER_SIZE;
	struct late_message m = { .addr = run->addr, .pages = run->pages, .kind = LATE_DATA };
	uint64_t gone[LATE_MAX_PAGES / 64], bad;
	size_t len = LATE_HEADER_SIZE + pages_to_bytes(run->pages);
	int rc = copy_pages(&s->memory, run, 1, data, gone, &bad);

	if (rc > 0)
		return -EFAULT;
	if (rc < 0)
		return rc;
	m.checksum = late_checksum(run->addr, data, run->pages);
	late_encode(&m, buf);
	rc = write_full(s->fd[which], buf, len);
	if (rc < 0)
		return rc;
	atomic_fetch_add(&s->sent_pages, run->pages);
	atomic_fetch_add(&s->wire_bytes, len);
	return 0;
}

/* Asked about a page that isn't missing: the destination is told so rather than left waiting. */
static int send_nothing(struct late_source *s, uint64_t addr)
{
	struct late_message m = { .addr = addr, .pages = 1, .kind = LATE_ZERO };

	late_encode(&m, s->buf[LATE_FAULTS]);
	return write_full(s->fd[LATE_FAULTS], s->buf[LATE_FAULTS], LATE_HEADER_SIZE);
}

static int answer(struct late_source *s, const struct late_message *m)
{
	struct page_run run;

	atomic_fetch_add(&s->faults, 1);
	if (!late_pages_near(&s->pages, m->addr, LATE_AROUND_PAGES, &run))
		return send_nothing(s, m->addr);
	return send_run(s, LATE_FAULTS, &run);
}

static void *answer_main(void *arg)
{
	struct late_source *s = arg;
	unsigned char buf[LATE_HEADER_SIZE];
	struct late_message m = { 0 };
	int rc = 0;

	while (rc == 0) {
		rc = read_full(s->fd[LATE_FAULTS], buf, sizeof(buf));
		if (rc == 0)
			rc = late_decode(buf, false, &m);
		if (rc == 0 && m.kind == LATE_ALL)
			break;
		if (rc == 0)
			rc = answer(s, &m);
	}
	atomic_store(&s->end, rc == 0 ? LATE_COMPLETE : LATE_LOST);
	if (rc < 0)
		log_event(LOG_WARN, "late-connection", "error=%d", -rc);
	shutdown(s->fd[LATE_PUSH], SHUT_RDWR); /* the pusher must not wait for a reader that is gone */
	return NULL;
}

int late_source_answer(struct late_source *s, const struct run_list *missing, struct err *e)
{
	int rc = late_pages_init(&s->pages, missing);

	if (rc < 0)
		return err_set(e, ERR_SYSTEM, -rc, "post-copy");
	atomic_store(&s->end, LATE_GOING_ON);
	rc = pthread_create(&s->answerer, NULL, answer_main, s);
	if (rc != 0)
		return err_set(e, ERR_SYSTEM, rc, "post-copy thread");
	s->answering = true;
	return 0;
}

int late_source_push(struct late_source *s, struct err *e)
{
	struct page_run run;
	int rc = 0;

	while (rc == 0 && s->end == LATE_GOING_ON && late_pages_take(&s->pages, &run))
		rc = send_run(s, LATE_PUSH, &run);
	if (rc < 0)
		stop_answering(s);
	else if (s->answering)
		pthread_join(s->answerer, NULL); /* until the destination has it all, or is lost */
	s->answering = false;
	if (s->end == LATE_COMPLETE)
		return 0;
	/* Which of the two connections showed it first says nothing. */
	return err_set(e, ERR_PEER, rc < 0 ? peer_errno(-rc) : 0, "post-copy: the connection is lost");
}

uint64_t late_source_left(const struct late_source *s)
{
	return atomic_load_explicit(&s->pages.left, memory_order_relaxed);
}

struct late_stats late_source_stats(const struct late_source *s)
{
	return (struct late_stats){ .faults = s->faults, .pages = s->sent_pages, .wire_bytes = s->wire_bytes };
}

/* ---- once more ---- */

/* One attempt. 0 when it is decided, 1 when nothing was reached, -1 likewise with the reason in e. */
static int try_again(struct late_source *s, const struct link_config *link, enum link_outcome *outcome, uint32_t *there, struct err *e)
{
	struct run_list missing = { 0 };
	int rc = link_query(link, outcome, there, &missing, e);

	if (rc == 0 && (*outcome != LINK_RUNNING || missing.data_pages == 0)) {
		run_list_finish(&missing);
		return 0;
	}
	disconnect(s);
	if (rc == 0)
		rc = late_source_connect(s, link, e);
	if (rc == 0)
		rc = late_source_answer(s, &missing, e);
	run_list_finish(&missing);
	if (rc == 0)
		rc = late_source_push(s, e);
	return rc;
}

int late_source_resume(struct late_source *s, pid_t pid, const struct link_config *link, uint64_t patience_us, enum link_outcome *outcome,
		       uint32_t *there, struct err *e)
{
	struct late_source *own = s ? NULL : late_source_create(pid, e);
	uint64_t end = clock_us() + patience_us;
	int wait = ASK_AGAIN_MS, rc = -1;

	if (!s)
		s = own;
	while (s && (rc = try_again(s, link, outcome, there, e)) < 0) {
		log_event(LOG_INFO, "late-pages-again", "destination=%s error=\"%s\"", link->address, e->text);
		if (clock_us() >= end) {
			rc = err_set(e, ERR_UNDECIDED, 0, "the destination runs it and misses pages that only the frozen original here has: dray recover "
				     "goes on with it");
			break;
		}
		poll(NULL, 0, wait); /* a peer that is away: nothing to wait for but time */
		wait = wait * 2 > ASK_AGAIN_MAX_MS ? ASK_AGAIN_MAX_MS : wait * 2;
	}
	late_source_destroy(own);
	return rc;
}
