/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that should be absent and is not, as locked memory never is: before the process runs each such page is fetched and written over. However much
 * it is, neither side waits for the other with its hands full, and no page is asked for that came along with another.
 *
 * A child of this program is the process, a thread the source. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/agent/late_session.h"
#include "migrate/conduct/late_pages.h"
#include "proto/base/io.h"
#include "proto/image/vma_status.h"
#include "tests/lib/late_rig.h"

enum { PAGES = 8192, LOCKED = 6000, NO_DATA_FROM = 8000 };
#define SIZE ((size_t)PAGES << DRAY_PAGE_SHIFT)

static unsigned char *region;

/* Whole at first, then in pieces. */
static bool is_there(uint64_t page)
{
	return page < LOCKED || page % 7 < 5;
}

static uint64_t contents(uint64_t page)
{
	return page < NO_DATA_FROM ? late_contents(page) : 0;
}

static uint64_t address(uint64_t page)
{
	return (uint64_t)(uintptr_t)region + (page << DRAY_PAGE_SHIFT);
}

static void process_main(int line, const void *arg)
{
	(void)arg;
	madvise(region, SIZE, MADV_NOHUGEPAGE);
	for (uint64_t p = 0; p < PAGES; p++)
		if (is_there(p))
			memset(region + (p << DRAY_PAGE_SHIFT), 0xee, 64);
	late_process_give(line);
	for (;;)
		pause();
}

/* ---- the source ---- */

struct source { int fd; struct late_pages pages; uint64_t sent; };

static void put_contents(unsigned char *data, const struct page_run *r)
{
	memset(data, 0, pages_to_bytes(r->pages));
	for (uint32_t i = 0; i < r->pages; i++) {
		uint64_t v = contents((r->addr - address(0)) / DRAY_PAGE_SIZE + i);

		memcpy(data + pages_to_bytes(i), &v, sizeof(v));
	}
}

static void *source_main(void *arg)
{
	static unsigned char buf[LATE_HEADER_SIZE + LATE_AROUND_PAGES * DRAY_PAGE_SIZE];
	struct source *s = arg;
	struct late_message m;
	struct page_run r;

	for (;;) {
		size_t len = LATE_HEADER_SIZE;

		NEED(read_full(s->fd, buf, LATE_HEADER_SIZE) == 0 && late_decode(buf, false, &m) == 0);
		if (m.kind == LATE_ALL)
			return NULL;
		if (late_pages_near(&s->pages, m.addr, LATE_AROUND_PAGES, &r)) {
			put_contents(buf + LATE_HEADER_SIZE, &r);
			m = (struct late_message){ .addr = r.addr, .pages = r.pages, .kind = LATE_DATA,
						   .checksum = late_checksum(r.addr, buf + LATE_HEADER_SIZE, r.pages) };
			len += pages_to_bytes(r.pages);
			s->sent += r.pages;
		} else {
			m = (struct late_message){ .addr = m.addr, .pages = 1, .kind = LATE_ZERO };
		}
		late_encode(&m, buf);
		NEED(write_full(s->fd, buf, len) == 0);
	}
}

/* ---- the destination ---- */

static void no_deed(void *arg)
{
	(void)arg;
}

static void check(pid_t pid)
{
	for (uint64_t p = 0; p < PAGES; p++) {
		uint64_t v = 1;
		struct iovec local = { &v, sizeof(v) }, far = { (void *)(uintptr_t)address(p), sizeof(v) };

		if (!is_there(p))
			continue;
		NEED(process_vm_readv(pid, &local, 1, &far, 1, 0) == (ssize_t)sizeof(v));
		if (v != contents(p)) {
			fprintf(stderr, "FAILED: page %llu is %llx\n", (unsigned long long)p, (unsigned long long)v);
			exit(1);
		}
	}
}

static void pair_of(int pair[2])
{
	const int small = 16 * 1024;

	NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	for (int i = 0; i < 2; i++)
		NEED(setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
}

static struct late_session *session_of(int uffd, struct source *source, int push)
{
	Drayage__Range range = DRAYAGE__RANGE__INIT, *ranges = &range;
	struct run_list missing = { 0 };
	struct late_session *s;
	struct err e = { 0 };
	int pair[2];

	range.start = address(0);
	range.end = address(PAGES);
	s = late_session_create(&ranges, 1, uffd, &e);
	NEED(s && run_list_add(&missing, address(0), NO_DATA_FROM, RUN_DATA) == 0 && late_pages_init(&source->pages, &missing) == 0);
	run_list_finish(&missing);
	pair_of(pair);
	source->fd = pair[0];
	late_session_connect(s, LATE_FAULTS, pair[1]);
	late_session_connect(s, LATE_PUSH, push);
	return s;
}

static void arm(struct late_session *s, pid_t pid)
{
	VmaEntry vma = VMA_ENTRY__INIT, *vmas = &vma;
	MmEntry mm = MM_ENTRY__INIT;
	struct err e = { 0 };

	vma.start = address(0);
	vma.end = address(PAGES);
	vma.status = VMA_STATUS_ANON_PRIVATE;
	mm.vmas = &vmas;
	mm.n_vmas = 1;
	if (late_session_arm(s, pid, &mm, no_deed, NULL, &e) < 0) {
		fprintf(stderr, "FAILED: %s\n", e.text);
		exit(1);
	}
}

int main(void)
{
	static struct source source;
	struct late_process process;
	struct late_session *s;
	pthread_t thread;
	int push[2];

	region = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(region != MAP_FAILED);
	pair_of(push);
	process = late_process_start(process_main, NULL);
	s = session_of(process.uffd, &source, push[1]);
	alarm(300); /* two that wait for each other do so for ever */
	NEED(pthread_create(&thread, NULL, source_main, &source) == 0);
	arm(s, process.pid);
	check(process.pid);
	late_session_finish(s);
	NEED(pthread_join(thread, NULL) == 0);
	kill(process.pid, SIGKILL);
	late_session_destroy(s);
	waitpid(process.pid, NULL, 0);
	late_pages_finish(&source.pages);
	printf("%llu pages sent\n", (unsigned long long)source.sent);
	/* Once each, but for few where what comes along ends. */
	NEED(source.sent <= NO_DATA_FROM + NO_DATA_FROM / 16);
	return 0;
}
