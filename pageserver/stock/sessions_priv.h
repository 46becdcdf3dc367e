/* SPDX-License-Identifier: Apache-2.0 */
/* sessions_priv.h - what sessions.c and sessions_reload.c share. */
#ifndef DRAY_PAGESERVER_SESSIONS_PRIV_H
#define DRAY_PAGESERVER_SESSIONS_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pageserver/stock/ps_session.h"
#include "pageserver/stock/sessions.h"
#include "proto/base/metrics.h"
#include "proto/wire/hello.h"

struct ps_session {
	pid_t pid; /* 0: a free place */
	uint64_t number;
	char peer[SESSION_PEER_MAX];
	char *path; /* owned */
	int line;   /* from its process (line.h); -1: closed */
	bool begun, published, numbered, dropped;
	struct stream_token token; /* of a numbered one */
	struct session_row *row; /* NULL: none was free */
};

int sessions_grow(struct sessions *s); /* -1: no memory */
struct ps_session *sessions_free_place(struct sessions *s); /* NULL: no memory */

#endif
