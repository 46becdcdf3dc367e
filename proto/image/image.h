/* SPDX-License-Identifier: Apache-2.0 */
/* image.h - files of CRIU's image format: which there are, their names and magics, and their framing. Facts of the format as CRIU's
 * own releases up to 4.2 read and write it.
 *
 *   ordinary file    u32 common magic, u32 file magic, entry*
 *   inventory        u32 file magic, entry
 *   service file     u32 service magic, u32 file magic, entry          (stats-dump, stats-restore, irmap-cache: in the work directory)
 *   entry            u32 size, size bytes of protobuf; raw bytes may follow, their count told by the entry
 *
 * All integers little-endian. Files are opened beneath a directory descriptor, never through a symbolic link in their last component.
 * What is read is not trusted: memory for an entry is taken only below IMAGE_ENTRY_MAX and once the file is long enough to hold it.
 * The bytes alone, without files: codec.h.
 * Threads: an object belongs to one. Fails: err that names the file. */
#ifndef DRAY_IMAGE_IMAGE_H
#define DRAY_IMAGE_IMAGE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

#define IMAGE_DRAYAGE_MAGIC 0x59415244u /* "DRAY" */
#define IMAGE_DRAYAGE_SENT_MAGIC 0x544e4553u /* "SENT" */
enum { IMAGE_ENTRY_MAX = 16 * 1024 * 1024, IMAGE_NAME_MAX = 64 };

enum image_type {
	IMAGE_INVENTORY, IMAGE_PSTREE, IMAGE_CORE, IMAGE_IDS, IMAGE_MM, IMAGE_FS, IMAGE_FDINFO, IMAGE_FILES, IMAGE_PAGEMAP,
	IMAGE_PAGEMAP_SHMEM, IMAGE_PAGES, IMAGE_PIPES_DATA, IMAGE_FIFO_DATA, IMAGE_SK_QUEUES, IMAGE_TCP_STREAM, IMAGE_TTY_INFO,
	IMAGE_TTY_DATA, IMAGE_REMAP_FPATH, IMAGE_GHOST_FILE, IMAGE_MEMFD, IMAGE_FILELOCKS, IMAGE_SECCOMP, IMAGE_CGROUP, IMAGE_TIMENS,
	IMAGE_CPUINFO, IMAGE_STATS_DUMP, IMAGE_STATS_RESTORE, IMAGE_IRMAP_CACHE,
	IMAGE_CREDS, IMAGE_APPARMOR, IMAGE_UTSNS, IMAGE_IPCNS_VAR, IMAGE_IPCNS_SHM, IMAGE_IPCNS_MSG, IMAGE_IPCNS_SEM, IMAGE_MOUNTPOINTS,
	IMAGE_USERNS, IMAGE_PIDNS, IMAGE_NETNS, IMAGE_NETDEV,
	IMAGE_DRAYAGE, /* drayage.img, an ordinary file of ours: drayage.ImagesExt entries; magic IMAGE_DRAYAGE_MAGIC */
	IMAGE_DRAYAGE_SENT, /* drayage-sent-41.img, likewise: drayage.SentPages entries; magic IMAGE_DRAYAGE_SENT_MAGIC */
	IMAGE_TYPES
};

/* "core-41.img". id is ignored where the name has none. */
void image_name(enum image_type type, uint64_t id, char name[IMAGE_NAME_MAX]);

/* ---- writing ---- */
struct image_out;
/* Creates (truncates) the file, mode 0600, and writes its magics. NULL with e set. */
struct image_out *image_create(int dirfd, enum image_type type, uint64_t id, struct err *e);
/* Goes on with a file that image_create began and image_close closed. */
struct image_out *image_append(int dirfd, enum image_type type, uint64_t id, struct err *e);
int image_put(struct image_out *o, const ProtobufCMessage *entry, struct err *e);
int image_put_raw(struct image_out *o, const void *data, size_t len, struct err *e);
/* Flushes and closes; frees o also when that fails. durable: fsync as well. Accepts NULL. */
int image_close(struct image_out *o, bool durable, struct err *e);
void image_discard(struct image_out *o); /* closes without a word; accepts NULL */

/* ---- reading ---- */
struct image_in;
/* Opens and checks the magics (img_version 1 inventories announce files without the common magic: both are taken). NULL with e set; a file
 * that is not there is ERR_GONE, one that is no such image ERR_PROTOCOL. An empty file is no image. */
struct image_in *image_open(int dirfd, enum image_type type, uint64_t id, struct err *e);
/* The next entry. 1 with *entry owned by the caller, 0 at the end of the file, -1. */
int image_get(struct image_in *i, const ProtobufCMessageDescriptor *type, ProtobufCMessage **entry, struct err *e);
/* The same unpacked by the caller: *body is borrowed until the next call. */
int image_get_bytes(struct image_in *i, const uint8_t **body, size_t *len, struct err *e);
/* Bytes behind the entry; fewer in the file is an error. */
int image_get_raw(struct image_in *i, void *data, size_t len, struct err *e);
uint64_t image_rest(const struct image_in *i); /* bytes not read yet: an upper bound for what an entry may claim */
void image_in_close(struct image_in *i); /* accepts NULL */

/* A plain descriptor, for files that are raw or too large to be buffered: regular files only. Owned by the caller; -1. */
int image_open_file(int dirfd, enum image_type type, uint64_t id, bool writable, uint64_t *size, struct err *e);

/* A file of a single entry: read whole, or written whole. */
ProtobufCMessage *image_read_one(int dirfd, enum image_type type, uint64_t id, const ProtobufCMessageDescriptor *d, struct err *e);
int image_write_one(int dirfd, enum image_type type, uint64_t id, const ProtobufCMessage *entry, struct err *e);

#endif
