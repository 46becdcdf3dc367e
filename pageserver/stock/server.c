/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/server.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pageserver/images/pagemap.h"
#include "pageserver/stock/receiver.h"
#include "pageserver/stock/stop.h"
#include "pageserver/stock/tls_accept.h"
#include "proto/base/cleanup.h"
#include "proto/base/daemon.h"
#include "proto/base/sock.h"

enum { FIRST_PAGES_ID = 65537 /* out of the way of what a dump into the same directory numbers from 1 */ };

int page_server_listen(const char *address, uint16_t port, struct err *e)
{
	bool bare_v6 = strchr(address, ':') && address[0] != '[';
	char text[SOCK_HOST_MAX + 16];

	if (snprintf(text, sizeof(text), bare_v6 ? "[%s]:%u" : "%s:%u", address, port) >= (int)sizeof(text))
		return err_set(e, ERR_USAGE, 0, "\"%.64s...\" is no address", address);
	return sock_listen(text, port, e);
}

static int receive(int fd, bool inherited, const struct page_server_config *c, struct page_server_report *out, struct err *e)
{
	struct image_set_options o = { .dirfd = c->images_dir, .first_pages_id = FIRST_PAGES_ID, .parent = c->parent,
				       .auto_dedup = c->auto_dedup, .check_holes = true, .durable = c->durable, .flat = c->flat };
	struct page_sink *sink;
	int rc;

	sink = image_set_create(&o, e);
	rc = sink ? ps_receive(fd, inherited, sink, c, out, e) : -1;
	out->let_in = true;
	if (!sink)
		return -1;
	sink->ops->destroy(sink);
	return rc;
}

static int receive_by_tls(int fd, const struct page_server_config *c, struct page_server_report *out, struct err *e)
{
	struct tls_link l = TLS_LINK_NONE;
	int rc;

	if (tls_accept_stock(fd, c->tls, c->tls_name, false, &l, e) < 0)
		return -1;
	memcpy(out->name, l.peer, sizeof(out->name));
	out->tls = l.in_kernel ? "kernel" : "relay";
	rc = receive(l.fd, false, c, out, e);
	if (rc < 0)
		tls_link_failed(&l, e);
	if (out->joins) /* the session that it is of has it now */
		close(tls_link_release(&l));
	else
		tls_link_close(&l);
	return rc;
}

int page_server_serve_one(int fd, bool inherited, const struct page_server_config *c, struct page_server_report *out, struct err *e)
{
	struct sock_tuning tuning = { 0 };
	struct page_server_report report;

	if (!out)
		out = &report;
	*out = (struct page_server_report){ .let_in = !c->tls };
	assert(!(inherited && c->tls));
	if (!inherited && sock_tune(fd, &tuning, e) < 0)
		return -1;
	return c->tls ? receive_by_tls(fd, c, out, e) : receive(fd, inherited, c, out, e);
}

int page_server_serve_inherited(int fd, const struct page_server_config *c, uint64_t patience_ms, struct page_server_report *out, struct err *e)
{
	struct page_server_config stopped = *c;
	cleanup_fd int signals = daemon_signals(e);
	struct ps_stop stop;
	int rc;

	if (signals < 0 || ps_stop_begin(&stop, signals, -1, patience_ms, e) < 0)
		return -1;
	stopped.stop = &stop;
	rc = page_server_serve_one(fd, true, &stopped, out, e);
	if (rc < 0)
		ps_stop_explain(&stop, e);
	ps_stop_end(&stop);
	return rc;
}

/* A connection that ended before it was taken is none. */
int page_server_accept(int listener, struct err *e)
{
	int fd;

	do
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	return fd < 0 ? err_sys(e, "take a connection") : fd;
}
