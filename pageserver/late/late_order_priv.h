/* SPDX-License-Identifier: Apache-2.0 */
/* late_order_priv.h - what the files of late_order share. late_order.c gathers, groups and applies; late_order_search.c looks for orders that explain a group;
 * late_evidence.c holds what would come of one against memory; late_birth.c finds how much of it a child had seen. */
#ifndef DRAY_PAGESERVER_LATE_ORDER_PRIV_H
#define DRAY_PAGESERVER_LATE_ORDER_PRIV_H

#include "pageserver/late/late_order.h"

/* A group of changes, and where what they touch was before. */
struct late_trial { const struct late_told *t; size_t count; const struct late_map *m /* whose bits say what is missing */; struct late_map base; };

/* How ill an outcome fits: so many places that nothing explains, or that something unknown was unmapped from. */
enum { LATE_NOT_SO = -1, LATE_HOLE = 8 /* as unlikely as so many unmaps of something unknown */ };

/* late_order.c */
int late_change_apply(const struct late_change *c, struct late_map *m);
int late_change_apply_to_outline(const struct late_change *c, struct late_map *m); /* whose bits are not there */
bool late_stretches_meet(uint64_t a, uint64_t a_pages, uint64_t b, uint64_t b_pages);
bool late_changes_touch(const struct late_change *x, const struct late_change *y); /* any of each other's places */
size_t late_order_group_end(const struct late_order *o, size_t from);

/* late_evidence.c */
int late_trial_outline(const struct late_told *t, size_t count, const struct late_map *m, struct late_map *out); /* of the places that they touch */
/* One outcome, held against what is there. LATE_NOT_SO; else how much is watched though nothing should be there, which may be what was not known, as what
 * a mapping grew by; or an error other than -EPERM. */
int late_trial_check(const struct late_trial *t, const struct late_map *outcome, const struct late_look *look);

/* late_order_search.c */
/* t: a group, which has room for as many again behind it. *kept: how many of it are left, in their order. */
int late_order_search(struct late_told *t, size_t count, const struct late_map *m, const struct late_look *look, size_t *kept);

#endif
