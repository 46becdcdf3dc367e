/* SPDX-License-Identifier: Apache-2.0 */
/* agent.h - the daemon of a host: listens, tells new migrations from their further connections, forks a session for each, and answers
 * for those that are over from their records. It parses nothing but hellos. Threads: the only one of its process. */
#ifndef DRAY_MIGRATE_AGENT_H
#define DRAY_MIGRATE_AGENT_H

#include "migrate/conduct/config.h"

/* Serves until SIGTERM or SIGINT. Prints "listening on ADDRESS:PORT" on stdout and tells the service manager. 0: drained; else err. */
int agent_run(const struct agent_config *config, struct err *e);

#endif
