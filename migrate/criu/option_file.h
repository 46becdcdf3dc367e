/* SPDX-License-Identifier: Apache-2.0 */
/* option_file.h - the syntax of criu's configuration files: an option a line, its long name without dashes, blanks or `=`, its value; the
 * value in double quotes where it has blanks, `\"` inside them for one; `#` outside of them begins a comment.
 * Pure. Threads: any. Fails: ERR_USAGE that names the line. */
#ifndef DRAY_MIGRATE_CRIU_OPTION_FILE_H
#define DRAY_MIGRATE_CRIU_OPTION_FILE_H

#include "proto/base/err.h"

/* value: NULL where there is none. Both are borrowed for the call. 0, or -1 with e set. */
typedef int option_line(void *arg, const char *name, const char *value, struct err *e);
/* Calls take for each line that has an option, until one fails. Changes text. */
int option_file_parse(char *text, option_line *take, void *arg, struct err *e);

#endif
