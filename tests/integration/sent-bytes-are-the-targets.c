/* SPDX-License-Identifier: Apache-2.0 */
/* What arrives is what the target's memory holds: by twin and by copy, with the ring and with plain calls, compressed and not, with zero pages,
 * unreadable and vanished ones; a target that writes meanwhile never makes a frame of a wrong length; both sides agree on what was sent. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/send_rig.h"

enum { PAGES = 6000, HOLE_AT = 1000, HOLE = 300, NONE_AT = 2000, NONE = 40, NONE_STEP = 3, ZERO_AT = 3000, ZERO = 500 };
enum { FRAME_PAGES = 256 }; /* of a frame that is copied */

static uint64_t *map_pages(void)
{
	uint64_t *m = mmap((void *)RIG_BASE, pages_to_bytes(PAGES), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	CHECK(m == (void *)RIG_BASE);
	return m;
}

/* Even pages: text-like; odd ones: random; some zero; every third of some not readable to their own process. */
static void fill(uint64_t *m)
{
	uint64_t x = 88172645463325252ull;

	for (size_t i = 0; i < PAGES * 512ul; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		m[i] = i / 512 % 2 ? x : 0x2065756c61762022ull + i / 64;
	}
	memset(m + ZERO_AT * 512ul, 0, ZERO * 4096ul);
	for (size_t i = 0; i < NONE; i += NONE_STEP)
		mprotect(m + (NONE_AT + i) * 512ul, 4096, PROT_NONE);
}

static int idle(int line, void *arg)
{
	(void)arg;
	fill(map_pages());
	subject_say(line, 'r');
	while (pause() < 0)
		;
	return 0;
}

static int with_hole(int line, void *arg)
{
	uint64_t *m = map_pages();

	(void)arg;
	fill(m);
	munmap(m + HOLE_AT * 512ul, HOLE * 4096ul);
	subject_say(line, 'r');
	while (pause() < 0)
		;
	return 0;
}

static int writing(int line, void *arg)
{
	uint64_t *m = map_pages();

	(void)arg;
	fill(m);
	subject_say(line, 'r');
	for (uint64_t n = 0; n < UINT64_MAX; n++) {
		size_t page = n * 7919 % PAGES;

		if (page >= NONE_AT && page < NONE_AT + NONE)
			continue;
		m[page * 512 + n % 512] = n;
		if (n % 64 == 0) { /* unmap, drop and map again under the sender's hands */
			void *at = m + (HOLE_AT + n % HOLE) * 512ul;

			munmap(at, 4096);
			mmap(at, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			madvise(m + (page & ~1ul) * 512, 4096, MADV_DONTNEED);
		}
	}
	return 0;
}

struct way { const char *name; enum extract_kind extract; enum output_how output; enum compress_mode compress; unsigned streams; };
static const struct way ways[] = {
	{ "copy, ring", EXTRACT_COPY, OUTPUT_RING, COMPRESS_NONE, 2 },
	{ "copy, calls, lz4", EXTRACT_COPY, OUTPUT_CALLS, COMPRESS_LZ4, 1 },
	{ "copy, ring, lz4", EXTRACT_COPY, OUTPUT_RING, COMPRESS_LZ4, 3 },
	{ "splice, ring", EXTRACT_SPLICE, OUTPUT_RING, COMPRESS_NONE, 2 },
	{ "splice, calls", EXTRACT_SPLICE, OUTPUT_CALLS, COMPRESS_NONE, 1 },
};

static void start_way(struct rig *r, const struct way *w, int (*body)(int line, void *arg))
{
	fprintf(stderr, "%s\n", w->name);
	rig_start(r, body, PAGES, w->streams);
	if (w->extract == EXTRACT_SPLICE)
		rig_twins(r);
}

static void open_way(struct rig *r, const struct way *w, int (*body)(int line, void *arg))
{
	start_way(r, w, body);
	rig_sender(r, w->extract, w->output, w->compress, 0);
	rig_receive(r);
}

static void idle_target(const struct way *w)
{
	struct run_list zero_ok = { 0 }, part = { 0 };
	struct sender_stats st;
	struct err e = { 0 };
	struct rig r;
	bool lz4 = false;

	open_way(&r, w, idle);
	CHECK(run_list_add(&zero_ok, RIG_BASE + ZERO_AT * 4096ull + 4096, ZERO * 2, RUN_DATA) == 0);
	CHECK(rig_round(&r, 1, true, &r.all, &zero_ok, &st, &e) == 0, "%s", e.text);
	CHECK(sender_pages_left(r.sender) == 0);
	if (w->extract == EXTRACT_COPY) {
		CHECK(st.zero_pages == ZERO - 1 && st.pages == PAGES - (ZERO - 1), "%llu zero", (unsigned long long)st.zero_pages);
		CHECK(w->compress != COMPRESS_LZ4 || st.wire_bytes < st.raw_bytes * 3 / 4);
	} else {
		CHECK(st.pages == PAGES + (NONE + NONE_STEP - 1) / NONE_STEP, "%llu pages", (unsigned long long)st.pages);
	}
	CHECK(st.vanished_pages == 0 && st.raw_bytes == st.pages * 4096 && sender_bytes_sent(r.sender) == st.wire_bytes);
	/* A round of scattered pages and drops. */
	for (size_t i = 0; i < PAGES; i += 3) {
		CHECK(run_list_add(&part, RIG_BASE + i * 4096, 1, RUN_DATA) == 0);
		CHECK(run_list_add(&part, RIG_BASE + (i + 1) * 4096, 1, i % 2 ? RUN_DATA : RUN_DROP) == 0);
	}
	CHECK(rig_round(&r, 2, true, &part, NULL, &st, &e) == 0, "%s", e.text);
	CHECK(rig_round(&r, 3, true, &r.all, NULL, &st, &e) == 0, "%s", e.text);
	rig_finish(&r);
	long bad = rig_compare(&r, 0, NONE_AT);
	CHECK(bad < 0, "page %ld differs", bad);
	bad = rig_compare(&r, NONE_AT + NONE, PAGES - NONE_AT - NONE);
	CHECK(bad < 0, "page %ld differs", bad);
	/* PROT_NONE pages: their process can't read them; the test knows what they hold by what lies in the page two before or after. */
	for (size_t i = NONE_AT; i < NONE_AT + NONE; i++) {
		uint64_t first;

		memcpy(&first, r.shadow + i * 4096, sizeof(first));
		CHECK(i % 2 ? first != 0 : first == 0x2065756c61762022ull + i * 8, "page %zu has %llx", i, (unsigned long long)first);
	}
	for (unsigned i = 0; i < w->streams; i++)
		lz4 |= r.stream[i].lz4;
	CHECK(lz4 == (w->compress == COMPRESS_LZ4));
	run_list_finish(&part);
	run_list_finish(&zero_ok);
	rig_end(&r);
}

static void vanished_memory(const struct way *w)
{
	struct sender_stats st;
	struct err e = { 0 };
	struct rig r;
	const char *where;
	uint64_t missing;

	open_way(&r, w, with_hole);
	CHECK(rig_round(&r, 1, false, &r.all, NULL, &st, &e) == 0, "%s", e.text);
	CHECK(st.vanished_pages == HOLE, "%llu vanished", (unsigned long long)st.vanished_pages);
	CHECK(rig_round(&r, 2, true, &r.all, NULL, &st, &e) == -1);
	/* A frozen round may not lack a page: the error names one of those that are missing. */
	where = strstr(e.text, "0x");
	missing = where ? (strtoull(where, NULL, 16) - RIG_BASE) / 4096 : 0;
	CHECK(missing >= HOLE_AT && missing < HOLE_AT + HOLE, "%s", e.text);
	CHECK(rig_round(&r, 3, false, &r.all, NULL, &st, &e) == -1, "a failed sender goes on");
	CHECK(rig_compare(&r, 0, HOLE_AT) < 0);
	rig_end(&r);
}

static void small_buffers(struct rig *r)
{
	int bytes = 16384;

	CHECK(setsockopt(r->sockets[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) == 0);
	CHECK(setsockopt(r->stream[0].sock, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) == 0);
}

struct one_round { struct rig *rig; struct run_list runs; struct sender_stats st; struct err e; int rc; };
static void *send_round(void *arg)
{
	struct one_round *o = arg;

	o->rc = sender_round(o->rig->sender, 1, false, &o->runs, NULL, &o->st, &o->e);
	return NULL;
}

static bool only_the_last_frame_is_left(void *arg)
{
	return sender_pages_left(((struct rig *)arg)->sender) <= FRAME_PAGES;
}

/* Three frames, the second of nothing but vanished pages, while the first waits for room: it leaves as it was read. */
static void vanished_frame(const struct way *w)
{
	const struct way one = { w->name, w->extract, w->output, w->compress, 1 };
	struct one_round o = { 0 };
	pthread_t thread;
	struct rig r;

	start_way(&r, &one, with_hole);
	small_buffers(&r);
	rig_sender(&r, one.extract, one.output, one.compress, 0);
	o.rig = &r;
	CHECK(run_list_add(&o.runs, RIG_BASE + 3 * FRAME_PAGES * 4096ull, 3 * FRAME_PAGES, RUN_DATA) == 0);
	CHECK(pthread_create(&thread, NULL, send_round, &o) == 0);
	await(only_the_last_frame_is_left, &r, "the frame that vanished");
	rig_receive(&r);
	pthread_join(thread, NULL);
	CHECK(o.rc == 0 && o.st.vanished_pages == HOLE, "%llu vanished: %s", (unsigned long long)o.st.vanished_pages, o.e.text);
	rig_finish(&r);
	CHECK(rig_compare(&r, 3 * FRAME_PAGES, HOLE_AT - 3 * FRAME_PAGES) < 0 && rig_compare(&r, HOLE_AT + HOLE, 6 * FRAME_PAGES - HOLE_AT - HOLE) < 0);
	run_list_finish(&o.runs);
	rig_end(&r);
}

static void changing_target(const struct way *w)
{
	struct sender_stats st;
	struct err e = { 0 };
	struct rig r;

	open_way(&r, w, writing);
	for (uint32_t round = 1; round <= 12; round++)
		CHECK(rig_round(&r, round, false, &r.all, NULL, &st, &e) == 0, "%s", e.text);
	kill(r.subject.pid, SIGSTOP);
	await_task_state(r.subject.pid, r.subject.pid, "T");
	CHECK(rig_round(&r, 13, true, &r.all, NULL, &st, &e) == 0 || strstr(e.text, "is not there"), "%s", e.text);
	if (!err_is_set(&e)) {
		rig_finish(&r);
		CHECK(rig_compare(&r, 0, NONE_AT) < 0);
	}
	rig_end(&r);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		idle_target(&ways[i]);
		vanished_memory(&ways[i]);
		if (ways[i].extract == EXTRACT_COPY && ways[i].output == OUTPUT_RING)
			vanished_frame(&ways[i]);
		changing_target(&ways[i]);
	}
	return 0;
}
