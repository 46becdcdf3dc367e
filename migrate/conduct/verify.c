/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/verify.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "migrate/remote/remote.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/wire/control.h"

enum { PIECE = 4 << 20, REPLY_MS = 600 * 1000 };

/* Memory only: what a shared file holds is the file's, and differs where the hosts' files do. */
static bool compared(const struct vma *v)
{
	return vma_carries_pages(v) && !v->scratch && v->kind != VMA_FILE_SHARED && (v->prot != 0 || v->rss_bytes != 0);
}

static int digest_piece(struct source *s, uint64_t start, size_t len, void *buf, Drayage__RangeDigest *out)
{
	if (remote_read(s->pid, start, buf, len, s->err) < 0)
		return err_wrap(s->err, "verify");
	drayage__range_digest__init(out);
	out->start = start;
	out->end = start + len;
	out->xxh3 = XXH3_64bits(buf, len);
	return 0;
}

struct digests {
	Drayage__RangeDigest *range;
	size_t count, capacity;
};

static int add_mapping(struct source *s, struct digests *d, const struct vma *v, void *buf)
{
	for (uint64_t at = v->start; at < v->end; at += PIECE) {
		size_t len = v->end - at < PIECE ? (size_t)(v->end - at) : PIECE;

		if (d->count == d->capacity) {
			size_t cap = d->capacity ? d->capacity * 2 : 256;
			Drayage__RangeDigest *more = realloc(d->range, cap * sizeof(*more));

			if (!more)
				return err_set(s->err, ERR_SYSTEM, ENOMEM, "verify");
			d->range = more;
			d->capacity = cap;
		}
		if (digest_piece(s, at, len, buf, &d->range[d->count]) < 0)
			return -1;
		d->count++;
	}
	return 0;
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
		return err_set(s->err, ERR_MISMATCH, 0, "verify: memory from %#lx on differs at the destination", (unsigned long)bad);
	return 0;
}

int verify_memory(struct source *s)
{
	cleanup_free void *buf = malloc(PIECE);
	struct digests d = { 0 };
	uint64_t begin = clock_us();
	int rc = buf ? 0 : err_set(s->err, ERR_SYSTEM, ENOMEM, "verify");

	for (size_t i = 0; rc == 0 && i < s->vmas.count; i++)
		if (compared(&s->vmas.vma[i]))
			rc = add_mapping(s, &d, &s->vmas.vma[i], buf);
	if (rc == 0)
		rc = compare(s, &d);
	free(d.range);
	s->report->verified = rc == 0;
	s->report->verify_us = clock_us() - begin;
	return rc;
}
