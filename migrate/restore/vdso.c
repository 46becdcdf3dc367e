/* SPDX-License-Identifier: Apache-2.0 */
/* The process goes on calling into its vdso by address, so the kernel here must have the same one. The images hold the pages of the code;
 * those of its data are the kernel's. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migrate/mm/vma.h"
#include "migrate/restore/restore_priv.h"
#include "pageserver/images/pagemap.h"
#include "proto/base/cleanup.h"
#include "proto/wire/runs.h"

enum { STATUS_VDSO = 0x8, STATUS_VVAR = 0x1000, VDSO_MAX = 1 << 20 };

static int differs(struct restore *r, const VmaEntry *v, const char *how)
{
	return err_set(r->e, ERR_MISMATCH, 0, "task %u: the vdso at 0x%" PRIx64 " is not that of this kernel (%s): the same kernel build is needed",
		       r->task->ps->pid, v->start, how);
}

static int compare_code(struct restore *r, struct pagemap_reader *pages, const VmaEntry *v, const struct vma *own)
{
	uint64_t len = v->end - v->start;
	cleanup_free void *theirs = len <= VDSO_MAX ? malloc(len) : NULL;

	if (!theirs)
		return differs(r, v, "its size");
	if (!pagemap_covers(pages, v->start, bytes_to_pages(len)))
		return differs(r, v, "the images don't hold it");
	if (pagemap_read(pages, v->start, bytes_to_pages(len), theirs, r->e) < 0)
		return -1;
	return memcmp(theirs, (const void *)(uintptr_t)own->start, len) == 0 ? 0 : differs(r, v, "its code");
}

static const struct vma *next_special(const struct vma_list *l, size_t *at)
{
	for (; *at < l->count; (*at)++)
		if (l->vma[*at].kind == VMA_VDSO || l->vma[*at].kind == VMA_VVAR)
			return &l->vma[(*at)++];
	return NULL;
}

/* Kinds, order and sizes one by one, as rebuild.h moves them. */
static int compare(struct restore *r, struct pagemap_reader *pages, const struct vma_list *own)
{
	const MmEntry *mm = r->task->mm;
	size_t at = 0;

	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];
		const struct vma *o;

		if (!(v->status & (STATUS_VDSO | STATUS_VVAR)))
			continue;
		o = next_special(own, &at);
		if (!o || (o->kind == VMA_VDSO) != !!(v->status & STATUS_VDSO) || o->end - o->start != v->end - v->start)
			return differs(r, v, "its layout");
		if (o->kind == VMA_VDSO && compare_code(r, pages, v, o) < 0)
			return -1;
	}
	return 0;
}

int restore_check_vdso(struct restore *r)
{
	struct vma_list own = { 0 };
	struct pagemap_reader *pages = pagemap_open(r->q->images_dir, PAGEMAP_TASK, r->task->ps->pid, r->e);
	int rc = pages ? vma_list_read(&own, getpid(), VMA_READ_MAPS, r->e) : -1;

	if (rc == 0)
		rc = compare(r, pages, &own);
	vma_list_finish(&own);
	pagemap_close(pages);
	return rc;
}
