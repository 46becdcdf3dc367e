/* SPDX-License-Identifier: Apache-2.0 */
/* ps_streams.h - the connections of a numbered native session (proto/wire/ps_native.h), as its sender has them. Commands go out in turn on all of them and are
 * held until the server has taken them; what was on a connection that is cut goes again on a new one in its place. Who says a command waits only while there is
 * no room to hold it.
 *
 * A connection is cut when the kernel says so, and when what is waited for on it does not come on for silence_ms. It is not found again when that takes longer
 * than patience_ms, or when the server says that the session is no more.
 * Holds PS_STREAMS_HELD bytes and as much again for each connection; nothing else.
 * Threads: belongs to one. Fails: err; ERR_PEER with the server's words where it ended the session. */
#ifndef DRAY_MIGRATE_PS_STREAMS_H
#define DRAY_MIGRATE_PS_STREAMS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "proto/base/err.h"
#include "proto/wire/hello.h"

enum { PS_STREAMS_HELD = 4 << 20, PS_STREAMS_SILENCE_MS = 10 * 1000, PS_STREAMS_PATIENCE_MS = 20 * 1000 };

struct ps_streams_config {
	int fd; /* the first connection, hellos exchanged; borrowed */
	unsigned streams;
	struct stream_token token; /* from the server's hello */
	bool parts; /* it knows HELLO_FEATURE_PARTS */
	int (*connect)(void *arg, struct err *e); /* another connection to the same server: the caller's, or -1 */
	void *arg;
	unsigned silence_ms, patience_ms; /* 0: the above */
};

struct ps_streams;
/* Makes the other connections. */
struct ps_streams *ps_streams_create(const struct ps_streams_config *c, struct err *e);
/* finished: the server has said the status. Else it is told that this session is given up. Accepts NULL. */
void ps_streams_destroy(struct ps_streams *s, bool finished);

/* The next command with what follows it, copied. frame: it may go on any connection; else on the first. */
int ps_streams_say(struct ps_streams *s, const struct iovec *iov, int count, bool frame, struct err *e);
/* The same of one that is answered (PS_HEADER_MAX bytes), and its answer's value, of which the next word may be so far away. */
int ps_streams_ask(struct ps_streams *s, const void *command, int timeout_ms, uint32_t *value, struct err *e);
unsigned ps_streams_again(const struct ps_streams *s); /* how often a connection was made anew */

#endif
