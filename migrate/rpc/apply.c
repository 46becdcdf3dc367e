/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/apply.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/rpc/request.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"

#define DEFAULT_LOG_FILE "criu.log"

/* Whatever is wrong with what a client handed over, it is the request that was bad. */
static int bad_request(struct err *e)
{
	e->kind = ERR_USAGE;
	return -1;
}

/* --- what counts ---------------------------------------------------------------------------------------------------------------- */

/* What a configuration file says of options without a field that counts here. */
static int take_own_options(struct criu_command *file, struct rpc_applied *a, struct err *e)
{
	a->scripts = file->scripts;
	file->scripts = (struct criu_list){ 0 };
	a->has_choice = file->ps_protocol || file->ps_layout >= 0 || file->streams >= 0;
	if (ps_choice_parse(file->ps_protocol, file->ps_layout, file->streams, &a->choice, e) < 0)
		return -1;
	if (!file->work_dir)
		return 0;
	a->work_dir = open(file->work_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return a->work_dir < 0 ? err_sys(e, "work-dir: open %s", file->work_dir) : 0;
}

static int merge_config_file(const CriuOpts *opts, struct rpc_applied *a, struct err *e)
{
	struct criu_command file = { 0 };
	CriuOpts *all = NULL;
	int rc = criu_command_init(&file, e);

	if (rc == 0 && opts->config_file && opts->config_file[0])
		rc = criu_command_read_file(&file, opts->config_file, e);
	if (rc >= 0 && !(all = rpc_options_merge(opts, file.opts)))
		rc = err_set(e, ERR_USAGE, 0, "the request's options are malformed, or memory is short");
	if (rc >= 0 && file.opts->images_dir)
		all->images_dir_fd = -1; /* the file's directory wins over the request's descriptor */
	a->opts = all;
	if (rc >= 0)
		rc = take_own_options(&file, a, e);
	criu_command_finish(&file);
	return rc < 0 ? bad_request(e) : 0;
}

int rpc_options_check_mode(const CriuOpts *o, enum rpc_op op, enum rpc_mode mode, struct err *e)
{
	if (mode != RPC_SERVICE)
		return 0;
	if (o->has_rst_sibling && op == RPC_OP_RESTORE)
		return err_set(e, ERR_USAGE, 0, "option rst_sibling is for swrk only: a service can't make children of its clients");
	if (o->n_inherit_fd && op == RPC_OP_RESTORE)
		return err_set(e, ERR_USAGE, 0, "option inherit_fd is for swrk only: a service does not have its clients' descriptors");
	if (o->ps && o->ps->has_fd && op & (RPC_OP_DUMP | RPC_OP_PRE_DUMP | RPC_OP_PAGE_SERVER))
		return err_set(e, ERR_USAGE, 0, "option ps.fd is for swrk only: a service does not have its clients' descriptors");
	return 0;
}

/* --- descriptors ---------------------------------------------------------------------------------------------------------------- */

static int open_images(const struct rpc_peer *peer, struct rpc_applied *a, struct err *e)
{
	const CriuOpts *o = a->opts;

	if (o->images_dir_fd >= 0) {
		a->images_dir = rpc_peer_open_fd(peer, o->images_dir_fd, O_RDONLY | O_DIRECTORY, "images_dir_fd", e);
		return a->images_dir < 0 ? bad_request(e) : 0;
	}
	if (!o->images_dir || !o->images_dir[0])
		return err_set(e, ERR_USAGE, 0, "neither images_dir_fd nor images_dir says where the images are");
	a->images_dir = open(o->images_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (a->images_dir >= 0)
		return 0;
	err_sys(e, "images_dir: open %s", o->images_dir);
	return bad_request(e);
}

static int check_parent(const struct rpc_applied *a, struct err *e)
{
	const char *parent = a->opts->parent_img;
	cleanup_fd int dir = -1;

	if (!parent || !parent[0] || !(rpc_option_by_number(14)->ops & a->op))
		return 0;
	dir = openat(a->images_dir, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0)
		return 0;
	err_sys(e, "the parent directory, %s", parent);
	return bad_request(e);
}

static int open_work(const struct rpc_peer *peer, struct rpc_applied *a, struct err *e)
{
	if (a->work_dir >= 0)
		return 0; /* the configuration file's */
	if (a->opts->has_work_dir_fd)
		a->work_dir = rpc_peer_open_fd(peer, a->opts->work_dir_fd, O_RDONLY | O_DIRECTORY, "work_dir_fd", e);
	else if ((a->work_dir = fcntl(a->images_dir, F_DUPFD_CLOEXEC, 3)) < 0)
		err_sys(e, "work directory");
	return a->work_dir < 0 ? bad_request(e) : 0;
}

static enum rpc_words words_of(const struct rpc_peer *peer)
{
	return peer->mode == RPC_LOCAL ? RPC_WORDS_CLI : RPC_WORDS_FIELDS;
}

static int own_descriptor(int fd, const char *what, struct err *e)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy >= 0)
		return copy;
	err_sys(e, "%s %d", what, fd);
	return bad_request(e);
}

