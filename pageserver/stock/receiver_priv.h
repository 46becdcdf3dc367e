/* SPDX-License-Identifier: Apache-2.0 */
/* receiver_priv.h - a session of a page server, as the parts of its receiver see it: receiver.c takes the commands in turn, receiver_greet.c tells who is
 * there, receiver_maps.c opens page maps, receiver_ranges.c takes pages, receiver_answer.c says what the sender and the server are told.
 * Threads: one. Functions that fail set err and return -1. */
#ifndef DRAY_PAGESERVER_RECEIVER_PRIV_H
#define DRAY_PAGESERVER_RECEIVER_PRIV_H

#include "pageserver/stock/input.h"
#include "pageserver/stock/line.h"
#include "pageserver/stock/receiver.h"
#include "pageserver/stock/turn.h"
#include "proto/wire/ps_command.h"

struct native_frames;
struct streams;

enum { HANG_UP_MS = 10 * 1000 }; /* for the sender to end its connection behind the status */

struct receiver {
	struct page_source source; /* of pages that nobody looks at; first member */
	struct ps_input in;
	int fd;
	bool inherited;
	struct page_sink *sink;
	const struct page_server_config *config;
	struct page_server_report *report;
	enum ps_layout layout;
	struct native_frames *native; /* NULL: a stock session; else frames may come, and answers have words */
	bool in_frame;                /* pages come out of one */
	bool resumed;                 /* what is done of the command does not come again */
	struct streams *streams;   /* of a numbered session; else NULL */
	struct { uint64_t ranges, pages; } done, seen; /* of a numbered command: given to the sink, also before its connection was cut; come on this one */
	struct turn turn;             /* of the session's own thread; not begun in a process that was lent */
	int cut;                      /* what failed was the connection, by this error; 0: it was not */
	bool hears_alive;             /* the sender knows what to make of PS_NATIVE_ALIVE */
	uint64_t asked_us;            /* when the question at hand was read, where that is metered */
	bool begun;                   /* the sender has said what it wants */
	uint64_t start_us;
	uint64_t deadline_us;         /* of the session; 0: none */
	uint64_t spoken_of; /* pages, as limits.pages counts them */
	uint64_t room;      /* bytes of pages that may come before the file system is looked at again */
	bool open; /* this page map: */
	enum ps_kind kind;
	uint64_t id;
};

/* ---- what they are told (receiver_answer.c) ---- */

/* rc: of a ps_input function. Sets r->cut where it was the connection that failed. */
int receiver_input_failed(struct receiver *r, int rc, struct err *e);
/* The error is about this page map. */
int receiver_in_map(enum ps_kind kind, uint64_t id, struct err *e);
/* Whoever watches, when nothing is left of what was read: a buffer's worth at a time, and before every wait. */
void receiver_tell(struct receiver *r);
void receiver_tell_server(const struct receiver *r, const struct line_message *m);
void receiver_tell_server_word(const struct receiver *r, enum line_word word);
int receiver_answer(struct receiver *r, const void *bytes, size_t len, struct err *e);
/* size: of the stock protocol's answer. */
int receiver_answer_value(struct receiver *r, uint32_t value, size_t size, struct err *e);
/* Why a native session failed. What the sender has said by then is read and forgotten: a connection that is closed with bytes unread takes the words along. */
void receiver_answer_failure(struct receiver *r, const struct err *why);

/* ---- page maps (receiver_maps.c) ---- */

int receiver_on_parent(struct receiver *r, const struct ps_command *c, struct err *e);
int receiver_on_open(struct receiver *r, const struct ps_command *c, struct err *e);
/* Senders of old name a page map for the first time in its first range, and may come back to it. */
int receiver_be_in_map(struct receiver *r, const struct ps_command *c, struct err *e);
/* What a sender says without contents costs room too: files, entries of page maps, memory for a page map. */
int receiver_speak_of(struct receiver *r, uint64_t pages, struct err *e);

/* ---- pages (receiver_ranges.c) ---- */

/* Whether so many bytes leave free what is to stay so. One look is good for 64 MiB, by which each of those who come at once may go beyond. */
int receiver_find_room(struct receiver *r, uint64_t bytes, struct err *e);

int receiver_on_range(struct receiver *r, const struct ps_command *c, struct err *e);
/* Each run of it is a range like any other. */
int receiver_on_frame(struct receiver *r, const struct ps_command *c, struct err *e);
/* Of a page_source: pages that nobody looks at. */
ssize_t receiver_move_pages(struct page_source *s, int pipe, size_t max, struct err *e);

/* ---- who is there (receiver_greet.c) ---- */

/* What the connection begins with tells: a hello, or a command. Does nothing later. */
int receiver_greet(struct receiver *r, struct err *e);
/* The rest of a probe follows; its sender learns who we are, and goes on in whichever layout. */
int receiver_on_probe(struct receiver *r, struct err *e);
unsigned receiver_alive_ms(const struct page_server_config *c);

#endif
