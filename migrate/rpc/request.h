/* SPDX-License-Identifier: Apache-2.0 */
/* request.h - from the bytes of a packet to a request. Pure: no I/O, memory bounded by the packet's size. Threads: any. */
#ifndef DRAY_MIGRATE_RPC_REQUEST_H
#define DRAY_MIGRATE_RPC_REQUEST_H

#include <stddef.h>

#include "migrate/rpc/options.h"

/* NULL when the bytes are no request, its type is missing, or they swell beyond measure. Owned by the caller, freed with
 * criu_req__free_unpacked(req, NULL). A type that we don't know is a request all the same. */
CriuReq *rpc_request_decode(const void *packet, size_t len);

/* What its options are for; 0: its type looks at none. */
enum rpc_op rpc_request_op(const CriuReq *req);

/* Puts `over` on top of `under` (NULL: nothing): what both have is over's, lists are put together. A message of its own; NULL without memory, and of
 * options with a field of number 0, which decode and can't be encoded. */
CriuOpts *rpc_options_merge(const CriuOpts *under, const CriuOpts *over);

#endif
