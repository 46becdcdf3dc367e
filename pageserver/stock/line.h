/* SPDX-License-Identifier: Apache-2.0 */
/* line.h - what the process of a session and the server that forked it tell each other: messages that arrive whole and in their order, some with a connection.
 * Threads: any. Neither side ever waits: a message to somebody who is gone, or hears nothing, is lost. */
#ifndef DRAY_PAGESERVER_LINE_H
#define DRAY_PAGESERVER_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire/hello.h"

enum line_word {
	LINE_BEGUN = 1, /* the sender said something that begins a session */
	LINE_PUBLISHED, /* the set is published */
	LINE_TOKEN,     /* the session may have more connections, which show this token */
	LINE_CUT,       /* a connection of it is cut: the sender may be gone, and may come again */
	LINE_HELLO,     /* with a connection that said this hello: to the server, which finds out whose it is; to the session, that it is one of its */
	LINE_ALONE,     /* to the session: no more connections will come */
};

struct line_message {
	enum line_word word;
	int fd; /* -1: none; the receiver's */
	union {
		struct stream_token token;
		uint8_t hello[HELLO_SIZE];
	};
};

/* end[0]: the server's; end[1]: the session's. 0, -errno. */
int line_pair(int end[2]);
bool line_say(int fd, const struct line_message *m); /* m->fd: borrowed */
bool line_say_word(int fd, enum line_word word);
/* 1: a message; 0: none is there; -1: the other side is gone. */
int line_hear(int fd, struct line_message *m);

#endif
