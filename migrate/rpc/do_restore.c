/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/images/cpuinfo.h"
#include "migrate/rpc/operations.h"
#include "proto/base/log.h"

static const struct { const char *name; bool with_pid, told_only; } stages[] = {
	[RESTORE_PRE] = { "pre-restore", false, false },
	[RESTORE_SETUP_NAMESPACES] = { "setup-namespaces", true, false },
	[RESTORE_POST_SETUP_NAMESPACES] = { "post-setup-namespaces", false, false },
	[RESTORE_POST] = { "post-restore", true, false },
	[RESTORE_PRE_RESUME] = { "pre-resume", false, true },
	[RESTORE_POST_RESUME] = { "post-resume", false, true },
};

static int reached(void *arg, enum restore_moment when, pid_t pid, struct err *e)
{
	const struct rpc_stages *s = arg;
	int rc = s->reached(s->arg, stages[when].name, stages[when].with_pid ? pid : 0, NULL, e);

	if (rc == 0 || !stages[when].told_only)
		return rc;
	log_event(LOG_WARN, "stage", "name=%s ignored=\"%s\"", stages[when].name, e->text);
	return 0;
}

static int check_cpu(const struct rpc_applied *a, struct err *e)
{
	return a->opts->has_cpu_cap && a->opts->cpu_cap ? cpuinfo_check(a->images_dir, a->opts->cpu_cap, e) : 0;
}

int rpc_do_restore(const struct rpc_applied *a, const struct rpc_stages *s, pid_t *root, int *line, struct err *e)
{
	const CriuOpts *o = a->opts;
	struct rpc_stages told = *s;
	struct restore_request q = {
		.images_dir = a->images_dir,
		.work_dir = a->work_dir,
		.sibling = o->rst_sibling,
		.shell_job = o->shell_job,
		.tcp_close = o->tcp_close,
		.tcp_established = o->tcp_established,
		.ext_unix_sk = o->ext_unix_sk,
		.file_locks = o->file_locks,
		.auto_dedup = o->auto_dedup,
		.lazy_pages = o->lazy_pages,
		.skip_file_rwx_check = o->skip_file_rwx_check,
		.leave_stopped = o->leave_stopped,
		.inherit = a->inherit,
		.inherits = a->inherits,
		.requester_socket = -1,
		.requester_line = line,
		.hook = reached,
		.hook_arg = &told,
	};
	struct restore_stats stats = { 0 };

	*root = -1;
	if (line)
		*line = -1;
	if (check_cpu(a, e) != 0 || restore_run(&q, root, &stats, e) != 0)
		return -1;
	log_event(o->display_stats ? LOG_WARN : LOG_INFO, "restore", "pid=%d forking_us=%llu restore_us=%llu restored=%llu", (int)*root,
		  (unsigned long long)stats.forking_us, (unsigned long long)stats.restore_us, (unsigned long long)stats.pages_restored);
	return 0;
}
