/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/receiver_priv.h"

#include <assert.h>
#include <inttypes.h>

#include "pageserver/stock/meter.h"
#include "proto/base/io.h"

static_assert((int)PS_TASK == (int)PAGEMAP_TASK && (int)PS_SHMEM == (int)PAGEMAP_SHMEM, "kinds of page maps");
static_assert((int)PS_IN_PARENT == (int)PAGE_IN_PARENT && (int)PS_LAZY == (int)PAGE_LAZY && (int)PS_PRESENT == (int)PAGE_PRESENT, "flags");

static int which_map(const struct ps_command *c, enum ps_kind *kind, uint64_t *id, struct err *e)
{
	if (ps_dst_decode(c->dst, kind, id) == 0)
		return 0;
	return err_set(e, ERR_PROTOCOL, 0, "%s for a page map of unknown type %u", ps_name(c->code), (unsigned)(c->dst & 0xff));
}

static int answer_whether_parent(struct receiver *r, enum ps_kind kind, uint64_t id, size_t size, struct err *e)
{
	bool parent;

	if (r->sink->ops->has_parent(r->sink, (enum pagemap_kind)kind, id, &parent, e) < 0)
		return receiver_in_map(kind, id, e);
	if (receiver_answer_value(r, parent, size, e) < 0)
		return -1;
	if (r->asked_us)
		ps_meter_answered(r->config->meter, clock_us() - r->asked_us);
	return 0;
}

int receiver_on_parent(struct receiver *r, const struct ps_command *c, struct err *e)
{
	enum ps_kind kind;
	uint64_t id;

	return which_map(c, &kind, &id, e) < 0 ? -1 : answer_whether_parent(r, kind, id, PS_PARENT_ANSWER, e);
}

int receiver_speak_of(struct receiver *r, uint64_t pages, struct err *e)
{
	uint64_t max = r->config->limits.pages;

	if (max && pages > max - r->spoken_of) {
		ps_meter_limit(r->config->meter, LIMIT_SESSION_PAGES);
		return err_set(e, ERR_LIMIT, 0, "the session speaks of more than the %" PRIu64 " pages allowed (--session-pages)", max);
	}
	r->spoken_of += pages;
	return 0;
}

typedef int open_fn(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e);

static int open_map(struct receiver *r, open_fn *open, enum ps_kind kind, uint64_t id, bool *parent, struct err *e)
{
	if (receiver_speak_of(r, 1, e) < 0 || receiver_find_room(r, 1, e) < 0 || open(r->sink, (enum pagemap_kind)kind, id, parent, e) < 0)
		return receiver_in_map(kind, id, e);
	r->open = true;
	r->kind = kind;
	r->id = id;
	r->report->maps++;
	return 0;
}

/* The sender's tasks stand still until it has the answer, which is known before the files of the map before are closed and new ones made. Where that fails
 * the session ends, as it does when pages can't be written. */
int receiver_on_open(struct receiver *r, const struct ps_command *c, struct err *e)
{
	enum ps_kind kind;
	bool ignored;
	uint64_t id;

	if (which_map(c, &kind, &id, e) < 0)
		return -1;
	if (c->code == PS_OPEN2 && answer_whether_parent(r, kind, id, PS_OPEN2_ANSWER, e) < 0)
		return -1;
	return open_map(r, r->sink->ops->open, kind, id, &ignored, e);
}

int receiver_be_in_map(struct receiver *r, const struct ps_command *c, struct err *e)
{
	enum ps_kind kind;
	bool parent;
	uint64_t id;

	if (which_map(c, &kind, &id, e) < 0)
		return -1;
	return r->open && r->kind == kind && r->id == id ? 0 : open_map(r, page_sink_resume, kind, id, &parent, e);
}
