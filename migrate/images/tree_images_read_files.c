/* SPDX-License-Identifier: Apache-2.0 */
/* Open files: files.img, the descriptor table, what is queued in pipes, FIFOs and sockets; and the files that stand against a restore. */
#include "migrate/images/tree_images_read_priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire/control.h"

enum { CAPACITY_MAX = 1 << 30 };

/* ---- descriptions ---- */

/* The id inside the message that the type calls for; 0 where there is none. Of types whose message we have no use for: the entry's own. */
static uint32_t inner_id(const FileEntry *f)
{
	switch ((int)f->type) {
	case FD_TYPES__FD_REG: return f->reg ? f->reg->id : 0;
	case FD_TYPES__FD_PIPE: return f->pipe ? f->pipe->id : 0;
	case FD_TYPES__FD_FIFO: return f->fifo ? f->fifo->id : 0;
	case FD_TYPES__FD_INETSK: return f->isk ? f->isk->id : 0;
	case FD_TYPES__FD_UNIXSK: return f->usk ? f->usk->id : 0;
	case FD_TYPES__FD_EVENTFD: return f->efd ? f->efd->id : 0;
	case FD_TYPES__FD_EVENTPOLL: return f->epfd ? f->epfd->id : 0;
	case FD_TYPES__FD_SIGNALFD: return f->sgfd ? f->sgfd->id : 0;
	case FD_TYPES__FD_TIMERFD: return f->tfd ? f->tfd->id : 0;
	case FD_TYPES__FD_MEMFD: return f->memfd ? f->memfd->id : 0;
	default: return f->id;
	}
}

static int by_id(const void *a, const void *b)
{
	uint32_t x = (*(FileEntry *const *)a)->id, y = (*(FileEntry *const *)b)->id;

	return x < y ? -1 : x > y;
}

static int read_descriptions(struct tree_read *r)
{
	Drayage__TreeState *t = r->tree;

	if (tree_read_list(r, IMAGE_FILES, 0, &file_entry__descriptor, &t->files, &t->n_files) < 0)
		return -1;
	if (t->n_files == 0)
		return err_set(r->e, ERR_PROTOCOL, 0, "files.img: not there, or nothing in it (criu before 3.4 wrote other files)");
	qsort(t->files, t->n_files, sizeof(*t->files), by_id);
	for (size_t i = 0; i < t->n_files; i++) {
		if (i && t->files[i]->id == t->files[i - 1]->id)
			return err_set(r->e, ERR_PROTOCOL, 0, "files.img: file %u twice", t->files[i]->id);
		if (inner_id(t->files[i]) != t->files[i]->id)
			return err_set(r->e, ERR_PROTOCOL, 0, "files.img: file %u of type %d is not described, or as %u", t->files[i]->id,
				       (int)t->files[i]->type, inner_id(t->files[i]));
	}
	return 0;
}

/* ---- descriptors ---- */

static int by_number(const void *a, const void *b)
{
	uint32_t x = (*(FdinfoEntry *const *)a)->fd, y = (*(FdinfoEntry *const *)b)->fd;

	return x < y ? -1 : x > y;
}

static int read_descriptors(struct tree_read *r)
{
	Drayage__TaskState *t = r->task;

	if (tree_read_list(r, IMAGE_FDINFO, t->ids->files_id, &fdinfo_entry__descriptor, &t->fds, &t->n_fds) < 0)
		return -1;
	if (t->n_fds)
		qsort(t->fds, t->n_fds, sizeof(*t->fds), by_number);
	for (size_t i = 0; i < t->n_fds; i++) {
		const FileEntry *f = tree_file(r, t->fds[i]->id);

		if (i && t->fds[i]->fd == t->fds[i - 1]->fd)
			return err_set(r->e, ERR_PROTOCOL, 0, "fdinfo-%u.img: fd %u twice", t->ids->files_id, t->fds[i]->fd);
		if (!f || f->type != t->fds[i]->type)
			return err_set(r->e, ERR_PROTOCOL, 0, "fdinfo-%u.img: fd %u is file %u of type %d, which files.img lacks", t->ids->files_id,
				       t->fds[i]->fd, t->fds[i]->id, (int)t->fds[i]->type);
	}
	return 0;
}

