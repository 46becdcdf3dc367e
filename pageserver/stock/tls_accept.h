/* SPDX-License-Identifier: Apache-2.0 */
/* tls_accept.h - TLS on a connection that stock criu may have made: to who receives pages, or to who has those that are fetched late.
 * Threads: the one whose connection it is, which waits for the handshake. Fails: err; who connected is not let in then. */
#ifndef DRAY_PAGESERVER_TLS_ACCEPT_H
#define DRAY_PAGESERVER_TLS_ACCEPT_H

#include "proto/base/tls_relay.h"

/* fd: borrowed, the link has a copy. name: that the certificate must bear, unless the gate's config says otherwise; NULL: any that the authority signed. */
int tls_accept_stock(int fd, struct tls_gate *gate, const char *name, bool cut, struct tls_link *l, struct err *e);

#endif
