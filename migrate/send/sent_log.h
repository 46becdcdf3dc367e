/* SPDX-License-Identifier: Apache-2.0 */
/* sent_log.h - which pages each frame of a stream took along, of the round under way: what is sent again when the stream's connection is cut.
 * Beside each frame stands what was counted before it, so that taking frames back takes their counts back too. A frame costs some 100 bytes and
 * 16 for each of its runs, until the next round. Pure. Threads: belongs to one. Lifetime: a zeroed log is valid, finish accepts it. */
#ifndef DRAY_MIGRATE_SENT_LOG_H
#define DRAY_MIGRATE_SENT_LOG_H

#include "migrate/send/sender.h"

struct sent_counts { /* of a stream; the manifest of all rounds, the rest of this one */
	struct manifest manifest;
	struct sender_stats stats;
};

struct sent_frame;
struct sent_log {
	uint64_t first; /* number of the first frame */
	struct sent_frame *frame;
	size_t frames, room;
	struct run_list runs; /* of all frames */
};

void sent_log_begin(struct sent_log *l, uint64_t first); /* a round */
/* The next frame: what was counted before it, the pages that it was to carry (whatever became of them). 0 or -ENOMEM. */
int sent_log_add(struct sent_log *l, const struct sent_counts *before, const struct page_run *run, size_t runs);
/* Takes back the frames from number next on: their pages become again, ascending and each once, together with what is in it before. 0,
 * -ERANGE: next is none of the round's numbers, nothing is changed; -ENOMEM. */
int sent_log_take_back(struct sent_log *l, uint64_t next, struct sent_counts *counts, struct run_list *again);
void sent_log_finish(struct sent_log *l);

#endif
