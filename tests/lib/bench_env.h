/* SPDX-License-Identifier: Apache-2.0 */
/* bench_env.h - what makes a figure repeatable: warm memory, a named congestion control, processor time, sizes on the command line.
 * Threads: any. Fails: as said by each. */
#ifndef DRAY_TESTS_BENCH_ENV_H
#define DRAY_TESTS_BENCH_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

_Noreturn void bench_die(const char *what); /* errno, on standard error */
void bench_check(int rc, const struct err *e); /* the same with e's words, where rc is not 0 */
/* Touches and frees that much memory, so that what the run allocates next is backed already: on a virtual machine memory that was
 * free for some seconds may have gone back to the host, and faulting it in costs ten times as much as a warm page. */
void bench_prewarm(size_t bytes);
/* cubic on a TCP socket where it is offered, else reno; returns the name in force. */
const char *bench_congestion(int sock);
uint64_t bench_cpu_us(void);        /* of this process, user and system */
uint64_t bench_thread_cpu_us(void); /* of this thread */
/* "4096", "64K", "512M", "4G". False: not a size. */
bool bench_size(const char *text, size_t *bytes);
/* A connected pair of TCP sockets over loopback. 0 or -errno. */
int bench_tcp_pair(int fd[2]);
/* Sends memory by vmsplice and splice, a pipe's worth (BENCH_PIPE) at a time, as criu sends pages. more: something is sent right behind it. 0 or -errno. */
enum { BENCH_PIPE = 1 << 20 };
int bench_splice(const int pipe[2], int sock, const void *memory, size_t len, bool more);

#endif
