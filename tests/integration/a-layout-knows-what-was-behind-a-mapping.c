/* SPDX-License-Identifier: Apache-2.0 */
/* A process maps and unmaps while its mappings are told to the destination: each file is told with its own size, whatever lies between the two addresses by
 * then, and memory that is gone as large as its mapping was, never as nothing. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/conduct/layout.h"
#include "tests/lib/subject.h"

enum { PAGE = 4096, MAPPED = 4 };
static char dir[] = "/tmp/layout-XXXXXX", one[64], other[64];
static struct err e;

static void gone(void)
{
	unlink(one);
	unlink(other);
	rmdir(dir);
}

static int make_file(char path[64], const char *name, int pages)
{
	int fd;

	snprintf(path, 64, "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && ftruncate(fd, pages * PAGE) == 0);
	return fd;
}

static int make_memory(int pages)
{
	int fd = memfd_create("layout", MFD_CLOEXEC);

	CHECK(fd >= 0 && ftruncate(fd, pages * PAGE) == 0);
	return fd;
}

static char *map(void *at, int fd, int flags)
{
	char *p = mmap(at, MAPPED * PAGE, PROT_READ | PROT_WRITE, flags | (at ? MAP_FIXED : 0), fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* The size in pages that a layout tells of what the list has at p. */
static int told(struct layout *l, const struct vma_list *vmas, const char *p)
{
	const struct vma *v = vma_list_find(vmas, (uintptr_t)p);

	CHECK(v);
	for (size_t i = 0; i < l->files; i++)
		for (size_t k = 0; k < l->message.n_files; k++)
			if (l->file[i].id == l->message.files[k]->id && l->file[i].inode == v->inode && strcmp(l->file[i].path, v->path) == 0)
				return (int)(l->message.files[k]->size / PAGE);
	return -1;
}

int main(void)
{
	struct vma_list vmas = { 0 };
	struct collected none = { 0 };
	struct layout l = { 0 };
	char *split, *replaced, *memory, *memory_split, *anonymous, *anonymous_split, *moved;
	int file, second, small;

	CHECK(mkdtemp(dir));
	atexit(gone);
	file = make_file(one, "one", 7);
	second = make_file(other, "other", 9);
	split = map(NULL, file, MAP_PRIVATE);
	replaced = map(NULL, second, MAP_PRIVATE);
	memory = map(NULL, make_memory(5), MAP_SHARED);
	memory_split = map(NULL, make_memory(6), MAP_SHARED);
	moved = map(NULL, make_memory(8), MAP_SHARED);
	anonymous = map(NULL, -1, MAP_SHARED | MAP_ANONYMOUS);
	anonymous_split = map(NULL, -1, MAP_SHARED | MAP_ANONYMOUS);
	small = make_memory(1);
	CHECK(vma_list_read(&vmas, getpid(), VMA_READ_MAPS, &e) == 0);

	CHECK(mprotect(split + PAGE, PAGE, PROT_READ) == 0);
	CHECK(mprotect(memory_split + PAGE, PAGE, PROT_READ) == 0);
	CHECK(mprotect(anonymous_split + PAGE, PAGE, PROT_READ) == 0);
	map(replaced, file, MAP_PRIVATE);
	map(memory, small, MAP_SHARED);
	CHECK(munmap(anonymous, MAPPED * PAGE) == 0);
	CHECK(mremap(moved, MAPPED * PAGE, MAPPED * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, anonymous) == anonymous);

	CHECK(layout_build(&l, getpid(), &vmas, &none, 1, false, &e) == 0, "%s", e.text);
	CHECK(told(&l, &vmas, split) == 7, "%d", told(&l, &vmas, split));
	CHECK(told(&l, &vmas, replaced) == 9, "%d", told(&l, &vmas, replaced));
	CHECK(told(&l, &vmas, memory) == MAPPED, "%d", told(&l, &vmas, memory));
	CHECK(told(&l, &vmas, memory_split) == 6, "%d", told(&l, &vmas, memory_split));
	CHECK(told(&l, &vmas, moved) == 8, "%d", told(&l, &vmas, moved));
	CHECK(told(&l, &vmas, anonymous) == MAPPED, "%d", told(&l, &vmas, anonymous));
	CHECK(told(&l, &vmas, anonymous_split) == MAPPED, "%d", told(&l, &vmas, anonymous_split));
	layout_finish(&l);
	vma_list_finish(&vmas);
	return 0;
}
