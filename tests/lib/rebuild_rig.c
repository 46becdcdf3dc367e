/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/rebuild_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "tests/lib/subject.h"

enum { PAGE = 4096, SCRATCH = 256 * 1024, RUN_MAX = 512 };
#define PM_PRESENT (UINT64_C(1) << 63)
#define PM_SWAPPED (UINT64_C(1) << 62)
#define PM_FILE    (UINT64_C(1) << 61)

static const char *const texts[RIG_TEXTS] = { "maps", "auxv", "cmdline", "environ", "limits", "status", "stat", "exe", "cwd", "root", "timers",
					      "coredump_filter", "threads" };

/* ---- what /proc says ---- */

/* Lines of status that say how it stands with the process, not what it is. */
static bool passing(const char *line)
{
	static const char *const skip[] = { "State:", "SigQ:", "SigPnd:", "ShdPnd:", "PPid:", "TracerPid:", "VmPeak:", "VmHWM:", "VmPTE:", "VmSwap:", "voluntary_", "nonvoluntary_",
					    "VmRSS:", "RssFile:", "RssAnon:", "RssShmem:", "Cpus_allowed", "Mems_allowed", "NSsid:", "NSpgid:", "VmSize:",
					    "VmLib:", "VmExe:", "VmData:" };

	for (size_t i = 0; i < sizeof(skip) / sizeof(skip[0]); i++)
		if (strncmp(line, skip[i], strlen(skip[i])) == 0)
			return true;
	return false;
}

static void cut_lines(char *text)
{
	char *out = text;

	for (char *line = text; *line;) {
		char *end = strchrnul(line, '\n');
		size_t len = (size_t)(end - line) + (*end == '\n');

		if (!passing(line)) {
			memmove(out, line, len);
			out += len;
		}
		line += len;
	}
	*out = '\0';
}

/* Of stat only what the address space and its layout are: fields 26 to 28 and 45 to 51; pid and name. */
static void cut_stat(char *text)
{
	char kept[1024], *out = kept, *at = strrchr(text, ')');
	int field = 2;

	out += snprintf(out, 512, "%.*s", (int)(at - text) + 1, text);
	for (at = strtok(at + 1, " \n"); at; at = strtok(NULL, " \n"))
		if (++field == 19 || (field >= 26 && field <= 28) || field == 40 || field == 41 || (field >= 45 && field <= 51))
			out += snprintf(out, 32, " %d=%s", field, at);
	strcpy(text, kept);
}

static bool goes_on(const struct vma *v, const struct vma *next)
{
	return next->start == v->end && next->prot == v->prot && next->kind == v->kind && next->shared == v->shared &&
	       strcmp(next->path, v->path) == 0 && (v->kind == VMA_ANON || next->pgoff == v->pgoff + (v->end - v->start));
}

/* Of a mapping: where, what, of which file; inode numbers of memory without a file are new. Neighbours that differ in nothing are one: the
 * kernel may have merged them in one place and not in the other. */
static char *cut_maps(const char *text)
{
	struct vma_list l = { 0 };
	struct err e;
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	CHECK(f && vma_list_parse(&l, text, strlen(text), VMA_READ_MAPS, &e) == 0);
	for (size_t i = 0; i < l.count; i++) {
		const struct vma *v = &l.vma[i];
		uint64_t start = v->start;

		uint64_t pgoff = v->kind == VMA_ANON ? 0 : v->pgoff;

		while (i + 1 < l.count && goes_on(v, v + 1)) {
			v++;
			i++;
		}
		fprintf(f, "%lx-%lx %d%s %lx %s\n", start, v->end, v->prot, v->shared ? "s" : "p", pgoff, v->path);
	}
	fclose(f);
	vma_list_finish(&l);
	return out;
}

/* status of each thread */
static char *look_threads(pid_t pid)
{
	char path[64], *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);
	DIR *dir;
	struct dirent *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	CHECK(dir && f);
	while ((d = readdir(dir))) {
		struct err e = { 0 };
		char *text;

		if (d->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/status", pid, d->d_name);
		text = file_read(AT_FDCWD, path, 65536, NULL, &e);
		CHECK(text, "%s", e.text);
		cut_lines(text);
		fputs(text, f);
		free(text);
	}
	closedir(dir);
	fclose(f);
	return out;
}

