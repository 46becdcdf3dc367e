/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/send_rig.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/base/io.h"
#include "proto/wire/frame.h"

static void connect_stream(struct rig *r, unsigned i)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(bind(listener, (struct sockaddr *)&at, len) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&at, &len) == 0);
	r->sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(connect(r->sockets[i], (struct sockaddr *)&at, len) == 0);
	r->stream[i] = (struct rig_stream){ .rig = r, .sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC) };
	CHECK(r->stream[i].sock >= 0);
	close(listener);
}

void rig_start(struct rig *r, int (*body)(int line, void *arg), size_t pages, unsigned streams)
{
	*r = (struct rig){ .pages = pages, .streams = streams };
	pthread_mutex_init(&r->lock, NULL);
	for (unsigned i = 0; i < 16; i++) {
		r->ends[i] = (struct twin_ends){ .command_write = -1, .pipe_read = -1 };
		r->sockets[i] = r->stream[i].sock = -1;
	}
	r->subject = subject_start(body, r);
	subject_expect(r->subject.line, 'r');
	r->shadow = mmap(NULL, pages_to_bytes(pages), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(r->shadow != MAP_FAILED);
	CHECK(run_list_add(&r->all, RIG_BASE, pages, RUN_DATA) == 0);
	for (unsigned i = 0; i < streams; i++)
		connect_stream(r, i);
}

void rig_twins(struct rig *r)
{
	struct err e = { 0 };

	CHECK(remote_seize(&r->held, r->subject.pid, 0, &e) == 0, "%s", e.text);
	CHECK(remote_scratch_create(&r->held, (size_t)r->streams * TWIN_SCRATCH, 0, &e) == 0, "%s", e.text);
	CHECK(twins_create(&r->held, r->streams, &r->twins, r->ends, &e) == 0, "%s", e.text);
	remote_release(&r->held);
}

void rig_untwin(struct rig *r)
{
	uint64_t scratch = r->held.scratch, len = r->held.scratch_len;
	struct err e = { 0 };

	twins_destroy(&r->twins);
	CHECK(remote_seize(&r->held, r->subject.pid, 0, &e) == 0, "%s", e.text);
	r->held.scratch = scratch;
	r->held.scratch_len = len;
	CHECK(twins_reap(&r->held, &r->twins, &e) == 0, "%s", e.text);
	CHECK(remote_scratch_destroy(&r->held, &e) == 0, "%s", e.text);
	remote_release(&r->held);
	r->held.scratch = 0;
}

void rig_sender(struct rig *r, enum extract_kind extract, enum output_how output, enum compress_mode compress, uint64_t max_bandwidth)
{
	struct err e = { 0 };
	struct sender_config c = { .pid = r->subject.pid, .streams = r->streams, .extract = extract, .output = output,
				   .compress = compress, .max_bandwidth = max_bandwidth, .twins = r->ends, .sockets = r->sockets };

	r->sender = sender_create(&c, &e);
	CHECK(r->sender, "%s", e.text);
	for (unsigned i = 0; i < r->streams; i++) {
		r->sockets[i] = -1;
		if (extract == EXTRACT_SPLICE)
			r->ends[i].command_write = r->ends[i].pipe_read = -1;
	}
}

static void place(struct rig_stream *s, const struct frame_header *h, const struct page_run *run, const uint8_t *bytes)
{
	struct rig *r = s->rig;

	for (uint32_t i = 0; i < h->runs; i++) {
		uint64_t at = run[i].addr - RIG_BASE, len = pages_to_bytes(run[i].pages);

		CHECK(run[i].addr >= RIG_BASE && at + len <= pages_to_bytes(r->pages), "a run at %llx", (unsigned long long)run[i].addr);
		manifest_add(&s->manifest, h->mm, h->round, &run[i]);
		pthread_mutex_lock(&r->lock);
		if (run[i].kind == RUN_DATA) {
			memcpy(r->shadow + at, bytes, len);
			bytes += len;
			s->data_pages += run[i].pages;
		} else {
			memset(r->shadow + at, 0, len);
			s->drops += run[i].pages;
		}
		pthread_mutex_unlock(&r->lock);
	}
}

static int receive_pages(struct rig_stream *s, const struct frame_header *h, uint8_t *wire, uint8_t *raw)
{
	static __thread struct page_run run[FRAME_MAX_RUNS];
	uint8_t table[FRAME_MAX_RUNS * FRAME_RUN_SIZE];
	size_t table_len = h->runs * FRAME_RUN_SIZE;
	int rc = read_full(s->sock, table, table_len);

	if (rc == 0)
		rc = read_full(s->sock, wire, h->payload_len);
	if (rc < 0)
		return rc;
	CHECK(frame_runs_decode(h, table, run) == 0);
	if (h->flags & FRAME_CHECKSUM)
		CHECK(frame_checksum(table, table_len, wire, h->payload_len) == h->checksum);
	if (h->flags & FRAME_LZ4) {
		s->lz4 = true;
		CHECK(frame_lz4_decode(wire, h->payload_len, raw, pages_to_bytes(h->data_pages)) == 0);
	}
	place(s, h, run, h->flags & FRAME_LZ4 ? raw : wire);
	return 0;
}

static void *receive_main(void *arg)
{
	struct rig_stream *s = arg;
	size_t raw_len = FRAME_MAX_PAGES * DRAY_PAGE_SIZE;
	uint8_t *wire = malloc(frame_lz4_bound(raw_len)), *raw = malloc(raw_len), head[FRAME_HEADER_SIZE];
	struct frame_header h;
	int rc;

	CHECK(wire && raw);
	while ((rc = read_full(s->sock, head, sizeof(head))) == 0) {
		CHECK(frame_header_decode(head, &h) == 0, "not a header: the frame before it had a wrong length");
		CHECK(h.sequence == s->sequence++);
		if (h.kind == FRAME_END)
			s->ended = true;
		if (h.kind == FRAME_END)
			break;
		if (h.kind == FRAME_ROUND_END)
			atomic_store(&s->ended_round, h.round);
		else if ((rc = receive_pages(s, &h, wire, raw)) < 0)
			break;
	}
	s->failed = rc;
	free(wire);
	free(raw);
	return NULL;
}

void rig_receive(struct rig *r)
{
	for (unsigned i = 0; i < r->streams; i++)
		CHECK(pthread_create(&r->stream[i].thread, NULL, receive_main, &r->stream[i]) == 0);
}

static bool round_arrived(void *arg)
{
	struct rig *r = arg;

	for (unsigned i = 0; i < r->streams; i++)
		if (atomic_load(&r->stream[i].ended_round) != r->round)
			return false;
	return true;
}

int rig_round(struct rig *r, uint32_t round, bool frozen, const struct run_list *runs, const struct run_list *zero_ok,
	      struct sender_stats *st, struct err *e)
{
	if (sender_round(r->sender, round, frozen, runs, zero_ok, st, e) < 0)
		return -1;
	r->round = round;
	await(round_arrived, r, "the end of the round on all streams");
	return 0;
}

static void join_streams(struct rig *r)
{
	for (unsigned i = 0; i < r->streams; i++) {
		if (r->stream[i].thread)
			pthread_join(r->stream[i].thread, NULL);
		r->stream[i].thread = 0;
	}
}

void rig_finish(struct rig *r)
{
	struct manifest got = { 0 };
	struct err e = { 0 };

	CHECK(sender_finish(r->sender, &e) == 0, "%s", e.text);
	join_streams(r);
	for (unsigned i = 0; i < r->streams; i++) {
		CHECK(r->stream[i].ended && r->stream[i].failed == 0, "stream %u: %s", i, strerror(-r->stream[i].failed));
		manifest_merge(&got, &r->stream[i].manifest);
	}
	CHECK(manifest_equal(&got, sender_manifest(r->sender)), "the manifests differ");
}

void rig_end(struct rig *r)
{
	sender_destroy(r->sender);
	join_streams(r);
	twins_destroy(&r->twins);
	for (unsigned i = 0; i < 16; i++) {
		int *fd[] = { &r->ends[i].command_write, &r->ends[i].pipe_read, &r->sockets[i], &r->stream[i].sock };

		for (int k = 0; k < 4; k++)
			if (*fd[k] >= 0)
				close(*fd[k]);
	}
	subject_end(&r->subject);
	munmap(r->shadow, pages_to_bytes(r->pages));
	run_list_finish(&r->all);
	pthread_mutex_destroy(&r->lock);
}

long rig_compare(struct rig *r, size_t first, size_t count)
{
	static uint8_t now[DRAY_PAGE_SIZE];

	for (size_t i = first; i < first + count; i++) {
		struct err e = { 0 };
		bool differs;

		CHECK(remote_read(r->subject.pid, RIG_BASE + pages_to_bytes(i), now, sizeof(now), &e) == 0, "%s", e.text);
		pthread_mutex_lock(&r->lock); /* after a round that failed, what it sent may still be coming in */
		differs = memcmp(now, r->shadow + pages_to_bytes(i), sizeof(now)) != 0;
		pthread_mutex_unlock(&r->lock);
		if (differs)
			return (long)i;
	}
	return -1;
}
