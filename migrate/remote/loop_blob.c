/* SPDX-License-Identifier: Apache-2.0 */
/* The loop that runs a batch of system calls inside another process. Assembly, since it must use no stack and no vector registers.
 *
 * In:  rbx = the first struct remote_call, rbp = past the last.
 * Out: rbx = the call that failed without MAY_FAIL, or rbp. Then the thread sends itself SIGTRAP, which its tracer waits for. It is never
 *      resumed behind that. (int3 would do with one instruction, but see remote.h on forced signals.)
 * A task born by a clone call in the batch starts behind its `syscall`; its tracer holds it there and gives it other registers. */
#include "migrate/remote/remote_priv.h"

_Static_assert(sizeof(struct remote_call) == 72 && offsetof(struct remote_call, arg) == 8 && offsetof(struct remote_call, ret) == 56 &&
	       offsetof(struct remote_call, flags) == 64, "the loop below knows this layout");
_Static_assert(REMOTE_MAY_FAIL == 1, "as does the test of flags");

__asm__(".pushsection .text\n"
	".globl remote_loop_start, remote_loop_end\n"
	"remote_loop_start:\n"
	"1:	cmpq %rbp, %rbx\n"
	"	jae 3f\n"
	"	movq 0(%rbx), %rax\n"
	"	movq 8(%rbx), %rdi\n"
	"	movq 16(%rbx), %rsi\n"
	"	movq 24(%rbx), %rdx\n"
	"	movq 32(%rbx), %r10\n"
	"	movq 40(%rbx), %r8\n"
	"	movq 48(%rbx), %r9\n"
	"	syscall\n"
	"	movq %rax, 56(%rbx)\n"
	"	cmpq $-4095, %rax\n"
	"	jb 2f\n"
	"	testb $1, 64(%rbx)\n"
	"	jz 3f\n"
	"2:	addq $72, %rbx\n"
	"	jmp 1b\n"
	"3:	movl $39, %eax\n" /* getpid */
	"	syscall\n"
	"	movl %eax, %r12d\n"
	"	movl $186, %eax\n" /* gettid */
	"	syscall\n"
	"	movl %r12d, %edi\n"
	"	movl %eax, %esi\n"
	"	movl $5, %edx\n"   /* SIGTRAP */
	"	movl $234, %eax\n" /* tgkill */
	"	syscall\n"
	"	ud2\n"
	"remote_loop_end:\n"
	".popsection\n");
