/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/mm/vma.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/base/io.h"

/* 65530 mappings (the default limit) print some 8 MB of maps and 50 MB of smaps; both limits can be raised by root. */
enum { MAX_TEXT = 512 * 1024 * 1024 };
/* Room for splits: marking the mover's own mapping then needs no memory. */
enum { SPLIT_ROOM = 8 };

static const struct { char name[3]; uint64_t bit; } vm_flag_names[] = {
	{ "lo", VMF_LOCKED },    { "lf", VMF_LOCKONFAULT }, { "dc", VMF_DONTFORK },     { "wf", VMF_WIPEONFORK }, { "dd", VMF_DONTDUMP },
	{ "hg", VMF_HUGEPAGE },  { "nh", VMF_NOHUGEPAGE },  { "mg", VMF_MERGEABLE },    { "sr", VMF_SEQ_READ },   { "rr", VMF_RAND_READ },
	{ "io", VMF_IO },        { "pf", VMF_PFNMAP },      { "nr", VMF_NORESERVE },    { "ht", VMF_HUGETLB },    { "gd", VMF_GROWSDOWN },
	{ "uw", VMF_UFFD },      { "um", VMF_UFFD },        { "ui", VMF_UFFD },         { "sl", VMF_SEALED },     { "ss", VMF_SHADOW_STACK },
	{ "dp", VMF_DROPPABLE },
};

static bool starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* ---- numbers: the file is read at every round, so no sscanf ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads a hexadecimal number that ends at the character `stop`, and steps over that. */
static bool take_hex(const char **p, char stop, uint64_t *out)
{
	const char *s = *p;
	uint64_t v = 0;
	int d;

	while ((d = hex_digit(*s)) >= 0 && s - *p < 16) {
		v = v << 4 | (uint64_t)d;
		s++;
	}
	if (s == *p || *s != stop)
		return false;
	*p = s + 1;
	*out = v;
	return true;
}

static const char *skip_spaces(const char *s)
{
	return s + strspn(s, " ");
}

static bool take_decimal(const char **p, uint64_t *out)
{
	const char *s = *p;
	uint64_t v = 0;

	for (; *s >= '0' && *s <= '9' && s - *p < 20; s++)
		v = v * 10 + (uint64_t)(*s - '0');
	if (s == *p)
		return false;
	*p = s;
	*out = v;
	return true;
}

/* "     12 kB" */
static uint64_t kilobytes(const char *s)
{
	uint64_t v = 0;

	s = skip_spaces(s);
	return take_decimal(&s, &v) ? v * 1024 : 0;
}

/* ---- paths ---- */

