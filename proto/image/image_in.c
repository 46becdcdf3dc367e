/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/image/codec.h"

enum { IN_BUFFER = 64 * 1024 };

struct image_in {
	int fd;
	uint64_t size; /* of the file when it was opened */
	uint64_t pos;  /* consumed */
	uint8_t *buf;  /* [start, end) is read ahead */
	size_t start, end, capacity;
	char name[IMAGE_NAME_MAX];
};

uint64_t image_rest(const struct image_in *i)
{
	return i->size > i->pos ? i->size - i->pos : 0;
}

static int truncated(const struct image_in *i, const char *what, uint64_t want, struct err *e)
{
	return err_set(e, ERR_PROTOCOL, 0, "%s is truncated: %s at byte %" PRIu64 " needs %" PRIu64 " bytes, %" PRIu64 " are there", i->name, what,
		       i->pos, want, image_rest(i));
}

static size_t buffered(const struct image_in *i)
{
	return i->end - i->start;
}

static void consume(struct image_in *i, size_t n)
{
	i->start += n;
	i->pos += n;
}

/* Room for n bytes from start on. */
static int make_room(struct image_in *i, size_t n, struct err *e)
{
	uint8_t *more;

	memmove(i->buf, i->buf + i->start, buffered(i));
	i->end -= i->start;
	i->start = 0;
	if (n <= i->capacity)
		return 0;
	more = realloc(i->buf, n);
	if (!more)
		return err_sys(e, "memory for an entry of %s", i->name);
	i->buf = more;
	i->capacity = n;
	return 0;
}

/* Reads ahead until n bytes are buffered; fewer only where the file ends. */
static int fill(struct image_in *i, size_t n, struct err *e)
{
	if (n > i->capacity - i->start && make_room(i, n, e) < 0)
		return -1;
	while (buffered(i) < n) {
		ssize_t got = read(i->fd, i->buf + i->end, i->capacity - i->end);

		if (got == 0)
			break;
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(e, "read %s", i->name);
		i->end += (size_t)got;
	}
	return 0;
}

static int check_head(struct image_in *i, enum image_type type, struct err *e)
{
	int len;

	if (fill(i, IMAGE_HEAD_MAX, e) < 0)
		return -1;
	len = image_head_decode(type, i->buf, buffered(i));
	if (len == -ENODATA)
		return err_set(e, ERR_PROTOCOL, 0, "%s is truncated: its %" PRIu64 " bytes end within the magics", i->name, i->size);
	if (len < 0)
		return err_set(e, ERR_PROTOCOL, 0, "%s is no such image: its magics are others", i->name);
	consume(i, (size_t)len);
	return 0;
}

/* O_NONBLOCK: opening a FIFO that lies there must not wait for a writer. */
static int open_regular(int dirfd, const char *name, int mode, uint64_t *size, struct err *e)
{
	cleanup_fd int fd = openat(dirfd, name, mode | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_GONE, ENOENT, "open %s", name);
	if (fd < 0 && errno == ELOOP)
		return err_set(e, ERR_PERMISSION, 0, "%s is a symbolic link, which is not followed: copy the file or link it hard", name);
	if (fd < 0)
		return err_sys(e, "open %s", name);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat %s", name);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_PROTOCOL, 0, "%s is no ordinary file", name);
	*size = (uint64_t)st.st_size;
	return steal_fd(&fd);
}

int image_open_file(int dirfd, enum image_type type, uint64_t id, bool writable, uint64_t *size, struct err *e)
{
	char name[IMAGE_NAME_MAX];

	image_name(type, id, name);
	return open_regular(dirfd, name, writable ? O_RDWR : O_RDONLY, size, e);
}

struct image_in *image_open(int dirfd, enum image_type type, uint64_t id, struct err *e)
{
	struct image_in *i = calloc(1, sizeof(*i));

