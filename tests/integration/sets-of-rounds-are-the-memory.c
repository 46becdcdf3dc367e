/* SPDX-License-Identifier: Apache-2.0 */
/* Whoever made the rounds, a chain of image directories is the memory: pre-dumps beside a restless process, by one caller, by callers that share
 * nothing, over a parent that is not what was tracked from, over none; then a last set while it stands still. Page by page the chain is what
 * the process has.
 *
 *   sets-of-rounds-are-the-memory [SEEDS [FIRST_SEED]] */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/dump/dump_priv.h"
#include "proto/base/cleanup.h"
#include "tests/lib/mirror.h"
#include "tests/lib/restless.h"
#include "tests/lib/remove_tree.h"
#include "tests/lib/subject.h"

#ifdef __SANITIZE_ADDRESS__
enum { ROUNDS = 6, SEEDS = 2, OPS = 60 }; /* each fork copies the page tables of the sanitizer's shadow */
/* The subject is a copy of this process: memory that the sanitizer keeps from being used again would be dumped each time. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=1";
}
#else
enum { ROUNDS = 6, SEEDS = 12, OPS = 300 };
#endif
/* What the set of a round builds on, and who makes it. */
enum how { GOES_ON, NEW_CALLER, OLDER_PARENT, NO_PARENT, HOWS };
static const char *const names[HOWS] = { "one caller", "a new caller", "an older parent", "no parent" };

static char dir[64] = "/tmp/rounds-XXXXXX";
static uint64_t holes[HOWS];

static int open_set(unsigned round)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/%u", dir, round);
	mkdir(path, 0700);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0, "%s", path);
	return fd;
}

static void leave(void)
{
	remove_tree(dir);
}

/* The final round without what a whole dump asks of a process: this one has children, and shares memory with us. */
static int last_round(struct dump_round *r, struct err *e)
{
	return dump_track_choose(r, false, e) < 0 || dump_round_collect(r, false, true, e) < 0 || dump_round_pages(r, e) < 0 ?
		       -1 : r->sink->ops->finish(r->sink, e);
}

static struct dumper *new_caller(struct dumper *old)
{
	struct err e = { 0 };
	struct dumper *d;

	dumper_destroy(old);
	d = dumper_create(&e);
	CHECK(d, "%s", e.text);
	return d;
}

static struct dumper *make_set(struct dumper *d, const struct restless *s, unsigned round, enum how how, bool last)
{
	char parent[16];
	struct dump_request q = { .pid = s->pid, .track_mem = true, .requester_socket = -1, .parent = parent };
	struct dump_stats stats = { 0 };
	struct err e = { 0 };
	int rc;

	if (how == NEW_CALLER)
		d = new_caller(d);
	snprintf(parent, sizeof(parent), "../%u", how == OLDER_PARENT && round > 1 ? round - 2 : round - 1);
	if (round == 0 || how == NO_PARENT)
		q.parent = NULL;
	q.images_dir = q.work_dir = open_set(round);
	rc = last ? dump_round_run(d, &q, last_round, &stats, &e) : dumper_pre_dump(d, &q, &stats, &e);
	CHECK(rc == 0, "round %u, %s: %s", round, names[how], e.text);
	close(q.images_dir);
	if (round)
		holes[how] += stats.pages_skipped_parent;
	return d;
}

/* only_own: pages that the last set has itself, which are not all. */
static void read_chain(struct mirror *m, unsigned round, pid_t pid, bool only_own)
{
	static char buf[256 * DRAY_PAGE_SIZE];
	struct page_extent x;
	struct err e = { 0 };
	cleanup_fd int set = open_set(round);
	struct pagemap_reader *r = pagemap_open(set, PAGEMAP_TASK, (uint64_t)pid, &e);

	CHECK(r, "%s", e.text);
	while (pagemap_next(r, &x, &e) == 1) {
		for (uint64_t at = 0; at < x.nr; at += 256) {
			uint64_t n = x.nr - at < 256 ? x.nr - at : 256;

			if (!(x.flags & PAGE_PRESENT) || (only_own && x.depth))
				continue;
			CHECK(pread(x.fd, buf, pages_to_bytes(n), (off_t)(x.offset + pages_to_bytes(at))) == (ssize_t)pages_to_bytes(n));
			for (uint64_t i = 0; i < n; i++)
				mirror_put(m, x.vaddr + pages_to_bytes(at + i), buf + pages_to_bytes(i));
		}
	}
	CHECK(!err_is_set(&e), "%s", e.text);
	pagemap_close(r);
}

static uint64_t differences(unsigned round, pid_t pid, bool only_own)
{
	struct mirror m = { 0 };
	struct vma_list vmas = { 0 };
	struct err e = { 0 };
	size_t kept = 0;
	char path[32];
	uint64_t wrong;
	cleanup_fd int mem = -1;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(mem >= 0 && vma_list_read(&vmas, pid, VMA_READ_MAPS, &e) == 0, "%s", e.text);
	for (size_t i = 0; i < vmas.count; i++) /* shared memory is in page maps of its own */
		if (vmas.vma[i].kind != VMA_SHMEM)
			vmas.vma[kept++] = vmas.vma[i];
	vmas.count = kept;
	read_chain(&m, round, pid, only_own);
	wrong = mirror_differences(&m, pid, &vmas, mem, !only_own);
	mirror_finish(&m);
	vma_list_finish(&vmas);
	return wrong;
}

static void one_seed(uint64_t seed)
{
	struct restless s;
	struct dumper *d = new_caller(NULL);
	unsigned round = 0;

	CHECK(restless_start(&s, seed, false) == 0 && restless_await(&s, OPS) == 0);
	for (; round < ROUNDS; round++) {
		d = make_set(d, &s, round, (enum how)((seed * 7 + round * 3) % HOWS), false);
		CHECK(restless_await(&s, round % 2 ? OPS : OPS / 20) == 0);
	}
	CHECK(restless_stop(&s) == 0);
	/* Not without a parent: of the last set the chain is to be seen. */
	d = make_set(d, &s, round, (enum how)(seed % NO_PARENT), true);
	CHECK(differences(round, s.pid, false) == 0, "seed %llu, last over %s", (unsigned long long)seed, names[seed % NO_PARENT]);
	/* A tracker may call all of it changed: after a fork, say, whose child lived while the set before was read (witness.h). Contents tell. */
	CHECK(seed % NO_PARENT != OLDER_PARENT || differences(round, s.pid, true) > 0, "seed %llu: the last set alone can't be the memory",
	      (unsigned long long)seed);
	dumper_destroy(d);
	restless_end(&s);
	for (unsigned i = 0; i <= round; i++) {
		char path[96];

		snprintf(path, sizeof(path), "%s/%u", dir, i);
		remove_tree(path);
	}
}

int main(int argc, char **argv)
{
	uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : SEEDS, first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	char trackers[96];

	setvbuf(stdout, NULL, _IOLBF, 0);
	CHECK(mkdtemp(dir));
	atexit(leave);
	snprintf(trackers, sizeof(trackers), "%s/trackers", dir);
	setenv("DRAY_TRACKERS_DIR", trackers, 1);
	for (uint64_t seed = first; seed < first + seeds; seed++)
		one_seed(seed);
	for (int i = 0; i < HOWS; i++)
		printf("over %s: %llu pages left to the parent\n", names[i], (unsigned long long)holes[i]);
	CHECK(holes[GOES_ON] && (seeds < 4 || (holes[NEW_CALLER] && holes[OLDER_PARENT])) && !holes[NO_PARENT]);
	return 0;
}
