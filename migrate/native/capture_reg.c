/* SPDX-License-Identifier: Apache-2.0 */
/* Files with a path: regular files, directories, the harmless devices; also executables and mapped files. */
#include "migrate/native/capture_priv.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/build_id.h"
#include "proto/base/cleanup.h"
#include "proto/base/proc_text.h"


/* /proc/123/... of another process means nothing elsewhere. */
static bool names_other_process(const struct capture *c, const char *path)
{
	if (strncmp(path, "/proc/", 6) != 0 || !isdigit((unsigned char)path[6]))
		return false;
	return atoi(path + 6) != c->pid || text_last_number(c->status, "NSpid") != c->pid;
}

int reg_check(struct capture *c, struct fd_desc *d)
{
	const char *what = S_ISDIR(d->st.st_mode) ? "directory" : "file";
	struct stat there;

	if (d->deleted || (S_ISREG(d->st.st_mode) && d->st.st_nlink == 0)) {
		capture_fd_obstacle(c, d, NULL, "deleted %s %s", what, d->link);
		return 0;
	}
	if (fstatat(AT_FDCWD, d->link, &there, S_ISLNK(d->st.st_mode) ? AT_SYMLINK_NOFOLLOW : 0) < 0) {
		capture_fd_obstacle(c, d, NULL, "%s %s can't be reached from here", what, d->link);
		return 0;
	}
	if (there.st_dev != d->st.st_dev || there.st_ino != d->st.st_ino)
		capture_fd_obstacle(c, d, NULL, "%s %s was replaced by another of that name", what, d->link);
	if (names_other_process(c, d->link))
		capture_fd_obstacle(c, d, NULL, "%s of another process", d->link);
	if ((d->flags & O_DIRECT) && (d->flags & O_ACCMODE) != O_WRONLY && !c->opt->writes_untracked_ok)
		capture_fd_obstacle(c, d, c->opt->dump ? "a dump without --track-mem" : "--tracker none", "O_DIRECT file %s: writes by DMA are not seen by the tracker", d->link);
	return 0;
}

static int fill(struct capture *c, FileEntry *f, const char *path, uint32_t flags, uint64_t pos, const struct stat *st, FownEntry *fown)
{
	RegFileEntry *reg = CAPTURE_NEW(c, reg_file_entry);

	if (!reg || !fown) {
		if (fown)
			fown_entry__free_unpacked(fown, NULL);
		free(reg);
		return -1;
	}
	f->reg = reg;
	reg->fown = fown;
	reg->id = f->id;
	reg->flags = flags;
	reg->pos = pos;
	reg->name = strdup(path);
	if (!reg->name)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "description");
	reg->has_mode = true;
	reg->mode = st->st_mode;
	reg->has_size = S_ISREG(st->st_mode);
	reg->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
	return 0;
}

int reg_save(struct capture *c, struct fd_desc *d, FileEntry *f)
{
	cleanup_fd int local = d->flags & O_PATH ? -1 : capture_fd_open(c, d);
	Drayage__FileExt *x = capture_file_ext(c, f->id);

	if ((local < 0 && !(d->flags & O_PATH)) || !x)
		return -1;
	x->has_dev = x->has_ino = true;
	x->dev = d->st.st_dev;
	x->ino = d->st.st_ino;
	return fill(c, f, d->link, d->flags, d->pos, &d->st, capture_fown(c, d, local));
}

static int identify_file(struct capture *c, RegFileEntry *reg, uint32_t id)
{
	cleanup_fd int fd = open(reg->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	uint8_t build_id[BUILD_ID_MAX] = { 0 };
	size_t len = fd >= 0 ? build_id_read(fd, build_id) : 0;
	Drayage__FileExt *x;

	if (len == 0)
		return 0;
	x = capture_file_ext(c, id);
	if (!x || capture_bytes(c, &x->build_id, build_id, len) < 0)
		return -1;
	x->has_build_id = true;
	reg->n_build_id = (len + 3) / 4;
	reg->build_id = calloc(reg->n_build_id, sizeof(*reg->build_id));
	if (!reg->build_id)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "description");
	memcpy(reg->build_id, build_id, len);
	return 0;
}

int reg_entry(struct capture *c, const char *path, uint32_t flags, bool identify, uint32_t *id)
{
	struct stat st;
	FileEntry *f;

	if (stat(path, &st) < 0)
		return err_sys(c->e, "%s", path);
	*id = ++c->last_id;
	f = capture_file(c, FD_TYPES__FD_REG, *id);
	if (!f || fill(c, f, path, flags, 0, &st, CAPTURE_NEW(c, fown_entry)) < 0)
		return -1;
	return identify && S_ISREG(st.st_mode) ? identify_file(c, f->reg, *id) : 0;
}
