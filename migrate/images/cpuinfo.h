/* SPDX-License-Identifier: Apache-2.0 */
/* cpuinfo.h - cpuinfo.img: written where a process is dumped, compared where it is to be restored. Threads: any. Fails: err. */
#ifndef DRAY_MIGRATE_CPUINFO_H
#define DRAY_MIGRATE_CPUINFO_H

#include "migrate/images/cpu_facts.h"

int cpuinfo_dump(int images_dir, struct err *e);
/* caps: of enum cpu_cap. ERR_MISMATCH names what this processor lacks; ERR_GONE: there is no such image. */
int cpuinfo_check(int images_dir, unsigned caps, struct err *e);

#endif
