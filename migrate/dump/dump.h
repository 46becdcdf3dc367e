/* SPDX-License-Identifier: Apache-2.0 */
/* dump.h - pre-dump and dump of a process into CRIU images, for the RPC service and the criu verbs.
 *
 * A struct dumper lives as long as its caller's session: over the rounds of one connection it keeps the tracker armed. Between callers
 * that share nothing (crun runs one process a round) what was tracked is kept by a small process of its own, found by the target's pid and
 * start time; where there is none, or its base is not the parent asked for, contents are compared with the parent's pages: slower, never wrong.
 *
 * Threads: one (it forks a keeper). Fails: err; the target runs on after every failure, and the images directory is as it was before. */
#ifndef DRAY_MIGRATE_DUMP_H
#define DRAY_MIGRATE_DUMP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pageserver/images/page_sink.h"
#include "proto/base/err.h"

/* When the caller is asked or told; names are those of CRIU's notifications. A hook that fails (-1, e set) fails the dump. */
enum dump_moment { DUMP_PRE_DUMP, DUMP_NETWORK_LOCK, DUMP_QUERY_EXT_FILES, DUMP_POST_DUMP, DUMP_LAZY_READY, DUMP_NETWORK_UNLOCK };
typedef int dump_hook(void *arg, enum dump_moment when, struct err *e);

enum dump_final_state { DUMP_KILL, DUMP_RUN_ON, DUMP_STOPPED };

struct tls_gate;
struct dump_request {
	pid_t pid;            /* as we see it */
	int images_dir;       /* directories, borrowed */
	int work_dir;
	const char *parent;   /* relative to images_dir; NULL: none */
	bool track_mem;       /* (re)arm the tracker, and in a dump: use the parent */
	bool auto_dedup;
	bool tcp_close;
	bool cpuinfo;         /* dump only: cpuinfo.img too */
	enum dump_final_state final_state; /* dump only */
	struct page_sink *sink; /* pages go there (a page server); NULL: into images_dir. Borrowed; finished by the dump */
	const char *freeze_cgroup; /* freeze by it; NULL: by ptrace */
	unsigned timeout_s;   /* for stopping the tasks; 0: 10 */
	bool lazy;            /* pages that may come late are not stored, but served to one lazy-pages client (docs/page-server.md), the task standing
				 still, before it gets its final state; DUMP_LAZY_READY says that the client may come */
	int lazy_listener;    /* with lazy: where it comes, a listening socket. Borrowed */
	unsigned lazy_timeout_s; /* how long it may let us wait; 0: 600 */
	struct tls_gate *lazy_tls; /* it must speak TLS then; borrowed. NULL: it must not */
	const char *lazy_tls_name; /* and bear this name; NULL: any that the authority signed */
	int requester_socket; /* self dump: the caller's connection to us, which the images shall know as such; -1 */
	dump_hook *hook;      /* NULL: nobody asks */
	void *hook_arg;
};

struct dump_stats { /* as stats-dump has them; times in microseconds */
	uint64_t freezing_us, frozen_us, memdump_us, memwrite_us;
	uint64_t pages_scanned, pages_skipped_parent, pages_written, pages_lazy;
};

struct dumper;
struct dumper *dumper_create(struct err *e);
/* Disarms what it armed, unless a tracker is kept for a later caller. Accepts NULL. */
void dumper_destroy(struct dumper *d);
/* One round: memory only, the target runs on. Writes pagemap, pages, inventory; stats-dump into work_dir. */
int dumper_pre_dump(struct dumper *d, const struct dump_request *q, struct dump_stats *out, struct err *e);
/* All of it, consistent. After success the target is in final_state. A refused DUMP_POST_DUMP lets it run on whatever final_state says. */
int dumper_dump(struct dumper *d, const struct dump_request *q, struct dump_stats *out, struct err *e);
/* Whether rounds can be tracked on this kernel. */
bool dump_can_track(void);

#endif
