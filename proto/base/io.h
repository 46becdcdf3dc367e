/* SPDX-License-Identifier: Apache-2.0 */
/* io.h - whole reads and writes, small files, descriptor passing, time. Threads: any. No state.
 * Fails: the *_full and *_fd functions return negative errno; those that take an err fill it and return -1. */
#ifndef DRAY_BASE_IO_H
#define DRAY_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"

struct msghdr;

int read_full(int fd, void *buf, size_t len);        /* 0, or -EPIPE on an early end, or -errno */
int write_full(int fd, const void *buf, size_t len); /* 0 or -errno; SIGPIPE is not raised on sockets */
/* What an errno of a connection is worth telling: 0 where the other side ended it, since whether a write (EPIPE), a reset (ECONNRESET) or a read (0) met
 * that first is chance, and nothing that words should depend on. */
int peer_errno(int num);
/* Whether it says that the connection is no more, in the words of TCP and of what carries it: another one may be. */
bool errno_is_cut(int num);
/* On a socket, as much as goes without waiting; what went is taken off the message. flags: MSG_MORE or 0. 0: all of it; -EAGAIN: wait for POLLOUT and
 * come again; -errno. */
int send_some(int fd, struct msghdr *m, int flags);

/* A small file (procfs, sysfs) whole into memory, NUL added. dirfd may be AT_FDCWD. Returns owned memory or NULL.
 * Fails with ERR_LIMIT past max bytes. */
char *file_read(int dirfd, const char *path, size_t max, size_t *len, struct err *e);
int file_write(int dirfd, const char *path, const char *text, struct err *e); /* one write(2), no creation */

/* Sends data with up to 16 descriptors over a unix socket; borrows them. */
int send_fds(int sock, const void *buf, size_t len, const int *fds, int nfds); /* 0 or -errno */
/* Receives up to len bytes and up to max descriptors (owned by the caller, close-on-exec). Returns bytes, 0 at the end, -errno. */
ssize_t recv_fds(int sock, void *buf, size_t len, int *fds, int max, int *nfds);

uint64_t clock_us(void); /* CLOCK_MONOTONIC, microseconds */
int pidfd_open_(pid_t pid, unsigned flags);
int pidfd_getfd_(int pidfd, int fd);
/* Waits for readability; timeout in ms, -1 for ever. 1 ready, 0 timeout, -errno. */
int wait_readable(int fd, int timeout_ms);

#endif
