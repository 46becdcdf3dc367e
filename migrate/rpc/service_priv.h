/* SPDX-License-Identifier: Apache-2.0 */
/* service_priv.h - the RPC service's state, shared by service.c (start, loop, end) and service_clients.c (connections, quick requests, workers),
 * which the former calls. Threads: one. */
#ifndef DRAY_MIGRATE_SERVICE_PRIV_H
#define DRAY_MIGRATE_SERVICE_PRIV_H

#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "migrate/rpc/handlers.h"
#include "migrate/rpc/request.h"
#include "migrate/rpc/rpc_session.h"
#include "migrate/rpc/service.h"

enum { QUICK_MAX = 64 * 1024 }; /* requests that are looked at here; longer ones are a worker's business */

/* A connection: ours to answer (fd), or handed over (worker). */
struct client {
	LIST_ENTRY(client) list;
	int fd;       /* -1: handed over */
	pid_t worker; /* 0: none */
	uid_t uid;
	struct rpc_session session;
	size_t unsent; /* bytes of answer that did not fit its socket; nothing more is read until they have gone */
	uint8_t answer[RPC_ANSWER_MAX];
};

struct service {
	const struct service_config *config;
	struct engine_choice engine;
	int listener, signals, epoll;
	dev_t socket_dev; /* of the socket's file, to remove no other */
	ino_t socket_ino;
	bool own_socket, pidfile_made, listening, stop;
	unsigned clients;
	LIST_HEAD(client_list, client) all;
	uint8_t packet[QUICK_MAX];
};

/* epoll_ctl: op on fd, who: told with its events. */
void service_watch(struct service *s, int fd, uint32_t events, void *who, int op);
void service_on_connection(struct service *s); /* at the listener */
void service_on_client(struct service *s, struct client *c);
void service_forget(struct service *s, struct client *c); /* and closes its connection */
void service_reap(struct service *s); /* workers that ended */

#endif
