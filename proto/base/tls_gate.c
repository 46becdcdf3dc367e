/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/base/tls_control.h"
#include "proto/base/tls_relay_priv.h"

enum {
	EXPLAIN_MS = 10 * 1000, /* a relay that is gone says nothing at once */
	LINGER_MS = 1000,       /* for the end of a peer of the kernel's TLS, as relays do */
};

struct tls_gate {
	int line;
	pid_t pid;
};

/* --- the gate's process ------------------------------------------------------------------------------------------------------- */

/* Neither a terminal's signals nor a service manager's end it: its user's end does. */
static void be_nobodys(void)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP, SIGCHLD };
	sigset_t none;

	setsid();
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Standard error stays, for the log; the line becomes 3. */
static int keep_only(int line)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || (line != 3 && dup3(line, 3, O_CLOEXEC) < 0))
		return -1;
	return close_range(4, ~0u, 0);
}

/* Has the kernel load its module for it, which a relay has no right to: the call itself fails, for want of a connection. */
static void wake_kernel_tls(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls"));
	close(fd);
}

static void serve(const struct tls_config *c, const struct gate_request *q, const int fds[GATE_FDS])
{
	struct relay r = { .tcp = fds[0], .plain = fds[1], .words = fds[2], .wish = q };

	if (fork() == 0) {
		close(3);
		relay_main(c, &r);
	}
	for (int i = 0; i < GATE_FDS; i++) /* without a relay these are the last: the user finds its ends closed */
		close(fds[i]);
}

static _Noreturn void gate_main(const struct tls_config *c, int line)
{
	struct gate_request q;
	int fds[GATE_FDS], n;
	ssize_t len;

	be_nobodys();
	prctl(PR_SET_NAME, "dray-tls");
	prctl(PR_SET_DUMPABLE, 0); /* keys pass through here */
	log_set_role("tls");
	if (keep_only(line) < 0)
		_exit(1);
	wake_kernel_tls();
	while ((len = recv_fds(3, &q, sizeof(q), fds, GATE_FDS, &n)) > 0) {
		if (len == (ssize_t)sizeof(q) && n == GATE_FDS)
			serve(c, &q, fds);
		else
			for (int i = 0; i < n; i++)
				close(fds[i]);
	}
	_exit(0);
}

/* --- its user's side ------------------------------------------------------------------------------------------------------------ */

struct tls_gate *tls_gate_start(const struct tls_config *c, struct err *e)
{
	struct tls_gate *g;
	int pair[2];

	if (tls_check_files(c, e) < 0)
		return NULL;
	g = malloc(sizeof(*g));
	if (!g || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		err_sys(e, "TLS");
		free(g);
		return NULL;
	}
	fflush(NULL); /* what stdio holds would be written twice */
	*g = (struct tls_gate){ .line = pair[0], .pid = fork() };
	if (g->pid == 0)
		gate_main(c, pair[1]);
	close(pair[1]);
	if (g->pid < 0) {
		err_sys(e, "TLS: fork");
		close(g->line);
		free(g);
		return NULL;
	}
	return g;
}

void tls_gate_stop(struct tls_gate *g)
{
	if (!g)
		return;
	close(g->line);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(g);
}

int tls_gate_line(const struct tls_gate *g)
{
	return g->line;
}

static bool kernel_allowed(void)
{
	const char *said = getenv(TLS_KERNEL_VARIABLE);

	return !said || strcmp(said, "0") != 0;
}

static int send_request(struct tls_gate *g, const struct tls_wish *w, int tcp, int plain, int words)
{
	struct gate_request q = { .role = w->role, .timeout_ms = w->timeout_ms, .kernel = w->kernel && kernel_allowed(), .stock = w->stock,
				  .cut = w->cut };
	const int fds[GATE_FDS] = { tcp, plain, words };

	snprintf(q.name, sizeof(q.name), "%s", w->name ? w->name : "");
	return send_fds(g->line, &q, sizeof(q), fds, GATE_FDS);
}

int tls_gate_begin(struct tls_gate *g, int fd, const struct tls_wish *w, struct tls_link *l, struct err *e)
{
	cleanup_fd int tcp = fd, plain_there = -1, words_there = -1;
	int plain[2], words[2], rc;

	*l = TLS_LINK_NONE;
	l->stock = w->stock;
	l->cut = w->cut ? TLS_CUT_BY_LENGTH : TLS_CUT_NOT;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, plain) < 0)
		return err_sys(e, "TLS: socketpair");
	l->fd = plain[0];
	plain_there = plain[1];
	rc = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, words) < 0 ? -errno : 0;
	if (rc == 0) {
		l->words = words[0];
		words_there = words[1];
		rc = send_request(g, w, tcp, plain_there, words_there);
	}
	if (rc < 0) {
		tls_link_close(l);
		return err_set(e, ERR_SYSTEM, -rc, "TLS: its process");
	}
	return 0;
}

/* 1, or 0 when no word came. */
static int receive_word(int words, struct relay_word *w, int *fd)
{
	int n = 0;

	*fd = -1;
	return recv_fds(words, w, sizeof(*w), fd, 1, &n) == (ssize_t)sizeof(*w);
}

int tls_gate_finish(struct tls_link *l, struct err *e)
{
	struct relay_word w;
	int fd;

	if (!receive_word(l->words, &w, &fd)) {
		tls_link_close(l);
		return err_set(e, ERR_INTERNAL, 0, "TLS: the process of the connection ended");
	}
	if (!w.good) {
		tls_link_close(l);
		*e = w.err;
		return -1;
	}
	memcpy(l->peer, w.peer, sizeof(l->peer));
	l->in_kernel = fd >= 0;
	if (l->in_kernel) {
		close(l->fd);
		l->fd = fd;
		if (l->cut)
			l->cut = TLS_CUT_BY_SEND;
	}
	return 0;
}

int tls_gate_wrap(struct tls_gate *g, int fd, const struct tls_wish *w, struct tls_link *l, struct err *e)
{
	return tls_gate_begin(g, fd, w, l, e) < 0 || tls_gate_finish(l, e) < 0 ? -1 : 0;
}

void tls_link_explain(const struct tls_link *l, struct err *e)
{
	struct relay_word w;
	int fd;

	if (l->in_kernel)
		tls_control_explain(l->fd, e);
	else if (l->words >= 0 && wait_readable(l->words, EXPLAIN_MS) == 1 && receive_word(l->words, &w, &fd))
		*e = w.err;
}

void tls_link_failed(const struct tls_link *l, struct err *e)
{
	if (l->fd < 0 || e->kind != ERR_PEER)
		return;
	shutdown(l->fd, SHUT_WR); /* a relay that has nothing to say ends with it */
	tls_link_explain(l, e);
}

void tls_link_shut(const struct tls_link *l)
{
	if (l->in_kernel && l->stock)
		tls_control_bye(l->fd);
	shutdown(l->fd, SHUT_WR);
}

void tls_link_close(struct tls_link *l)
{
	if (l->in_kernel && l->stock) {
		tls_link_shut(l);
		tls_control_linger(l->fd, LINGER_MS);
	}
	if (l->fd >= 0)
		close(l->fd);
	if (l->words >= 0)
		close(l->words);
	*l = TLS_LINK_NONE;
}

int tls_link_release(struct tls_link *l)
{
	int fd = steal_fd(&l->fd);

	l->in_kernel = false;
	tls_link_close(l);
	return fd;
}