	if (!i) {
		err_sys(e, "memory for an image file");
		return NULL;
	}
	image_name(type, id, i->name);
	i->fd = open_regular(dirfd, i->name, O_RDONLY, &i->size, e);
	if (i->fd < 0)
		goto fail;
	i->capacity = IN_BUFFER;
	i->buf = malloc(i->capacity);
	if (!i->buf) {
		err_sys(e, "memory for %s", i->name);
		goto fail;
	}
	if (check_head(i, type, e) < 0)
		goto fail;
	return i;
fail:
	image_in_close(i);
	return NULL;
}

void image_in_close(struct image_in *i)
{
	if (!i)
		return;
	if (i->fd >= 0)
		close(i->fd);
	free(i->buf);
	free(i);
}

/* The whole entry into the buffer: 1 with the length of its body, 0 at the end of the file. */
static int fetch_entry(struct image_in *i, uint32_t *body, struct err *e)
{
	int rc;

	if (fill(i, IMAGE_SIZE_BYTES, e) < 0)
		return -1;
	if (buffered(i) == 0)
		return 0;
	if (buffered(i) < IMAGE_SIZE_BYTES)
		return truncated(i, "the size of an entry", IMAGE_SIZE_BYTES, e);
	rc = image_entry_decode(i->buf + i->start, buffered(i), body);
	if (rc < 0)
		return err_set(e, ERR_LIMIT, 0, "%s: the entry at byte %" PRIu64 " claims %" PRIu32 " bytes, above the limit of %d", i->name, i->pos,
			       *body, IMAGE_ENTRY_MAX);
	if (rc)
		return 1;
	if (image_rest(i) < IMAGE_SIZE_BYTES + (uint64_t)*body)
		return truncated(i, "the entry", IMAGE_SIZE_BYTES + (uint64_t)*body, e);
	if (fill(i, IMAGE_SIZE_BYTES + (size_t)*body, e) < 0)
		return -1;
	if (buffered(i) < IMAGE_SIZE_BYTES + (size_t)*body) /* it became shorter meanwhile */
		return truncated(i, "the entry", IMAGE_SIZE_BYTES + (uint64_t)*body, e);
	return 1;
}

int image_get_bytes(struct image_in *i, const uint8_t **body, size_t *len, struct err *e)
{
	uint32_t size;
	int rc = fetch_entry(i, &size, e);

	if (rc <= 0)
		return rc;
	*body = i->buf + i->start + IMAGE_SIZE_BYTES;
	*len = size;
	consume(i, IMAGE_SIZE_BYTES + (size_t)size);
	return 1;
}

int image_get(struct image_in *i, const ProtobufCMessageDescriptor *type, ProtobufCMessage **entry, struct err *e)
{
	uint64_t at = i->pos;
	const uint8_t *body;
	size_t len;
	int rc = image_get_bytes(i, &body, &len, e);

	if (rc <= 0)
		return rc;
	*entry = protobuf_c_message_unpack(type, NULL, len, body);
	if (!*entry)
		return err_set(e, ERR_PROTOCOL, 0, "%s: the entry at byte %" PRIu64 " is no valid %s", i->name, at, type->name);
	return 1;
}

int image_get_raw(struct image_in *i, void *data, size_t len, struct err *e)
{
	size_t have = buffered(i) < len ? buffered(i) : len;
	int rc;

	if (len > image_rest(i))
		return truncated(i, "what follows an entry", len, e);
	memcpy(data, i->buf + i->start, have);
	consume(i, have);
	rc = read_full(i->fd, (uint8_t *)data + have, len - have);
	if (rc == -EPIPE)
		return truncated(i, "what follows an entry", len - have, e);
	if (rc < 0)
		return err_set(e, ERR_SYSTEM, -rc, "read %s", i->name);
	i->pos += len - have;
	return 0;
}

ProtobufCMessage *image_read_one(int dirfd, enum image_type type, uint64_t id, const ProtobufCMessageDescriptor *d, struct err *e)
{
	struct image_in *i = image_open(dirfd, type, id, e);
	ProtobufCMessage *m = NULL;
	int rc;

	if (!i)
		return NULL;
	rc = image_get(i, d, &m, e);
	if (rc == 0)
		err_set(e, ERR_PROTOCOL, 0, "%s has no entry", i->name);
	image_in_close(i);
	return rc == 1 ? m : NULL;
}
