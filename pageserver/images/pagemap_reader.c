/* SPDX-License-Identifier: Apache-2.0 */
/* A chain is flattened once, when it is opened: each level is walked forward only, so that costs what the page maps are long. */
#include "pageserver/images/pagemap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "images.pb-c.h"
#include "pageserver/images/pagemap_chain.h"
#include "proto/wire/runs.h"

struct pagemap_reader {
	struct pagemap_chain chain;
	struct page_extent *v;
	size_t count, capacity;
	size_t next;
	char name[IMAGE_NAME_MAX];
};

/* The flattening: a cursor a level. */
struct flatten {
	struct pagemap_reader *reader;
	size_t at[PAGEMAP_CHAIN_MAX];
	struct err *e;
};

static uint64_t extent_end(const struct page_extent *x)
{
	return x->vaddr + pages_to_bytes(x->nr);
}

static bool continues(const struct page_extent *a, const struct page_extent *b)
{
	return extent_end(a) == b->vaddr && a->flags == b->flags && a->depth == b->depth &&
	       (a->fd < 0 || a->offset + pages_to_bytes(a->nr) == b->offset);
}

static int emit(struct flatten *f, struct page_extent x)
{
	struct pagemap_reader *r = f->reader;

	if (r->count && continues(&r->v[r->count - 1], &x)) {
		r->v[r->count - 1].nr += x.nr;
		return 0;
	}
	if (r->count == r->capacity) {
		size_t capacity = r->capacity ? r->capacity * 2 : 64;
		struct page_extent *more = reallocarray(r->v, capacity, sizeof(*more));

		if (!more)
			return err_sys(f->e, "memory for %zu ranges", capacity);
		r->v = more;
		r->capacity = capacity;
	}
	r->v[r->count++] = x;
	return 0;
}

/* No level has it. */
static int emit_unfilled(struct flatten *f, unsigned depth, uint64_t start, uint64_t end)
{
	return emit(f, (struct page_extent){ start, bytes_to_pages(end - start), PAGE_IN_PARENT, -1, 0, depth });
}

