/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors that are no sockets. */
#include "tests/lib/zoo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <unistd.h>

static int new_file(const char *name, const char *text, int flags)
{
	int fd = open(zoo_path(name), O_RDWR | O_CREAT | O_TRUNC | flags, 0640);

	zoo_need(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), name);
	return fd;
}

/* ---- file: offset, flags, a second description of the same file, close-on-exec ---- */
static int file_a, file_b;
static void file_make(void)
{
	file_a = new_file("file", "0123456789", O_APPEND | O_CLOEXEC);
	file_b = open(zoo_path("file"), O_RDONLY);
	zoo_need(file_b >= 0 && lseek(file_a, 3, SEEK_SET) == 3 && lseek(file_b, 7, SEEK_SET) == 7, "file");
}
static bool file_check(void)
{
	char c = 0;

	ZOO_SAME(lseek(file_a, 0, SEEK_CUR), 3);
	ZOO_SAME(lseek(file_b, 0, SEEK_CUR), 7);
	ZOO_SAME(fcntl(file_a, F_GETFL) & (O_APPEND | O_ACCMODE), O_APPEND | O_RDWR);
	ZOO_SAME(fcntl(file_a, F_GETFD), FD_CLOEXEC);
	ZOO_SAME(fcntl(file_b, F_GETFD), 0);
	ZOO_SAME(pread(file_b, &c, 1, 7), 1);
	ZOO_SAME(c, '7');
	return true;
}

/* ---- dup: one description under two numbers ---- */
static int dup_a, dup_b;
static void dup_make(void)
{
	dup_a = new_file("dup", "abcdef", 0);
	dup_b = fcntl(dup_a, F_DUPFD_CLOEXEC, 77);
	zoo_need(dup_b == 77 && lseek(dup_a, 2, SEEK_SET) == 2, "dup");
}
static bool dup_check(void)
{
	ZOO_SAME(lseek(dup_b, 0, SEEK_CUR), 2);
	ZOO_SAME(lseek(dup_b, 4, SEEK_SET), 4);
	ZOO_SAME(lseek(dup_a, 0, SEEK_CUR), 4);
	ZOO_SAME(lseek(dup_a, 2, SEEK_SET), 2);
	ZOO_SAME(fcntl(dup_a, F_GETFD), 0);
	ZOO_SAME(fcntl(dup_b, F_GETFD), FD_CLOEXEC);
	return true;
}

static int dir_fd;
static void dir_make(void)
{
	dir_fd = open(zoo_dir, O_RDONLY | O_DIRECTORY);
	zoo_need(dir_fd >= 0, "dir");
}
static bool dir_check(void)
{
	struct stat a, b;

	ZOO_SAME(fstat(dir_fd, &a) | stat(zoo_dir, &b), 0);
	ZOO_SAME(a.st_ino, b.st_ino);
	return true;
}

