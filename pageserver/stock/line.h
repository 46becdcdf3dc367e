/* SPDX-License-Identifier: Apache-2.0 */
/* line.h - what the process of a session tells the server that forked it: a word at a time, each arriving whole, in their order.
 * Threads: any. Neither side ever waits: a word to somebody who is gone, or hears nothing, is lost. */
#ifndef DRAY_PAGESERVER_LINE_H
#define DRAY_PAGESERVER_LINE_H

#include <stdbool.h>

enum line_word {
	LINE_BEGUN = 1, /* the sender said something that begins a session */
	LINE_PUBLISHED, /* the set is published */
};

/* end[0]: the server's; end[1]: the session's. 0, -errno. */
int line_pair(int end[2]);
bool line_say(int fd, enum line_word word);
/* 1: a word; 0: none is there; -1: the other side is gone. */
int line_hear(int fd, enum line_word *word);

#endif
