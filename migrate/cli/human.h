/* SPDX-License-Identifier: Apache-2.0 */
/* human.h - numbers as people read them: three significant digits and a unit. Pure; the text lies in the value returned. Threads: any. */
#ifndef DRAY_MIGRATE_HUMAN_H
#define DRAY_MIGRATE_HUMAN_H

#include <stdint.h>

struct human { char text[24]; };

struct human human_bytes(uint64_t bytes);   /* "0 B", "1.21 GiB" */
struct human human_rate(uint64_t per_s);    /* "1.21 GiB/s" */
struct human human_time(uint64_t us);       /* "870 us", "23.1 ms", "1.21 s", "3 m 20 s" */

#endif
