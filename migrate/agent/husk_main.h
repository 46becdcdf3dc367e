/* SPDX-License-Identifier: Apache-2.0 */
/* husk_main.h - what runs in the husk (husk.h) until its tracer takes over: serves the session's requests, never returns. */
#ifndef DRAY_MIGRATE_HUSK_MAIN_H
#define DRAY_MIGRATE_HUSK_MAIN_H

#include <stdint.h>

_Noreturn void husk_main(int channel, uint64_t max_bytes, unsigned streams); /* takes channel */

#endif
