/* SPDX-License-Identifier: Apache-2.0 */
/* capture_priv.h - what the parts of capture share. One struct capture lives for one call; it owns everything it points to except
 * the remote, the options, the obstacles and the err.
 *
 * Each part has the same two steps: *_check says what can't be carried (capture_obstacle) and, with c->tree set, *_save describes it. In
 * the frozen process both run, so that nothing slips in between a check and its freeze. 0, or -1 with c->e set when it could not look. */
#ifndef DRAY_MIGRATE_CAPTURE_PRIV_H
#define DRAY_MIGRATE_CAPTURE_PRIV_H

#include <protobuf-c/protobuf-c.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "migrate/native/capture.h"
#include "proto/base/cleanup.h"
#include "proto/wire/message_list.h"

struct fd_kind;
struct capture;

struct sock_facts {
	int domain, type, proto;
	int state;       /* TCP_ numbers, as sock_diag has them, for unix sockets too */
	uint32_t peer;   /* unix: inode of the peer, 0 none */
	uint32_t queue, backlog; /* unix listener: connections waiting, how many may */
	uint32_t shutdown;
	uint32_t vfs_ino; /* unix: inode of the socket file, 0 none */
	uint32_t vfs_dev;
	uint32_t scm_fds; /* unix: descriptors in flight towards it */
};

/* Options of a socket that nobody touched, by kind; what they are is capture_sock.c's own matter. */
enum { SOCKET_KINDS = 8, EXTRA_OPTIONS_MAX = 48, OPTION_BYTES = 32 };
struct option_value { uint32_t len; unsigned char data[OPTION_BYTES]; };
struct socket_defaults { int domain, type, proto; struct option_value value[EXTRA_OPTIONS_MAX]; };

struct fd_desc {
	int fd;
	char *link;        /* what /proc/PID/fd/N points to */
	bool deleted;      /* ... behind which the kernel said " (deleted)"; cut off in link */
	struct stat st;
	char *info;        /* fdinfo */
	uint64_t pos;
	uint32_t flags;    /* open flags without O_CLOEXEC */
	bool cloexec;
	const struct fd_kind *kind;
	uint32_t file_id;
	bool again;        /* a lower descriptor has the same description */
	struct sock_facts sock;
};

struct fd_kind {
	const char *name;
	FdTypes type;
	bool (*is)(const struct fd_desc *d);
	int (*check)(struct capture *c, struct fd_desc *d); /* NULL: can always be carried */
	int (*save)(struct capture *c, struct fd_desc *d, FileEntry *f); /* NULL: refused with its name */
};

/* A piece of memory without a file: memfd or shared anonymous. */
struct shm_object {
	uint64_t dev, ino;
	uint32_t inode_id, map_file_id; /* map_file_id: entry that its mappings name; 0 not made yet */
	int fd;                         /* opened for us; -1 not yet */
};

struct mapped_file {
	const char *path; /* in c->vmas */
	uint64_t dev, ino; /* as maps prints them */
	uint32_t flags, file_id;
	bool checked;
};

struct capture {
	pid_t pid;
	int procfd;      /* /proc/PID */
	int pidfd;
	int diag;        /* sock_diag netlink socket, -1 until needed */
	const struct capture_options *opt;
	struct remote *r; /* NULL: the process runs, only look */
	struct obstacles *found;
	struct err *e;
	Drayage__TreeState *tree; /* NULL: check only */
	Drayage__TaskState *task;
	const struct vma_list *seen; /* as capture_tree_seen takes it, or NULL */
	bool walk_spared;            /* flags were taken from seen */
	struct vma_list vmas;
	struct fd_desc *fd;
	size_t fds;
	uint32_t last_id;
	struct shm_object *shm;
	size_t shms;
	struct mapped_file *mapped;
	size_t mappeds;
	struct socket_defaults *defaults; /* SOCKET_KINDS of them, once there is a socket */
	size_t defaults_known;
	uint64_t network; /* the kernel's cookie of our network namespace; 0 not asked yet, or too old a kernel */
	size_t memfd_bytes; /* carried in the description so far */
	pid_t *nstid;       /* thread ids as the target sees them, in r's order */
	char *status;       /* /proc/PID/status */
};

