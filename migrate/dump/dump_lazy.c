/* SPDX-License-Identifier: Apache-2.0 */
/* Pages that stay with the frozen task until a lazy-pages client asks for them: GET {pid, address, count} is answered by ADD_F and as many pages as
 * follow each other there, CLOSE by a status. A client that ends without it has failed: its tree can't have all its memory, so ours runs on.
 * Stock criu takes that end for success. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/dump/dump_priv.h"
#include "migrate/extract/copy.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/wire/ps_command.h"

enum { TIMEOUT_S = 600, PIECE_PAGES = 256 };

struct lazy_client {
	const struct dump_round *r;
	int fd; /* the client's; -1 before it came */
	int timeout_ms;
	enum ps_layout layout;
	struct copy_source memory;
	unsigned char *buf; /* PIECE_PAGES */
	uint64_t asked, served; /* requests, pages */
};

/* The keeper's end is the task's: neither is to be waited for beyond it. 0, or -1. */
static int await(const struct lazy_client *c, int fd, const char *what, struct err *e)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = keeper_event_fd(c->r->keeper), .events = POLLIN } };
	int n;

	while ((n = poll(p, 2, c->timeout_ms)) < 0 && errno == EINTR)
		;
	if (n < 0)
		return err_sys(e, "poll");
	if (n == 0)
		return err_set(e, ERR_TIMEOUT, 0, "lazy pages: %s within %d s", what, c->timeout_ms / 1000);
	if (p[1].revents)
		return err_set(e, ERR_GONE, 0, "process %d ended", c->r->task.pid);
	return 0;
}

static int accept_client(struct lazy_client *c, struct err *e)
{
	if (await(c, c->r->q->lazy_listener, "no client came", e) < 0)
		return -1;
	c->fd = accept4(c->r->q->lazy_listener, NULL, NULL, SOCK_CLOEXEC);
	return c->fd < 0 ? err_sys(e, "lazy pages: accept") : 0;
}

/* The same whether it is met while waiting for a question or while answering one. */
static int client_lost(int rc, struct err *e)
{
	if (rc == -EPIPE || rc == -ECONNRESET)
		return err_set(e, ERR_PEER, 0, "lazy pages: the client ended without a word");
	return err_set(e, ERR_PEER, -rc, "lazy pages: the connection to the client");
}

static int read_some(struct lazy_client *c, void *buf, size_t len, struct err *e)
{
	int rc;

	if (await(c, c->fd, "the client said nothing", e) < 0)
		return -1;
	rc = read_full(c->fd, buf, len);
	return rc < 0 ? client_lost(rc, e) : 0;
}

static int read_command(struct lazy_client *c, struct ps_command *command, struct err *e)
{
	unsigned char header[PS_HEADER_MAX];

	if (read_some(c, header, PS_HEADER_MIN, e) < 0)
		return -1;
	if (c->layout == PS_LAYOUT_UNKNOWN)
		c->layout = ps_detect(header);
	if (c->layout == PS_LAYOUT_32 && read_some(c, header + PS_HEADER_MIN, PS_HEADER_MAX - PS_HEADER_MIN, e) < 0)
		return -1;
	if (ps_decode(c->layout, header, command) == 0)
		return 0;
	return err_set(e, ERR_PROTOCOL, 0, "lazy pages: command %u of the client", command->code);
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

static int send_pages(struct lazy_client *c, uint64_t addr, uint64_t pages, struct err *e)
{
	while (pages > 0) {
		uint32_t n = pages < PIECE_PAGES ? (uint32_t)pages : PIECE_PAGES;
		const struct page_run run = { .addr = addr, .pages = n, .kind = RUN_DATA };
		uint64_t gone[PIECE_PAGES / 64], bad = 0;
		int rc = copy_pages(&c->memory, &run, 1, c->buf, gone, &bad);

		if (rc != 0)
			return err_set(e, rc == -ESRCH ? ERR_GONE : ERR_SYSTEM, rc < 0 ? -rc : EFAULT, "lazy pages: read %llx of process %d",
				       (unsigned long long)addr, c->r->task.pid);
		rc = write_full(c->fd, c->buf, pages_to_bytes(n));
		if (rc < 0)
			return client_lost(rc, e);
		addr += pages_to_bytes(n);
		pages -= n;
	}
	return 0;
}

static int answer(struct lazy_client *c, const struct ps_command *get, struct err *e)
{
	const struct dump_item *item = get->dst == c->r->task.inside ? find_left(&c->r->plan, get->vaddr) : NULL;
	struct ps_command reply = { .code = PS_ADD_F, .flags = PS_PRESENT, .vaddr = get->vaddr, .dst = get->dst };
	unsigned char header[PS_HEADER_MAX];
	uint64_t left;
	int rc;

	if (!item || get->nr == 0 || get->vaddr & (DRAY_PAGE_SIZE - 1))
		return err_set(e, ERR_PROTOCOL, 0, "lazy pages: the client asks for %llu pages at %llx of task %llu, which did not stay here",
			       (unsigned long long)get->nr, (unsigned long long)get->vaddr, (unsigned long long)get->dst);
	left = item->pages - bytes_to_pages(get->vaddr - item->addr);
	reply.nr = get->nr < left ? get->nr : left;
	ps_encode(c->layout, &reply, header);
	rc = write_full(c->fd, header, (size_t)c->layout);
	if (rc < 0)
		return client_lost(rc, e);
	c->asked++;
	c->served += reply.nr;
	return send_pages(c, reply.vaddr, reply.nr, e);
}

static int say_goodbye(struct lazy_client *c, struct err *e)
{
	static const unsigned char fine[PS_STATUS_ANSWER];
	int rc = write_full(c->fd, fine, sizeof(fine));

	return rc < 0 ? client_lost(rc, e) : 0;
}

static int serve(struct lazy_client *c, struct err *e)
{
	struct ps_command command;

	for (;;) {
		if (read_command(c, &command, e) < 0)
			return -1;
		if (ps_ends(&command))
			return say_goodbye(c, e);
		if (command.code != PS_GET)
			return err_set(e, ERR_PROTOCOL, 0, "lazy pages: the client says %s", ps_name(command.code));
		if (answer(c, &command, e) < 0)
			return -1;
	}
}

int dump_serve_lazy(const struct dump_round *r, struct err *e)
{
	struct lazy_client c = { .r = r, .fd = -1, .memory = COPY_SOURCE_NONE,
				 .timeout_ms = 1000 * (int)(r->q->lazy_timeout_s ? r->q->lazy_timeout_s : TIMEOUT_S) };
	int rc = -1;

	c.buf = malloc(pages_to_bytes(PIECE_PAGES));
	if (!c.buf)
		err_set(e, ERR_SYSTEM, ENOMEM, "lazy pages");
	else if (copy_source_open(&c.memory, r->task.pid, e) == 0 && accept_client(&c, e) == 0)
		rc = serve(&c, e);
	log_event(LOG_INFO, "lazy-pages", "pid=%d left=%llu requests=%llu served=%llu", r->task.pid, (unsigned long long)r->plan.left_pages,
		  (unsigned long long)c.asked, (unsigned long long)c.served);
	if (c.fd >= 0)
		close(c.fd);
	copy_source_close(&c.memory);
	free(c.buf);
	return rc;
}
