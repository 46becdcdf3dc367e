/* SPDX-License-Identifier: Apache-2.0 */
/* vma.h - the mappings of a process as /proc/PID/maps (and smaps where flags are asked for) tell them, classified.
 * Threads: any; a list belongs to its caller. Lifetime: vma_list_read fills, vma_list_finish frees, a zeroed list is valid. */
#ifndef DRAY_MIGRATE_VMA_H
#define DRAY_MIGRATE_VMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"

enum vma_kind {
	VMA_ANON,         /* private anonymous: heap, mmap, stack, brk, bss */
	VMA_FILE_PRIVATE, /* pages that were written are anonymous, the rest is the file's */
	VMA_FILE_SHARED,  /* contents belong to the file */
	VMA_SHMEM,        /* shared anonymous ("/dev/zero (deleted)"), memfd, SysV: lives in memory only */
	VMA_VDSO,
	VMA_VVAR,     /* [vvar], [vvar_vclock] */
	VMA_VSYSCALL,
	VMA_AIO,      /* [aio] ring */
	VMA_HUGETLB,
	VMA_OTHER,    /* device memory, io_uring rings, anything that can't be carried */
};

struct vma {
	uint64_t start, end; /* bytes */
	uint64_t pgoff;      /* bytes into the file */
	uint64_t inode;
	uint32_t dev_major, dev_minor;
	int prot;            /* PROT_ */
	bool shared, stack, heap, grows_down, deleted, scratch;
	enum vma_kind kind;
	const char *path;    /* as maps prints it, unescaped, without " (deleted)"; "" for none; owned by the list */
	/* With VMA_READ_SMAPS only: */
	uint64_t vm_flags;   /* VMF_ bits of the two-letter VmFlags */
	uint64_t rss_bytes;
};
enum vm_flag_bit { VMF_LOCKED = 1 << 0 /* lo */, VMF_LOCKONFAULT = 1 << 1 /* lf, where the kernel prints it */,
	VMF_DONTFORK = 1 << 2 /* dc */, VMF_WIPEONFORK = 1 << 3 /* wf */, VMF_DONTDUMP = 1 << 4 /* dd */,
	VMF_HUGEPAGE = 1 << 5 /* hg */, VMF_NOHUGEPAGE = 1 << 6 /* nh */, VMF_MERGEABLE = 1 << 7 /* mg */,
	VMF_SEQ_READ = 1 << 8 /* sr */, VMF_RAND_READ = 1 << 9 /* rr */, VMF_IO = 1 << 10 /* io */, VMF_PFNMAP = 1 << 11 /* pf */,
	VMF_NORESERVE = 1 << 12 /* nr */, VMF_HUGETLB = 1 << 13 /* ht */, VMF_GROWSDOWN = 1 << 14 /* gd */, VMF_UFFD = 1 << 15 /* uw, um, ui */,
	VMF_SEALED = 1 << 16 /* sl */, VMF_SHADOW_STACK = 1 << 17 /* ss */, VMF_DROPPABLE = 1 << 18 /* dp */ };

struct vma_list {
	struct vma *vma;
	size_t count, capacity;
	char *text; /* what the paths point into */
};

enum vma_read { VMA_READ_MAPS = 0, VMA_READ_SMAPS = 1 };
/* Both replace what l held (they finish it first), so one list can be read again and again; on failure l is empty.
 * Ascending and free of overlaps, also while the process changes its mappings: what is mapped all the while is in it.
 * A process without memory (zombie, kernel thread) gives an empty list; one that is gone ERR_GONE.
 * What only the flags tell (hugetlb by memfd or SysV, device memory outside /dev) is classified right with VMA_READ_SMAPS. */
int vma_list_read(struct vma_list *l, pid_t pid, enum vma_read how, struct err *e);
/* The same from text (copied), as the two files print it. Pure; ERR_SYSTEM with EPROTO for a line that is neither. */
int vma_list_parse(struct vma_list *l, const char *text, size_t len, enum vma_read how, struct err *e);
/* Marks [start, end), page aligned, splitting mappings that the kernel merged with it. 0 or -ENOMEM. Pointers into l->vma end here. */
int vma_list_mark_scratch(struct vma_list *l, uint64_t start, uint64_t end);
const struct vma *vma_list_find(const struct vma_list *l, uint64_t addr); /* NULL when in a hole */
/* What v was when seen was read: a mapping of the same object, or anonymous as v, that overlaps it: the same, or one that it grew from. NULL: there was none. *at: 0 at
 * first; v is to ascend. */
const struct vma *vma_list_seen_as(const struct vma_list *seen, const struct vma *v, size_t *at);
void vma_list_finish(struct vma_list *l);

/* Memory that travels as pages: anonymous, written pages of private files, shared memory. Not the mover's own. */
bool vma_carries_pages(const struct vma *v);

#endif
