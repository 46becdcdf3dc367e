/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/page_server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "pageserver/stock/reload.h"
#include "pageserver/stock/lazy_images.h"
#include "pageserver/stock/meter.h"
#include "pageserver/stock/server.h"
#include "pageserver/stock/ps_session.h"
#include "pageserver/stock/session_dir.h"
#include "pageserver/stock/sessions.h"
#include "pageserver/stock/stop.h"
#include "proto/base/cleanup.h"
#include "proto/base/daemon.h"
#include "proto/base/exporter.h"
#include "proto/base/fault.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/base/notify.h"
#include "proto/base/sock.h"

enum { REST_MS = 100 }; /* without new connections after one that could not be taken */

struct server {
	const struct page_server_options *options;
	struct sessions sessions;
	struct metrics *metrics;
	struct exporter exporter;
	struct session_dir dir; /* the only one, where there is only one */
	struct ps_stop stop;    /* of that session */
	bool draining, resting, asking; /* asking: whether the program that is installed now could go on */
	struct reload before; /* what the program before it left, which this one goes on from */
	bool goes_on;
	uint64_t drain_deadline_us; /* 0: none */
	bool pidfile_made;
};

/* --- many sessions -------------------------------------------------------------------------------------------------------------- */

static int admit(struct server *s, int fd, struct err *e)
{
	uint64_t max = s->options->max_sessions;

	s->sessions.joins_only = max && sessions_taken(&s->sessions, max) >= max;
	if (s->sessions.joins_only && !sessions_want_more(&s->sessions)) {
		metrics_add(s->metrics, METRIC_LIMITS, LIMIT_SESSIONS, 1);
		return err_set(e, ERR_LIMIT, 0, "%" PRIu64 " sessions are running (--max-sessions)", max);
	}
	if (s->options->max_handshakes && s->sessions.silent >= s->options->max_handshakes)
		sessions_drop_oldest_silent(&s->sessions);
	return sessions_start(&s->sessions, fd, e);
}

static void on_connection(struct server *s)
{
	cleanup_fd int fd = accept4(s->sessions.listener, NULL, NULL, SOCK_CLOEXEC);
	char peer[SOCK_NAME_MAX];
	struct err e;

	if (fd < 0) {
		s->resting = errno != EINTR && errno != ECONNABORTED;
		if (s->resting)
			log_event(LOG_ERROR, "accept-failed", "errno=%d", errno);
	} else if (admit(s, fd, &e) < 0) {
		sock_name(fd, true, peer);
		metrics_add(s->metrics, METRIC_PS_REFUSED, e.kind, 1);
		log_event(LOG_ERROR, "session-refused", "peer=%s reason=\"%s\"", peer, e.text);
	}
}

/* Who comes now is refused at once, or waits for the next server where the service manager has the socket too: nobody's tasks stand still for us. */
static void start_draining(struct server *s)
{
	uint64_t patience = s->options->drain_timeout_ms;

	if (s->draining) { /* asked a second time: now */
		s->drain_deadline_us = clock_us();
		return;
	}
	s->draining = true;
	close(steal_fd(&s->sessions.listener));
	s->drain_deadline_us = patience ? clock_us() + patience * 1000 : 0;
	notify_manager("STOPPING=1");
	log_event(LOG_INFO, "draining", "sessions=%zu", s->sessions.running);
	sessions_leave_alone(&s->sessions);
}

/* --- another program in its place ------------------------------------------------------------------------------------------------ */

static void say_reload_failed(const char *why)
{
	log_event(LOG_ERROR, "reload-failed", "reason=\"%s\"", why);
	notify_manager("READY=1");
}

static void start_reload(struct server *s)
{
	char reloading[64];
	struct err e;

	if (s->draining || s->asking)
		return;
	snprintf(reloading, sizeof(reloading), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_us());
	notify_manager(reloading);
	s->sessions.helper = reload_ask(&e);
	s->asking = s->sessions.helper > 0;
	if (!s->asking) {
		s->sessions.helper = 0;
		say_reload_failed(e.text);
	}
}

/* What listens for who looks at the metrics is a child that would have the program before it; the gate is that, and ends when the last session that
 * has begun with it does. */
