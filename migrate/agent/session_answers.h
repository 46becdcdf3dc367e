/* SPDX-License-Identifier: Apache-2.0 */
/* session_answers.h - what a husk answers its session, over channel.h. Same program, same machine: native layout. */
#ifndef DRAY_MIGRATE_SESSION_ANSWERS_H
#define DRAY_MIGRATE_SESSION_ANSWERS_H

#include <stdint.h>

#include "pageserver/stream_recv.h"

struct round_answer {
	struct stream_recv_stats stats;
	uint64_t resident_bytes;
};
struct verify_answer {
	uint64_t first_bad; /* 0: all equal */
	uint64_t cost_us;
};

#endif
