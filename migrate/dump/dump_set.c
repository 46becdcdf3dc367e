/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/dump/dump_set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "images.pb-c.h"
#include "migrate/images/images_ext.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/image/image.h"

enum { PRE_DUMP_WHOLE = 1 }; /* inventory_entry.pre_dump_mode: memory that can't be read from inside is there too */

/* /proc/uptime, and not a clock: a time namespace shifts it as it does start times. */
int dump_uptime(uint64_t *us, struct err *e)
{
	cleanup_free char *text = file_read(AT_FDCWD, "/proc/uptime", 256, NULL, e);
	unsigned long long seconds;
	unsigned hundredths;

	if (!text)
		return -1;
	if (sscanf(text, "%llu.%2u", &seconds, &hundredths) != 2)
		return err_set(e, ERR_SYSTEM, EPROTO, "/proc/uptime");
	*us = (seconds * 100 + hundredths) * 10000;
	return 0;
}

static int write_ext(int dirfd, uint8_t *set_id, uint32_t pid, uint64_t start_time, struct err *e)
{
	Drayage__ImagesExt x = DRAYAGE__IMAGES_EXT__INIT;
	Drayage__TaskImages task = DRAYAGE__TASK_IMAGES__INIT, *tasks[] = { &task };

	task.pid = pid;
	task.start_time = start_time;
	x.has_set_id = true;
	x.set_id = (ProtobufCBinaryData){ .data = set_id, .len = IMAGES_SET_ID };
	x.tasks = tasks;
	x.n_tasks = 1;
	return images_ext_write(dirfd, &x, e);
}

int dump_write_pre_dump(int dirfd, uint8_t *set_id, uint32_t pid, uint64_t start_time, uint64_t uptime_us, struct err *e)
{
	InventoryEntry v = INVENTORY_ENTRY__INIT;
	PluginsEntry none = PLUGINS_ENTRY__INIT;

	v.has_dump_uptime = v.has_pre_dump_mode = true;
	v.dump_uptime = uptime_us;
	v.pre_dump_mode = PRE_DUMP_WHOLE;
	v.plugins_entry = &none;
	return write_ext(dirfd, set_id, pid, start_time, e) < 0 ? -1 : image_write_one(dirfd, IMAGE_INVENTORY, 0, &v.base, e);
}

static uint32_t capped(uint64_t us)
{
	return us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

void dump_write_stats(int work_dir, const struct dump_stats *s)
{
	StatsEntry entry = STATS_ENTRY__INIT;
	DumpStatsEntry d = DUMP_STATS_ENTRY__INIT;
	struct err e = { 0 };

	d.freezing_time = capped(s->freezing_us);
	d.frozen_time = capped(s->frozen_us);
	d.memdump_time = capped(s->memdump_us);
	d.memwrite_time = capped(s->memwrite_us);
	d.pages_scanned = s->pages_scanned;
	d.pages_skipped_parent = s->pages_skipped_parent;
	d.pages_written = s->pages_written;
	d.pages_lazy = s->pages_lazy;
	entry.dump = &d;
	if (image_write_one(work_dir, IMAGE_STATS_DUMP, 0, &entry.base, &e) < 0)
		log_event(LOG_WARN, "stats-dump", "error=\"%s\"", e.text);
}

int dump_link_parent(int dirfd, const char *parent, struct err *e)
{
	if (symlinkat(parent, dirfd, "parent") == 0 || errno == EEXIST)
		return 0;
	return err_sys(e, "link to the parent %s", parent);
}
