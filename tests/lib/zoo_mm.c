/* SPDX-License-Identifier: Apache-2.0 */
/* Mappings. */
#include "tests/lib/zoo.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PIECE = 64 * 1024, PAGE = 4096 };
static char *anon, *none, *readonly, *private_file, *shared_file, *shared_anon, *locked, *advised, *grows;
/* Mappings that grow, from the lowest page that was written: one made at once, one when it is looked at first, while its process is being moved. */
static struct growing { char *low, *top; } growing, growing_later;
static char big[4 << 20]; /* bss */
static void *brk_before;

/* The VmFlags line of the mapping at addr; "" when there is none. */
static const char *vm_flags(const void *addr)
{
	static char line[4096];
	FILE *f = fopen("/proc/self/smaps", "re");
	bool here = false;

	while (f && fgets(line, sizeof(line), f)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (unsigned long)addr >= start && (unsigned long)addr < end;
		else if (here && strncmp(line, "VmFlags:", 8) == 0) {
			fclose(f);
			return line;
		}
	}
	if (f)
		fclose(f);
	return "";
}

static void *map(size_t len, int prot, int flags, int fd)
{
	void *p = mmap(NULL, len, prot, flags, fd, 0);

	zoo_need(p != MAP_FAILED, "mmap");
	return p;
}

static void fill(char *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (char)((i * 31 + i / 4096 + seed) & 0xff);
}
static bool filled(const char *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] != (char)((i * 31 + i / 4096 + seed) & 0xff))
			return zoo_wrong("byte %zu of pattern %u differs", i, seed);
	}
	return true;
}

