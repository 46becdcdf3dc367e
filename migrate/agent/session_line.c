/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "control.pb-c.h"
#include "migrate/agent/hellos.h"
#include "migrate/agent/session_door.h"
#include "migrate/agent/session_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

enum { DONE_MS = 2 * 1000 }; /* from an outcome to the asker's Done */

/* Somebody asks for the outcome while we live. Before Commit the asker's own control connection is lost: presumed abort, decided now. While
 * pages are missing the asker is told which, and comes back with them. */
static void answer_query(struct session *s, int fd)
{
	Drayage__Outcome outcome = DRAYAGE__OUTCOME__INIT;
	cleanup_free Drayage__Range **missing = NULL;
	ProtobufCMessage *query, *done;
	struct err ignored;

	outcome.what = s->state >= RUNNING ? DRAYAGE__OUTCOME__WHAT__RUNNING_HERE : DRAYAGE__OUTCOME__WHAT__ABORTED;
	if (s->state >= RUNNING) {
		outcome.has_pid = 1;
		outcome.pid = (uint32_t)s->husk.pid;
	}
	if (s->state == LATE_PAGES) {
		if (late_session_missing(s->late) == 0) /* and not written down yet: unanswered, it asks again */
			return;
		if (late_session_list(s->late, &missing, &outcome.n_late, &ignored) < 0)
			return;
		outcome.late = missing;
	}
	query = control_expect(fd, CONTROL_REST_MS, CONTROL_QUERY, &ignored);
	if (!query)
		return;
	protobuf_c_message_free_unpacked(query, NULL);
	if (control_send(fd, CONTROL_OUTCOME, &outcome.base, &ignored) < 0 || s->state == LATE_PAGES)
		return;
	done = control_expect(fd, DONE_MS, CONTROL_DONE, &ignored);
	s->outcome_learnt = done != NULL;
	if (done)
		protobuf_c_message_free_unpacked(done, NULL);
}

static void on_late_connection(struct session *s, unsigned index, int fd)
{
	if (index >= LATE_CONNECTIONS || s->state == ENDED) {
		close(fd);
		return;
	}
	if (s->late) {
		late_session_connect(s->late, (enum late_connection)index, fd);
		return;
	}
	if (s->late_fd[index] >= 0)
		close(s->late_fd[index]);
	s->late_fd[index] = fd;
}

/* Before the offer there are no streams, and no token. Who comes for one that was not there yet hears so from the husk. */
static bool may_come_again(const struct session *s, const struct agent_message *m)
{
	return s->config->features & HELLO_FEATURE_AGAIN && !s->streams_over && m->index < s->streams && stream_token_equal(&m->token, &s->token);
}

/* The place of a cut stream is taken only by who was told the token. The answer to its hello is ours: the husk speaks on it next. */
static int on_stream_again(struct session *s, const struct agent_message *m, int fd)
{
	bool may = may_come_again(s, m);
	struct hello theirs = { .role = HELLO_AGAIN, .index = m->index, .features = s->config->features, .id = s->config->id };
	bool said = hello_answer(fd, &theirs, may ? HELLO_OK : HELLO_REFUSED) == 0;

	if (!may)
		log_event(LOG_WARN, "stream-refused", "stream=%u state=%s", m->index, session_state_name(s));
	if (!may || !said)
		return 0;
	log_event(LOG_INFO, "stream-again", "stream=%u", m->index);
	return channel_send(s->husk.channel, CHANNEL_AGAIN, m->index, NULL, 0, fd, &s->err);
}

/* A source that asks has given up its control connection. */
static int on_query(struct session *s, int fd)
{
	if (s->state < RUNNING)
		err_set(&s->err, ERR_CANCELLED, 0, "the source asks on another connection what became of this");
	answer_query(s, fd);
	if (s->state == RUNNING && s->outcome_learnt) {
		journal_remove(s->journal);
		session_change_state(s, ENDED, "query");
	}
	return s->state >= RUNNING ? 0 : -1;
}

