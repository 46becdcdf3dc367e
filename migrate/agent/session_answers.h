/* SPDX-License-Identifier: Apache-2.0 */
/* session_answers.h - what goes between a husk and who forked it beside packed messages, over channel.h. Same program, same machine: native layout. */
#ifndef DRAY_MIGRATE_SESSION_ANSWERS_H
#define DRAY_MIGRATE_SESSION_ANSWERS_H

#include <stdint.h>

#include "pageserver/images/load_pages.h"
#include "pageserver/stream_recv.h"

struct round_answer {
	struct stream_recv_stats stats;
	uint64_t resident_bytes;
};
/* What CHANNEL_LOAD asks for. */
enum { LOAD_SKIPS_MAX = 8 };
struct load_request {
	struct load_map map;
	bool punch, leave_lazy;
	size_t skips;
	struct load_skip skip[LOAD_SKIPS_MAX];
};
struct verify_answer {
	uint64_t first_bad; /* 0: all equal */
	uint64_t cost_us;
};

#endif
