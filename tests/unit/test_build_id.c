/* SPDX-License-Identifier: Apache-2.0 */
/* The build id of an ELF file is found behind other notes; files that are no ELF, or lie about their lengths, have none. */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/build_id.h"

struct image {
	Elf64_Ehdr head;
	Elf64_Phdr ph[2];
	Elf64_Nhdr other;
	char other_name[8], other_desc[4];
	Elf64_Nhdr note;
	char name[4];
	uint8_t id[20];
};

static struct image good(void)
{
	struct image i = { .head = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64 }, .e_phoff = offsetof(struct image, ph),
				     .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2 },
		.ph = { { .p_type = PT_LOAD }, { .p_type = PT_NOTE, .p_offset = offsetof(struct image, other),
			.p_filesz = sizeof(struct image) - offsetof(struct image, other) } },
		.other = { .n_namesz = 5, .n_descsz = 3, .n_type = NT_GNU_BUILD_ID }, .other_name = "Else",
		.note = { .n_namesz = 4, .n_descsz = 20, .n_type = NT_GNU_BUILD_ID }, .name = "GNU" };

	for (unsigned k = 0; k < sizeof(i.id); k++)
		i.id[k] = (uint8_t)(k + 1);
	return i;
}

static size_t id_of(const void *image, size_t len, uint8_t id[BUILD_ID_MAX])
{
	int fd = memfd_create("elf", MFD_CLOEXEC);
	size_t n;

	assert_int_equal(write(fd, image, len), (ssize_t)len);
	n = build_id_read(fd, id);
	close(fd);
	return n;
}

static void the_id_is_found_behind_other_notes(void **state)
{
	struct image i = good();
	uint8_t id[BUILD_ID_MAX];

	(void)state;
	assert_int_equal(id_of(&i, sizeof(i), id), 20);
	assert_memory_equal(id, i.id, 20);
}

static void files_without_one_have_none(void **state)
{
	struct image i = good();
	uint8_t id[BUILD_ID_MAX];

	(void)state;
	assert_int_equal(id_of("#!/bin/sh\n", 10, id), 0);
	for (size_t len = 0; len < offsetof(struct image, id) + sizeof(i.id); len += 7) /* cut anywhere */
		assert_int_equal(id_of(&i, len, id), 0);
	i.note.n_type = 1;
	assert_int_equal(id_of(&i, sizeof(i), id), 0);
	i = good();
	i.head.e_ident[EI_CLASS] = ELFCLASS32;
	assert_int_equal(id_of(&i, sizeof(i), id), 0);
}

static void lengths_that_lie_are_not_believed(void **state)
{
	struct image i = good();
	uint8_t id[BUILD_ID_MAX];

	(void)state;
	i.note.n_descsz = BUILD_ID_MAX + 1;
	assert_int_equal(id_of(&i, sizeof(i), id), 0);
	i = good();
	i.other.n_namesz = UINT32_MAX;
	assert_int_equal(id_of(&i, sizeof(i), id), 0);
	i.other.n_namesz = UINT32_MAX - 2;
	i.other.n_descsz = UINT32_MAX - 2;
	assert_int_equal(id_of(&i, sizeof(i), id), 0);
	i = good();
	i.head.e_phnum = UINT16_MAX;
	i.ph[1].p_filesz = UINT64_MAX;
	assert_int_equal(id_of(&i, sizeof(i), id), 20);
	i.ph[1].p_offset = UINT64_MAX;
	assert_int_equal(id_of(&i, sizeof(i), id), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_id_is_found_behind_other_notes),
		cmocka_unit_test(files_without_one_have_none),
		cmocka_unit_test(lengths_that_lie_are_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
