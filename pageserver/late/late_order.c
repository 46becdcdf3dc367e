/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/late/late_order.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

/* The error of a copy that can't be: EAGAIN while the process changes its mappings, ESRCH when it has ended, ENOENT where nothing is watched. */
static int try_copy(int uffd, uint64_t to, void *unreadable)
{
	struct uffdio_copy copy = { .dst = to, .src = (uint64_t)(uintptr_t)unreadable, .len = DRAY_PAGE_SIZE };

	return ioctl(uffd, UFFDIO_COPY, &copy) < 0 ? errno : 0;
}

static bool watches(int uffd, uint64_t at, void *unreadable)
{
	int error = try_copy(uffd, at, unreadable);

	return error == EFAULT || error == EEXIST;
}

bool late_order_quiet(struct late_order *o, int uffd, void *unreadable)
{
	if (try_copy(uffd, (uint64_t)(uintptr_t)unreadable, unreadable) == EAGAIN)
		return false;
	o->moves = 0;
	o->period++;
	return true;
}

void late_order_note(struct late_order *o, const struct late_move *m)
{
	o->move[o->moves++ % LATE_MOVES] = *m;
}

int late_order_take_back(const struct late_order *o, int child, void *unreadable, struct late_map *m)
{
	for (unsigned i = 0; i < o->moves && i < LATE_MOVES; i++) {
		const struct late_move *v = &o->move[(o->moves - 1 - i) % LATE_MOVES];

		if (watches(child, v->from, unreadable) && !watches(child, v->to, unreadable) && late_map_move(m, v->to, v->from, v->pages) < 0)
			return -ENOMEM;
	}
	return 0;
}

int late_order_follow(const struct late_move *move, int child, void *unreadable, struct late_map *m)
{
	if (!watches(child, move->to, unreadable) || watches(child, move->from, unreadable))
		return 0;
	return late_map_move(m, move->from, move->to, move->pages);
}
