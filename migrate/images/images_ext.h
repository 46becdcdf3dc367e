/* SPDX-License-Identifier: Apache-2.0 */
/* images_ext.h - drayage.img: what an image directory of ours holds beside CRIU's own files.
 *
 *   common magic, IMAGE_DRAYAGE_MAGIC, entry*        entry: drayage.ImagesExt; those of one file are read as if they were one
 *
 * A pre-dump's has the set's id and each task's start time; a dump's has all of it. Threads: any. Fails: err. */
#ifndef DRAY_MIGRATE_IMAGES_EXT_H
#define DRAY_MIGRATE_IMAGES_EXT_H

#include "proto/base/err.h"
#include "state.pb-c.h"

enum { IMAGES_SET_ID = 16 };

/* Split over entries so that none comes near the cap. */
int images_ext_write(int dirfd, const Drayage__ImagesExt *x, struct err *e);
/* The caller's (drayage__images_ext__free_unpacked). NULL with e set: ERR_GONE where there is none. */
Drayage__ImagesExt *images_ext_read(int dirfd, struct err *e);

#endif
