/* SPDX-License-Identifier: Apache-2.0 */
/* control.h - messages of a control connection: an 8-byte header {u32 length, u16 type, u16 zero}, little-endian, then a packed
 * protobuf message of that type (proto/control.proto). The cap is applied before anything is allocated or unpacked.
 * The pure half (header) and a thin blocking half (send, receive with a deadline). Threads: one reader and one writer. */
#ifndef DRAY_WIRE_CONTROL_H
#define DRAY_WIRE_CONTROL_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

enum { CONTROL_HEADER_SIZE = 8, CONTROL_MAX = 32 << 20, STATE_MAX = 16 << 20 };

enum control_type {
	CONTROL_OFFER = 1,
	CONTROL_OFFER_REPLY,
	CONTROL_ROUND_BEGIN,
	CONTROL_ROUND_READY,
	CONTROL_ROUND_END,
	CONTROL_ROUND_DONE,
	CONTROL_STATE,
	CONTROL_PREPARED,
	CONTROL_COMMIT,
	CONTROL_RUNNING,
	CONTROL_VERIFY,
	CONTROL_VERIFY_REPLY,
	CONTROL_ABORT,
	CONTROL_QUERY,
	CONTROL_OUTCOME,
	CONTROL_DONE,
	CONTROL_TYPES
};
const char *control_type_name(enum control_type type);

struct control_header { uint32_t length; uint16_t type; };
void control_header_encode(const struct control_header *h, void *buf);
int control_header_decode(const void *buf, struct control_header *h); /* 0 or -EPROTO (unknown type, above the cap) */

/* Sends one message. To a peer that hung up: the Abort that it left, if it did, as control_receive would have it; so only the reader may send then. */
int control_send(int fd, enum control_type type, const ProtobufCMessage *msg, struct err *e);
/* The descriptor of the message that a type carries. */
const ProtobufCMessageDescriptor *control_descriptor(enum control_type type);
/* Waits up to timeout_ms (-1: for ever) for one message; *msg is owned by the caller (protobuf_c_message_free_unpacked).
 * An Abort from the peer comes back as an error of its kind ("peer: ...", printable), whatever was expected.
 * Errors: ERR_PEER cut, ERR_TIMEOUT, ERR_PROTOCOL. */
int control_receive(int fd, int timeout_ms, enum control_type *type, ProtobufCMessage **msg, struct err *e);
/* control_receive, and ERR_PROTOCOL unless it is of the type wanted. NULL on failure. */
ProtobufCMessage *control_expect(int fd, int timeout_ms, enum control_type type, struct err *e);

#endif
