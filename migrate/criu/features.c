/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/criu/features.h"

#include "migrate/criu/check.h"
#include "proto/base/err.h"

static bool has(const char *name)
{
	struct err e = { 0 };

	return criu_check_feature(name, &e) == 0;
}

bool feature_mem_track(void)
{
	return has("mem_dirty_track");
}

bool feature_lazy_pages(void)
{
	return has("uffd-noncoop");
}

bool feature_pidfd_store(void)
{
	return has("pidfd_store");
}
