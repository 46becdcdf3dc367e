/* SPDX-License-Identifier: Apache-2.0 */
/* tree_images.h - a TreeState as CRIU images, and back: everything of an image directory but the memory (pageserver/images/pagemap.h).
 * What CRIU's messages have no place for and the native engine wants is kept beside them in an image of our own, drayage.img, which
 * stock criu does not look at; a directory without one is read all the same.
 * Threads: any. Fails: err naming the file, or the object that the native engine can't rebuild as "task 41 fd 7: what". */
#ifndef DRAY_MIGRATE_TREE_IMAGES_H
#define DRAY_MIGRATE_TREE_IMAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "state.pb-c.h"

struct tree_images_options {
	uint64_t dump_uptime_us; /* 0: not recorded (no track_mem) */
	bool tcp_close;          /* recorded: a restore must repeat it */
	uint32_t network_lock_method; /* as the inventory numbers it; 0 the default. Where nothing is locked it matters to nobody */
	uint8_t *set_id;              /* IMAGES_SET_ID bytes, borrowed; NULL: none. images_ext.h */
	const uint64_t *start_times;  /* of each task, in the tree's order; borrowed; NULL: unknown */
};
/* Writes pstree, core, ids, mm, fs, fdinfo, files, memfd, pipes, queues, drayage.img and last inventory into dirfd. Memory is not its
 * matter: nothing may be restored from dirfd before that is there too. */
int tree_images_write(int dirfd, const Drayage__TreeState *tree, const struct tree_images_options *o, struct err *e);

struct tree_images_facts { bool tcp_close; uint32_t img_version; };
/* Reads a complete set, written here or by stock criu (3.4 to 4.2). The tree is the caller's (drayage__tree_state__free_unpacked): one process,
 * whose parts are all there and refer to each other rightly. What no tree can say is refused by name; whether the rest of it can be rebuilt
 * here is restore's to tell. Files and descriptors ascend by their numbers; all shared memory has an entry in memfds, whose shmid names its page map. */
Drayage__TreeState *tree_images_read(int dirfd, struct tree_images_facts *facts, struct err *e);
/* Of a tree that was read so: the open file of that id, or NULL. */
FileEntry *tree_images_file(const Drayage__TreeState *tree, uint64_t id);

#endif
