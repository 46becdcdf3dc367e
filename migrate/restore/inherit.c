/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors that come from the caller: by the keys of stock criu, and the line of a process that had itself dumped. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "migrate/restore/restore_priv.h"
#include "proto/base/log.h"

enum { UNIX_SERVICE = 2 }; /* of unix_sk_entry.uflags */

static bool key_is(const char *key, const char *kind, uint32_t number)
{
	char text[40];

	snprintf(text, sizeof(text), "%s:[%u]", kind, number);
	return strcmp(key, text) == 0;
}

static bool matches(const FileEntry *f, const char *key)
{
	if (f->pipe)
		return key_is(key, "pipe", f->pipe->pipe_id);
	if (f->usk)
		return key_is(key, "socket", f->usk->ino);
	if (f->isk)
		return key_is(key, "socket", f->isk->ino);
	if (f->reg)
		return strcmp(f->reg->name, key) == 0 || (f->reg->name[0] == '/' && strcmp(f->reg->name + 1, key) == 0);
	return false;
}

static int give(struct restore *r, uint32_t file_id, int fd)
{
	if (r->givens == RESTORE_GIVEN_MAX)
		return err_set(r->e, ERR_LIMIT, 0, "more than %d open files to inherit", RESTORE_GIVEN_MAX);
	r->given[r->givens++] = (struct rebuild_given){ file_id, fd };
	return 0;
}

static int give_line(struct restore *r, uint32_t file_id)
{
	if (r->q->requester_socket >= 0)
		return give(r, file_id, r->q->requester_socket);
	if (r->line[0] < 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, r->line) < 0)
		return err_sys(r->e, "socketpair");
	return give(r, file_id, r->line[0]);
}

bool restore_is_given(const struct restore *r, uint32_t file_id)
{
	for (size_t i = 0; i < r->givens; i++)
		if (r->given[i].file_id == file_id)
			return true;
	return false;
}

int restore_inherit(struct restore *r)
{
	for (size_t k = 0; k < r->q->inherits; k++) {
		const struct restore_inherit *h = &r->q->inherit[k];
		size_t before = r->givens;

		for (size_t i = 0; i < r->tree->n_files; i++)
			if (matches(r->tree->files[i], h->key) && give(r, r->tree->files[i]->id, h->fd) < 0)
				return -1;
		if (r->givens == before)
			log_event(LOG_INFO, "inherit", "key=\"%s\" used=0", h->key);
	}
	for (size_t i = 0; i < r->tree->n_files; i++) {
		const FileEntry *f = r->tree->files[i];

		if (f->usk && f->usk->uflags & UNIX_SERVICE && !restore_is_given(r, f->id) && give_line(r, f->id) < 0)
			return -1;
	}
	return 0;
}
