/* SPDX-License-Identifier: Apache-2.0 */
/* remove_tree.h - a test's own directory goes, with all that is in it; links are removed, not followed. Threads: any. */
#ifndef DRAY_TESTS_REMOVE_TREE_H
#define DRAY_TESTS_REMOVE_TREE_H

void remove_tree(const char *dir);

#endif
