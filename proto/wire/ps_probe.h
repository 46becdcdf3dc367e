/* SPDX-License-Identifier: Apache-2.0 */
/* ps_probe.h - finding out which page server one is connected to, of a protocol that announces nothing: 96 bytes that read as four commands of
 * 24 bytes and as three of 32, none of which does anything. CRIU's servers answer each with four zero bytes, so the length of the answer says
 * which layout they have; a server of ours answers with its name and what it can do. Why it works: docs/decisions/010-the-probe.md.
 * Pure. Threads: any. */
#ifndef DRAY_WIRE_PS_PROBE_H
#define DRAY_WIRE_PS_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/wire/ps_command.h"

enum {
	PS_PROBE_SIZE = 96,
	PS_PROBE_ANSWER_24 = 16, /* zero bytes, of a server with the shorter header */
	PS_PROBE_ANSWER_32 = 12,
	PS_IDENTITY_SIZE = 12,   /* of ours */
};

void ps_probe_encode(void *buf);
/* As a server sees it: the first command of a connection begins a probe, and what follows its PS_HEADER_MIN bytes is the rest of one. */
bool ps_begins_probe(const struct ps_command *c);
bool ps_is_rest_of_probe(const void *rest);

/* features: what the server takes beyond the protocol; bits that a reader does not know are not its business. */
enum ps_feature { PS_FEATURE_NATIVE = 1 /* a native session (ps_native.h) may follow on this connection, beginning with a hello */ };
void ps_identity_encode(uint32_t features, void *buf);
bool ps_identity_decode(const void *buf, uint32_t *features);

#endif
