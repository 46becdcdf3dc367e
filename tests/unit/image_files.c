/* SPDX-License-Identifier: Apache-2.0 */
/* An image file reads as it was written, starts with the magics of its type, and a damaged one is refused with its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images.pb-c.h"
#include "proto/base/cleanup.h"
#include "proto/image/codec.h"

static char dir[64];
static int at = -1;

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/image-files-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return at < 0 ? -1 : 0;
}

static int remove_dir(void **state)
{
	(void)state;
	close(at);
	return rmdir(dir); /* fails if a test left a file behind */
}

static void put_file(const char *name, const void *data, size_t len)
{
	cleanup_fd int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
}

static size_t get_file(const char *name, void *data, size_t max)
{
	cleanup_fd int fd = openat(at, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, data, max);
	assert_true(n >= 0);
	return (size_t)n;
}

static void drop(const char *name)
{
	assert_int_equal(unlinkat(at, name, 0), 0);
}

/* An entry that every type can frame: framing does not look into it. */
static PagemapHead head_of(uint32_t pages_id)
{
	PagemapHead h = PAGEMAP_HEAD__INIT;

	h.pages_id = pages_id;
	return h;
}

static void expect_head(struct image_in *i, uint32_t pages_id)
{
	struct err e = { 0 };
	ProtobufCMessage *m = NULL;

	assert_int_equal(image_get(i, &pagemap_head__descriptor, &m, &e), 1);
	assert_int_equal(((PagemapHead *)m)->pages_id, pages_id);
	protobuf_c_message_free_unpacked(m, NULL);
}

static void each_type_reads_as_written(void **state)
{
	(void)state;
	for (enum image_type t = 0; t < IMAGE_TYPES; t++) {
		PagemapHead a = head_of(1), b = head_of(70000);
		char name[IMAGE_NAME_MAX], raw[5] = "";
		struct err e = { 0 };
		struct image_out *o = image_create(at, t, 41, &e);
		struct image_in *i;
		ProtobufCMessage *m;

		assert_non_null(o);
		assert_int_equal(image_put(o, &a.base, &e), 0);
		assert_int_equal(image_put_raw(o, "12345", 5, &e), 0);
		assert_int_equal(image_close(o, false, &e), 0);
		o = image_append(at, t, 41, &e);
		assert_non_null(o);
		assert_int_equal(image_put(o, &b.base, &e), 0);
		assert_int_equal(image_close(o, true, &e), 0);

		i = image_open(at, t, 41, &e);
		assert_non_null(i);
		expect_head(i, 1);
		assert_int_equal(image_get_raw(i, raw, 5, &e), 0);
		assert_memory_equal(raw, "12345", 5);
		expect_head(i, 70000);
		assert_int_equal(image_rest(i), 0);
		assert_int_equal(image_get(i, &pagemap_head__descriptor, &m, &e), 0);
		image_in_close(i);
		image_name(t, 41, name);
		drop(name);
	}
}

