/* SPDX-License-Identifier: Apache-2.0 */
/* unix_sock.h - unix sockets that have a path. Descriptors are close-on-exec, blocking, and owned by the caller.
 * Threads: any; unix_bind changes the process's umask for a moment. Fails: err. */
#ifndef DRAY_BASE_UNIX_SOCK_H
#define DRAY_BASE_UNIX_SOCK_H

#include <sys/stat.h>
#include <sys/un.h>

#include "proto/base/err.h"

/* ERR_USAGE: the path is empty or too long. */
int unix_address(const char *path, struct sockaddr_un *a, struct err *e);
/* A socket of the type (SOCK_STREAM ...) that is bound there and does not listen yet, made without the rights in mask. One that its owner left behind
 * goes; one that is answered on, or something else, stays: ERR_CONFLICT. */
int unix_bind(const char *path, int type, mode_t mask, struct err *e);

#endif
