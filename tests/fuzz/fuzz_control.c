/* SPDX-License-Identifier: Apache-2.0 */
/* A control connection that carries the input: messages until one is wrong or the bytes end. What was understood can be sent on, and is understood
 * there as the same; the description of a process inside is unpacked, too. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "control.pb-c.h"
#include "proto/wire/control.h"
#include "state.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int memory_file(const void *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) < 0)
		abort();
	return fd;
}

static void check_same(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
	size_t len = protobuf_c_message_get_packed_size(a);
	uint8_t *packed = malloc(2 * len + 1);

	if (!packed)
		abort();
	assert(protobuf_c_message_get_packed_size(b) == len);
	protobuf_c_message_pack(a, packed);
	protobuf_c_message_pack(b, packed + len);
	assert(memcmp(packed, packed + len, len) == 0);
	free(packed);
}

static void send_on(enum control_type type, const ProtobufCMessage *msg)
{
	int fd = memory_file(NULL, 0);
	ProtobufCMessage *again;
	struct err e = { 0 };

	if (control_send(fd, type, msg, &e) < 0)
		abort();
	if (lseek(fd, 0, SEEK_SET) < 0)
		abort();
	again = control_expect(fd, 0, type, &e);
	close(fd);
	/* protobuf-c takes an unknown field of number 0 where that is written longer than need be, keeps it, and writes it as what it does not take. */
	assert(again || e.kind == ERR_PROTOCOL);
	if (!again)
		return;
	check_same(msg, again);
	protobuf_c_message_free_unpacked(again, NULL);
}

static void look_inside(const Drayage__State *s)
{
	Drayage__TreeState *tree = drayage__tree_state__unpack(NULL, s->tree.len, s->tree.data);

	if (tree)
		drayage__tree_state__free_unpacked(tree, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memory_file(data, size);
	enum control_type type;
	ProtobufCMessage *msg;
	struct err e = { 0 };

	while (control_receive(fd, 0, &type, &msg, &e) == 0) {
		assert(msg->descriptor == control_descriptor(type));
		assert(type != CONTROL_ABORT && strcmp(control_type_name(type), "unknown") != 0);
		if (type == CONTROL_STATE)
			look_inside((const Drayage__State *)msg);
		send_on(type, msg);
		protobuf_c_message_free_unpacked(msg, NULL);
	}
	assert(err_is_set(&e));
	close(fd);
	return 0;
}