static void memory_make(void)
{
	anon = map(PIECE * 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	fill(anon, PIECE * 16, 1);
	none = map(PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	fill(none, PIECE, 2);
	readonly = map(PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	fill(readonly, PIECE, 3);
	zoo_need(mprotect(none, PIECE, PROT_NONE) == 0 && mprotect(readonly, PIECE, PROT_READ) == 0, "mprotect");
	fill(big, sizeof(big) / 2, 4);
	grows = map(PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1);
	fill(grows, PIECE, 5);
	brk_before = sbrk(0);
}
static bool memory_check(void)
{
	if (!filled(anon, PIECE * 16, 1) || !filled(readonly, PIECE, 3) || !filled(big, sizeof(big) / 2, 4) || !filled(grows, PIECE, 5))
		return false;
	for (size_t i = sizeof(big) / 2; i < sizeof(big); i += 512)
		ZOO_SAME(big[i], 0);
	ZOO_SAME(strstr(vm_flags(none), " rd ") == NULL, 1);
	ZOO_SAME(mprotect(none, PIECE, PROT_READ), 0);
	if (!filled(none, PIECE, 2))
		return false;
	ZOO_SAME(mprotect(none, PIECE, PROT_NONE), 0);
	ZOO_SAME(strstr(vm_flags(readonly), " wr ") == NULL, 1);
	ZOO_SAME(strstr(vm_flags(grows), " gd ") != NULL, 1);
	/* The C library and the kernel are of one mind, and nothing was lost. */
	ZOO_SAME(syscall(SYS_brk, 0) == (long)sbrk(0) && sbrk(0) >= brk_before, 1);
	return true;
}

static void files_make(void)
{
	int fd = open(zoo_path("mapped"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char *room = malloc(PIECE * 2);

	fill(room, PIECE * 2, 6);
	zoo_need(room && fd >= 0 && write(fd, room, PIECE * 2) == PIECE * 2, "mapped file");
	free(room);
	private_file = map(PIECE * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	shared_file = map(PIECE * 2, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	fill(private_file + 4096, 4096, 7);
	shared_file[PIECE] = 'S';
	close(fd);
	shared_anon = map(PIECE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	fill(shared_anon, PIECE, 8);
}
static bool files_check(void)
{
	char c = 0;
	int fd = open(zoo_path("mapped"), O_RDONLY | O_CLOEXEC);

	if (!filled(private_file, 4096, 6) || !filled(private_file + 4096, 4096, 7) || !filled(shared_anon, PIECE, 8))
		return false;
	ZOO_SAME(shared_file[PIECE], 'S');
	shared_file[PIECE + 1]++;
	ZOO_SAME(pread(fd, &c, 1, PIECE + 1), 1);
	ZOO_SAME(c, shared_file[PIECE + 1]);
	close(fd);
	return true;
}

static void advice_make(void)
{
	locked = map(PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	zoo_need(syscall(SYS_mlock, locked, PIECE) == 0, "mlock"); /* the address sanitizer makes nothing of the function */
	fill(locked, PIECE, 9);
	advised = map(PIECE * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	fill(advised, PIECE * 8, 10);
	zoo_need(madvise(advised, PIECE, MADV_HUGEPAGE) == 0 && madvise(advised + PIECE, PIECE, MADV_NOHUGEPAGE) == 0 &&
			 madvise(advised + 2 * PIECE, PIECE, MADV_DONTFORK) == 0 && madvise(advised + 3 * PIECE, PIECE, MADV_WIPEONFORK) == 0 &&
			 madvise(advised + 4 * PIECE, PIECE, MADV_DONTDUMP) == 0 && madvise(advised + 5 * PIECE, PIECE, MADV_SEQUENTIAL) == 0 &&
			 madvise(advised + 6 * PIECE, PIECE, MADV_RANDOM) == 0, "madvise");
}
static bool advice_check(void)
{
	static const char *const flags[] = { " hg ", " nh ", " dc ", " wf ", " dd ", " sr ", " rr " };

	ZOO_SAME(strstr(vm_flags(locked), " lo ") != NULL, 1);
	for (int i = 0; i < 7; i++) {
		if (!strstr(vm_flags(advised + i * PIECE), flags[i]))
			return zoo_wrong("flag%sis not in %.100s", flags[i], vm_flags(advised + i * PIECE));
		if (strstr(vm_flags(advised + 7 * PIECE), flags[i]))
			return zoo_wrong("flag%sis in a mapping without advice", flags[i]);
	}
	return filled(locked, PIECE, 9) && filled(advised, PIECE * 8, 10);
}

/* A hole below it that is too small for the kernel to put anything there, and then nothing that can be accessed: it can grow by 64 pages. */
static void grow_from(struct growing *g)
{
	char *room = map(6 * PIECE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	g->low = mmap(room + 5 * PIECE, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
	zoo_need(g->low == room + 5 * PIECE && munmap(room + PIECE, 4 * PIECE) == 0, "a mapping that grows");
	g->top = g->low + PIECE;
	for (char *at = g->low; at < g->top; at += PAGE)
		fill(at, PAGE, 12);
}
/* Each look makes it grow by a page. */
static bool grows_on(struct growing *g)
{
	if (!strstr(vm_flags(g->low), " gd "))
		return zoo_wrong("it does not grow any more: %.100s", vm_flags(g->low));
	for (char *at = g->low; at < g->top; at += PAGE)
		if (!filled(at, PAGE, 12))
			return false;
	g->low -= PAGE;
	fill(g->low, PAGE, 12);
	return true;
}
static void growing_make(void)
{
	grow_from(&growing);
}
static bool growing_check(void)
{
	return grows_on(&growing);
}
static void growing_later_make(void)
{
}
static bool growing_later_check(void)
{
	if (!growing_later.low)
		grow_from(&growing_later);
	return grows_on(&growing_later);
}

/* Of each kind one without a reserve, and one beside it that has one; what the kernel makes of the flag is the host's affair (vm.overcommit_memory). */
static struct unreserved { char *at; size_t len; bool is; } unreserved[8];
static size_t unreserveds;

static char *add_unreserved(size_t len, int prot, int flags, int fd)
{
	char *p = map(len, prot, flags, fd);

	unreserved[unreserveds++] = (struct unreserved){ p, len, strstr(vm_flags(p), " nr") != NULL };
	return p;
}
static void unreserved_make(void)
{
	int fd = open(zoo_path("unreserved"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char *p;

	zoo_need(fd >= 0 && ftruncate(fd, 2 * PIECE) == 0, "mapped file");
	for (int plain = 0; plain < 2; plain++) {
		int flags = plain ? 0 : MAP_NORESERVE;

		fill(add_unreserved(2 * PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1), PIECE, 11);
		p = add_unreserved(1 << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1); /* as runtimes reserve their heaps */
		zoo_need(mprotect(p, PIECE, PROT_READ | PROT_WRITE) == 0, "mprotect");
		fill(p, PIECE, 11);
		fill(add_unreserved(2 * PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, fd), PIECE, 11);
		fill(add_unreserved(2 * PIECE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | flags, -1), PIECE, 11);
	}
	close(fd);
}
static bool unreserved_check(void)
{
	for (size_t i = 0; i < unreserveds; i++) {
		const struct unreserved *u = &unreserved[i];

		if (!filled(u->at, PIECE, 11))
			return false;
		for (size_t at = 0; at < u->len; at += u->len / 2) /* the reservation has two mappings */
			if ((strstr(vm_flags(u->at + at), " nr") != NULL) != u->is)
				return zoo_wrong("mapping %zu at %zu: flags \"%.80s\", and %s MAP_NORESERVE before", i, at, vm_flags(u->at + at), u->is ? "it had" : "it had no");
	}
	return true;
}

/* Made when it is looked at first, while its process is being moved. */
static char *unreserved_later;
static void unreserved_later_make(void)
{
}
static bool unreserved_later_check(void)
{
	static bool is;

	if (!unreserved_later) {
		unreserved_later = map(1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
		is = strstr(vm_flags(unreserved_later), " nr") != NULL;
	}
	if ((strstr(vm_flags(unreserved_later), " nr") != NULL) != is)
		return zoo_wrong("flags of a later mapping: \"%.80s\"", vm_flags(unreserved_later));
	return true;
}

const struct zoo_kind zoo_mm_kinds[] = {
	{ "memory", NULL, NULL, memory_make, memory_check },
	{ "mapped-files", NULL, NULL, files_make, files_check },
	{ "advice", NULL, NULL, advice_make, advice_check },
	{ "unreserved", NULL, NULL, unreserved_make, unreserved_check },
	{ "unreserved-later", NULL, NULL, unreserved_later_make, unreserved_later_check },
	{ "growing", NULL, NULL, growing_make, growing_check },
	{ "growing-later", NULL, NULL, growing_later_make, growing_later_check },
	{ 0 },
};
