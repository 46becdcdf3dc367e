/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/io.h"
#include "proto/base/tls_priv.h"

/* What a call that returned rc comes to: -EAGAIN with s->events set, 0 at the end, or a failure that is kept. */
static ssize_t outcome(struct tls_session *s, int rc)
{
	int saved = errno, kind = SSL_get_error(s->ssl, rc);

	switch (kind) {
	case SSL_ERROR_WANT_READ:
		s->events = POLLIN;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		s->events = POLLOUT;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		tls_words(s, rc, saved, &s->failure);
		return kind == SSL_ERROR_SYSCALL && saved ? -saved : -EPROTO;
	}
}

static int wait_for(const struct tls_session *s, uint64_t deadline)
{
	struct pollfd p[] = { { .fd = s->fd, .events = s->events }, { .fd = s->context->user } };
	uint64_t now = clock_us();
	int n;

	if (now >= deadline)
		return -ETIMEDOUT;
	n = poll(p, 2, (int)((deadline - now + 999) / 1000));
	if (n > 0 && p[1].revents)
		return -ECANCELED;
	return n < 0 && errno != EINTR ? -errno : 0;
}

static int waited_in_vain(int rc, const char *timeout_words, struct err *e)
{
	if (rc == -ETIMEDOUT)
		return err_set(e, ERR_TIMEOUT, 0, "TLS: %s", timeout_words);
	if (rc == -ECANCELED)
		return err_set(e, ERR_CANCELLED, 0, "TLS: nobody waits for the connection any more");
	return err_set(e, ERR_SYSTEM, -rc, "TLS: poll");
}

static int handshake(struct tls_session *s, uint64_t deadline, struct err *e)
{
	for (;;) {
		int rc, n;
		ssize_t how;

		ERR_clear_error();
		errno = 0;
		rc = SSL_do_handshake(s->ssl);
		if (rc == 1)
			return 0;
		how = outcome(s, rc);
		if (how == 0 || how == -ECONNRESET || how == -EPIPE)
			return err_set(e, ERR_PEER, 0, "TLS: the other side ended the connection in the handshake%s",
				       s->role == TLS_CLIENT ? "; does it speak TLS?" : "");
		if (how != -EAGAIN)
			return tls_explain(s, e);
		n = wait_for(s, deadline);
		if (n < 0)
			return waited_in_vain(n, "no handshake in time; does the other side speak TLS?", e);
	}
}

/* Waits for a peer's first byte, which tells TLS from everything else; plain text gets a word that its sender can know. */
static int meet_client(struct tls_session *s, uint64_t deadline, struct err *e)
{
	unsigned char first;
	ssize_t n;
	int rc;

	while ((n = recv(s->fd, &first, 1, MSG_PEEK)) < 0 && (errno == EAGAIN || errno == EINTR)) {
		s->events = POLLIN;
		rc = wait_for(s, deadline);
		if (rc < 0)
			return waited_in_vain(rc, "the other side says nothing", e);
	}
	if (n <= 0)
		return err_set(e, ERR_PEER, n < 0 ? errno : 0, "TLS: the other side ended the connection");
	if (first == 0x16)
		return 0;
	send(s->fd, tls_refusal, sizeof(tls_refusal), MSG_NOSIGNAL | MSG_DONTWAIT);
	return err_set(e, ERR_PROTOCOL, 0, "TLS: the other side does not speak it");
}

/* Records are gathered on their way out, and go when tls_flush says so; what comes in is gathered by OpenSSL (tls_read_ahead). */
static bool lay_pipes(struct tls_session *s)
{
	BIO *sock = BIO_new_socket(s->fd, BIO_NOCLOSE), *gather = BIO_new(BIO_f_buffer());

	if (!sock || !gather || BIO_set_write_buffer_size(gather, TLS_BATCH) != 1 || BIO_up_ref(sock) != 1) {
		BIO_free(sock);
		BIO_free(gather);
		return false;
	}
	SSL_set0_rbio(s->ssl, sock);
	SSL_set0_wbio(s->ssl, BIO_push(gather, sock));
	return true;
}

static int set_up(struct tls_session *s, struct err *e)
{
	int flags = fcntl(s->fd, F_GETFL);

	if (flags < 0 || fcntl(s->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_sys(e, "TLS: socket");
	s->ssl = SSL_new(s->context->ssl);
	if (!s->ssl || SSL_set_app_data(s->ssl, s) != 1 || !lay_pipes(s))
		return err_set(e, ERR_SYSTEM, 0, "TLS: %s", tls_library_words());
	if (s->role == TLS_CLIENT)
		SSL_set_connect_state(s->ssl);
	else
		SSL_set_accept_state(s->ssl);
	return 0;
}

struct tls_session *tls_open(struct tls_context *x, int fd, enum tls_role role, const char *name, int timeout_ms, struct err *e)
{
	uint64_t deadline = clock_us() + (uint64_t)timeout_ms * 1000;
	struct tls_session *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(e, ERR_SYSTEM, ENOMEM, "TLS");
		return NULL;
	}
	*s = (struct tls_session){ .context = x, .fd = fd, .role = role, .name = name };
	if (set_up(s, e) < 0 || (role == TLS_SERVER && meet_client(s, deadline, e) < 0) || handshake(s, deadline, e) < 0) {
		tls_close(s);
		return NULL;
	}
	tls_name_of(SSL_get0_peer_certificate(s->ssl), s->peer);
	return s;
}

void tls_close(struct tls_session *s)
{
	if (!s)
		return;
	SSL_free(s->ssl);
	OPENSSL_cleanse(&s->secrets, sizeof(s->secrets));
	free(s);
}

const char *tls_peer_name(const struct tls_session *s)
{
	return s->peer;
}

/* OpenSSL counts in int. */
static int piece(size_t len)
{
	return len < (1u << 30) ? (int)len : 1 << 30;
}

ssize_t tls_read(struct tls_session *s, void *buf, size_t len)
{
	int rc;

	ERR_clear_error();
	errno = 0;
	rc = SSL_read(s->ssl, buf, piece(len));
	return rc > 0 ? rc : outcome(s, rc);
}

ssize_t tls_write(struct tls_session *s, const void *buf, size_t len)
{
	int rc;

	ERR_clear_error();
	errno = 0;
	rc = SSL_write(s->ssl, buf, piece(len));
	return rc > 0 ? rc : outcome(s, rc);
}

int tls_flush(struct tls_session *s)
{
	BIO *out = SSL_get_wbio(s->ssl);

	ERR_clear_error();
	errno = 0;
	if (BIO_flush(out) > 0)
		return 0;
	if (BIO_should_retry(out)) {
		s->events = POLLOUT;
		return -EAGAIN;
	}
	err_set(&s->failure, ERR_PEER, errno, "TLS");
	return errno ? -errno : -EPIPE;
}

short tls_events(const struct tls_session *s)
{
	return s->events;
}

bool tls_buffered(const struct tls_session *s)
{
	return SSL_has_pending(s->ssl) == 1;
}

void tls_read_ahead(struct tls_session *s)
{
	SSL_set_read_ahead(s->ssl, 1);
}

int tls_bye(struct tls_session *s)
{
	int rc;

	ERR_clear_error();
	errno = 0;
	rc = SSL_shutdown(s->ssl);
	return rc >= 0 ? tls_flush(s) : (int)outcome(s, rc);
}

int tls_explain(const struct tls_session *s, struct err *e)
{
	*e = s->failure;
	return -1;
}
