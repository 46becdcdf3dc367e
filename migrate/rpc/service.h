/* SPDX-License-Identifier: Apache-2.0 */
/* service.h - the RPC socket of a host: any number of clients, none of which can stall another.
 *
 * One process listens and answers what needs no work at once (versions, features, refusals), for all clients, from one epoll loop that never
 * blocks. A connection that asks for more gets a worker, a process of its own that serves it to its end (rpc_worker.h).
 * Threads: the only one of its process. Fails: err. */
#ifndef DRAY_MIGRATE_RPC_SERVICE_H
#define DRAY_MIGRATE_RPC_SERVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"
#include "proto/base/log.h"

#define RPC_DEFAULT_ADDRESS "criu_service.socket"
enum { SERVICE_MAX_CLIENTS = 4096, SERVICE_ACK_TIMEOUT_MS = 600 * 1000 };

struct service_config {
	const char *address; /* path of the socket; not looked at when a service manager passes one */
	const char *mode;    /* octal, of the socket */
	const char *group;   /* name or number; NULL: the process's */
	const char *pidfile; /* made, must not exist; NULL: none */
	const char *log_file; /* NULL: standard error */
	const char *status_fd; /* a number; NULL: none */
	const char *engine, *criu; /* as stock_criu.h has them; NULL: not said */
	uint64_t max_clients;
	uint64_t ack_timeout_ms; /* 0: none */
	bool daemon;
	enum log_level log_level;
};

/* Serves until SIGTERM or SIGINT. Workers that are busy then go on to their end by themselves. */
int service_run(const struct service_config *c, struct err *e);

/* Makes the socket, then serves it in a child, which ends with this process at the latest, or by SIGTERM. Its pid, or -1. */
pid_t service_start(const struct service_config *c, struct err *e);

#endif