static void reload(struct server *s)
{
	struct err e;

	s->asking = false;
	if (s->sessions.helper_status != 0 || s->draining) {
		say_reload_failed(s->draining ? "it is to end" : "the program that is installed now could not serve with these options");
		return;
	}
	log_event(LOG_INFO, "reload", "sessions=%zu", s->sessions.running);
	exporter_stop(&s->exporter);
	reload_go(&s->sessions, &e);
	say_reload_failed(e.text);
	if (s->metrics && exporter_start(&s->exporter, s->options->metrics, s->options->insecure, s->metrics, &e) < 0)
		log_event(LOG_ERROR, "exporter-failed", "reason=\"%s\"", e.text);
}

static void on_signal(struct server *s)
{
	struct signalfd_siginfo si;

	while (read(s->sessions.signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			sessions_reap(&s->sessions);
		else if (si.ssi_signo == SIGHUP)
			start_reload(s);
		else
			start_draining(s);
	}
	if (s->asking && !s->sessions.helper)
		reload(s);
}

static int patience_ms(const struct server *s)
{
	uint64_t now = clock_us();

	if (s->resting)
		return REST_MS;
	if (!s->drain_deadline_us)
		return -1;
	return s->drain_deadline_us <= now ? 0 : (int)((s->drain_deadline_us - now) / 1000 + 1);
}

static void check_drain_deadline(struct server *s)
{
	if (!s->drain_deadline_us || clock_us() < s->drain_deadline_us)
		return;
	s->drain_deadline_us = 0;
	sessions_end(&s->sessions);
}

enum { POLL_LISTENER, POLL_SIGNALS };

static void serve_many(struct server *s)
{
	while (!s->draining || s->sessions.running > 0) {
		struct pollfd others[SESSIONS_OTHERS] = {
			[POLL_LISTENER] = { .fd = s->resting ? -1 : s->sessions.listener, .events = POLLIN },
			[POLL_SIGNALS] = { .fd = s->sessions.signals, .events = POLLIN },
		};
		int n = sessions_poll(&s->sessions, others, patience_ms(s));
		bool came = n > 0 && s->sessions.polled[POLL_LISTENER].revents;

		s->resting = false;
		if (n > 0 && s->sessions.polled[POLL_SIGNALS].revents)
			on_signal(s);
		if (came && !s->draining)
			on_connection(s);
		check_drain_deadline(s);
	}
}

/* --- one, as criu's ------------------------------------------------------------------------------------------------------------- */

static int run_the_one(struct server *s, int fd, const struct session_name *n, struct err *e)
{
	struct ps_meter meter = { .metrics = s->metrics };
	enum stock_outcome how;

	metrics_set(s->metrics, METRIC_PS_RUNNING, 1);
	meter.row = metrics_row_begin(s->metrics, n->number, n->peer, s->dir.path);
	how = s->options->lazy_pages ? lazy_session_run(&s->sessions, fd, &meter, e) :
				       stock_session_run(&s->sessions, fd, &s->dir, s->options->prev_images_dir, -1, &meter, e);
	if (how != STOCK_PUBLISHED)
		ps_stop_explain(&s->stop, e);
	metrics_add(s->metrics, METRIC_PS_ACCEPTED, 0, !meter.begun);
	ps_count_end(s->metrics, meter.row, how == STOCK_PUBLISHED ? METRIC_SUCCESS : (unsigned)e->kind, how == STOCK_KEPT_OUT, 0);
	fault_point("page-server.ended", -1);
	return how == STOCK_PUBLISHED ? 0 : -1;
}

static int serve_sender(struct server *s, int fd, struct err *e)
{
	struct session_name n = { .number = 1, .start = time(NULL) };
	char peer[SESSION_PEER_MAX];
	bool made = s->dir.fd < 0;
	int rc;

	session_peer(fd, peer);
	n.peer = peer;
	if (made && session_dir_make(s->sessions.template, &n, &s->dir, e) < 0) {
		metrics_add(s->metrics, METRIC_PS_REFUSED, e->kind, 1);
		return -1;
	}
	rc = run_the_one(s, fd, &n, e);
	session_dir_close(&s->dir, made && rc < 0);
	return rc;
}

static int accept_the_one(struct server *s, struct err *e)
{
	int rc = ps_stop_await(s->sessions.signals, s->sessions.listener, s->options->session_time_ms, e);
	int fd = rc < 0 ? -1 : page_server_accept(s->sessions.listener, e);

	close(steal_fd(&s->sessions.listener));
	return fd;
}

static int serve_once(struct server *s, struct err *e)
{
	cleanup_fd int fd = accept_the_one(s, e);
	int rc;

	if (fd < 0 || ps_stop_begin(&s->stop, s->sessions.signals, fd, s->options->drain_timeout_ms, e) < 0)
		return -1;
	rc = serve_sender(s, fd, e);
	ps_stop_end(&s->stop);
	return rc;
}

/* --- the program ---------------------------------------------------------------------------------------------------------------- */

/* A directory that isn't there shows before anybody sends to it. */
static int choose_directory(struct server *s, struct err *e)
{
	const char *given = s->options->images_dir;
	bool lazy = s->options->lazy_pages, plain = lazy || !strchr(given, '%'), only = lazy || (plain && s->options->once);

	if (snprintf(s->sessions.template, PATH_MAX, "%s%s", given, plain && !only ? "/%n" : "") >= PATH_MAX)
		return err_set(e, ERR_USAGE, ENAMETOOLONG, "%.64s...", given);
	if (!plain)
		return session_template_check(given, e) < 0 || session_base_check(given, e) < 0 ? -1 : 0;
	snprintf(s->dir.path, sizeof(s->dir.path), "%s", given);
	s->dir.fd = open(given, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir.fd < 0)
		return err_sys(e, "the directory %s", given);
	if (!only)
		session_dir_close(&s->dir, false);
	if (!lazy)
		return 0;
	s->sessions.lazy_images = s->dir.fd;
	return lazy_images_check(s->dir.fd, e) < 0 ? err_wrap(e, "%s", given) : 0;
}

static int listen_where_allowed(const struct server *s, struct err *e)
{
	const struct page_server_options *o = s->options;
	bool safe = o->insecure || tls_configured(&o->tls);
	int passed = s->goes_on ? s->before.listener : daemon_passed_socket(AF_UNSPEC, SOCK_STREAM, e);
	cleanup_fd int fd = passed ? passed : page_server_listen(o->address, (uint16_t)o->port, e);
	char name[SOCK_NAME_MAX];

	if (fd < 0)
		return -1;
	sock_name(fd, false, name);
	if (!safe && !sock_is_loopback(fd))
		return err_set(e, ERR_USAGE, 0, "%s is no loopback address: whoever reaches the port can %s. Give it TLS credentials (--tls-cert and so on), "
			       "or --insecure on a network that you trust", name, o->lazy_pages ? "read the memory in these images" :
			       "fill this disk and be restored from it");
	return steal_fd(&fd);
}

/* Before a daemon lets go of its terminal, so that whoever started it reads the address. */
static void announce(const struct server *s)
{
	char name[SOCK_NAME_MAX];

	sock_name(s->sessions.listener, false, name);
	printf("listening on %s\n", name);
	fflush(stdout);
	log_event(LOG_INFO, "listening", "address=%s tls=%d dir=\"%s\"", name, tls_configured(&s->options->tls), s->sessions.template);
}

/* Before a session can begin. Not earlier: it keeps standard error, and whoever started a daemon may wait for the end of that. */
static int start_gate(struct server *s, struct err *e)
{
	const struct tls_config *c = &s->options->tls;

	return tls_configured(c) && !(s->sessions.tls = tls_gate_start(c, e)) ? -1 : 0;
}

static int get_ready(struct server *s, struct err *e)
{
	const struct page_server_options *o = s->options;
	cleanup_fd int pidfile = -1;

	if (o->status_fd && daemon_check_ready_fd((int)o->status_fd, e) < 0)
		return -1;
	if (o->pidfile && (pidfile = pidfile_create(o->pidfile, e)) < 0)
		return -1;
	s->pidfile_made = o->pidfile != NULL;
	announce(s);
	if (o->daemonize && daemon_detach(e) < 0)
		return -1;
	metrics_adopt(s->metrics);
	if (start_gate(s, e) < 0)
		return -1;
	if (pidfile >= 0 && pidfile_write(pidfile, e) < 0)
		return err_wrap(e, "%s", o->pidfile);
	if (o->status_fd && daemon_say_ready((int)o->status_fd, e) < 0)
		return -1;
	notify_manager("READY=1");
	return 0;
}

/* The pid file, the place in the background and whoever waited for it to be ready are those of the program before. */
static int go_on(struct server *s, struct err *e)
{
	s->pidfile_made = s->options->pidfile != NULL;
	if (start_gate(s, e) < 0)
		return -1;
	reload_sessions(&s->before, &s->sessions);
	metrics_set(s->metrics, METRIC_PS_RUNNING, s->sessions.running);
	notify_manager("READY=1");
	return 0;
}

/* The counters of the program before, unless it counted otherwise. They bear their descriptor's number. */
static struct metrics *take_metrics(struct server *s)
{
	struct metrics *m = s->before.metrics < 0 ? NULL : metrics_attach(fcntl(s->before.metrics, F_DUPFD_CLOEXEC, 0));

	if (m)
		return m;
	if (s->before.metrics >= 0)
		close(steal_fd(&s->before.metrics));
	return NULL;
}

/* Who goes on has sessions, which are worth more than being watched. */
static int begin_metrics(struct server *s, struct err *e)
{
	const struct page_server_options *o = s->options;

	if (!o->metrics)
		return 0;
	s->metrics = take_metrics(s);
	if (!s->metrics)
		s->metrics = metrics_create(DAEMON_PAGE_SERVER, e);
	s->sessions.metrics = s->metrics;
	s->sessions.exporter = &s->exporter;
	if (!s->metrics)
		return -1;
	if (exporter_start(&s->exporter, o->metrics, o->insecure, s->metrics, e) == 0)
		return 0;
	if (s->goes_on)
		log_event(LOG_ERROR, "exporter-failed", "reason=\"%s\"", e->text);
	return s->goes_on ? 0 : -1;
}

static int serve(struct server *s, struct err *e)
{
	if (tls_configured(&s->options->tls) && tls_check_files(&s->options->tls, e) < 0)
		return -1;
	if (s->options->check)
		return 0;
	s->sessions.listener = listen_where_allowed(s, e);
	if (s->sessions.listener < 0 || begin_metrics(s, e) < 0)
		return -1;
	tls_tell_end(&s->options->tls, s->metrics);
	if (!s->options->once)
		daemon_allow_descriptors(UINT64_MAX); /* one or more a session */
	/* Whoever reads that it is ready may ask it to end at once. */
	s->sessions.signals = daemon_signals(e);
	if (s->sessions.signals < 0 || (!s->options->once && sessions_begin(&s->sessions, e) < 0) || (s->goes_on ? go_on(s, e) : get_ready(s, e)) < 0)
		return -1;
	if (s->options->once)
		return serve_once(s, e);
	serve_many(s);
	return 0;
}

static void server_finish(struct server *s)
{
	session_dir_close(&s->dir, false);
	if (s->sessions.listener >= 0)
		close(s->sessions.listener);
	if (s->sessions.signals >= 0)
		close(s->sessions.signals);
	if (s->pidfile_made)
		unlink(s->options->pidfile);
	sessions_finish(&s->sessions);
	exporter_stop(&s->exporter);
	metrics_destroy(s->metrics);
	tls_gate_stop(s->sessions.tls);
}

int page_server_run(const struct page_server_options *o, struct err *e)
{
	struct server s = { .options = o, .sessions = { .options = o, .listener = -1, .signals = -1 }, .dir.fd = -1,
			    .exporter = EXPORTER_NONE };
	int rc;

	log_set_role("page-server");
	rc = o->once ? 0 : reload_take(&s.before, e);
	s.goes_on = rc > 0;
	rc = rc < 0 || choose_directory(&s, e) < 0 ? -1 : serve(&s, e);
	server_finish(&s);
	return rc;
}
