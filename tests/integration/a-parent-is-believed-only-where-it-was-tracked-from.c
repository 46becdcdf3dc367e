/* SPDX-License-Identifier: Apache-2.0 */
/* A set refers to its parent unseen only where tracking began with that parent: a false page in it shows who looked. Any other parent is compared;
 * one of a process that had the number before counts for nothing. What a caller left is given to one who may have it, once. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/dump/dump.h"
#include "migrate/dump/dump_set.h"
#include "migrate/dump/tracker_holder.h"
#include "pageserver/images/pagemap.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "tests/lib/remove_tree.h"
#include "tests/lib/subject.h"

enum { PAGES = 512, PAGE = 4096, FALSE_PAGE = 100, ASKERS = 8 };

static char dir[64] = "/tmp/believed-XXXXXX", trackers[96];
static char *memory; /* at the same address in the subject */
static pid_t subject;

static void clean(void)
{
	remove_tree(dir);
}

static int idle(int line, void *arg)
{
	char c;

	(void)arg;
	for (int i = 0; i < PAGES; i++)
		memset(memory + (size_t)i * PAGE, i % 250 + 1, PAGE);
	subject_say(line, 'r');
	return (int)read(line, &c, 1);
}

static int open_set(const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	mkdir(path, 0700);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0, "%s", path);
	return fd;
}

/* By a caller of its own. Returns the pages left to the parent. */
static uint64_t pre_dump(const char *name, const char *parent)
{
	struct dump_request q = { .pid = subject, .parent = parent, .track_mem = true, .requester_socket = -1 };
	struct dump_stats stats = { 0 };
	struct err e = { 0 };
	struct dumper *d = dumper_create(&e);

	q.images_dir = q.work_dir = open_set(name);
	CHECK(d && dumper_pre_dump(d, &q, &stats, &e) == 0, "%s: %s", name, e.text);
	close(q.images_dir);
	dumper_destroy(d);
	return stats.pages_skipped_parent;
}

static struct page_extent find(struct pagemap_reader *r, uint64_t addr)
{
	struct page_extent x;
	struct err e = { 0 };

	while (pagemap_next(r, &x, &e) == 1)
		if (addr >= x.vaddr && addr < x.vaddr + x.nr * PAGE) {
			x.offset += addr - x.vaddr;
			return x;
		}
	CHECK(false, "no page %llx: %s", (unsigned long long)addr, e.text);
	return x;
}

static char *false_page(void)
{
	return memory + (size_t)FALSE_PAGE * PAGE;
}

/* The first byte of the page as the chain has it; put: changed there, wherever in the chain it is. */
static unsigned char in_chain(const char *name, unsigned char put)
{
	cleanup_fd int set = open_set(name);
	struct err e = { 0 };
	struct pagemap_reader *r = pagemap_open(set, PAGEMAP_TASK, (uint64_t)subject, &e);
	struct page_extent x;
	unsigned char is;

	CHECK(r, "%s", e.text);
	x = find(r, (uintptr_t)false_page());
	CHECK(pread(x.fd, &is, 1, (off_t)x.offset) == 1);
	if (put) {
		char path[32];
		cleanup_fd int fd = -1;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", x.fd);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		CHECK(fd >= 0 && pwrite(fd, &put, 1, (off_t)x.offset) == 1);
	}
	pagemap_close(r);
	return is;
}

static uint64_t start_time(void)
{
	uint64_t t = 0;

	CHECK(tracker_start_time(subject, &t) == 0);
	return t;
}

static void the_last_set_is_believed_any_other_is_compared(void)
{
	const unsigned char right = FALSE_PAGE % 250 + 1, wrong = 0xfe;

	pre_dump("0", NULL);
	CHECK(in_chain("0", wrong) == right);
	CHECK(pre_dump("1", "../0") >= PAGES - 8);
	CHECK(in_chain("1", 0) == wrong, "the tracker was not believed");
	CHECK(pre_dump("2", "../0") >= PAGES - 8);
	CHECK(in_chain("2", 0) == right, "a set that was not tracked from was believed");
}

