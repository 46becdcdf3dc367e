/* SPDX-License-Identifier: Apache-2.0 */
/* sender_priv.h - what sender.c (rounds, the owner's side), worker.c (a stream's thread), by_splice.c, by_copy.c (its two ways) and
 * output.c (bytes to the socket) share. */
#ifndef DRAY_MIGRATE_SENDER_PRIV_H
#define DRAY_MIGRATE_SENDER_PRIV_H

#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>

#include "migrate/extract/copy.h"
#include "migrate/extract/twin.h"
#include "migrate/send/bucket.h"
#include "migrate/send/choose.h"
#include "migrate/send/cursor.h"
#include "migrate/send/sender.h"
#include "migrate/send/sent_log.h"
#include "proto/wire/frame.h"

enum {
	SPLICE_FRAME_PAGES = 256, /* the slots of the pipe */
	BATCH = 4,                /* spliced frames handed to the ring at once */
	COPY_FRAME_PAGES = 256,   /* what stays in a core's second-level cache while it is read, checked and sent */
	/* A frame of copied pages that alternate between zero and not has a run for each page; the rest is for the round's own drops. */
	COPY_FRAME_RUNS = FRAME_MAX_RUNS - COPY_FRAME_PAGES,
	PIECE_PAGES = 2048,       /* what a stream takes at a time: 8 MiB, so that the lock is rare and neighbours stay together */
	PIECE_RUNS = 1024,
	HUGE_PAGES = 512,
	HEAD_SIZE = FRAME_HEADER_SIZE + FRAME_MAX_RUNS * FRAME_RUN_SIZE,
};

_Static_assert(2 * BATCH * SPLICE_FRAME_PAGES <= TWIN_INFLIGHT_PAGES, "a batch on its way, another commanded");

struct outgoing { /* a frame on its way: the head's bytes, then len bytes of payload */
	struct page_run run[FRAME_MAX_RUNS];
	size_t runs;
	uint32_t data_pages;
	uint8_t head[HEAD_SIZE];
	size_t head_len;
	bool head_out;     /* spliced frames: what is done */
	size_t spliced;
};

struct worker {
	struct sender *s;
	pthread_t thread;
	bool started;
	int sock;              /* owned */
	struct twin_ends twin; /* owned */
	struct copy_source twin_memory; /* the memory the twin holds, even if the target left it */
	struct io_uring ring;
	bool has_ring;
	bool sends_short;      /* MSG_WAITALL will not do on its socket */
	unsigned pending;      /* completions to come */
	uint64_t sequence;
	uint64_t holes_seen;
	struct sent_counts count;  /* stats: of this round */
	struct sent_counts told;   /* under the lock: the same as of the round's end */
	bool drained;              /* what the twin was asked for was thrown away: its holes are still to be looked at */
	bool cut;                  /* the connection is; cut_errno: how it was found so */
	int cut_errno;
	uint32_t frame_pages;      /* at most; smaller in a round in which connections don't last */
	uint64_t placed;           /* the next frame, as of the last connection that was made anew, or the round's first */
	uint64_t placed_us;        /* when that last was another */
	unsigned fruitless;        /* connections since then */
	struct sent_log log;
	struct run_list again;     /* pages of frames that were lost */
	struct cursor again_at;
	struct page_run taken[FRAME_MAX_RUNS]; /* of the frame that is being made */
	struct compress_auto compress;
	struct cursor piece;       /* what is left of what it took */
	struct page_run piece_run[PIECE_RUNS];
	struct outgoing frame[2 * BATCH]; /* two batches; of copied frames, the first two */
	uint8_t *raw[2], *packed[2]; /* page bytes and lz4 output of copied frames */
	struct msghdr msg;         /* of the send under way: the kernel's until it completes */
	struct iovec iov[2];
	size_t unsent;         /* of it */
};

enum sender_order { ORDER_NONE, ORDER_ROUND, ORDER_FINISH, ORDER_QUIT };

struct sender {
	struct sender_config config;
	struct copy_source source;
	int wake_fd;           /* eventfd: readable once the sender is cancelled or failed */
	atomic_bool stop;      /* the same, to look at between frames */
	atomic_uint_fast64_t pages_left, bytes_sent;
	atomic_uint reconnections;
	uint32_t frame_pages;  /* smaller than usual under a low bandwidth limit */

	pthread_mutex_t lock;  /* everything below; the only lock */
	pthread_cond_t changed;
	enum sender_order order;
	unsigned order_number, working; /* workers that haven't finished the order */
	unsigned unsettled;    /* workers whose round isn't acknowledged yet */
	bool cancelled;
	struct err first;      /* the first stream's error */
	struct cursor cursor;
	struct bucket bucket;

	uint32_t round;        /* constant while workers work */
	bool frozen;
	const struct run_list *zero_ok;
	struct manifest manifest;
	unsigned workers;
	struct worker worker[]; /* config.streams */
};

/* sender.c: a worker's way to end the round on all streams. Returns -1. */
int worker_fail(struct worker *w, enum err_kind kind, int num, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The next frame's runs; false when the round has none left. */
bool worker_next(struct worker *w, struct outgoing *f, uint32_t max_pages, size_t max_runs);
/* Waits until the bandwidth limit lets bytes go. -1 when stopped meanwhile. */
int worker_throttle(struct worker *w, size_t bytes);
/* Before the first byte of a frame goes out. taken: the runs that it was to carry; taken_pages: how many of the round's pages are done with. */
int worker_account(struct worker *w, const struct outgoing *f, size_t payload, const struct page_run *taken, size_t taken_runs, uint32_t taken_pages);

/* worker.c */
void *worker_main(void *arg);

/* by_splice.c, by_copy.c: all frames of the round. 0, or -1 after worker_fail. */
int worker_round_splice(struct worker *w);
int worker_round_copy(struct worker *w);
/* Sends f's runs as copied frame(s) read from src (the piece is not looked at). slot: which buffers. taken: how many of the round's pages
 * are done with. */
int worker_copy_frame(struct worker *w, const struct copy_source *src, struct outgoing *f, unsigned slot, uint32_t taken);
/* Sends w->again, copied, to its end. */
int worker_copy_again(struct worker *w, const struct copy_source *src);

/* again.c: a cut stream. 0, or -1 after worker_fail. */
void worker_begin_again(struct worker *w); /* with each round */
int worker_reconnect(struct worker *w); /* until it goes on, or there is no more patience; what was lost is in w->again then */
int worker_await_ack(struct worker *w); /* that all frames so far are placed; -1 with w->cut, too */

/* output.c: 0, or -1 after worker_fail. */
int output_open(struct worker *w);   /* by the worker's own thread; without a ring (refused, old kernel) plain calls do */
void output_close(struct worker *w);
void outgoing_table(struct outgoing *f); /* the run table, which the checksum covers */
void outgoing_header(struct worker *w, struct outgoing *f, enum frame_kind kind, uint16_t flags, size_t payload_len, uint64_t checksum);
int output_cut(struct worker *w, int num); /* the connection is: w->cut where it may be made anew, else worker_fail. -1 */
int output_bytes(struct worker *w, const void *buf, size_t len);
/* Head and payload, which stay the kernel's until output_wait. One at a time: a stream's bytes have one order. */
int output_frame_start(struct worker *w, const struct outgoing *f, const void *payload, size_t len);
int output_wait(struct worker *w);
/* Each frame's head, then its pages out of the twin's pipe. n <= BATCH. */
int output_spliced(struct worker *w, struct outgoing *f, unsigned n);

#endif
