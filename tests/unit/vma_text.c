/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc/PID/maps and smaps print is understood: fields, classes, escapes, flags, the mover's own mapping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "migrate/mm/vma.h"

static const char maps[] =
	"55d0c0a00000-55d0c0a02000 r--p 00001000 fd:0a 131077                     /usr/bin/with space\n"
	"55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                          [heap]\n"
	"7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
	"7f0000001000-7f0000002000 ---p 00000000 00:00 0                          [anon:glibc: malloc]\n"
	"7f0000002000-7f0000003000 rw-s 00000000 00:01 1024                       /dev/zero (deleted)\n"
	"7f0000003000-7f0000004000 rw-s 00002000 00:01 77                         /memfd:a name (deleted)\n"
	"7f0000004000-7f0000005000 rw-p 00000000 00:01 77                         /memfd:a name (deleted)\n"
	"7f0000005000-7f0000006000 rw-s 00000000 00:01 3                          /SYSV00000000 (deleted)\n"
	"7f0000006000-7f0000007000 rw-s 00000000 fd:00 12                         /tmp/two\\012lines (deleted)\n"
	"7f0000007000-7f0000008000 rw-s 00000000 00:0e 9                          /[aio] (deleted)\n"
	"7f0000008000-7f0000009000 rw-s 08000000 00:0f 2068                       anon_inode:[io_uring]\n"
	"7f0000200000-7f0000400000 rw-p 00000000 00:10 11                         /anon_hugepage (deleted)\n"
	"7f0000400000-7f0000401000 rw-s 00000000 00:05 99                         /dev/dri/card0\n"
	"7f0000401000-7f0000402000 rw-s 00000000 00:18 4                          /dev/shm/segment\n"
	"7f0000402000-7f0000403000 rw-s 00000000 00:01 8                          [anon_shmem:named]\n"
	"7f0000403000-7f0000404000 rw-s 00000000 00:08 8                          socket:[1234]\n"
	"7f0000404000-7f0000405000 rw-s 00000000 00:08 8                          /secretmem (deleted)\n"
	"7ffc66c64000-7ffc66c85000 rw-p 00000000 00:00 0                          [stack]\n"
	"7ffc66d00000-7ffc66d04000 r--p 00000000 00:00 0                          [vvar]\n"
	"7ffc66d04000-7ffc66d06000 r--p 00000000 00:00 0                          [vvar_vclock]\n"
	"7ffc66d06000-7ffc66d08000 r-xp 00000000 00:00 0                          [vdso]\n"
	"7ffc66d10000-7ffc66d11000 r-xp 00000000 00:00 0                          [uprobes]\n"
	"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

static void parse(struct vma_list *l, const char *text, enum vma_read how)
{
	struct err e = { 0 };

	if (vma_list_parse(l, text, strlen(text), how, &e) < 0)
		fail_msg("%s", e.text);
}

static void maps_are_classified(void **state)
{
	static const enum vma_kind kinds[] = { VMA_FILE_PRIVATE, VMA_ANON, VMA_ANON, VMA_ANON, VMA_SHMEM, VMA_SHMEM, VMA_FILE_PRIVATE,
		VMA_SHMEM, VMA_FILE_SHARED, VMA_AIO, VMA_OTHER, VMA_HUGETLB, VMA_OTHER, VMA_FILE_SHARED, VMA_SHMEM, VMA_OTHER, VMA_OTHER,
		VMA_ANON, VMA_VVAR, VMA_VVAR, VMA_VDSO, VMA_OTHER, VMA_VSYSCALL };
	struct vma_list l = { 0 };

	(void)state;
	parse(&l, maps, VMA_READ_MAPS);
	assert_int_equal(l.count, sizeof(kinds) / sizeof(kinds[0]));
	for (size_t i = 0; i < l.count; i++)
		if (l.vma[i].kind != kinds[i])
			fail_msg("%s is of kind %d, not %d", l.vma[i].path, l.vma[i].kind, kinds[i]);
	for (size_t i = 0; i < l.count; i++)
		assert_int_equal(vma_carries_pages(&l.vma[i]), kinds[i] == VMA_ANON || kinds[i] == VMA_FILE_PRIVATE || kinds[i] == VMA_SHMEM);
	vma_list_finish(&l);
}

