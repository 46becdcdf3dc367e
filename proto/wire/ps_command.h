/* SPDX-License-Identifier: Apache-2.0 */
/* ps_command.h - encode and decode the commands of CRIU's page-server protocol. Pure: no I/O, no allocation, no globals.
 *
 * A command is a header in the sender's byte order (little-endian here), of one layout for the life of a connection:
 *
 *   criu up to 4.1   u32 cmd | u32 nr | u64 vaddr | u64 dst                                24 bytes
 *   criu from 4.2    u32 cmd | 4 bytes nothing | u64 nr | u64 vaddr | u64 dst              32 bytes
 *
 * cmd = code | flags << 16; dst = id << 8 | type (a bare pid in GET); nr counts pages of 4096 bytes. Nothing announces the layout, the first header
 * gives it away. Everything else about the protocol: docs/page-server.md.
 * Threads: any. Fails: negative errno, -EPROTO is permanent. */
#ifndef DRAY_WIRE_PS_COMMAND_H
#define DRAY_WIRE_PS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The value is the header's length. */
enum ps_layout { PS_LAYOUT_UNKNOWN = 0, PS_LAYOUT_24 = 24, PS_LAYOUT_32 = 32 };
enum { PS_HEADER_MIN = 24, PS_HEADER_MAX = 32 };

enum ps_code {
	PS_ADD = 1,     /* pages follow; what senders before 3.5 say for ADD_F with PRESENT */
	PS_HOLE = 2,    /* the same for ADD_F with IN_PARENT */
	PS_OPEN = 3,    /* OPEN2 without an answer */
	PS_OPEN2 = 4,   /* begins a page map; answered by 1 byte: whether a parent's was opened */
	PS_PARENT = 5,  /* answered by 4 bytes: whether the parent has such a page map */
	PS_ADD_F = 6,   /* flags say what the range is; pages follow when PRESENT */
	PS_GET = 7,     /* a lazy client asks for pages */
	PS_CLOSE = 0x1023,       /* answered by 4 bytes: the status */
	PS_FORCE_CLOSE = 0x1024, /* the same on a socket that goes on to serve somebody else */
	PS_FRAME = 0x2001,       /* of native sessions alone (ps_native.h): a frame of pages follows */
};
enum ps_flag { PS_IN_PARENT = 1, PS_LAZY = 2, PS_PRESENT = 4 };
enum { PS_OPEN2_ANSWER = 1, PS_PARENT_ANSWER = 4, PS_STATUS_ANSWER = 4 };

struct ps_command {
	uint16_t code;  /* enum ps_code */
	uint16_t flags; /* of a range (ADD and HOLE have theirs filled in); as sent otherwise */
	uint64_t nr;    /* pages */
	uint64_t vaddr; /* of a task; an offset in shared memory */
	uint64_t dst;
};

/* From the first PS_HEADER_MIN bytes of a connection. PS_LAYOUT_UNKNOWN where both layouts read the same: a session that begins with its end,
 * or no command at all. */
enum ps_layout ps_detect(const void *first);

/* layout: PS_LAYOUT_UNKNOWN takes the code and the flags alone. 0, or -EPROTO: no such command (c->code is as sent, for the message). */
int ps_decode(enum ps_layout layout, const void *header, struct ps_command *c);
/* Writes as many bytes as the layout says. nr must fit it: at most UINT32_MAX in 24 bytes. */
void ps_encode(enum ps_layout layout, const struct ps_command *c, void *header);

bool ps_is_range(const struct ps_command *c); /* ADD, HOLE, ADD_F */
bool ps_ends(const struct ps_command *c);     /* CLOSE or FORCE_CLOSE without any flag: nothing follows */
static inline bool ps_has_pages(const struct ps_command *c) { return ps_is_range(c) && (c->flags & PS_PRESENT); }
/* What is wrong with a range by itself: its flags, its count, its address. NULL: nothing. */
const char *ps_range_fault(const struct ps_command *c);
const char *ps_name(uint16_t code); /* "ADD_F"; "?" for what is none */

enum ps_kind { PS_TASK = 1, PS_SHMEM = 2 };
/* Takes the types that releases before 3.3 sent, too. 0 or -EPROTO. */
int ps_dst_decode(uint64_t dst, enum ps_kind *kind, uint64_t *id);
/* id below 2^56. */
uint64_t ps_dst_encode(enum ps_kind kind, uint64_t id);

#endif
