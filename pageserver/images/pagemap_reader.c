/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/pagemap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "images.pb-c.h"
#include "pageserver/images/pagemap_chain.h"
#include "pageserver/images/pagemap_flat.h"
#include "proto/wire/runs.h"

struct pagemap_reader {
	struct pagemap_chain chain;
	struct pagemap_flat flat;
	size_t next;
	char name[IMAGE_NAME_MAX];
};

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
	if (pagemap_chain_open(&r->chain, dirfd, kind, id, e) < 0 || pagemap_flatten(&r->flat, &r->chain, e) < 0) {
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
	pagemap_flat_finish(&r->flat);
	free(r);
}

static bool is_unfilled(const struct page_extent *x)
{
	return x->flags & PAGE_IN_PARENT;
}

int pagemap_next(struct pagemap_reader *r, struct page_extent *out, struct err *e)
{
	if (r->next == r->flat.count)
		return 0;
	*out = r->flat.v[r->next];
	if (is_unfilled(out))
		return err_set(e, ERR_PROTOCOL, 0, "%s: the hole at 0x%" PRIx64 " of %" PRIu64 " pages is in no parent", r->name, out->vaddr, out->nr);
	r->next++;
	return 1;
}

void pagemap_rewind(struct pagemap_reader *r)
{
	r->next = 0;
}

/* The extent that has the contents of the page at vaddr, or NULL. */
static const struct page_extent *stored_at(const struct pagemap_reader *r, uint64_t vaddr)
{
	const struct page_extent *x = pagemap_flat_find(&r->flat, vaddr);

	return x && x->vaddr <= vaddr && x->flags & PAGE_PRESENT ? x : NULL;
}

static bool range_end(uint64_t vaddr, uint64_t nr, uint64_t *end)
{
	uint64_t bytes;

	return vaddr % DRAY_PAGE_SIZE == 0 && !__builtin_mul_overflow(nr, DRAY_PAGE_SIZE, &bytes) && !__builtin_add_overflow(vaddr, bytes, end);
}

uint64_t pagemap_stored(const struct pagemap_reader *r, uint64_t vaddr, uint64_t most)
{
	const struct page_extent *x;
	uint64_t nr = 0;

	while (nr < most && (x = stored_at(r, vaddr))) {
		nr += bytes_to_pages(page_extent_end(x) - vaddr);
		vaddr = page_extent_end(x);
	}
	return nr < most ? nr : most;
}

bool pagemap_covers(const struct pagemap_reader *r, uint64_t vaddr, uint64_t nr)
{
	uint64_t end;

	return range_end(vaddr, nr, &end) && pagemap_stored(r, vaddr, nr) == nr;
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
		stop = page_extent_end(x) < end ? page_extent_end(x) : end;
		rc = read_at(x->fd, data, stop - vaddr, x->offset + (vaddr - x->vaddr));
		if (rc < 0)
			return err_set(e, ERR_SYSTEM, -rc, "%s: read the pages at 0x%" PRIx64, r->name, vaddr);
		data = (char *)data + (stop - vaddr);
		vaddr = stop;
	}
	return 0;
}
