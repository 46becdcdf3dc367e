/* SPDX-License-Identifier: Apache-2.0 */
/* features.h - what FEATURE_CHECK answers. Each asks the kernel anew; none changes anything. Threads: any. */
#ifndef DRAY_MIGRATE_FEATURES_H
#define DRAY_MIGRATE_FEATURES_H

#include <stdbool.h>

bool feature_mem_track(void);   /* a tracker tells what was written, wp-async or soft-dirty */
bool feature_lazy_pages(void);  /* userfaultfd with events of forks, remaps and removals */
bool feature_pidfd_store(void); /* pidfd_open and pidfd_getfd */

#endif
