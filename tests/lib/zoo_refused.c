/* SPDX-License-Identifier: Apache-2.0 */
/* What can't be carried, each with the words that say so. */
#include "tests/lib/zoo.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "proto/base/die_with.h"

static void netlink(void) { zoo_need(socket(AF_NETLINK, SOCK_RAW, 0) >= 0, "netlink"); }
static void raw(void) { zoo_need(socket(AF_INET, SOCK_RAW, 1) >= 0, "raw"); }
static void tty(void)
{
	int master, slave;

	zoo_need(openpty(&master, &slave, NULL, NULL, NULL) == 0, "openpty");
}
static void device(void) { zoo_need(open("/dev/mem", O_RDONLY) >= 0 || open("/dev/fuse", O_RDWR) >= 0 || open("/dev/kmsg", O_RDONLY) >= 0, "device"); }
static void uring(void)
{
	struct io_uring_params p = { 0 };

	zoo_need(syscall(SYS_io_uring_setup, 4, &p) >= 0, "io_uring");
}
static void uffd(void) { zoo_need(syscall(SYS_userfaultfd, O_CLOEXEC) >= 0, "userfaultfd"); }
static void perf(void)
{
	struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(a), .config = PERF_COUNT_SW_DUMMY };

	zoo_need(syscall(SYS_perf_event_open, &a, 0, -1, -1, 0) >= 0, "perf_event_open");
}
static void fanotify(void) { zoo_need(fanotify_init(FAN_CLASS_NOTIF, O_RDONLY) >= 0, "fanotify"); }
static void pidfd(void) { zoo_need(syscall(SYS_pidfd_open, getppid(), 0) >= 0, "pidfd"); }
static void bpf(void)
{
	union bpf_attr a = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };

	zoo_need(syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof(a)) >= 0, "bpf");
}
static void nsfs(void) { zoo_need(open("/proc/self/ns/net", O_RDONLY) >= 0, "namespace"); }
static void secret(void)
{
	int fd = (int)syscall(SYS_memfd_secret, 0);

	zoo_need(fd >= 0, "memfd_secret");
}
static void deleted_file(void)
{
	zoo_need(open(zoo_path("gone"), O_RDWR | O_CREAT, 0600) >= 0 && unlink(zoo_path("gone")) == 0, "deleted file");
}
static void replaced_file(void)
{
	int fd = open(zoo_path("old"), O_RDWR | O_CREAT, 0600), other = open(zoo_path("new"), O_RDWR | O_CREAT, 0600);

	zoo_need(fd >= 0 && other >= 0 && close(other) == 0 && rename(zoo_path("new"), zoo_path("old")) == 0, "replaced file");
}
static void direct_file(void)
{
	zoo_need(open(zoo_path("direct"), O_RDWR | O_CREAT | O_DIRECT, 0600) >= 0, "O_DIRECT");
}
static void flocked(void)
{
	int fd = open(zoo_path("flocked"), O_RDWR | O_CREAT, 0600);

	zoo_need(fd >= 0 && flock(fd, LOCK_EX) == 0, "flock");
}
static void record_lock(void)
{
	int fd = open(zoo_path("locked"), O_RDWR | O_CREAT, 0600);
	struct flock l = { .l_type = F_WRLCK, .l_len = 10 };

	zoo_need(fd >= 0 && fcntl(fd, F_SETLK, &l) == 0, "record lock");
}
static void packet_pipe(void)
{
	int p[2];

	zoo_need(pipe2(p, O_DIRECT) == 0, "pipe");
}
/* Child processes end with their parent: they are the zoo's, not the test's. */
static pid_t child(void)
{
	pid_t zoo = getpid(), pid = fork();

	zoo_need(pid >= 0, "fork");
	if (pid == 0) {
		if (!die_with(zoo, SIGKILL))
			_exit(1);
		for (;;)
			pause();
	}
	return pid;
}
static void child_process(void) { child(); }
static void tcp_connection(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0), s = socket(AF_INET, SOCK_STREAM, 0), t;

	zoo_need(bind(l, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(l, 1) == 0 && getsockname(l, (struct sockaddr *)&a, &len) == 0 &&
			 connect(s, (struct sockaddr *)&a, sizeof(a)) == 0 && (t = accept(l, NULL, NULL)) >= 0, "TCP");
	close(l);
}
static void rights(void)
{
	int p[2], fd = 0;
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	zoo_need(socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0 && sendmsg(p[0], &m, 0) == 1, "SCM_RIGHTS");
}
static void named_connection(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int l = socket(AF_UNIX, SOCK_STREAM, 0), s = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(un.sun_path, zoo_path("named"), sizeof(un.sun_path) - 1);
	unlink(un.sun_path);
	zoo_need(bind(l, (struct sockaddr *)&un, sizeof(un)) == 0 && listen(l, 1) == 0 && connect(s, (struct sockaddr *)&un, sizeof(un)) == 0 &&
			 accept(l, NULL, NULL) >= 0, "named connection");
}
static void stale_epoll(void)
{
	int ep = epoll_create1(0), ev = eventfd(0, 0), kept;
	struct epoll_event e = { .events = EPOLLIN };

	zoo_need(ep >= 0 && ev >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, ev, &e) == 0 && (kept = dup(ev)) >= 0 && close(ev) == 0, "epoll");
}
static void aio(void)
{
	aio_context_t ctx = 0;

	zoo_need(syscall(SYS_io_setup, 4, &ctx) == 0, "io_setup");
}
static void sysv(void)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);

	zoo_need(id >= 0 && shmat(id, NULL, 0) != (void *)-1 && shmctl(id, IPC_RMID, NULL) == 0, "shmget");
}
static void deleted_mapping(void)
{
	int fd = open(zoo_path("mapped-gone"), O_RDWR | O_CREAT, 0600);

	zoo_need(fd >= 0 && ftruncate(fd, 4096) == 0 && mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED &&
			 unlink(zoo_path("mapped-gone")) == 0 && close(fd) == 0, "deleted mapping");
}
static void private_memfd(void)
{
	int fd = memfd_create("quiet", 0);

	zoo_need(fd >= 0 && ftruncate(fd, 4096) == 0 && mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED && close(fd) == 0, "memfd");
}
static void shared_with_child(void)
{
	zoo_need(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED, "shared memory");
	child();
}
static void sealed(void)
{
	void *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	zoo_need(p != MAP_FAILED && syscall(462 /* mseal */, p, 4096, 0) == 0, "mseal");
}
static void guard_region(void)
{
	char *p = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	zoo_need(p != MAP_FAILED && madvise(p + 4096, 4096, 102 /* MADV_GUARD_INSTALL */) == 0, "guard region");
}
static void seccomp(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog prog = { 1, &allow };

	zoo_need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0, "seccomp");
}
static void removed_cwd(void)
{
	zoo_need(mkdir(zoo_path("home"), 0700) == 0 && chdir(zoo_path("home")) == 0 && rmdir(zoo_path("home")) == 0, "working directory");
}
static void other_uts(void) { zoo_need(unshare(CLONE_NEWUTS) == 0, "unshare"); }
static void other_owner(void)
{
	int p[2];

	zoo_need(pipe(p) == 0 && fcntl(p[0], F_SETOWN, getppid()) == 0, "owner");
}
static void hugetlb(void)
{
	zoo_need(mmap(NULL, 2 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0) != MAP_FAILED, "hugetlb");
}
static void secret_mapping(void)
{
	int fd = (int)syscall(SYS_memfd_secret, 0);

	zoo_need(fd >= 0 && ftruncate(fd, 4096) == 0 && mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED && close(fd) == 0, "memfd_secret");
}

