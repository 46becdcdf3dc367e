/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/image/codec.h"

enum { OUT_BUFFER = 64 * 1024 };

struct image_out {
	ProtobufCBuffer sink; /* first member: protobuf-c packs into it */
	int fd;
	int failed; /* the first error of a write, negative errno; nothing is written after it */
	size_t used;
	char name[IMAGE_NAME_MAX];
	uint8_t buf[OUT_BUFFER];
};

static void write_out(struct image_out *o, const void *data, size_t len)
{
	if (!o->failed)
		o->failed = write_full(o->fd, data, len);
}

static void flush(struct image_out *o)
{
	write_out(o, o->buf, o->used);
	o->used = 0;
}

static void append(ProtobufCBuffer *b, size_t len, const uint8_t *data)
{
	struct image_out *o = (struct image_out *)b;

	if (len > OUT_BUFFER - o->used)
		flush(o);
	if (len > OUT_BUFFER) {
		write_out(o, data, len);
		return;
	}
	if (len > 0) /* an empty field has no data */
		memcpy(o->buf + o->used, data, len);
	o->used += len;
}

static int check(const struct image_out *o, struct err *e)
{
	return o->failed ? err_set(e, ERR_SYSTEM, -o->failed, "write %s", o->name) : 0;
}

static struct image_out *out_open(int dirfd, enum image_type type, uint64_t id, int flags, struct err *e)
{
	struct image_out *o = malloc(sizeof(*o));

	if (!o) {
		err_sys(e, "memory for an image file");
		return NULL;
	}
	o->sink = (ProtobufCBuffer){ .append = append };
	o->failed = 0;
	o->used = 0;
	image_name(type, id, o->name);
	o->fd = openat(dirfd, o->name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
	if (o->fd < 0) {
		err_sys(e, "create %s", o->name);
		free(o);
		return NULL;
	}
	return o;
}

struct image_out *image_create(int dirfd, enum image_type type, uint64_t id, struct err *e)
{
	struct image_out *o = out_open(dirfd, type, id, O_CREAT | O_TRUNC, e);

	if (o)
		o->used = image_head_encode(type, o->buf);
	return o;
}

struct image_out *image_append(int dirfd, enum image_type type, uint64_t id, struct err *e)
{
	return out_open(dirfd, type, id, O_APPEND, e);
}

int image_put(struct image_out *o, const ProtobufCMessage *entry, struct err *e)
{
	size_t len = protobuf_c_message_get_packed_size(entry);
	uint8_t size[IMAGE_SIZE_BYTES];

	if (len > IMAGE_ENTRY_MAX)
		return err_set(e, ERR_LIMIT, 0, "%s: an entry of %zu bytes is above the limit of %d", o->name, len, IMAGE_ENTRY_MAX);
	le32_put(size, (uint32_t)len);
	append(&o->sink, sizeof(size), size);
	protobuf_c_message_pack_to_buffer(entry, &o->sink);
	return check(o, e);
}

int image_put_raw(struct image_out *o, const void *data, size_t len, struct err *e)
{
	append(&o->sink, len, data);
	return check(o, e);
}

int image_close(struct image_out *o, bool durable, struct err *e)
{
	int rc;

	if (!o)
		return 0;
	flush(o);
	if (durable && !o->failed && fsync(o->fd) < 0)
		o->failed = -errno;
	/* Network filesystems report here what they could not write. */
	if (close(steal_fd(&o->fd)) < 0 && !o->failed)
		o->failed = -errno;
	rc = check(o, e);
	image_discard(o);
	return rc;
}

void image_discard(struct image_out *o)
{
	if (!o)
		return;
	if (o->fd >= 0)
		close(o->fd);
	free(o);
}

int image_write_one(int dirfd, enum image_type type, uint64_t id, const ProtobufCMessage *entry, struct err *e)
{
	struct image_out *o = image_create(dirfd, type, id, e);

	if (!o)
		return -1;
	if (image_put(o, entry, e) < 0) {
		image_discard(o);
		return -1;
	}
	return image_close(o, false, e);
}
