/* SPDX-License-Identifier: Apache-2.0 */
/* dump_sent.h - drayage-sent-PID.img: which pages of a task a page server has once a round is over, this one's and those that it left to the rounds before.
 * Kept where the round's images are, beside no page map, so that another caller's next round knows what it may leave to the server's parent.
 *
 *   common magic, IMAGE_DRAYAGE_SENT_MAGIC, entry*     entry: drayage.SentPages; those of one file follow each other
 *
 * Threads: any. Fails: err. */
#ifndef DRAY_MIGRATE_DUMP_SENT_H
#define DRAY_MIGRATE_DUMP_SENT_H

#include <stdint.h>

#include "proto/base/err.h"
#include "proto/wire/runs.h"

/* Only the data runs, which ascend. */
int dump_sent_write(int dirfd, uint32_t pid, const struct run_list *pages, struct err *e);
/* Appends. ERR_GONE where there is none, ERR_PROTOCOL where it can't be. */
int dump_sent_read(int dirfd, uint32_t pid, struct run_list *pages, struct err *e);

#endif
