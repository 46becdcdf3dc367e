/* SPDX-License-Identifier: Apache-2.0 */
/* Image sets are restored also where they are not as we write them: without drayage.img, as stock criu's are; with shared memory that is known by
 * its number only, as before memfds; with files that begin without the common magic, as version 1 has them. Each by rewriting a set of ours. */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "migrate/images/tree_images.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/image/image.h"
#include "tests/lib/image_rig.h"
#include "tests/lib/subject.h"
#include "tests/lib/zoo_host.h"

enum { FILE_MAX = 64 << 20, ANON_SHARED = 0x101, IS_MEMFD = 0x4000 };

static void move_rewritten(const char *kinds, void (*rewrite)(const struct image_rig *g, pid_t pid))
{
	struct image_rig g;
	struct zoo_host z;

	CHECK(zoo_start(&z, kinds));
	image_rig_make(&g);
	image_rig_dump(&g, z.pid);
	rewrite(&g, z.pid);
	image_rig_restore(&g, z.pid);
	zoo_ask(&z);
	zoo_end(&z);
	image_rig_remove(&g);
}

static void without_ours(const struct image_rig *g, pid_t pid)
{
	(void)pid;
	CHECK(unlinkat(g->fd, "drayage.img", 0) == 0);
}

/* ---- segments by number ---- */

static const MemfdInodeEntry *memory_of(const Drayage__TreeState *t, uint64_t file_id)
{
	const FileEntry *f = tree_images_file(t, file_id);

	for (size_t i = 0; i < t->n_memfds; i++)
		if (t->memfds[i]->inode_id == f->memfd->inode_id)
			return t->memfds[i];
	CHECK(false, "memory of file %u", f->id);
	return NULL;
}

static void numbered_segments(const struct image_rig *g, pid_t pid)
{
	struct tree_images_facts facts;
	struct err e;
	Drayage__TreeState *t = tree_images_read(g->fd, &facts, &e);
	unsigned segments = 0;
	MmEntry *mm;

	CHECK(t, "%s", e.text);
	mm = t->tasks[0]->mm;
	for (size_t i = 0; i < mm->n_vmas; i++) {
		VmaEntry *v = mm->vmas[i];

		if (!(v->status & IS_MEMFD))
			continue;
		v->shmid = memory_of(t, v->shmid)->shmid;
		v->status = ANON_SHARED;
		segments++;
	}
	CHECK(segments > 0);
	CHECK(image_write_one(g->fd, IMAGE_MM, (uint64_t)pid, &mm->base, &e) == 0, "%s", e.text);
	CHECK(unlinkat(g->fd, "memfd.img", 0) == 0 && unlinkat(g->fd, "drayage.img", 0) == 0);
	/* Nothing but memory files is left out of files.img. */
	struct image_out *o = image_create(g->fd, IMAGE_FILES, 0, &e);

	for (size_t i = 0; i < t->n_files; i++)
		CHECK(t->files[i]->memfd || image_put(o, &t->files[i]->base, &e) == 0, "%s", e.text);
	CHECK(image_close(o, false, &e) == 0, "%s", e.text);
	drayage__tree_state__free_unpacked(t, NULL);
}

/* ---- version 1 ---- */

static void strip_magic(const struct image_rig *g, const char *name)
{
	struct err e;
	size_t len;
	cleanup_free char *data = file_read(g->fd, name, FILE_MAX, &len, &e);
	cleanup_fd int fd = openat(g->fd, name, O_WRONLY | O_TRUNC | O_CLOEXEC);

	CHECK(data && fd >= 0 && len >= 8, "%s: %s", name, e.text);
	CHECK(write_full(fd, data + 4, len - 4) == 0);
}

static void version_1(const struct image_rig *g, pid_t pid)
{
	InventoryEntry *v;
	DIR *dir = opendir(g->dir);
	struct dirent *d;
	struct err e;

	without_ours(g, pid);
	while ((d = readdir(dir)))
		if (strstr(d->d_name, ".img") && strncmp(d->d_name, "pages-", 6) != 0 && strcmp(d->d_name, "inventory.img") != 0)
			strip_magic(g, d->d_name);
	closedir(dir);
	v = (InventoryEntry *)image_read_one(g->fd, IMAGE_INVENTORY, 0, &inventory_entry__descriptor, &e);
	CHECK(v, "%s", e.text);
	v->img_version = 1;
	CHECK(image_write_one(g->fd, IMAGE_INVENTORY, 0, &v->base, &e) == 0, "%s", e.text);
	inventory_entry__free_unpacked(v, NULL);
}

int main(void)
{
	move_rewritten("file dup directory devices pipe lone-pipe fifo timerfd signalfd epoll inotify memfd stream-pair packet-pairs half-pair unix-names "
		       "udp signals robust memory mapped-files timers", without_ours);
	move_rewritten("mapped-files file", numbered_segments);
	move_rewritten("file pipe memory mapped-files stream-pair", version_1);
	return 0;
}