static char *look(pid_t pid, const char *name)
{
	char path[64], *text;
	size_t len = 0;
	struct err e = { 0 };

	if (strcmp(name, "threads") == 0)
		return look_threads(pid);
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	if (strcmp(name, "exe") == 0 || strcmp(name, "cwd") == 0 || strcmp(name, "root") == 0) {
		text = calloc(1, 4096);
		CHECK(readlink(path, text, 4095) > 0);
		return text;
	}
	text = file_read(AT_FDCWD, path, 1 << 20, &len, &e);
	CHECK(text, "%s", e.text);
	if (strcmp(name, "auxv") == 0 || strcmp(name, "cmdline") == 0 || strcmp(name, "environ") == 0) {
		/* Bytes: told as digits. The vector's unused end differs in nothing that counts. */
		char *hex = malloc(2 * len + 1);

		for (size_t i = 0; i < len; i++)
			snprintf(hex + 2 * i, 3, "%02x", (unsigned char)text[i]);
		hex[2 * len] = '\0';
		free(text);
		return hex;
	}
	if (strcmp(name, "maps") == 0) {
		char *cut = cut_maps(text);

		free(text);
		return cut;
	}
	if (strcmp(name, "status") == 0)
		cut_lines(text);
	if (strcmp(name, "stat") == 0)
		cut_stat(text);
	return text;
}

static int show_difference(const char *name, const char *a, const char *b)
{
	const char *x = a, *y = b;

	while (*x && *y) {
		const char *p = strchrnul(x, '\n'), *q = strchrnul(y, '\n');

		if (p - x != q - y || strncmp(x, y, (size_t)(p - x)) != 0)
			break;
		x = *p ? p + 1 : p;
		y = *q ? q + 1 : q;
	}
	fprintf(stderr, "%s differs:\n  was %.*s\n  is  %.*s\n", name, (int)(strchrnul(x, '\n') - x), x, (int)(strchrnul(y, '\n') - y), y);
	if (strcmp(name, "maps") == 0)
		fprintf(stderr, "--- was\n%s--- is\n%s", a, b);
	return 1;
}

/* Timers run on: what is left of them is no matter here; /proc/PID/timers has no such figures. */
void rebuild_rig_compare(struct rebuild_rig *g)
{
	int bad = 0;

	for (size_t i = 0; i < RIG_TEXTS; i++) {
		char *after = look(g->pid, texts[i]);

		if (strcmp(after, g->before[i]) != 0)
			bad += show_difference(texts[i], g->before[i], after);
		free(after);
	}
	CHECK(bad == 0);
}

/* ---- the source ---- */

static void add_run(struct rebuild_rig *g, int mem, uint64_t addr, size_t count)
{
	struct rig_pages *r;

	g->run = realloc(g->run, (g->runs + 1) * sizeof(*g->run));
	r = &g->run[g->runs++];
	*r = (struct rig_pages){ addr, count, malloc(count * PAGE) };
	CHECK(pread(mem, r->data, count * PAGE, (off_t)addr) == (ssize_t)(count * PAGE), "read %zu pages at %lx", count, addr);
}

static bool wanted(const struct vma *v, uint64_t entry)
{
	if (!(entry & (PM_PRESENT | PM_SWAPPED)))
		return false;
	return v->kind == VMA_FILE_PRIVATE ? !(entry & PM_FILE) : true;
}

static void copy_mapping(struct rebuild_rig *g, const struct vma *v, int mem, int map)
{
	uint64_t entry[RUN_MAX];

	for (uint64_t at = v->start; at < v->end; at += RUN_MAX * PAGE) {
		size_t n = (v->end - at) / PAGE < RUN_MAX ? (v->end - at) / PAGE : RUN_MAX, first = 0;

		CHECK(pread(map, entry, n * 8, (off_t)(at / PAGE * 8)) == (ssize_t)(n * 8));
		for (size_t i = 0; i <= n; i++) {
			if (i < n && wanted(v, entry[i]))
				continue;
			if (i > first)
				add_run(g, mem, at + first * PAGE, i - first);
			first = i + 1;
		}
	}
}

