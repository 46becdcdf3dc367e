/* SPDX-License-Identifier: Apache-2.0 */
/* Open files that the caller of a restore names by CRIU's keys are the caller's own descriptors in the restored process; the line that a process
 * had to whoever dumped it is one to whoever restores it. Keys that nothing has do no harm. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/images/tree_images.h"
#include "proto/base/io.h"
#include "tests/lib/image_rig.h"
#include "tests/lib/subject.h"

enum { READER, WRITER, REGULAR, SOCKET, HELD, UNIX_SERVICE = 2 };
static char path[] = "/tmp/inherited.XXXXXX";

static void remove_file(void) { unlink(path); }

/* One end of two pipes and of a socket pair, whose other ends are closed; a file. */
static void make_held(int held[HELD])
{
	int a[2], b[2], s[2];

	CHECK(pipe(a) == 0 && pipe(b) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s) == 0);
	held[READER] = a[0];
	held[WRITER] = b[1];
	held[SOCKET] = s[0];
	close(a[1]);
	close(b[0]);
	close(s[1]);
	held[REGULAR] = mkstemp(path);
	CHECK(held[REGULAR] >= 0 && atexit(remove_file) == 0);
}

static void inode_key(int fd, const char *kind, char key[64])
{
	struct stat st;

	CHECK(fstat(fd, &st) == 0);
	snprintf(key, 64, "%s:[%llu]", kind, (unsigned long long)st.st_ino);
}

static bool same_description(pid_t pid, int theirs, int ours)
{
	return syscall(SYS_kcmp, pid, getpid(), KCMP_FILE, SLEEPER_FD + theirs, ours) == 0;
}

static ino_t inode_of(pid_t pid, int fd)
{
	char text[64];
	struct stat st;

	snprintf(text, sizeof(text), "/proc/%d/fd/%d", pid, fd);
	CHECK(stat(text, &st) == 0);
	return st.st_ino;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

static void by_key(const struct image_rig *g, pid_t pid, char key[HELD][64])
{
	struct restore_request q = image_rig_request(g);
	int in[2], out[2], pair[2], other = open("/dev/null", O_RDWR);
	struct restore_stats stats;
	struct stat st;
	struct err e;
	pid_t root;

	CHECK(pipe(in) == 0 && pipe(out) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	/* The reader's is given as the end that writes: it is opened anew as what the process had. */
	q.inherit = (struct restore_inherit[]){ { key[READER], in[1] }, { key[WRITER], out[1] }, { key[REGULAR], other }, { key[SOCKET], pair[0] },
						{ "pipe:[1]", out[0] }, { "tmp/nothing", other } };
	q.inherits = 6;
	CHECK(restore_run(&q, &root, &stats, &e) == 0 && root == pid, "%s", e.text);
	CHECK(same_description(pid, WRITER, out[1]) && same_description(pid, REGULAR, other) && same_description(pid, SOCKET, pair[0]));
	CHECK(fstat(in[0], &st) == 0 && inode_of(pid, SLEEPER_FD + READER) == st.st_ino);
	CHECK(!same_description(pid, READER, in[1]));
	end(pid);
}

/* As a dump of whoever asks for its own writes it: the socket is flagged as the line to the service. */
static void flag_line(const struct image_rig *g)
{
	struct tree_images_facts facts;
	struct tree_images_options o = { 0 };
	struct err e;
	Drayage__TreeState *tree = tree_images_read(g->fd, &facts, &e);

	CHECK(tree, "%s", e.text);
	for (size_t i = 0; i < tree->n_files; i++)
		if (tree->files[i]->usk)
			tree->files[i]->usk->uflags |= UNIX_SERVICE;
	CHECK(tree_images_write(g->fd, tree, &o, &e) == 0, "%s", e.text);
	drayage__tree_state__free_unpacked(tree, NULL);
}

static int socket_of(pid_t pid)
{
	int pidfd = pidfd_open_(pid, 0), fd = pidfd_getfd_(pidfd, SLEEPER_FD + SOCKET);

	CHECK(fd >= 0, "%d", fd);
	close(pidfd);
	return fd;
}

static void line(const struct image_rig *g, pid_t pid)
{
	struct restore_request q = image_rig_request(g);
	struct restore_stats stats;
	char text[16] = "";
	struct err e;
	int far = -1, near, pair[2];
	pid_t root;

	q.requester_line = &far;
	CHECK(restore_run(&q, &root, &stats, &e) == 0, "%s", e.text);
	CHECK(far >= 0 && send(far, "restored", 8, 0) == 8);
	near = socket_of(pid);
	CHECK(recv(near, text, sizeof(text), MSG_DONTWAIT) == 8 && strcmp(text, "restored") == 0, "%s", text);
	close(far);
	close(near);
	end(pid);
	/* Its own instead of a fresh one. */
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	q.requester_socket = pair[0];
	CHECK(restore_run(&q, &root, &stats, &e) == 0, "%s", e.text);
	CHECK(far == -1 && same_description(pid, SOCKET, pair[0]));
	end(pid);
}

int main(void)
{
	char key[HELD][64];
	int held[HELD];
	struct image_rig g;
	pid_t pid;

	make_held(held);
	inode_key(held[READER], "pipe", key[READER]);
	inode_key(held[WRITER], "pipe", key[WRITER]);
	inode_key(held[SOCKET], "socket", key[SOCKET]);
	snprintf(key[REGULAR], sizeof(key[REGULAR]), "%s", path + 1);
	pid = image_rig_sleeper(held, HELD, true);
	for (int i = 0; i < HELD; i++)
		close(held[i]);
	image_rig_make(&g);
	image_rig_dump(&g, pid);
	by_key(&g, pid, key);
	flag_line(&g);
	line(&g, pid);
	return 0;
}
