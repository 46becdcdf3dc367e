/* SPDX-License-Identifier: Apache-2.0 */
/* stream_recv.h - the receiving end of the data streams of one migration: a thread for each, frames decoded and received straight into
 * the staged memory (place.h). Nothing is allocated, locked or logged per frame.
 *
 * Lifetime: create, add (each stream's socket, hello already exchanged; takes the descriptor), barrier per round, destroy (shuts the
 * sockets down and joins). Threads: all calls by the owner. Fails: a stream's error is kept, ends all streams and comes out of the barrier. */
#ifndef DRAY_PAGESERVER_STREAM_RECV_H
#define DRAY_PAGESERVER_STREAM_RECV_H

#include <stdint.h>

#include "pageserver/place.h"
#include "proto/base/err.h"
#include "proto/wire/manifest.h"

struct stream_recv;

struct stream_recv_stats {
	uint64_t pages;      /* data pages placed in the round */
	uint64_t dropped;    /* pages of the round that came without contents: zeros, or no longer there */
	uint64_t wire_bytes; /* received in the round */
	struct manifest manifest; /* of all rounds so far, all streams */
};

struct stream_recv *stream_recv_create(struct place *place, unsigned streams, struct err *e);
int stream_recv_add(struct stream_recv *r, unsigned index, int fd, struct err *e);
/* Streams whose connections are cut are waited for instead of being an error, and the source is told what was placed (stream_ack.h). Before the
 * first add. */
void stream_recv_allow_again(struct stream_recv *r);
/* fd, hello exchanged, takes the place of the stream's connection, which is cut if it isn't yet: what of it was received is placed first, so that
 * nothing old comes behind what is new. Takes fd, whatever comes of it. While a round is waited for too, by the thread that waits. */
void stream_recv_again(struct stream_recv *r, unsigned index, int fd);
/* Lets the frames of a round be placed; called after place_apply. Frames of any other round end the stream with -EPROTO. */
void stream_recv_open_round(struct stream_recv *r, uint32_t round);
/* Waits until every stream has carried FRAME_ROUND_END of the round; wake_fd readable (the control connection, say) ends the wait
 * with ERR_CANCELLED. timeout in ms, -1 for ever. */
int stream_recv_barrier(struct stream_recv *r, uint32_t round, int wake_fd, int timeout_ms, struct stream_recv_stats *stats,
			struct err *e);
void stream_recv_destroy(struct stream_recv *r);

#endif
