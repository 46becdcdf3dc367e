/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, from outside: the husk's mappings go, the staged ones move to their places, the kernel is told what is where.
 *
 *      husk's own   vdso        stage (address ^ bit)        scratch: code, data | parking for the vdso
 *      unmapped     parked      moved, page tables only      at an address that is free in both layouts; removed at the end */
#include <errno.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/native/rebuild_priv.h"
#include "proto/base/cleanup.h"

#define TASK_END UINT64_C(0x7ffffffff000)
enum { PARKING = 1 << 20, DATA = 512 * 1024, MARGIN = 16 << 20, MAX_SPECIAL = 8, STATUS_VVAR = 0x1000, STATUS_VDSO = 0x8 };
enum { RSEQ_UNREGISTER = 1 };

struct range { uint64_t start, end; };

/* ---- where there is room ---- */

static bool clash(uint64_t start, uint64_t end, uint64_t a, uint64_t b)
{
	return start < b && a < end;
}

static bool is_free(const struct outside *o, const struct vma_list *maps, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < maps->count; i++)
		if (clash(start, end, maps->vma[i].start, maps->vma[i].end))
			return false;
	for (size_t i = 0; i < o->task->mm->n_vmas; i++)
		if (clash(start, end, o->task->mm->vmas[i]->start, o->task->mm->vmas[i]->end))
			return false;
	return true;
}

/* Scratch and parking in one piece, with a margin around it that neither a stack nor a heap reaches meanwhile. */
static int find_room(struct outside *o, const struct vma_list *maps, uint64_t *addr)
{
	uint64_t len = 2 * MARGIN + PARKING + DATA + REMOTE_CALLS_BYTES + 4096;

	for (uint64_t at = UINT64_C(0x100000000); at < TASK_END - len; at += UINT64_C(0x40000000)) {
		if (!is_free(o, maps, at, at + len))
			continue;
		*addr = at + MARGIN;
		return 0;
	}
	return err_set(o->e, ERR_UNSUPPORTED, 0, "task %u: no %llu bytes of address space free in both layouts", o->task->ps->pid,
		       (unsigned long long)len);
}

/* ---- the husk's own ---- */

/* The kernel goes on writing to what a thread registered, mapped or not: a fault there would be fatal. */
static int forget_registrations(struct outside *o)
{
	struct { uint64_t address; uint32_t size, signature, flags, pad; } rseq = { 0 }; /* struct ptrace_rseq_configuration */

	if (ptrace((enum __ptrace_request)PTRACE_GET_RSEQ_CONFIGURATION, o->r->thread[0].tid, (void *)sizeof(rseq), &rseq) < 0)
		rseq.address = 0;
	if (rseq.address)
		batch_call(o, REMOTE_CALL(SYS_rseq, rseq.address, rseq.size, RSEQ_UNREGISTER, rseq.signature), "our own rseq area");
	batch_call(o, REMOTE_CALL(SYS_set_robust_list, 0, 24), "our own robust list");
	batch_call(o, REMOTE_CALL(SYS_set_tid_address, 0), "our own tid address");
	return batch_flush(o);
}

static bool is_special(const struct vma *v)
{
	return v->kind == VMA_VDSO || v->kind == VMA_VVAR;
}

static int by_start(const void *a, const void *b)
{
	uint64_t x = ((const struct range *)a)->start, y = ((const struct range *)b)->start;

	return x < y ? -1 : x > y;
}

