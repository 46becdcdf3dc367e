/* SPDX-License-Identifier: Apache-2.0 */
/* config_file.h - files of options as criu reads them: an option a line, its long name without dashes, its value behind blanks; `#` begins a
 * comment. Threads: any. No state. */
#ifndef DRAY_MIGRATE_RPC_CONFIG_FILE_H
#define DRAY_MIGRATE_RPC_CONFIG_FILE_H

#include "migrate/rpc/options.h"

/* Sets what the file says. 1: read; 0: there is no such file, nothing was changed; -1: it can't be read, or a line names no option or a wrong
 * value (file and line are named). */
int rpc_config_file_read(const char *path, CriuOpts *into, struct err *e);
/* The text of one; it is taken apart. name: of the file, for errors. Pure. 0 or -1. */
int rpc_config_text_read(char *text, const char *name, CriuOpts *into, struct err *e);

#endif
