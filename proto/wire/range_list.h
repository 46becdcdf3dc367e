/* SPDX-License-Identifier: Apache-2.0 */
/* range_list.h - between lists of runs and the repeated Range of a control message. Threads: any. */
#ifndef DRAY_WIRE_RANGE_LIST_H
#define DRAY_WIRE_RANGE_LIST_H

#include <stddef.h>

#include "control.pb-c.h"
#include "proto/base/err.h"
#include "proto/wire/runs.h"

/* The data runs of l as an array that protobuf-c takes: one allocation, freed by the caller with free(). */
int range_list_make(const struct run_list *l, Drayage__Range ***range, size_t *count, struct err *e);
/* Ascending, page aligned, below the end of user addresses, without overlap: else ERR_PROTOCOL. Appends to l. */
int range_list_read(Drayage__Range *const *range, size_t count, struct run_list *l, struct err *e);

#endif
