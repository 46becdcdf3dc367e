/* SPDX-License-Identifier: Apache-2.0 */
/* A stream that carries the input: frames are received into staged memory until one is wrong or the bytes end. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pageserver/frame_recv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BASE 0x10000000ull
enum { INPUT_MAX = 128 * 1024 }; /* what a socket's buffer takes */

static struct place *stage(void)
{
	Drayage__RoundBegin msg = DRAYAGE__ROUND_BEGIN__INIT;
	Drayage__MappedFile file = DRAYAGE__MAPPED_FILE__INIT, *files = &file;
	Drayage__Range range = DRAYAGE__RANGE__INIT, *ranges = &range;
	VmaEntry vma[3] = { VMA_ENTRY__INIT, VMA_ENTRY__INIT, VMA_ENTRY__INIT }, *vmas[3] = { &vma[0], &vma[1], &vma[2] };
	struct err e = { 0 };
	struct place *p = place_create(64 << 20, &e);

	for (unsigned i = 0; i < 3; i++) {
		vma[i].start = BASE + i * 0x400000ull;
		vma[i].end = vma[i].start + (i == 1 ? 0x3ff000 : 0x400000);
		vma[i].status = i == 2 ? 0x4081 : 0x201;
		vma[i].shmid = i == 2;
	}
	file.id = 1;
	file.path = (char *)(uintptr_t)"fuzz";
	file.size = 0x400000;
	file.has_shmem = file.shmem = 1;
	range.start = BASE;
	range.end = BASE + 0x400000;
	msg.round = 1;
	msg.vmas = vmas;
	msg.n_vmas = 3;
	msg.files = &files;
	msg.n_files = 1;
	msg.populate = &ranges;
	msg.n_populate = 1;
	if (!p || place_apply(p, &msg, &e) < 0)
		abort();
	return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct place *place;
	struct frame_recv f;
	struct err e = { 0 };
	int fd[2];

	if (size > INPUT_MAX)
		return 0;
	if (!place)
		place = stage();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0 || frame_recv_init(&f, fd[0]) < 0)
		abort();
	if (size > 0 && send(fd[1], data, size, MSG_DONTWAIT) != (ssize_t)size)
		abort();
	close(fd[1]);
	while (frame_recv_header(&f, &e) == 0) {
		if (f.header.kind == FRAME_PAGES && frame_recv_pages(&f, place, &e) < 0)
			break;
	}
	assert(err_is_set(&e));
	frame_recv_finish(&f);
	return 0;
}
