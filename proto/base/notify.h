/* SPDX-License-Identifier: Apache-2.0 */
/* notify.h - tell the service manager what this process is doing: one datagram to the unix socket that NOTIFY_SOCKET names (the
 * protocol of sd_notify(3)). Threads: any. No state. Fails: negative errno; without a service manager it does nothing and returns 0. */
#ifndef DRAY_BASE_NOTIFY_H
#define DRAY_BASE_NOTIFY_H

/* state: assignments separated by line feeds, "READY=1\nSTATUS=listening", "STOPPING=1". 1: said, 0: nobody asked. */
int notify_manager(const char *state);

#endif
