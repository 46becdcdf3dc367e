/* SPDX-License-Identifier: Apache-2.0 */
/* frame_recv.h - takes frames off one stream's socket and puts their pages into staged memory.
 * A raw frame's pages are received right where they belong; lz4 blocks go through a buffer of one block. Whatever its frames hold, a stream
 * takes some 200 KiB, all of it allocated by init.
 * Threads: one at a time. Lifetime: init (takes the socket), finish. Fails: err that says what was wrong, without the stream's name. */
#ifndef DRAY_PAGESERVER_FRAME_RECV_H
#define DRAY_PAGESERVER_FRAME_RECV_H

#include <stdbool.h>
#include <stdint.h>

#include "pageserver/place.h"
#include "proto/base/err.h"
#include "proto/wire/frame.h"
#include "proto/wire/manifest.h"

struct frame_buffers;

struct frame_recv {
	int fd;
	uint64_t sequence;          /* of the frame under way, or the next one */
	struct frame_header header; /* the last one received */
	uint64_t pages, dropped, wire_bytes; /* since the caller set them to 0 */
	struct manifest manifest;
	bool cut;                   /* what failed was the connection, not what came on it */
	struct frame_buffers *buffers;
};

int frame_recv_init(struct frame_recv *f, int fd); /* 0 or -ENOMEM, then fd is still the caller's */
void frame_recv_finish(struct frame_recv *f);
/* Goes on on another socket; the one before it is closed. */
void frame_recv_move(struct frame_recv *f, int fd);
/* Waits for the next header and checks it. ERR_PEER when the connection ends. */
int frame_recv_header(struct frame_recv *f, struct err *e);
/* The rest of a FRAME_PAGES frame: every run of it is placed or dropped. */
int frame_recv_pages(struct frame_recv *f, struct place *place, struct err *e);

#endif
