/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that stand inside a restartable sequence go on at its abort handler, as after any preemption. A restorer may register the sequences' area
 * anew, by which the kernel forgets the one under way: so the images say so. */
#include <stddef.h>
#include <string.h>
#include <sys/user.h>

#include "migrate/dump/dump_priv.h"
#include "migrate/remote/remote.h"

/* struct rseq and struct rseq_cs of linux/rseq.h. */
enum { RSEQ_CS_FIELD = 8 };
struct sequence { uint32_t version, flags; uint64_t start_ip, post_commit_offset, abort_ip; };

static uint64_t abort_of(pid_t pid, uint64_t area, uint64_t ip)
{
	struct sequence s;
	uint64_t at = 0;
	struct err ignored = { 0 };

	if (remote_read(pid, area + RSEQ_CS_FIELD, &at, sizeof(at), &ignored) < 0 || !at || remote_read(pid, at, &s, sizeof(s), &ignored) < 0)
		return 0;
	return s.version == 0 && ip - s.start_ip < s.post_commit_offset ? s.abort_ip : 0;
}

void dump_leave_sequences(const struct dump_task *task, Drayage__TreeState *tree)
{
	for (size_t i = 0; i < tree->tasks[0]->n_threads; i++) {
		CoreEntry *core = tree->tasks[0]->threads[i];
		const RseqEntry *q = core->thread_core->rseq_entry;
		uint64_t ip = q && q->rseq_abi_pointer ? abort_of(task->pid, q->rseq_abi_pointer, core->thread_info->gpregs->ip) : 0;

		if (ip)
			core->thread_info->gpregs->ip = ip;
	}
}
