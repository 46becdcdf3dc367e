/* SPDX-License-Identifier: Apache-2.0 */
/* The scratch mapping inside: made and removed by single calls, with the loop in its first page. */
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "migrate/remote/remote.h"
#include "migrate/remote/remote_priv.h"

enum { PAGE = 4096 };

/* The first page is never writable and the rest never executable, so that targets that forbid themselves both (PR_SET_MDWE) can be entered. */
int remote_scratch_create(struct remote *r, size_t bytes, uint64_t fixed_addr, struct err *e)
{
	uint64_t len = PAGE + ((bytes + PAGE - 1) & ~(size_t)(PAGE - 1)) + REMOTE_CALLS_BYTES;
	struct remote_call map = REMOTE_CALL(SYS_mmap, fixed_addr, len, PROT_READ | PROT_EXEC,
					     MAP_PRIVATE | MAP_ANONYMOUS | (fixed_addr ? MAP_FIXED_NOREPLACE : 0), (uint64_t)-1, 0);
	struct remote_call open_data;
	struct err ignored = { 0 };

	if (r->scratch)
		return err_set(e, ERR_INTERNAL, 0, "process %d has a scratch mapping already", r->pid);
	if (remote_step(r, 0, &map, "make the scratch mapping", e) < 0)
		return -1;
	r->scratch = (uint64_t)map.ret;
	r->scratch_len = len;
	if (fixed_addr && r->scratch != fixed_addr) {
		err_set(e, ERR_CONFLICT, 0, "no room for the scratch mapping at %#llx", (unsigned long long)fixed_addr);
		goto undo;
	}
	open_data = REMOTE_CALL(SYS_mprotect, r->scratch + PAGE, len - PAGE, PROT_READ | PROT_WRITE);
	if (remote_step(r, 0, &open_data, "make the scratch mapping", e) < 0 ||
	    remote_write(r->pid, r->scratch, remote_loop_start, (size_t)(remote_loop_end - remote_loop_start), e) < 0)
		goto undo;
	struct remote_call keep_private[] = {
		REMOTE_TRY(SYS_madvise, r->scratch, len, MADV_DONTFORK),
		REMOTE_TRY(SYS_madvise, r->scratch, len, MADV_DONTDUMP),
	};
	if (remote_run(r, 0, keep_private, 2, "keep the scratch mapping private", e) < 0)
		goto undo;
	return 0;
undo:
	remote_scratch_destroy(r, &ignored);
	return -1;
}

bool remote_is_scratch(pid_t pid, uint64_t addr)
{
	char code[512];
	size_t len = (size_t)(remote_loop_end - remote_loop_start);
	struct err ignored = { 0 };

	return len <= sizeof(code) && remote_read(pid, addr, code, len, &ignored) == 0 && memcmp(code, remote_loop_start, len) == 0;
}

int remote_scratch_destroy(struct remote *r, struct err *e)
{
	struct remote_call unmap = REMOTE_CALL(SYS_munmap, r->scratch, r->scratch_len);

	if (!r->scratch)
		return 0;
	if (remote_step(r, 0, &unmap, "remove the scratch mapping", e) < 0)
		return -1;
	r->scratch = r->scratch_len = r->scratch_taken = 0;
	return 0;
}