static void copy_memory(struct rebuild_rig *g)
{
	struct vma_list l = { 0 };
	struct err e;
	char path[64];
	int mem, map;

	snprintf(path, sizeof(path), "/proc/%d/mem", g->pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", g->pid);
	map = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(mem >= 0 && map >= 0 && vma_list_read(&l, g->pid, VMA_READ_SMAPS, &e) == 0);
	for (size_t i = 0; i < l.count; i++)
		if (vma_carries_pages(&l.vma[i]))
			copy_mapping(g, &l.vma[i], mem, map);
	vma_list_finish(&l);
	close(mem);
	close(map);
}

/* By the source itself: what its rseq areas say while it is stopped. */
static void note_sequences(struct rebuild_rig *g)
{
	const Drayage__TaskState *t = g->tree->tasks[0];

	g->abort_ip = calloc(t->n_threads, sizeof(*g->abort_ip));
	for (size_t i = 0; i < t->n_threads; i++) {
		const RseqEntry *q = t->threads[i]->thread_core->rseq_entry;
		struct { uint32_t version, flags; uint64_t start, length, abort; } section;
		uint64_t at = 0, rip = g->remote.thread[i].regs.rip;
		struct err e;

		if (!q || !q->rseq_abi_pointer || remote_read(g->pid, q->rseq_abi_pointer + 8, &at, sizeof(at), &e) < 0 || !at)
			continue;
		CHECK(remote_read(g->pid, at, &section, sizeof(section), &e) == 0, "%s", e.text);
		if (rip >= section.start && rip < section.start + section.length)
			g->abort_ip[i] = section.abort;
	}
}

void rebuild_rig_take(struct rebuild_rig *g, pid_t pid)
{
	struct capture_options opt = { 0 };
	struct err e = { 0 };
	int status;

	*g = (struct rebuild_rig){ .pid = pid, .line = -1 };
	CHECK(remote_seize(&g->remote, pid, 0, &e) == 0, "%s", e.text);
	CHECK(remote_scratch_create(&g->remote, SCRATCH, 0, &e) == 0, "%s", e.text);
	g->tree = capture_tree(&g->remote, &opt, &e);
	CHECK(g->tree, "%s", e.text);
	CHECK(remote_scratch_destroy(&g->remote, &e) == 0, "%s", e.text);
	for (size_t i = 0; i < RIG_TEXTS; i++)
		g->before[i] = look(pid, texts[i]);
	note_sequences(g);
	copy_memory(g);
	CHECK(kill(pid, SIGKILL) == 0);
	remote_release(&g->remote);
	/* We are its parent too: the release may have reaped it. */
	while (waitpid(pid, &status, __WALL) != pid && errno != ECHILD)
		CHECK(errno == EINTR, "source did not end");
}

/* ---- the husk ---- */

static const MemfdInodeEntry *memory_of(const Drayage__TreeState *tree, const MemfdFileEntry *m)
{
	for (size_t i = 0; i < tree->n_memfds; i++)
		if (tree->memfds[i]->inode_id == m->inode_id)
			return tree->memfds[i];
	return NULL;
}

/* Files that mappings name, by the tree's own ids. */
static size_t name_files(const Drayage__TreeState *tree, Drayage__MappedFile *out)
{
	size_t n = 0;

	for (size_t i = 0; i < tree->n_files; i++) {
		const FileEntry *f = tree->files[i];
		Drayage__MappedFile *m = &out[n];
		struct stat st;
		bool used = false;

		for (size_t k = 0; k < tree->tasks[0]->mm->n_vmas; k++)
			used |= tree->tasks[0]->mm->vmas[k]->shmid == f->id;
		if (!used)
			continue;
		drayage__mapped_file__init(m);
		m->id = f->id;
		if (f->memfd) {
			m->has_shmem = m->shmem = true;
			m->path = memory_of(tree, f->memfd)->name;
			m->size = memory_of(tree, f->memfd)->size;
			m->has_memfd_flags = strcmp(m->path, "/dev/zero") != 0;
			m->memfd_flags = MFD_ALLOW_SEALING;
		} else {
			CHECK(f->reg && stat(f->reg->name, &st) == 0);
			m->path = f->reg->name;
			m->size = (uint64_t)st.st_size;
		}
		n++;
	}
	return n;
}

static int stage(struct rebuild_rig *g, struct place *p, struct err *e)
{
	const Drayage__TreeState *tree = g->tree;
	Drayage__RoundBegin round = DRAYAGE__ROUND_BEGIN__INIT;
	Drayage__MappedFile *file = calloc(tree->n_files, sizeof(*file)), **files = calloc(tree->n_files, sizeof(*files));
	struct iovec iov;

	round.round = 1;
	round.n_vmas = tree->tasks[0]->mm->n_vmas;
	round.vmas = tree->tasks[0]->mm->vmas;
	round.n_files = name_files(tree, file);
	round.files = files;
	for (size_t i = 0; i < round.n_files; i++)
		files[i] = &file[i];
	if (place_apply(p, &round, e) < 0)
		return -1;
	for (size_t i = 0; i < g->runs; i++) {
		struct page_run run = { .addr = g->run[i].addr, .pages = g->run[i].count };
		int rc = place_iovec(p, &run, &iov);

		if (rc < 0)
			return err_set(e, ERR_SYSTEM, -rc, "place %zu pages at %lx", g->run[i].count, g->run[i].addr);
		memcpy(iov.iov_base, g->run[i].data, iov.iov_len);
	}
	return 0;
}

struct answer { int rc; struct rebuild_handover h; struct err e; };

static void __attribute__((noreturn)) husk(struct rebuild_rig *g, int line)
{
	struct answer a = { 0 };
	struct place *p = place_create(0, &a.e);
	char never;

	a.h.channel_fd = -1;
	a.rc = p ? stage(g, p, &a.e) : -1;
	if (a.rc == 0)
		a.rc = rebuild_inside(g->tree, p, &(struct rebuild_options){ 0 }, line, &a.h, &a.e);
	if (a.h.channel_fd >= 0)
		line = a.h.channel_fd;
	if (write(line, &a, sizeof(a)) == sizeof(a) && a.rc == 0)
		while (read(line, &never, 1) < 0 && errno == EINTR)
			continue;
	_exit(1);
}

int rebuild_rig_inside(struct rebuild_rig *g, struct rebuild_handover *h, struct err *e)
{
	pid_t set_tid[1] = { g->pid }, got;
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)set_tid, .set_tid_size = 1 };
	struct answer a = { .rc = -1 };
	int line[2];
	ssize_t n;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) == 0);
	fflush(stderr);
	got = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	CHECK(got >= 0, "clone with pid %d: %s", g->pid, strerror(errno));
	if (got == 0) {
		close(line[0]);
		husk(g, line[1]);
	}
	close(line[1]);
	g->line = line[0];
	n = read(line[0], &a, sizeof(a));
	if (n != sizeof(a))
		err_set(&a.e, ERR_GONE, 0, "the husk ended without a word (%zd)", n);
	*h = a.h;
	*e = a.e;
	if (a.rc < 0) {
		int status;

		while (waitpid(g->pid, &status, 0) < 0 && errno == EINTR)
			continue;
		if (n != sizeof(a))
			fprintf(stderr, "husk: status %#x\n", status);
	}
	return a.rc;
}

