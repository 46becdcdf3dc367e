/* SPDX-License-Identifier: Apache-2.0 */
/* tls_kernel.c - a session's keys to the kernel (Documentation/networking/tls.rst). OpenSSL's own switch for it gives TLS 1.3 only the sending
 * direction before OpenSSL 3.2; and a session that another process shall go on with must be out of OpenSSL in both. So the keys are derived
 * here from the traffic secrets, as RFC 8446, section 7.3 says. */
#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/base/tls_priv.h"

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef TLS_RX_EXPECT_NO_PAD
#define TLS_RX_EXPECT_NO_PAD 4
#endif

enum { IV_SIZE = 12, SALT_SIZE = 4, KEY_MAX = 32 };

static const struct suite {
	uint32_t id; /* as on the wire */
	uint16_t cipher;
	size_t key_len, info_len;
} suites[] = {
	{ 0x1301, TLS_CIPHER_AES_GCM_128, TLS_CIPHER_AES_GCM_128_KEY_SIZE, sizeof(struct tls12_crypto_info_aes_gcm_128) },
	{ 0x1302, TLS_CIPHER_AES_GCM_256, TLS_CIPHER_AES_GCM_256_KEY_SIZE, sizeof(struct tls12_crypto_info_aes_gcm_256) },
	{ 0x1303, TLS_CIPHER_CHACHA20_POLY1305, TLS_CIPHER_CHACHA20_POLY1305_KEY_SIZE, sizeof(struct tls12_crypto_info_chacha20_poly1305) },
};

union crypto_info {
	struct tls_crypto_info head;
	struct tls12_crypto_info_aes_gcm_128 gcm128;
	struct tls12_crypto_info_aes_gcm_256 gcm256;
	struct tls12_crypto_info_chacha20_poly1305 chacha;
};

static const struct suite *suite_of(SSL *ssl)
{
	const SSL_CIPHER *c = SSL_get_current_cipher(ssl);

	for (size_t i = 0; c && i < sizeof(suites) / sizeof(suites[0]); i++)
		if (suites[i].id == SSL_CIPHER_get_protocol_id(c))
			return &suites[i];
	return NULL;
}

/* HKDF-Expand-Label(secret, label, "", len). */
static bool expand(const EVP_MD *md, const unsigned char *secret, size_t secret_len, const char *label, unsigned char *out, size_t len)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_3_KDF, NULL);
	EVP_KDF_CTX *x = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)EVP_MD_get0_name(md), 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret, secret_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, (void *)(uintptr_t)"tls13 ", 6),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, (void *)(uintptr_t)label, strlen(label)),
		OSSL_PARAM_construct_end(),
	};
	bool good = x && EVP_KDF_derive(x, out, len, params) == 1;

	EVP_KDF_CTX_free(x);
	EVP_KDF_free(kdf);
	return good;
}

/* The sequence number stays zero: nothing went under these keys yet. */
static bool fill_info(union crypto_info *info, const struct suite *suite, const unsigned char key[KEY_MAX], const unsigned char iv[IV_SIZE])
{
	*info = (union crypto_info){ .head = { .version = TLS_1_3_VERSION, .cipher_type = suite->cipher } };
	switch (suite->cipher) {
	case TLS_CIPHER_AES_GCM_128:
		memcpy(info->gcm128.key, key, sizeof(info->gcm128.key));
		memcpy(info->gcm128.salt, iv, SALT_SIZE);
		memcpy(info->gcm128.iv, iv + SALT_SIZE, sizeof(info->gcm128.iv));
		return true;
	case TLS_CIPHER_AES_GCM_256:
		memcpy(info->gcm256.key, key, sizeof(info->gcm256.key));
		memcpy(info->gcm256.salt, iv, SALT_SIZE);
		memcpy(info->gcm256.iv, iv + SALT_SIZE, sizeof(info->gcm256.iv));
		return true;
	case TLS_CIPHER_CHACHA20_POLY1305:
		memcpy(info->chacha.key, key, sizeof(info->chacha.key));
		memcpy(info->chacha.iv, iv, sizeof(info->chacha.iv));
		return true;
	default:
		return false;
	}
}

static bool derive(const struct tls_session *s, const struct suite *suite, const unsigned char *secret, size_t secret_len, union crypto_info *info)
{
	const EVP_MD *md = SSL_CIPHER_get_handshake_digest(SSL_get_current_cipher(s->ssl));
	unsigned char key[KEY_MAX], iv[IV_SIZE];
	bool good = md && expand(md, secret, secret_len, "key", key, suite->key_len) && expand(md, secret, secret_len, "iv", iv, sizeof(iv)) &&
		    fill_info(info, suite, key, iv);

	OPENSSL_cleanse(key, sizeof(key));
	OPENSSL_cleanse(iv, sizeof(iv));
	return good;
}

/* Receiving first: what the kernel does not know fails there, where nothing is changed yet. */
static int install(int fd, const struct suite *suite, const union crypto_info *rx, const union crypto_info *tx)
{
	int on = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) < 0)
		return -errno;
	if (setsockopt(fd, SOL_TLS, TLS_RX, rx, (socklen_t)suite->info_len) < 0)
		return -errno;
	if (setsockopt(fd, SOL_TLS, TLS_TX, tx, (socklen_t)suite->info_len) < 0)
		return -EPIPE;
	setsockopt(fd, SOL_TLS, TLS_RX_EXPECT_NO_PAD, &on, sizeof(on)); /* decrypts right into the reader's memory, on kernels that can */
	return 0;
}

int tls_to_kernel(struct tls_session *s)
{
	const struct tls_secrets *k = &s->secrets;
	const struct suite *suite = suite_of(s->ssl);
	bool client = s->role == TLS_CLIENT;
	union crypto_info rx, tx;
	int flags, rc;

	if (SSL_version(s->ssl) != TLS1_3_VERSION || !suite || !k->client_len || !k->server_len || SSL_has_pending(s->ssl))
		return -EOPNOTSUPP;
	if (!derive(s, suite, client ? k->server : k->client, client ? k->server_len : k->client_len, &rx) ||
	    !derive(s, suite, client ? k->client : k->server, client ? k->client_len : k->server_len, &tx))
		return -EOPNOTSUPP;
	rc = install(s->fd, suite, &rx, &tx);
	OPENSSL_cleanse(&rx, sizeof(rx));
	OPENSSL_cleanse(&tx, sizeof(tx));
	if (rc < 0)
		return rc;
	flags = fcntl(s->fd, F_GETFL);
	return flags < 0 || fcntl(s->fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -EPIPE : 0;
}
