/* SPDX-License-Identifier: Apache-2.0 */
/* tls_control.h - what TLS says beside data, on a socket that the kernel encrypts (tls_to_kernel): alerts, tickets, changes of keys. A plain read
 * fails with EIO where such a record is next, which is no cut connection. All of it does as if there were no TLS on any other socket.
 * Threads: one reads. Fails: errno, as the calls do. */
#ifndef DRAY_BASE_TLS_CONTROL_H
#define DRAY_BASE_TLS_CONTROL_H

#include <stdbool.h>
#include <sys/socket.h>

#include "proto/base/err.h"

/* recvmsg and recv of data alone, without control messages: tickets are skipped, a closure alert is the end (0), again and again. EIO: an alert, a
 * change of keys or a changed record ended it, as tls_control_explain then says. */
ssize_t tls_recvmsg(int fd, struct msghdr *m, int flags);
ssize_t tls_recv(int fd, void *buf, size_t len, int flags);
/* All of it within the time. 0, -ETIMEDOUT, -EPIPE on an early end, -errno. */
int tls_recv_within(int fd, void *buf, size_t len, int timeout_ms);
/* Why reads fail, where TLS knows. False: it doesn't, and e is what it was. */
bool tls_control_explain(int fd, struct err *e);
/* The closure alert; what is still to be sent goes before it. Waits for nothing. */
void tls_control_bye(int fd);
/* Reads and forgets, records of all kinds, until the other side ends, or for so long: a socket that is closed with something unread is reset, and what was
 * sent last is lost. */
void tls_control_linger(int fd, int timeout_ms);

#endif
