/* SPDX-License-Identifier: Apache-2.0 */
/* tls.h - mutual TLS over a connected socket, by OpenSSL: credentials from PEM files, a handshake with a deadline, who the peer may be,
 * and reads and writes that never block. tls_relay.h puts it between a peer and code that knows nothing of it.
 *
 * Both sides show a certificate. The peer's must be signed by the CA, be in its time, not be in the CRL, and bear a wanted name: one of
 * --tls-allow, else (as a client) the name of the host that was connected to, else (as a server) any that the CA has signed.
 * TLS 1.3; 1.2 only where the peer is to be stock criu. No tickets, no renegotiation, no resumption.
 * Threads: a session belongs to one, a context may make sessions in any. Ownership: borrows the descriptor, which becomes non-blocking,
 * and the config's strings. Fails: err on the way to a session, whose words name the file or the peer's fault; negative errno afterwards,
 * with tls_explain for the words. Key material is wiped when it is freed and never logged. */
#ifndef DRAY_BASE_TLS_H
#define DRAY_BASE_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"

/* Where criu looks too. */
#define TLS_DEFAULT_CACERT "/etc/pki/CA/cacert.pem"
#define TLS_DEFAULT_CACRL "/etc/pki/CA/cacrl.pem" /* read only if it is there */
#define TLS_DEFAULT_CERT "/etc/pki/criu/cert.pem"
#define TLS_DEFAULT_KEY "/etc/pki/criu/private/key.pem"

enum { TLS_NAME_MAX = 128 };

struct tls_config { /* as options give it; NULL: the default file */
	bool on;
	const char *cacert, *cacrl, *cert, *key;
	const char *allow; /* "NAME, NAME": DNS names, IP addresses or common names, compared whole (comma_list.h) */
	bool no_name_check;
};
/* Asked for, by --tls or by naming a file. */
bool tls_configured(const struct tls_config *c);

enum tls_role { TLS_CLIENT, TLS_SERVER };

struct tls_context;
/* Reads the files. stock: the peers may be older ones than ours (TLS 1.2). secrets: sessions can be handed to the kernel. */
struct tls_context *tls_context_create(const struct tls_config *c, bool stock, bool secrets, struct err *e);
void tls_context_destroy(struct tls_context *x); /* accepts NULL */
/* Handshakes are given up (ERR_CANCELLED) once the other end of this socket is closed: nobody waits for them any more. Borrowed. */
void tls_context_watch(struct tls_context *x, int user);
/* Whether allow is a list that somebody can be let in by. */
int tls_check_names(const char *list, struct err *e);
/* Whether the files are there and good. */
int tls_check_files(const struct tls_config *c, struct err *e);
struct metrics;
/* When the certificate of this host runs out: to who looks at m (may be NULL), and to the log when that is soon. */
void tls_tell_end(const struct tls_config *c, struct metrics *m);

struct tls_session;
/* The handshake, within timeout_ms. name: of the host that was connected to; NULL as a server. */
struct tls_session *tls_open(struct tls_context *x, int fd, enum tls_role role, const char *name, int timeout_ms, struct err *e);
void tls_close(struct tls_session *s); /* accepts NULL; says nothing to the peer */
/* What the peer's certificate calls it, printable: the first DNS name or address in it, else its common name. */
const char *tls_peer_name(const struct tls_session *s);

/* Bytes moved, 0 at the peer's end (said or not), -EAGAIN: poll for tls_events, -EPROTO: broken, -errno. */
ssize_t tls_read(struct tls_session *s, void *buf, size_t len); /* at most a record */
/* All of it, in a record for each 16 KiB begun; after -EAGAIN the same bytes again. Goes out by and by, at the latest with a flush. */
ssize_t tls_write(struct tls_session *s, const void *buf, size_t len);
int tls_flush(struct tls_session *s); /* 0, -EAGAIN, -errno */
short tls_events(const struct tls_session *s); /* what the last -EAGAIN waits for: POLLIN or POLLOUT */
bool tls_buffered(const struct tls_session *s); /* tls_read has something without the socket */
/* Lets reads take more than a record off the socket. Before the first read, and never on a session that goes to the kernel. */
void tls_read_ahead(struct tls_session *s);
int tls_bye(struct tls_session *s); /* says that nothing more comes from here. 0, -EAGAIN, -errno */
/* Why the last call failed. Returns -1. */
int tls_explain(const struct tls_session *s, struct err *e);

/* Gives the session's keys to the kernel: plain reads, writes and splices of the socket are then those of the session, which must not be used
 * but for tls_close; tls_control.h has what is no data. Right after tls_open, TLS 1.3 only. 0; -EOPNOTSUPP and the like: the session is what it was; -EPIPE: it is lost. */
int tls_to_kernel(struct tls_session *s);

/* A peer that speaks TLS to us, who don't: its first bytes say so. */
static inline bool tls_is_hello(const unsigned char *p, size_t len) { return len >= 2 && p[0] == 0x16 && p[1] == 3; }
/* The bytes that a TLS server of ours answers plain text with: a fatal alert, protocol version. */
enum { TLS_REFUSAL_SIZE = 7 };
extern const unsigned char tls_refusal[TLS_REFUSAL_SIZE];
static inline bool tls_is_alert(const unsigned char *p, size_t len) { return len >= 2 && p[0] == 0x15 && p[1] == 3; }

#endif
