/* SPDX-License-Identifier: Apache-2.0 */
/* tls_relay_priv.h - what tls_gate.c (the user's side, and the gate) and tls_relay.c (a relay) share: messages of one machine, native layout. */
#ifndef DRAY_BASE_TLS_RELAY_PRIV_H
#define DRAY_BASE_TLS_RELAY_PRIV_H

#include "proto/base/sock.h"
#include "proto/base/tls_relay.h"

/* To the gate, with descriptors: the socket, the relay's end of the plain bytes, the relay's end of its words. */
enum { GATE_FDS = 3 };
struct gate_request {
	enum tls_role role;
	int timeout_ms;
	bool kernel, stock, cut;
	char name[SOCK_HOST_MAX]; /* "" for none */
};

/* From a relay, each in a packet: first how the handshake ended (with the socket where the kernel took over), then, if TLS breaks, why. */
struct relay_word {
	bool good;
	char peer[TLS_NAME_MAX];
	struct err err;
};

struct relay {
	int tcp, plain, words; /* owned */
	const struct gate_request *wish;
};
_Noreturn void relay_main(const struct tls_config *c, struct relay *r);

#endif
