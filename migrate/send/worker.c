/* SPDX-License-Identifier: Apache-2.0 */
/* worker.c - a stream's thread: waits for orders, carries them out, says so. */
#include "migrate/send/sender_priv.h"
#include "proto/base/io.h"

#include <string.h>

/* A frame that is a header only. */
static int send_mark(struct worker *w, enum frame_kind kind)
{
	struct outgoing *f = &w->frame[0];

	f->runs = 0;
	f->data_pages = 0;
	outgoing_table(f);
	if (worker_account(w, f, 0, NULL, 0, 0) < 0)
		return -1;
	outgoing_header(w, f, kind, 0, 0, 0);
	return output_bytes(w, f->head, f->head_len);
}

/* The round is on the wire: the owner may say so. It still holds when the connection is cut now and the destination told on another one. */
static void tell(struct worker *w, bool *told)
{
	struct sender *s = w->s;

	pthread_mutex_lock(&s->lock);
	w->told = w->count;
	if (!*told && --s->working == 0)
		pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	*told = true;
}

static int send_all(struct worker *w)
{
	int rc = w->s->config.extract == EXTRACT_SPLICE ? worker_round_splice(w) : worker_round_copy(w);

	return rc < 0 ? -1 : send_mark(w, FRAME_ROUND_END);
}

/* Until the destination has it all, or the worker failed. */
static void carry_round(struct worker *w, bool *told)
{
	uint64_t end = 0;

	worker_begin_again(w);
	w->count.stats = (struct sender_stats){ 0 };
	cursor_init(&w->piece, NULL, 0);
	sent_log_begin(&w->log, w->sequence);
	run_list_clear(&w->again);
	cursor_init(&w->again_at, NULL, 0);
	for (;;) {
		int rc = send_all(w);

		if (rc == 0) {
			end = w->sequence;
			tell(w, told);
			if (!w->s->config.reconnect || worker_await_ack(w) == 0)
				return;
		}
		if (!w->cut || worker_reconnect(w) < 0)
			return;
		if (rc == 0 && w->sequence == end)
			return; /* it was only its word that was lost */
	}
}

static void carry_out(struct worker *w, enum sender_order order, bool *told)
{
	if (order == ORDER_ROUND) {
		carry_round(w, told);
	} else if (order == ORDER_FINISH) {
		if (send_mark(w, FRAME_END) < 0 && w->cut)
			worker_fail(w, ERR_PEER, peer_errno(w->cut_errno), "the destination cut the connection");
	}
}

void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct sender *s = w->s;
	unsigned done = 0;
	enum sender_order order;

	output_open(w);
	do {
		bool told = false;

		pthread_mutex_lock(&s->lock);
		while (s->order_number == done)
			pthread_cond_wait(&s->changed, &s->lock);
		done = s->order_number;
		order = s->order;
		pthread_mutex_unlock(&s->lock);
		carry_out(w, order, &told);
		if (order == ORDER_QUIT)
			output_close(w);
		pthread_mutex_lock(&s->lock);
		w->told = w->count;
		s->working -= !told;
		s->unsettled -= order == ORDER_ROUND;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
	} while (order != ORDER_QUIT);
	return NULL;
}
