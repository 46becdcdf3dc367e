/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/hello.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#include "proto/base/le.h"
#include "proto/wire/late.h"

enum {
	AT_MAGIC = 0,
	AT_VERSION = 8,
	AT_ROLE = 10,
	AT_STATUS = 11,
	AT_INDEX = 12,
	AT_FEATURES = 16,
	AT_ID = 24,
	AT_MAX_FRAME_PAGES = 40,
	AT_MAX_CONTROL_LEN = 44,
	AT_TOKEN = 48, /* of roles that have one; else zero, and not looked at */
};
/* Not text that another protocol starts with; the line ends show a connection that rewrites them. */
static const uint8_t magic[8] = { 'D', 'R', 'A', 'Y', 0x0d, 0x0a, 0x1a, 0x0a };

static_assert((int)AT_TOKEN + (int)STREAM_TOKEN_SIZE == (int)HELLO_SIZE && (int)AT_ID + (int)MIGRATION_ID_SIZE == (int)AT_MAX_FRAME_PAGES, "hello layout");

void hello_encode(const struct hello *h, void *buf)
{
	uint8_t *p = buf;

	memset(p, 0, HELLO_SIZE);
	memcpy(p + AT_MAGIC, magic, sizeof(magic));
	le16_put(p + AT_VERSION, h->version);
	p[AT_ROLE] = h->role;
	p[AT_STATUS] = h->status;
	le32_put(p + AT_INDEX, h->index);
	le64_put(p + AT_FEATURES, h->features);
	memcpy(p + AT_ID, h->id.byte, MIGRATION_ID_SIZE);
	le32_put(p + AT_MAX_FRAME_PAGES, h->max_frame_pages);
	le32_put(p + AT_MAX_CONTROL_LEN, h->max_control_len);
	memcpy(p + AT_TOKEN, h->token.byte, STREAM_TOKEN_SIZE);
}

/* How many connections of a role a migration may have: their indexes stay below. */
static uint32_t connections_of(enum hello_role role)
{
	return role == HELLO_STREAM || role == HELLO_AGAIN || role == HELLO_IMAGES_MORE ? STREAMS_MAX : role == HELLO_LATE ? LATE_CONNECTIONS : 1;
}

bool hello_begins(const void *buf)
{
	return memcmp((const uint8_t *)buf + AT_MAGIC, magic, sizeof(magic)) == 0;
}

int hello_decode(const void *buf, struct hello *h)
{
	const uint8_t *p = buf;

	*h = (struct hello){ 0 };
	if (!hello_begins(p))
		return -EPROTO;
	h->version = le16_get(p + AT_VERSION);
	h->role = p[AT_ROLE];
	h->status = p[AT_STATUS];
	if (h->version != HELLO_VERSION)
		return -EPROTONOSUPPORT;
	h->index = le32_get(p + AT_INDEX);
	h->features = le64_get(p + AT_FEATURES);
	memcpy(h->id.byte, p + AT_ID, MIGRATION_ID_SIZE);
	h->max_frame_pages = le32_get(p + AT_MAX_FRAME_PAGES);
	h->max_control_len = le32_get(p + AT_MAX_CONTROL_LEN);
	if (h->role == HELLO_AGAIN || h->role == HELLO_IMAGES || h->role == HELLO_IMAGES_MORE)
		memcpy(h->token.byte, p + AT_TOKEN, STREAM_TOKEN_SIZE);
	if (h->role < HELLO_CONTROL || h->role > HELLO_IMAGES_MORE || h->status > HELLO_REFUSED)
		return -EPROTO;
	return h->index < connections_of((enum hello_role)h->role) ? 0 : -EPROTO;
}

static void random_bytes(uint8_t *buf, size_t len)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n = getrandom(buf + have, len - have, 0);

		if (n > 0)
			have += (size_t)n;
	}
}

void migration_id_new(struct migration_id *id)
{
	random_bytes(id->byte, sizeof(id->byte));
}

void stream_token_new(struct stream_token *t)
{
	random_bytes(t->byte, sizeof(t->byte));
}

bool stream_token_equal(const struct stream_token *a, const struct stream_token *b)
{
	uint8_t differ = 0;

	for (size_t i = 0; i < sizeof(a->byte); i++)
		differ |= a->byte[i] ^ b->byte[i];
	return differ == 0;
}

void migration_id_format(const struct migration_id *id, char text[33])
{
	static const char digit[] = "0123456789abcdef";

	for (unsigned i = 0; i < MIGRATION_ID_SIZE; i++) {
		text[2 * i] = digit[id->byte[i] >> 4];
		text[2 * i + 1] = digit[id->byte[i] & 15];
	}
	text[32] = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool migration_id_parse(const char *text, struct migration_id *id)
{
	for (unsigned i = 0; i < MIGRATION_ID_SIZE; i++) {
		int high = hex_value(text[2 * i]), low = high < 0 ? -1 : hex_value(text[2 * i + 1]);

		if (low < 0)
			return false;
		id->byte[i] = (uint8_t)(high << 4 | low);
	}
	return text[32] == '\0';
}
