/* SPDX-License-Identifier: Apache-2.0 */
/* fault.h - named points at which a test can have a process die, lose its control connection or stand still.
 *
 * DRAY_FAULT=point[:action][,...] in the environment; action: kill (SIGKILL to this process, the default), cut (both directions of the control
 * connection), stop (SIGSTOP). Not set: a getenv and nothing else; points are per phase, never per page. Points:
 * source.connected source.armed source.round source.frozen source.state-sent source.prepared source.commit-sent source.running source.late source.done
 * destination.cgroup destination.offered destination.round destination.state destination.prepared destination.committed destination.running destination.late
 * destination.late-told
 * settle.decided (the keeper alone, before it does what it decided) keeper.held keeper.ending (asked for the end, before it is made)
 * capture.timers (between reading timers and reading signals) remote.batch remote.step (a thread has our registers, not its own) page-server.ended (--once: the session is over and counted) */
#ifndef DRAY_BASE_FAULT_H
#define DRAY_BASE_FAULT_H

/* control_fd: what `cut` cuts; -1 for none. */
void fault_point(const char *point, int control_fd);

#endif
