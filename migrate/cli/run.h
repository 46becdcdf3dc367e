/* SPDX-License-Identifier: Apache-2.0 */
/* run.h - the verbs themselves: from a parsed config to the module that does it, and to what is shown of it. Main thread. 0 or -1. */
#ifndef DRAY_MIGRATE_RUN_H
#define DRAY_MIGRATE_RUN_H

#include "proto/base/err.h"

int run_migrate(const void *config, struct err *e);
int run_agent(const void *config, struct err *e);
int run_recover(const void *config, struct err *e);
int run_page_server(const void *config, struct err *e);
int run_status(const void *config, struct err *e);
int run_service(const void *config, struct err *e);
int run_swrk(const void *config, struct err *e); /* does not return: its exit status is the protocol's */

#endif
