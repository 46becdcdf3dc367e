/* SPDX-License-Identifier: Apache-2.0 */
/* by_copy.c - a round on a stream without a twin: read, leave out zeros, compress where it pays, checksum, send.
 * Two sets of buffers: one is the kernel's while the other is filled. */
#include "migrate/send/compress.h"
#include "migrate/send/sender_priv.h"

#include <errno.h>
#include <string.h>

#include "proto/base/io.h"

/* Walks the ascending ranges of zero_ok beside the ascending pages of a frame. */
struct zero_walk { const struct run_list *ok; size_t at; };

static void zero_walk_init(struct zero_walk *z, const struct run_list *ok, uint64_t addr)
{
	size_t low = 0, high = ok ? ok->count : 0;

	while (low < high) { /* the first range that ends behind addr */
		size_t mid = low + (high - low) / 2;

		if (run_end(&ok->run[mid]) <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	*z = (struct zero_walk){ .ok = ok, .at = low };
}

static bool zero_may_drop(struct zero_walk *z, uint64_t addr)
{
	while (z->ok && z->at < z->ok->count && run_end(&z->ok->run[z->at]) <= addr)
		z->at++;
	return z->ok && z->at < z->ok->count && z->ok->run[z->at].addr <= addr;
}

/* Builds the runs that travel out of the runs that were read, page by page, and closes the gaps in the bytes. */
struct packing {
	struct page_run run[FRAME_MAX_RUNS];
	size_t runs;
	uint32_t data_pages, zero_pages;
};

static void pack_run(struct packing *p, uint64_t addr, uint32_t pages, enum run_kind kind)
{
	struct page_run *last = p->runs ? &p->run[p->runs - 1] : NULL;

	if (last && last->kind == (uint32_t)kind && run_end(last) == addr && last->pages + (uint64_t)pages <= FRAME_MAX_DROP_PAGES)
		last->pages += pages;
	else
		p->run[p->runs++] = (struct page_run){ .addr = addr, .pages = pages, .kind = kind };
	if (kind == RUN_DATA)
		p->data_pages += pages;
}

static void pack(struct packing *p, const struct outgoing *f, uint8_t *bytes, const uint64_t *gone, const struct run_list *zero_ok)
{
	struct zero_walk walk;
	uint64_t page = 0;

	p->runs = 0;
	p->data_pages = p->zero_pages = 0;
	zero_walk_init(&walk, zero_ok, f->run[0].addr);
	for (size_t i = 0; i < f->runs; i++) {
		if (f->run[i].kind != RUN_DATA) {
			pack_run(p, f->run[i].addr, f->run[i].pages, f->run[i].kind);
			continue;
		}
		for (uint32_t k = 0; k < f->run[i].pages; k++, page++) {
			uint64_t addr = f->run[i].addr + pages_to_bytes(k);
			const uint8_t *from = bytes + pages_to_bytes(page);

			if (gone[page / 64] >> (page % 64) & 1)
				continue;
			if (zero_may_drop(&walk, addr) && page_is_zero(from)) {
				p->zero_pages++;
				pack_run(p, addr, 1, RUN_DROP);
				continue;
			}
			if (p->data_pages != page)
				memcpy(bytes + pages_to_bytes(p->data_pages), from, DRAY_PAGE_SIZE);
			pack_run(p, addr, 1, RUN_DATA);
		}
	}
}

static int read_frame(struct worker *w, const struct copy_source *src, const struct outgoing *f, uint8_t *raw, uint64_t *gone)
{
	uint64_t bad = 0;
	int rc = copy_pages(src, f->run, f->runs, raw, gone, &bad);

	if (rc == -ESRCH)
		return worker_fail(w, ERR_GONE, 0, "process %d ended", src->pid);
	if (rc < 0)
		return worker_fail(w, ERR_SYSTEM, -rc, "cannot read the page at 0x%llx of process %d", (unsigned long long)bad, src->pid);
	if (rc > 0 && w->s->frozen) {
		uint64_t page = 0;

		for (size_t i = 0; i < f->runs; i++)
			for (uint32_t k = 0; f->run[i].kind == RUN_DATA && k < f->run[i].pages; k++, page++)
				if (gone[page / 64] >> (page % 64) & 1)
					return worker_fail(w, ERR_SYSTEM, EFAULT, "the page at 0x%llx of process %d is not there",
							   (unsigned long long)(f->run[i].addr + pages_to_bytes(k)), src->pid);
	}
	return rc;
}

int worker_copy_frame(struct worker *w, const struct copy_source *src, struct outgoing *f, unsigned slot, uint32_t taken)
{
	uint64_t gone[COPY_FRAME_PAGES / 64];
	size_t taken_runs = f->runs;
	struct packing p;
	const uint8_t *payload;
	uint16_t flags = FRAME_CHECKSUM;
	uint64_t start;
	size_t len;
	int missing = read_frame(w, src, f, w->raw[slot], gone);

	if (missing < 0)
		return -1;
	pack(&p, f, w->raw[slot], gone, w->s->zero_ok);
	if (w->s->config.reconnect)
		memcpy(w->taken, f->run, taken_runs * sizeof(f->run[0]));
	memcpy(f->run, p.run, p.runs * sizeof(p.run[0]));
	f->runs = p.runs;
	f->data_pages = p.data_pages;
	if (p.runs == 0) {
		w->count.stats.vanished_pages += (uint32_t)missing;
		atomic_fetch_sub_explicit(&w->s->pages_left, taken, memory_order_relaxed);
		return output_wait(w); /* the next frame is read into the other buffers, of which the kernel still sends the one before */
	}
	payload = compress_payload(w->s->config.compress, &w->compress, w->raw[slot], pages_to_bytes(p.data_pages), w->packed[slot], &len, &flags);
	outgoing_table(f);
	if (worker_account(w, f, len, w->taken, taken_runs, taken) < 0)
		return -1;
	w->count.stats.vanished_pages += (uint32_t)missing;
	w->count.stats.zero_pages += p.zero_pages;
	outgoing_header(w, f, FRAME_PAGES, flags, len,
			frame_checksum(f->head + FRAME_HEADER_SIZE, f->runs * FRAME_RUN_SIZE, payload, len));
	if (worker_throttle(w, f->head_len + len) < 0)
		return -1;
	start = clock_us();
	if (output_wait(w) < 0 || output_frame_start(w, f, payload, len) < 0)
		return -1;
	compress_auto_sent(&w->compress, f->head_len + len, clock_us() - start);
	return 0;
}

static uint32_t copy_frame_pages(const struct worker *w)
{
	return w->frame_pages < COPY_FRAME_PAGES ? w->frame_pages : COPY_FRAME_PAGES;
}

int worker_copy_again(struct worker *w, const struct copy_source *src)
{
	for (unsigned slot = 0;; slot ^= 1) {
		struct outgoing *f = &w->frame[slot];

		f->runs = cursor_take(&w->again_at, copy_frame_pages(w), 1, f->run, COPY_FRAME_RUNS, &f->data_pages);
		if (f->runs == 0)
			return output_wait(w);
		if (worker_copy_frame(w, src, f, slot, f->data_pages) < 0)
			return -1;
	}
}

int worker_round_copy(struct worker *w)
{
	uint32_t pages = copy_frame_pages(w);
	unsigned slot = 0;

	if (worker_copy_again(w, &w->s->source) < 0)
		return -1;
	while (worker_next(w, &w->frame[slot], pages, COPY_FRAME_RUNS)) {
		if (atomic_load_explicit(&w->s->stop, memory_order_relaxed))
			return worker_fail(w, ERR_CANCELLED, 0, "stopped");
		if (worker_copy_frame(w, &w->s->source, &w->frame[slot], slot, w->frame[slot].data_pages) < 0)
			return -1;
		slot ^= 1;
	}
	return output_wait(w);
}