static int take_ps_fd(const struct rpc_peer *peer, struct rpc_applied *a, struct err *e)
{
	const char *what = words_of(peer) == RPC_WORDS_CLI ? "--ps-socket" : "ps.fd";
	const CriuPageServerInfo *ps = a->opts->ps;
	socklen_t len = sizeof(int);
	int type;

	if (!ps || !ps->has_fd || !(rpc_option_by_number(11)->ops & a->op))
		return 0;
	a->ps_fd = own_descriptor(ps->fd, what, e);
	if (a->ps_fd < 0)
		return -1;
	if (getsockopt(a->ps_fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return err_set(e, ERR_USAGE, 0, "%s %d is no stream socket", what, ps->fd);
	return 0;
}

static int take_inherited(const struct rpc_peer *peer, struct rpc_applied *a, struct err *e)
{
	const char *what = words_of(peer) == RPC_WORDS_CLI ? "--inherit-fd" : "inherit_fd";
	const CriuOpts *o = a->opts;

	if (a->op != RPC_OP_RESTORE || o->n_inherit_fd == 0)
		return 0;
	a->inherit = calloc(o->n_inherit_fd, sizeof(*a->inherit));
	if (!a->inherit)
		return err_set(e, ERR_SYSTEM, ENOMEM, "%s", what);
	for (; a->inherits < o->n_inherit_fd; a->inherits++) {
		const InheritFd *f = o->inherit_fd[a->inherits];
		int fd = own_descriptor(f->fd, what, e);

		if (fd < 0)
			return err_wrap(e, "%s", f->key);
		a->inherit[a->inherits] = (struct restore_inherit){ .key = f->key, .fd = fd };
	}
	return 0;
}

/* Of no use here, but a client that mixes up its descriptors is told so as ever. */
static int check_pidfd_store(const struct rpc_peer *peer, const struct rpc_applied *a, struct err *e)
{
	const CriuOpts *o = a->opts;
	socklen_t len = sizeof(int);
	int type = 0, domain = 0;
	cleanup_fd int fd = -1;

	if (!o->has_pidfd_store_sk || !(a->op & (RPC_OP_DUMP | RPC_OP_PRE_DUMP)))
		return 0;
	fd = peer->mode == RPC_LOCAL ? fcntl(o->pidfd_store_sk, F_DUPFD_CLOEXEC, 3) : pidfd_getfd_(peer->pidfd, o->pidfd_store_sk);
	if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_DGRAM &&
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX)
		return 0;
	return err_set(e, ERR_USAGE, 0, "pidfd_store_sk %d is no unix datagram socket of the client", o->pidfd_store_sk);
}

/* --- log ------------------------------------------------------------------------------------------------------------------------ */

enum log_level rpc_log_level(int level)
{
	static const enum log_level levels[] = { LOG_ERROR, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
	int last = (int)(sizeof(levels) / sizeof(levels[0])) - 1;

	return levels[level < 0 ? 0 : level > last ? last : level];
}

static const char *log_file_of(const CriuOpts *o, enum rpc_mode mode)
{
	if (o->log_to_stderr)
		return NULL;
	return o->log_file || mode == RPC_LOCAL ? o->log_file : DEFAULT_LOG_FILE;
}

static int open_log(struct rpc_applied *a, const char *name, struct err *e)
{
	cleanup_fd int fd = -1;

	log_set_level(rpc_log_level(a->opts->log_level));
	if (!name)
		return 0;
	fd = openat(a->work_dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0600);
	if (fd < 0) {
		err_sys(e, "log_file: open %s", name);
		return bad_request(e);
	}
	a->own_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	return dup2(fd, STDERR_FILENO) < 0 ? err_sys(e, "log file") : 0;
}

static int whose_tree(const struct rpc_peer *peer, struct rpc_applied *a, struct err *e)
{
	if (!(a->op & (RPC_OP_DUMP | RPC_OP_PRE_DUMP)))
		return 0;
	a->self = !a->opts->has_pid;
	a->pid = a->self ? peer->pid : a->opts->pid;
	if (a->pid <= 0)
		return err_set(e, ERR_USAGE, 0, "option pid: absent, and the client is not visible from here");
	return rpc_peer_may_act_on(peer, a->pid, e);
}

/* A check needs directories for its log only. */
static bool needs_directories(const struct rpc_applied *a)
{
	return a->op != RPC_OP_CHECK || (a->opts->log_file && !a->opts->log_to_stderr);
}

static int apply_directories(const struct rpc_peer *peer, struct rpc_applied *a, struct err *e)
{
	if (!needs_directories(a)) {
		log_set_level(rpc_log_level(a->opts->log_level));
		return 0;
	}
	/* The log before all that may be refused: clients name it to who asks why. */
	return open_images(peer, a, e) != 0 || open_work(peer, a, e) != 0 || open_log(a, log_file_of(a->opts, peer->mode), e) != 0 ? -1 : check_parent(a, e);
}

static int check_options(const struct rpc_peer *peer, struct rpc_applied *a, struct err *e)
{
	const char *log = log_file_of(a->opts, peer->mode);
	struct err second;

	if (rpc_options_check(a->opts, a->op, words_of(peer), e) == 0 && rpc_options_check_mode(a->opts, a->op, peer->mode, e) == 0)
		return 0;
	if (!log || !strchr(log, '/'))
		apply_directories(peer, a, &second);
	return -1;
}

int rpc_options_apply(const CriuOpts *opts, enum rpc_op op, const struct rpc_peer *peer, struct rpc_applied *a, struct err *e)
{
	*a = (struct rpc_applied){ .op = op, .images_dir = -1, .work_dir = -1, .ps_fd = -1, .own_stderr = -1,
				  .own_level = log_get_level() };
	if (merge_config_file(opts, a, e) != 0 || check_options(peer, a, e) != 0)
		return -1;
	if (apply_directories(peer, a, e) != 0 || whose_tree(peer, a, e) != 0)
		return -1;
	return take_ps_fd(peer, a, e) != 0 || take_inherited(peer, a, e) != 0 || check_pidfd_store(peer, a, e) != 0 ? -1 : 0;
}

static void drop_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void rpc_applied_finish(struct rpc_applied *a)
{
	for (size_t i = 0; i < a->inherits; i++)
		drop_fd(&a->inherit[i].fd);
	free(a->inherit);
	for (size_t i = 0; i < a->scripts.n; i++)
		free(a->scripts.v[i]);
	free(a->scripts.v);
	a->scripts = (struct criu_list){ 0 };
	a->inherit = NULL;
	a->inherits = 0;
	drop_fd(&a->images_dir);
	drop_fd(&a->work_dir);
	drop_fd(&a->ps_fd);
	if (a->own_stderr >= 0)
		dup2(a->own_stderr, STDERR_FILENO);
	drop_fd(&a->own_stderr);
	log_set_level(a->own_level);
	criu_opts__free_unpacked((CriuOpts *)(uintptr_t)a->opts, NULL);
	a->opts = NULL;
}
