/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/answer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* The version that we answer to: clients decide by it what they may ask for. */
enum { VERSION_MAJOR = 4, VERSION_MINOR = 2 };

static const int errno_of_kind[ERR_KINDS] = {
	[ERR_USAGE] = EBADRQC,     [ERR_PERMISSION] = EPERM, [ERR_GONE] = ESRCH,          [ERR_UNSUPPORTED] = ENOTSUP,
	[ERR_TIMEOUT] = ETIMEDOUT, [ERR_CONFLICT] = EEXIST,  [ERR_CANCELLED] = ECANCELED,
};

static int errno_of(const struct err *e)
{
	return errno_of_kind[e->kind] ? errno_of_kind[e->kind] : e->num;
}

void rpc_answer_failed(struct rpc_answer *a, const struct err *e)
{
	a->success = false;
	a->error = *e;
}

/* A protobuf string must be UTF-8 or some clients refuse all of the message; names in it come from anywhere. */
static void make_presentable(const char *from, char *to, size_t size)
{
	size_t n = 0;

	for (; *from && n + 1 < size; from++)
		to[n++] = (unsigned char)*from < 0x20 || (unsigned char)*from >= 0x7f ? '?' : *from;
	to[n] = '\0';
}

/* The parts of a response, so that they live as long as it is packed. */
struct response {
	CriuResp resp;
	CriuDumpResp dump;
	CriuRestoreResp restore;
	CriuPageServerInfo ps;
	CriuFeatures features;
	CriuVersion version;
	char text[sizeof(((struct err *)0)->text)];
};

static void say_dump(struct response *r, const struct rpc_answer *a)
{
	criu_dump_resp__init(&r->dump);
	r->dump.has_restored = true;
	r->dump.restored = a->restored;
	r->resp.dump = &r->dump;
}

static void say_restore(struct response *r, const struct rpc_answer *a)
{
	criu_restore_resp__init(&r->restore);
	r->restore.pid = a->pid;
	r->resp.restore = &r->restore;
}

static void say_page_server(struct response *r, const struct rpc_answer *a)
{
	r->resp.type = CRIU_REQ_TYPE__PAGE_SERVER; /* of PAGE_SERVER_CHLD too */
	if (!a->success)
		return;
	criu_page_server_info__init(&r->ps);
	r->ps.has_pid = r->ps.has_port = true;
	r->ps.pid = a->pid;
	r->ps.port = a->port;
	r->resp.ps = &r->ps;
}

static void say_features(struct response *r, const struct rpc_answer *a)
{
	if (!a->success)
		return;
	criu_features__init(&r->features);
	r->features.has_mem_track = r->features.has_lazy_pages = r->features.has_pidfd_store = true;
	r->features.mem_track = a->mem_track;
	r->features.lazy_pages = a->lazy_pages;
	r->features.pidfd_store = a->pidfd_store;
	r->resp.features = &r->features;
}

static void say_version(struct response *r, const struct rpc_answer *a)
{
	(void)a;
	criu_version__init(&r->version);
	r->version.major_number = VERSION_MAJOR;
	r->version.minor_number = VERSION_MINOR; /* no gitid: clients round a version that has one */
	r->resp.version = &r->version;
}

static void say_status(struct response *r, const struct rpc_answer *a)
{
	r->resp.has_status = a->success;
	r->resp.status = a->status;
}

/* What a response has beyond success and error. */
static void (*const say[])(struct response *r, const struct rpc_answer *a) = {
	[CRIU_REQ_TYPE__DUMP] = say_dump,
	[CRIU_REQ_TYPE__RESTORE] = say_restore,
	[CRIU_REQ_TYPE__PAGE_SERVER] = say_page_server,
	[CRIU_REQ_TYPE__FEATURE_CHECK] = say_features,
	[CRIU_REQ_TYPE__VERSION] = say_version,
	[CRIU_REQ_TYPE__WAIT_PID] = say_status,
	[CRIU_REQ_TYPE__PAGE_SERVER_CHLD] = say_page_server,
	[CRIU_REQ_TYPE__SINGLE_PRE_DUMP] = NULL,
};

static void compose(struct response *r, CriuReqType request, const struct rpc_answer *a)
{
	criu_resp__init(&r->resp);
	r->resp.type = request;
	r->resp.success = a->success;
	if ((unsigned)request < sizeof(say) / sizeof(say[0]) && say[request])
		say[request](r, a);
	if (a->success || !err_is_set(&a->error))
		return;
	make_presentable(a->error.text, r->text, sizeof(r->text));
	r->resp.cr_errmsg = r->text;
	r->resp.cr_errno = errno_of(&a->error);
	r->resp.has_cr_errno = r->resp.cr_errno != 0;
}

size_t rpc_answer_encode(CriuReqType request, const struct rpc_answer *a, uint8_t buf[RPC_ANSWER_MAX])
{
	struct response r;

	compose(&r, request, a);
	assert(criu_resp__get_packed_size(&r.resp) <= RPC_ANSWER_MAX);
	return criu_resp__pack(&r.resp, buf);
}

size_t rpc_answer_encode_empty(uint8_t buf[RPC_ANSWER_MAX])
{
	return rpc_answer_encode(CRIU_REQ_TYPE__EMPTY, &(struct rpc_answer){ .success = false }, buf);
}

static int send_packet(int sock, const uint8_t *buf, size_t len)
{
	return send(sock, buf, len, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int rpc_answer_send(int sock, CriuReqType request, const struct rpc_answer *a)
{
	uint8_t buf[RPC_ANSWER_MAX];

	return send_packet(sock, buf, rpc_answer_encode(request, a, buf));
}

int rpc_answer_send_empty(int sock)
{
	uint8_t buf[RPC_ANSWER_MAX];

	return send_packet(sock, buf, rpc_answer_encode_empty(buf));
}