/* The kernel escapes a newline as \012 and nothing else, so a name that holds these four characters can't be told apart. */
static void unescape(char *path)
{
	char *from = strstr(path, "\\012"), *to = from;

	if (!from)
		return;
	while (*from) {
		if (starts_with(from, "\\012")) {
			*to++ = '\n';
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

static bool cut_deleted(char *path)
{
	static const char suffix[] = " (deleted)";
	size_t len = strlen(path), cut = sizeof(suffix) - 1;

	if (len < cut || strcmp(path + len - cut, suffix) != 0)
		return false;
	path[len - cut] = '\0';
	return true;
}

/* ---- classification ---- */

static enum vma_kind kind_of_special(const char *name)
{
	if (strcmp(name, "[vdso]") == 0)
		return VMA_VDSO;
	if (starts_with(name, "[vvar"))
		return VMA_VVAR;
	if (strcmp(name, "[vsyscall]") == 0)
		return VMA_VSYSCALL;
	if (strcmp(name, "[heap]") == 0 || starts_with(name, "[stack") || starts_with(name, "[anon:"))
		return VMA_ANON;
	return starts_with(name, "[anon_shmem:") ? VMA_SHMEM : VMA_OTHER; /* [uprobes] and what may come */
}

/* Without the flags a device can only be told by its place. */
static bool looks_like_device(const char *path)
{
	return starts_with(path, "/dev/") && !starts_with(path, "/dev/shm/") && strcmp(path, "/dev/zero") != 0;
}

/* Files of the kernel's own hidden mounts show up right below the root, and as deleted. */
static enum vma_kind kind_of_file(const struct vma *v)
{
	if (v->deleted) {
		if (strcmp(v->path, "/[aio]") == 0)
			return VMA_AIO;
		if (strcmp(v->path, "/anon_hugepage") == 0)
			return VMA_HUGETLB;
		if (strcmp(v->path, "/secretmem") == 0 || strcmp(v->path, "/drm mm object") == 0)
			return VMA_OTHER;
		if (v->shared && (strcmp(v->path, "/dev/zero") == 0 || starts_with(v->path, "/memfd:") || starts_with(v->path, "/SYSV")))
			return VMA_SHMEM;
	}
	if (v->path[0] != '/') /* anon_inode:[io_uring], socket:[123], /dmabuf without a mount */
		return VMA_OTHER;
	if (starts_with(v->path, "/dev/hugepages/"))
		return VMA_HUGETLB;
	if (looks_like_device(v->path) || starts_with(v->path, "/dmabuf:"))
		return VMA_OTHER;
	return v->shared ? VMA_FILE_SHARED : VMA_FILE_PRIVATE;
}

static void classify(struct vma *v)
{
	if (v->path[0] == '\0')
		v->kind = v->shared ? VMA_OTHER : VMA_ANON;
	else if (v->path[0] == '[')
		v->kind = kind_of_special(v->path);
	else
		v->kind = kind_of_file(v);
	v->heap = strcmp(v->path, "[heap]") == 0;
	v->stack = strcmp(v->path, "[stack]") == 0;
	v->grows_down = v->stack;
}

static void classify_by_flags(struct vma *v)
{
	v->grows_down = v->vm_flags & VMF_GROWSDOWN;
	if (v->vm_flags & VMF_HUGETLB)
		v->kind = VMA_HUGETLB;
	else if ((v->vm_flags & (VMF_IO | VMF_PFNMAP)) && v->kind != VMA_VVAR && v->kind != VMA_VDSO && v->kind != VMA_AIO)
		v->kind = VMA_OTHER;
}

/* ---- lines ---- */

static bool take_perms(const char **p, struct vma *v)
{
	const char *s = *p;

	if (strnlen(s, 5) < 5 || s[4] != ' ' || (s[3] != 'p' && s[3] != 's'))
		return false;
	v->prot = (s[0] == 'r' ? PROT_READ : 0) | (s[1] == 'w' ? PROT_WRITE : 0) | (s[2] == 'x' ? PROT_EXEC : 0);
	v->shared = s[3] == 's';
	*p = s + 5;
	return true;
}

/* 7f00-7f10 rw-p 00000000 fd:01 123    /some/path */
static bool parse_header(char *line, struct vma *v)
{
	const char *p = line;
	uint64_t major, minor;
	char *path;

	*v = (struct vma){ 0 };
	if (!take_hex(&p, '-', &v->start) || !take_hex(&p, ' ', &v->end) || !take_perms(&p, v) || !take_hex(&p, ' ', &v->pgoff) ||
	    !take_hex(&p, ':', &major) || !take_hex(&p, ' ', &minor) || !take_decimal(&p, &v->inode) || v->start >= v->end)
		return false;
	v->dev_major = (uint32_t)major;
	v->dev_minor = (uint32_t)minor;
	path = line + (skip_spaces(p) - line);
	v->deleted = cut_deleted(path);
	unescape(path);
	v->path = path;
	classify(v);
	return true;
}

static uint64_t parse_vm_flags(const char *s)
{
	uint64_t flags = 0;

	for (s = skip_spaces(s); s[0] && s[1]; s = skip_spaces(s + 2)) {
		for (size_t i = 0; i < sizeof(vm_flag_names) / sizeof(vm_flag_names[0]); i++)
			if (s[0] == vm_flag_names[i].name[0] && s[1] == vm_flag_names[i].name[1])
				flags |= vm_flag_names[i].bit;
	}
	return flags;
}

static void parse_detail(const char *line, struct vma *v)
{
	if (starts_with(line, "Rss:"))
		v->rss_bytes = kilobytes(line + 4);
	else if (starts_with(line, "VmFlags:")) {
		v->vm_flags = parse_vm_flags(line + 8);
		classify_by_flags(v);
	}
}

static int make_room(struct vma_list *l, size_t more)
{
	size_t want = l->count + more, cap;
	struct vma *grown;

	if (want <= l->capacity)
		return 0;
	cap = l->capacity * 2 > want ? l->capacity * 2 : want + 64;
	grown = realloc(l->vma, cap * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	l->vma = grown;
	l->capacity = cap;
	return 0;
}

/* The kernel hands the file out in pieces. A mapping that grows or merges between two of them is printed again from its start:
 * keep the part that is new. False when nothing of it is. */
static bool clip_to_previous(const struct vma_list *l, struct vma *v)
{
	uint64_t seen = l->count ? l->vma[l->count - 1].end : 0;

	if (v->start >= seen)
		return true;
	if (v->end <= seen)
		return false;
	if (v->inode)
		v->pgoff += seen - v->start;
	v->start = seen;
	return true;
}

static int parse_lines(struct vma_list *l, char *text, size_t len, enum vma_read how, struct err *e)
{
	char *end = text + len, *line = text;
	bool kept = false;

	while (line < end) {
		char *nl = memchr(line, '\n', (size_t)(end - line));
		struct vma v;

		if (!nl)
			nl = end; /* text[len] is NUL */
		*nl = '\0';
		if (hex_digit(line[0]) < 0) {
			if (how != VMA_READ_SMAPS || line[0] < 'A' || line[0] > 'Z')
				return err_set(e, ERR_SYSTEM, EPROTO, "unknown line among the mappings: %.80s", line);
			if (kept)
				parse_detail(line, &l->vma[l->count - 1]);
		} else {
			if (!parse_header(line, &v))
				return err_set(e, ERR_SYSTEM, EPROTO, "unknown line among the mappings: %.80s", line);
			kept = clip_to_previous(l, &v);
			if (kept) {
				if (make_room(l, 1 + SPLIT_ROOM) < 0)
					return err_set(e, ERR_SYSTEM, ENOMEM, "mappings");
				l->vma[l->count++] = v;
			}
		}
		line = nl + 1;
	}
	return 0;
}

/* Takes text. */
static int parse_owned(struct vma_list *l, char *text, size_t len, enum vma_read how, struct err *e)
{
	l->text = text;
	if (parse_lines(l, text, len, how, e) < 0) {
		vma_list_finish(l);
		return -1;
	}
	return 0;
}

int vma_list_parse(struct vma_list *l, const char *text, size_t len, enum vma_read how, struct err *e)
{
	char *copy = malloc(len + 1);

	vma_list_finish(l);
	if (!copy)
		return err_set(e, ERR_SYSTEM, ENOMEM, "mappings");
	memcpy(copy, text, len);
	copy[len] = '\0';
	return parse_owned(l, copy, len, how, e);
}

int vma_list_read(struct vma_list *l, pid_t pid, enum vma_read how, struct err *e)
{
	char path[64], *text;
	size_t len;

	vma_list_finish(l);
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, how == VMA_READ_SMAPS ? "smaps" : "maps");
	text = file_read(AT_FDCWD, path, MAX_TEXT, &len, e);
	if (!text) {
		if (e->num == ENOENT || e->num == ESRCH)
			err_set(e, ERR_GONE, 0, "process %d is gone", pid);
		return -1;
	}
	if (parse_owned(l, text, len, how, e) < 0)
		return err_wrap(e, "%s", path);
	return 0;
}

/* Splits the mapping at index i in two at addr, which lies inside it. */
static int split(struct vma_list *l, size_t i, uint64_t addr)
{
	struct vma *v;

	if (make_room(l, 1) < 0)
		return -ENOMEM;
	v = &l->vma[i];
	memmove(v + 1, v, (l->count - i) * sizeof(*v));
	l->count++;
	v[0].end = addr;
	v[1].start = addr;
	if (v[1].inode)
		v[1].pgoff += addr - v[0].start;
	return 0;
}

int vma_list_mark_scratch(struct vma_list *l, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < l->count && l->vma[i].start < end; i++) {
		if (l->vma[i].end <= start)
			continue;
		if (l->vma[i].start < start) {
			if (split(l, i, start) < 0)
				return -ENOMEM;
			continue;
		}
		if (l->vma[i].end > end && split(l, i, end) < 0)
			return -ENOMEM;
		l->vma[i].scratch = true;
	}
	return 0;
}

const struct vma *vma_list_find(const struct vma_list *l, uint64_t addr)
{
	size_t low = 0, high = l->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (l->vma[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low < l->count && l->vma[low].start <= addr ? &l->vma[low] : NULL;
}

static bool same_object(const struct vma *a, const struct vma *b)
{
	return a->shared == b->shared && a->inode == b->inode && a->dev_major == b->dev_major && a->dev_minor == b->dev_minor;
}

const struct vma *vma_list_seen_as(const struct vma_list *seen, const struct vma *v, size_t *at)
{
	while (*at < seen->count && seen->vma[*at].end <= v->start)
		++*at;
	for (size_t i = *at; i < seen->count && seen->vma[i].start < v->end; i++)
		if (same_object(v, &seen->vma[i]))
			return &seen->vma[i];
	return NULL;
}

void vma_list_finish(struct vma_list *l)
{
	free(l->vma);
	free(l->text);
	*l = (struct vma_list){ 0 };
}

bool vma_carries_pages(const struct vma *v)
{
	return !v->scratch && (v->kind == VMA_ANON || v->kind == VMA_FILE_PRIVATE || v->kind == VMA_SHMEM);
}
