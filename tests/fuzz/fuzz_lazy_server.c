/* SPDX-License-Identifier: Apache-2.0 */
/* Who serves late pages gets the input from a client: the session ends, and what it answered are headers of the client's layout, each for pages that there are, with
 * these pages behind it; then at most a status. */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pageserver/stock/lazy_server.h"
#include "proto/wire/ps_command.h"
#include "proto/wire/runs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 8 * 1024, SAID_MAX = 1 << 20, RUN = 3 /* pages that follow each other; the next one is missing */ };

static uint8_t letter_of(uint64_t pid, uint64_t page)
{
	return (uint8_t)(pid * 31 + page);
}

static int find(void *arg, uint64_t pid, uint64_t addr, uint64_t most, uint64_t *pages, struct err *e)
{
	uint64_t at = bytes_to_pages(addr) % (RUN + 1);

	(void)arg;
	assert(most > 0 && addr % DRAY_PAGE_SIZE == 0);
	if (at == RUN || !pid)
		return err_set(e, ERR_PROTOCOL, 0, "not there");
	*pages = most < RUN - at ? most : RUN - at;
	return 0;
}

static int read_pages(void *arg, uint64_t pid, uint64_t addr, uint32_t pages, void *data, struct err *e)
{
	(void)arg; (void)e;
	assert(pages > 0 && pages <= RUN);
	for (uint32_t i = 0; i < pages; i++)
		memset((uint8_t *)data + pages_to_bytes(i), letter_of(pid, bytes_to_pages(addr) + i), DRAY_PAGE_SIZE);
	return 0;
}

/* One answer; 0: what is left is no whole one. */
static size_t answer(enum ps_layout layout, const uint8_t *said, size_t len)
{
	struct ps_command c;
	size_t body;

	if (len < layout)
		return 0;
	assert(ps_decode(layout, said, &c) == 0 && c.code == PS_ADD_F && c.flags == PS_PRESENT && c.nr > 0 && c.nr <= RUN && c.dst);
	body = pages_to_bytes(c.nr);
	for (size_t i = 0; i < body && layout + i < len; i++)
		assert(said[layout + i] == letter_of(c.dst, bytes_to_pages(c.vaddr) + i / DRAY_PAGE_SIZE));
	return len < layout + body ? 0 : layout + body;
}

static void check(enum ps_layout layout, const uint8_t *said, size_t len)
{
	static const uint8_t fine[PS_STATUS_ANSWER];
	size_t one;

	while (len > sizeof(fine) && (one = answer(layout, said, len)) > 0) {
		said += one;
		len -= one;
	}
	assert(len != sizeof(fine) || memcmp(said, fine, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t said[SAID_MAX];
	const struct lazy_pages pages = { .find = find, .read = read_pages, .end_fd = -1 };
	const struct lazy_rules rules = { .inherited = size & 1, .idle_ms = 1 }; /* a client that reads nothing is not waited for */
	struct lazy_report report;
	struct err e = { 0 };
	ssize_t len;
	int pair[2];

	if (size < PS_HEADER_MIN || size > INPUT_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	if (send(pair[1], data, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size && shutdown(pair[1], SHUT_WR) == 0) {
		(void)lazy_serve(pair[0], &pages, &rules, &report, &e);
		len = recv(pair[1], said, sizeof(said), MSG_DONTWAIT);
		if (len > 0)
			check(ps_detect(data) ? ps_detect(data) : PS_LAYOUT_24, said, (size_t)len);
	}
	close(pair[0]);
	close(pair[1]);
	return 0;
}
