/* SPDX-License-Identifier: Apache-2.0 */
/* What a sender of ranges sends is in the files that are published, whichever way it went: received into huge pages, spliced through a pipe, or copied where the socket
 * or the filesystem can't be spliced. Who ends, falls silent or trickles in the middle of a large range, or sends more than fits, has published nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pageserver/images/pagemap.h"
#include "pageserver/stock/receiver.h"
#include "proto/base/io.h"
#include "proto/wire/ps_command.h"
#include "tests/lib/bench_env.h"
#include "tests/lib/page_sets.h"

enum { PAGE = 4096, MIB = 1 << 20, TASK = 0x2901 };

/* ---- a sender in a thread ---- */

enum ending { CLOSES, ENDS, FALLS_SILENT, TRICKLES };
struct sender {
	int sock;
	enum ps_layout layout;
	const unsigned *pages; /* of its ranges, up to a 0 */
	size_t missing;        /* bytes of the last range that don't come */
	enum ending how;
	uint64_t sent;         /* bytes of pages */
	uint64_t vaddr;
	pthread_t thread;
};

/* The file's words. */
static uint64_t word(uint64_t at)
{
	return (at + 1) * 0x9e3779b97f4a7c15u;
}

/* In pieces of no page's size. False: the other side is gone. */
static bool say_pages(struct sender *s, size_t len)
{
	static const size_t pieces[] = { 24, 5000, 65536, 8, 300000, 4096 };
	static uint64_t bytes[300000 / 8 + 1];

	for (unsigned i = 0; len > 0; i++) {
		size_t part = pieces[i % 6] < len ? pieces[i % 6] : len;

		for (size_t at = 0; at < part; at += 8)
			bytes[at / 8] = word(s->sent + at);
		if (write_full(s->sock, bytes, part) < 0)
			return false;
		s->sent += part;
		len -= part;
	}
	return true;
}

static bool say(const struct sender *s, struct ps_command c)
{
	uint8_t header[PS_HEADER_MAX];

	c.dst = TASK;
	ps_encode(s->layout, &c, header);
	return write_full(s->sock, header, s->layout) == 0;
}

static void *sender_main(void *arg)
{
	struct sender *s = arg;
	bool ok = say(s, (struct ps_command){ .code = PS_OPEN2 });

	for (const unsigned *p = s->pages; ok && *p; p++) {
		struct ps_command c = { .code = PS_ADD_F, .flags = PS_PRESENT, .nr = *p, .vaddr = s->vaddr };

		ok = say(s, c) && say_pages(s, (size_t)*p * PAGE - (p[1] ? 0 : s->missing));
		s->vaddr += (*p + 1ull) * PAGE;
	}
	if (s->how == CLOSES)
		ok = ok && say(s, (struct ps_command){ .code = PS_FORCE_CLOSE }) && write_full(s->sock, "behind", 6) == 0;
	if (s->how == ENDS || s->how == CLOSES)
		shutdown(s->sock, SHUT_WR);
	for (; s->how == TRICKLES && ok; usleep(200)) /* a range would take half a minute so */
		ok = say_pages(s, 8);
	return NULL;
}

/* ---- a session ---- */

enum link { UNIX, TCP };
struct session {
	struct sender sender;
	int sock;
	bool inherited;
	struct page_server_config config;
	struct page_server_report report;
	struct err e;
};

static int serve(struct session *s, enum link link)
{
	struct image_set_options o = { .dirfd = page_sets.set[0], .first_pages_id = 1 };
	struct page_sink *sink = image_set_create(&o, &s->e);
	int pair[2], rc;

	assert_non_null(sink);
	assert_int_equal(link == TCP ? bench_tcp_pair(pair) : socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s->sender.sock = pair[0];
	s->sock = pair[1];
	s->sender.vaddr = 0x10000;
	assert_int_equal(pthread_create(&s->sender.thread, NULL, sender_main, &s->sender), 0);
	rc = ps_receive(s->sock, s->inherited, sink, &s->config, &s->report, &s->e);
	sink->ops->destroy(sink);
	return rc;
}

static void done(struct session *s)
{
	close(s->sock);
	pthread_join(s->sender.thread, NULL);
	close(s->sender.sock);
}

/* And removes them. */
static void expect_pages(uint64_t bytes)
{
	static uint64_t there[MIB / 8];
	int fd = openat(page_sets.set[0], "pages-1.img", O_RDONLY | O_CLOEXEC);
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, bytes);
	for (uint64_t at = 0; at < bytes;) {
		ssize_t n = pread(fd, there, sizeof(there), (off_t)at);

		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i += 8)
			if (there[i / 8] != word(at + (uint64_t)i))
				fail_msg("wrong at %llu", (unsigned long long)at + (unsigned long long)i);
		at += (uint64_t)n;
	}
	close(fd);
	unlinkat(page_sets.set[0], "pages-1.img", 0);
	unlinkat(page_sets.set[0], "pagemap-41.img", 0);
}

static void expect_nothing(void)
{
	assert_int_equal(files_in(page_sets.set[0]), 0);
}

