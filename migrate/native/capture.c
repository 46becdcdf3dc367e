/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/native/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "migrate/native/capture_priv.h"
#include "proto/base/io.h"
#include "proto/base/proc_text.h"

enum { LOOKS = 5, BETWEEN_LOOKS_NS = 2000000 };

static int capture_open(struct capture *c)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", c->pid);
	c->procfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->procfd < 0)
		return errno == ENOENT ? err_set(c->e, ERR_GONE, 0, "no process %d", c->pid) : err_sys(c->e, "%s", path);
	c->pidfd = pidfd_open_(c->pid, 0);
	if (c->pidfd < 0) {
		int num = -c->pidfd;

		return num == ESRCH || num == EINVAL ? err_set(c->e, ERR_GONE, 0, "no process %d", c->pid)
						     : err_set(c->e, ERR_SYSTEM, num, "pidfd_open(%d)", c->pid);
	}
	c->status = capture_text(c, "status", c->e);
	return c->status ? 0 : -1;
}

static void capture_close(struct capture *c)
{
	for (size_t i = 0; i < c->fds; i++) {
		free(c->fd[i].link);
		free(c->fd[i].info);
	}
	for (size_t i = 0; i < c->shms; i++)
		cleanup_fd_(&c->shm[i].fd);
	free(c->fd);
	free(c->shm);
	free(c->mapped);
	free(c->nstid);
	free(c->defaults);
	free(c->status);
	vma_list_finish(&c->vmas);
	cleanup_fd_(&c->diag);
	cleanup_fd_(&c->pidfd);
	cleanup_fd_(&c->procfd);
}

static int check_all(struct capture *c)
{
	size_t before = c->found->count;

	if (capture_task_check(c) < 0)
		return -1;
	/* A zombie, a kernel thread or a 32-bit task has nothing more that could be looked at. */
	if (c->found->count > before && (!strchr("RSDTtI", *text_field(c->status, "State")) || !text_field(c->status, "VmSize")))
		return 0;
	if (capture_mm_check(c) < 0 || capture_fds_read(c) < 0 || capture_fds_check(c) < 0)
		return -1;
	return err_is_set(c->e) ? -1 : 0;
}

static int look(pid_t pid, const struct capture_options *opt, struct obstacles *out, struct vma_list *seen, struct err *e)
{
	struct capture c = { .pid = pid, .procfd = -1, .pidfd = -1, .diag = -1, .opt = opt, .found = out, .e = e };
	int rc;

	err_clear(e);
	rc = capture_open(&c);
	if (rc == 0)
		rc = check_all(&c);
	/* It runs, so it may end under our eyes, wherever we look. */
	if (rc < 0 && e->kind != ERR_GONE && c.pidfd >= 0 && capture_is_ending(&c))
		err_set(e, ERR_GONE, 0, "process %d is gone", pid);
	if (seen) {
		*seen = c.vmas;
		c.vmas = (struct vma_list){ 0 };
	}
	capture_close(&c);
	return rc;
}

/* A process that runs closes and maps while it is looked at, and what was half looked at may seem to be in the way: a socket that is closed by now,
 * a pipe whose other end has just gone. What stands in the way stands there in each look. */
int capture_check_seen(pid_t pid, const struct capture_options *opt, struct obstacles *out, struct vma_list *seen, struct err *e)
{
	int rc = look(pid, opt, out, seen, e);

	for (int i = 1; i < LOOKS && rc == 0 && out->count > 0; i++) {
		struct obstacles again = { 0 };

		nanosleep(&(struct timespec){ .tv_nsec = BETWEEN_LOOKS_NS }, NULL);
		rc = look(pid, opt, &again, NULL, e);
		obstacles_keep(out, &again);
		obstacles_finish(&again);
	}
	return rc;
}

int capture_check(pid_t pid, const struct capture_options *opt, struct obstacles *out, struct err *e)
{
	return capture_check_seen(pid, opt, out, NULL, e);
}

static int save_all(struct capture *c)
{
	c->task = CAPTURE_NEW(c, drayage__task_state);
	if (capture_push(c, &c->tree->tasks, &c->tree->n_tasks, c->task) < 0)
		return -1;
	if (capture_task_save(c) < 0)
		return -1;
	for (size_t i = 0; i < c->r->threads; i++) {
		if (capture_thread_save(c, i) < 0)
			return -1;
	}
	if (capture_timers_settle(c) < 0 || capture_fds_save(c) < 0 || capture_mm_save(c) < 0)
		return -1;
	return err_is_set(c->e) ? -1 : 0;
}

Drayage__TreeState *capture_tree(struct remote *r, const struct capture_options *opt, struct err *e)
{
	return capture_tree_seen(r, opt, NULL, e);
}

Drayage__TreeState *capture_tree_seen(struct remote *r, const struct capture_options *opt, const struct vma_list *seen, struct err *e)
{
	struct obstacles found = { 0 };
	struct capture c = { .pid = r->pid, .procfd = -1, .pidfd = -1, .diag = -1, .opt = opt, .r = r, .seen = seen, .found = &found, .e = e };
	int rc;

	err_clear(e);
	rc = capture_open(&c);
	if (rc == 0)
		rc = check_all(&c);
	if (rc == 0 && found.count)
		rc = obstacles_refuse(&found, NULL, e);
	if (rc == 0) {
		c.tree = CAPTURE_NEW(&c, drayage__tree_state);
		rc = c.tree ? save_all(&c) : -1;
	}
	/* What only looking closer finds: a queue that can't be read, a timer of an unknown kind. */
	if (rc == 0 && found.count)
		rc = obstacles_refuse(&found, NULL, e);
	if (rc < 0 && c.tree) {
		drayage__tree_state__free_unpacked(c.tree, NULL);
		c.tree = NULL;
	}
	capture_close(&c);
	obstacles_finish(&found);
	return c.tree;
}