/* ---- contents that follow an entry ---- */

static int read_raw(struct tree_read *r, struct image_in *in, uint64_t len, ProtobufCBinaryData *out)
{
	if (len > STATE_MAX - r->raw_bytes)
		return err_set(r->e, ERR_LIMIT, 0, "more than %d MiB in pipes and sockets", STATE_MAX >> 20);
	if (len > image_rest(in))
		return err_set(r->e, ERR_PROTOCOL, 0, "%llu bytes in a pipe or socket, and the file ends before", (unsigned long long)len);
	out->data = malloc(len ? len : 1);
	if (!out->data)
		return err_set(r->e, ERR_SYSTEM, ENOMEM, "contents of pipes and sockets");
	out->len = len;
	r->raw_bytes += len;
	return image_get_raw(in, out->data, len, r->e);
}

static bool has_pipe(const struct tree_read *r, uint32_t pipe_id)
{
	for (size_t i = 0; i < r->tree->n_files; i++) {
		const FileEntry *f = r->tree->files[i];

		if ((f->pipe && f->pipe->pipe_id == pipe_id) || (f->fifo && f->fifo->pipe_id == pipe_id))
			return true;
	}
	return false;
}

static int read_pipe(struct tree_read *r, struct image_in *in, const ProtobufCMessage *entry)
{
	const PipeDataEntry *p = (const PipeDataEntry *)entry;
	Drayage__PipeData *d = TREE_NEW(r, drayage__pipe_data);

	if (tree_push(r, &r->tree->pipes, &r->tree->n_pipes, d) < 0)
		return -1;
	d->pipe_id = p->pipe_id;
	d->capacity = p->has_size ? p->size : 0;
	if (!has_pipe(r, p->pipe_id) || d->capacity > CAPACITY_MAX)
		return err_set(r->e, ERR_PROTOCOL, 0, "pipe %u of %u bytes is not in files.img", p->pipe_id, d->capacity);
	for (size_t i = 0; i + 1 < r->tree->n_pipes; i++)
		if (r->tree->pipes[i]->pipe_id == p->pipe_id)
			return err_set(r->e, ERR_PROTOCOL, 0, "pipe %u twice", p->pipe_id);
	return read_raw(r, in, p->bytes, &d->data);
}

static Drayage__SocketQueue *queue_for(struct tree_read *r, const FileEntry *f)
{
	Drayage__TreeState *t = r->tree;
	Drayage__SocketQueue *q;

	for (size_t i = 0; i < t->n_queues; i++)
		if (t->queues[i]->file_id == f->id)
			return t->queues[i];
	q = TREE_NEW(r, drayage__socket_queue);
	if (tree_push(r, &t->queues, &t->n_queues, q) < 0)
		return NULL;
	q->file_id = f->id;
	q->type = f->usk->type;
	return q;
}

static int read_packet(struct tree_read *r, struct image_in *in, const ProtobufCMessage *entry)
{
	const SkPacketEntry *p = (const SkPacketEntry *)entry;
	const FileEntry *f = tree_file(r, p->id_for);
	Drayage__SocketQueue *q;
	ProtobufCBinaryData *more;
	char name[64];

	if (!f || !f->usk)
		return err_set(r->e, ERR_PROTOCOL, 0, "a packet for file %u, which is no unix socket", p->id_for);
	tree_file_name(r, f->id, name);
	if (p->n_scm)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u %s: unix socket with descriptors in flight (SCM_RIGHTS)", r->task->ps->pid, name);
	q = queue_for(r, f);
	if (!q)
		return -1;
	if ((q->n_packets & (q->n_packets - 1)) == 0) {
		more = realloc(q->packets, (q->n_packets ? q->n_packets * 2 : 1) * sizeof(*more));
		if (!more)
			return err_set(r->e, ERR_SYSTEM, ENOMEM, "contents of sockets");
		q->packets = more;
	}
	q->packets[q->n_packets] = (ProtobufCBinaryData){ 0 };
	return read_raw(r, in, p->length, &q->packets[q->n_packets++]);
}

