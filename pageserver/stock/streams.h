/* SPDX-License-Identifier: Apache-2.0 */
/* streams.h - the connections of a numbered native session (proto/wire/ps_native.h), as its server has them: which one the next command is on, what becomes of
 * those that are cut, and of those that come in their place. Each has a buffer (PS_INPUT_BUFFER), and nothing is kept of what comes out of turn: it waits in the
 * kernel, and its sender with it.
 *
 * A thread of its own takes connections off the line to the server (line.h), ends those in whose place they come, and while a set is published says that the
 * session lives.
 * Threads: all calls from the session's. Fails: negative errno as input.h. */
#ifndef DRAY_PAGESERVER_STREAMS_H
#define DRAY_PAGESERVER_STREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pageserver/stock/input.h"
#include "proto/wire/hello.h"

enum { STREAMS_GRACE_MS = 30 * 1000 };

struct streams_rules {
	int line;            /* to the server; borrowed */
	unsigned grace_ms;   /* how long a cut connection is waited for */
	unsigned alive_ms;   /* between two words while a set is published */
	bool parts;          /* the sender knows HELLO_FEATURE_PARTS */
};

struct streams;
/* in: the first connection's, and from then on that of the connection that is read from, which streams_next changes. It may be finished once the streams are. NULL:
 * no memory, no thread. */
struct streams *streams_create(struct ps_input *in, const struct streams_rules *rules);
void streams_destroy(struct streams *s); /* closes all connections but the first one's first. Accepts NULL */
const struct stream_token *streams_token(const struct streams *s);

/* Waits for the next command, and makes in that of its connection, behind its number. 1: it is the question that was taken last, again: its header follows, and it
 * wants streams_answer_again; 0: not yet taken. -ECANCELED: the sender gave up; -ENOTCONN: a connection was cut and did not come again: streams_why_cut says by what. */
int streams_next(struct streams *s);
int streams_why_cut(const struct streams *s);
/* Whether the command goes on where it was when its connection was cut: neither its header nor what was taken comes again. */
bool streams_resumes(const struct streams *s);
/* It was taken. */
void streams_taken(struct streams *s, bool question);
/* What came on the connection of in ended with this error, which is that of a cut connection: streams_next waits for another. part: bytes of the command that were
 * taken, so that it can go on behind them; 0: it has to come again. */
void streams_cut(struct streams *s, int rc, uint32_t part);

/* To the first connection. Where that is cut the sender will ask again. */
void streams_answer(struct streams *s, uint32_t value);
void streams_answer_again(struct streams *s);
/* While the set is published nothing else may be called. */
void streams_publish_begin(struct streams *s);
void streams_publish_end(struct streams *s);
/* The last command, which ended the session, is answered: waits until the sender has heard that, or for so long; answers it again where that is asked. */
void streams_see_off(struct streams *s, unsigned patience_ms);
/* The session failed: says so to the sender, and again where its first connection is cut meanwhile and comes again, until it hangs up or for so long. */
void streams_fail(struct streams *s, const void *words, size_t len, unsigned patience_ms);

#endif
