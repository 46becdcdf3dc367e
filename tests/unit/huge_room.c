/* SPDX-License-Identifier: Apache-2.0 */
/* A pages file on tmpfs is what was written, no byte and no page more, whether or not there were huge pages for it; a filesystem that is nearly full
 * holds what it can hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <linux/magic.h>
#include <unistd.h>

#include "pageserver/images/pages_file.h"
#include "proto/base/cleanup.h"

enum { PAGE = 4096, MIB = 1 << 20, MOST = 3 * MIB };

static char dir_name[64];
static int dir;
static uint8_t *bytes; /* MOST */

static int make_dir(void **state)
{
	struct statfs f;

	(void)state;
	strcpy(dir_name, "/dev/shm/huge-room-XXXXXX");
	bytes = malloc(MOST);
	if (!bytes || !mkdtemp(dir_name))
		return -1;
	dir = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (statfs("/dev/shm", &f) == 0 && f.f_type != TMPFS_MAGIC)
		print_message("/dev/shm is no tmpfs: nothing of what is tested here happens\n");
	return dir < 0 ? -1 : 0;
}

static int remove_dir(void **state)
{
	(void)state;
	unlinkat(dir, "pages-1.img", 0);
	unlinkat(dir, "pages-2.img", 0);
	close(dir);
	free(bytes);
	return rmdir(dir_name);
}

/* What the file has at an offset. */
static void fill(uint8_t *to, uint64_t offset, size_t len)
{
	for (size_t i = 0; i < len; i += 8)
		memcpy(to + i, &(uint64_t){ (offset + i) * 0x9e3779b97f4a7c15u + 1 }, 8);
}

static int put(struct pages_writer *w, uint64_t at, uint64_t len, bool in_place)
{
	while (len > 0) {
		uint64_t part = len, room = len;
		uint8_t *to = in_place ? pages_writer_room(w, &room) : NULL;
		int rc;

		if (to && room < part)
			part = room;
		fill(to ? to : bytes, at, part);
		rc = pages_writer_put(w, to ? to : bytes, part);
		if (rc < 0)
			return rc;
		at += part;
		len -= part;
	}
	return 0;
}

static uint64_t put_mixture(struct pages_writer *w, uint64_t at, uint64_t end)
{
	static const unsigned pages[] = { 1, 300, 17, 768, 5, 16, 600, 256, 256, 1 };

	for (unsigned i = 0; at < end; i++) {
		uint64_t len = (uint64_t)pages[i % 10] * PAGE;

		len = len < end - at ? len : end - at;
		assert_int_equal(put(w, at, len, i / 10 % 2), 0);
		at += len;
	}
	return at;
}

static void open_file(struct pages_writer *w, uint32_t id, bool anew, uint64_t offset)
{
	struct err e = { 0 };

	if (pages_writer_open(w, dir, id, anew, offset, &e) < 0)
		fail_msg("%s", e.text);
}

static void expect_file(const char *name, uint64_t len)
{
	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	static uint8_t there[MIB], right[MIB];
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, len);
	assert_int_equal(st.st_blocks * 512, len);
	for (uint64_t at = 0; at < len;) {
		ssize_t n = pread(fd, there, sizeof(there), (off_t)at);

		assert_true(n > 0);
		fill(right, at, (size_t)n);
		assert_memory_equal(there, right, (size_t)n);
		at += (uint64_t)n;
	}
}

static void a_file_is_what_was_written(void **state)
{
	static const uint64_t lengths[] = { PAGE, 2 * MIB - PAGE, 2 * MIB, 2 * MIB + PAGE, 7 * MIB + 3 * PAGE, 37 * MIB + PAGE };
	struct pages_writer w;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(pages_writer_init(&w, &e), 0);
	for (unsigned i = 0; i < 6; i++) {
		open_file(&w, 1, true, 0);
		put_mixture(&w, 0, lengths[i]);
		assert_int_equal(pages_writer_close(&w, false), 0);
		expect_file("pages-1.img", lengths[i]);
	}
	pages_writer_finish(&w);
}

/* Whether there are huge pages for its next bytes, of which so many are announced. */
static bool has_room(struct pages_writer *w, uint64_t announced)
{
	return pages_writer_room(w, &announced) != NULL;
}

/* What has a megabyte to say at once is no small file. One attempt may fail wherever memory is in pieces. */
static void a_large_file_has_huge_pages_from_its_beginning(void **state)
{
	bool small = false, large = false, later = false;
	struct pages_writer w;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(pages_writer_init(&w, &e), 0);
	for (unsigned i = 0; i < 20 && !large; i++) {
		open_file(&w, 1, true, 0);
		small |= has_room(&w, MIB - PAGE);
		large |= has_room(&w, MIB);
		assert_int_equal(put(&w, 0, MIB + PAGE, true), 0);
		assert_int_equal(pages_writer_close(&w, false), 0);
		expect_file("pages-1.img", MIB + PAGE);
		open_file(&w, 2, true, 0);
		put_mixture(&w, 0, 2 * MIB);
		later |= has_room(&w, PAGE);
		pages_writer_drop(&w);
	}
	pages_writer_finish(&w);
	assert_false(small);
	if (!large && !later) {
		print_message("there are no huge pages for files here\n");
		skip();
	}
	assert_true(large);
}

/* As senders do that mix page maps. */
static void a_file_is_gone_on_with(void **state)
{
	struct pages_writer w;
	struct err e = { 0 };
	uint64_t at = 0;

	(void)state;
	assert_int_equal(pages_writer_init(&w, &e), 0);
	for (unsigned i = 0; i < 4; i++) {
		open_file(&w, 1, i == 0, at);
		at = put_mixture(&w, at, at + 5 * MIB + PAGE);
		assert_int_equal(pages_writer_close(&w, false), 0);
		expect_file("pages-1.img", at);
		open_file(&w, 2, true, 0);
		put_mixture(&w, 0, 9 * MIB);
		pages_writer_drop(&w);
	}
	pages_writer_finish(&w);
}

/* A filesystem of 16 MiB holds two files of 15.75 and as much as is left. */
static void what_fits_is_kept(void **state)
{
	const uint64_t large = 15 * MIB + 768 * 1024, small = 128 * 1024;
	struct pages_writer w;
	struct err e = { 0 };
	int around = dir, rc = 0;

	(void)state;
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", dir_name, "tmpfs", 0, "size=16m") < 0) {
		print_message("no mount of one's own: %s\n", strerror(errno));
		skip();
	}
	dir = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(pages_writer_init(&w, &e), 0);
	open_file(&w, 1, true, 0);
	put_mixture(&w, 0, large);
	assert_int_equal(pages_writer_close(&w, false), 0);
	open_file(&w, 2, true, 0);
	put_mixture(&w, 0, small);
	assert_int_equal(pages_writer_close(&w, false), 0);
	expect_file("pages-1.img", large);
	expect_file("pages-2.img", small);
	open_file(&w, 2, true, 0);
	for (uint64_t at = 0; at < 2 * MIB && rc == 0; at += MIB)
		rc = put(&w, at, MIB, true);
	assert_int_equal(rc, -ENOSPC);
	pages_writer_finish(&w);
	close(dir);
	assert_int_equal(umount2(dir_name, MNT_DETACH), 0);
	dir = around;
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_DIR(a_file_is_what_was_written),
		IN_DIR(a_large_file_has_huge_pages_from_its_beginning),
		IN_DIR(a_file_is_gone_on_with),
		IN_DIR(what_fits_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
