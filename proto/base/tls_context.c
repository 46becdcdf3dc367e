/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/tls_priv.h"

bool tls_configured(const struct tls_config *c)
{
	return c->on || c->cacert || c->cacrl || c->cert || c->key;
}

/* A key behind a passphrase has nobody to type it. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf, (void)size, (void)writing, (void)arg;
	return 0;
}

/* With the options that name others: it may be the default that is not there. */
#define CERT "certificate (--tls-cert)"
#define KEY "key (--tls-key)"
#define CA "CA certificate (--tls-cacert)"
#define CRL "CRL (--tls-cacrl)"

static int refuse_file(const char *what, const char *path, struct err *e)
{
	return err_set(e, ERR_USAGE, 0, "%s %s: %s", what, path, tls_library_words());
}

static int file_there(const char *what, const char *path, struct err *e)
{
	return access(path, R_OK) < 0 ? err_sys(e, "%s %s", what, path) : 0;
}

static int load_own(SSL_CTX *x, const char *cert, const char *key, struct err *e)
{
	if (file_there(CERT, cert, e) < 0 || file_there(KEY, key, e) < 0)
		return -1;
	if (SSL_CTX_use_certificate_chain_file(x, cert) != 1)
		return refuse_file(CERT, cert, e);
	if (SSL_CTX_use_PrivateKey_file(x, key, SSL_FILETYPE_PEM) != 1)
		return refuse_file(KEY, key, e);
	return 0;
}

static int load_trust(SSL_CTX *x, const char *cacert, struct err *e)
{
	if (file_there(CA, cacert, e) < 0)
		return -1;
	return SSL_CTX_load_verify_file(x, cacert) == 1 ? 0 : refuse_file(CA, cacert, e);
}

/* wanted: by its option; the default file may be missing. */
static int load_revoked(SSL_CTX *x, const char *cacrl, bool wanted, struct err *e)
{
	X509_STORE *store = SSL_CTX_get_cert_store(x);
	X509_LOOKUP *files;

	if (!wanted && access(cacrl, F_OK) < 0)
		return 0;
	if (file_there(CRL, cacrl, e) < 0)
		return -1;
	files = X509_STORE_add_lookup(store, X509_LOOKUP_file());
	if (!files || X509_load_crl_file(files, cacrl, X509_FILETYPE_PEM) < 1)
		return refuse_file(CRL, cacrl, e);
	X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	return 0;
}

/* OpenSSL's word on each certificate of the chain, the peer's own last. */
static int verify(int good, X509_STORE_CTX *chain)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_session *s = SSL_get_app_data(ssl);
	int depth = X509_STORE_CTX_get_error_depth(chain);

	/* A CRL is wanted for who signed the peer; CAs above may do without. */
	if (!good && depth > 0 && X509_STORE_CTX_get_error(chain) == X509_V_ERR_UNABLE_TO_GET_CRL) {
		X509_STORE_CTX_set_error(chain, X509_V_OK);
		good = 1;
	}
	if (good && depth == 0 && !tls_name_wanted(s, X509_STORE_CTX_get_current_cert(chain))) {
		X509_STORE_CTX_set_error(chain, X509_V_ERR_HOSTNAME_MISMATCH);
		good = 0;
	}
	if (!good) {
		s->refused_by_us = true;
		tls_name_of(X509_STORE_CTX_get_current_cert(chain), s->peer);
	}
	return good;
}

static size_t unhex(const char *text, unsigned char *out, size_t room)
{
	size_t n = 0;
	long len = 0;
	unsigned char *bytes = OPENSSL_hexstr2buf(text, &len);

	if (bytes && len > 0 && (size_t)len <= room) {
		memcpy(out, bytes, (size_t)len);
		n = (size_t)len;
	}
	OPENSSL_clear_free(bytes, len > 0 ? (size_t)len : 0);
	return n;
}

/* "LABEL random secret", meant for debuggers of the wire: the one way to a session's secrets. */
static void keep_secret(const SSL *ssl, const char *line)
{
	struct tls_session *s = SSL_get_app_data(ssl);
	const char *space = strchr(line, ' '), *secret = strrchr(line, ' ');

	if (!space || !secret || space == secret)
		return;
	if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0)
		s->secrets.client_len = unhex(secret + 1, s->secrets.client, sizeof(s->secrets.client));
	else if (strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24) == 0)
		s->secrets.server_len = unhex(secret + 1, s->secrets.server, sizeof(s->secrets.server));
}

static void set_policy(SSL_CTX *x, bool stock, bool secrets)
{
	SSL_CTX_set_min_proto_version(x, stock ? TLS1_2_VERSION : TLS1_3_VERSION);
	SSL_CTX_set_options(x, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_num_tickets(x, 0); /* a record behind the handshake, which a reader of a socket in the kernel's hands would trip over */
	SSL_CTX_set_session_cache_mode(x, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(x, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_default_read_buffer_len(x, TLS_BATCH);
	SSL_CTX_set_default_passwd_cb(x, no_passphrase);
	SSL_CTX_set_verify(x, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify);
	if (secrets)
		SSL_CTX_set_keylog_callback(x, keep_secret);
}

struct tls_context *tls_context_create(const struct tls_config *c, bool stock, bool secrets, struct err *e)
{
	struct tls_context *x = calloc(1, sizeof(*x));

	if (!x) {
		err_set(e, ERR_SYSTEM, ENOMEM, "TLS");
		return NULL;
	}
	x->config = c;
	x->user = -1;
	ERR_clear_error();
	x->ssl = SSL_CTX_new(TLS_method());
	if (!x->ssl) {
		err_set(e, ERR_SYSTEM, 0, "TLS: %s", tls_library_words());
		goto fail;
	}
	set_policy(x->ssl, stock, secrets);
	if (load_own(x->ssl, c->cert ? c->cert : TLS_DEFAULT_CERT, c->key ? c->key : TLS_DEFAULT_KEY, e) < 0 ||
	    load_trust(x->ssl, c->cacert ? c->cacert : TLS_DEFAULT_CACERT, e) < 0 ||
	    load_revoked(x->ssl, c->cacrl ? c->cacrl : TLS_DEFAULT_CACRL, c->cacrl != NULL, e) < 0)
		goto fail;
	return x;
fail:
	tls_context_destroy(x);
	return NULL;
}

void tls_context_destroy(struct tls_context *x)
{
	if (!x)
		return;
	SSL_CTX_free(x->ssl);
	free(x);
}

void tls_context_watch(struct tls_context *x, int user)
{
	x->user = user;
}

int tls_check_files(const struct tls_config *c, struct err *e)
{
	struct tls_context *x = tls_context_create(c, false, false, e);

	tls_context_destroy(x);
	return x ? 0 : -1;
}