/* A file of entries with contents behind them. */
static int read_contents(struct tree_read *r, enum image_type type, const ProtobufCMessageDescriptor *d,
			 int (*take)(struct tree_read *r, struct image_in *in, const ProtobufCMessage *entry))
{
	ProtobufCMessage *entry;
	char name[IMAGE_NAME_MAX];
	struct image_in *in;
	int rc = tree_open(r, type, 0, &in);

	if (rc <= 0)
		return rc;
	while ((rc = image_get(in, d, &entry, r->e)) == 1) {
		rc = take(r, in, entry);
		protobuf_c_message_free_unpacked(entry, NULL);
		if (rc < 0)
			break;
	}
	image_in_close(in);
	image_name(type, 0, name);
	return rc < 0 && !strstr(r->e->text, name) ? err_wrap(r->e, "%s", name) : rc;
}

/* ---- what stands against it ---- */

static int refuse_remaps(struct tree_read *r)
{
	RemapFilePathEntry **m = NULL;
	size_t n = 0;
	int rc = tree_read_list(r, IMAGE_REMAP_FPATH, 0, &remap_file_path_entry__descriptor, &m, &n);

	if (rc == 0 && n) {
		const FileEntry *f = tree_file(r, m[0]->orig_id);
		char name[64];

		tree_file_name(r, m[0]->orig_id, name);
		rc = err_set(r->e, ERR_UNSUPPORTED, 0, "task %u %s: deleted file %s", r->task->ps->pid, name, f && f->reg ? f->reg->name : "");
	}
	for (size_t i = 0; i < n; i++)
		remap_file_path_entry__free_unpacked(m[i], NULL);
	free(m);
	return rc;
}

static int refuse_locks(struct tree_read *r)
{
	FileLockEntry **l = NULL;
	size_t n = 0;
	int rc = tree_read_list(r, IMAGE_FILELOCKS, 0, &file_lock_entry__descriptor, &l, &n);

	if (rc == 0 && n)
		rc = err_set(r->e, ERR_UNSUPPORTED, 0, "task %d fd %d: file lock (%s)", l[0]->pid, l[0]->fd,
			     l[0]->flag == 1 ? "POSIX" : l[0]->flag == 2 ? "flock" : l[0]->flag == 8 ? "lease" : "open file description");
	for (size_t i = 0; i < n; i++)
		file_lock_entry__free_unpacked(l[i], NULL);
	free(l);
	return rc;
}

/* ---- what CRIU's messages lack ---- */

static Drayage__FileExt *file_ext(struct tree_read *r, uint32_t id)
{
	for (size_t i = 0; i < r->tree->n_files_ext; i++)
		if (r->tree->files_ext[i]->id == id)
			return r->tree->files_ext[i];
	return NULL;
}

static int take_files_ext(struct tree_read *r)
{
	Drayage__ImagesExt *x = r->ext;

	if (!x)
		return 0;
	for (size_t i = 0; i < x->n_files; i++)
		if (!tree_file(r, x->files[i]->id))
			return err_set(r->e, ERR_PROTOCOL, 0, "drayage.img: details of file %u, which files.img lacks", x->files[i]->id);
	r->tree->files_ext = x->files;
	r->tree->n_files_ext = x->n_files;
	x->files = NULL;
	x->n_files = 0;
	for (size_t i = 0; i < r->tree->n_files; i++)
		if (r->tree->files[i]->type == FD_TYPES__FD_INOTIFY && !file_ext(r, r->tree->files[i]->id))
			return err_set(r->e, ERR_PROTOCOL, 0, "drayage.img: no details of inotify file %u", r->tree->files[i]->id);
	return 0;
}