/* With all of them there the husk is not asked again: at a round's end it waits for its streams and hears nobody. */
static int on_stream(struct session *s, unsigned index, int fd)
{
	struct channel_message answer;

	if (s->streams_given == s->streams) /* none, before the offer */
		return 0;
	if (channel_send(s->husk.channel, CHANNEL_STREAM, index, NULL, 0, fd, &s->err) < 0)
		return -1;
	if (channel_answer(s->husk.channel, &answer, &s->err) < 0)
		return -1;
	s->streams_given++;
	channel_message_finish(&answer);
	return 0;
}

/* We are another agent's. What we counted there stays there; our row tells all of us. */
static void count_for(struct session *s, int fd, uint64_t row)
{
	struct metrics *m = metrics_attach(fd);

	if (!m) {
		log_event(LOG_WARN, "not-shown", "the agent is of another version");
		return;
	}
	session_row_continue(metrics_row(m, row), s->row);
	metrics_destroy(s->metrics);
	s->metrics = m;
	s->row = metrics_row(m, row);
	session_show_state(s);
}

int session_line_fd(const struct session *s)
{
	return s->agent >= 0 ? s->agent : s->door;
}

static void let_agent_in(struct session *s)
{
	int line = session_door_accept(s->door);

	if (line < 0)
		return;
	close(s->door);
	s->door = -1;
	s->agent = line;
	log_event(LOG_INFO, "agent-again", "state=%s", session_state_name(s));
}

bool session_line_receive(struct session *s, struct agent_parcel *l)
{
	int nfds = 0;

	*l = (struct agent_parcel){ .fd = -1 };
	if (s->agent < 0) {
		let_agent_in(s);
		return false;
	}
	if (recv_fds(s->agent, &l->m, sizeof(l->m), &l->fd, 1, &nfds) == (ssize_t)sizeof(l->m))
		return true;
	if (l->fd >= 0)
		close(l->fd);
	close(s->agent);
	s->agent = -1;
	s->door = session_door_open(&s->config->id);
	if (s->door < 0)
		log_event(LOG_WARN, "no-door", "error=%d the next agent will not find this session", -s->door);
	return false;
}

int session_line_handle(struct session *s, struct agent_parcel *l)
{
	cleanup_fd int fd = steal_fd(&l->fd);

	if (fd < 0)
		return 0;
	switch (l->m.kind) {
	case AGENT_QUERY:
		return on_query(s, fd);
	case AGENT_LATE:
		on_late_connection(s, l->m.index, steal_fd(&fd));
		return 0;
	case AGENT_AGAIN:
		return on_stream_again(s, &l->m, fd);
	case AGENT_METRICS:
		count_for(s, steal_fd(&fd), l->m.value);
		return 0;
	case AGENT_STREAM:
		return on_stream(s, l->m.index, fd);
	default:
		return 0;
	}
}

void session_say_end(const struct session *s, int status)
{
	const struct agent_message m = { .kind = AGENT_ENDED, .value = (uint64_t)status };

	if (s->agent >= 0)
		send_fds(s->agent, &m, sizeof(m), NULL, 0); /* one that is gone learns nothing */
}

int session_reserve(struct session *s, uint64_t bytes, uint64_t *max)
{
	struct agent_message m = { .kind = AGENT_RESERVE, .value = bytes };
	int rc = send_fds(s->agent, &m, sizeof(m), NULL, 0);
	int nfds;

	if (rc == 0 && recv_fds(s->agent, &m, sizeof(m), NULL, 0, &nfds) != (ssize_t)sizeof(m))
		rc = -EPIPE;
	if (rc < 0)
		return err_set(&s->err, ERR_INTERNAL, -rc, "the agent ended");
	if (m.kind != AGENT_GRANTED)
		return err_set(&s->err, ERR_LIMIT, 0, "%llu MiB would come, %llu MiB are left below the agent's --max-memory",
			       (unsigned long long)(bytes >> 20), (unsigned long long)(m.value >> 20));
	*max = m.value;
	return 0;
}