/* All but the stage, the vdso and the scratch: the holes between those, whatever is in them. */
static int unmap_husk(struct outside *o, const struct vma_list *maps)
{
	const MmEntry *mm = o->task->mm;
	size_t n = 0;
	uint64_t at = 0;
	cleanup_free struct range *keep = calloc(mm->n_vmas + MAX_SPECIAL + maps->count + 1, sizeof(*keep));

	if (!keep)
		return err_set(o->e, ERR_SYSTEM, ENOMEM, "list of mappings");
	for (size_t i = 0; i < mm->n_vmas; i++)
		if (!rebuild_vma_special(mm->vmas[i]))
			keep[n++] = (struct range){ mm->vmas[i]->start ^ o->h->stage_bit, mm->vmas[i]->end - mm->vmas[i]->start };
	for (size_t i = 0; i < n; i++)
		keep[i].end += keep[i].start;
	for (size_t i = 0; i < maps->count; i++)
		if (is_special(&maps->vma[i]))
			keep[n++] = (struct range){ maps->vma[i].start, maps->vma[i].end };
	keep[n++] = (struct range){ o->r->scratch, o->r->scratch + o->r->scratch_len };
	qsort(keep, n, sizeof(*keep), by_start);
	for (size_t i = 0; i < n; i++) {
		if (keep[i].start < at)
			return err_set(o->e, ERR_PROTOCOL, 0, "task %u: staged mapping at %#llx overlaps another", o->task->ps->pid,
				       (unsigned long long)keep[i].start);
		if (keep[i].start > at)
			batch_call(o, REMOTE_CALL(SYS_munmap, at, keep[i].start - at), "our own mappings below %#llx", (unsigned long long)keep[i].start);
		at = keep[i].end;
	}
	if (at < TASK_END)
		batch_call(o, REMOTE_CALL(SYS_munmap, at, TASK_END - at), "our own mappings above %#llx", (unsigned long long)at);
	return batch_flush(o);
}

/* ---- vdso and its data pages ---- */

struct special { uint64_t from, park, to, len; };

static void move(struct outside *o, uint64_t from, uint64_t len, uint64_t to, const char *what)
{
	batch_call(o, REMOTE_CALL(SYS_mremap, from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to), "%s %#llx to %#llx", what,
		   (unsigned long long)from, (unsigned long long)to);
}

/* Pairs ours with the target's: kinds, order and lengths must be the same, the code looks for its data next to itself. */
static int pair_specials(struct outside *o, const struct vma_list *maps, struct special *s, size_t *count)
{
	const MmEntry *mm = o->task->mm;
	uint64_t park = o->r->scratch + o->r->scratch_len + 4096;
	size_t n = 0, k = 0;

	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];

		if (!(v->status & (STATUS_VDSO | STATUS_VVAR)))
			continue;
		while (k < maps->count && !is_special(&maps->vma[k]))
			k++;
		if (n == MAX_SPECIAL || k == maps->count || (maps->vma[k].kind == VMA_VDSO) != !!(v->status & STATUS_VDSO) ||
		    maps->vma[k].end - maps->vma[k].start != v->end - v->start)
			return err_set(o->e, ERR_MISMATCH, 0, "task %u: the vdso of this kernel differs at %#llx", o->task->ps->pid,
				       (unsigned long long)v->start);
		s[n] = (struct special){ maps->vma[k].start, park, v->start, v->end - v->start };
		park += s[n++].len;
		k++;
	}
	*count = n;
	return park > o->r->scratch + o->r->scratch_len + PARKING ? err_set(o->e, ERR_MISMATCH, 0, "the vdso is too large") : 0;
}

/* Ours that the target has none of: unmapped. */
static void drop_specials(struct outside *o, const struct vma_list *maps, size_t paired)
{
	for (size_t k = 0; k < maps->count && paired == 0; k++)
		if (is_special(&maps->vma[k]))
			batch_call(o, REMOTE_CALL(SYS_munmap, maps->vma[k].start, maps->vma[k].end - maps->vma[k].start), "our own vdso");
}

/* ---- staged mappings ---- */

static int not_staged(struct outside *o, const VmaEntry *v, uint64_t at)
{
	return err_set(o->e, ERR_PROTOCOL, 0, "task %u: mapping %#llx-%#llx was not staged (at %#llx)", o->task->ps->pid,
		       (unsigned long long)v->start, (unsigned long long)v->end, (unsigned long long)at);
}

