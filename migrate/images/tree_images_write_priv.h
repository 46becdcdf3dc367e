/* SPDX-License-Identifier: Apache-2.0 */
/* tree_images_write_priv.h - the parts of tree_images_write. Threads, failure: as tree_images.h. */
#ifndef DRAY_MIGRATE_TREE_IMAGES_WRITE_PRIV_H
#define DRAY_MIGRATE_TREE_IMAGES_WRITE_PRIV_H

#include "migrate/images/tree_images.h"

/* One control group set for all, equal to that of the restoring process: nothing of control groups is recreated. */
enum { TREE_CGROUP_SET = 1 };

int tree_write_cores(int dirfd, const Drayage__TaskState *task, struct err *e);
/* files.img, memfd.img, and the data files of pipes, FIFOs and sockets. */
int tree_write_files(int dirfd, const Drayage__TreeState *tree, struct err *e);

#endif
