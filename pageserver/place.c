/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/place.h"

#include <errno.h>
#include <stdlib.h>

#include "pageserver/place_priv.h"

struct place *place_create(uint64_t max_bytes, struct err *e)
{
	struct place *p = calloc(1, sizeof(*p));

	if (!p) {
		err_set(e, ERR_SYSTEM, ENOMEM, "staged memory");
		return NULL;
	}
	p->max_bytes = max_bytes < 1ull << 60 ? max_bytes : 0;
	pthread_mutex_init(&p->counting, NULL);
	pthread_mutex_init(&p->collapsing, NULL);
	if (resident_bytes(&p->baseline, e) < 0) {
		place_destroy(p);
		return NULL;
	}
	return p;
}

void place_destroy(struct place *p)
{
	if (!p)
		return;
	stage_clear(p);
	huge_finish(&p->huge);
	stage_files_finish(&p->files);
	pthread_mutex_destroy(&p->counting);
	pthread_mutex_destroy(&p->collapsing);
	free(p);
}

static int stage_mappings(struct place *p, const Drayage__RoundBegin *msg, struct err *e)
{
	struct segments to;

	for (size_t i = 0; i < msg->n_files; i++) {
		if (stage_files_add(&p->files, msg->files[i], e) < 0)
			return -1;
	}
	if (segments_from_vmas(&to, msg->vmas, msg->n_vmas, &p->files, e) < 0)
		return -1;
	if (p->bit == 0 && stage_choose_bit(p, &to, e) < 0) {
		segments_finish(&to);
		return -1;
	}
	return stage_change(p, &to, e);
}

int place_apply(struct place *p, const Drayage__RoundBegin *msg, struct err *e)
{
	if (stage_mappings(p, msg, e) < 0)
		return -1;
	for (size_t i = 0; i < msg->n_reset; i++) {
		if (place_reset(p, msg->reset[i]->start, msg->reset[i]->end, e) < 0)
			return -1;
	}
	return huge_announce(p, msg->populate, msg->n_populate, e);
}

uint64_t place_stage_bit(const struct place *p)
{
	return p->bit;
}

uint64_t place_resident_bytes(const struct place *p)
{
	uint64_t now;
	struct err e;

	if (resident_bytes(&now, &e) < 0 || now < p->baseline)
		return 0;
	return now - p->baseline;
}

int place_file_fd(const struct place *p, uint32_t file_id)
{
	const struct staged_file *f = stage_files_find(&p->files, file_id);

	return f ? f->fd : -1;
}
