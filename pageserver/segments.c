/* SPDX-License-Identifier: Apache-2.0 */
/* What a peer's list of mappings means, checked, and how two such lists differ. Pure but for the file table it looks into. */
#include "pageserver/place_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "proto/image/vma_status.h"

enum {
	STATUS_NOT_STAGED = VMA_STATUS_KERNELS | VMA_STATUS_GUARD,
	STATUS_UNSUPPORTED = VMA_STATUS_SYSV | VMA_STATUS_SOCKET | VMA_STATUS_AIO | VMA_STATUS_SHADOW_STACK | VMA_STATUS_UPROBES,
};

static int check_range(const VmaEntry *v, uint64_t last_end, struct err *e)
{
	const uint64_t in_page = DRAY_PAGE_SIZE - 1;

	if ((v->start | v->end | v->pgoff) & in_page || v->start >= v->end || v->end > PLACE_ADDRESS_END - DRAY_PAGE_SIZE ||
	    v->start < last_end || v->pgoff >= 1ull << 62)
		return err_set(e, ERR_PROTOCOL, 0, "mapping %llx-%llx: not a range of pages above the one before",
			       (unsigned long long)v->start, (unsigned long long)v->end);
	return 0;
}

static int find_kind(const VmaEntry *v, const struct stage_files *files, struct segment *s, struct err *e)
{
	const struct staged_file *f;

	if (v->status & STATUS_UNSUPPORTED || v->flags & MAP_HUGETLB)
		return err_set(e, ERR_UNSUPPORTED, 0, "mapping %llx-%llx: of a kind (%#x) that can't be staged",
			       (unsigned long long)v->start, (unsigned long long)v->end, v->status);
	if (v->status & VMA_STATUS_ANON_PRIVATE) {
		s->kind = SEGMENT_ANON;
		return 0;
	}
	f = stage_files_find(files, v->shmid);
	if (!f || !(v->status & (VMA_STATUS_FILE_PRIVATE | VMA_STATUS_FILE_SHARED | VMA_STATUS_ANON_SHARED)))
		return err_set(e, ERR_PROTOCOL, 0, "mapping %llx-%llx: file %llu was not announced", (unsigned long long)v->start,
			       (unsigned long long)v->end, (unsigned long long)v->shmid);
	s->file = v->shmid;
	s->pgoff = v->pgoff;
	if (v->status & VMA_STATUS_FILE_PRIVATE)
		s->kind = SEGMENT_FILE_PRIVATE;
	else
		s->kind = f->shmem ? SEGMENT_SHMEM : SEGMENT_FILE_SHARED;
	return 0;
}

int segments_from_vmas(struct segments *s, VmaEntry *const *vma, size_t count, const struct stage_files *files, struct err *e)
{
	uint64_t last_end = DRAY_PAGE_SIZE; /* page 0 can't be mapped */

	*s = (struct segments){ .v = malloc((count ? count : 1) * sizeof(*s->v)) };
	if (!s->v)
		return err_set(e, ERR_SYSTEM, ENOMEM, "%zu mappings", count);
	for (size_t i = 0; i < count; i++) {
		const VmaEntry *v = vma[i];
		struct segment new = { .start = v->start, .end = v->end, .grows_down = v->flags & MAP_GROWSDOWN,
			.noreserve = v->flags & MAP_NORESERVE };

		if (v->status & STATUS_NOT_STAGED)
			continue;
		if (check_range(v, last_end, e) < 0 || find_kind(v, files, &new, e) < 0) {
			segments_finish(s);
			return -1;
		}
		if (new.kind == SEGMENT_FILE_SHARED) {
			new.readable = v->prot & PROT_READ;
			new.writable = v->prot & PROT_WRITE || (v->has_fdflags && (v->fdflags & 3) != 0);
		}
		last_end = v->end;
		s->v[s->count++] = new;
	}
	return 0;
}

void segments_finish(struct segments *s)
{
	free(s->v);
	*s = (struct segments){ 0 };
}

size_t segments_find(const struct segments *s, uint64_t addr)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (s->v[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool alike(const struct segment *a, const struct segment *b)
{
	if (a->kind != b->kind || a->grows_down != b->grows_down || a->file != b->file)
		return false;
	if (a->kind == SEGMENT_ANON)
		return true;
	return a->pgoff - a->start == b->pgoff - b->start && a->readable == b->readable && a->writable == b->writable;
}

static int give(const struct segment *of, uint64_t start, uint64_t end, segment_fn *fn, void *arg)
{
	struct segment piece = *of;

	piece.start = start;
	piece.end = end;
	if (piece.kind != SEGMENT_ANON)
		piece.pgoff += start - of->start;
	return fn(arg, &piece);
}

int segments_compare(const struct segments *a, const struct segments *b, bool same, segment_fn *fn, void *arg)
{
	size_t j = 0;

	for (size_t i = 0; i < a->count; i++) {
		const struct segment *s = &a->v[i];
		uint64_t at = s->start;

		while (at < s->end) {
			const struct segment *other;
			uint64_t end = s->end;
			bool is_same = false;

			while (j < b->count && b->v[j].end <= at)
				j++;
			other = j < b->count ? &b->v[j] : NULL;
			if (other && other->start > at) {
				end = other->start < end ? other->start : end;
			} else if (other) {
				end = other->end < end ? other->end : end;
				is_same = alike(s, other);
			}
			if (is_same == same && give(s, at, end, fn, arg) < 0)
				return -1;
			at = end;
		}
	}
	return 0;
}
