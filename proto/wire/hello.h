/* SPDX-License-Identifier: Apache-2.0 */
/* hello.h - the first 64 bytes of every connection, in each direction. Pure; little-endian; layout in docs/protocol.md.
 * Features are negotiated, not versions: the answer carries the features that both know. A peer whose major version differs
 * gets a hello with a status and the connection ends. */
#ifndef DRAY_WIRE_HELLO_H
#define DRAY_WIRE_HELLO_H

#include <stdbool.h>
#include <stdint.h>

enum { HELLO_SIZE = 64, MIGRATION_ID_SIZE = 16, STREAM_TOKEN_SIZE = 16, HELLO_VERSION = 1, STREAMS_MAX = 16,
       DRAY_DEFAULT_PORT = 7077 };

enum hello_role {
	HELLO_CONTROL = 1, /* starts migration id */
	HELLO_STREAM = 2,  /* data stream number index of migration id */
	HELLO_QUERY = 3,   /* asks what became of migration id */
	HELLO_LATE = 4,    /* post-copy of migration id: connection number index of late.h */
	HELLO_IMAGES = 5,  /* to a page server: the native session of ps_native.h; id is not looked at */
	HELLO_AGAIN = 6,   /* data stream number index, whose connection was cut: goes on on this one (stream_ack.h) */
	HELLO_IMAGES_MORE = 7, /* connection number index of the native session that has this token, in the place of the one before where there was one */
};
enum hello_status { HELLO_OK = 0, HELLO_BAD_VERSION = 1, HELLO_UNKNOWN_ID = 2, HELLO_BUSY = 3, HELLO_REFUSED = 4 };

#define HELLO_FEATURE_LZ4 (1ull << 0)
#define HELLO_FEATURE_CHECKSUM (1ull << 1)
#define HELLO_FEATURE_VERIFY (1ull << 2)
#define HELLO_FEATURE_POSTCOPY (1ull << 3) /* RoundBegin.late, connections of role HELLO_LATE, Outcome.late */
#define HELLO_FEATURE_AGAIN (1ull << 4) /* acknowledgements on streams, connections of role HELLO_AGAIN, OfferReply.stream_token */
#define HELLO_FEATURE_ALIVE (1ull << 5) /* of role HELLO_IMAGES alone: PS_NATIVE_ALIVE comes while a set is published */
#define HELLO_FEATURE_NUMBERED (1ull << 6) /* likewise: commands are numbered, connections of role HELLO_IMAGES_MORE may come, the answer has a token */
#define HELLO_FEATURE_PARTS (1ull << 7) /* likewise: a command whose connection was cut goes on on another one in the middle (stream_ack.h) */
#define HELLO_FEATURES_KNOWN \
	(HELLO_FEATURE_LZ4 | HELLO_FEATURE_CHECKSUM | HELLO_FEATURE_VERIFY | HELLO_FEATURE_POSTCOPY | HELLO_FEATURE_AGAIN)

struct migration_id { uint8_t byte[MIGRATION_ID_SIZE]; };
/* What only the two sides of a migration know: OfferReply brings it, role HELLO_AGAIN shows it. Likewise those of a
 * native session: the answer to HELLO_IMAGES brings it, role HELLO_IMAGES_MORE shows it. Ids stand in logs and records. */
struct stream_token { uint8_t byte[STREAM_TOKEN_SIZE]; };

struct hello {
	uint16_t version;
	uint8_t role;   /* enum hello_role */
	uint8_t status; /* enum hello_status, in answers */
	uint32_t index; /* of a stream, of a connection of post-copy */
	uint64_t features;
	struct migration_id id;
	uint32_t max_frame_pages, max_control_len; /* caps of the sender of this hello */
	struct stream_token token; /* of roles HELLO_AGAIN, HELLO_IMAGES_MORE, of answers to HELLO_IMAGES; else zero */
};

/* Whether the first 8 bytes are those of a hello, of whatever version. */
bool hello_begins(const void *buf);
void hello_encode(const struct hello *h, void *buf);
/* 0; -EPROTO not a hello of ours; -EPROTONOSUPPORT ours, of another version (version, role and status are set: they stay
 * where they are in every version). */
int hello_decode(const void *buf, struct hello *h);

void migration_id_new(struct migration_id *id); /* random */
void stream_token_new(struct stream_token *t);  /* likewise */
bool stream_token_equal(const struct stream_token *a, const struct stream_token *b); /* in a time that says nothing */
void migration_id_format(const struct migration_id *id, char text[33]); /* 32 hex digits */
bool migration_id_parse(const char *text, struct migration_id *id);

#endif
