/* SPDX-License-Identifier: Apache-2.0 */
/* tls_priv.h - what tls_context.c (files), tls.c (sessions), tls_words.c (why it failed), tls_kernel.c (keys for the kernel) and tls_control.c
 * (records that are not data) share. */
#ifndef DRAY_BASE_TLS_PRIV_H
#define DRAY_BASE_TLS_PRIV_H

#include <openssl/ssl.h>

#include "proto/base/tls.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

enum {
	TLS_SECRET_MAX = 48,
	TLS_BATCH = 256 * 1024, /* records are 16 KiB: so many of them to a system call, either way */
};

struct tls_context {
	SSL_CTX *ssl;
	const struct tls_config *config;
	int user; /* -1: none */
};

/* As TLS 1.3's key schedule names them: one for each direction. */
struct tls_secrets {
	unsigned char client[TLS_SECRET_MAX], server[TLS_SECRET_MAX];
	size_t client_len, server_len;
};

struct tls_session {
	const struct tls_context *context;
	SSL *ssl;
	int fd;
	enum tls_role role;
	const char *name;     /* wanted of a server; borrowed during the handshake */
	short events;
	bool refused_by_us;   /* the peer's certificate */
	struct err failure;
	struct tls_secrets secrets;
	char peer[TLS_NAME_MAX];
};

/* tls_names.c: the verdict on a certificate that is otherwise good. */
bool tls_name_wanted(const struct tls_session *s, X509 *cert);
void tls_name_of(X509 *cert, char text[TLS_NAME_MAX]);

/* tls_words.c. What the peer's alert means, and what a record means that was changed. Return -1. */
int tls_alert_words(int number, struct err *e);
int tls_changed_words(struct err *e);
/* Takes OpenSSL's error queue and the session's state after a call that returned rc. saved_errno: of the call. */
int tls_words(const struct tls_session *s, int rc, int saved_errno, struct err *e);
/* The innermost of OpenSSL's error queue, and empties it. */
const char *tls_library_words(void);

#endif
