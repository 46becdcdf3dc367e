/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/message_list.h"

#include <errno.h>
#include <stdlib.h>

void *message_new(const ProtobufCMessageDescriptor *type, struct err *e)
{
	void *msg = malloc(type->sizeof_message);

	if (msg)
		protobuf_c_message_init(type, msg);
	else
		err_set(e, ERR_SYSTEM, ENOMEM, "%s", type->name);
	return msg;
}

/* The array doubles at each power of two, so its capacity needs no place. */
int message_push(void *array, size_t *count, void *msg, struct err *e)
{
	void **at = *(void ***)array;

	if (!msg)
		return -1;
	if ((*count & (*count - 1)) == 0) {
		void **more = realloc(at, (*count ? *count * 2 : 1) * sizeof(*at));

		if (!more) {
			err_set(e, ERR_SYSTEM, ENOMEM, "list of %s", ((ProtobufCMessage *)msg)->descriptor->name);
			protobuf_c_message_free_unpacked(msg, NULL);
			return -1;
		}
		*(void ***)array = at = more;
	}
	at[(*count)++] = msg;
	return 0;
}