static void fields_are_read(void **state)
{
	struct vma_list l = { 0 };
	const struct vma *v;

	(void)state;
	parse(&l, maps, VMA_READ_MAPS);
	v = &l.vma[0];
	assert_true(v->start == 0x55d0c0a00000 && v->end == 0x55d0c0a02000 && v->pgoff == 0x1000 && v->inode == 131077);
	assert_true(v->dev_major == 0xfd && v->dev_minor == 0x0a && v->prot == PROT_READ && !v->shared && !v->deleted);
	assert_string_equal(v->path, "/usr/bin/with space");
	assert_true(l.vma[1].heap && !l.vma[1].stack && l.vma[1].prot == (PROT_READ | PROT_WRITE));
	assert_string_equal(l.vma[2].path, "");
	assert_int_equal(l.vma[3].prot, PROT_NONE);
	assert_string_equal(l.vma[3].path, "[anon:glibc: malloc]");
	assert_true(l.vma[5].shared && l.vma[5].deleted);
	assert_string_equal(l.vma[5].path, "/memfd:a name");
	assert_string_equal(l.vma[8].path, "/tmp/two\nlines");
	assert_true(l.vma[17].stack && l.vma[17].grows_down);
	vma_list_finish(&l);
}

static void a_hole_has_no_mapping(void **state)
{
	struct vma_list l = { 0 };

	(void)state;
	parse(&l, maps, VMA_READ_MAPS);
	assert_null(vma_list_find(&l, 0));
	assert_null(vma_list_find(&l, 0x55d0c0a02000));
	assert_ptr_equal(vma_list_find(&l, 0x55d0c0a01fff), &l.vma[0]);
	assert_ptr_equal(vma_list_find(&l, 0x7f0000001000), &l.vma[3]);
	assert_ptr_equal(vma_list_find(&l, 0xffffffffff600000), &l.vma[l.count - 1]);
	assert_null(vma_list_find(&l, UINT64_MAX));
	vma_list_finish(&l);
}

static const char smaps[] =
	"7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \n"
	"Size:               4096 kB\nKernelPageSize:        4 kB\nRss:                2052 kB\nAnonHugePages:      2048 kB\n"
	"THPeligible:           1\nProtectionKey:         0\nVmFlags: rd wr mr mw me ac hg dd sd \n"
	"7f0000400000-7f0000600000 rw-s 00000000 00:10 5                          /memfd:huge (deleted)\n"
	"Size:               2048 kB\nRss:                   0 kB\nVmFlags: rd wr sh mr mw me ms de ht \n"
	"7f0000600000-7f0000601000 rw-s 00000000 00:10 5                          /sys/bus/pci/resource0\n"
	"Size:                  4 kB\nVmFlags: rd wr sh io pf \n"
	"7ffc66c64000-7ffc66c85000 rw-p 00000000 00:00 0                          [stack]\n"
	"VmFlags: rd wr mr mw me gd ac lo \n"
	"7ffc66d00000-7ffc66d04000 r--p 00000000 00:00 0                          [vvar]\n"
	"VmFlags: rd mr pf io de dd sd \n";

static void smaps_flags_and_sizes_are_read(void **state)
{
	struct vma_list l = { 0 };

	(void)state;
	parse(&l, smaps, VMA_READ_SMAPS);
	assert_int_equal(l.count, 5);
	assert_int_equal(l.vma[0].vm_flags, VMF_HUGEPAGE | VMF_DONTDUMP);
	assert_int_equal(l.vma[0].rss_bytes, 2052 * 1024);
	assert_int_equal(l.vma[1].kind, VMA_HUGETLB);
	assert_int_equal(l.vma[2].kind, VMA_OTHER);
	assert_int_equal(l.vma[3].kind, VMA_ANON);
	assert_true(l.vma[3].grows_down);
	assert_int_equal(l.vma[3].vm_flags, VMF_GROWSDOWN | VMF_LOCKED);
	assert_int_equal(l.vma[4].kind, VMA_VVAR);
	vma_list_finish(&l);
}

