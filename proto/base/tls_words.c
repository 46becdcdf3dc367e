/* SPDX-License-Identifier: Apache-2.0 */
/* tls_words.c - what went wrong, for whom it goes wrong: OpenSSL's reasons and the peer's alerts in words that name the way out. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <string.h>

#include "proto/base/tls_priv.h"

/* RFC 8446, section 6. */
static const struct alert {
	int number;
	enum err_kind kind;
	const char *words;
} alerts[] = {
	{ SSL_AD_HANDSHAKE_FAILURE, ERR_PERMISSION, "the other side refuses: it has no TLS version or cipher in common with this one, or wants a certificate" },
	{ SSL_AD_BAD_CERTIFICATE, ERR_PERMISSION, "the other side refuses our certificate: the name in it is not one that it lets in, or it is not valid yet (its log says which)" },
	{ SSL_AD_UNSUPPORTED_CERTIFICATE, ERR_PERMISSION, "the other side refuses our certificate: it is not made for this use" },
	{ SSL_AD_CERTIFICATE_REVOKED, ERR_PERMISSION, "the other side refuses our certificate: it has been revoked" },
	{ SSL_AD_CERTIFICATE_EXPIRED, ERR_PERMISSION, "the other side refuses our certificate: it has expired, or the CRL over there has" },
	{ SSL_AD_CERTIFICATE_UNKNOWN, ERR_PERMISSION, "the other side refuses our certificate (its log says why)" },
	{ SSL_AD_UNKNOWN_CA, ERR_PERMISSION, "the other side refuses our certificate: its CA did not sign it, or there is no CRL of who did (its log says which)" },
	{ SSL_AD_ACCESS_DENIED, ERR_PERMISSION, "the other side does not let us in" },
	{ SSL_AD_CERTIFICATE_REQUIRED, ERR_PERMISSION, "the other side wants a certificate of ours" },
	{ SSL_AD_PROTOCOL_VERSION, ERR_PROTOCOL, "the other side speaks no version of TLS that this one does" },
	{ SSL_AD_BAD_RECORD_MAC, ERR_PROTOCOL, "the other side got bytes that we did not send: somebody changes them on the way" },
	{ SSL_AD_DECODE_ERROR, ERR_PROTOCOL, "the other side can't make sense of what it got" },
	{ SSL_AD_DECRYPT_ERROR, ERR_PROTOCOL, "the other side could not check our signature: do certificate and key belong together?" },
	{ SSL_AD_INTERNAL_ERROR, ERR_PEER, "the other side has an error of its own" },
};

const unsigned char tls_refusal[TLS_REFUSAL_SIZE] = { 0x15, 3, 3, 0, 2, 2, SSL_AD_PROTOCOL_VERSION };

int tls_alert_words(int number, struct err *e)
{
	for (size_t i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++)
		if (alerts[i].number == number)
			return err_set(e, alerts[i].kind, 0, "TLS: %s", alerts[i].words);
	return err_set(e, ERR_PEER, 0, "TLS: the other side ends the connection: alert %d (%s)", number, SSL_alert_desc_string_long(number));
}

int tls_changed_words(struct err *e)
{
	return err_set(e, ERR_PROTOCOL, 0, "TLS: bytes that the other side did not send: somebody changes them on the way");
}

const char *tls_library_words(void)
{
	unsigned long first = ERR_peek_error();
	const char *words = first ? ERR_reason_error_string(first) : NULL;

	ERR_clear_error();
	return words ? words : "no reason given";
}

/* What we hold against the peer's certificate. */
static int refusal_words(const struct tls_session *s, struct err *e)
{
	long verdict = SSL_get_verify_result(s->ssl);
	const char *allow = s->context->config->allow;

	if (verdict != X509_V_ERR_HOSTNAME_MISMATCH)
		return err_set(e, ERR_PERMISSION, 0, "TLS: the certificate of %s is refused: %s", s->peer, X509_verify_cert_error_string(verdict));
	if (allow)
		return err_set(e, ERR_PERMISSION, 0, "TLS: the certificate is of %s, not of any that --tls-allow names", s->peer);
	return err_set(e, ERR_PERMISSION, 0, "TLS: the certificate is of %s, not of %s (--tls-allow names others that will do)", s->peer,
		       s->name ? s->name : "");
}

static int library_words(const struct tls_session *s, unsigned long code, struct err *e)
{
	int reason = ERR_GET_REASON(code);

	if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256)
		return tls_alert_words(reason - SSL_AD_REASON_OFFSET, e);
	switch (reason) {
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return err_set(e, ERR_PERMISSION, 0, "TLS: the other side shows no certificate");
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
	case SSL_R_UNEXPECTED_MESSAGE:
		return err_set(e, ERR_PROTOCOL, 0, "TLS: the other side does not speak it");
	case SSL_R_NO_SHARED_CIPHER:
	case SSL_R_UNSUPPORTED_PROTOCOL:
		return err_set(e, ERR_PROTOCOL, 0, "TLS: no version or cipher in common with the other side");
	case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
		return tls_changed_words(e);
	default:
		return err_set(e, ERR_PROTOCOL, 0, "TLS: %s%s", ERR_reason_error_string(code) ? ERR_reason_error_string(code) : "unknown error",
			       s->role == TLS_SERVER ? " (by a peer)" : "");
	}
}

int tls_words(const struct tls_session *s, int rc, int saved_errno, struct err *e)
{
	unsigned long code = ERR_peek_error();
	int kind = SSL_get_error(s->ssl, rc);

	ERR_clear_error();
	if (s->refused_by_us)
		return refusal_words(s, e);
	if (kind == SSL_ERROR_SSL && code)
		return library_words(s, code, e);
	if (kind == SSL_ERROR_SYSCALL && saved_errno)
		return err_set(e, ERR_PEER, saved_errno, "TLS");
	return err_set(e, ERR_PEER, 0, "TLS: the other side ended the connection");
}
