/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/track/known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct known_mapping {
	uint64_t start, end;
	uint64_t inode, path, shift; /* of a file: a digest of its path, and how far its addresses are from its bytes. 0 of anonymous memory */
	uint32_t dev_major, dev_minor;
	bool file, grows_down;
};

static struct known_mapping describe(const struct vma *v)
{
	struct known_mapping m = { .start = v->start, .end = v->end, .file = v->kind == VMA_FILE_PRIVATE, .grows_down = v->grows_down };

	if (!m.file)
		return m;
	m.inode = v->inode;
	m.dev_major = v->dev_major;
	m.dev_minor = v->dev_minor;
	m.path = XXH3_64bits(v->path, strlen(v->path));
	m.shift = v->start - v->pgoff;
	return m;
}

static bool same(const struct known_mapping *a, const struct known_mapping *b)
{
	return a->file == b->file && a->grows_down == b->grows_down && a->inode == b->inode && a->path == b->path && a->shift == b->shift &&
	       a->dev_major == b->dev_major && a->dev_minor == b->dev_minor;
}

/* Neighbours that are alike, as those of which each has a protection of its own, become one. */
static int describe_all(const struct vma_list *vmas, struct known *out)
{
	*out = (struct known){ .mapping = malloc((vmas->count + 1) * sizeof(*out->mapping)), .told = true };
	if (!out->mapping)
		return -ENOMEM;
	for (size_t i = 0; i < vmas->count; i++) {
		const struct vma *v = &vmas->vma[i];
		struct known_mapping m, *last = out->count ? &out->mapping[out->count - 1] : NULL;

		if (!vma_carries_pages(v) || v->kind == VMA_SHMEM)
			continue;
		m = describe(v);
		if (last && last->end == m.start && same(last, &m))
			last->end = m.end;
		else
			out->mapping[out->count++] = m;
	}
	return 0;
}

/* Whether what is at addr of m was the same before; *stop: up to where that holds. *at: the first mapping of before that may have to do with it, as addr ascends. */
static bool was_same(const struct known *before, size_t *at, const struct known_mapping *m, uint64_t addr, uint64_t *stop)
{
	const struct known_mapping *was;

	while (*at < before->count && before->mapping[*at].end <= addr)
		++*at;
	*stop = m->end;
	if (*at == before->count || before->mapping[*at].start >= m->end)
		return false;
	was = &before->mapping[*at];
	if (was->start > addr) {
		*stop = was->start;
		return false;
	}
	if (was->end < m->end)
		*stop = was->end;
	return same(was, m);
}

static int compare(const struct known *before, const struct known *now, struct run_list *differs)
{
	size_t at = 0;

	for (size_t i = 0; i < now->count; i++) {
		const struct known_mapping *m = &now->mapping[i];

		for (uint64_t addr = m->start, stop; addr < m->end; addr = stop) {
			bool known = was_same(before, &at, m, addr, &stop);
			int rc = known ? 0 : run_list_add(differs, addr, bytes_to_pages(stop - addr), RUN_DROP);

			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

int known_compare(struct known *k, const struct vma_list *vmas, bool keep, struct run_list *differs)
{
	struct known now;
	int rc = describe_all(vmas, &now);

	if (rc == 0 && k->told)
		rc = compare(k, &now, differs);
	if (rc == 0 && keep) {
		known_finish(k);
		*k = now;
	} else {
		known_finish(&now);
	}
	return rc;
}

void known_finish(struct known *k)
{
	free(k->mapping);
	*k = (struct known){ 0 };
}
