/* SPDX-License-Identifier: Apache-2.0 */
/* A restore's only round: mappings and files as the tree has them, huge pages where the page map is whole for 2 MiB, and that no page
 * of it belongs nowhere. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "migrate/restore/restore_priv.h"
#include "pageserver/images/pagemap.h"
#include "proto/image/vma_status.h"
#include "proto/wire/range_list.h"

#define HUGE_SIZE (2ull << 20)
enum { SEAL_SEAL = 1 };

static int out_of_memory(struct restore *r)
{
	return err_set(r->e, ERR_SYSTEM, ENOMEM, "layout");
}

static int make_room(struct restore_layout *l, struct restore *r)
{
	size_t vmas = r->task->mm->n_vmas, files = r->tree->n_files;

	l->vma = calloc(vmas + 1, sizeof(*l->vma));
	l->vmas = calloc(vmas + 1, sizeof(VmaEntry *));
	l->file = calloc(files + 1, sizeof(*l->file));
	l->files = calloc(files + 1, sizeof(Drayage__MappedFile *));
	l->load = calloc(r->tree->n_memfds + 1, sizeof(*l->load));
	return l->vma && l->vmas && l->file && l->files && l->load ? 0 : out_of_memory(r);
}

/* ---- files ---- */

/* All descriptions of one memory object are staged as the first of them. */
static uint32_t first_of(const struct restore *r, uint32_t inode_id)
{
	for (size_t i = 0; i < r->tree->n_files; i++)
		if (r->tree->files[i]->memfd && r->tree->files[i]->memfd->inode_id == inode_id)
			return r->tree->files[i]->id;
	return 0;
}

static Drayage__MappedFile *add_file(struct restore_layout *l, uint32_t id)
{
	Drayage__MappedFile *m = &l->file[l->message.n_files];

	drayage__mapped_file__init(m);
	m->id = id;
	m->has_shmem = true;
	l->files[l->message.n_files++] = m;
	return m;
}

static void add_memory(struct restore_layout *l, const MemfdInodeEntry *inode, uint32_t id)
{
	Drayage__MappedFile *m = add_file(l, id);

	m->path = inode->name;
	m->size = inode->size;
	m->shmem = true;
	m->has_memfd_flags = true;
	m->memfd_flags = inode->seals == SEAL_SEAL ? 0 : MFD_ALLOW_SEALING;
	l->load[l->loads++] = (struct load_request){ .map = { PAGEMAP_SHMEM, inode->shmid, id } };
}

/* Images need not say how large a file was; it is as it is then. */
static int add_reg(struct restore_layout *l, struct restore *r, const RegFileEntry *reg)
{
	Drayage__MappedFile *m = add_file(l, reg->id);
	struct stat st;

	m->path = reg->name;
	m->size = reg->size;
	if (!reg->has_size) {
		if (stat(reg->name, &st) < 0)
			return err_sys(r->e, "file %s", reg->name);
		m->size = (uint64_t)st.st_size;
	}
	m->has_build_id = reg->n_build_id > 0;
	m->build_id.data = (uint8_t *)reg->build_id;
	m->build_id.len = reg->n_build_id * sizeof(*reg->build_id);
	return 0;
}

static bool is_staged_file(const struct restore_layout *l, uint64_t id)
{
	for (size_t i = 0; i < l->message.n_files; i++)
		if (l->file[i].id == id)
			return true;
	return false;
}

static int add_memories(struct restore_layout *l, struct restore *r)
{
	for (size_t i = 0; i < r->tree->n_memfds; i++) {
		const MemfdInodeEntry *m = r->tree->memfds[i];
		uint32_t id = first_of(r, (uint32_t)m->inode_id);

		if (id)
			add_memory(l, m, id);
	}
	return 0;
}

/* ---- mappings ---- */

static int add_vma(struct restore_layout *l, struct restore *r, const VmaEntry *v)
{
	VmaEntry *copy = &l->vma[l->message.n_vmas];
	const FileEntry *f;

	if (v->status & VMA_STATUS_KERNELS)
		return 0;
	*copy = *v;
	l->vmas[l->message.n_vmas++] = copy;
	if (!(v->status & (VMA_STATUS_FILE_PRIVATE | VMA_STATUS_FILE_SHARED)))
		return 0;
	f = tree_images_file(r->tree, v->shmid);
	if (f->memfd)
		copy->shmid = first_of(r, f->memfd->inode_id);
	else if (!is_staged_file(l, f->id))
		return add_reg(l, r, f->reg);
	return 0;
}

static int add_vmas(struct restore_layout *l, struct restore *r)
{
	for (size_t i = 0; i < r->task->mm->n_vmas; i++)
		if (add_vma(l, r, r->task->mm->vmas[i]) < 0)
			return -1;
	return 0;
}

/* ---- pages ---- */

static int add_populate(struct restore_layout *l, struct restore *r, uint64_t start, uint64_t end)
{
	Drayage__Range *more;

	start = (start + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1);
	end &= ~(HUGE_SIZE - 1);
	if (start >= end)
		return 0;
	if (l->message.n_populate == l->populate_room) {
		l->populate_room = l->populate_room ? l->populate_room * 2 : 64;
		more = reallocarray(l->populate, l->populate_room, sizeof(*more));
		if (!more)
			return out_of_memory(r);
		l->populate = more;
	}
	more = &l->populate[l->message.n_populate++];
	drayage__range__init(more);
	more->start = start;
	more->end = end;
	return 0;
}

