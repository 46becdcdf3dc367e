/* SPDX-License-Identifier: Apache-2.0 */
/* Two sessions of a page server, stock or native, the second one's set on top of the first one's, in a directory of their own: of a session that failed nothing is
 * there, and a set that was published can be read to its end, through its parent and its punched holes.
 * Input: a byte of options, two bytes with the length of the first session, the sessions as they are on the wire; with SHORT without the contents of
 * pages, of which each range then has three at most. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pageserver/images/pagemap.h"
#include "pageserver/stock/server.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/wire/ps_command.h"
#include "tests/lib/remove_tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEDUP = 1, INHERITED_FIRST = 2, INHERITED_SECOND = 4, SHORT = 8, LIMITED = 16, NO_PARENT = 32 };
enum { PAGE = 4096, SENT_MAX = 1 << 20, PAGES_MAX = 3, FILE_MAX = 4 << 20 };

static char root[32];
static int set[2];

static void leave(void)
{
	remove_tree(root);
}

/* On a tmpfs where there is one: a session is a few files. A file may not grow without end: zeros cost their sender nothing. */
static void make_root(void)
{
	struct rlimit file = { FILE_MAX, FILE_MAX };

	log_set_level(LOG_ERROR);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &file);
	snprintf(root, sizeof(root), "%s/fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(root) || atexit(leave))
		abort();
	for (int i = 0; i < 2; i++) {
		char path[64];

		snprintf(path, sizeof(path), "%s/%d", root, i);
		if (mkdir(path, 0700) < 0 || (set[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
			abort();
	}
}

static DIR *list(int dir)
{
	DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	assert(d);
	return d;
}

/* What the next name in it is, "." and ".." left out; NULL: no more. */
static const char *next_name(DIR *d)
{
	struct dirent *x;

	do
		x = readdir(d);
	while (x && (strcmp(x->d_name, ".") == 0 || strcmp(x->d_name, "..") == 0));
	return x ? x->d_name : NULL;
}

static void clear(int dir)
{
	cleanup_dir DIR *d = list(dir);
	const char *name;

	while ((name = next_name(d)))
		assert(unlinkat(dir, name, 0) == 0); /* a directory would be one aside, of a session that is over */
}

static void read_map(int dir, enum pagemap_kind kind, uint64_t id)
{
	struct err e = { 0 };
	struct pagemap_reader *r = pagemap_open(dir, kind, id, &e);
	struct page_extent x;
	uint64_t end = 0;
	char page[PAGE];
	int rc;

	assert(r);
	while ((rc = pagemap_next(r, &x, &e)) == 1) {
		assert(x.vaddr >= end && x.nr > 0);
		end = x.vaddr + x.nr * PAGE;
		if (x.flags & PAGE_PRESENT)
			assert(pread(x.fd, page, PAGE, (off_t)(x.offset + (x.nr - 1) * PAGE)) == PAGE);
	}
	assert(rc == 0);
	pagemap_close(r);
}

static void read_set(int dir)
{
	cleanup_dir DIR *d = list(dir);
	const char *name;
	unsigned long id;

	while ((name = next_name(d))) {
		if (sscanf(name, "pagemap-shmem-%lu.img", &id) == 1)
			read_map(dir, PAGEMAP_SHMEM, id);
		else if (sscanf(name, "pagemap-%lu.img", &id) == 1)
			read_map(dir, PAGEMAP_TASK, id);
	}
}

static bool is_empty(int dir)
{
	cleanup_dir DIR *d = list(dir);

	return !next_name(d);
}

/* The pages of a range that has any. Returns the bytes put into the room. */
static size_t contents(enum ps_layout layout, uint8_t *header, uint8_t *room, size_t left)
{
	struct ps_command c;

	if (ps_decode(layout, header, &c) < 0 || !ps_is_range(&c) || !ps_has_pages(&c) || c.nr > PAGES_MAX || left < c.nr * PAGE)
		return 0;
	memset(room, 'a' + (int)(c.vaddr / PAGE % 26), c.nr * PAGE);
	return c.nr * PAGE;
}

static size_t with_contents(const uint8_t *data, size_t size, uint8_t *out)
{
	enum ps_layout layout = size < PS_HEADER_MIN ? PS_LAYOUT_UNKNOWN : ps_detect(data);
	size_t len = 0;

	for (; layout && size >= layout && len + layout <= SENT_MAX; data += layout, size -= layout) {
		memcpy(out + len, data, layout);
		len += layout;
		len += contents(layout, out + len - layout, out + len, SENT_MAX - len);
	}
	if (size <= SENT_MAX - len)
		memcpy(out + len, data, size);
	return size <= SENT_MAX - len ? len + size : len;
}

static int served(int fd, unsigned options, int which)
{
	struct page_server_config c = { .images_dir = set[which], .parent = which && !(options & NO_PARENT) ? "../0" : NULL,
					.auto_dedup = options & DEDUP, .limits.bytes = options & LIMITED ? 4 * PAGE : 0 };
	struct err e = { 0 };
	int rc = page_server_serve_one(fd, options & (which ? INHERITED_SECOND : INHERITED_FIRST), &c, NULL, &e);

	assert(rc == 0 || (err_is_set(&e) && (e.kind != ERR_SYSTEM || e.num == EFBIG)));
	return rc;
}

/* All of it is in the socket before the server looks: nobody waits for anybody. */
static void session(const uint8_t *data, size_t size, unsigned options, int which)
{
	static uint8_t sent[SENT_MAX];
	int pair[2], room = 2 * SENT_MAX;

	if (options & SHORT) {
		size = with_contents(data, size, sent);
		data = sent;
	}
	assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	(void)!send(pair[1], data, size, MSG_DONTWAIT | MSG_NOSIGNAL); /* what does not fit is a session that broke off */
	shutdown(pair[1], SHUT_WR);
	if (served(pair[0], options, which) == 0)
		read_set(set[which]);
	else
		assert(is_empty(set[which]));
	close(pair[0]);
	close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t first;

	if (size < 3)
		return 0;
	if (!root[0])
		make_root();
	first = (size_t)(data[1] | data[2] << 8);
	first = first < size - 3 ? first : size - 3;
	session(data + 3, first, data[0], 0);
	session(data + 3 + first, size - 3 - first, data[0], 1);
	clear(set[1]);
	clear(set[0]);
	return 0;
}
