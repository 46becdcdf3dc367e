/* SPDX-License-Identifier: Apache-2.0 */
/* message_list.h - repeated messages as protobuf-c keeps them (an array of pointers, a count), built one by one. Threads: any. Fails: err, no memory. */
#ifndef DRAY_WIRE_MESSAGE_LIST_H
#define DRAY_WIRE_MESSAGE_LIST_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#include "proto/base/err.h"

/* Initialised, owned by the caller (protobuf_c_message_free_unpacked); NULL with the error set. */
void *message_new(const ProtobufCMessageDescriptor *type, struct err *e);
/* Appends msg (taken, also on failure; NULL is one that was told already) to an array that started empty. array: where the array's address is. */
int message_push(void *array, size_t *count, void *msg, struct err *e);

#endif
