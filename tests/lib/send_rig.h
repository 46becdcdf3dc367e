/* SPDX-License-Identifier: Apache-2.0 */
/* send_rig.h - a subject with memory, a sender for it and a receiver that decodes frames into a shadow of that memory.
 * The test's main thread is the tracer; the receiver has a thread a stream. CHECK ends the test on anything that should not be. */
#ifndef DRAY_TESTS_SEND_RIG_H
#define DRAY_TESTS_SEND_RIG_H

#include <pthread.h>
#include <stdatomic.h>

#include "migrate/extract/twin.h"
#include "migrate/send/sender.h"
#include "proto/wire/manifest.h"
#include "tests/lib/subject.h"

/* Where AddressSanitizer and ThreadSanitizer let a program have memory, far below where the kernel puts it. */
#define RIG_BASE 0x7e9000000000ull

struct rig;
struct rig_stream {
	struct rig *rig;
	pthread_t thread;
	int sock;
	uint64_t sequence;
	struct manifest manifest;
	atomic_uint ended_round; /* of the last ROUND_END */
	bool ended, lz4;
	uint64_t drops, data_pages;
	int failed; /* -errno: how the stream ended if not by FRAME_END */
};
struct rig {
	struct subject subject;
	size_t pages;          /* at RIG_BASE */
	unsigned streams;
	struct remote held;
	struct twins twins;
	struct twin_ends ends[16];
	uint8_t *shadow;       /* what arrived, page by page */
	pthread_mutex_t lock;  /* shadow: a page may come again by another stream */
	struct rig_stream stream[16];
	int sockets[16];       /* the sender's ends, until rig_sender took them */
	struct sender *sender;
	uint32_t round;        /* the last */
	struct run_list all;   /* of the memory, as one data run */
};

/* A subject that runs body, which must map pages pages at RIG_BASE and say 'r' when that is done. arg: the rig. Connects the streams. */
void rig_start(struct rig *r, int (*body)(int line, void *arg), size_t pages, unsigned streams);
void rig_twins(struct rig *r);      /* makes one a stream */
void rig_untwin(struct rig *r);     /* takes them and the scratch mapping back out */
void rig_sender(struct rig *r, enum extract_kind extract, enum output_how output, enum compress_mode compress, uint64_t max_bandwidth);
void rig_receive(struct rig *r);    /* starts the decoding threads */
/* sender_round and, if it went well, the barrier: every stream's ROUND_END has arrived, so no later round can overtake this one. */
int rig_round(struct rig *r, uint32_t round, bool frozen, const struct run_list *runs, const struct run_list *zero_ok,
	      struct sender_stats *st, struct err *e);
/* FRAME_END, all threads joined, no stream failed; the manifests of both sides are equal. */
void rig_finish(struct rig *r);
void rig_end(struct rig *r);        /* everything away, whatever state it is in */
/* The subject's memory as it is now, beside what arrived: the first page that differs, or -1. Both ends beyond count pages are left alone. */
long rig_compare(struct rig *r, size_t first, size_t count);

#endif