int rebuild_rig_outside(struct rebuild_rig *g, const struct rebuild_handover *h, struct err *e)
{
	int rc = remote_seize(&g->remote, g->pid, REMOTE_EXITKILL, e);

	if (rc == 0)
		rc = rebuild_outside(&g->remote, g->tree, h, NULL, e);
	if (rc < 0) {
		kill(g->pid, SIGKILL);
		remote_release(&g->remote);
		while (waitpid(g->pid, NULL, __WALL) < 0 && errno == EINTR)
			continue;
	}
	return rc;
}

void rebuild_rig_release(struct rebuild_rig *g)
{
	remote_release(&g->remote);
}

void rebuild_rig_finish(struct rebuild_rig *g)
{
	for (size_t i = 0; i < g->runs; i++)
		free(g->run[i].data);
	free(g->run);
	free(g->abort_ip);
	for (size_t i = 0; i < RIG_TEXTS; i++)
		free(g->before[i]);
	drayage__tree_state__free_unpacked(g->tree, NULL);
	cleanup_fd_(&g->line);
}

unsigned rebuild_rig_move(pid_t pid)
{
	unsigned aborted = 0;
	struct rebuild_rig g;
	struct rebuild_handover h;
	struct err e = { 0 };

	rebuild_rig_take(&g, pid);
	CHECK(rebuild_rig_inside(&g, &h, &e) == 0, "%s", e.text);
	CHECK(rebuild_rig_outside(&g, &h, &e) == 0, "%s", e.text);
	rebuild_rig_compare(&g);
	for (size_t i = 0; i < g.remote.threads; i++) {
		aborted += g.abort_ip[i] != 0;
		CHECK(!g.abort_ip[i] || g.remote.thread[i].regs.rip == g.abort_ip[i], "thread %zu goes on inside its sequence", i);
	}
	rebuild_rig_release(&g);
	rebuild_rig_finish(&g);
	return aborted;
}
