/* SPDX-License-Identifier: Apache-2.0 */
/* streams_priv.h - the connections of a numbered session as their parts see them: streams.c finds the next command and answers, streams_conns.c has what
 * becomes of a connection, streams_thread.c takes those that come.
 * Threads: the session's, and that of streams_thread.c, which touches nothing but what is said to be under the lock. */
#ifndef DRAY_PAGESERVER_STREAMS_PRIV_H
#define DRAY_PAGESERVER_STREAMS_PRIV_H

#include <pthread.h>

#include "pageserver/stock/streams.h"

struct conn {
	struct ps_input in; /* but for the current one, which the receiver has */
	bool borrowed;
	uint64_t cut_us;    /* since when it is cut; 0: it is not, or never was here */
	int fd;             /* changed under the lock; -1: it is not here */
	int next_fd;        /* under the lock: comes in its place; -1 */
	bool welcomed;      /* it has been told what was taken */
	uint32_t told;      /* that so much of the next command was; 0: nothing, or that has been gone on with. Changed under the lock */
};

struct streams {
	struct streams_rules rules;
	struct ps_input *in;
	struct stream_token token;
	struct conn conn[STREAMS_MAX];
	unsigned current, used; /* used: no connection had a higher index */
	uint64_t next;       /* number of the next command; changed under the lock */
	uint64_t told_bytes; /* received when the sender was told last */
	bool question;       /* the last command was one, and this its answer: */
	uint32_t value;
	int why;             /* the last cut */
	uint32_t part;       /* of the next command that was taken, on this connection; changed under the lock */
	unsigned part_of;
	bool taking, resumes; /* what is read is the next command, and not the question before again; in the middle of it */
	bool closed;         /* the last command was taken */
	int wake;            /* readable: there is a next_fd, or the server is gone */
	int end;             /* readable: the thread is to end */
	pthread_t thread;
	pthread_mutex_t lock; /* what the thread touches, too: */
	bool over, alone;     /* it is to end; no more connections will come */
	bool came;            /* there is something to be looked at; then wake is readable, too */
	bool publishing;
	unsigned busy;        /* the connection that a command is being taken from; STREAMS_MAX: none is */
	int first;            /* the first connection, where answers go; -1: it is cut */
	bool replaced;        /* while the set was published it was: the question comes again on it */
};

/* ---- the thread (streams_thread.c) ---- */

void *streams_attend(void *streams); /* what it does until `over` */
/* With the lock held: to the first connection, where it is there. */
void streams_say(const struct streams *s, uint32_t value, uint16_t kind);
/* With the lock held. To who comes: the answer to his hello, and what is next. */
void streams_welcome(struct streams *s, unsigned index, int fd);

/* ---- a connection (streams_conns.c) ---- */

struct ps_input *streams_input(struct streams *s, unsigned i);
/* The receiver reads from this one now. What was received is counted on. */
void streams_become_current(struct streams *s, unsigned i);
/* It is cut, by this error. */
void streams_lose(struct streams *s, unsigned i, int rc);
/* With the lock held: those that the thread took are here from now on. */
void streams_admit(struct streams *s);

#endif
