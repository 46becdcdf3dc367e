/* SPDX-License-Identifier: Apache-2.0 */
/* What a client of the RPC service sends, as far as nothing is done yet: the packet, the session's answer to it, its options under and over
 * others, the checks of every operation, and the answers that name what is wrong with it. With an odd first byte: a configuration file. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/criu/command.h"
#include "migrate/criu/option_file.h"
#include "migrate/rpc/answer.h"
#include "migrate/rpc/request.h"
#include "migrate/rpc/rpc_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void refuse(const CriuReq *req, const struct err *e)
{
	struct rpc_answer a = { .pid = -1 };
	uint8_t buf[RPC_ANSWER_MAX];
	CriuResp *back;
	size_t len;

	assert(err_is_set(e));
	rpc_answer_failed(&a, e);
	len = rpc_answer_encode(req->type, &a, buf);
	back = criu_resp__unpack(NULL, len, buf);
	assert(back && !back->success && back->cr_errmsg);
	criu_resp__free_unpacked(back, NULL);
}

static void check_options(const CriuReq *req)
{
	CriuOpts *twice = rpc_options_merge(req->opts, req->opts);

	if (!twice)
		return;
	for (unsigned op = 1; op <= RPC_OPS_ALL; op <<= 1) {
		struct err e = { 0 }, again = { 0 };
		int rc = rpc_options_check(req->opts, (enum rpc_op)op, RPC_WORDS_FIELDS, &e);

		if (rc != 0)
			refuse(req, &e);
		/* What is wrong stays wrong on top of itself. */
		assert(rpc_options_check(twice, (enum rpc_op)op, RPC_WORDS_FIELDS, &again) == rc);
	}
	criu_opts__free_unpacked(twice, NULL);
}

static void request(const uint8_t *data, size_t size)
{
	CriuReq *req = rpc_request_decode(data, size);
	struct rpc_session s;

	if (!req)
		return;
	rpc_session_init(&s);
	if (rpc_session_request(&s, req) == RPC_RUN)
		rpc_session_answered(&s, req, size & 1);
	(void)rpc_request_op(req);
	if (req->opts)
		check_options(req);
	criu_req__free_unpacked(req, NULL);
}

static int take_line(void *arg, const char *name, const char *value, struct err *e)
{
	return criu_command_set(arg, name, strlen(name), value, e);
}

static void config_file(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct criu_command c;
	struct err e = { 0 };

	assert(text && criu_command_init(&c, &e) == 0);
	memcpy(text, data, size);
	text[size] = '\0';
	if (option_file_parse(text, take_line, &c, &e) != 0)
		assert(e.kind == ERR_USAGE);
	else if (rpc_options_check(c.opts, RPC_OP_DUMP, RPC_WORDS_FIELDS, &e) != 0)
		assert(err_is_set(&e));
	free(text);
	criu_command_finish(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		config_file(data + 1, size - 1);
	else
		request(data + 1, size - 1);
	return 0;
}
