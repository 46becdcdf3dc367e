/* SPDX-License-Identifier: Apache-2.0 */
/* Pages that stay with the frozen task until a lazy-pages client has fetched them all (pageserver/stock/lazy_server.h). A client that ends without saying so
 * has failed: its tree can't have all its memory, so ours runs on. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/dump/dump_priv.h"
#include "migrate/extract/copy.h"
#include "pageserver/stock/lazy_server.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/base/sock.h"

enum { TIMEOUT_S = 600 };

struct left_pages {
	const struct dump_round *r;
	struct copy_source memory;
};

/* ---- the task's memory ---- */

/* The keeper's end is the task's. */
static int task_ended(void *arg, struct err *e)
{
	const struct left_pages *l = arg;

	return err_set(e, ERR_GONE, 0, "process %d ended", l->r->task.pid);
}

/* The item that was left and holds addr; NULL. */
static const struct dump_item *find_left(const struct dump_plan *plan, uint64_t addr)
{
	size_t low = 0, high = plan->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (plan->item[mid].addr + pages_to_bytes(plan->item[mid].pages) <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low < plan->count && plan->item[low].addr <= addr && plan->item[low].bits & ITEM_LEFT ? &plan->item[low] : NULL;
}

static int find(void *arg, uint64_t pid, uint64_t addr, uint64_t most, uint64_t *pages, struct err *e)
{
	const struct left_pages *l = arg;
	const struct dump_item *item = pid == (uint64_t)l->r->task.inside ? find_left(&l->r->plan, addr) : NULL;
	uint64_t there;

	if (!item)
		return err_set(e, ERR_PROTOCOL, 0, "they did not stay here");
	there = item->pages - bytes_to_pages(addr - item->addr);
	*pages = there < most ? there : most;
	return 0;
}

static int read_memory(void *arg, uint64_t pid, uint64_t addr, uint32_t pages, void *data, struct err *e)
{
	struct left_pages *l = arg;
	const struct page_run run = { .addr = addr, .pages = pages, .kind = RUN_DATA };
	uint64_t gone[LAZY_SERVE_PAGES / 64], bad = 0;
	int rc = copy_pages(&l->memory, &run, 1, data, gone, &bad);

	(void)pid;
	if (rc == 0)
		return 0;
	return err_set(e, rc == -ESRCH ? ERR_GONE : ERR_SYSTEM, rc < 0 ? -rc : EFAULT, "lazy pages: read %llx of process %d", (unsigned long long)addr,
		       l->r->task.pid);
}

/* ---- the client ---- */

static unsigned patience_s(const struct dump_request *q)
{
	return q->lazy_timeout_s ? q->lazy_timeout_s : TIMEOUT_S;
}

static int await_client(const struct lazy_pages *from, const struct dump_request *q, uint64_t deadline_us, struct err *e)
{
	struct pollfd p[2] = { { .fd = q->lazy_listener, .events = POLLIN }, { .fd = from->end_fd, .events = POLLIN } };
	uint64_t now;
	int n;

	do {
		now = clock_us();
		n = now < deadline_us ? poll(p, 2, (int)((deadline_us - now) / 1000 + 1)) : 0;
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(e, "poll");
	if (n == 0)
		return err_set(e, ERR_TIMEOUT, 0, "lazy pages: no client came within %u s", patience_s(q));
	return p[1].revents ? from->end(from->arg, e) : 0;
}

/* Who is not let in by TLS was no client, and costs the dump nothing but the time of the handshake. */
static int serve_client(const struct dump_round *r, const struct lazy_pages *from, struct lazy_report *report, struct err *e)
{
	const struct lazy_rules rules = { .tls = r->q->lazy_tls, .tls_name = r->q->lazy_tls_name,
					  .idle_ms = 1000ull * patience_s(r->q) };
	uint64_t deadline = clock_us() + rules.idle_ms * 1000;
	char peer[SOCK_NAME_MAX];

	for (;;) {
		cleanup_fd int fd = -1;

		if (await_client(from, r->q, deadline, e) < 0)
			return -1;
		fd = accept4(r->q->lazy_listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			return err_sys(e, "lazy pages: accept");
		if (lazy_serve(fd, from, &rules, report, e) == 0)
			return 0;
		if (report->let_in)
			return -1;
		sock_name(fd, true, peer);
		log_event(LOG_WARN, "lazy-client-refused", "peer=%s reason=\"%s\"", peer, e->text);
		err_clear(e);
	}
}

int dump_serve_lazy(const struct dump_round *r, struct err *e)
{
	struct left_pages left = { .r = r, .memory = COPY_SOURCE_NONE };
	const struct lazy_pages from = { .find = find, .read = read_memory, .arg = &left, .end_fd = keeper_event_fd(r->keeper), .end = task_ended };
	struct lazy_report report = { 0 };
	int rc;

	if (copy_source_open(&left.memory, r->task.pid, e) < 0)
		return -1;
	rc = serve_client(r, &from, &report, e);
	log_event(LOG_INFO, "lazy-pages", "pid=%d left=%llu requests=%llu served=%llu name=\"%s\"", r->task.pid, (unsigned long long)r->plan.left_pages,
		  (unsigned long long)report.requests, (unsigned long long)report.pages, report.name);
	copy_source_close(&left.memory);
	return rc;
}
