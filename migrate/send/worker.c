/* SPDX-License-Identifier: Apache-2.0 */
/* worker.c - a stream's thread: waits for orders, carries them out, says so. */
#include "migrate/send/sender_priv.h"

#include <string.h>

/* A frame that is a header only. */
static int send_mark(struct worker *w, enum frame_kind kind)
{
	struct outgoing *f = &w->frame[0];

	f->runs = 0;
	f->data_pages = 0;
	outgoing_table(f);
	outgoing_header(w, f, kind, 0, 0, 0);
	if (output_bytes(w, f->head, f->head_len) < 0)
		return -1;
	worker_account(w, f, 0, 0);
	return 0;
}

static void carry_out(struct worker *w, enum sender_order order)
{
	struct sender *s = w->s;
	int rc = 0;

	if (order == ORDER_ROUND) {
		w->stats = (struct sender_stats){ 0 };
		cursor_init(&w->piece, NULL, 0);
		rc = s->config.extract == EXTRACT_SPLICE ? worker_round_splice(w) : worker_round_copy(w);
		if (rc == 0)
			send_mark(w, FRAME_ROUND_END);
	} else if (order == ORDER_FINISH) {
		send_mark(w, FRAME_END);
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
		pthread_mutex_lock(&s->lock);
		while (s->order_number == done)
			pthread_cond_wait(&s->changed, &s->lock);
		done = s->order_number;
		order = s->order;
		pthread_mutex_unlock(&s->lock);
		carry_out(w, order);
		if (order == ORDER_QUIT)
			output_close(w);
		pthread_mutex_lock(&s->lock);
		if (--s->working == 0)
			pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
	} while (order != ORDER_QUIT);
	return NULL;
}
