/* SPDX-License-Identifier: Apache-2.0 */
/* What we write is a page map to CRIU's own image tool, with both counters; what it writes is one to us. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pageserver/images/pagemap.h"
#include "proto/base/cleanup.h"

enum { PAGE = 4096, BASE = 0x10000 };

static char dir[] = "/tmp/stock-page-maps-XXXXXX";

static void clean(void)
{
	static const char *const names[] = { "pagemap-41.img", "pages-1.img", "pages-7.img" };
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

static void fail(const char *what, const char *detail)
{
	fprintf(stderr, "%s: %s\n", what, detail);
	exit(1);
}

static void check(int rc, const struct err *e)
{
	if (rc < 0)
		fail("failed", e->text);
}

/* A command line's output; exits where the command fails. */
static char *run(const char *command, char *out, size_t size)
{
	FILE *p = popen(command, "r");
	size_t n = p ? fread(out, 1, size - 1, p) : 0;

	out[n] = '\0';
	if (!p || pclose(p) != 0)
		fail(command, "failed");
	return out;
}

static void write_set(int fd)
{
	struct image_set_options o = { .dirfd = fd, .first_pages_id = 1 };
	static char pages[2 * PAGE];
	struct err e = { 0 };
	struct page_sink *s = image_set_create(&o, &e);
	bool parent;

	check(s ? 0 : -1, &e);
	check(s->ops->open(s, PAGEMAP_TASK, 41, &parent, &e), &e);
	check(s->ops->hole(s, BASE, 3, PAGE_IN_PARENT, &e), &e);
	check(s->ops->pages(s, BASE + 3 * PAGE, 2, PAGE_PRESENT, pages, &e), &e);
	check(s->ops->pages(s, BASE + 7 * PAGE, 1, PAGE_PRESENT | PAGE_LAZY, pages, &e), &e);
	check(s->ops->finish(s, &e), &e);
	s->ops->destroy(s);
}

/* crit of 3.x knows only the old counter, that of 4.2 the new one; flags are numbers or names. */
static void stock_reads_ours(int fd)
{
	static const char *const want[] = { "\"pages_id\": 1", "\"vaddr\": 65536, \"nr_pages\": 3", "\"vaddr\": 77824, \"nr_pages\": 2",
					    "\"vaddr\": 94208, \"nr_pages\": 1" };
	char command[128], out[4096];

	write_set(fd);
	snprintf(command, sizeof(command), "crit decode -i %s/pagemap-41.img", dir);
	run(command, out, sizeof(out));
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		if (!strstr(out, want[i]))
			fail(want[i], out);
}

static void write_stocks(int fd)
{
	cleanup_fd int pages = openat(fd, "pages-7.img", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char command[512], out[64];

	if (pages < 0 || ftruncate(pages, 3 * PAGE) < 0)
		fail("pages-7.img", strerror(errno));
	snprintf(command, sizeof(command),
		 "echo '{\"magic\": \"PAGEMAP\", \"entries\": [{\"pages_id\": 7}, {\"vaddr\": 65536, \"nr_pages\": 2}, "
		 "{\"vaddr\": 86016, \"nr_pages\": 1, \"flags\": 4}]}' | crit encode -o %s/pagemap-41.img", dir);
	run(command, out, sizeof(out));
}

static void we_read_stocks(int fd)
{
	struct pagemap_reader *r;
	struct err e = { 0 };

	write_stocks(fd);
	r = pagemap_open(fd, PAGEMAP_TASK, 41, &e);
	check(r ? 0 : -1, &e);
	if (!pagemap_covers(r, BASE, 2) || !pagemap_covers(r, BASE + 5 * PAGE, 1) || pagemap_covers(r, BASE + 2 * PAGE, 1))
		fail("stock's page map", "covers something else");
	pagemap_close(r);
}

int main(void)
{
	int fd;

	if (system("crit --help >/dev/null 2>&1") != 0) {
		puts("crit is not installed, or does not run");
		return 77;
	}
	if (!mkdtemp(dir))
		fail("make a directory", strerror(errno));
	atexit(clean);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	stock_reads_ours(fd);
	we_read_stocks(fd);
	close(fd);
	return 0;
}
