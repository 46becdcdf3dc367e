/* SPDX-License-Identifier: Apache-2.0 */
/* The target's memory from outside. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "migrate/remote/remote.h"
#include "migrate/remote/remote_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { MAPS_MAX = 256 * 1024 * 1024 };

typedef ssize_t vm_call(pid_t pid, const struct iovec *local, unsigned long n, const struct iovec *far, unsigned long m, unsigned long flags);

/* 0, or the errno; what was transferred before it is left as it is. */
static int vm_transfer(vm_call *call, pid_t pid, uint64_t addr, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		struct iovec local = { (char *)buf + done, len - done };
		struct iovec far = { (void *)(uintptr_t)(addr + done), len - done };
		ssize_t n = call(pid, &local, 1, &far, 1, 0);

		if (n <= 0)
			return n < 0 ? errno : EFAULT;
		done += (size_t)n;
	}
	return 0;
}

/* What the mapping's protection forbids /proc/PID/mem does, for a tracer. */
static int transfer_forced(bool write, pid_t pid, uint64_t addr, void *buf, size_t len, struct err *e)
{
	char path[32];
	cleanup_fd int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", path);
	for (size_t done = 0; done < len;) {
		char *part = (char *)buf + done;
		ssize_t n = write ? pwrite(fd, part, len - done, (off_t)(addr + done)) : pread(fd, part, len - done, (off_t)(addr + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(e, "%s %zu bytes at %#llx of process %d", write ? "write" : "read", len, (unsigned long long)addr, pid);
		done += (size_t)n;
	}
	return 0;
}

static int transfer(bool write, pid_t pid, uint64_t addr, void *buf, size_t len, struct err *e)
{
	int error = vm_transfer(write ? process_vm_writev : process_vm_readv, pid, addr, buf, len);

	if (error == 0)
		return 0;
	if (error == EFAULT)
		return transfer_forced(write, pid, addr, buf, len, e);
	if (error == ESRCH)
		return err_set(e, ERR_GONE, 0, "no process %d", pid);
	return err_set(e, error == EPERM ? ERR_PERMISSION : ERR_SYSTEM, error, "%s %zu bytes at %#llx of process %d", write ? "write" : "read", len,
		       (unsigned long long)addr, pid);
}

int remote_read(pid_t pid, uint64_t addr, void *buf, size_t len, struct err *e)
{
	return transfer(false, pid, addr, buf, len, e);
}

int remote_write(pid_t pid, uint64_t addr, const void *buf, size_t len, struct err *e)
{
	return transfer(true, pid, addr, (void *)(uintptr_t)buf, len, e);
}

/* Two bytes 0f 05 anywhere in the mapping, also inside a longer instruction: what counts is what stands at the address. */
static bool search_mapping(pid_t pid, uint64_t start, uint64_t end, uint64_t *addr)
{
	enum { PIECE = 64 * 1024 };
	cleanup_free unsigned char *buf = malloc(PIECE);
	struct err ignored = { 0 };

	while (buf && start < end) {
		size_t len = end - start < PIECE ? (size_t)(end - start) : PIECE;

		if (remote_read(pid, start, buf, len, &ignored) < 0)
			return false;
		for (size_t i = 0; i + 1 < len; i++) {
			if (buf[i] == 0x0f && buf[i + 1] == 0x05) {
				*addr = start + i;
				return true;
			}
		}
		start += len;
	}
	return false;
}

/* One pass: the vdso, or everything executable but the vdso and the vsyscall page (which traps). */
static bool search_maps(pid_t pid, const char *maps, bool vdso, uint64_t *addr)
{
	for (const char *line = maps; *line;) {
		const char *end = strchrnul(line, '\n');
		unsigned long long from, to;
		char perms[5] = "", name[32] = "";

		if (sscanf(line, "%llx-%llx %4s %*s %*s %*s%*[ ]%31[^\n]", &from, &to, perms, name) >= 3 && perms[0] == 'r' &&
		    perms[2] == 'x' && strcmp(name, "[vsyscall]") != 0 && (strcmp(name, "[vdso]") == 0) == vdso &&
		    search_mapping(pid, from, to, addr))
			return true;
		line = *end ? end + 1 : end;
	}
	return false;
}

int remote_find_syscall(pid_t pid, uint64_t *addr, struct err *e)
{
	char path[32];
	cleanup_free char *maps = NULL;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = file_read(AT_FDCWD, path, MAPS_MAX, NULL, e);
	if (!maps)
		return err_wrap(e, "find a syscall instruction in process %d", pid);
	if (search_maps(pid, maps, true, addr) || search_maps(pid, maps, false, addr))
		return 0;
	return err_set(e, ERR_UNSUPPORTED, 0, "process %d has no syscall instruction in executable memory", pid);
}

