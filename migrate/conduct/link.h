/* SPDX-License-Identifier: Apache-2.0 */
/* link.h - connections of a migration to its destination: connect, tune, TLS, exchange hellos; and the question what became of one.
 * Threads: any. Descriptors are owned by the caller. Fails: err of kind ERR_PEER, ERR_TIMEOUT, ERR_PROTOCOL, naming the address. */
#ifndef DRAY_MIGRATE_LINK_H
#define DRAY_MIGRATE_LINK_H

#include <stdint.h>

#include "proto/base/err.h"
#include "proto/base/tls_relay.h"
#include "proto/wire/hello.h"
#include "proto/wire/runs.h"

struct link_config {
	const char *address;    /* HOST[:PORT] */
	const char *congestion; /* as in struct sock_tuning */
	struct migration_id id;
	uint64_t features;      /* offered */
	struct tls_gate *tls;   /* NULL: plain text */
	struct stream_token token; /* for HELLO_AGAIN, as the destination gave it */
	int patience_ms;        /* for each step of link_open; 0: what is usual */
	const char *identity;   /* of the destination's state directory, for link_query; NULL or "" where it isn't known */
};

struct link_facts {
	uint64_t features;    /* that both know */
	uint64_t bytes_per_s; /* what the interface says of its speed; 0 unknown or loopback */
	unsigned rtt_us;      /* 0 unknown */
	const char *tls;      /* who encrypts: "none", "relay", "kernel" */
};
/* facts may be NULL. */
int link_open(const struct link_config *c, enum hello_role role, uint32_t index, struct link_facts *facts, struct err *e);

enum link_outcome { LINK_UNKNOWN, LINK_ABORTED, LINK_RUNNING };
/* Asks once what became of a migration; the destination goes on knowing it. missing: a zeroed list that gets the pages which the destination misses
 * (post-copy): while there are any the original must stay. */
int link_query(const struct link_config *c, enum link_outcome *outcome, uint32_t *pid, struct run_list *missing, struct err *e);
/* Says Done to a destination that runs it, which then forgets: to another question it would say that it never ran there. So not before the original
 * here has ended, or is recorded as kept. Tries for some seconds: not told, the destination keeps a small record. */
void link_forget(const struct link_config *c);

#endif
