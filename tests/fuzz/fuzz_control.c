/* SPDX-License-Identifier: Apache-2.0 */
/* A control connection that carries the input: messages until one is wrong or the bytes end. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/wire/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	enum control_type type;
	ProtobufCMessage *msg;
	struct err e = { 0 };

	if (fd < 0 || write(fd, data, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) < 0)
		abort();
	while (control_receive(fd, 0, &type, &msg, &e) == 0) {
		assert(msg->descriptor == control_descriptor(type));
		protobuf_c_message_free_unpacked(msg, NULL);
	}
	assert(err_is_set(&e));
	close(fd);
	return 0;
}
