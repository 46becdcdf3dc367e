/* SPDX-License-Identifier: Apache-2.0 */
/* rebuild_priv.h - what the parts of rebuild share: the inside half's table of open files, the outside half's batches.
 *
 * Inside: a struct rebuild lives for one rebuild_inside(). Every open file description of the target is built at a number above all of the
 * target's descriptors (b->fd), so that nothing that is still needed stands in the way; only then are they put to their numbers.
 * Outside: a struct outside lives for one rebuild_outside(). Errors of a batch are sticky: its first failure is kept in e and later calls do
 * nothing, so that a sequence of calls is checked once, at batch_flush(). */
#ifndef DRAY_MIGRATE_REBUILD_PRIV_H
#define DRAY_MIGRATE_REBUILD_PRIV_H

#include "migrate/mm/vma.h"
#include "migrate/native/rebuild.h"

/* ---- inside ---- */

struct built {
	const FileEntry *f;
	const Drayage__FileExt *x; /* NULL: none */
	int fd;    /* above r->base; -1 until built. O_CLOEXEC for the time being */
	bool given; /* by the caller: it stays as it is */
	int first; /* lowest descriptor number of the target that names it; -1: only mappings, the executable, cwd, root do */
};

struct rebuild {
	const Drayage__TreeState *tree;
	const Drayage__TaskState *task;
	const struct rebuild_options *opt;
	struct place *place;
	uint64_t stage_bit;
	int base; /* above every descriptor of the target */
	struct built *file; /* ascending by id */
	size_t files;
	struct vma_list maps; /* our own, read when first needed */
	struct err *e;
};

/* rebuild_table.c */
void rebuild_sort(struct rebuild *r); /* by id, as rebuild_find needs it */
struct built *rebuild_find(const struct rebuild *r, uint32_t id);
const FownEntry *rebuild_fown(const FileEntry *f);
/* Moves fd (-1: a failed call, errno tells) above base, where nothing of the target is in its way; -1. */
int rebuild_raise(struct rebuild *r, int fd, const char *what);
/* Takes fd (-1: a failed call, errno tells): moves it above base and makes it b's. what: for the error. */
int rebuild_take(struct rebuild *r, struct built *b, int fd, const char *what);
/* One more description of what fd has open. Returns a plain descriptor or -1 with errno. */
int rebuild_reopen(int fd, uint32_t flags);
/* "task 41 fd 7: ..." */
int rebuild_fail(struct rebuild *r, const struct built *b, enum err_kind kind, int num, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
int rebuild_fail_sys(struct rebuild *r, const struct built *b, const char *what); /* errno, ERR_SYSTEM */

/* Builders by type; b->fd is built afterwards. A builder may build others of the same kernel object too. */
int rebuild_reg(struct rebuild *r, struct built *b);
int rebuild_fifo(struct rebuild *r, struct built *b);
int rebuild_pipe(struct rebuild *r, struct built *b);
int rebuild_memfd(struct rebuild *r, struct built *b);
int rebuild_eventfd(struct rebuild *r, struct built *b);
int rebuild_epoll(struct rebuild *r, struct built *b);
int rebuild_timerfd(struct rebuild *r, struct built *b);
int rebuild_signalfd(struct rebuild *r, struct built *b);
int rebuild_inotify(struct rebuild *r, struct built *b);
int rebuild_unix(struct rebuild *r, struct built *b);
int rebuild_inet(struct rebuild *r, struct built *b);
/* Adds what an epoll watches; when every descriptor is at its number. fd: the epoll's own number. */
int rebuild_epoll_fill(struct rebuild *r, const struct built *b, int fd);
/* Connects datagram sockets to others of the tree; when all of them are bound. */
int rebuild_unix_connect(struct rebuild *r, struct built *b);
/* Seals and sizes memory files that only mappings use, and fills the parts that no mapping covers. */
int rebuild_memfds_finish(struct rebuild *r);

/* rebuild_sockopt.c */
int rebuild_sock_buffers(struct rebuild *r, const struct built *b, int fd, const SkOptsEntry *o);
int rebuild_sock_options(struct rebuild *r, const struct built *b, int fd, const SkOptsEntry *o);
int rebuild_sock_extra(struct rebuild *r, const struct built *b, int fd); /* FileExt.options */
int rebuild_sock_set(struct rebuild *r, const struct built *b, int fd, int level, int name, int value, const char *what);

/* A path of the tree, opened; the error names it. flags as the target had them. Plain descriptor or -1. */
int rebuild_open_path(struct rebuild *r, const RegFileEntry *reg, uint32_t flags, bool same_size);

/* ---- outside ---- */

enum { BATCH_CALLS = 224 };

struct outside {
	struct remote *r;
	const Drayage__TreeState *tree;
	const Drayage__TaskState *task;
	const struct rebuild_handover *h;
	struct err *e;
	bool caps_known;
	uint64_t caps_permitted, caps_bounding; /* the husk's: every thread is born with them */
	uint64_t *abort_ip; /* by thread: where a restartable sequence that was under way goes on; 0: none was */
	/* the batch */
	size_t thread; /* that runs it */
	struct remote_call call[BATCH_CALLS];
	char label[BATCH_CALLS][64];
	size_t calls;
	unsigned char *data; /* copied to the scratch area when the batch runs */
	size_t data_used, data_size;
	struct remote_call *result[BATCH_CALLS]; /* where a call is copied back to; NULL: nobody asks */
};

/* Runs what was collected. 0, or -1 with o->e set, now or by an earlier call. */
int batch_flush(struct outside *o);
/* Flushes where less than `calls` calls or `bytes` bytes are left. */
void batch_room(struct outside *o, size_t calls, size_t bytes);
/* Copies bytes into the scratch area; returns their address there, 16 byte aligned. Room for them was asked for. */
uint64_t batch_put(struct outside *o, const void *bytes, size_t len);
/* Collects a call; label says what it is for, in errors. */
void batch_call(struct outside *o, struct remote_call call, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same; its result is there after the next flush. */
void batch_ask(struct outside *o, struct remote_call call, struct remote_call *result, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

int outside_maps(struct outside *o);    /* scratch, the husk's mappings away, the target's to their places, prctl mm */
int outside_advice(struct outside *o);  /* protections, madvise, mlock */
int outside_threads(struct outside *o); /* makes them */
int outside_thread(struct outside *o, size_t i); /* all but signals, credentials, its rseq area and registers */
int outside_rseq(struct outside *o, size_t i);
/* Touches the lock that the thread waits for by a call that can't wait for its page: where pages come late, it is there when the thread goes on. */
void outside_futexes(const struct outside *o, size_t i);
int outside_timers(struct outside *o);
int outside_signals(struct outside *o); /* pending ones */
int outside_limits(struct outside *o);
int outside_creds(struct outside *o, size_t i);
int outside_registers(struct outside *o, size_t i);
bool rebuild_vma_special(const VmaEntry *v); /* vdso, vvar, vsyscall: the kernel's, never staged */

#endif
