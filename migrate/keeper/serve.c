/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's loop: requests, and the end of who asks. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "migrate/keeper/keeper_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

static void close_all(int *fds, int n)
{
	for (int i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void arm(struct hold *h, int sock, const struct keeper_request *q, struct keeper_reply *a)
{
	struct keeper_armed armed;
	int fds[2 * TWINS_MAX], n = 0;

	a->rc = hold_arm(h, q->want_uffd, q->want_twins, &armed, &a->e);
	a->us = armed.stopped_us;
	a->scratch_start = armed.scratch_start;
	a->scratch_end = armed.scratch_end;
	a->twin_count = armed.twin_count;
	a->freezer = h->freezer;
	if (send_fds(sock, a, sizeof(*a), &armed.uffd, armed.uffd >= 0) < 0)
		log_event(LOG_DEBUG, "keeper-reply", "lost=1");
	for (unsigned i = 0; i < armed.twin_count; i++) {
		fds[n++] = armed.twins[i].command_write;
		fds[n++] = armed.twins[i].pipe_read;
	}
	for (unsigned i = 0; i < armed.twin_count; i += PAIRS_A_PACKET) {
		unsigned pairs = armed.twin_count - i < PAIRS_A_PACKET ? armed.twin_count - i : PAIRS_A_PACKET;

		send_fds(sock, &armed.twins[i], pairs * sizeof(armed.twins[0]), &fds[2 * i], (int)(2 * pairs));
	}
	close_all(fds, n);
	close_all(&armed.uffd, 1);
}

/* Returns true when it was the last request. */
static bool serve_one(struct hold *h, int sock, const struct keeper_request *q)
{
	struct keeper_reply a = { 0 };
	int fd = -1;

	switch (q->op) {
	case OP_ARM:
		arm(h, sock, q, &a);
		return false;
	case OP_FREEZE:
		h->stop_ms = q->stop_ms;
		a.rc = hold_freeze(h, q->cgroup, &a.us, &a.e);
		a.freezer = h->freezer;
		break;
	case OP_UFFD:
		a.rc = hold_uffd(h, &fd, &a.us, &a.e);
		break;
	case OP_THAW:
		a.rc = hold_thaw(h, &a.us, &a.e);
		break;
	case OP_CAPTURE:
		a.rc = hold_capture(h, &q->capture, &fd, &a.e);
		break;
	case OP_HOLD:
		a.rc = hold_keep(h, &a.e);
		a.freezer = h->freezer;
		break;
	case OP_END:
		a.rc = hold_end(h, q->verdict, &a.e);
		break;
	default:
		a.rc = err_set(&a.e, ERR_INTERNAL, 0, "request %d", (int)q->op);
	}
	send_fds(sock, &a, sizeof(a), &fd, fd >= 0);
	close_all(&fd, 1);
	return q->op == OP_END;
}

static void settle_alone(struct hold *h, const struct keeper_settler *s)
{
	static const char *const names[] = { [KEEPER_THAW] = "thaw", [KEEPER_KILL] = "kill", [KEEPER_STAY_FROZEN] = "stay-frozen" };
	enum keeper_verdict verdict = s ? s->decide(s->arg, h->kept) : KEEPER_THAW;
	struct err e = { 0 };
	bool failed;

	log_event(LOG_WARN, "settle-alone", "pid=%d verdict=%s", h->target, names[verdict]);
	failed = hold_end(h, verdict, &e) < 0 && e.kind != ERR_GONE;
	if (err_is_set(&e))
		log_event(failed ? LOG_ERROR : LOG_INFO, "settle-alone", "pid=%d error=\"%s\"", h->target, e.text);
	if (s && s->settled)
		s->settled(s->arg, failed);
}

int keeper_serve(struct hold *h, int sock, const struct keeper_settler *settler)
{
	sigset_t child;
	cleanup_fd int chld = -1;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_SETMASK, &child, NULL);
	chld = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	hold_look(h); /* while the destination is being asked; later it would take a core from the first round */
	for (;;) {
		struct pollfd p[2] = { { .fd = sock, .events = POLLIN }, { .fd = chld, .events = POLLIN } };
		struct signalfd_siginfo drained[16];
		struct keeper_request q;
		ssize_t n;
		int none;

		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents && read(chld, drained, sizeof(drained)) > 0)
			twins_poll(&h->twins);
		if (!p[0].revents)
			continue;
		n = recv_fds(sock, &q, sizeof(q), NULL, 0, &none);
		if (n != (ssize_t)sizeof(q)) {
			settle_alone(h, settler);
			return 0;
		}
		if (serve_one(h, sock, &q))
			return 0;
	}
}
