/* SPDX-License-Identifier: Apache-2.0 */
/* husk_main.h - what runs in the husk (husk.h) until its tracer takes over: serves the requests of who forked it, never returns. */
#ifndef DRAY_MIGRATE_HUSK_MAIN_H
#define DRAY_MIGRATE_HUSK_MAIN_H

#include "migrate/agent/husk.h"

_Noreturn void husk_main(int channel, const struct husk_request *q); /* takes channel */

#endif
