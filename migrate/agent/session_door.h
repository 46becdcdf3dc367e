/* SPDX-License-Identifier: Apache-2.0 */
/* session_door.h - how a session that outlived its agent is found by the next one: it waits at an abstract unix socket that bears the migration's id, in
 * their network namespace. Nothing of it is left when it ends, however it ends. Each side makes sure that the other is root or its own user.
 * Threads: any. Fails: negative errno. */
#ifndef DRAY_MIGRATE_SESSION_DOOR_H
#define DRAY_MIGRATE_SESSION_DOOR_H

#include "proto/wire/hello.h"

/* The session's side. A descriptor to poll, the caller's. */
int session_door_open(const struct migration_id *id);
int session_door_accept(int door); /* the line to an agent, the caller's. -EAGAIN: nobody (who may) */
/* The agent's side. The line to the session, the caller's. -ECONNREFUSED: none waits. Does not block. */
int session_door_knock(const struct migration_id *id);

#endif
