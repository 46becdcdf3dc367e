/* SPDX-License-Identifier: Apache-2.0 */
/* Large memory isn't walked in the freeze for what was advised about it: what was seen while it ran counts, also for mappings that grew.
 * Newly locked memory is noticed. A small process is always looked at anew. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/native/capture.h"
#include "tests/lib/subject.h"

enum { MIB = 1 << 20, PAGE = 4096 };
/* They talk through memory: a socket to the test could not be captured. */
struct shared { size_t resident; char *big, *advised; atomic_int reached, wanted; };

static char *map(size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int body(int line, void *arg)
{
	struct shared *s = arg;

	(void)line;
	close_range(0, ~0u, 0);
	s->big = map(s->resident);
	s->advised = map(16 * PAGE);
	if (!s->big || !s->advised || madvise(s->big, s->resident, MADV_NOHUGEPAGE) || madvise(s->advised, 16 * PAGE, MADV_DONTFORK))
		return 1;
	memset(s->big, 1, s->resident);
	s->reached = 1;
	while (s->wanted < 2)
		nap();
	if (syscall(SYS_mlock, s->advised + 4 * PAGE, 2 * PAGE)) /* the address sanitizer makes nothing of the function */
		return 1;
	s->reached = 2;
	pause();
	return 0;
}

static bool reached_wanted(void *arg)
{
	struct shared *s = arg;

	return s->reached == s->wanted;
}

static void await_subject(struct shared *s, int step)
{
	s->wanted = step;
	await(reached_wanted, s, "the subject");
}

/* The mapping at addr, with and without what was seen. */
static VmaEntry look(pid_t pid, const struct vma_list *seen, uint64_t addr)
{
	struct capture_options opt = { 0 };
	struct remote r = { 0 };
	VmaEntry found = VMA_ENTRY__INIT;
	Drayage__TreeState *t;
	struct err e, second;

	CHECK(remote_seize(&r, pid, 0, &e) == 0, "%s", e.text);
	CHECK(remote_scratch_create(&r, 65536, 0, &e) == 0, "%s", e.text);
	t = capture_tree_seen(&r, &opt, seen, &e);
	CHECK(remote_scratch_destroy(&r, &second) == 0, "%s", second.text);
	remote_release(&r);
	CHECK(t, "%s", e.text);
	for (size_t i = 0; i < t->tasks[0]->mm->n_vmas; i++) {
		if (t->tasks[0]->mm->vmas[i]->start <= addr && addr < t->tasks[0]->mm->vmas[i]->end)
			found = *t->tasks[0]->mm->vmas[i];
	}
	drayage__tree_state__free_unpacked(t, NULL);
	CHECK(found.start);
	return found;
}

static void false_witness(struct vma_list *seen, const void *addr)
{
	for (size_t i = 0; i < seen->count; i++) {
		if (seen->vma[i].start <= (uintptr_t)addr && (uintptr_t)addr < seen->vma[i].end)
			seen->vma[i].vm_flags |= VMF_SEQ_READ;
	}
}

static void one(size_t resident, bool trusts)
{
	struct shared *s = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct vma_list seen = { 0 };
	struct subject subject;
	VmaEntry v;
	struct err e;

	CHECK(s != MAP_FAILED);
	s->resident = resident;
	subject = subject_start(body, s);
	await_subject(s, 1);
	CHECK(vma_list_read(&seen, subject.pid, VMA_READ_SMAPS, &e) == 0, "%s", e.text);
	v = look(subject.pid, &seen, (uintptr_t)s->advised);
	CHECK(v.madv == 1ull << MADV_DONTFORK);
	false_witness(&seen, s->big);
	v = look(subject.pid, &seen, (uintptr_t)s->big);
	CHECK(v.madv == (1ull << MADV_NOHUGEPAGE | (trusts ? 1ull << MADV_SEQUENTIAL : 0)), "%#lx", v.madv);
	await_subject(s, 2);
	v = look(subject.pid, &seen, (uintptr_t)s->advised + 4 * PAGE);
	CHECK(v.flags & MAP_LOCKED && v.madv == 1ull << MADV_DONTFORK && v.end - v.start == 2 * PAGE, "newly locked memory is seen");
	v = look(subject.pid, &seen, (uintptr_t)s->big);
	CHECK(v.madv == 1ull << MADV_NOHUGEPAGE, "then all was looked at");
	vma_list_finish(&seen);
	subject_end(&subject);
	munmap(s, PAGE);
}

int main(void)
{
	if (geteuid() != 0) {
		printf("needs root\n");
		return 77;
	}
	one(96 * MIB, true);
	one(2 * MIB, false);
	return 0;
}
