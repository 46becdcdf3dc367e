/* SPDX-License-Identifier: Apache-2.0 */
/* config.h - what a verb was asked to do, as values; and the defaults that hosts must agree on, in one place.
 * Filled from the command line (migrate/cli/), or by a test; passed on as const. Strings are borrowed (argv or static).
 * Threads: any, after parsing nothing changes. */
#ifndef DRAY_MIGRATE_CONFIG_H
#define DRAY_MIGRATE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "control.pb-c.h"
#include "migrate/conduct/policy.h"
#include "migrate/send/sender.h"
#include "migrate/track/track.h"
#include "proto/base/log.h"
#include "proto/base/tls.h"

enum { DRAY_PORT = 7077 };
#define DRAY_LISTEN "127.0.0.1:7077"
#define DRAY_STATE_DIR "/var/lib/drayage"

enum engine_kind { ENGINE_AUTO, ENGINE_NATIVE };

struct migrate_config {
	uint64_t pid;
	const char *destination; /* HOST[:PORT], checked to be one */

	uint64_t downtime_limit_ms;
	uint64_t max_rounds;    /* with the frozen one */
	uint64_t timeout_ms;    /* of the rounds together; 0: none */
	enum on_stall on_stall;

	uint64_t streams;       /* 1 to STREAMS_MAX */
	uint64_t reconnect_timeout_ms; /* for a cut stream to be connected again; 0: a cut stream is an error */
	uint64_t max_bandwidth; /* bytes per second; 0: unlimited */
	enum compress_mode compress;
	enum extract_kind extract;
	const char *congestion; /* "auto" or a name */

	enum tracker_kind tracker;
	enum engine_kind engine;
	Drayage__PidPolicy pid_policy;
	bool tcp_close, keep_source, verify, dry_run;
	bool postcopy;          /* after the first round, whatever is left */

	struct tls_config tls;
	const char *state_dir;
	enum log_level log_level;
	bool json;
};

struct agent_config {
	const char *listen;  /* ADDRESS:PORT; port 0: the kernel chooses */
	const char *state_dir;
	uint64_t max_memory; /* bytes over all migrations; 0: what the host has */
	uint64_t drain_timeout_ms;
	bool insecure;       /* other addresses than loopback are allowed without TLS */
	const char *rpc;     /* path of a socket on which CRIU's RPC is answered too; NULL: none */
	const char *metrics; /* where they are served, as exporter_start takes it; NULL: nowhere */
	const char *rpc_mode, *rpc_group; /* of that socket: octal; name or number, NULL: the process's */
	struct tls_config tls;
	enum log_level log_level;
};

struct recover_config {
	const char *id; /* 32 hex digits, or NULL: every one that is not settled */
	struct tls_config tls;
	const char *state_dir;
	bool list, thaw, kill, json;
	enum log_level log_level;
};

#endif
