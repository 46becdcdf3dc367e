/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/service.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/rpc/rpc_listen.h"
#include "migrate/rpc/service_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/daemon.h"
#include "proto/base/die_with.h"
#include "proto/base/notify.h"

enum { EVENTS = 64, SPARE_FDS = 32 };

/* --- the loop ------------------------------------------------------------------------------------------------------------------- */

static int redirect_log(const char *path, struct err *e)
{
	cleanup_fd int fd = -1;

	if (!path)
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 || dup2(fd, STDERR_FILENO) < 0 ? err_sys(e, "--log-file %s", path) : 0;
}

/* The file may have been moved away, for another one to begin. */
static void begin_log_anew(const struct service *s)
{
	struct err e;

	if (redirect_log(s->config->log_file, &e) != 0)
		log_event(LOG_ERROR, "log-file", "error=\"%s\"", e.text);
}

static void on_signal(struct service *s)
{
	struct signalfd_siginfo si;

	while (read(s->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			service_reap(s);
		else if (si.ssi_signo == SIGHUP)
			begin_log_anew(s);
		else
			s->stop = true;
	}
}

/* By the process that serves: what epoll waits for is the signals of whoever adds them. Before it is said that it is ready: whoever hears that may ask
 * it to end at once. */
static int hear_signals(struct service *s, struct err *e)
{
	s->signals = daemon_signals(e);
	if (s->signals < 0)
		return -1;
	service_watch(s, s->signals, EPOLLIN, &s->signals, EPOLL_CTL_ADD);
	return 0;
}

/* Events of one batch belong to different descriptors, and a client is freed by its own event alone or, once handed over, by its worker's
 * end, when it has none: no event of a batch outlives its client. */
static int service_serve(struct service *s, struct err *e)
{
	struct epoll_event ev[EVENTS];

	while (!s->stop) {
		int n = epoll_wait(s->epoll, ev, EVENTS, -1);

		if (n < 0 && errno != EINTR)
			return err_sys(e, "epoll");
		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr == &s->listener)
				service_on_connection(s);
			else if (ev[i].data.ptr == &s->signals)
				on_signal(s);
			else
				service_on_client(s, ev[i].data.ptr);
		}
	}
	return 0;
}

/* --- start and end -------------------------------------------------------------------------------------------------------------- */

static int open_listener(struct service *s, struct err *e)
{
	const struct service_config *c = s->config;
	struct stat st;
	mode_t mode;

	s->listener = daemon_passed_socket(AF_UNIX, SOCK_SEQPACKET, e);
	if (s->listener != 0)
		return s->listener < 0 ? -1 : 0;
	if (rpc_mode_parse(c->mode, &mode, e) != 0)
		return err_wrap(e, "--rpc-mode");
	s->listener = rpc_listen(c->address, mode, c->group, e);
	if (s->listener < 0 || stat(c->address, &st) < 0)
		return s->listener < 0 ? -1 : err_sys(e, "%s", c->address);
	s->own_socket = true;
	s->socket_dev = st.st_dev;
	s->socket_ino = st.st_ino;
	return 0;
}

static void remove_socket(const struct service *s)
{
	struct stat st;

	if (s->own_socket && lstat(s->config->address, &st) == 0 && st.st_dev == s->socket_dev && st.st_ino == s->socket_ino)
		unlink(s->config->address);
}

static void service_close(struct service *s)
{
	if (!s)
		return;
	while (!LIST_EMPTY(&s->all))
		service_forget(s, LIST_FIRST(&s->all));
	remove_socket(s);
	if (s->pidfile_made)
		unlink(s->config->pidfile);
	if (s->listener >= 0)
		close(s->listener);
	if (s->signals >= 0)
		close(s->signals);
	if (s->epoll >= 0)
		close(s->epoll);
	free(s);
}

static struct service *service_open(const struct service_config *c, struct err *e)
{
	struct service *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(e, ERR_SYSTEM, ENOMEM, "service");
		return NULL;
	}
	s->config = c;
	s->listener = s->signals = s->epoll = -1;
	s->listening = true;
	LIST_INIT(&s->all);
	if (engine_choose(c->engine, c->criu, &s->engine, e) != 0)
		goto failed;
	daemon_allow_descriptors(c->max_clients + SPARE_FDS);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll < 0) {
		err_sys(e, "epoll");
		goto failed;
	}
	if (open_listener(s, e) != 0)
		goto failed;
	service_watch(s, s->listener, EPOLLIN, &s->listener, EPOLL_CTL_ADD);
	return s;
failed:
	service_close(s);
	return NULL;
}

static int go_to_work(struct service *s, int pidfile, struct err *e)
{
	const struct service_config *c = s->config;

	if ((c->daemon && daemon_detach(e) != 0) || hear_signals(s, e) != 0)
		return -1;
	if (pidfile >= 0 && pidfile_write(pidfile, e) != 0)
		return err_wrap(e, "%s", c->pidfile);
	if (c->status_fd && daemon_say_ready(atoi(c->status_fd), e) != 0)
		return -1;
	printf("listening on %s\n", s->own_socket ? c->address : "the socket passed");
	fflush(stdout);
	log_event(LOG_INFO, "rpc-listening", "address=%s max-clients=%llu", s->own_socket ? c->address : "passed",
		  (unsigned long long)c->max_clients);
	notify_manager("READY=1");
	return service_serve(s, e);
}

int service_run(const struct service_config *c, struct err *e)
{
	cleanup_fd int pidfile = -1;
	struct service *s;
	int rc;

	log_set_role("service");
	log_set_level(c->log_level);
	if (c->status_fd && daemon_check_ready_fd(atoi(c->status_fd), e) != 0)
		return -1;
	if (redirect_log(c->log_file, e) != 0)
		return -1;
	s = service_open(c, e);
	if (!s)
		return -1;
	if (c->pidfile && (pidfile = pidfile_create(c->pidfile, e)) < 0) {
		service_close(s);
		return -1;
	}
	s->pidfile_made = c->pidfile != NULL;
	rc = go_to_work(s, pidfile, e);
	notify_manager("STOPPING=1");
	service_close(s);
	return rc;
}

static _Noreturn void serve_in_child(struct service *s, pid_t parent)
{
	struct err e = { 0 };

	log_set_role("service");
	if (die_with(parent, SIGTERM) && (hear_signals(s, &e) != 0 || service_serve(s, &e) != 0))
		log_event(LOG_ERROR, "rpc-service", "error=\"%s\"", e.text);
	service_close(s);
	_exit(0);
}

pid_t service_start(const struct service_config *c, struct err *e)
{
	struct service *s = service_open(c, e);
	pid_t parent = getpid(), pid = s ? fork() : -1;

	if (!s)
		return -1;
	if (pid == 0)
		serve_in_child(s, parent);
	if (pid < 0)
		err_sys(e, "fork");
	s->own_socket = s->own_socket && pid < 0; /* the child's from here on */
	service_close(s);
	return pid;
}
