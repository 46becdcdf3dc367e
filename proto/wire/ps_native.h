/* SPDX-License-Identifier: Apache-2.0 */
/* ps_native.h - a native session of a page server: after a hello of role HELLO_IMAGES and its answer, the commands of ps_command.h in their 32 bytes,
 * one command more, and answers that have room for words.
 *
 *   FRAME   flags: those of all its pages; nr: all its pages; vaddr: its first page; dst. A frame (frame.h) follows: address space 0, round 1,
 *           numbered from 0 in the session. RUN_DROP runs are pages of zeros. It has PS_FRAME_PAGES pages at most, zeros included.
 *
 *   answer  u32 value | u16 what failed (enum err_kind, 0: nothing) | u16 length of the text | text        one length for every command
 *
 * With HELLO_FEATURE_ALIVE, before the answer to CLOSE: any number of answers with PS_NATIVE_ALIVE as what failed, which are none: publishing goes on.
 *
 * With HELLO_FEATURE_NUMBERED each command is preceded by its number in the session, u64, from 0. A session has up to STREAMS_MAX connections, the others of role
 * HELLO_IMAGES_MORE; commands are taken in the order of their numbers, whichever connection they are on, and each connection has its own in that order. Behind the
 * answer to the hello of one the server says the number that is next (stream_ack.h). Answers come on the first one, among them any number that are none, of kind
 * PS_NATIVE_TAKEN: value is the lower half of the number that is next. A question that was taken last is answered again when it comes again. PS_OVER in the place
 * of a number: the sender has heard the status, or gives the session up; a connection that ends without it is cut.
 *
 * With HELLO_FEATURE_PARTS, too, that word of the server's says how many bytes of the next command it has, its header being the first. Where those are any, the
 * connection begins with the command's number, and then goes on with it behind them: so a frame may take any number of connections.
 *
 * Pure. Threads: any. Fails: -EPROTO. */
#ifndef DRAY_WIRE_PS_NATIVE_H
#define DRAY_WIRE_PS_NATIVE_H

#include <stdint.h>

#include "proto/base/err.h"
#include "proto/wire/frame.h"
#include "proto/wire/ps_command.h"

enum { PS_FRAME_PAGES = FRAME_MAX_PAGES, PS_NATIVE_ANSWER = 8, PS_NATIVE_ROUND = 1, PS_NATIVE_ALIVE = 0xffff, PS_NATIVE_TAKEN = 0xfffe, PS_NUMBER = 8 };
#define PS_OVER UINT64_MAX

struct ps_native_answer {
	uint32_t value;
	uint16_t kind; /* enum err_kind, or PS_NATIVE_ALIVE, PS_NATIVE_TAKEN */
	uint16_t text; /* bytes behind it */
};
void ps_native_answer_encode(const struct ps_native_answer *a, void *buf);
int ps_native_answer_decode(const void *buf, struct ps_native_answer *a);

/* The number that has this lower half; since, where it is one below that: what was said on one connection may be older than what is known from another. */
uint64_t ps_native_taken(uint64_t since, uint32_t low);

/* The command before a frame of these runs. */
struct ps_command ps_native_command(const struct page_run *runs, uint32_t count, uint16_t flags, uint64_t dst);
/* Of a frame that was decoded, before any page of it is taken: whether it is what its command says. */
int ps_native_check(const struct ps_command *c, const struct frame_header *h, uint64_t sequence, const struct page_run *runs);

#endif