static int device[5];
static const char *const device_path[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom" };
static const unsigned device_minor[] = { 3, 5, 7, 8, 9 };
static void devices_make(void)
{
	for (int i = 0; i < 5; i++)
		zoo_need((device[i] = open(device_path[i], O_RDWR)) >= 0, device_path[i]);
}
static bool devices_check(void)
{
	for (int i = 0; i < 5; i++) {
		struct stat st;

		ZOO_SAME(fstat(device[i], &st), 0);
		ZOO_SAME(st.st_rdev, makedev(1, device_minor[i]));
	}
	return true;
}

/* ---- pipes ---- */
static int pipe_fd[2], lone_read, lone_write, fifo_fd;
static bool holds(int fd, const char *text)
{
	char got[64] = "";
	int waiting = 0;

	ZOO_SAME(ioctl(fd, FIONREAD, &waiting), 0);
	ZOO_SAME(waiting, strlen(text));
	if (waiting && (read(fd, got, sizeof(got)) != waiting || memcmp(got, text, strlen(text)) != 0))
		return zoo_wrong("contents are %.60s, not %s", got, text);
	return true;
}
static void pipe_make(void)
{
	zoo_need(pipe2(pipe_fd, O_NONBLOCK | O_CLOEXEC) == 0 && fcntl(pipe_fd[0], F_SETPIPE_SZ, 16384) == 16384, "pipe");
	zoo_need(write(pipe_fd[1], "in ", 3) == 3 && write(pipe_fd[1], "a pipe", 6) == 6, "pipe");
}
static bool pipe_check_(void)
{
	if (!holds(pipe_fd[0], "in a pipe"))
		return false;
	ZOO_SAME(fcntl(pipe_fd[0], F_GETPIPE_SZ), 16384);
	ZOO_SAME(fcntl(pipe_fd[0], F_GETFL), O_RDONLY | O_NONBLOCK);
	ZOO_SAME(fcntl(pipe_fd[1], F_GETFL), O_WRONLY | O_NONBLOCK);
	ZOO_SAME(write(pipe_fd[1], "in a pipe", 9), 9);
	return true;
}
static void lone_make(void)
{
	int a[2], b[2];

	zoo_need(pipe(a) == 0 && pipe(b) == 0 && write(a[1], "last words", 10) == 10, "pipe");
	close(a[1]);
	close(b[0]);
	lone_read = a[0];
	lone_write = b[1];
}
static bool lone_check(void)
{
	struct pollfd p = { .fd = lone_write };
	char c;
	static bool read_already;

	if (!read_already && !holds(lone_read, "last words"))
		return false;
	read_already = true;
	ZOO_SAME(read(lone_read, &c, 1), 0);
	ZOO_SAME(poll(&p, 1, 0), 1);
	ZOO_SAME(p.revents & POLLERR, POLLERR);
	return true;
}
static void fifo_make(void)
{
	unlink(zoo_path("fifo"));
	zoo_need(mkfifo(zoo_path("fifo"), 0600) == 0, "fifo");
	fifo_fd = open(zoo_path("fifo"), O_RDWR | O_NONBLOCK);
	zoo_need(fifo_fd >= 0 && write(fifo_fd, "queue", 5) == 5, "fifo");
}
static bool fifo_check(void)
{
	if (!holds(fifo_fd, "queue"))
		return false;
	ZOO_SAME(write(fifo_fd, "queue", 5), 5);
	return true;
}

/* ---- eventfd, timerfd, signalfd ---- */
static int event_fd, semaphore_fd;
static void eventfd_make(void)
{
	event_fd = eventfd(4711, EFD_NONBLOCK);
	semaphore_fd = eventfd(3, EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK);
	zoo_need(event_fd >= 0 && semaphore_fd >= 0, "eventfd");
}
static bool eventfd_check(void)
{
	uint64_t v = 0;

	ZOO_SAME(read(event_fd, &v, 8), 8);
	ZOO_SAME(v, 4711);
	ZOO_SAME(write(event_fd, &v, 8), 8);
	for (int i = 0; i < 3; i++) {
		ZOO_SAME(read(semaphore_fd, &v, 8), 8);
		ZOO_SAME(v, 1);
	}
	v = 3;
	ZOO_SAME(write(semaphore_fd, &v, 8), 8);
	return true;
}

static int timer_fd, expired_fd;
static void timerfd_make(void)
{
	struct itimerspec far = { .it_interval = { 5, 6 }, .it_value = { 5000, 0 } }, soon = { .it_value = { 0, 1 } };
	struct pollfd p;

	timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	expired_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK);
	zoo_need(timer_fd >= 0 && expired_fd >= 0 && timerfd_settime(timer_fd, 0, &far, NULL) == 0 &&
			 timerfd_settime(expired_fd, 0, &soon, NULL) == 0, "timerfd");
	p = (struct pollfd){ .fd = expired_fd, .events = POLLIN };
	zoo_need(poll(&p, 1, 5000) == 1, "timerfd");
}
static bool timerfd_check(void)
{
	struct itimerspec now;
	struct pollfd p = { .fd = expired_fd, .events = POLLIN };

	ZOO_SAME(timerfd_gettime(timer_fd, &now), 0);
	ZOO_SAME(now.it_interval.tv_sec, 5);
	ZOO_SAME(now.it_interval.tv_nsec, 6);
	ZOO_SAME(now.it_value.tv_sec > 4000 && now.it_value.tv_sec <= 5000, 1);
	ZOO_SAME(poll(&p, 1, 0), 1);
	return true;
}

