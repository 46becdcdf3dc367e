/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/restore/restore.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "migrate/agent/channel.h"
#include "migrate/agent/husk.h"
#include "migrate/lazy/lazy_socket.h"
#include "migrate/remote/remote.h"
#include "migrate/restore/restore_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/image/image.h"
#include "proto/wire/control.h"

static int call_hook(struct restore *r, enum restore_moment when, pid_t pid)
{
	return r->q->hook ? r->q->hook(r->q->hook_arg, when, pid, r->e) : 0;
}

/* The process is whole: nothing takes that back. */
static void tell_hook(struct restore *r, enum restore_moment when, pid_t pid)
{
	struct err e = { 0 };

	if (r->q->hook && r->q->hook(r->q->hook_arg, when, pid, &e) < 0)
		log_event(LOG_WARN, "restore-hook", "pid=%d error=\"%s\"", (int)pid, e.text);
}

/* ---- what the husk is asked for ---- */

static int ask(struct restore *r, const struct husk *h, enum channel_kind kind, uint64_t value, void *payload, size_t len, int fd, void *answer,
	       size_t answer_len)
{
	struct channel_message m = { .kind = kind, .value = value, .payload = payload, .len = len, .fd = fd };

	return channel_ask(h->channel, &m, answer, answer_len, r->e);
}

static uint8_t *pack(struct restore *r, const ProtobufCMessage *msg, size_t *len)
{
	uint8_t *packed;

	*len = protobuf_c_message_get_packed_size(msg);
	packed = *len <= STATE_MAX ? malloc(*len + 1) : NULL;
	if (packed)
		protobuf_c_message_pack(msg, packed);
	else
		err_set(r->e, ERR_LIMIT, 0, "a description of %zu MiB", *len >> 20);
	return packed;
}

static int ask_packed(struct restore *r, const struct husk *h, enum channel_kind kind, const ProtobufCMessage *msg, void *answer, size_t answer_len)
{
	size_t len;
	cleanup_free uint8_t *packed = pack(r, msg, &len);

	return packed ? ask(r, h, kind, 0, packed, len, -1, answer, answer_len) : -1;
}

/* *uffd: of the process's memory, where pages come late. */
static int begin_round(struct restore *r, const struct husk *h, struct restore_layout *l, int *uffd)
{
	struct channel_message a = { .fd = -1 };
	size_t len;
	cleanup_free uint8_t *packed = pack(r, &l->message.base, &len);
	int rc = packed ? 0 : -1;

	if (rc == 0)
		rc = channel_send(h->channel, CHANNEL_ROUND_BEGIN, 0, packed, len, -1, r->e);
	if (rc == 0)
		rc = channel_answer(h->channel, &a, r->e);
	if (rc < 0)
		return -1;
	*uffd = steal_fd(&a.fd);
	channel_message_finish(&a);
	return l->message.n_late > 0 && *uffd < 0 ? err_set(r->e, ERR_INTERNAL, 0, "lazy pages: no userfaultfd") : 0;
}

static int load_memory(struct restore *r, const struct husk *h, struct restore_layout *l)
{
	for (size_t i = 0; i < l->loads; i++) {
		uint64_t pages;

		if (ask(r, h, CHANNEL_LOAD, 0, &l->load[i], sizeof(l->load[i]), r->q->images_dir, &pages, sizeof(pages)) < 0)
			return -1;
		r->stats.pages_restored += pages;
	}
	return 0;
}

static int give_descriptors(struct restore *r, const struct husk *h)
{
	for (size_t i = 0; i < r->givens; i++)
		if (ask(r, h, CHANNEL_GIVE, r->given[i].file_id, NULL, 0, r->given[i].fd, NULL, 0) < 0)
			return -1;
	return 0;
}

/* Up to the process standing whole, its threads held in held. */
static int rebuild(struct restore *r, const struct husk *h, struct restore_layout *l, struct restore_late *late, struct remote *held)
{
	const struct rebuild_watch watch = { restore_late_watch, late };
	struct rebuild_handover from;

	if (begin_round(r, h, l, &late->uffd) < 0 || load_memory(r, h, l) < 0 || give_descriptors(r, h) < 0)
		return -1;
	if (ask_packed(r, h, CHANNEL_STATE, &r->tree->base, &from, sizeof(from)) < 0)
		return -1;
	return husk_rebuild(h, held, r->tree, &from, late->uffd >= 0 ? &watch : NULL, r->e);
}

/* ---- the whole ---- */

static int pid_taken(uint32_t pid, struct err *e)
{
	err_set(e, ERR_CONFLICT, 0, "PID %u is taken here; in a PID namespace of its own (unshare --pid --fork --mount-proc) a restore has it free", pid);
	e->num = EEXIST;
	return -1;
}

