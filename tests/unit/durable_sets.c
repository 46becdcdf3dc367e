/* SPDX-License-Identifier: Apache-2.0 */
/* What is durable is on disk before it has its name, and its name before the writer says that it is done; what is not asked to be is not synced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pageserver/stock/page_server.h"
#include "pageserver/stock/session_dir.h"
#include "pageserver/stock/ps_session.h"
#include "pageserver/stock/sessions.h"
#include "proto/wire/ps_command.h"
#include "tests/lib/page_sets.h"

static const int *const set = page_sets.set;
/* What happened, a letter each: s a file synced, D a directory synced, m a file moved into its place, t a sender told its status. */
static char happened[64];
static bool names_are_lost; /* directories can't be synced, but the first of them: a set's own */

static void note(char what)
{
	size_t n = strlen(happened);

	if (n + 1 < sizeof(happened))
		happened[n] = what;
}

/* In place of the C library's: the calls are noted, and made. */
int fsync(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	note(S_ISDIR(st.st_mode) ? 'D' : 's');
	if (names_are_lost && S_ISDIR(st.st_mode) && strchr(happened, 'D') != strrchr(happened, 'D')) {
		errno = EIO;
		return -1;
	}
	return fdatasync(fd);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	int (*real)(int, const char *, int, const char *, unsigned);

	*(void **)&real = dlsym(RTLD_NEXT, "renameat2");
	note('m');
	return real(from_dir, from, to_dir, to, flags);
}

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
	if (len == PS_STATUS_ANSWER)
		note('t');
	return sendto(fd, bytes, len, flags, NULL, 0);
}

static int make_sets(void **state)
{
	memset(happened, 0, sizeof(happened));
	return page_sets_make(state);
}

static void write_set(bool durable)
{
	struct image_set_options o = { .dirfd = set[0], .first_pages_id = 1, .durable = durable };
	struct err e = { 0 };
	struct page_sink *s = image_set_create(&o, &e);

	assert_non_null(s);
	set_open(s, PAGEMAP_TASK, 41);
	set_put(s, 0, "ab");
	set_open(s, PAGEMAP_SHMEM, 7);
	set_put(s, 0, "c");
	set_finish(s);
}

static void files_are_synced_before_they_have_their_names(void **state)
{
	(void)state;
	write_set(true);
	assert_string_equal(happened, "ssssmmmmD"); /* pages file and page map of each */
}

/* What is folded is written anew: files, names aside, and the link to the parent that goes; then they get their names. */
static void folded_files_are_synced_too(void **state)
{
	struct image_set_options o = { .dirfd = set[1], .first_pages_id = 1, .parent = "../0", .durable = true, .flat = true };
	struct err e = { 0 };
	struct page_sink *s;

	(void)state;
	write_set(false);
	memset(happened, 0, sizeof(happened));
	s = image_set_create(&o, &e);
	assert_non_null(s);
	set_open(s, PAGEMAP_TASK, 41);
	set_put(s, 0, "A");
	set_hole(s, 1, 1);
	set_finish(s);
	assert_string_equal(happened, "ss" "ssmmDD" "mmD");
}

static void nothing_is_synced_unasked(void **state)
{
	(void)state;
	write_set(false);
	assert_string_equal(happened, "mmmm");
}

static void say(int fd, struct ps_command c)
{
	unsigned char header[PS_HEADER_MAX];

	ps_encode(PS_LAYOUT_32, &c, header);
	assert_int_equal(write(fd, header, sizeof(header)), sizeof(header));
}

/* One page map with a page, by the page server. */
static enum stock_outcome run_session(bool durable)
{
	enum stock_outcome how;
	char template[128];
	struct page_server_options o = { .images_dir = template, .durable = durable };
	struct sessions sessions = { .options = &o };
	struct session_name n = { .number = 1, .peer = "unix" };
	struct session_dir d;
	unsigned char page[4096] = { 1 };
	struct err e = { 0 };
	int pair[2];

	snprintf(template, sizeof(template), "%s/0/%%p/%%n", page_sets.root);
	strcpy(sessions.template, template);
	assert_int_equal(session_dir_make(template, &n, &d, &e), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	say(pair[1], (struct ps_command){ .code = PS_OPEN2, .dst = 41 << 8 | 1 });
	say(pair[1], (struct ps_command){ .code = PS_ADD_F, .flags = PS_PRESENT, .nr = 1, .vaddr = 0x1000, .dst = 41 << 8 | 1 });
	assert_int_equal(write(pair[1], page, sizeof(page)), sizeof(page));
	say(pair[1], (struct ps_command){ .code = PS_CLOSE });
	shutdown(pair[1], SHUT_WR);
	how = stock_session_run(&sessions, pair[0], &d, NULL, -1, NULL, &e);
	assert_true(how == STOCK_PUBLISHED || strstr(e.text, "to disk"));
	close(pair[0]);
	close(pair[1]);
	unlinkat(d.fd, "pagemap-41.img", 0);
	unlinkat(d.fd, "pages-65537.img", 0);
	session_dir_close(&d, true);
	assert_int_equal(unlinkat(set[0], "unix", AT_REMOVEDIR), 0);
	return how;
}

/* Files, their names, and the directories that were made for them. */
static void a_status_means_that_all_is_on_the_disk(void **state)
{
	(void)state;
	assert_int_equal(run_session(true), STOCK_PUBLISHED);
	assert_string_equal(happened, "ssmmDDDt");
}

static void a_session_syncs_nothing_unasked(void **state)
{
	(void)state;
	assert_int_equal(run_session(false), STOCK_PUBLISHED);
	assert_string_equal(happened, "mmt");
}

/* And not one whose sender was kept out: what was last published for it is nobody's parent any more. */
static void where_its_directory_is_lost_a_session_has_failed(void **state)
{
	(void)state;
	names_are_lost = true;
	assert_int_equal(run_session(true), STOCK_FAILED);
	names_are_lost = false;
	assert_string_equal(happened, "ssmmDD");
}

#define NOTED(f) cmocka_unit_test_setup_teardown(f, make_sets, page_sets_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		NOTED(files_are_synced_before_they_have_their_names),
		NOTED(folded_files_are_synced_too),
		NOTED(nothing_is_synced_unasked),
		NOTED(a_status_means_that_all_is_on_the_disk),
		NOTED(a_session_syncs_nothing_unasked),
		NOTED(where_its_directory_is_lost_a_session_has_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
