/* SPDX-License-Identifier: Apache-2.0 */
/* sock.h - TCP sockets between hosts: addresses, connecting with a deadline, listening, and how a connection is tuned.
 *
 * Addresses are "HOST:PORT", "HOST", "[V6]:PORT", "[V6]", a bare V6 address, or ":PORT" for every address of this host
 * (listening only). Names go through the resolver. Descriptors are close-on-exec, blocking, and owned by the caller.
 * Threads: any. No state. Fails: err; a peer that can't be reached is ERR_PEER or ERR_TIMEOUT, a bad address ERR_USAGE. */
#ifndef DRAY_BASE_SOCK_H
#define DRAY_BASE_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

enum { SOCK_HOST_MAX = 256, SOCK_NAME_MAX = 80 };

/* Pure. The port is default_port where the text has none. */
int sock_parse(const char *text, uint16_t default_port, char host[SOCK_HOST_MAX], uint16_t *port, struct err *e);

/* Tries each address that the name has, within timeout_ms altogether. */
int sock_connect(const char *address, uint16_t default_port, int timeout_ms, struct err *e);
/* Listens on the first address that the name has; port 0 lets the kernel choose (sock_port). */
int sock_listen(const char *address, uint16_t default_port, struct err *e);
int sock_port(int fd);          /* the bound port, or -errno */
bool sock_is_loopback(int fd);  /* bound to this host only: 127.0.0.0/8, ::1, or a unix socket */
/* "ADDRESS:PORT" of the far end (near when !peer) for messages and logs; "unknown" where there is none. */
void sock_name(int fd, bool peer, char text[SOCK_NAME_MAX]);

struct sock_tuning {
	/* NULL: the system's. "auto": on a link with a round trip below a millisecond a loss-based one, since pacing (bbr) costs a factor
	 * of five there; the system's elsewhere. Else a name that the kernel knows. */
	const char *congestion;
	unsigned buffer_bytes;   /* send and receive buffers; 0: the kernel adjusts them itself, which is best on most links */
	unsigned dead_after_ms;  /* a peer that acknowledges nothing for so long is gone (ETIMEDOUT); 0: the system's minutes */
};
/* Sets TCP_NODELAY and the above on a connected socket; no-op for a socket that isn't TCP. Fails only for a congestion control asked for by name. */
int sock_tune(int fd, const struct sock_tuning *t, struct err *e);
/* sock_connect and sock_tune in one, which is better than the two by themselves: what pacing a connection begins with it keeps. */
int sock_connect_tuned(const char *address, uint16_t default_port, int timeout_ms, const struct sock_tuning *t, struct err *e);
/* The congestion control in use; "" for a socket that isn't TCP. */
void sock_congestion(int fd, char name[16]);
/* The smoothed round trip in microseconds, 0 unknown. */
unsigned sock_rtt_us(int fd);

#endif