/* No pages are made ahead of a file whose size is limited. */
static void limit_files(void)
{
	struct rlimit l = { .rlim_cur = 1ull << 40, .rlim_max = 1ull << 40 };

	assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

/* Calls of splice to (or from) a pipe fail as where the other end can't do it. */
static void refuse_splice(bool into_pipe)
{
	enum { OFF_OUT = 3 };
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_splice, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[OFF_OUT])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, into_pipe ? 0 : 1, into_pipe ? 1 : 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(steps) / sizeof(steps[0]), .filter = steps };

	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* ---- what arrives ---- */

static const unsigned mixture[] = { 1, 16, 15, 300, 700, 256, 1, 40, 513, 2, 17, 900, 0 };

static void all_arrives(enum link link, enum ps_layout layout, bool inherited)
{
	struct session s = { .sender = { .layout = layout, .pages = mixture }, .inherited = inherited };
	char behind[16] = "";

	if (serve(&s, link) < 0)
		fail_msg("%s", s.e.text);
	if (inherited) {
		assert_int_equal(read_full(s.sock, behind, 6), 0);
		assert_string_equal(behind, "behind");
	}
	done(&s);
	expect_pages(s.sender.sent);
	assert_int_equal(s.report.pages, s.sender.sent / PAGE);
}

static void each_way_arrives(void)
{
	for (unsigned i = 0; i < 8; i++)
		all_arrives(i & 1 ? TCP : UNIX, i & 2 ? PS_LAYOUT_24 : PS_LAYOUT_32, i & 4);
}

static void received_into_huge_pages(void **state)
{
	(void)state;
	each_way_arrives();
}

/* Limits and filters are for good: from here on in the order of the tests. */
static void spliced(void **state)
{
	(void)state;
	limit_files();
	each_way_arrives();
}

static void copied_where_the_filesystem_cannot_be_spliced(void **state)
{
	(void)state;
	refuse_splice(false);
	each_way_arrives();
}

static void copied_where_the_socket_cannot_be_spliced_either(void **state)
{
	(void)state;
	refuse_splice(true);
	each_way_arrives();
}

/* ---- what doesn't ---- */

static const unsigned large[] = { 300, 600, 0 };

static void broken_off(enum link link, enum ending how, bool inherited, enum err_kind kind, const char *says)
{
	struct session s = { .sender = { .layout = PS_LAYOUT_32, .pages = large, .missing = MIB + 8, .how = how }, .inherited = inherited,
			     .config.limits = { .idle_ms = how == FALLS_SILENT ? 30 : 0, .time_ms = how == TRICKLES ? 100 : 0 } };

	assert_int_equal(serve(&s, link), -1);
	assert_int_equal(s.e.kind, kind);
	if (!strstr(s.e.text, says))
		fail_msg("\"%s\" does not say \"%s\"", s.e.text, says);
	done(&s);
	expect_nothing();
}

/* The small file's first 2 MiB are spliced, whether or not huge pages are to be had. */
static void who_breaks_off_in_a_range_is_told_apart(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		broken_off(i & 1 ? TCP : UNIX, ENDS, i & 2, ERR_PEER, "task 41: 0x13d000, 600 pages: the connection ended");
		broken_off(i & 1 ? TCP : UNIX, FALLS_SILENT, i & 2, ERR_TIMEOUT, "nothing came for 30 ms");
		broken_off(i & 1 ? TCP : UNIX, TRICKLES, i & 2, ERR_TIMEOUT, "longer than 100 ms");
	}
}

static void overflow(enum link link)
{
	static const unsigned too_much[] = { 256, 256, 256, 256, 1024, 1024, 0 };
	struct session s = { .sender = { .layout = PS_LAYOUT_32, .pages = too_much } };

	assert_int_equal(serve(&s, link), -1);
	assert_int_equal(s.e.kind, ERR_SYSTEM);
	assert_int_equal(s.e.num, ENOSPC);
	done(&s);
	expect_nothing();
}

/* A filesystem of 8 MiB. */
static void a_full_filesystem_ends_the_session(void **state)
{
	char path[96];
	int around = page_sets.set[0];

	(void)state;
	snprintf(path, sizeof(path), "%s/0", page_sets.root);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("none", path, "tmpfs", 0, "size=8m") < 0) {
		print_message("no mount of one's own: %s\n", strerror(errno));
		skip();
	}
	page_sets.set[0] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	overflow(UNIX);
	overflow(TCP);
	close(page_sets.set[0]);
	assert_int_equal(umount2(path, MNT_DETACH), 0);
	page_sets.set[0] = around;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SETS(received_into_huge_pages),
		IN_SETS(who_breaks_off_in_a_range_is_told_apart),
		IN_SETS(a_full_filesystem_ends_the_session),
		IN_SETS(spliced),
		IN_SETS(a_full_filesystem_ends_the_session),
		IN_SETS(copied_where_the_filesystem_cannot_be_spliced),
		IN_SETS(copied_where_the_socket_cannot_be_spliced_either),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