/* One mapping of the target, which may be several here: a kernel before 6.17 moves one at a time. */
static int move_staged(struct outside *o, const VmaEntry *v, const struct vma_list *maps)
{
	uint64_t bit = o->h->stage_bit, at = v->start;
	int prot = (int)v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC);

	while (at < v->end) {
		const struct vma *m = vma_list_find(maps, at ^ bit);
		uint64_t len;

		if (!m || m->kind == VMA_VDSO || m->kind == VMA_VVAR)
			return not_staged(o, v, at);
		len = (m->end < (v->end ^ bit) || (v->end ^ bit) < (at ^ bit) ? m->end : v->end ^ bit) - (at ^ bit);
		if (len > v->end - at)
			len = v->end - at;
		batch_room(o, 2, 0);
		move(o, at ^ bit, len, at, "mapping");
		if (m->prot != prot)
			batch_call(o, REMOTE_CALL(SYS_mprotect, at, len, (uint64_t)prot), "protection of %#llx", (unsigned long long)at);
		at += len;
	}
	return 0;
}

static int move_all(struct outside *o, const struct vma_list *maps)
{

	for (size_t i = 0; i < o->task->mm->n_vmas; i++)
		if (!rebuild_vma_special(o->task->mm->vmas[i]) && move_staged(o, o->task->mm->vmas[i], maps) < 0)
			return -1;
	return batch_flush(o);
}

/* ---- what the kernel knows of the layout ---- */

/* The husk's executable is that of the target: no need to change it, and the kernel refuses while it is mapped. */
static bool runs_it_already(const struct outside *o)
{
	char path[2][64], name[2][4096];
	ssize_t len[2];

	snprintf(path[0], sizeof(path[0]), "/proc/%d/exe", o->r->pid);
	snprintf(path[1], sizeof(path[1]), "/proc/%d/fd/%d", o->r->pid, o->h->exe_fd);
	for (int i = 0; i < 2; i++)
		len[i] = readlink(path[i], name[i], sizeof(name[i]));
	return len[0] > 0 && len[0] == len[1] && memcmp(name[0], name[1], (size_t)len[0]) == 0;
}

static int tell_layout(struct outside *o)
{
	const MmEntry *mm = o->task->mm;
	uint64_t at;
	struct prctl_mm_map map = {
		.start_code = mm->mm_start_code, .end_code = mm->mm_end_code, .start_data = mm->mm_start_data, .end_data = mm->mm_end_data,
		.start_brk = mm->mm_start_brk, .brk = mm->mm_brk, .start_stack = mm->mm_start_stack, .arg_start = mm->mm_arg_start,
		.arg_end = mm->mm_arg_end, .env_start = mm->mm_env_start, .env_end = mm->mm_env_end,
		.auxv_size = (uint32_t)(mm->n_mm_saved_auxv * sizeof(uint64_t)), .exe_fd = runs_it_already(o) ? UINT32_MAX : (uint32_t)o->h->exe_fd,
	};

	if (mm->n_mm_saved_auxv > 128)
		return err_set(o->e, ERR_PROTOCOL, 0, "task %u: auxiliary vector of %zu words", o->task->ps->pid, mm->n_mm_saved_auxv);
	batch_room(o, 1, 2048);
	at = batch_put(o, mm->mm_saved_auxv, map.auxv_size);
	map.auxv = (void *)(uintptr_t)at;
	at = batch_put(o, &map, sizeof(map));
	batch_call(o, REMOTE_CALL(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, at, sizeof(map)), "memory layout and executable");
	batch_call(o, REMOTE_CALL(SYS_close, (uint64_t)o->h->exe_fd), "descriptor of the executable");
	return batch_flush(o);
}

