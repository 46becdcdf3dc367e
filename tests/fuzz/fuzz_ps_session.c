/* SPDX-License-Identifier: Apache-2.0 */
/* A page server's session that gets the input, whichever kind it says it is: stock, probe, native, numbered (on a socket that is ours: the server
 * that its line goes to brings no other connections). It ends, and pages come in whole and where they may. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pageserver/stock/line.h"
#include "pageserver/stock/receiver.h"
#include "proto/base/log.h"
#include "proto/wire/runs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 128 * 1024 }; /* what a socket's buffer takes */
static uint8_t seen; /* so that pages are read */

static int take_map(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	(void)s; (void)e;
	assert(kind == PAGEMAP_TASK || kind == PAGEMAP_SHMEM);
	*parent = id & 1;
	return 0;
}

static int take_pages(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, const void *data, struct err *e)
{
	const uint8_t *p = data;

	(void)s; (void)e;
	assert(vaddr % DRAY_PAGE_SIZE == 0 && nr > 0 && flags & PAGE_PRESENT && !(flags & PAGE_IN_PARENT));
	for (uint64_t i = 0; i < pages_to_bytes(nr); i += 64)
		seen ^= p[i];
	return 0;
}

static int take_hole(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, struct err *e)
{
	(void)s; (void)e;
	assert(vaddr % DRAY_PAGE_SIZE == 0 && nr > 0 && flags && !(flags & PAGE_PRESENT));
	return 0;
}

static int finish(struct page_sink *s, struct err *e)
{
	(void)s; (void)e;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct page_sink_ops ops = { .has_parent = take_map, .open = take_map, .pages = take_pages, .hole = take_hole, .finish = finish };
	struct page_server_config config = { .grace_ms = 1 };
	struct page_server_report report = { 0 };
	struct page_sink sink = { &ops };
	struct err e = { 0 };
	int pair[2], line[2];

	if (size > INPUT_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	assert(line_pair(line) == 0);
	line_say_word(line[0], LINE_ALONE);
	config.line = size & 1 ? NULL : &line[1];
	log_set_level(LOG_ERROR);
	if (send(pair[1], data, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size && shutdown(pair[1], SHUT_WR) == 0)
		(void)ps_receive(pair[0], size & 1, &sink, &config, &report, &e);
	close(pair[0]);
	close(pair[1]);
	close(line[0]);
	close(line[1]);
	return 0;
}
