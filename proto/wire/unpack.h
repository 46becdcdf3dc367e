/* SPDX-License-Identifier: Apache-2.0 */
/* unpack.h - unpack a protobuf message that a peer sent, in bounded memory: packed bytes may unpack into many times their size, and must not
 * cost what they like. Pure. Threads: any. */
#ifndef DRAY_WIRE_UNPACK_H
#define DRAY_WIRE_UNPACK_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

/* NULL when the bytes are no such message, or one that swells: beyond 16 times its packed size (and 64 KiB), or beyond max bytes. Owned by the
 * caller, freed with protobuf_c_message_free_unpacked(msg, NULL). */
ProtobufCMessage *unpack_capped(const ProtobufCMessageDescriptor *type, const void *packed, size_t len, size_t max);

#endif