int outside_maps(struct outside *o)
{
	struct vma_list maps = { 0 };
	struct special special[MAX_SPECIAL];
	size_t specials = 0;
	uint64_t room = 0;
	int rc;

	rc = vma_list_read(&maps, o->r->pid, VMA_READ_MAPS, o->e);
	if (rc == 0)
		rc = find_room(o, &maps, &room);
	if (rc == 0)
		rc = remote_scratch_create(o->r, DATA, room, o->e);
	if (rc == 0) {
		o->data_size = remote_scratch_size(o->r);
		o->data = malloc(o->data_size);
		rc = o->data ? pair_specials(o, &maps, special, &specials) : err_set(o->e, ERR_SYSTEM, ENOMEM, "arguments");
	}
	if (rc == 0)
		rc = forget_registrations(o);
	if (rc == 0)
		rc = unmap_husk(o, &maps);
	for (size_t i = 0; i < specials && rc == 0; i++)
		move(o, special[i].from, special[i].len, special[i].park, "vdso");
	if (rc == 0) {
		drop_specials(o, &maps, specials);
		rc = move_all(o, &maps);
	}
	for (size_t i = 0; i < specials && rc == 0; i++)
		move(o, special[i].park, special[i].len, special[i].to, "vdso");
	o->r->syscall_at = 0;
	if (rc == 0)
		rc = tell_layout(o);
	vma_list_finish(&maps);
	return rc;
}

/* ---- advice and locks, when all is in its place ---- */

static bool has_flag(const char *flags, const char *two)
{
	for (const char *at = flags; at && (at = strstr(at, two)); at += 2)
		if ((at == flags || at[-1] == ' ') && (at[2] == ' ' || at[2] == '\0' || at[2] == '\n'))
			return true;
	return false;
}

static const Drayage__VmaExt *ext_of(const struct outside *o, uint64_t start)
{
	for (size_t i = 0; i < o->task->ext->n_vmas; i++)
		if (o->task->ext->vmas[i]->start == start)
			return o->task->ext->vmas[i];
	return NULL;
}

static void advise(struct outside *o, const VmaEntry *v, const Drayage__VmaExt *x)
{
	/* must: what the program relies on; the rest is advice that a kernel may not know. */
	static const struct { const char *flag; int advice; bool must; const char *name; } table[] = {
		{ "rr", MADV_RANDOM, false, "MADV_RANDOM" },       { "sr", MADV_SEQUENTIAL, false, "MADV_SEQUENTIAL" },
		{ "dc", MADV_DONTFORK, true, "MADV_DONTFORK" },    { "mg", MADV_MERGEABLE, false, "MADV_MERGEABLE" },
		{ "hg", MADV_HUGEPAGE, false, "MADV_HUGEPAGE" },   { "nh", MADV_NOHUGEPAGE, false, "MADV_NOHUGEPAGE" },
		{ "dd", MADV_DONTDUMP, true, "MADV_DONTDUMP" },    { "wf", MADV_WIPEONFORK, true, "MADV_WIPEONFORK" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		bool on = (v->has_madv && v->madv >> table[i].advice & 1) || (x && has_flag(x->vmflags, table[i].flag));
		struct remote_call call = REMOTE_CALL(SYS_madvise, v->start, v->end - v->start, (uint64_t)table[i].advice);

		if (!on)
			continue;
		if (!table[i].must)
			call.flags = REMOTE_MAY_FAIL;
		batch_call(o, call, "%s of %#llx", table[i].name, (unsigned long long)v->start);
	}
}

/* Locking makes absent pages present; where none may be (PROT_NONE) the lock is noted and ENOMEM told. */
static void lock(struct outside *o, const VmaEntry *v, const Drayage__VmaExt *x)
{
	bool lazy = x && ((x->has_lock_on_fault && x->lock_on_fault) || has_flag(x->vmflags, "lf"));
	bool on = (x && ((x->has_locked && x->locked) || has_flag(x->vmflags, "lo"))) || v->flags & MAP_LOCKED;
	struct remote_call call = REMOTE_CALL(SYS_mlock2, v->start, v->end - v->start, lazy ? MLOCK_ONFAULT : 0);

	if (!on && !lazy)
		return;
	if (!(v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
		call.flags = REMOTE_MAY_FAIL;
	batch_call(o, call, "lock of %#llx", (unsigned long long)v->start);
}

int outside_advice(struct outside *o)
{
	for (size_t i = 0; i < o->task->mm->n_vmas; i++) {
		const VmaEntry *v = o->task->mm->vmas[i];
		const Drayage__VmaExt *x = ext_of(o, v->start);

		if (rebuild_vma_special(v))
			continue;
		advise(o, v, x);
		lock(o, v, x);
	}
	return batch_flush(o);
}
