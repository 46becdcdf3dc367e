/* SPDX-License-Identifier: Apache-2.0 */
/* channel.h - requests from a session or a restore to its husk over a socketpair, one at a time, each answered once.
 * Only CHANNEL_AGAIN is not answered. Both ends are ours and on one machine: native layout, no version. Payloads may carry what a peer sent (a
 * packed RoundBegin), which the husk unpacks with the peer's caps. Threads: one an end. Fails: err. */
#ifndef DRAY_MIGRATE_CHANNEL_H
#define DRAY_MIGRATE_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

enum channel_kind {
	CHANNEL_STREAM = 1,  /* value: stream index; descriptor: its socket */
	CHANNEL_AGAIN,       /* value: stream index; descriptor: the socket that takes its place. Not answered; may come while ROUND_END is waited for */
	CHANNEL_ROUND_BEGIN, /* payload: packed RoundBegin; answered with a userfaultfd where it announces late pages */
	CHANNEL_ROUND_END,   /* value: round; answered with struct stream_recv_stats and resident bytes */
	CHANNEL_VERIFY,      /* payload: packed Verify; answered with a packed VerifyReply */
	CHANNEL_LOAD,        /* payload: struct load_request; descriptor: the image directory; answered with the pages read, uint64_t */
	CHANNEL_GIVE,        /* value: id of an open file of the tree that will come; descriptor: what takes its place */
	CHANNEL_STATE,       /* payload: packed TreeState; answered with struct rebuild_handover */
	CHANNEL_OK,
	CHANNEL_FAILED, /* payload: struct err */
};

struct channel_message {
	enum channel_kind kind;
	uint64_t value;
	void *payload; /* owned by the receiver (free), NULL when len is 0 */
	size_t len;
	int fd; /* owned by the receiver, -1 for none */
};

int channel_send(int channel, enum channel_kind kind, uint64_t value, const void *payload, size_t len, int fd, struct err *e);
int channel_receive(int channel, struct channel_message *m, struct err *e); /* ERR_GONE: the other end is closed */
void channel_message_finish(struct channel_message *m);
/* Receives an answer: 0 with *m the caller's to finish when it is CHANNEL_OK; -1 with the husk's own error otherwise. */
int channel_answer(int channel, struct channel_message *m, struct err *e);
/* Copies the payload of an answer, which must have answer_len bytes, and finishes m either way. */
int channel_take(struct channel_message *m, void *answer, size_t answer_len, struct err *e);
/* Sends a request and waits for its answer, whose payload has answer_len bytes. */
int channel_ask(int channel, const struct channel_message *request, void *answer, size_t answer_len, struct err *e);

#endif
