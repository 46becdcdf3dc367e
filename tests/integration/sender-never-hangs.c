/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever ends under a sender's hands - a twin, the target, the destination, the user's patience - a round comes back with an error
 * that says so; a target that ends or execs leaves its old memory with the twins until they go. Each case waits for the round without a limit of its
 * own: a hang is the test runner's timeout. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/io.h"
#include "tests/lib/send_rig.h"

enum { PAGES = 16384 /* 64 MiB: more than all buffers on the way hold */ };

static int target(int line, void *arg)
{
	struct rig *r = arg;
	char *m = mmap((void *)RIG_BASE, pages_to_bytes(r->pages), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	char c;

	CHECK(m != MAP_FAILED);
	memset(m, 7, pages_to_bytes(r->pages));
	subject_say(line, 'r');
	if (read(line, &c, 1) == 1 && c == 'x')
		execl("/bin/sleep", "sleep", "1000", NULL);
	return 0;
}

struct round_thread { struct rig *r; pthread_t thread; int rc; struct err e; };

static void *round_main(void *arg)
{
	struct round_thread *t = arg;
	struct sender_stats st;

	t->rc = sender_round(t->r->sender, 1, false, &t->r->all, NULL, &st, &t->e);
	return NULL;
}

static bool something_came(void *arg)
{
	struct rig *r = arg;

	return wait_readable(r->stream[0].sock, 0) == 1 && wait_readable(r->stream[1].sock, 0) == 1;
}

/* A round is under way and stuck: nobody reads at the far end. Then `cut` happens, and the round has to end with this kind of error. */
static void stuck_round(const char *name, enum extract_kind x, enum output_how how, void (*cut)(struct rig *r), enum err_kind kind)
{
	struct round_thread t = { 0 };
	struct rig r;

	fprintf(stderr, "%s\n", name);
	rig_start(&r, target, PAGES, 2);
	if (x == EXTRACT_SPLICE)
		rig_twins(&r);
	rig_sender(&r, x, how, COMPRESS_NONE, 0);
	t.r = &r;
	CHECK(pthread_create(&t.thread, NULL, round_main, &t) == 0);
	await(something_came, &r, "the round is under way");
	cut(&r);
	pthread_join(t.thread, NULL);
	CHECK(t.rc == -1 && t.e.kind == kind, "kind %s: %s", err_kind_name(t.e.kind), t.e.text);
	rig_end(&r);
}

static void cut_cancel(struct rig *r)
{
	sender_cancel(r->sender);
}

static void cut_peer(struct rig *r)
{
	close(r->stream[1].sock);
	r->stream[1].sock = -1;
}

static void cut_twin(struct rig *r)
{
	kill(r->twins.pid[0], SIGKILL);
	rig_receive(r); /* the far end reads on: what is in the pipe goes, and then there is no more */
}

static bool is_zombie(void *arg)
{
	pid_t pid = *(pid_t *)arg;

	return task_state(pid, pid) == 'Z';
}

static void cut_target(struct rig *r)
{
	kill(r->subject.pid, SIGKILL);
	await(is_zombie, &r->subject.pid, "the target is dead");
	rig_receive(r);
}

/* A twin that sits still (its tracer doesn't look): only cancelling helps, and does. */
static void stopped_twin_is_left_by_cancel(enum output_how how)
{
	struct round_thread t = { 0 };
	struct rig r;

	rig_start(&r, target, PAGES, 1);
	rig_twins(&r);
	kill(r.twins.pid[0], SIGSTOP);
	await_task_state(r.twins.pid[0], r.twins.pid[0], "t");
	rig_sender(&r, EXTRACT_SPLICE, how, COMPRESS_NONE, 0);
	rig_receive(&r);
	t.r = &r;
	CHECK(pthread_create(&t.thread, NULL, round_main, &t) == 0);
	sender_cancel(r.sender);
	pthread_join(t.thread, NULL);
	CHECK(t.rc == -1 && t.e.kind == ERR_CANCELLED, "%s", t.e.text);
	rig_end(&r);
}

static bool other_memory(void *arg)
{
	struct rig *r = arg;

	return !twins_share_mm(&r->twins, r->subject.pid);
}

/* The twins of a target that execs or ends still serve its old memory; that they do no longer share it can be asked. */
static void old_memory_is_served(char command)
{
	struct sender_stats st;
	struct err e = { 0 };
	struct rig r;

	fprintf(stderr, "target %s\n", command == 'x' ? "execs" : "exits");
	rig_start(&r, target, PAGES, 2);
	rig_twins(&r);
	CHECK(twins_share_mm(&r.twins, r.subject.pid));
	rig_sender(&r, EXTRACT_SPLICE, OUTPUT_RING, COMPRESS_NONE, 0);
	rig_receive(&r);
	subject_say(r.subject.line, command);
	await(other_memory, &r, "the target leaves its memory");
	CHECK(sender_round(r.sender, 1, false, &r.all, NULL, &st, &e) == 0, "%s", e.text);
	CHECK(st.vanished_pages == 0 && st.pages == PAGES);
	rig_finish(&r);
	for (size_t i = 0; i < pages_to_bytes(PAGES); i += 997)
		CHECK(r.shadow[i] == 7);
	CHECK(twins_poll(&r.twins) == 2);
	rig_end(&r);
}

int main(void)
{
	stuck_round("cancelled, copying", EXTRACT_COPY, OUTPUT_RING, cut_cancel, ERR_CANCELLED);
	stuck_round("cancelled, copying by calls", EXTRACT_COPY, OUTPUT_CALLS, cut_cancel, ERR_CANCELLED);
	stuck_round("cancelled, splicing", EXTRACT_SPLICE, OUTPUT_RING, cut_cancel, ERR_CANCELLED);
	stuck_round("cancelled, splicing by calls", EXTRACT_SPLICE, OUTPUT_CALLS, cut_cancel, ERR_CANCELLED);
	stuck_round("peer gone, copying", EXTRACT_COPY, OUTPUT_RING, cut_peer, ERR_PEER);
	stuck_round("peer gone, splicing", EXTRACT_SPLICE, OUTPUT_RING, cut_peer, ERR_PEER);
	stuck_round("peer gone, splicing by calls", EXTRACT_SPLICE, OUTPUT_CALLS, cut_peer, ERR_PEER);
	stuck_round("twin killed", EXTRACT_SPLICE, OUTPUT_RING, cut_twin, ERR_GONE);
	stuck_round("twin killed, by calls", EXTRACT_SPLICE, OUTPUT_CALLS, cut_twin, ERR_GONE);
	stuck_round("target dead, copying", EXTRACT_COPY, OUTPUT_RING, cut_target, ERR_GONE);
	stopped_twin_is_left_by_cancel(OUTPUT_RING);
	stopped_twin_is_left_by_cancel(OUTPUT_CALLS);
	old_memory_is_served('x');
	old_memory_is_served('q');
	return 0;
}
