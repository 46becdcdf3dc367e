/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/mirror.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migrate/track/pagemap.h"
#include "proto/base/cleanup.h"

enum { GIBS = 1 << 17, GIB_PAGES = 1 << 18, CHUNK_PAGES = 256 };

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static void **slot_of(struct mirror *m, uint64_t addr)
{
	void ***gib;

	if (!m->gib)
		m->gib = must(calloc(GIBS, sizeof(*m->gib)));
	gib = &m->gib[addr >> 30];
	if (!*gib)
		*gib = must(calloc(GIB_PAGES, sizeof(**gib)));
	return &(*gib)[bytes_to_pages(addr) % GIB_PAGES];
}

static const void *page_at(const struct mirror *m, uint64_t addr)
{
	void **gib = m->gib ? m->gib[addr >> 30] : NULL;

	return gib ? gib[bytes_to_pages(addr) % GIB_PAGES] : NULL;
}

static void forget(struct mirror *m, uint64_t start, uint64_t end)
{
	while (start < end) {
		uint64_t stop = ((start >> 30) + 1) << 30;
		void **gib = m->gib ? m->gib[start >> 30] : NULL;

		if (stop > end)
			stop = end;
		for (uint64_t at = start; gib && at < stop; at += DRAY_PAGE_SIZE) {
			void **slot = &gib[bytes_to_pages(at) % GIB_PAGES];

			m->pages -= *slot != NULL;
			free(*slot);
			*slot = NULL;
		}
		start = stop;
	}
}

void mirror_layout(struct mirror *m, const struct vma_list *vmas, const struct run_list *reset)
{
	uint64_t at = 0;

	for (size_t i = 0; i < vmas->count; i++) {
		if (!vma_carries_pages(&vmas->vma[i]))
			continue;
		forget(m, at, vmas->vma[i].start);
		at = vmas->vma[i].end;
	}
	forget(m, at, 1ull << 47);
	for (size_t i = 0; i < reset->count; i++)
		forget(m, reset->run[i].addr, run_end(&reset->run[i]));
}

void mirror_put(struct mirror *m, uint64_t addr, const void *page)
{
	void **slot = slot_of(m, addr);

	m->pages += *slot == NULL;
	if (!*slot)
		*slot = must(malloc(DRAY_PAGE_SIZE));
	memcpy(*slot, page, DRAY_PAGE_SIZE);
}

static void fetch(struct mirror *m, const struct page_run *r, int mem)
{
	static char buf[CHUNK_PAGES * DRAY_PAGE_SIZE];

	for (uint64_t at = r->addr, left; at < run_end(r); at += left) {
		ssize_t n;

		left = run_end(r) - at;
		if (left > sizeof(buf))
			left = sizeof(buf);
		n = pread(mem, buf, left, (off_t)at);
		if (n <= 0) { /* the page at `at` is gone */
			left = DRAY_PAGE_SIZE;
			continue;
		}
		left = (uint64_t)n & ~(DRAY_PAGE_SIZE - 1);
		if (!left)
			left = DRAY_PAGE_SIZE;
		for (uint64_t off = 0; off < left; off += DRAY_PAGE_SIZE)
			mirror_put(m, at + off, buf + off);
	}
}

void mirror_apply(struct mirror *m, const struct run_list *runs, int mem)
{
	for (size_t i = 0; i < runs->count; i++) {
		if (runs->run[i].kind == RUN_DROP)
			forget(m, runs->run[i].addr, run_end(&runs->run[i]));
		else
			fetch(m, &runs->run[i], mem);
	}
}

static int open_file_of(pid_t pid, const struct vma *v)
{
	char path[96];

	if (v->kind != VMA_FILE_PRIVATE)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", pid, (unsigned long long)v->start, (unsigned long long)v->end);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static bool page_is_right(const struct mirror *m, const char *page, uint64_t addr, int file, uint64_t offset)
{
	const void *held = page_at(m, addr);
	char voided[DRAY_PAGE_SIZE] = { 0 };

	if (!held && file >= 0 && pread(file, voided, sizeof(voided), (off_t)offset) < 0)
		return false;
	return memcmp(held ? held : voided, page, DRAY_PAGE_SIZE) == 0;
}

/* Over a hole of any size to the next page that is there or held: where neither is, both are void. Only for large mappings, so that
 * the rest is compared without asking the kernel what is there. */
static uint64_t next_to_compare(const struct mirror *m, const struct vma *v, uint64_t at, int pagemap)
{
	uint64_t there, held;

	if (v->kind != VMA_ANON || v->end - v->start < 1ull << 30 || at >= v->end)
		return at;
	there = pagemap_first(pagemap, at, v->end);
	for (held = at; held < there && !page_at(m, held);)
		held = m->gib && m->gib[held >> 30] ? held + DRAY_PAGE_SIZE : ((held >> 30) + 1) << 30;
	return held < there ? held : there;
}

static uint64_t differences_in(const struct mirror *m, pid_t pid, const struct vma *v, int mem, bool loud)
{
	static char buf[CHUNK_PAGES * DRAY_PAGE_SIZE];
	cleanup_fd int file = open_file_of(pid, v), pagemap = proc_pagemap_open(pid);
	uint64_t wrong = 0;

	for (uint64_t at = v->start; (at = next_to_compare(m, v, at, pagemap)) < v->end; at += sizeof(buf)) {
		uint64_t len = v->end - at < sizeof(buf) ? v->end - at : sizeof(buf);
		ssize_t n = pread(mem, buf, len, (off_t)at);

		if (n <= 0) /* a mapping past the end of its file */
			continue;
		for (uint64_t off = 0; off < (uint64_t)n; off += DRAY_PAGE_SIZE) {
			if (page_is_right(m, buf + off, at + off, file, v->pgoff + (at + off - v->start)))
				continue;
			if (loud && wrong == 0)
				fprintf(stderr, "page %llx of %llx-%llx kind %d %s differs (%s at the mirror)\n", (unsigned long long)(at + off),
					(unsigned long long)v->start, (unsigned long long)v->end, (int)v->kind, v->path,
					page_at(m, at + off) ? "held" : "void");
			wrong++;
		}
	}
	return wrong;
}

uint64_t mirror_differences(const struct mirror *m, pid_t pid, const struct vma_list *vmas, int mem, bool loud)
{
	uint64_t wrong = 0;

	for (size_t i = 0; i < vmas->count; i++)
		if (vma_carries_pages(&vmas->vma[i]))
			wrong += differences_in(m, pid, &vmas->vma[i], mem, loud && wrong == 0);
	return wrong;
}

void mirror_finish(struct mirror *m)
{
	forget(m, 0, 1ull << 47);
	for (int i = 0; m->gib && i < GIBS; i++)
		free(m->gib[i]);
	free(m->gib);
	*m = (struct mirror){ 0 };
}
