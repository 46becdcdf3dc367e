/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox.h - gives up what a process that reads strangers' bytes does not need: user, capabilities, new privileges, and every system call
 * but those of its kind. What is not permitted fails with EPERM, it does not kill: a library that tries something goes on without it.
 * For a process of one thread that has opened all it will read. Irrevocable. Under a sanitizer, which needs more calls, without the filter. */
#ifndef DRAY_BASE_SANDBOX_H
#define DRAY_BASE_SANDBOX_H

#include "proto/base/err.h"

enum sandbox_kind {
	SANDBOX_RELAY,    /* bytes between descriptors that it has */
	SANDBOX_EXPORTER, /* the same, and accepts connections */
};
int sandbox_enter(enum sandbox_kind kind, struct err *e);

#endif