static int signal_fd;
static void signalfd_make(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	zoo_need(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && (signal_fd = signalfd(-1, &set, SFD_NONBLOCK)) >= 0, "signalfd");
}
static bool signalfd_check(void)
{
	struct signalfd_siginfo info = { 0 };

	ZOO_SAME(read(signal_fd, &info, sizeof(info)), -1);
	raise(SIGUSR2);
	ZOO_SAME(read(signal_fd, &info, sizeof(info)), sizeof(info));
	ZOO_SAME(info.ssi_signo, SIGUSR2);
	return true;
}

/* ---- epoll: a pipe with data, a nested eventfd that is not ready, edge triggered and one shot ---- */
static int epoll_fd, epoll_pipe[2], epoll_event;
static void epoll_make(void)
{
	struct epoll_event a = { .events = EPOLLIN, .data.u64 = 0x1122334455667788 }, b = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 2 };

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	epoll_event = eventfd(0, EFD_NONBLOCK);
	zoo_need(epoll_fd >= 0 && pipe(epoll_pipe) == 0 && epoll_event >= 0 && write(epoll_pipe[1], "x", 1) == 1, "epoll");
	zoo_need(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, epoll_pipe[0], &a) == 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, epoll_event, &b) == 0, "epoll");
}
static bool epoll_check_(void)
{
	struct epoll_event got[4], b = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 2 };
	uint64_t one = 1;

	ZOO_SAME(epoll_wait(epoll_fd, got, 4, 0), 1);
	ZOO_SAME(got[0].data.u64, 0x1122334455667788);
	ZOO_SAME(write(epoll_event, &one, 8), 8);
	ZOO_SAME(epoll_wait(epoll_fd, got, 4, 0), 2);
	ZOO_SAME(epoll_wait(epoll_fd, got, 4, 0), 1); /* one shot */
	ZOO_SAME(read(epoll_event, &one, 8), 8);
	ZOO_SAME(epoll_ctl(epoll_fd, EPOLL_CTL_MOD, epoll_event, &b), 0);
	return true;
}

static int inotify_fd, inotify_wd[2];
static void inotify_make(void)
{
	mkdir(zoo_path("watched"), 0700);
	close(new_file("watched-file", "x", 0));
	inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	inotify_wd[0] = inotify_add_watch(inotify_fd, zoo_path("watched"), IN_CREATE | IN_DELETE);
	inotify_wd[1] = inotify_add_watch(inotify_fd, zoo_path("watched-file"), IN_ATTRIB);
	zoo_need(inotify_fd >= 0 && inotify_wd[0] >= 0 && inotify_wd[1] >= 0, "inotify");
}
static bool inotify_check_(void)
{
	_Alignas(struct inotify_event) char room[512];
	const struct inotify_event *event = (const struct inotify_event *)room;

	ZOO_SAME(read(inotify_fd, room, sizeof(room)), -1);
	close(new_file("watched/new", "", 0));
	ZOO_SAME(read(inotify_fd, room, sizeof(room)) > 0, 1);
	ZOO_SAME(event->wd, inotify_wd[0]);
	ZOO_SAME(event->mask, IN_CREATE);
	unlink(zoo_path("watched/new"));
	ZOO_SAME(read(inotify_fd, room, sizeof(room)) > 0, 1);
	ZOO_SAME(chmod(zoo_path("watched-file"), 0600), 0);
	ZOO_SAME(read(inotify_fd, room, sizeof(room)) > 0, 1);
	ZOO_SAME(event->wd, inotify_wd[1]);
	return true;
}

