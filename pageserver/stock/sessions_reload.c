/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/sessions_reload.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "pageserver/stock/sessions_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/sock.h"

enum { BEGUN = 1, PUBLISHED = 2, NUMBERED = 4, DROPPED = 8, TOKEN_DIGITS = 2 * STREAM_TOKEN_SIZE };

void sessions_keep(const struct sessions *s, bool over_exec)
{
	for (size_t i = 0; i < s->places; i++)
		if (s->session[i].pid && s->session[i].line >= 0)
			fcntl(s->session[i].line, F_SETFD, over_exec ? 0 : FD_CLOEXEC);
}

static void write_one(const struct sessions *s, const struct ps_session *one, FILE *out)
{
	unsigned flags = (one->begun ? BEGUN : 0) | (one->published ? PUBLISHED : 0) | (one->numbered ? NUMBERED : 0) | (one->dropped ? DROPPED : 0);

	fprintf(out, "session %d %" PRIu64 " %d %" PRIu64 " %u ", (int)one->pid, one->number, one->line, metrics_row_index(s->metrics, one->row), flags);
	for (size_t i = 0; i < STREAM_TOKEN_SIZE; i++)
		fprintf(out, "%02x", one->token.byte[i]);
	fprintf(out, " %s %s%c", one->peer, one->path, '\0');
}

void sessions_write(const struct sessions *s, FILE *out)
{
	fprintf(out, "number %" PRIu64 "%c", s->number, '\0');
	for (size_t i = 0; i < s->chains.count; i++)
		fprintf(out, "chain %s %s%c", s->chains.chain[i].peer, s->chains.chain[i].path, '\0');
	for (size_t i = 0; i < s->places; i++)
		if (s->session[i].pid)
			write_one(s, &s->session[i], out);
}

static bool read_token(const char *hex, struct stream_token *t)
{
	for (size_t i = 0; i < STREAM_TOKEN_SIZE; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &t->byte[i]) != 1)
			return false;
	return true;
}

/* A line that is not there is that of a session that ended meanwhile, or of none. */
static int read_line(int fd)
{
	if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -1;
	return fd;
}

static int read_one(struct sessions *s, bool rows, const char *words)
{
	struct ps_session one = { .line = -1 }, *place;
	char token[TOKEN_DIGITS + 1], peer[SESSION_PEER_MAX];
	int pid, line, path_at = 0;
	uint64_t row;
	unsigned flags;

	_Static_assert(TOKEN_DIGITS == 32 && SESSION_PEER_MAX == 80, "as the format below has them");
	if (sscanf(words, "%d %" SCNu64 " %d %" SCNu64 " %u %32s %79s %n", &pid, &one.number, &line, &row, &flags, token, peer, &path_at) < 7 ||
	    !path_at || pid <= 0 || strlen(token) != TOKEN_DIGITS || !read_token(token, &one.token))
		return -1;
	one.pid = pid;
	one.line = read_line(line);
	one.row = rows ? metrics_row(s->metrics, row) : NULL;
	one.begun = flags & BEGUN;
	one.published = flags & PUBLISHED;
	one.numbered = flags & NUMBERED;
	one.dropped = flags & DROPPED;
	strcpy(one.peer, peer);
	place = sessions_free_place(s);
	one.path = place ? strdup(words + path_at) : NULL;
	if (!one.path)
		return -1;
	*place = one;
	s->running++;
	s->silent += !one.begun && !one.dropped;
	return 0;
}

static int read_chain(struct sessions *s, const char *words)
{
	char peer[SESSION_PEER_MAX];
	int path_at = 0;

	if (sscanf(words, "%79s %n", peer, &path_at) < 1 || !path_at)
		return -1;
	chains_set(&s->chains, peer, words + path_at);
	return 0;
}

bool sessions_read(struct sessions *s, bool rows, const char *words)
{
	if (strncmp(words, "number ", 7) == 0)
		return sscanf(words + 7, "%" SCNu64, &s->number) == 1;
	if (strncmp(words, "chain ", 6) == 0)
		return read_chain(s, words + 6) == 0;
	return strncmp(words, "session ", 8) == 0 && read_one(s, rows, words + 8) == 0;
}
