/* SPDX-License-Identifier: Apache-2.0 */
/* hellos.h - connections that have not said yet what they are: accepted, brought through TLS where there are credentials, read until the 64
 * bytes of a hello are there, each step in its time; never more than HELLOS_MAX, the oldest makes room. What isn't a hello is dropped here and
 * logged with its reason. Blocks for nothing; the owner polls. Threads: the owner's. */
#ifndef DRAY_MIGRATE_HELLOS_H
#define DRAY_MIGRATE_HELLOS_H

#include <poll.h>
#include <stdint.h>

#include "proto/base/metrics.h"
#include "proto/base/tls_relay.h"
#include "proto/wire/hello.h"

enum { HELLOS_MAX = 256 };

struct caller {
	int fd;         /* blocking; plain bytes from here on. Closed when the handler returns: who keeps it has passed it on or dup'ed it */
	char peer[280]; /* "ADDRESS:PORT", and its certificate's name in brackets */
};
/* rc: of hello_decode; with -EPROTONOSUPPORT only version, role and status of h are set. */
typedef void hello_handler(void *arg, int rc, const struct hello *h, const struct caller *c);

/* Answers a hello, on a connection whose buffer is empty: 64 bytes fit. -1: it could not be said. */
int hello_answer(int fd, const struct hello *theirs, enum hello_status status);

struct hellos;
/* gate: NULL for plain text. metrics: counts what fails in TLS; may be NULL. NULL: no memory. */
struct hellos *hellos_create(struct tls_gate *gate, struct metrics *metrics, hello_handler *handler, void *arg);
void hellos_destroy(struct hellos *s); /* accepts NULL */
void hellos_accept(struct hellos *s, int listener);
/* Fills HELLOS_MAX entries; gives back the same after poll. */
void hellos_poll(const struct hellos *s, struct pollfd *p);
void hellos_polled(struct hellos *s, const struct pollfd *p);
void hellos_expire(struct hellos *s);
uint64_t hellos_next_us(const struct hellos *s); /* when to call expire; UINT64_MAX never */
/* In a forked child: everybody else's connection. keep may be -1. */
void hellos_close(const struct hellos *s, int keep);

#endif