static int copy_watch(struct tree_read *r, Drayage__FileExt *x, const InotifyWdEntry *from)
{
	Drayage__InotifyWatch *w = TREE_NEW(r, drayage__inotify_watch);
	char name[64];

	if (tree_push(r, &x->inotify, &x->n_inotify, w) < 0)
		return -1;
	tree_file_name(r, x->id, name);
	if (!from->f_handle->path)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u %s: inotify watch %u, of which the images hold no path", r->task->ps->pid, name, from->wd);
	w->wd = from->wd;
	w->mask = from->mask;
	w->path = strdup(from->f_handle->path);
	return w->path ? 0 : err_set(r->e, ERR_SYSTEM, ENOMEM, "inotify");
}

static int by_watch(const void *a, const void *b)
{
	uint32_t x = (*(Drayage__InotifyWatch *const *)a)->wd, y = (*(Drayage__InotifyWatch *const *)b)->wd;

	return x < y ? -1 : x > y;
}

static int make_inotify(struct tree_read *r, const FileEntry *f)
{
	Drayage__FileExt *x = TREE_NEW(r, drayage__file_ext);

	if (tree_push(r, &r->tree->files_ext, &r->tree->n_files_ext, x) < 0)
		return -1;
	x->id = f->id;
	if (!f->ify)
		return err_set(r->e, ERR_PROTOCOL, 0, "files.img: inotify file %u is not described", f->id);
	x->has_inotify_flags = true;
	x->inotify_flags = f->ify->flags;
	for (size_t i = 0; i < f->ify->n_wd; i++)
		if (copy_watch(r, x, f->ify->wd[i]) < 0)
			return -1;
	if (x->n_inotify)
		qsort(x->inotify, x->n_inotify, sizeof(*x->inotify), by_watch);
	return 0;
}

/* Before 3.18 what keeps a connection alive stood among the options of sockets. */
static int move_keepalive(struct tree_read *r, InetSkEntry *i)
{
	const SkOptsEntry *o = i->opts;
	TcpOptsEntry *tcp;

	if (i->proto != IPPROTO_TCP || i->tcp_opts || !(o->has_tcp_keepcnt || o->has_tcp_keepidle || o->has_tcp_keepintvl))
		return 0;
	i->tcp_opts = tcp = TREE_NEW(r, tcp_opts_entry);
	if (!tcp)
		return -1;
	tcp->has_keepcnt = o->has_tcp_keepcnt, tcp->keepcnt = o->tcp_keepcnt;
	tcp->has_keepidle = o->has_tcp_keepidle, tcp->keepidle = o->tcp_keepidle;
	tcp->has_keepintvl = o->has_tcp_keepintvl, tcp->keepintvl = o->tcp_keepintvl;
	return 0;
}

/* Sets of stock criu's. */
static int make_files_ext(struct tree_read *r)
{
	for (size_t i = 0; i < r->tree->n_files; i++)
		if (r->tree->files[i]->isk && move_keepalive(r, r->tree->files[i]->isk) < 0)
			return -1;
	for (size_t i = 0; !r->ext && i < r->tree->n_files; i++)
		if (r->tree->files[i]->type == FD_TYPES__FD_INOTIFY && make_inotify(r, r->tree->files[i]) < 0)
			return -1;
	return 0;
}

int tree_read_files(struct tree_read *r)
{
	if (read_descriptions(r) < 0 || read_descriptors(r) < 0)
		return -1;
	if (refuse_remaps(r) < 0 || refuse_locks(r) < 0)
		return -1;
	if (read_contents(r, IMAGE_PIPES_DATA, &pipe_data_entry__descriptor, read_pipe) < 0 ||
	    read_contents(r, IMAGE_FIFO_DATA, &pipe_data_entry__descriptor, read_pipe) < 0 ||
	    read_contents(r, IMAGE_SK_QUEUES, &sk_packet_entry__descriptor, read_packet) < 0)
		return -1;
	return take_files_ext(r) < 0 ? -1 : make_files_ext(r);
}