/* ---- memfd: two mappings and a descriptor of one memory; contents past the mapping; seals ---- */
static int memfd_fd, sealed_fd;
static char *sealed_map, *memfd_map, *memfd_again;
static void memfd_make(void)
{
	memfd_fd = memfd_create("specimen", MFD_CLOEXEC);
	sealed_fd = memfd_create("sealed", MFD_ALLOW_SEALING);
	zoo_need(memfd_fd >= 0 && sealed_fd >= 0 && ftruncate(memfd_fd, 65536) == 0, "memfd");
	memfd_map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, memfd_fd, 0);
	memfd_again = mmap(NULL, 4096, PROT_READ, MAP_SHARED, memfd_fd, 4096);
	zoo_need(memfd_map != MAP_FAILED && memfd_again != MAP_FAILED, "memfd");
	strcpy(memfd_map + 4096, "mapped");
	zoo_need(pwrite(memfd_fd, "unmapped", 8, 40960) == 8 && lseek(memfd_fd, 11, SEEK_SET) == 11, "memfd");
	zoo_need(write(sealed_fd, "sealed", 6) == 6 && fcntl(sealed_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE) == 0, "memfd");
	sealed_map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, sealed_fd, 0); /* kernels before 6.7 refuse */
}
static bool memfd_check_(void)
{
	char got[16] = "";

	ZOO_SAME(strcmp(memfd_again, "mapped"), 0);
	memfd_map[4096] = 'M';
	ZOO_SAME(memfd_again[0], 'M');
	ZOO_SAME(pread(memfd_fd, got, 1, 4096), 1);
	ZOO_SAME(got[0], 'M');
	memfd_map[4096] = 'm';
	ZOO_SAME(pread(memfd_fd, got, 8, 40960), 8);
	ZOO_SAME(memcmp(got, "unmapped", 8), 0);
	ZOO_SAME(lseek(memfd_fd, 0, SEEK_CUR), 11);
	ZOO_SAME(lseek(memfd_fd, 0, SEEK_END), 65536);
	ZOO_SAME(lseek(memfd_fd, 11, SEEK_SET), 11);
	ZOO_SAME(fcntl(sealed_fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_WRITE);
	ZOO_SAME(sealed_map == MAP_FAILED || memcmp(sealed_map, "sealed", 6) == 0, 1);
	ZOO_SAME(sealed_map == MAP_FAILED || mprotect(sealed_map, 4096, PROT_READ | PROT_WRITE) < 0, 1);
	ZOO_SAME(pread(sealed_fd, got, 6, 0), 6);
	ZOO_SAME(memcmp(got, "sealed", 6), 0);
	return true;
}

/* ---- owner of a descriptor's signals ---- */
static int owner_fd[2];
static void owner_make(void)
{
	zoo_need(pipe(owner_fd) == 0 && fcntl(owner_fd[0], F_SETOWN, getpid()) == 0 && fcntl(owner_fd[0], F_SETSIG, SIGRTMIN + 3) == 0, "owner");
}
static bool owner_check(void)
{
	struct f_owner_ex o = { 0 };

	ZOO_SAME(fcntl(owner_fd[0], F_GETOWN_EX, &o), 0);
	ZOO_SAME(o.type, F_OWNER_PID);
	ZOO_SAME(o.pid, getpid());
	ZOO_SAME(fcntl(owner_fd[0], F_GETSIG), SIGRTMIN + 3);
	ZOO_SAME(fcntl(owner_fd[1], F_GETOWN), 0);
	return true;
}

const struct zoo_kind zoo_fd_kinds[] = {
	{ "file", NULL, NULL, file_make, file_check },
	{ "dup", NULL, NULL, dup_make, dup_check },
	{ "directory", NULL, NULL, dir_make, dir_check },
	{ "devices", NULL, NULL, devices_make, devices_check },
	{ "pipe", NULL, NULL, pipe_make, pipe_check_ },
	{ "lone-pipe", NULL, NULL, lone_make, lone_check },
	{ "fifo", NULL, NULL, fifo_make, fifo_check },
	{ "eventfd", NULL, NULL, eventfd_make, eventfd_check },
	{ "timerfd", NULL, NULL, timerfd_make, timerfd_check },
	{ "signalfd", NULL, NULL, signalfd_make, signalfd_check },
	{ "epoll", NULL, NULL, epoll_make, epoll_check_ },
	{ "inotify", NULL, NULL, inotify_make, inotify_check_ },
	{ "memfd", NULL, NULL, memfd_make, memfd_check_ },
	{ "owner", NULL, NULL, owner_make, owner_check },
	{ 0 },
};
