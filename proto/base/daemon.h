/* SPDX-License-Identifier: Apache-2.0 */
/* daemon.h - what a long-lived process owes to who started it: a pid file, a place in the background, a sign that it is ready, sockets that a
 * service manager opened for it. Threads: the only one of its process. Fails: err. */
#ifndef DRAY_BASE_DAEMON_H
#define DRAY_BASE_DAEMON_H

#include <stdint.h>

#include "proto/base/err.h"

/* Puts /dev/null where a standard descriptor is closed: what is opened later must not take its place. First thing in main. */
void daemon_fill_standard(void);
/* SIGTERM, SIGINT, SIGHUP and SIGCHLD as a descriptor (signalfd, non-blocking), the caller's; blocked from here on, in children too. -1. */
int daemon_signals(struct err *e);
/* So many descriptors, or as many as the system lets us have, in children too: what more are needed shows when they are. */
void daemon_allow_descriptors(uint64_t n);
/* Makes the pid file, mode 0600, which must not exist (ERR_CONFLICT). A descriptor for pidfile_write; the caller's. */
int pidfile_create(const char *path, struct err *e);
int pidfile_write(int fd, struct err *e); /* our pid, decimal, no line feed */
/* Goes on in the background: a child in a session of its own, standard input and output on /dev/null, and standard error too unless it was
 * redirected to a file; the directory stays. The caller's process ends with status 0. */
int daemon_detach(struct err *e);
/* Whether daemon_say_ready can be done, before anybody is told otherwise. */
int daemon_check_ready_fd(int fd, struct err *e);
/* Writes one NUL byte to fd and closes it. */
int daemon_say_ready(int fd, struct err *e);
/* The socket that a service manager passed (LISTEN_PID, LISTEN_FDS: sd_listen_fds(3)), close-on-exec set; 0: none was. More than one, or one
 * that does not listen, or of another family or type than wanted: -1. family AF_UNSPEC: any. */
int daemon_passed_socket(int family, int type, struct err *e);

#endif