/* From the format's own table, not from ours. */
static void magics_are_the_formats(void **state)
{
	static const struct {
		enum image_type type;
		uint64_t id;
		const char *name;
		size_t len;
		uint8_t bytes[8];
	} want[] = {
		{ IMAGE_INVENTORY, 0, "inventory.img", 4, { 0x16, 0x31, 0x31, 0x58 } },
		{ IMAGE_PSTREE, 0, "pstree.img", 8, { 0x19, 0x43, 0x56, 0x54, 0x30, 0x30, 0x27, 0x50 } },
		{ IMAGE_CORE, 41, "core-41.img", 8, { 0x19, 0x43, 0x56, 0x54, 0x47, 0x38, 0x05, 0x55 } },
		{ IMAGE_FDINFO, 2, "fdinfo-2.img", 8, { 0x19, 0x43, 0x56, 0x54, 0x32, 0x37, 0x21, 0x56 } },
		{ IMAGE_PAGEMAP, 41, "pagemap-41.img", 8, { 0x19, 0x43, 0x56, 0x54, 0x25, 0x40, 0x08, 0x56 } },
		{ IMAGE_PAGEMAP_SHMEM, 4096, "pagemap-shmem-4096.img", 8, { 0x19, 0x43, 0x56, 0x54, 0x25, 0x40, 0x08, 0x56 } },
		{ IMAGE_PAGES, 65537, "pages-65537.img", 0, { 0 } },
		{ IMAGE_TCP_STREAM, 0x2af, "tcp-stream-2af.img", 8, { 0x19, 0x43, 0x56, 0x54, 0x06, 0x55, 0x46, 0x51 } },
		{ IMAGE_GHOST_FILE, 0xb, "ghost-file-b.img", 8, { 0x19, 0x43, 0x56, 0x54, 0x05, 0x36, 0x58, 0x52 } },
		{ IMAGE_STATS_DUMP, 0, "stats-dump", 8, { 0x40, 0x59, 0x10, 0x55, 0x06, 0x33, 0x09, 0x57 } },
		{ IMAGE_IRMAP_CACHE, 0, "irmap-cache", 8, { 0x40, 0x59, 0x10, 0x55, 0x59, 0x40, 0x00, 0x57 } },
	};

	(void)state;
	for (size_t k = 0; k < sizeof(want) / sizeof(want[0]); k++) {
		PagemapHead h = head_of(3);
		uint8_t got[32];
		struct err e = { 0 };
		size_t len = want[k].len;

		assert_int_equal(image_write_one(at, want[k].type, want[k].id, &h.base, &e), 0);
		assert_int_equal(get_file(want[k].name, got, sizeof(got)), len + 6);
		assert_memory_equal(got, want[k].bytes, len);
		assert_memory_equal(got + len, "\x02\0\0\0\x08\x03", 6);
		drop(want[k].name);
	}
}

static void entries_larger_than_any_buffer(void **state)
{
	enum { LONG = 300000 };
	cleanup_free char *text = malloc(LONG + 1);
	struct err e = { 0 };
	ProtobufCMessage *m;
	RegFileEntry r = REG_FILE_ENTRY__INIT;
	FownEntry f = FOWN_ENTRY__INIT;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', LONG);
	text[LONG] = '\0';
	r.name = text;
	r.fown = &f;
	assert_int_equal(image_write_one(at, IMAGE_FILES, 0, &r.base, &e), 0);
	m = image_read_one(at, IMAGE_FILES, 0, &reg_file_entry__descriptor, &e);
	assert_non_null(m);
	assert_int_equal(strlen(((RegFileEntry *)m)->name), LONG);
	protobuf_c_message_free_unpacked(m, NULL);
	drop("files.img");
}

static void expect_refused(enum err_kind kind, const char *says)
{
	struct err e = { 0 };
	ProtobufCMessage *m = image_read_one(at, IMAGE_PAGEMAP, 1, &pagemap_head__descriptor, &e);

	assert_null(m);
	assert_int_equal(e.kind, kind);
	assert_non_null(strstr(e.text, "pagemap-1.img"));
	if (!strstr(e.text, says))
		fail_msg("\"%s\" does not say \"%s\"", e.text, says);
}

static void damaged_files_are_refused(void **state)
{
	static const struct {
		size_t len;
		const char *bytes;
		enum err_kind kind;
		const char *says;
	} bad[] = {
		{ 0, "", ERR_PROTOCOL, "truncated" },
		{ 3, "\x19\x43\x56", ERR_PROTOCOL, "magics" },
		{ 6, "\x19\x43\x56\x54\x25\x40", ERR_PROTOCOL, "magics" },
		{ 8, "\x19\x43\x56\x54\x30\x30\x27\x50", ERR_PROTOCOL, "no such image" },
		{ 8, "\x40\x59\x10\x55\x25\x40\x08\x56", ERR_PROTOCOL, "no such image" },
		{ 8, "\x19\x43\x56\x54\x25\x40\x08\x56", ERR_PROTOCOL, "has no entry" },
		{ 10, "\x19\x43\x56\x54\x25\x40\x08\x56\x02\x00", ERR_PROTOCOL, "truncated: the size of an entry at byte 8 needs 4 bytes, 2 are there" },
		{ 13, "\x19\x43\x56\x54\x25\x40\x08\x56\x02\0\0\0\x08", ERR_PROTOCOL, "truncated: the entry at byte 8 needs 6 bytes, 5 are there" },
		{ 14, "\x19\x43\x56\x54\x25\x40\x08\x56\x01\0\0\x01\x08\x03", ERR_LIMIT, "16777217 bytes" },
		{ 14, "\x19\x43\x56\x54\x25\x40\x08\x56\xff\xff\xff\xff\x08\x03", ERR_LIMIT, "4294967295 bytes" },
		{ 14, "\x19\x43\x56\x54\x25\x40\x08\x56\0\0\0\x01\x08\x03", ERR_PROTOCOL, "truncated" },
		{ 14, "\x19\x43\x56\x54\x25\x40\x08\x56\x02\0\0\0\x10\x03", ERR_PROTOCOL, "no valid pagemap_head" },
	};

	(void)state;
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		put_file("pagemap-1.img", bad[k].bytes, bad[k].len);
		expect_refused(bad[k].kind, bad[k].says);
		drop("pagemap-1.img");
	}
}