/* [start, end) is wholly there. Mappings ascend, *at walks along them. Private anonymous memory is what has huge pages. */
static int place_run(struct restore_layout *l, struct restore *r, uint64_t start, uint64_t end, size_t *at)
{
	const MmEntry *mm = r->task->mm;

	while (start < end) {
		const VmaEntry *v;
		uint64_t stop;

		while (*at < mm->n_vmas && mm->vmas[*at]->end <= start)
			++*at;
		v = *at < mm->n_vmas ? mm->vmas[*at] : NULL;
		if (!v || v->start > start || !(v->status & (VMA_STATUS_ANON_PRIVATE | VMA_STATUS_FILE_PRIVATE)))
			return err_set(r->e, ERR_PROTOCOL, 0, "pagemap-%u.img: the page at 0x%" PRIx64 " is in no private mapping", r->task->ps->pid, start);
		stop = v->end < end ? v->end : end;
		if (v->status & VMA_STATUS_ANON_PRIVATE && !(v->status & VMA_STATUS_KERNELS) && add_populate(l, r, start, stop) < 0)
			return -1;
		start = stop;
	}
	return 0;
}

/* What somebody else brings once the process runs: by userfaultfd, which watches private anonymous memory only. */
static int add_late(struct restore_layout *l, struct restore *r, const struct page_extent *x)
{
	const MmEntry *mm = r->task->mm;
	uint64_t at = x->vaddr, end = x->vaddr + pages_to_bytes(x->nr);

	for (size_t i = 0; i < mm->n_vmas && at < end; i++) {
		const VmaEntry *v = mm->vmas[i];

		if (v->start <= at && at < v->end && v->status & VMA_STATUS_ANON_PRIVATE && !(v->status & VMA_STATUS_KERNELS))
			at = v->end;
	}
	if (at < end)
		return err_set(r->e, ERR_PROTOCOL, 0, "pagemap-%u.img: the lazy page at 0x%" PRIx64 " is in no private anonymous mapping", r->task->ps->pid,
			       at);
	return run_list_add(&l->late, x->vaddr, x->nr, RUN_DATA) < 0 ? out_of_memory(r) : 0;
}

static int place_map(struct restore_layout *l, struct restore *r, struct pagemap_reader *pages)
{
	uint64_t start = 0, end = 0;
	struct page_extent x;
	size_t at = 0;
	int rc;

	while ((rc = pagemap_next(pages, &x, r->e)) == 1) {
		if (r->q->lazy_pages && x.flags & PAGE_LAZY) {
			if (add_late(l, r, &x) < 0)
				return -1;
			continue;
		}
		if (x.vaddr != end) {
			if (place_run(l, r, start, end, &at) < 0)
				return -1;
			start = x.vaddr;
		}
		end = x.vaddr + pages_to_bytes(x.nr);
	}
	return rc < 0 ? -1 : place_run(l, r, start, end, &at);
}

static int add_pages(struct restore_layout *l, struct restore *r)
{
	struct pagemap_reader *pages = pagemap_open(r->q->images_dir, PAGEMAP_TASK, r->task->ps->pid, r->e);
	int rc = pages ? place_map(l, r, pages) : -1;

	pagemap_close(pages);
	if (rc < 0)
		return -1;
	l->populates = calloc(l->message.n_populate + 1, sizeof(Drayage__Range *));
	if (!l->populates)
		return out_of_memory(r);
	for (size_t i = 0; i < l->message.n_populate; i++)
		l->populates[i] = &l->populate[i];
	return range_list_make(&l->late, &l->lates, &l->message.n_late, r->e);
}

/* The task's page map first, with what of it is the kernel's; then shared memory's, which was listed before. */
static int add_load(struct restore_layout *l, struct restore *r)
{
	struct load_request *q = &l->load[l->loads++];

	*q = (struct load_request){ .map = { PAGEMAP_TASK, r->task->ps->pid, 0 }, .leave_lazy = r->q->lazy_pages };
	for (size_t i = 0; i < r->task->mm->n_vmas; i++) {
		const VmaEntry *v = r->task->mm->vmas[i];

		if (!(v->status & VMA_STATUS_KERNELS))
			continue;
		if (q->skips == LOAD_SKIPS_MAX)
			return err_set(r->e, ERR_PROTOCOL, 0, "mm-%u.img: more than %d mappings of the kernel's", r->task->ps->pid, LOAD_SKIPS_MAX);
		q->skip[q->skips++] = (struct load_skip){ v->start, v->end };
	}
	for (size_t i = 0; i < l->loads; i++)
		l->load[i].punch = r->q->auto_dedup;
	return 0;
}

int restore_layout_build(struct restore_layout *l, struct restore *r)
{
	*l = (struct restore_layout){ 0 };
	drayage__round_begin__init(&l->message);
	if (make_room(l, r) < 0 || add_memories(l, r) < 0 || add_vmas(l, r) < 0 || add_pages(l, r) < 0 || add_load(l, r) < 0)
		return -1;
	l->message.round = 1;
	l->message.last = true;
	l->message.vmas = l->vmas;
	l->message.files = l->files;
	l->message.populate = l->populates;
	l->message.late = l->lates;
	return 0;
}

void restore_layout_finish(struct restore_layout *l)
{
	free(l->vma);
	free(l->vmas);
	free(l->file);
	free(l->files);
	free(l->populate);
	free(l->populates);
	free(l->load);
	free(l->lates);
	run_list_finish(&l->late);
	*l = (struct restore_layout){ 0 };
}