/* "after-freeze:" before the words: only the frozen process shows it. */
const struct zoo_kind zoo_refused_kinds[] = {
	{ "netlink", "AF_NETLINK socket", NULL, netlink, NULL },
	{ "raw-socket", "AF_INET SOCK_RAW socket of protocol 1", NULL, raw, NULL },
	{ "tty", "terminal /dev/", NULL, tty, NULL },
	{ "device", "device /dev/", NULL, device, NULL },
	{ "io-uring", "io_uring", NULL, uring, NULL },
	{ "userfaultfd", "userfaultfd", NULL, uffd, NULL },
	{ "perf", "perf event", NULL, perf, NULL },
	{ "fanotify", "fanotify", NULL, fanotify, NULL },
	{ "pidfd", "pidfd", NULL, pidfd, NULL },
	{ "bpf", "BPF object", NULL, bpf, NULL },
	{ "nsfs", "namespace net:[", NULL, nsfs, NULL },
	{ "secret", "secret memory", NULL, secret, NULL },
	{ "secret-mapping", "secret memory", NULL, secret_mapping, NULL },
	{ "deleted-file", "deleted file ", NULL, deleted_file, NULL },
	{ "replaced-file", "deleted file ", NULL, replaced_file, NULL },
	{ "direct-file", "O_DIRECT file ", "--tracker none", direct_file, NULL },
	{ "flock", "file lock (FLOCK)", NULL, flocked, NULL },
	{ "record-lock", "file lock (POSIX)", NULL, record_lock, NULL },
	{ "packet-pipe", "in packet mode", NULL, packet_pipe, NULL },
	{ "tcp-connection", "TCP connection with 127.0.0.1:", "--tcp-close", tcp_connection, NULL },
	{ "rights", "descriptors in flight (SCM_RIGHTS)", NULL, rights, NULL },
	{ "named-connection", "connected unix socket with a name", NULL, named_connection, NULL },
	{ "stale-epoll", "after-freeze:epoll that still watches what was descriptor", NULL, stale_epoll, NULL },
	{ "aio", "AIO ring", NULL, aio, NULL },
	{ "hugetlb", "huge pages (hugetlb)", NULL, hugetlb, NULL },
	{ "sysv", "System V shared memory", NULL, sysv, NULL },
	{ "deleted-mapping", ": deleted file ", NULL, deleted_mapping, NULL },
	{ "private-memfd", "private mapping of memfd", NULL, private_memfd, NULL },
	{ "guard-region", "guard region (MADV_GUARD_INSTALL)", NULL, guard_region, NULL },
	{ "sealed", "sealed memory", NULL, sealed, NULL },
	{ "seccomp", "runs under seccomp (filter)", NULL, seccomp, NULL },
	{ "child", "it has a child, process ", NULL, child_process, NULL },
	{ "shared-memory", "memory shared with process ", NULL, shared_with_child, NULL },
	{ "removed-cwd", "its working directory was removed: ", NULL, removed_cwd, NULL },
	{ "other-uts", "uts namespace other than the mover's own", NULL, other_uts, NULL },
	{ "other-owner", "after-freeze:signals process ", NULL, other_owner, NULL },
	{ 0 },
};