static int emit_range(struct flatten *f, unsigned depth, const struct pagemap_range *r, uint64_t start, uint64_t end)
{
	struct page_extent x = { start, bytes_to_pages(end - start), r->flags, -1, 0, depth };

	if (r->flags & PAGE_PRESENT) {
		x.fd = f->reader->chain.level[depth].pages;
		x.offset = pages_to_bytes(r->first) + (start - r->vaddr);
	}
	return emit(f, x);
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* What the chain from depth on has of [start, end). Asked for in ascending order at each level, as deep as PAGEMAP_CHAIN_MAX. */
static int resolve(struct flatten *f, unsigned depth, uint64_t start, uint64_t end)
{
	const struct pagemap_table *t;
	int rc = 0;

	if (depth == f->reader->chain.depth)
		return emit_unfilled(f, depth, start, end);
	t = &f->reader->chain.level[depth].table;
	while (start < end && rc == 0) {
		const struct pagemap_range *r;
		uint64_t stop;

		while (f->at[depth] < t->count && t->v[f->at[depth]].end <= start)
			f->at[depth]++;
		if (f->at[depth] == t->count || t->v[f->at[depth]].vaddr >= end)
			return emit_unfilled(f, depth, start, end);
		r = &t->v[f->at[depth]];
		stop = r->vaddr > start ? r->vaddr : least(r->end, end);
		if (r->vaddr > start)
			rc = emit_unfilled(f, depth, start, stop);
		else if (r->flags & PAGE_IN_PARENT)
			rc = resolve(f, depth + 1, start, stop);
		else
			rc = emit_range(f, depth, r, start, stop);
		start = stop;
	}
	return rc;
}

static int flatten(struct pagemap_reader *r, struct err *e)
{
	struct flatten f = { .reader = r, .e = e };
	const struct pagemap_table *t = &r->chain.level[0].table;

	for (size_t i = 0; i < t->count; i++)
		if (resolve(&f, 0, t->v[i].vaddr, t->v[i].end) < 0)
			return -1;
	return 0;
}

/* Gone is a plain no. */
static int answer_no(struct err *e)
{
	if (e->kind != ERR_GONE)
		return -1;
	err_clear(e);
	return 0;
}

int pagemap_exists(int dirfd, enum pagemap_kind kind, uint64_t id, struct err *e)
{
	PagemapHead *h = (PagemapHead *)image_read_one(dirfd, pagemap_image_type(kind), id, &pagemap_head__descriptor, e);
	uint64_t size;
	int fd;

	if (!h)
		return answer_no(e);
	fd = image_open_file(dirfd, IMAGE_PAGES, h->pages_id, false, &size, e);
	pagemap_head__free_unpacked(h, NULL);
	if (fd < 0)
		return answer_no(e);
	close(fd);
	return 1;
}

struct pagemap_reader *pagemap_open(int dirfd, enum pagemap_kind kind, uint64_t id, struct err *e)
{
	struct pagemap_reader *r = calloc(1, sizeof(*r));

	if (!r) {
		err_sys(e, "memory for a page map");
		return NULL;
	}
	image_name(pagemap_image_type(kind), id, r->name);
	if (pagemap_chain_open(&r->chain, dirfd, kind, id, CHAIN_READ, e) < 0 || flatten(r, e) < 0) {
		pagemap_close(r);
		return NULL;
	}
	return r;
}

void pagemap_close(struct pagemap_reader *r)
{
	if (!r)
		return;
	pagemap_chain_close(&r->chain);
	free(r->v);
	free(r);
}

static bool is_unfilled(const struct page_extent *x)
{
	return x->flags & PAGE_IN_PARENT;
}

int pagemap_next(struct pagemap_reader *r, struct page_extent *out, struct err *e)
{
	if (r->next == r->count)
		return 0;
	*out = r->v[r->next];
	if (is_unfilled(out))
		return err_set(e, ERR_PROTOCOL, 0, "%s: the hole at 0x%" PRIx64 " of %" PRIu64 " pages is in no parent", r->name, out->vaddr, out->nr);
	r->next++;
	return 1;
}

void pagemap_rewind(struct pagemap_reader *r)
{
	r->next = 0;
}

/* The extent whose pages [vaddr, ...) start, or NULL: the pages of it have no contents here. */
static const struct page_extent *stored_at(const struct pagemap_reader *r, uint64_t vaddr)
{
	size_t low = 0, high = r->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (extent_end(&r->v[mid]) > vaddr)
			high = mid;
		else
			low = mid + 1;
	}
	if (low == r->count || r->v[low].vaddr > vaddr || !(r->v[low].flags & PAGE_PRESENT))
		return NULL;
	return &r->v[low];
}

static bool range_end(uint64_t vaddr, uint64_t nr, uint64_t *end)
{
	uint64_t bytes;

	return vaddr % DRAY_PAGE_SIZE == 0 && !__builtin_mul_overflow(nr, DRAY_PAGE_SIZE, &bytes) && !__builtin_add_overflow(vaddr, bytes, end);
}

bool pagemap_covers(struct pagemap_reader *r, uint64_t vaddr, uint64_t nr)
{
	uint64_t end;

	if (!range_end(vaddr, nr, &end))
		return false;
	while (vaddr < end) {
		const struct page_extent *x = stored_at(r, vaddr);

		if (!x)
			return false;
		vaddr = extent_end(x);
	}
	return true;
}

static int read_at(int fd, void *data, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = pread(fd, data, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		data = (char *)data + n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int pagemap_read(struct pagemap_reader *r, uint64_t vaddr, uint64_t nr, void *data, struct err *e)
{
	uint64_t end;

	if (!range_end(vaddr, nr, &end))
		return err_set(e, ERR_INTERNAL, 0, "%s: 0x%" PRIx64 " of %" PRIu64 " pages is no range", r->name, vaddr, nr);
	while (vaddr < end) {
		const struct page_extent *x = stored_at(r, vaddr);
		uint64_t stop;
		int rc;

		if (!x)
			return err_set(e, ERR_PROTOCOL, 0, "%s: the page at 0x%" PRIx64 " is not there", r->name, vaddr);
		stop = least(extent_end(x), end);
		rc = read_at(x->fd, data, stop - vaddr, x->offset + (vaddr - x->vaddr));
		if (rc < 0)
			return err_set(e, ERR_SYSTEM, -rc, "%s: read the pages at 0x%" PRIx64, r->name, vaddr);
		data = (char *)data + (stop - vaddr);
		vaddr = stop;
	}
	return 0;
}
