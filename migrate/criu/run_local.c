/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that need neither a tree nor a socket. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "migrate/criu/check.h"
#include "migrate/criu/criu_call.h"
#include "migrate/lazy/lazy_daemon.h"
#include "migrate/pagesink/ps_sink.h"
#include "migrate/rpc/apply.h"
#include "migrate/rpc/rpc_tls.h"
#include "pageserver/images/pagemap.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/base/sock.h"
#include "proto/base/tls_relay.h"

/* --- check ---------------------------------------------------------------------------------------------------------------------- */

static void list_features(void)
{
	for (const struct check_feature *f = check_features; f->name; f++)
		printf(f[1].name ? "%s " : "%s\n", f->name);
}

static int check_one(const char *name, struct err *e)
{
	if (strcmp(name, "list") == 0)
		return list_features(), 0;
	if (criu_check_feature(name, e) != 0)
		return e->kind == ERR_USAGE ? err_wrap(e, "--feature") : err_wrap(e, "not supported");
	printf("%s is supported\n", name);
	return 0;
}

/* Names each on standard error; how many are missing. */
static unsigned check_all_of(bool needed)
{
	unsigned missing = 0;

	for (const struct check_feature *f = check_features; f->name; f++) {
		struct err e = { 0 };

		if (f->needed != needed || criu_check_feature(f->name, &e) == 0)
			continue;
		fprintf(stderr, "not supported: %s\n", e.text);
		missing++;
	}
	return missing;
}

int criu_run_check(struct criu_call *c, struct err *e)
{
	log_set_level(rpc_log_level(c->command.opts->log_level));
	if (c->command.feature)
		return check_one(c->command.feature, e);
	if (check_all_of(true)) {
		puts("Does not look good.");
		return 1;
	}
	if (c->command.check_all && check_all_of(false)) {
		puts("Looks good but what is named above is missing: trees that need it can't be dumped or restored.");
		return 1;
	}
	puts("Looks good.");
	return 0;
}

/* --- dedup ---------------------------------------------------------------------------------------------------------------------- */

int criu_run_dedup(struct criu_call *c, struct err *e)
{
	uint64_t freed = 0;

	if (image_set_dedup(c->images, &freed, e) != 0)
		return -1;
	log_event(LOG_INFO, "dedup", "pages_freed=%llu", (unsigned long long)freed);
	return 0;
}

/* --- lazy-pages ----------------------------------------------------------------------------------------------------------------- */

static int tell_status(void *arg, struct err *e)
{
	struct criu_call *c = arg;
	int rc = c->command.status_fd < 0 ? 0 : write_full(c->command.status_fd, "", 1);

	if (c->command.status_fd >= 0)
		close(c->command.status_fd);
	c->command.status_fd = -1;
	return rc < 0 ? err_set(e, ERR_SYSTEM, -rc, "--status-fd") : 0;
}

/* Where the pages are that the images lack. */
struct pages_source {
	int fd; /* -1: nowhere */
	struct tls_config files;
	struct tls_gate *gate; /* NULL: plain text */
	struct tls_link link;  /* whose fd it is then */
};

static int speak_tls(struct pages_source *s, const struct criu_command *c, struct err *e)
{
	const struct tls_wish wish = { .role = TLS_CLIENT, .name = rpc_tls_name(c->opts, c->address), .timeout_ms = TLS_STOCK_HANDSHAKE_MS, .kernel = true,
				       .stock = true, .cut = true };
	int fd = s->fd, rc;

	s->fd = -1;
	s->files = rpc_tls_config(c->opts);
	s->gate = tls_gate_start(&s->files, e);
	if (!s->gate) {
		close(fd);
		return -1;
	}
	rc = tls_gate_wrap(s->gate, fd, &wish, &s->link, e);
	s->fd = s->link.fd;
	return rc < 0 ? err_wrap(e, "%s", c->address) : 0;
}

static int connect_source(struct pages_source *s, const struct criu_command *c, struct err *e)
{
	const struct sock_tuning tuning = { 0 };

	s->fd = c->ps_socket;
	if (c->opts->tls && (c->ps_socket >= 0 || !c->page_server))
		return err_set(e, ERR_USAGE, 0, "--tls wants --page-server, --address and --port: where pages are fetched from by TLS");
	if (c->ps_socket >= 0 || !c->page_server)
		return 0;
	if (!c->address || c->port <= 0 || c->port > UINT16_MAX)
		return err_set(e, ERR_USAGE, 0, "--page-server wants --address and --port of who has the pages");
	s->fd = ps_connect(c->address, (uint16_t)c->port, e);
	if (s->fd < 0 || sock_tune(s->fd, &tuning, e) < 0)
		return -1;
	return c->opts->tls ? speak_tls(s, c, e) : 0;
}

int criu_run_lazy_pages(struct criu_call *c, struct err *e)
{
	struct lazy_daemon_config d = { .images_dir = c->images, .work_dir = c->work, .ready = tell_status, .arg = c };
	struct pages_source s = { .fd = -1, .link = TLS_LINK_NONE };
	struct ps_choice choice;
	int rc;

	if (ps_choice_parse(NULL, c->command.ps_layout, -1, &choice, e) < 0)
		return -1;
	d.layout = choice.layout == PS_LAYOUT_UNKNOWN ? PS_LAYOUT_24 : choice.layout;
	rc = connect_source(&s, &c->command, e);
	d.page_server = s.fd;
	d.tls = s.gate ? &s.link : NULL;
	if (rc == 0)
		rc = lazy_daemon_run(&d, e);
	tls_link_close(&s.link);
	tls_gate_stop(s.gate);
	return rc;
}