static void scratch_is_cut_out_of_merged_neighbours(void **state)
{
	struct vma_list l = { 0 };

	(void)state;
	parse(&l, "1000-9000 rw-p 00000000 00:00 0 \na000-c000 rw-p 00005000 fd:00 7 /f\nd000-e000 rw-p 00000000 00:00 0 \n", VMA_READ_MAPS);
	assert_int_equal(vma_list_mark_scratch(&l, 0x3000, 0x5000), 0);
	assert_int_equal(l.count, 5);
	assert_true(l.vma[0].start == 0x1000 && l.vma[0].end == 0x3000 && !l.vma[0].scratch);
	assert_true(l.vma[1].start == 0x3000 && l.vma[1].end == 0x5000 && l.vma[1].scratch && !vma_carries_pages(&l.vma[1]));
	assert_true(l.vma[2].start == 0x5000 && l.vma[2].end == 0x9000 && !l.vma[2].scratch);
	assert_int_equal(vma_list_mark_scratch(&l, 0xb000, 0xe000), 0);
	assert_int_equal(l.count, 6);
	assert_true(l.vma[4].start == 0xb000 && l.vma[4].scratch && l.vma[4].pgoff == 0x6000 && l.vma[5].scratch);
	vma_list_finish(&l);
}

static void scratch_of_many_pieces_is_marked(void **state)
{
	struct vma_list l = { 0 };

	(void)state;
	parse(&l, "100000-200000 rw-p 00000000 00:00 0 \n", VMA_READ_MAPS);
	for (uint64_t at = 0x101000; at < 0x1ff000; at += 0x2000)
		assert_int_equal(vma_list_mark_scratch(&l, at, at + 0x1000), 0);
	assert_int_equal(l.count, 255);
	for (size_t i = 0; i < l.count; i++)
		assert_int_equal(l.vma[i].scratch, i % 2);
	vma_list_finish(&l);
}

static void a_mapping_that_grew_while_read_is_not_listed_twice(void **state)
{
	struct vma_list l = { 0 };

	(void)state;
	parse(&l, "1000-3000 rw-p 00000000 00:00 0 \n1000-5000 rw-p 00000000 00:00 0 \n2000-4000 rw-p 00000000 00:00 0 \n"
		  "4000-8000 r--p 00001000 fd:00 7 /f\n", VMA_READ_MAPS);
	assert_int_equal(l.count, 3);
	assert_true(l.vma[1].start == 0x3000 && l.vma[1].end == 0x5000);
	assert_true(l.vma[2].start == 0x5000 && l.vma[2].pgoff == 0x2000);
	vma_list_finish(&l);
}

static void rubbish_is_refused(void **state)
{
	static const char *const bad[] = { "1000-3000\n", "1000-3000 rw-x 0 0:0 0\n", "3000-1000 rw-p 00000000 00:00 0 \n", "Rss: 4 kB\n",
		"11112222333344445-2 rw-p 00000000 00:00 0 \n", "1000-2000 rw-p 00000000 00:00\n", "\n", "zz\n" };
	struct vma_list l = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err e = { 0 };

		assert_int_equal(vma_list_parse(&l, bad[i], strlen(bad[i]), VMA_READ_MAPS, &e), -1);
		assert_int_equal(e.kind, ERR_SYSTEM);
		assert_int_equal(l.count, 0);
	}
}

static void own_mappings_are_found(void **state)
{
	struct vma_list l = { 0 };
	struct err e = { 0 };
	int local = 0;

	(void)state;
	assert_int_equal(vma_list_read(&l, getpid(), VMA_READ_SMAPS, &e), 0);
	assert_true(vma_list_find(&l, (uintptr_t)&local)->stack);
	assert_int_equal(vma_list_find(&l, (uintptr_t)maps)->kind, VMA_FILE_PRIVATE);
	assert_int_equal(vma_list_read(&l, getpid(), VMA_READ_MAPS, &e), 0);
	assert_true(vma_list_find(&l, (uintptr_t)&local)->stack);
	vma_list_finish(&l);
	assert_int_equal(vma_list_read(&l, 0x7ffffff0, VMA_READ_MAPS, &e), -1);
	assert_int_equal(e.kind, ERR_GONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_are_classified), cmocka_unit_test(fields_are_read), cmocka_unit_test(a_hole_has_no_mapping),
		cmocka_unit_test(smaps_flags_and_sizes_are_read), cmocka_unit_test(scratch_is_cut_out_of_merged_neighbours),
		cmocka_unit_test(scratch_of_many_pieces_is_marked), cmocka_unit_test(a_mapping_that_grew_while_read_is_not_listed_twice),
		cmocka_unit_test(rubbish_is_refused), cmocka_unit_test(own_mappings_are_found),
	};

	return cmocka_run_group_tests_name("vma text", tests, NULL, NULL);
}
