/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/receiver_priv.h"

#include <inttypes.h>
#include <sys/statvfs.h>

#include "pageserver/stock/meter.h"
#include "pageserver/stock/native.h"
#include "pageserver/stock/streams.h"
#include "pageserver/stock/turn.h"
#include "proto/wire/runs.h"

enum {
	COPY = 128 * 1024,  /* at a time where there is room for more: a copy holds its processor, for which somebody may wait who was asked */
	ROOM_MAX = 64 * 1024 * 1024, /* bytes that one look at the file system is good for */
	DIRECT = 64 * 1024, /* from here on a range costs less by a read of its own than by a copy */
};

ssize_t receiver_move_pages(struct page_source *s, int pipe, size_t max, struct err *e)
{
	struct receiver *r = (struct receiver *)s;
	ssize_t n = ps_input_into_pipe(&r->in, pipe, max);

	return n < 0 ? receiver_input_failed(r, (int)n, e) : n;
}

static uint64_t at_most(uint64_t bytes, uint64_t most)
{
	return bytes < most ? bytes : most;
}

static ssize_t next_pages(struct receiver *r, uint64_t max, uint8_t *into, const uint8_t **pages)
{
	return r->in_frame ? native_frame_pages(r->native, max, into, pages) : ps_input_pages_into(&r->in, max, into, pages);
}

/* Through our memory, or into that of the sink. Bytes, or -1. */
static ssize_t put_pages(struct receiver *r, const struct ps_command *c, uint64_t vaddr, uint64_t max, uint8_t *into, struct err *e)
{
	const uint8_t *pages;
	ssize_t n = next_pages(r, max, into, &pages);

	if (n < 0)
		return receiver_input_failed(r, (int)n, e);
	return r->sink->ops->pages(r->sink, vaddr, bytes_to_pages((uint64_t)n), c->flags, pages, e) < 0 ? -1 : n;
}

/* A large range is received where it belongs, where that is in memory; else nobody has to look at it (a frame has a checksum, and what may come again is
 * counted by the page), and it is spliced. Bytes, or -1. */
static ssize_t some_pages(struct receiver *r, const struct ps_command *c, uint64_t vaddr, uint64_t left, bool large, struct err *e)
{
	const struct page_sink_ops *ops = r->sink->ops;
	uint64_t room = left, piece = at_most(left, PS_INPUT_PIECE);
	uint8_t *into = large && ops->room ? ops->room(r->sink, &room) : NULL;

	if (into)
		return put_pages(r, c, vaddr, at_most(at_most(left, room), COPY), into, e);
	if (!large || r->in_frame || r->streams || !ops->pull || !r->in.splices)
		return put_pages(r, c, vaddr, left, NULL, e);
	return ops->pull(r->sink, vaddr, bytes_to_pages(piece), c->flags, &r->source, e) < 0 ? -1 : (ssize_t)piece;
}

/* Those that came on a connection that was cut are read and forgotten, where they come again. Returns how many there are. */
static int64_t skip_pages(struct receiver *r, const struct ps_command *c, struct err *e)
{
	uint64_t skip = r->done.pages - r->seen.pages < c->nr ? r->done.pages - r->seen.pages : c->nr, left = r->resumed ? 0 : pages_to_bytes(skip);

	r->seen.pages += skip;
	while (left > 0) {
		const uint8_t *pages;
		ssize_t n = next_pages(r, left, NULL, &pages);

		if (n < 0)
			return receiver_input_failed(r, (int)n, e);
		left -= (uint64_t)n;
	}
	return (int64_t)skip;
}

int receiver_find_room(struct receiver *r, uint64_t bytes, struct err *e)
{
	uint64_t keep = r->config->limits.keep_free, is_free;
	struct statvfs fs;

	if (!keep || bytes <= r->room) {
		r->room -= keep ? bytes : 0;
		return 0;
	}
	if (fstatvfs(r->config->images_dir, &fs) < 0)
		return err_sys(e, "how much is free where the set goes");
	is_free = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (is_free < keep || is_free - keep < bytes) {
		ps_meter_limit(r->config->meter, LIMIT_KEEP_FREE);
		return err_set(e, ERR_LIMIT, 0, "%" PRIu64 " bytes are free where the set goes, of which %" PRIu64 " are to stay so (--keep-free)", is_free, keep);
	}
	r->room = is_free - keep - bytes < ROOM_MAX ? is_free - keep - bytes : ROOM_MAX;
	return 0;
}

static int take_pages(struct receiver *r, const struct ps_command *c, struct err *e)
{
	int64_t skipped = r->done.pages > r->seen.pages ? skip_pages(r, c, e) : 0;
	uint64_t vaddr = c->vaddr + pages_to_bytes((uint64_t)skipped), left = pages_to_bytes(c->nr - (uint64_t)skipped), max = r->config->limits.bytes;
	bool large = left >= DIRECT;

	if (skipped < 0)
		return -1;
	if (large)
		turn_for_pages(&r->turn);
	if (max && pages_to_bytes(r->report->pages) + left > max) {
		ps_meter_limit(r->config->meter, LIMIT_SESSION_BYTES);
		return err_set(e, ERR_LIMIT, 0, "the session's pages exceed the %" PRIu64 " bytes allowed (--session-bytes)", max);
	}
	if (receiver_find_room(r, left, e) < 0)
		return -1;
	while (left > 0) {
		ssize_t n = some_pages(r, c, vaddr, left, large, e);

		if (n < 0)
			return -1;
		r->report->pages += bytes_to_pages((uint64_t)n);
		r->done.pages = r->seen.pages += bytes_to_pages((uint64_t)n);
		vaddr += (uint64_t)n;
		left -= (uint64_t)n;
		if (left > 0)
			receiver_tell(r);
	}
	return 0;
}

static int take_range(struct receiver *r, const struct ps_command *c, struct err *e)
{
	if (ps_has_pages(c))
		return take_pages(r, c, e);
	r->report->in_parent += c->flags & PS_IN_PARENT ? c->nr : 0;
	return r->sink->ops->hole(r->sink, c->vaddr, c->nr, c->flags, e);
}

int receiver_on_range(struct receiver *r, const struct ps_command *c, struct err *e)
{
	const char *fault = ps_range_fault(c);
	bool first = ++r->seen.ranges > r->done.ranges;

	if (receiver_be_in_map(r, c, e) < 0)
		return -1;
	r->done.ranges += first;
	r->report->ranges += first;
	if (fault)
		err_set(e, ERR_PROTOCOL, 0, "a range that can't be: %s", fault);
	if (!fault && (!first || receiver_speak_of(r, c->nr, e) == 0) && take_range(r, c, e) == 0)
		return 0;
	err_wrap(e, "0x%" PRIx64 ", %" PRIu64 " pages", c->vaddr, c->nr);
	return receiver_in_map(r->kind, r->id, e);
}

int receiver_on_frame(struct receiver *r, const struct ps_command *c, struct err *e)
{
	struct ps_command range;
	int rc;

	if (!r->native)
		return err_set(e, ERR_PROTOCOL, 0, "0x%x is no command of the page-server protocol", c->code);
	if (r->resumed)
		native_frame_resume(r->native);
	rc = r->resumed ? 0 : native_frame_begin(r->native, c);
	if (rc < 0)
		return receiver_input_failed(r, rc, e);
	r->in_frame = true;
	while (native_frame_run(r->native, &range))
		if (receiver_on_range(r, &range, e) < 0)
			return -1;
	r->in_frame = false;
	rc = native_frame_end(r->native);
	return rc < 0 ? receiver_input_failed(r, rc, e) : 0;
}
