/* SPDX-License-Identifier: Apache-2.0 */
/* answer.h - what a request came to, and the response that says so: which fields a response of a type carries is decided here and nowhere
 * else. Pure but for the sending. Threads: one. Fails: negative errno. */
#ifndef DRAY_MIGRATE_RPC_ANSWER_H
#define DRAY_MIGRATE_RPC_ANSWER_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/base/err.h"
#include "rpc.pb-c.h"

/* Clients exist that read 1024 bytes and no more. */
enum { RPC_ANSWER_MAX = 1024 };

struct rpc_answer {
	bool success;
	bool unheard;     /* nobody is there to read it: nothing is sent */
	struct err error; /* unless success */
	bool restored;    /* DUMP: not of the dump, but of a self-dumped process that was restored */
	pid_t pid;        /* RESTORE: the root, -1 none; PAGE_SERVER: its process */
	int port;         /* PAGE_SERVER */
	int status;       /* WAIT_PID */
	bool mem_track, lazy_pages, pidfd_store; /* FEATURE_CHECK */
};

/* The answer of a request that failed; a of any state. */
void rpc_answer_failed(struct rpc_answer *a, const struct err *e);
int rpc_answer_send(int sock, CriuReqType request, const struct rpc_answer *a);
/* The same into a buffer; the length. */
size_t rpc_answer_encode(CriuReqType request, const struct rpc_answer *a, uint8_t buf[RPC_ANSWER_MAX]);
int rpc_answer_send_empty(int sock);
size_t rpc_answer_encode_empty(uint8_t buf[RPC_ANSWER_MAX]);

#endif
