/* SPDX-License-Identifier: Apache-2.0 */
/* input.h - what a sender says, from its socket: headers whole, pages as they come, both borrowed from one buffer, or moved into a pipe, with deadlines.
 *
 * On a socket that is ours alone it reads as much as there is, headers and pages together, so that a small range costs no system call. On one
 * that others use behind us it never takes a byte more than it was asked for.
 * Threads: one. Lifetime: begin/finish; finish accepts a zeroed one. Fails: negative errno: -ETIMEDOUT past a deadline (ps_input_late says
 * which), -EPIPE an end in the middle of what was asked for. The socket may be blocking or not, and stays so, but for ps_input_allow_splice. */
#ifndef DRAY_PAGESERVER_INPUT_H
#define DRAY_PAGESERVER_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ps_stop;

enum { PS_INPUT_BUFFER = 512 * 1024, PS_INPUT_PIECE = 1024 * 1024 };

struct ps_input {
	int fd;     /* borrowed */
	bool ahead;
	bool sparing; /* what comes next is read byte for byte as it is asked for: it is likely to go into a pipe */
	bool splices; /* from this socket, which does not block then: a splice from one that does may wait for ever, whatever its flags say */
	uint8_t *buf; /* PS_INPUT_BUFFER bytes; what is in [from, to) was read and not taken yet */
	size_t from, to;
	uint64_t received;    /* bytes off the socket */
	uint64_t idle_ms;     /* 0: none */
	uint64_t deadline_us; /* of clock_us; 0: none */
	const struct ps_stop *stop; /* borrowed; reading fails with -ECANCELED once it is cut. NULL: nobody cuts */
};

int ps_input_begin(struct ps_input *in, int fd, bool ahead, uint64_t idle_ms, uint64_t deadline_us);
void ps_input_finish(struct ps_input *in);

/* len bytes, len at most PS_INPUT_BUFFER (more than a page may have to be moved); they stay until the next call. 0; -ENODATA: the other side ended before the first of them. */
int ps_input_take(struct ps_input *in, size_t len, const uint8_t **bytes);
/* As ps_input_take, but what it gives is given again. */
int ps_input_peek(struct ps_input *in, size_t len, const uint8_t **bytes);
/* Whole pages, at least one and at most max bytes of them; they stay until the next call. Returns bytes. */
ssize_t ps_input_pages(struct ps_input *in, uint64_t max, const uint8_t **pages);
/* The same where into is NULL; else max bytes, PS_INPUT_PIECE at most, put there: without a copy, but for what was read before. Less only where no more will come;
 * what fails then fails again. */
ssize_t ps_input_pages_into(struct ps_input *in, uint64_t max, uint8_t *into, const uint8_t **pages);
/* For a socket that is ours alone: makes it one that doesn't block, so that it may be spliced from. */
void ps_input_allow_splice(struct ps_input *in);
/* Moves up to max bytes into an empty pipe that doesn't block, without a copy but for what was read before and where the socket can't be spliced, which is known
 * from then on. Bytes. */
ssize_t ps_input_into_pipe(struct ps_input *in, int pipe, size_t max);
/* The rest of a closing header that may be of either length, on a socket that is not ours alone: len bytes (4096 at most) are dropped where they are there and
 * all zero. */
void ps_input_drop_rest(struct ps_input *in, size_t len);
/* Reads and forgets until the other side ends, or for so long. 0: it ended. */
int ps_input_drain(struct ps_input *in, unsigned timeout_ms);
/* How long the next wait for the peer may take in ms, -1 for ever; 0: the deadline has come. */
int ps_input_patience_ms(const struct ps_input *in);
/* After -ETIMEDOUT: whether it was the deadline (else the peer was idle). */
bool ps_input_late(const struct ps_input *in);

#endif
