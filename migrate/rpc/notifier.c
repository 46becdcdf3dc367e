/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/notifier.h"

#include <errno.h>

#include "migrate/rpc/packet.h"
#include "migrate/rpc/request.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"

static int tell(int sock, const char *script, pid_t pid)
{
	CriuResp resp = CRIU_RESP__INIT;
	CriuNotify notify = CRIU_NOTIFY__INIT;

	notify.script = (char *)(uintptr_t)script;
	notify.has_pid = pid > 0;
	notify.pid = pid;
	resp.type = CRIU_REQ_TYPE__NOTIFY;
	resp.success = true;
	resp.notify = &notify;
	return rpc_send(sock, &resp.base, -1);
}

static int lost(ssize_t rc, const struct rpc_notifier *n, const char *script, struct err *e)
{
	if (rc == -ETIMEDOUT)
		return err_set(e, ERR_TIMEOUT, 0, "%s was not acknowledged within %d s", script, n->timeout_ms / 1000);
	if (rc == 0 || rc == -EPIPE || rc == -ECONNRESET)
		return err_set(e, ERR_CANCELLED, 0, "the client went away at %s", script);
	return err_set(e, ERR_SYSTEM, (int)-rc, "notification %s", script);
}

static bool is_ack(const CriuReq *req)
{
	return req && req->type == CRIU_REQ_TYPE__NOTIFY && req->has_notify_success && req->notify_success;
}

static int ask(const struct rpc_notifier *n, const char *script, pid_t pid, CriuReq **ack, struct err *e)
{
	cleanup_free uint8_t *packet = NULL;
	ssize_t rc;

	log_event(LOG_INFO, "notify", "script=%s pid=%d", script, (int)pid);
	rc = tell(n->sock, script, pid);
	if (rc == 0)
		rc = rpc_recv(n->sock, n->timeout_ms, &packet);
	if (rc <= 0)
		return lost(rc, n, script, e);
	*ack = rpc_request_decode(packet, (size_t)rc);
	return is_ack(*ack) ? 0 : err_set(e, ERR_CANCELLED, 0, "the client refused at %s", script);
}

int rpc_notify(const struct rpc_notifier *n, const char *script, pid_t pid, CriuReq **ack, struct err *e)
{
	CriuReq *answer = NULL;
	int rc = n->on ? ask(n, script, pid, &answer, e) : 0;

	if (rc == 0)
		rc = action_scripts_run(&n->scripts, script, n->images_dir, n->work_dir, pid > 0 ? pid : n->root, e);
	if (ack)
		*ack = rc == 0 ? steal_pointer(&answer) : NULL;
	if (answer)
		criu_req__free_unpacked(answer, NULL);
	return rc;
}