static int fork_root(struct restore *r, struct husk *h)
{
	const PstreeEntry *ps = r->task->ps;
	struct husk_request q = { .pid = ps->pid, .tids = ps->threads, .n_tids = ps->n_threads, .pid_policy = DRAYAGE__PID_POLICY__PID_SAME,
				  .sibling = r->q->sibling, .keep_session = ps->sid != ps->pid };
	uint64_t begin = clock_us();

	if (husk_start(h, &q, r->e) < 0)
		return r->e->num == EEXIST ? pid_taken(ps->pid, r->e) : -1;
	r->stats.forking_us = clock_us() - begin;
	return 0;
}

static void let_go(struct restore *r, struct husk *h, struct remote *held)
{
	tell_hook(r, RESTORE_PRE_RESUME, h->pid);
	if (r->q->leave_stopped)
		kill(h->pid, SIGSTOP);
	remote_release(held);
	husk_let_go(h);
	tell_hook(r, RESTORE_POST_RESUME, h->pid);
}

static int finish_process(struct restore *r, const struct husk *h, struct restore_late *late)
{
	if (call_hook(r, RESTORE_POST, h->pid) < 0)
		return -1;
	return late->sock >= 0 ? lazy_socket_finish(late->sock, r->e) : 0;
}

static int make_process(struct restore *r, struct restore_layout *l, struct restore_late *late, pid_t *root)
{
	struct husk h = { .channel = -1, .init_line = -1 };
	struct remote held = { 0 };

	if (fork_root(r, &h) < 0)
		return -1;
	*root = h.pid;
	if (rebuild(r, &h, l, late, &held) < 0)
		goto fail;
	if (finish_process(r, &h, late) < 0) {
		kill(h.pid, SIGKILL);
		remote_release(&held);
		goto fail;
	}
	let_go(r, &h, &held);
	return 0;
fail:
	husk_kill(&h);
	return -1;
}

/* The daemon is looked for before anything is made. */
static int make_process_lazily(struct restore *r, struct restore_layout *l, pid_t *root)
{
	struct restore_late late = { .r = r, .l = l, .sock = -1, .uffd = -1 };
	int rc = 0;

	if (r->q->lazy_pages) {
		late.sock = lazy_socket_connect(r->q->work_dir, r->e);
		rc = late.sock < 0 ? -1 : 0;
	}
	if (rc == 0)
		rc = make_process(r, l, &late, root);
	cleanup_fd_(&late.sock);
	cleanup_fd_(&late.uffd);
	return rc;
}

static int look(struct restore *r, struct restore_layout *l)
{
	r->tree = tree_images_read(r->q->images_dir, &r->facts, r->e);
	if (!r->tree)
		return -1;
	r->task = r->tree->tasks[0];
	return restore_inherit(r) < 0 || restore_prepare(r) < 0 || restore_layout_build(l, r) < 0 ? -1 : restore_check_vdso(r);
}

static void write_stats(const struct restore *r)
{
	RestoreStatsEntry s = RESTORE_STATS_ENTRY__INIT;
	StatsEntry entry = STATS_ENTRY__INIT;
	struct err e = { 0 };

	s.forking_time = (uint32_t)r->stats.forking_us;
	s.restore_time = (uint32_t)r->stats.restore_us;
	s.has_pages_restored = true;
	s.pages_restored = r->stats.pages_restored;
	entry.restore = &s;
	if (image_write_one(r->q->work_dir, IMAGE_STATS_RESTORE, 0, &entry.base, &e) < 0)
		log_event(LOG_WARN, "stats-restore", "error=\"%s\"", e.text);
}

/* Our end of the pair is the caller's where it asks for it. */
static void finish_lines(struct restore *r, int rc)
{
	cleanup_fd_(&r->line[0]);
	if (rc == 0 && r->q->requester_line)
		*r->q->requester_line = steal_fd(&r->line[1]);
	cleanup_fd_(&r->line[1]);
}

int restore_run(const struct restore_request *q, pid_t *root, struct restore_stats *out, struct err *e)
{
	struct restore r = { .q = q, .line = { -1, -1 }, .e = e };
	struct restore_layout l = { 0 };
	uint64_t begin = clock_us();
	int rc;

	err_clear(e);
	*root = -1;
	if (q->requester_line)
		*q->requester_line = -1;
	rc = call_hook(&r, RESTORE_PRE, 0);
	if (rc == 0)
		rc = look(&r, &l);
	if (rc == 0)
		rc = make_process_lazily(&r, &l, root);
	r.stats.restore_us = clock_us() - begin;
	if (rc == 0)
		write_stats(&r);
	*out = r.stats;
	restore_layout_finish(&l);
	finish_lines(&r, rc);
	if (r.tree)
		drayage__tree_state__free_unpacked(r.tree, NULL);
	return rc < 0 ? -1 : 0;
}