static void absent_is_not_empty(void **state)
{
	(void)state;
	expect_refused(ERR_GONE, "No such file");
}

static void version_one_has_no_common_magic(void **state)
{
	struct err e = { 0 };
	ProtobufCMessage *m;

	(void)state;
	put_file("pagemap-1.img", "\x25\x40\x08\x56\x02\0\0\0\x08\x03", 10);
	m = image_read_one(at, IMAGE_PAGEMAP, 1, &pagemap_head__descriptor, &e);
	assert_non_null(m);
	assert_int_equal(((PagemapHead *)m)->pages_id, 3);
	protobuf_c_message_free_unpacked(m, NULL);
	drop("pagemap-1.img");
}

static void only_ordinary_files_are_opened(void **state)
{
	(void)state;
	put_file("elsewhere", "\x25\x40\x08\x56\x02\0\0\0\x08\x03", 10);
	assert_int_equal(symlinkat("elsewhere", at, "pagemap-1.img"), 0);
	expect_refused(ERR_PERMISSION, "symbolic link");
	drop("pagemap-1.img");
	drop("elsewhere");
	assert_int_equal(mkfifoat(at, "pagemap-1.img", 0600), 0);
	expect_refused(ERR_PROTOCOL, "no ordinary file");
	drop("pagemap-1.img");
}

static void writing_follows_no_link(void **state)
{
	struct err e = { 0 };
	PagemapHead h = head_of(1);

	(void)state;
	assert_int_equal(symlinkat("elsewhere", at, "pagemap-1.img"), 0);
	assert_int_equal(image_write_one(at, IMAGE_PAGEMAP, 1, &h.base, &e), -1);
	assert_non_null(strstr(e.text, "pagemap-1.img"));
	assert_int_equal(faccessat(at, "elsewhere", F_OK, 0), -1);
	drop("pagemap-1.img");
}

/* A size limit stands in for a full disk: the write comes back short, then fails. */
static void what_can_not_be_written_is_said(void **state)
{
	static const char much[200000];
	struct rlimit old, small;
	struct err e = { 0 };
	struct image_out *o = image_create(at, IMAGE_PAGEMAP, 1, &e);

	(void)state;
	assert_non_null(o);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){ 100000, old.rlim_max };
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(image_put_raw(o, much, sizeof(much), &e), -1);
	err_clear(&e);
	assert_int_equal(image_close(o, false, &e), -1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(e.num, EFBIG);
	assert_non_null(strstr(e.text, "pagemap-1.img"));
	drop("pagemap-1.img");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_type_reads_as_written),
		cmocka_unit_test(magics_are_the_formats),
		cmocka_unit_test(entries_larger_than_any_buffer),
		cmocka_unit_test(damaged_files_are_refused),
		cmocka_unit_test(absent_is_not_empty),
		cmocka_unit_test(version_one_has_no_common_magic),
		cmocka_unit_test(only_ordinary_files_are_opened),
		cmocka_unit_test(writing_follows_no_link),
		cmocka_unit_test(what_can_not_be_written_is_said),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
