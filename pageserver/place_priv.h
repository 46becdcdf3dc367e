/* SPDX-License-Identifier: Apache-2.0 */
/* place_priv.h - what the parts of place share: stage.c brings mappings in line, place_pages.c gives pages their memory. */
#ifndef DRAY_PAGESERVER_PLACE_PRIV_H
#define DRAY_PAGESERVER_PLACE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pageserver/place.h"
#include "pageserver/stage_files.h"

enum segment_kind {
	SEGMENT_ANON,         /* private anonymous */
	SEGMENT_FILE_PRIVATE, /* pages that are placed become copies */
	SEGMENT_SHMEM,        /* memory file */
	SEGMENT_FILE_SHARED,  /* the file's own: nothing is placed there */
};

struct segment { /* addresses are the source's */
	uint64_t start, end;
	uint64_t pgoff;
	uint64_t file; /* MappedFile.id; 0 for anonymous */
	enum segment_kind kind;
	bool grows_down, noreserve, readable, writable; /* the last two: of FILE_SHARED */
};

struct segments {
	struct segment *v;
	size_t count;
};

/* Memory that was announced as wholly present: made huge, 2 MiB at a time, when the first page of a block comes. */
struct huge_range {
	uint64_t start, end; /* 2 MiB aligned, source addresses */
	size_t first;        /* of its blocks in block[] */
};
enum block_state { BLOCK_AWAITED = 0, BLOCK_HUGE = 1, BLOCK_LEFT = 2 /* small pages: no huge one was to be had */ };

struct huge {
	struct huge_range *range;
	size_t count;
	_Atomic uint8_t *block; /* enum block_state */
};

struct place {
	uint64_t bit;
	struct segments segs; /* ascending, what is mapped right now */
	struct stage_files files;
	struct huge huge; /* of the round under way */
	pthread_mutex_t collapsing;

	/* The limit. credit: bytes that may be placed before memory is counted again; pages placed twice use it up too, counting
	 * finds the truth. */
	uint64_t max_bytes, baseline;
	_Atomic int64_t credit;
	pthread_mutex_t counting;
};

enum { HUGE_SHIFT = 21 };
#define HUGE_SIZE (1ull << HUGE_SHIFT)
#define PLACE_ADDRESS_END (1ull << 47)

static inline void *staged_at(const struct place *p, uint64_t addr)
{
	return (void *)(uintptr_t)(addr ^ p->bit);
}

/* segments.c */
int segments_from_vmas(struct segments *s, VmaEntry *const *vma, size_t count, const struct stage_files *files, struct err *e);
void segments_finish(struct segments *s);
/* The first segment that ends above addr: count when there is none. */
size_t segments_find(const struct segments *s, uint64_t addr);
/* Calls fn for each piece of a that b has otherwise or not at all (same = false), or has alike (same = true). Stops when fn returns < 0. */
typedef int segment_fn(void *arg, const struct segment *piece);
int segments_compare(const struct segments *a, const struct segments *b, bool same, segment_fn *fn, void *arg);

/* stage.c */
int stage_choose_bit(struct place *p, const struct segments *s, struct err *e);
int stage_change(struct place *p, struct segments *to, struct err *e); /* takes to; on failure nothing is staged any more */
void stage_clear(struct place *p);

/* place_pages.c */
int place_reset(struct place *p, uint64_t start, uint64_t end, struct err *e);
int huge_announce(struct place *p, Drayage__Range *const *range, size_t count, struct err *e);
void huge_finish(struct huge *h);
int resident_bytes(uint64_t *bytes, struct err *e);

#endif
