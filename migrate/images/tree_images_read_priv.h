/* SPDX-License-Identifier: Apache-2.0 */
/* tree_images_read_priv.h - what the parts of tree_images_read share. A struct tree_read lives for one call; the tree that it builds is
 * freed as a whole when anything fails. All functions: 0, or -1 with r->e set: ERR_PROTOCOL where the set contradicts itself or is not whole,
 * ERR_UNSUPPORTED where the tree has no place for what it says. */
#ifndef DRAY_MIGRATE_TREE_IMAGES_READ_PRIV_H
#define DRAY_MIGRATE_TREE_IMAGES_READ_PRIV_H

#include "migrate/images/tree_images.h"
#include "proto/image/image.h"
#include "proto/wire/message_list.h"

struct tree_read {
	int dirfd;
	Drayage__TreeState *tree;
	Drayage__TaskState *task; /* the only one */
	InventoryEntry *inventory;
	Drayage__ImagesExt *ext; /* drayage.img; NULL: a set that stock criu wrote. What is taken over into the tree is gone from it */
	size_t raw_bytes;        /* contents of pipes and sockets so far */
	struct err *e;
};

/* 1: *in is open, the caller's to close; 0: the set has no such file; -1. */
int tree_open(struct tree_read *r, enum image_type type, uint64_t id, struct image_in **in);
/* Every entry of a file, appended to *array of *n (malloc'd as protobuf-c does). A file that is not there has none. */
int tree_read_list(struct tree_read *r, enum image_type type, uint64_t id, const ProtobufCMessageDescriptor *d, void *array, size_t *n);
/* Appends msg (taken, also on failure; NULL is one) to an array that starts empty. */
static inline int tree_push(struct tree_read *r, void *array, size_t *n, void *msg) { return message_push(array, n, msg, r->e); }
#define TREE_NEW(r, type) message_new(&type##__descriptor, (r)->e)
FileEntry *tree_file(const struct tree_read *r, uint64_t id);
/* "fd 7", "mapping 7f00-7f10", "executable" ...: what of the task an open file is known by. */
void tree_file_name(const struct tree_read *r, uint32_t id, char out[64]);

int tree_read_threads(struct tree_read *r); /* core-*.img: threads and their ext */
int tree_read_files(struct tree_read *r);   /* files.img, fdinfo, and what is queued; after the mappings were read */
int tree_read_memory(struct tree_read *r);  /* shared memory: memfd.img, and segments that older images number */
int tree_check_links(struct tree_read *r);  /* every id that is referred to is there and of the right kind */

#endif
