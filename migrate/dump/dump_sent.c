/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/dump/dump_sent.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/base/cleanup.h"
#include "proto/image/image.h"
#include "state.pb-c.h"

enum { AT_ONCE = 64 * 1024 };       /* numbers of one entry: at most 640 KiB */
#define LAST_PAGE (UINT64_C(1) << 52) /* of all addresses */

/* From where one entry ends to where the next begins. */
struct place {
	size_t run;
	uint64_t page; /* the end of the run before */
};

static void fill(Drayage__SentPages *m, const struct run_list *l, struct place *at)
{
	m->n_runs = 0;
	for (; at->run < l->count && m->n_runs + 2 <= AT_ONCE; at->run++) {
		const struct page_run *r = &l->run[at->run];

		if (r->kind != RUN_DATA)
			continue;
		m->runs[m->n_runs++] = bytes_to_pages(r->addr) - at->page;
		m->runs[m->n_runs++] = r->pages;
		at->page = bytes_to_pages(run_end(r));
	}
}

int dump_sent_write(int dirfd, uint32_t pid, const struct run_list *pages, struct err *e)
{
	struct image_out *o = image_create(dirfd, IMAGE_DRAYAGE_SENT, pid, e);
	cleanup_free uint64_t *numbers = reallocarray(NULL, AT_ONCE, sizeof(*numbers));
	Drayage__SentPages m = DRAYAGE__SENT_PAGES__INIT;
	struct place at = { 0 };
	int rc = !o ? -1 : numbers ? 0 : err_set(e, ERR_SYSTEM, ENOMEM, "list of pages");

	m.runs = numbers;
	while (rc == 0 && at.run < pages->count) {
		fill(&m, pages, &at);
		rc = image_put(o, &m.base, e);
	}
	if (rc == 0)
		return image_close(o, false, e);
	image_discard(o);
	return -1;
}

static int take(const Drayage__SentPages *m, uint64_t *page, struct run_list *pages, struct err *e)
{
	for (size_t i = 0; i + 1 < m->n_runs; i += 2) {
		uint64_t gap = m->runs[i], count = m->runs[i + 1];

		if (count == 0 || gap > LAST_PAGE - *page || count > LAST_PAGE - *page - gap)
			return err_set(e, ERR_PROTOCOL, 0, "a list of pages that can't be");
		if (run_list_add(pages, pages_to_bytes(*page + gap), count, RUN_DATA) < 0)
			return err_set(e, ERR_SYSTEM, ENOMEM, "list of pages");
		*page += gap + count;
	}
	return 0;
}

int dump_sent_read(int dirfd, uint32_t pid, struct run_list *pages, struct err *e)
{
	struct image_in *in = image_open(dirfd, IMAGE_DRAYAGE_SENT, pid, e);
	ProtobufCMessage *entry = NULL;
	uint64_t page = 0;
	int rc = in ? 1 : -1;

	while (rc == 1 && (rc = image_get(in, &drayage__sent_pages__descriptor, &entry, e)) == 1) {
		if (take((const Drayage__SentPages *)entry, &page, pages, e) < 0)
			rc = -1;
		protobuf_c_message_free_unpacked(entry, NULL);
	}
	image_in_close(in);
	return rc;
}
