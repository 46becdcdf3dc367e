/* SPDX-License-Identifier: Apache-2.0 */
/* A file that is given blocks of 2 MiB holds what was written, and no memory behind its end. Whether the kernel had such blocks is not asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pageserver/images/huge_blocks.h"

enum { MIB = 1 << 20, PAGE = 4096 };

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)(offset * 31 + offset / PAGE * 7 + 1);
}

/* As a writer of pages does; pieces of no regular length. */
static void fill(int fd, uint64_t from, uint64_t to)
{
	static uint8_t piece[MIB];
	struct huge_blocks h;
	unsigned calls = 0;

	huge_blocks_begin(&h, fd, from);
	for (uint64_t at = from; at < to; calls++) {
		uint64_t len = (calls * 37 % 251 + 1) * PAGE;
		size_t step = huge_blocks_step(&h, at, len < to - at ? len : to - at);

		assert_in_range(step, 1, sizeof(piece));
		for (size_t i = 0; i < step; i++)
			piece[i] = byte_at(at + i);
		assert_int_equal(pwrite(fd, piece, step, (off_t)at), step);
		at += step;
		huge_blocks_reached(&h, fd, at);
	}
	huge_blocks_end(&h, fd, to);
}

static void expect(int fd, uint64_t size)
{
	uint8_t page[PAGE];
	struct stat st;

	assert_return_code(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, size);
	assert_int_equal(st.st_blocks * 512, size);
	for (uint64_t at = 0; at < size; at += PAGE) {
		assert_int_equal(pread(fd, page, PAGE, (off_t)at), PAGE);
		for (unsigned i = 0; i < PAGE; i++)
			if (page[i] != byte_at(at + i))
				fail_msg("wrong at %llu", (unsigned long long)at + i);
	}
}

static void files_of_any_length_hold_what_was_written(void **state)
{
	static const uint64_t sizes[] = { PAGE, 8 * MIB, 8 * MIB + PAGE, 10 * MIB - PAGE, 10 * MIB, 19 * MIB + 5 * PAGE };
	(void)state;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int fd = memfd_create("pages", MFD_CLOEXEC);

		assert_return_code(fd, 0);
		fill(fd, 0, sizes[i]);
		expect(fd, sizes[i]);
		close(fd);
	}
}

static void a_file_goes_on_where_it_was(void **state)
{
	static const uint64_t ends[] = { 3 * MIB, 9 * MIB + PAGE, 10 * MIB, 13 * MIB - PAGE, 21 * MIB };
	int fd = memfd_create("pages", MFD_CLOEXEC);
	uint64_t from = 0;
	(void)state;

	assert_return_code(fd, 0);
	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		fill(fd, from, ends[i]);
		from = ends[i];
		expect(fd, from);
	}
	close(fd);
}

/* What was written again later is punched out of older files, a page at a time. */
static void holes_can_be_punched(void **state)
{
	int fd = memfd_create("pages", MFD_CLOEXEC);
	uint8_t page[PAGE];
	(void)state;

	assert_return_code(fd, 0);
	fill(fd, 0, 14 * MIB);
	for (off_t at = 9 * MIB; at < 13 * MIB; at += 2 * PAGE)
		assert_return_code(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, PAGE), 0);
	for (off_t at = 9 * MIB; at < 13 * MIB; at += PAGE) {
		assert_int_equal(pread(fd, page, PAGE, at), PAGE);
		assert_int_equal(page[5], at / PAGE % 2 ? byte_at((uint64_t)at + 5) : 0);
	}
	close(fd);
}

static void other_filesystems_are_left_alone(void **state)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	struct huge_blocks h;
	(void)state;

	assert_return_code(fd, 0);
	huge_blocks_begin(&h, fd, 0);
	assert_int_equal(huge_blocks_step(&h, 0, 64 * MIB), 64 * MIB);
	huge_blocks_reached(&h, fd, 64 * MIB);
	assert_false(h.made);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_of_any_length_hold_what_was_written),
		cmocka_unit_test(a_file_goes_on_where_it_was),
		cmocka_unit_test(holes_can_be_punched),
		cmocka_unit_test(other_filesystems_are_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
