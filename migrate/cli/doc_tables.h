/* SPDX-License-Identifier: Apache-2.0 */
/* doc_tables.h - the parts of docs/ that are made from the program's own tables: `dray --doc NAME`, put in place by `make docs-tables` between
 * `<!-- dray --doc NAME -->` and `<!-- end -->`. Threads: the main one. */
#ifndef DRAY_MIGRATE_DOC_TABLES_H
#define DRAY_MIGRATE_DOC_TABLES_H

#include <stdbool.h>
#include <stdio.h>

bool doc_table_print(const char *name, FILE *out); /* false: there is none of this name */

#endif
