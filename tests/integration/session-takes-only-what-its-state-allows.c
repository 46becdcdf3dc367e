/* SPDX-License-Identifier: Apache-2.0 */
/* Every control message in every state that a peer can bring a session to: what the table of the protocol has is taken, anything else ends
 * the session with an Abort that names message and state, and the agent serves on. A migration that there is a record of does not begin again. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.pb-c.h"
#include "migrate/conduct/host_facts.h"
#include "migrate/conduct/journal.h"
#include "migrate/conduct/link.h"
#include "proto/base/die_with.h"
#include "proto/base/io.h"
#include "proto/wire/control.h"
#include "proto/wire/frame.h"

enum { WAIT_MS = 120000 };
enum state { EXPECT_OFFER, BETWEEN_ROUNDS, IN_ROUND, LAST_PLACED, STATES };
static const char *const state_names[STATES] = { "expect-offer", "between-rounds", "in-round", "last-placed" };

static char address[64];
static pid_t agent;
static unsigned failures;
static char word[] = "walk";

static _Noreturn void die(const char *what, const struct err *e)
{
	fprintf(stderr, "FAILED: %s: %s\n", what, e ? e->text : strerror(errno));
	if (agent > 0)
		kill(agent, SIGKILL);
	exit(1);
}

/* The program beside the tests' build directory: BUILD/dray. Its line "listening on ..." says where. */
static void start_agent(const char *build, const char *state_dir)
{
	char path[4096], line[128] = "";
	pid_t test = getpid();
	int out[2];
	FILE *f;

	snprintf(path, sizeof(path), "%s/dray", build);
	if (pipe(out) < 0)
		die("pipe", NULL);
	agent = fork();
	if (agent == 0) {
		if (!die_with(test, SIGKILL))
			_exit(1);
		dup2(out[1], STDOUT_FILENO);
		close_range(3, ~0u, 0);
		execl(path, path, "agent", "--listen", "127.0.0.1:0", "--state-dir", state_dir, "--log-level", "error", (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	f = fdopen(out[0], "r");
	if (!f || !fgets(line, sizeof(line), f) || sscanf(line, "listening on %63s", address) != 1)
		die("start the agent", NULL);
	fclose(f);
}

static void expect(int fd, enum control_type type)
{
	struct err e;
	ProtobufCMessage *m = control_expect(fd, WAIT_MS, type, &e);

	if (!m)
		die(control_type_name(type), &e);
	protobuf_c_message_free_unpacked(m, NULL);
}

static void say(int fd, enum control_type type, const ProtobufCMessage *m)
{
	struct err e;

	if (control_send(fd, type, m, &e) < 0)
		die(control_type_name(type), &e);
}

static void send_offer(int fd)
{
	Drayage__Offer m = DRAYAGE__OFFER__INIT;
	struct host_facts host;
	struct err e;
	uint32_t tid = 77;

	if (host_facts_read(&host, &e) < 0)
		die("host facts", &e);
	m.pid = tid;
	m.comm = m.source_host = word;
	m.page_size = host.page_size;
	m.streams = 1;
	m.pid_policy = DRAYAGE__PID_POLICY__PID_NEW;
	m.vdso_digest = host.vdso_digest;
	m.xfeatures = host.xfeatures;
	m.xsave_size = host.xsave_size;
	m.tids = &tid;
	m.n_tids = 1;
	say(fd, CONTROL_OFFER, &m.base);
}

static void send_round_begin(int fd, bool last)
{
	Drayage__RoundBegin m = DRAYAGE__ROUND_BEGIN__INIT;

	m.round = 1;
	m.last = last;
	say(fd, CONTROL_ROUND_BEGIN, &m.base);
}

static void send_round_end(int fd)
{
	Drayage__RoundEnd m = DRAYAGE__ROUND_END__INIT;
	Drayage__Manifest manifest = DRAYAGE__MANIFEST__INIT;

	m.round = 1;
	m.manifest = &manifest;
	say(fd, CONTROL_ROUND_END, &m.base);
}

static void end_round_on_stream(int fd)
{
	struct frame_header h = { .kind = FRAME_ROUND_END, .round = 1 };
	unsigned char buf[FRAME_HEADER_SIZE];

	frame_header_encode(&h, buf);
	if (write_full(fd, buf, sizeof(buf)) < 0)
		die("stream", NULL);
}

/* Brings a new session to a state; returns its control connection. */
static int bring_to(enum state state, int *stream)
{
	struct link_config c = { .address = address, .features = HELLO_FEATURES_KNOWN };
	struct err e;
	int fd;

	*stream = -1;
	migration_id_new(&c.id);
	fd = link_open(&c, HELLO_CONTROL, 0, NULL, &e);
	if (fd < 0)
		die("connect", &e);
	if (state == EXPECT_OFFER)
		return fd;
	send_offer(fd);
	expect(fd, CONTROL_OFFER_REPLY);
	*stream = link_open(&c, HELLO_STREAM, 0, NULL, &e);
	if (*stream < 0)
		die("stream", &e);
	if (state == BETWEEN_ROUNDS)
		return fd;
	send_round_begin(fd, state == LAST_PLACED);
	expect(fd, CONTROL_ROUND_READY);
	if (state == IN_ROUND)
		return fd;
	end_round_on_stream(*stream);
	send_round_end(fd);
	expect(fd, CONTROL_ROUND_DONE);
	return fd;
}

/* Some message of the type with its required fields. */
static void send_any(int fd, enum control_type type)
{
	Drayage__Manifest manifest = DRAYAGE__MANIFEST__INIT;
	Drayage__OfferReply offer_reply = DRAYAGE__OFFER_REPLY__INIT;
	Drayage__RoundReady ready = DRAYAGE__ROUND_READY__INIT;
	Drayage__RoundDone done = DRAYAGE__ROUND_DONE__INIT;
	Drayage__State state = DRAYAGE__STATE__INIT;
	Drayage__Prepared prepared = DRAYAGE__PREPARED__INIT;
	Drayage__Commit commit = DRAYAGE__COMMIT__INIT;
	Drayage__Running running = DRAYAGE__RUNNING__INIT;
	Drayage__Verify verify = DRAYAGE__VERIFY__INIT;
	Drayage__VerifyReply verify_reply = DRAYAGE__VERIFY_REPLY__INIT;
	Drayage__Query query = DRAYAGE__QUERY__INIT;
	Drayage__Outcome outcome = DRAYAGE__OUTCOME__INIT;
	Drayage__Done learnt = DRAYAGE__DONE__INIT;
	Drayage__Abort abort_message = DRAYAGE__ABORT__INIT;
	const ProtobufCMessage *plain[CONTROL_TYPES] = {
		[CONTROL_OFFER_REPLY] = &offer_reply.base,   [CONTROL_ROUND_READY] = &ready.base,  [CONTROL_ROUND_DONE] = &done.base,
		[CONTROL_STATE] = &state.base,               [CONTROL_PREPARED] = &prepared.base,  [CONTROL_COMMIT] = &commit.base,
		[CONTROL_RUNNING] = &running.base,           [CONTROL_VERIFY] = &verify.base,      [CONTROL_QUERY] = &query.base,
		[CONTROL_VERIFY_REPLY] = &verify_reply.base, [CONTROL_OUTCOME] = &outcome.base,    [CONTROL_DONE] = &learnt.base,
		[CONTROL_ABORT] = &abort_message.base,
	};

	done.manifest = prepared.manifest = commit.manifest = &manifest;
	abort_message.text = word;
	abort_message.kind = ERR_CANCELLED;
	if (type == CONTROL_OFFER)
		send_offer(fd);
	else if (type == CONTROL_ROUND_BEGIN)
		send_round_begin(fd, false);
	else if (type == CONTROL_ROUND_END)
		send_round_end(fd);
	else
		say(fd, type, plain[type]);
}

/* What the protocol allows; the same table as in docs/protocol.md, written down a second time on purpose. */
static bool allowed(enum state state, enum control_type type)
{
	switch (state) {
	case EXPECT_OFFER:
		return type == CONTROL_OFFER;
	case BETWEEN_ROUNDS:
		return type == CONTROL_ROUND_BEGIN;
	case IN_ROUND:
		return type == CONTROL_ROUND_END;
	case LAST_PLACED:
		return type == CONTROL_VERIFY || type == CONTROL_STATE;
	case STATES:
		break;
	}
	return false;
}

static void try_pair(enum state state, enum control_type type)
{
	enum control_type answer = CONTROL_ABORT;
	ProtobufCMessage *m = NULL;
	struct err e = { 0 };
	int stream, fd = bring_to(state, &stream), rc;
	char words[96];

	if (type == CONTROL_ROUND_END && state == IN_ROUND)
		end_round_on_stream(stream);
	send_any(fd, type);
	rc = control_receive(fd, WAIT_MS, &answer, &m, &e); /* an Abort comes back as an error */
	snprintf(words, sizeof(words), "%s in state %s", control_type_name(type), state_names[state]);
	if (rc == 0) {
		if (!allowed(state, type))
			failures += (unsigned)fprintf(stderr, "%s: answered by %s\n", words, control_type_name(answer)) > 0;
		protobuf_c_message_free_unpacked(m, NULL);
	} else if (type == CONTROL_ABORT ? e.kind != ERR_CANCELLED && e.kind != ERR_PEER :
		   allowed(state, type)  ? strstr(e.text, "in state") != NULL :
					   e.kind != ERR_PROTOCOL || !strstr(e.text, words)) {
		failures += (unsigned)fprintf(stderr, "%s: %s (%s)\n", words, e.text, err_kind_name(e.kind)) > 0;
	}
	close(fd);
	if (stream >= 0)
		close(stream);
}

/* Of a process that lives here: a second migration of its id is refused, and does not touch the record. */
static void known_migration(const char *dir)
{
	struct link_config c = { .address = address, .features = HELLO_FEATURES_KNOWN };
	struct journal_record r = { .state = JOURNAL_COMMITTED, .freezer = { .pid = getpid() } };
	enum control_type answer;
	ProtobufCMessage *m;
	struct err e = { 0 };
	struct journal *j;
	int fd;

	migration_id_new(&c.id);
	j = journal_open(dir, &c.id, JOURNAL_DESTINATION, &e);
	if (!j || journal_write(j, &r, &e) < 0)
		die("journal", &e);
	journal_close(j);
	fd = link_open(&c, HELLO_CONTROL, 0, NULL, &e);
	if (fd < 0)
		die("connect", &e);
	if (control_receive(fd, WAIT_MS, &answer, &m, &e) == 0 || e.kind != ERR_CONFLICT)
		failures += (unsigned)fprintf(stderr, "a known migration: %s (%s)\n", e.text, err_kind_name(e.kind)) > 0;
	close(fd);
	j = journal_open(dir, &c.id, JOURNAL_DESTINATION, &e);
	if (!j || journal_read(j, &r, &e) < 0 || r.state != JOURNAL_COMMITTED || r.freezer.pid != getpid())
		failures += (unsigned)fprintf(stderr, "the record of a known migration: %s\n", e.text) > 0;
	journal_remove(j);
	journal_close(j);
}

static void stop_agent(void)
{
	int status;

	kill(agent, SIGTERM);
	if (waitpid(agent, &status, 0) != agent || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "FAILED: the agent did not end well: %#x\n", (unsigned)status);
		failures++;
	}
}

int main(void)
{
	const char *build = getenv("BUILD");
	char dir[] = "/tmp/session-walk-XXXXXX", path[64];

	if (!build || !mkdtemp(dir)) {
		puts("BUILD is not set");
		return 77;
	}
	start_agent(build, dir);
	for (int s = 0; s < STATES; s++)
		for (int t = CONTROL_OFFER; t < CONTROL_TYPES; t++)
			try_pair((enum state)s, (enum control_type)t);
	known_migration(dir);
	stop_agent();
	snprintf(path, sizeof(path), "%s/identity", dir);
	unlink(path);
	if (rmdir(dir) < 0) {
		fprintf(stderr, "FAILED: %s is not empty\n", dir);
		failures++;
	}
	printf("%d pairs, %u wrong\n", STATES * (CONTROL_TYPES - CONTROL_OFFER), failures);
	return failures != 0;
}