/* capture_tools.c */
void capture_obstacle(struct capture *c, const char *way_out, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define CAPTURE_NEW(c, type) message_new(&type##__descriptor, (c)->e)
static inline int capture_push(struct capture *c, void *array, size_t *count, void *msg) { return message_push(array, count, msg, c->e); }
int capture_bytes(struct capture *c, ProtobufCBinaryData *out, const void *data, size_t len);
char *capture_text(struct capture *c, const char *name, struct err *e); /* a file below /proc/PID; owned */
pid_t capture_tid_inside(const struct capture *c, pid_t tid); /* -1: not a thread of the target */
int capture_fd_open(struct capture *c, const struct fd_desc *d); /* our own descriptor of the same description, or -1 with the error */
void capture_fd_obstacle(struct capture *c, const struct fd_desc *d, const char *way_out, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
FownEntry *capture_fown(struct capture *c, const struct fd_desc *d, int local); /* local: our copy, or -1 */
FileEntry *capture_file(struct capture *c, FdTypes type, uint32_t id); /* appended to the tree */
Drayage__FileExt *capture_file_ext(struct capture *c, uint32_t id); /* appended, or the one that is last if it has that id */
const struct fd_desc *capture_fd_find(const struct capture *c, int fd);

/* capture_check.c */
int capture_task_check(struct capture *c);
bool capture_is_ending(struct capture *c); /* its memory may be gone already, though nobody has been told of its end */

/* capture_task.c, capture_thread.c */
int capture_task_save(struct capture *c);
int capture_thread_save(struct capture *c, size_t index);
int capture_signals(struct capture *c, pid_t tid, bool shared, SignalQueueEntry **out);

/* capture_timers.c: POSIX timers; settle, for the interval timers too, once all threads' signals are saved. */
int capture_timers_save(struct capture *c, TaskTimersEntry *t);
int capture_timers_settle(struct capture *c);
void capture_set_itimer(ItimerEntry *t, const struct itimerval *v);

/* capture_mm.c */
int capture_mm_check(struct capture *c);
int capture_mm_save(struct capture *c);

/* capture_shm.c */
struct shm_object *capture_shm(struct capture *c, uint64_t dev, uint64_t ino, const char *name, int fd); /* fd: taken; -1 only looks up */
int capture_shm_rest(struct capture *c); /* what no mapping covers */

/* capture_fd.c */
int capture_fds_read(struct capture *c);
int capture_fds_check(struct capture *c);
int capture_fds_save(struct capture *c);

/* The kinds. */
int reg_check(struct capture *c, struct fd_desc *d);
int reg_save(struct capture *c, struct fd_desc *d, FileEntry *f);
/* reg entry for a path that is not a descriptor: mapped file, executable, directory. 0 with *id, or -1. */
int reg_entry(struct capture *c, const char *path, uint32_t flags, bool identify, uint32_t *id);
int memfd_check(struct capture *c, struct fd_desc *d);
int memfd_save(struct capture *c, struct fd_desc *d, FileEntry *f);
int pipe_check(struct capture *c, struct fd_desc *d);
int pipe_save(struct capture *c, struct fd_desc *d, FileEntry *f);
int fifo_check(struct capture *c, struct fd_desc *d);
int fifo_save(struct capture *c, struct fd_desc *d, FileEntry *f);
int eventfd_save(struct capture *c, struct fd_desc *d, FileEntry *f);
int epoll_check(struct capture *c, struct fd_desc *d);
int epoll_save(struct capture *c, struct fd_desc *d, FileEntry *f);
int timerfd_save(struct capture *c, struct fd_desc *d, FileEntry *f);
int signalfd_save(struct capture *c, struct fd_desc *d, FileEntry *f);
int inotify_check(struct capture *c, struct fd_desc *d);
int inotify_save(struct capture *c, struct fd_desc *d, FileEntry *f);
int socket_read(struct capture *c, struct fd_desc *d); /* fills d->sock */
int socket_check(struct capture *c, struct fd_desc *d);
int socket_save(struct capture *c, struct fd_desc *d, FileEntry *f);
int inet_check(struct capture *c, struct fd_desc *d, int local);
int inet_save(struct capture *c, struct fd_desc *d, FileEntry *f, int local);
int unix_read(struct capture *c, struct fd_desc *d);
int unix_check(struct capture *c, struct fd_desc *d, int local);
int unix_save(struct capture *c, struct fd_desc *d, FileEntry *f, int local);
SkOptsEntry *socket_options(struct capture *c, int local, bool let_go);
int socket_get(int fd, int level, int name, int missing);
int socket_extra_options(struct capture *c, const struct fd_desc *d, int local, uint32_t id);

#endif
