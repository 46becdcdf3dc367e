/* SPDX-License-Identifier: Apache-2.0 */
/* lazy_socket.h - the unix socket between a restore and the lazy-pages daemon that feeds it, in the work directory of both.
 *
 *   for each task   its PID (4 bytes; a negative one is a dead task, without what follows), then one byte with its userfaultfd
 *   at the end      4 bytes 0x52535446
 *
 * As Debian's criu 3.17.1 was seen to speak it, in native byte order. Threads: any. Fails: err. */
#ifndef DRAY_MIGRATE_LAZY_SOCKET_H
#define DRAY_MIGRATE_LAZY_SOCKET_H

#include <stdint.h>

#include "proto/base/err.h"

#define LAZY_RESTORE_FINISHED 0x52535446u

/* The descriptor, the caller's; -1. A socket that was there before is a dead daemon's, and goes. */
int lazy_socket_listen(int work_dir, struct err *e);
void lazy_socket_remove(int work_dir);

/* The restore's side. The descriptor, the caller's; -1: no daemon is there, or it has its restore already. */
int lazy_socket_connect(int work_dir, struct err *e);
int lazy_socket_give(int sock, uint32_t pid, int uffd, struct err *e); /* borrows uffd */
/* Nothing is given any more, what is missing may be fetched. Returns when the daemon has read that: what it didn't hear, it may not act on.
 * ERR_PEER: it is gone. */
int lazy_socket_finish(int sock, struct err *e);

#endif
