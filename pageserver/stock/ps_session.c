/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/ps_session.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "pageserver/stock/lazy_images.h"
#include "pageserver/stock/meter.h"
#include "pageserver/stock/server.h"
#include "proto/base/log.h"
#include "proto/base/sock.h"

enum { JOIN_MS = 5000 /* to say that it is another connection, for who may be nothing else */ };

static void log_report(enum log_level level, const char *event, const struct page_server_report *r, const char *reason)
{
	log_event(level, event, "header=%u native=%d tls=%s maps=%" PRIu64 " ranges=%" PRIu64 " pages=%" PRIu64 " in-parent=%" PRIu64 " received=%" PRIu64
		  " ms=%" PRIu64 " name=\"%s\" reason=\"%s\"", r->header_size, r->native, r->tls ? r->tls : "none", r->maps,
		  r->ranges, r->pages, r->in_parent, r->received, r->us / 1000, r->name, reason);
}

struct publication {
	const struct sessions *sessions;
	const struct session_dir *dir;
};

/* The name of the set's directory becomes durable no sooner than it has to: whoever is kept out shall cost the disk nothing. */
static int on_published(void *arg, const struct page_server_report *r, struct err *e)
{
	const struct publication *p = arg;

	if (p->sessions->options->durable && session_dir_sync(p->sessions->template, p->dir, e) < 0)
		return -1;
	log_report(LOG_INFO, "session-published", r, "closed");
	return 0;
}

enum stock_outcome stock_session_run(const struct sessions *s, int fd, const struct session_dir *d, const char *parent, int line,
				      struct ps_meter *meter, struct err *e)
{
	const struct page_server_options *o = s->options;
	struct publication publication = { s, d };
	struct page_server_config c = { .images_dir = d->fd, .parent = parent, .auto_dedup = o->auto_dedup, .durable = o->durable, .flat = o->flat,
					.limits = { .bytes = o->session_bytes, .pages = o->session_pages, .time_ms = o->session_time_ms,
						    .keep_free = o->keep_free, .idle_ms = o->idle_timeout_ms, .handshake_ms = o->handshake_timeout_ms },
					.joins_only = s->joins_only,
					.grace_ms = o->resume_timeout_ms < UINT_MAX ? (unsigned)o->resume_timeout_ms : UINT_MAX,
					.tls = s->tls, .tls_name = o->tls_name, .line = line < 0 ? NULL : &line, .meter = meter,
					.published = on_published, .arg = &publication };
	struct page_server_report r = { 0 };
	char peer[SOCK_NAME_MAX];

	if (s->joins_only && !(c.limits.handshake_ms && c.limits.handshake_ms < JOIN_MS))
		c.limits.handshake_ms = JOIN_MS;
	sock_name(fd, true, peer);
	log_event(LOG_INFO, "session-begin", "peer=%s dir=\"%s\" parent=\"%s\"", peer, d->path, parent ? parent : "");
	if (page_server_serve_one(fd, false, &c, &r, e) < 0) {
		if (e->num == ENOSPC || e->num == EDQUOT)
			ps_meter_limit(meter, LIMIT_KEEP_FREE);
		err_wrap(e, "sender %s", peer);
		log_report(LOG_ERROR, "session-failed", &r, e->text);
		return r.let_in ? STOCK_FAILED : STOCK_KEPT_OUT;
	}
	return r.joins ? STOCK_JOINS : STOCK_PUBLISHED;
}

static void show_served(void *meter, const struct lazy_report *r)
{
	ps_meter_served(meter, r->pages);
}

enum stock_outcome lazy_session_run(const struct sessions *s, int fd, struct ps_meter *meter, struct err *e)
{
	const struct page_server_options *o = s->options;
	const struct lazy_rules rules = { .tls = s->tls, .tls_name = o->tls_name, .idle_ms = o->idle_timeout_ms, .time_ms = o->session_time_ms,
					  .progress = show_served, .arg = meter };
	struct lazy_report r;
	char peer[SOCK_NAME_MAX];

	sock_name(fd, true, peer);
	log_event(LOG_INFO, "session-begin", "peer=%s dir=\"%s\" lazy=1", peer, s->template);
	ps_meter_phase(meter, PHASE_LATE_PAGES);
	if (lazy_images_serve(fd, s->lazy_images, &rules, &r, e) == 0)
		return STOCK_PUBLISHED;
	err_wrap(e, "client %s", peer);
	return r.let_in ? STOCK_FAILED : STOCK_KEPT_OUT;
}

void session_peer(int fd, char host[SESSION_PEER_MAX])
{
	char name[SOCK_NAME_MAX], *colon;
	size_t len;

	sock_name(fd, true, name);
	colon = strrchr(name, ':');
	if (!colon) {
		strcpy(host, "unix");
		return;
	}
	len = (size_t)(colon - name);
	if (name[0] == '[') {
		memcpy(host, name + 1, len - 2);
		host[len - 2] = '\0';
	} else {
		memcpy(host, name, len);
		host[len] = '\0';
	}
}
