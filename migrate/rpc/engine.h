/* SPDX-License-Identifier: Apache-2.0 */
/* engine.h - which engine a dump or a restore is for: the native one, if it can carry what there is, else the installed criu
 * (migrate/criu/stock_criu.h). Looks, and changes nothing. Threads: one. */
#ifndef DRAY_MIGRATE_RPC_ENGINE_H
#define DRAY_MIGRATE_RPC_ENGINE_H

#include "migrate/criu/stock_criu.h"
#include "migrate/rpc/options.h"
#include "migrate/rpc/peer.h"

/* 1: criu is to do it, it is at path, and e says what speaks against the native engine; 0: the native one, or nobody else is there; -1: criu was
 * chosen and can't be had. op: one bit; 0: none of the two has a say in it. opts: the request's, on top of what it leaves unsaid. */
int engine_is_criu(const struct engine_choice *c, const CriuOpts *opts, enum rpc_op op, const struct rpc_peer *peer, char path[PATH_MAX],
		   struct err *e);

#endif
