/* SPDX-License-Identifier: Apache-2.0 */
/* rpc_listen.h - the listening socket of the RPC service. Threads: the only one of its process (the umask changes for a moment).
 * Fails: err. */
#ifndef DRAY_MIGRATE_RPC_LISTEN_H
#define DRAY_MIGRATE_RPC_LISTEN_H

#include <sys/types.h>

#include "proto/base/err.h"

/* Octal digits to a file mode of at most 0777; -1 with what is allowed in e. */
int rpc_mode_parse(const char *text, mode_t *mode, struct err *e);

/* Binds and listens, SOCK_SEQPACKET. A socket that nobody listens on any more is replaced; one that is in use, or a file that is no socket,
 * is ERR_CONFLICT. The socket is never open to more than mode says, not for a moment. group: name or number; NULL: the process's.
 * A descriptor, the caller's; -1. */
int rpc_listen(const char *path, mode_t mode, const char *group, struct err *e);

#endif
