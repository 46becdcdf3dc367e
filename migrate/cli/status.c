/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/cli/human.h"
#include "proto/base/json.h"
#include "proto/base/plain_text.h"

/* --- reading -------------------------------------------------------------------------------------------------------------------- */

static int not_status(struct err *e)
{
	return err_set(e, ERR_PROTOCOL, 0, "what answers is not the status of a daemon of this version");
}

static int number(const char *text, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return text[0] < '0' || text[0] > '9' || *end || errno ? -1 : 0;
}

enum { FIELDS_MAX = 9 };

static size_t split(char *line, char *field[FIELDS_MAX])
{
	size_t n = 0;

	while (line && n < FIELDS_MAX) {
		field[n] = strsep(&line, "\t");
		plain_text(field[n], strlen(field[n])); /* for a terminal, whoever answered */
		n++;
	}
	return line ? 0 : n;
}

static int parse_server(char *field[FIELDS_MAX], size_t n, struct status *s)
{
	if (n != 7 || strcmp(field[0], "server") != 0)
		return -1;
	s->daemon = field[1];
	return number(field[2], &s->pid) < 0 || number(field[3], &s->up_us) < 0 || number(field[4], &s->running) < 0 ||
	       number(field[5], &s->succeeded) < 0 || number(field[6], &s->failed) < 0 ? -1 : 0;
}

static int parse_session(char *field[FIELDS_MAX], size_t n, struct status_session *s)
{
	if (n != 9 || strcmp(field[0], "session") != 0)
		return -1;
	*s = (struct status_session){ .peer = field[2], .state = field[3], .dir = field[8] };
	s->has_deadline = strcmp(field[7], "-") != 0;
	if (number(field[1], &s->number) < 0 || number(field[4], &s->age_us) < 0 || number(field[5], &s->pages) < 0 ||
	    number(field[6], &s->bytes) < 0 || (s->has_deadline && number(field[7], &s->left_us) < 0))
		return -1;
	s->rate = s->age_us ? (uint64_t)((double)s->bytes * 1e6 / (double)s->age_us) : 0;
	return 0;
}

static size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

int status_parse(char *text, struct status *s, struct err *e)
{
	size_t lines = count_lines(text), n;
	char *field[FIELDS_MAX], *line;

	*s = (struct status){ 0 };
	if (lines == 0)
		return not_status(e);
	s->session = calloc(lines, sizeof(*s->session));
	if (!s->session)
		return err_set(e, ERR_SYSTEM, ENOMEM, "status");
	n = split(strsep(&text, "\n"), field);
	if (parse_server(field, n, s) < 0)
		return not_status(e);
	while ((line = strsep(&text, "\n")) && *line) {
		n = split(line, field);
		if (parse_session(field, n, &s->session[s->sessions++]) < 0)
			return not_status(e);
	}
	return 0;
}

void status_finish(struct status *s)
{
	free(s->session);
	*s = (struct status){ 0 };
}

void status_rates(struct status *now, const struct status *before, uint64_t us)
{
	for (size_t i = 0; i < now->sessions; i++)
		for (size_t k = 0; k < before->sessions; k++) {
			struct status_session *s = &now->session[i];
			const struct status_session *b = &before->session[k];

			if (s->number == b->number && s->bytes >= b->bytes && us)
				s->rate = (uint64_t)((double)(s->bytes - b->bytes) * 1e6 / (double)us);
		}
}

/* --- showing -------------------------------------------------------------------------------------------------------------------- */

void status_print(const struct status *s, FILE *out)
{
	fprintf(out, "%s, pid %" PRIu64 ", up %s: %" PRIu64 " running, %" PRIu64 " succeeded, %" PRIu64 " failed\n", s->daemon, s->pid, human_time(s->up_us).text,
		s->running, s->succeeded, s->failed);
	if (s->sessions)
		fprintf(out, "%8s  %-24s %-10s %9s %12s %10s %12s %9s  %s\n", "session", "peer", "state", "age", "pages", "bytes", "rate", "left",
			strcmp(s->daemon, "agent") == 0 ? "migration" : "directory");
	for (size_t i = 0; i < s->sessions; i++) {
		const struct status_session *n = &s->session[i];
		struct human left = n->has_deadline ? human_time(n->left_us) : (struct human){ "-" };

		fprintf(out, "%8" PRIu64 "  %-24s %-10s %9s %12" PRIu64 " %10s %12s %9s  %s\n", n->number, n->peer, n->state, human_time(n->age_us).text,
			n->pages, human_bytes(n->bytes).text, human_rate(n->rate).text, left.text, n->dir);
	}
}

static void session_json(struct json *j, const struct status_session *s, bool agent)
{
	json_object_open(j, NULL);
	json_u64(j, "session", s->number);
	json_string(j, "peer", s->peer);
	json_string(j, "state", s->state);
	json_ms(j, "age_ms", s->age_us);
	json_u64(j, "pages", s->pages);
	json_u64(j, "bytes", s->bytes);
	json_u64(j, "bytes_per_s", s->rate);
	if (s->has_deadline)
		json_ms(j, "left_ms", s->left_us);
	json_string(j, agent ? "migration" : "directory", s->dir);
	json_object_close(j);
}

void status_print_json(const struct status *s, FILE *out)
{
	struct json j;

	json_begin(&j, out);
	json_object_open(&j, NULL);
	json_string(&j, "event", "status");
	json_string(&j, "daemon", s->daemon);
	json_u64(&j, "pid", s->pid);
	json_ms(&j, "up_ms", s->up_us);
	json_u64(&j, "running", s->running);
	json_u64(&j, "succeeded", s->succeeded);
	json_u64(&j, "failed", s->failed);
	json_array_open(&j, "sessions");
	for (size_t i = 0; i < s->sessions; i++)
		session_json(&j, &s->session[i], strcmp(s->daemon, "agent") == 0);
	json_array_close(&j);
	json_object_close(&j);
	json_end(&j);
}
