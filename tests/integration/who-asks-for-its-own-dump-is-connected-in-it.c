/* SPDX-License-Identifier: Apache-2.0 */
/* A process that asks for its own dump holds the connection that it asked through: the images mark that socket as such. To anybody else's dump the
 * same socket is an obstacle, which is named, and leaves no set. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images.pb-c.h"
#include "migrate/dump/dump.h"
#include "proto/base/cleanup.h"
#include "proto/image/image.h"
#include "tests/lib/subject.h"

enum { SERVICE_FLAG = 2 }; /* unix_sk_entry.uflags */

static char dir[64] = "/tmp/own-dump-XXXXXX";

static void clean(void)
{
	DIR *d = opendir(dir);
	struct dirent *f;

	while (d && (f = readdir(d)))
		unlinkat(dirfd(d), f->d_name, 0);
	if (d)
		closedir(d);
	rmdir(dir);
}

static int asks(int line, void *arg)
{
	int null = open("/dev/null", O_RDWR);
	char c;

	(void)arg;
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	dup2(line, 3);
	close_range(4, ~0u, 0);
	subject_say(3, 'd');
	return read(3, &c, 1) == 1 ? 0 : 1;
}

static unsigned marked_sockets(int set)
{
	struct err e = { 0 };
	struct image_in *in = image_open(set, IMAGE_FILES, 0, &e);
	ProtobufCMessage *m;
	unsigned marked = 0;

	CHECK(in, "%s", e.text);
	while (image_get(in, &file_entry__descriptor, &m, &e) == 1) {
		const FileEntry *f = (const FileEntry *)m;

		marked += f->usk && f->usk->uflags == SERVICE_FLAG && f->usk->peer;
		protobuf_c_message_free_unpacked(m, NULL);
	}
	CHECK(!err_is_set(&e), "%s", e.text);
	image_in_close(in);
	return marked;
}

int main(void)
{
	struct dump_request q = { .final_state = DUMP_RUN_ON, .requester_socket = -1 };
	struct dump_stats stats;
	struct err e = { 0 };
	struct dumper *d = dumper_create(&e);
	struct subject s;
	cleanup_fd int set = -1;

	CHECK(d && mkdtemp(dir));
	atexit(clean);
	set = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(set >= 0);
	s = subject_start(asks, NULL);
	subject_expect(s.line, 'd');
	q.pid = s.pid;
	q.images_dir = q.work_dir = set;
	CHECK(dumper_dump(d, &q, &stats, &e) < 0 && e.kind == ERR_UNSUPPORTED && strstr(e.text, "fd 3: unix socket connected"), "%s", e.text);
	CHECK(faccessat(set, "inventory.img", F_OK, 0) < 0);
	err_clear(&e);
	q.requester_socket = s.line;
	CHECK(dumper_dump(d, &q, &stats, &e) == 0, "%s", e.text);
	CHECK(marked_sockets(set) == 1);
	subject_say(s.line, 'g'); /* the connection is what it was */
	subject_end(&s);
	dumper_destroy(d);
	return 0;
}