/* Its keeper has the memory and can't be found: nobody else can track. */
static void without_the_tracker_the_last_set_is_compared_too(void)
{
	const unsigned char right = FALSE_PAGE % 250 + 1, wrong = 0xfe;

	pre_dump("8", NULL);
	remove_tree(trackers);
	CHECK(in_chain("8", wrong) == right);
	CHECK(pre_dump("9", "../8") >= PAGES - 8);
	CHECK(in_chain("9", 0) == right, "with nothing left of the tracker the parent was believed");
}

static void a_former_owner_of_the_number_counts_for_nothing(void)
{
	uint8_t id[IMAGES_SET_ID] = { 1 };
	uint64_t uptime;
	struct err e = { 0 };
	cleanup_fd int set = open_set("3");

	CHECK(dump_uptime(&uptime, &e) == 0 && dump_write_pre_dump(set, id, (uint32_t)subject, start_time() - 1, uptime, &e) == 0, "%s", e.text);
	CHECK(pre_dump("4", "../3") == 0);
	/* Stock criu's say only when they were taken. */
	CHECK(unlinkat(open_set("4"), "drayage.img", 0) == 0);
	CHECK(pre_dump("5", "../4") >= PAGES - 8);
	CHECK(dump_write_pre_dump(open_set("4"), id, (uint32_t)subject, 0, 10000, &e) == 0 && unlinkat(open_set("4"), "drayage.img", 0) == 0);
	CHECK(pre_dump("6", "../4") == 0);
}

static pid_t take_as(uid_t uid)
{
	struct tracker_left left;
	int uffd;
	pid_t pid = fork();

	if (pid == 0) {
		if (uid && setuid(uid) < 0)
			_exit(2);
		_exit(tracker_left_take(subject, start_time(), &left, &uffd, NULL) ? 0 : 1);
	}
	return pid;
}

static void what_was_left_is_given_once_and_not_to_others(void)
{
	struct tracker_left left;
	int status, got = 0;
	pid_t asker[ASKERS];

	pre_dump("7", NULL);
	CHECK(tracker_left_look(subject, start_time(), &left));
	CHECK(!tracker_left_look(subject, start_time() + 1, &left));
	asker[0] = take_as(65534);
	CHECK(waitpid(asker[0], &status, 0) == asker[0] && WIFEXITED(status) && WEXITSTATUS(status) == 1, "another user got it");
	for (int i = 0; i < ASKERS; i++)
		asker[i] = take_as(0);
	for (int i = 0; i < ASKERS; i++) {
		CHECK(waitpid(asker[i], &status, 0) == asker[i] && WIFEXITED(status));
		got += WEXITSTATUS(status) == 0;
	}
	CHECK(got == 1, "%d of them got it", got);
	CHECK(!tracker_left_look(subject, start_time(), &left));
}

static bool nothing_is_left(void *unused)
{
	DIR *d = opendir(trackers);
	struct dirent *f;
	int n = 0;

	(void)unused;
	while (d && (f = readdir(d)))
		n += f->d_name[0] != '.' && !strstr(f->d_name, ".base"); /* a file: the next caller's to sweep */
	if (d)
		closedir(d);
	return n == 0;
}

int main(void)
{
	struct subject s;

	if (!dump_can_track()) {
		printf("no tracker on this kernel\n");
		return 77;
	}
	CHECK(mkdtemp(dir));
	atexit(clean);
	snprintf(trackers, sizeof(trackers), "%s/trackers", dir);
	setenv("DRAY_TRACKERS_DIR", trackers, 1);
	memory = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED && madvise(memory, (size_t)PAGES * PAGE, MADV_NOHUGEPAGE) == 0);
	s = subject_start(idle, NULL);
	subject = s.pid;
	subject_expect(s.line, 'r');
	the_last_set_is_believed_any_other_is_compared();
	a_former_owner_of_the_number_counts_for_nothing();
	what_was_left_is_given_once_and_not_to_others();
	without_the_tracker_the_last_set_is_compared_too();
	subject_end(&s);
	await(nothing_is_left, NULL, "the keeper of the tracker to end with the process");
	return 0;
}
