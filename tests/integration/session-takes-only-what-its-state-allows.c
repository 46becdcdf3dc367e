/* SPDX-License-Identifier: Apache-2.0 */
/* Every control message in every state that a peer can bring a session to: what the table of the protocol has is taken, anything else ends
 * the session with an Abort that names message and state, and the agent serves on. Who asks what became of it before it is committed hears that it never will be, and
 * it ends. Connections that are none of a session's streams change nothing. A migration that there is a record of does not begin again, and what is asked about it is
 * answered from there: what was not committed, or did not get all its memory, is ended, unless that was before this boot. */
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
#include "migrate/conduct/settle.h"
#include "proto/base/die_with.h"
#include "proto/base/io.h"
#include "proto/base/proc_stat.h"
#include "proto/wire/control.h"
#include "proto/wire/frame.h"
#include "proto/wire/stream_ack.h"

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

static void expect_offer_reply(int fd, struct link_config *c)
{
	struct err e;
	Drayage__OfferReply *m = (Drayage__OfferReply *)control_expect(fd, WAIT_MS, CONTROL_OFFER_REPLY, &e);

	if (!m || !m->has_stream_token || m->stream_token.len != sizeof(c->token.byte))
		die("a token", m ? NULL : &e);
	memcpy(c->token.byte, m->stream_token.data, sizeof(c->token.byte));
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

/* Brings a new session to a state; returns its control connection. */
static int bring_to(enum state state, struct link_config *c, int *stream)
{
	struct err e;
	int fd;

	*stream = -1;
	*c = (struct link_config){ .address = address, .features = HELLO_FEATURES_KNOWN };
	migration_id_new(&c->id);
	fd = link_open(c, HELLO_CONTROL, 0, NULL, &e);
	if (fd < 0)
		die("connect", &e);
	if (state == EXPECT_OFFER)
		return fd;
	send_offer(fd);
	expect_offer_reply(fd, c);
	*stream = link_open(c, HELLO_STREAM, 0, NULL, &e);
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
	struct link_config c;
	struct err e = { 0 };
	int stream, fd = bring_to(state, &c, &stream), rc;
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

/* From then on nothing may come of it, whatever the control connection says. */
static void ask_in(enum state state)
{
	enum link_outcome outcome = LINK_UNKNOWN;
	struct run_list missing = { 0 };
	enum control_type answer;
	ProtobufCMessage *m;
	struct link_config c;
	struct err e = { 0 };
	int stream, fd = bring_to(state, &c, &stream);
	uint32_t pid;

	if (link_query(&c, &outcome, &pid, &missing, &e) < 0 || outcome != LINK_ABORTED)
		failures += (unsigned)fprintf(stderr, "asked in state %s: %d %s\n", state_names[state], (int)outcome, e.text) > 0;
	if (control_receive(fd, WAIT_MS, &answer, &m, &e) == 0 || e.kind != ERR_CANCELLED)
		failures += (unsigned)fprintf(stderr, "asked in state %s, it goes on: %s\n", state_names[state], e.text) > 0;
	run_list_finish(&missing);
	close(fd);
	if (stream >= 0)
		close(stream);
}

/* Comes in the place of a stream, or would. */
static int come_again(const struct link_config *c, uint32_t index, bool may)
{
	struct err e = { 0 };
	int fd = link_open(c, HELLO_AGAIN, index, NULL, &e);

	if (fd >= 0 ? !may : may || e.kind != ERR_CONFLICT)
		failures += (unsigned)fprintf(stderr, "stream %u again: %s\n", index, fd >= 0 ? "let in" : e.text) > 0;
	return fd;
}

static void take_ack(int fd)
{
	unsigned char buf[STREAM_ACK_SIZE];
	uint64_t next = 1;

	if (read_full(fd, buf, sizeof(buf)) < 0 || stream_ack_decode(buf, &next) < 0 || next != 0)
		failures += (unsigned)fprintf(stderr, "a stream that came again hears of %llu\n", (unsigned long long)next) > 0;
}

static void hung_up(int fd)
{
	char byte;

	if (read(fd, &byte, 1) > 0)
		failures += (unsigned)fprintf(stderr, "a stream too many is answered\n") > 0;
	close(fd);
}

/* Without an offer there is no token; another one, and a stream that was never offered, are refused; one that is there already is hung up on. */
static void streams_that_are_none(void)
{
	struct link_config c, other;
	struct err e;
	int stream, again, fd = bring_to(EXPECT_OFFER, &c, &stream);

	come_again(&c, 0, false);
	send_offer(fd);
	expect_offer_reply(fd, &c);
	other = c;
	other.token.byte[0] ^= 1;
	stream = link_open(&c, HELLO_STREAM, 0, NULL, &e);
	if (stream < 0)
		die("stream", &e);
	for (uint32_t i = 0; i < 2; i++) {
		again = link_open(&c, HELLO_STREAM, i, NULL, &e);
		if (again < 0)
			die("stream", &e);
		hung_up(again);
	}
	send_round_begin(fd, true);
	expect(fd, CONTROL_ROUND_READY);
	come_again(&other, 0, false);
	come_again(&c, 1, false);
	again = come_again(&c, 0, true);
	hung_up(stream);
	take_ack(again);
	end_round_on_stream(again);
	send_round_end(fd);
	expect(fd, CONTROL_ROUND_DONE);
	close(again);
	close(fd);
}

/* ---- from records ---- */

/* Who answered the question before may have the record in his hands for a moment. */
static void asked(const char *what, const struct link_config *c, enum link_outcome expected)
{
	enum link_outcome outcome = LINK_UNKNOWN;
	struct err e = { 0 };
	uint32_t pid;

	if (settle_ask(c, 0, WAIT_MS * 1000ull, &outcome, &pid, &e) < 0 || outcome != expected)
		failures += (unsigned)fprintf(stderr, "%s: %d and not %d %s\n", what, (int)outcome, (int)expected, e.text) > 0;
}

static void write_record(const char *dir, const struct migration_id *id, const struct journal_record *r)
{
	struct err e = { 0 };
	struct journal *j = journal_open(dir, id, JOURNAL_DESTINATION, &e);

	if (!j || journal_write(j, r, &e) < 0)
		die("journal", &e);
	journal_close(j);
}

/* What was written says another boot. */
static void of_another_boot(const char *dir, const struct migration_id *id)
{
	char path[128], hex[33], text[4096], *boot;
	FILE *f;

	migration_id_format(id, hex);
	snprintf(path, sizeof(path), "%s/%s.destination", dir, hex);
	f = fopen(path, "r+");
	if (!f || fread(text, 1, sizeof(text) - 1, f) == 0 || !(boot = strstr(text, "\nboot ")))
		die(path, NULL);
	fseek(f, boot - text + 6, SEEK_SET);
	fputc(boot[6] == 'x' ? 'y' : 'x', f);
	fclose(f);
}

static bool has_record(const char *dir, const struct migration_id *id)
{
	struct journal_record r;
	struct err e = { 0 };
	bool owned;

	return journal_peek(dir, id, JOURNAL_DESTINATION, &r, &owned, &e) == 0 || e.kind != ERR_GONE;
}

/* A process that stands still, in a record of that state. What becomes of it: a signal that ended it, 0 where it stands still, SIGCONT where it runs. */
static int becomes(const char *what, const char *dir, struct journal_record r, bool this_boot, enum link_outcome expected)
{
	struct link_config c = { .address = address };
	struct proc_stat stat;
	int status = 0, fate = 0;
	pid_t test = getpid(), child = fork();

	if (child == 0) {
		if (die_with(test, SIGKILL))
			for (;;)
				pause();
		_exit(1);
	}
	kill(child, SIGSTOP);
	if (waitpid(child, &status, WUNTRACED) != child || proc_stat_read(child, child, &stat) < 0)
		die("a process that stands still", NULL);
	r.freezer = (struct freezer){ .kind = FREEZER_SIGSTOP, .pid = child, .start_time = stat.start_time };
	migration_id_new(&c.id);
	write_record(dir, &c.id, &r);
	if (!this_boot)
		of_another_boot(dir, &c.id);
	asked(what, &c, expected);
	if (waitpid(child, &status, WNOHANG | WCONTINUED) == child)
		fate = WIFCONTINUED(status) ? SIGCONT : WTERMSIG(status);
	if (fate != SIGKILL) {
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
	}
	if (has_record(dir, &c.id) != (expected == LINK_RUNNING))
		failures += (unsigned)fprintf(stderr, "%s: a record is %s\n", what, expected == LINK_RUNNING ? "gone" : "left") > 0;
	asked("once more", &c, expected == LINK_RUNNING ? LINK_RUNNING : LINK_UNKNOWN);
	if (expected == LINK_RUNNING)
		link_forget(&c);
	return fate;
}

static void check_fate(const char *what, int fate, int expected)
{
	if (fate != expected)
		failures += (unsigned)fprintf(stderr, "%s: the process has got %d and not %d\n", what, fate, expected) > 0;
}

static void known_by_records(const char *dir)
{
	const struct journal_record prepared = { .state = JOURNAL_PREPARED }, committed = { .state = JOURNAL_COMMITTED },
				    late = { .state = JOURNAL_COMMITTED, .late = true };
	struct link_config c = { .address = address };
	char identity[33];
	struct err e;

	if (journal_identity(dir, identity, &e) < 0)
		die("identity", &e);
	migration_id_new(&c.id);
	asked("of no state directory", &c, LINK_UNKNOWN);
	c.identity = "00000000000000000000000000000000";
	asked("of another state directory", &c, LINK_UNKNOWN);
	c.identity = identity;
	asked("of this state directory", &c, LINK_ABORTED);
	check_fate("prepared", becomes("prepared", dir, prepared, true, LINK_ABORTED), SIGKILL);
	check_fate("without all pages", becomes("without all pages", dir, late, true, LINK_ABORTED), SIGKILL);
	check_fate("committed", becomes("committed", dir, committed, true, LINK_RUNNING), SIGCONT);
	check_fate("prepared before", becomes("prepared before", dir, prepared, false, LINK_ABORTED), 0);
	check_fate("committed before", becomes("committed before", dir, committed, false, LINK_RUNNING), 0);
}

/* Whose session lives has its record in his hands, and one that can't be read says nothing: the asker is not answered. */
static void not_known(const char *what, const struct link_config *c)
{
	enum link_outcome outcome = LINK_UNKNOWN;
	struct run_list missing = { 0 };
	struct err e = { 0 };
	uint32_t pid;

	if (link_query(c, &outcome, &pid, &missing, &e) == 0)
		failures += (unsigned)fprintf(stderr, "%s: answered by %d\n", what, (int)outcome) > 0;
	run_list_finish(&missing);
}

static void nobody_guesses(const char *dir)
{
	const struct journal_record committed = { .state = JOURNAL_COMMITTED };
	struct link_config c = { .address = address };
	char identity[33], path[128], hex[33];
	struct journal *j;
	struct err e;

	if (journal_identity(dir, identity, &e) < 0)
		die("identity", &e);
	c.identity = identity;
	migration_id_new(&c.id);
	j = journal_open(dir, &c.id, JOURNAL_DESTINATION, &e);
	if (!j)
		die("journal", &e);
	not_known("a session that lives", &c);
	journal_close(j);
	write_record(dir, &c.id, &committed);
	migration_id_format(&c.id, hex);
	snprintf(path, sizeof(path), "%s/%s.destination", dir, hex);
	if (truncate(path, 20) < 0)
		die(path, NULL);
	not_known("a damaged record", &c);
	if (!has_record(dir, &c.id))
		failures += (unsigned)fprintf(stderr, "a damaged record is gone\n") > 0;
	unlink(path);
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
	for (int s = 0; s < STATES; s++)
		ask_in((enum state)s);
	streams_that_are_none();
	known_migration(dir);
	known_by_records(dir);
	nobody_guesses(dir);
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
