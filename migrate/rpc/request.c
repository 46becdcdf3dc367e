/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/request.h"

#include <stdlib.h>

#include "proto/base/cleanup.h"
#include "proto/wire/unpack.h"

enum { UNPACK_MAX = 64 << 20 };

CriuReq *rpc_request_decode(const void *packet, size_t len)
{
	return (CriuReq *)unpack_capped(&criu_req__descriptor, packet, len, UNPACK_MAX);
}

enum rpc_op rpc_request_op(const CriuReq *req)
{
	static const enum rpc_op ops[] = {
		[CRIU_REQ_TYPE__DUMP] = RPC_OP_DUMP,
		[CRIU_REQ_TYPE__RESTORE] = RPC_OP_RESTORE,
		[CRIU_REQ_TYPE__CHECK] = RPC_OP_CHECK,
		[CRIU_REQ_TYPE__PRE_DUMP] = RPC_OP_PRE_DUMP,
		[CRIU_REQ_TYPE__SINGLE_PRE_DUMP] = RPC_OP_PRE_DUMP,
		[CRIU_REQ_TYPE__PAGE_SERVER] = RPC_OP_PAGE_SERVER,
		[CRIU_REQ_TYPE__PAGE_SERVER_CHLD] = RPC_OP_PAGE_SERVER,
		[CRIU_REQ_TYPE__CPUINFO_DUMP] = RPC_OP_CPUINFO,
		[CRIU_REQ_TYPE__CPUINFO_CHECK] = RPC_OP_CPUINFO,
	};

	return (unsigned)req->type < sizeof(ops) / sizeof(ops[0]) ? ops[req->type] : (enum rpc_op)0;
}

/* Protobuf's own rule: the encodings one behind the other are the encoding of the merged message. */
CriuOpts *rpc_options_merge(const CriuOpts *under, const CriuOpts *over)
{
	size_t first = under ? criu_opts__get_packed_size(under) : 0, second = criu_opts__get_packed_size(over);
	cleanup_free uint8_t *both = malloc(first + second + 1);

	if (!both)
		return NULL;
	if (under)
		criu_opts__pack(under, both);
	criu_opts__pack(over, both + first);
	return criu_opts__unpack(NULL, first + second, both);
}
