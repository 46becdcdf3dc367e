/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/verify.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "migrate/remote/remote.h"
#include "proto/base/cleanup.h"
#include "proto/base/grow.h"
#include "proto/base/io.h"
#include "proto/wire/control.h"

enum { PIECE = 1 << 20, REPLY_MS = 600 * 1000 };

struct digests {
	Drayage__RangeDigest *range;
	size_t count, capacity;
};

static int add_piece(struct source *s, struct digests *d, uint64_t start, size_t len, void *buf)
{
	Drayage__RangeDigest *r;

	if (!array_room(&d->range, d->count, &d->capacity, sizeof(*d->range), 1024))
		return err_set(s->err, ERR_SYSTEM, ENOMEM, "verify");
	if (remote_read(s->pid, start, buf, len, s->err) < 0)
		return -1;
	r = &d->range[d->count++];
	drayage__range_digest__init(r);
	r->start = start;
	r->end = start + len;
	r->xxh3 = XXH3_64bits(buf, len);
	return 0;
}

static int add_run(struct source *s, struct digests *d, const struct page_run *run, void *buf)
{
	for (uint64_t at = run->addr; run->kind == RUN_DATA && at < run_end(run); at += PIECE) {
		uint64_t left = run_end(run) - at;

		if (add_piece(s, d, at, left < PIECE ? (size_t)left : PIECE, buf) < 0)
			return -1;
	}
	return 0;
}

/* A look at what is there that knows nothing of what was sent: what the tracker in use missed is in it. */
static int digest_all(struct source *s, struct digests *d)
{
	struct tracker *all = tracker_open(TRACKER_NONE, s->pid, -1, s->err);
	cleanup_free void *buf = malloc(PIECE);
	struct collected c = { 0 };
	int rc = all && buf ? tracker_collect(all, &s->vmas, false, true, &c, s->err) : -1;

	for (size_t i = 0; rc == 0 && i < c.runs.count; i++)
		rc = add_run(s, d, &c.runs.run[i], buf);
	collected_finish(&c);
	tracker_close(all);
	return rc;
}

static int compare(struct source *s, const struct digests *d)
{
	cleanup_free Drayage__RangeDigest **list = calloc(d->count + 1, sizeof(*list));
	Drayage__Verify m = DRAYAGE__VERIFY__INIT;
	Drayage__VerifyReply *reply;
	bool equal;
	uint64_t bad;

	if (!list)
		return err_set(s->err, ERR_SYSTEM, ENOMEM, "verify");
	for (size_t i = 0; i < d->count; i++)
		list[i] = &d->range[i];
	m.ranges = list;
	m.n_ranges = d->count;
	if (control_send(s->control, CONTROL_VERIFY, &m.base, s->err) < 0)
		return -1;
	reply = (Drayage__VerifyReply *)control_expect(s->control, REPLY_MS, CONTROL_VERIFY_REPLY, s->err);
	if (!reply)
		return -1;
	equal = reply->equal;
	bad = reply->first_bad;
	protobuf_c_message_free_unpacked(&reply->base, NULL);
	if (!equal)
		return err_set(s->err, ERR_MISMATCH, 0, "memory from %#lx on differs at the destination", (unsigned long)bad);
	return 0;
}

int verify_memory(struct source *s)
{
	struct digests d = { 0 };
	uint64_t begin = clock_us();
	int rc = digest_all(s, &d);

	if (rc == 0)
		rc = compare(s, &d);
	free(d.range);
	s->report->verified = rc == 0;
	s->report->verify_us = clock_us() - begin;
	return rc < 0 ? err_wrap(s->err, "verify") : 0;
}
