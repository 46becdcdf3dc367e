/* SPDX-License-Identifier: Apache-2.0 */
/* sender.h - the source's data streams: worker threads that take page runs of a round, extract them and put them on the wire.
 *
 * Two extractors: `splice` (a twin vmsplices inside the target, the worker splices the pipe on to its socket) and `copy`
 * (process_vm_readv in runs, zero runs elided, lz4 where it pays, a checksum per frame). One thread, one ring, one socket a stream.
 * A cut connection is made anew where the configuration says how, and what the destination hasn't placed is read and sent again; else it is, as a
 * twin or target that ended, an error, never a wait. Memory sent by splice must not change at the source until the
 * destination has acknowledged the round, in the frozen round (its pages are referenced, not copied).
 *
 * Lifetime: create (takes the sockets, hello exchanged), round, ..., destroy (closes). Threads: all calls by the owner; sender_progress
 * by any. Fails: err; the first stream's error ends the round on all. */
#ifndef DRAY_MIGRATE_SENDER_H
#define DRAY_MIGRATE_SENDER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"
#include "proto/wire/manifest.h"
#include "proto/wire/runs.h"

enum extract_kind { EXTRACT_AUTO, EXTRACT_SPLICE, EXTRACT_COPY };
enum compress_mode { COMPRESS_AUTO, COMPRESS_LZ4, COMPRESS_NONE };

/* A twin as the keeper hands it over: pages come out of pipe_read after iovecs were written to command_write (twin.h). */
struct twin_ends {
	int command_write, pipe_read;
	pid_t pid;        /* of the twin, as we see it */
	uint64_t control; /* address of its struct twin_control in the memory that it shares */
};
/* Bytes to the socket by io_uring or by plain calls. AUTO: the ring for copied pages, calls for spliced ones; docs/decisions says why. */
enum output_how { OUTPUT_AUTO, OUTPUT_RING, OUTPUT_CALLS };

/* Connects stream `index` of this migration once more, hello exchanged, within patience_ms: the socket, or -1. *hopeless: trying again is for nothing.
 * Called by the stream's thread. */
typedef int sender_reconnect(void *arg, unsigned index, int patience_ms, bool *hopeless, struct err *e);

struct sender_config {
	pid_t pid;
	unsigned streams;            /* 1 to STREAMS_MAX */
	enum extract_kind extract;   /* resolved: not AUTO */
	enum compress_mode compress;
	enum output_how output;
	uint64_t max_bandwidth;      /* bytes per second over all streams, 0 unlimited */
	const struct twin_ends *twins; /* one a stream with EXTRACT_SPLICE: taken */
	const int *sockets;            /* one a stream: taken */
	/* Where both sides know HELLO_FEATURE_AGAIN; else NULL: a cut connection is an error. Then the destination acknowledges rounds. */
	sender_reconnect *reconnect;
	void *reconnect_arg;
	uint64_t patience_ms, frozen_patience_ms; /* with a stream that is cut, in a running and in the frozen round */
};

struct sender_stats { /* of one round */
	uint64_t pages;       /* as data */
	uint64_t zero_pages;  /* elided */
	uint64_t wire_bytes;
	uint64_t raw_bytes;   /* pages * 4096 */
	uint64_t cpu_us;      /* of the sending process and the twins */
	uint64_t vanished_pages; /* unmapped under our hands in a running round; the next round says so */
};

struct sender;
struct sender *sender_create(const struct sender_config *c, struct err *e);
/* Sends the runs of a round (ascending) over all streams and a ROUND_END on each; returns when the last byte is handed to the kernel.
 * frozen: the target stands still, so a page that can't be read is an error. zero_ok: ascending ranges where a zero page may travel as
 * a drop (private anonymous memory); NULL: nowhere. Both lists are borrowed for the call. Ended by sender_cancel with ERR_CANCELLED. */
int sender_round(struct sender *s, uint32_t round, bool frozen, const struct run_list *runs, const struct run_list *zero_ok,
		 struct sender_stats *stats, struct err *e);
/* Waits until the destination has acknowledged the round on every stream, which it has soon after it said so elsewhere; cut ones are made anew
 * meanwhile, which may change the manifest. Nothing to wait for without config.reconnect. */
int sender_settle(struct sender *s, struct err *e);
int sender_event_fd(const struct sender *s); /* readable once it failed or was cancelled */
unsigned sender_reconnections(const struct sender *s); /* so far; any thread */
/* FRAME_END on each stream: after the last round. */
int sender_finish(struct sender *s, struct err *e);
const struct manifest *sender_manifest(const struct sender *s); /* of all rounds so far */
uint64_t sender_pages_left(const struct sender *s);             /* of the round under way; any thread */
uint64_t sender_bytes_sent(const struct sender *s);             /* on the wire since create; any thread */
void sender_cancel(struct sender *s); /* any thread; async-signal-safe not */
void sender_destroy(struct sender *s); /* accepts NULL */

/* What EXTRACT_AUTO comes to. Pure. */
struct extract_facts {
	bool twins;                  /* they could be made */
	enum compress_mode compress;
	uint64_t link_bytes_per_s;   /* of the way out, 0 unknown or loopback */
	uint64_t max_bandwidth;      /* as in sender_config */
	unsigned zero_percent;       /* of a sample of the pages: only who reads them can leave zeros out */
};
enum extract_kind sender_choose_extract(enum extract_kind asked, const struct extract_facts *f);
/* What the interface that a connected socket goes out by says of its speed; 0 unknown or loopback. */
uint64_t sender_link_speed(int sock);

#endif
