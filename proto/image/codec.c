/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/image/codec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "proto/base/le.h"

enum image_kind {
	IMAGE_KIND_ORDINARY,
	IMAGE_KIND_INVENTORY, /* without the common magic, in every version */
	IMAGE_KIND_SERVICE,
	IMAGE_KIND_RAW, /* contents only */
};
enum image_id { IMAGE_ID_NONE, IMAGE_ID_DECIMAL, IMAGE_ID_HEX };

struct image_type_info {
	const char *stem; /* "core"; an id follows behind a dash */
	enum image_id id;
	enum image_kind kind;
	uint32_t magic; /* 0: raw */
};

/* clang-format off */
static const struct image_type_info table[] = {
	[IMAGE_INVENTORY]     = { "inventory",      IMAGE_ID_NONE,    IMAGE_KIND_INVENTORY, 0x58313116 },
	[IMAGE_PSTREE]        = { "pstree",         IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x50273030 },
	[IMAGE_CORE]          = { "core",           IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x55053847 },
	[IMAGE_IDS]           = { "ids",            IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x54432030 },
	[IMAGE_MM]            = { "mm",             IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x57492820 },
	[IMAGE_FS]            = { "fs",             IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x51403912 },
	[IMAGE_FDINFO]        = { "fdinfo",         IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x56213732 },
	[IMAGE_FILES]         = { "files",          IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x56303138 },
	[IMAGE_PAGEMAP]       = { "pagemap",        IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x56084025 },
	[IMAGE_PAGEMAP_SHMEM] = { "pagemap-shmem",  IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x56084025 },
	[IMAGE_PAGES]         = { "pages",          IMAGE_ID_DECIMAL, IMAGE_KIND_RAW,       0 },
	[IMAGE_PIPES_DATA]    = { "pipes-data",     IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x56453709 },
	[IMAGE_FIFO_DATA]     = { "fifo-data",      IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x59333054 },
	[IMAGE_SK_QUEUES]     = { "sk-queues",      IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x56264026 },
	[IMAGE_TCP_STREAM]    = { "tcp-stream",     IMAGE_ID_HEX,     IMAGE_KIND_ORDINARY,  0x51465506 },
	[IMAGE_TTY_INFO]      = { "tty-info",       IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x59453036 },
	[IMAGE_TTY_DATA]      = { "tty-data",       IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x59413026 },
	[IMAGE_REMAP_FPATH]   = { "remap-fpath",    IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x59133954 },
	[IMAGE_GHOST_FILE]    = { "ghost-file",     IMAGE_ID_HEX,     IMAGE_KIND_ORDINARY,  0x52583605 },
	[IMAGE_MEMFD]         = { "memfd",          IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x48453499 },
	[IMAGE_FILELOCKS]     = { "filelocks",      IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x54323616 },
	[IMAGE_SECCOMP]       = { "seccomp",        IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x64413049 },
	[IMAGE_CGROUP]        = { "cgroup",         IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x59383330 },
	[IMAGE_TIMENS]        = { "timens",         IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x43114433 },
	[IMAGE_CPUINFO]       = { "cpuinfo",        IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x61404013 },
	[IMAGE_STATS_DUMP]    = { "stats-dump",     IMAGE_ID_NONE,    IMAGE_KIND_SERVICE,   0x57093306 },
	[IMAGE_STATS_RESTORE] = { "stats-restore",  IMAGE_ID_NONE,    IMAGE_KIND_SERVICE,   0x57093306 },
	[IMAGE_IRMAP_CACHE]   = { "irmap-cache",    IMAGE_ID_NONE,    IMAGE_KIND_SERVICE,   0x57004059 },
	[IMAGE_CREDS]         = { "creds",          IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x54023547 },
	[IMAGE_APPARMOR]      = { "apparmor",       IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  0x59423047 },
	[IMAGE_UTSNS]         = { "utsns",          IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x54473203 },
	[IMAGE_IPCNS_VAR]     = { "ipcns-var",      IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x53115007 },
	[IMAGE_IPCNS_SHM]     = { "ipcns-shm",      IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x46283044 },
	[IMAGE_IPCNS_MSG]     = { "ipcns-msg",      IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x55453737 },
	[IMAGE_IPCNS_SEM]     = { "ipcns-sem",      IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x59573019 },
	[IMAGE_MOUNTPOINTS]   = { "mountpoints",    IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x55563928 },
	[IMAGE_USERNS]        = { "userns",         IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x55474906 },
	[IMAGE_PIDNS]         = { "pidns",          IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x61157326 },
	[IMAGE_NETNS]         = { "netns",          IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x55933752 },
	[IMAGE_NETDEV]        = { "netdev",         IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  0x57373951 },
	[IMAGE_DRAYAGE]       = { "drayage",        IMAGE_ID_NONE,    IMAGE_KIND_ORDINARY,  IMAGE_DRAYAGE_MAGIC },
	[IMAGE_DRAYAGE_SENT]  = { "drayage-sent",   IMAGE_ID_DECIMAL, IMAGE_KIND_ORDINARY,  IMAGE_DRAYAGE_SENT_MAGIC },
};
/* clang-format on */
_Static_assert(sizeof(table) / sizeof(table[0]) == IMAGE_TYPES, "each type has a row");

void image_name(enum image_type type, uint64_t id, char name[IMAGE_NAME_MAX])
{
	const struct image_type_info *t = &table[type];
	const char *suffix = t->kind == IMAGE_KIND_SERVICE ? "" : ".img";

	if (t->id == IMAGE_ID_NONE)
		snprintf(name, IMAGE_NAME_MAX, "%s%s", t->stem, suffix);
	else if (t->id == IMAGE_ID_HEX)
		snprintf(name, IMAGE_NAME_MAX, "%s-%" PRIx64 "%s", t->stem, id, suffix);
	else
		snprintf(name, IMAGE_NAME_MAX, "%s-%" PRIu64 "%s", t->stem, id, suffix);
}

/* The magic before the type's own, 0: none. */
static uint32_t outer_magic(enum image_kind kind)
{
	static const uint32_t outer[] = {
		[IMAGE_KIND_ORDINARY] = IMAGE_MAGIC_COMMON,
		[IMAGE_KIND_SERVICE] = IMAGE_MAGIC_SERVICE,
		[IMAGE_KIND_RAW] = 0,
	};

	return outer[kind];
}

size_t image_head_encode(enum image_type type, uint8_t head[IMAGE_HEAD_MAX])
{
	const struct image_type_info *t = &table[type];
	uint32_t outer = outer_magic(t->kind);
	size_t len = 0;

	if (outer) {
		le32_put(head, outer);
		len = 4;
	}
	if (t->magic) {
		le32_put(head + len, t->magic);
		len += 4;
	}
	return len;
}

int image_head_decode(enum image_type type, const void *data, size_t len)
{
	const struct image_type_info *t = &table[type];
	uint32_t outer = outer_magic(t->kind);
	const uint8_t *p = data;
	int used = 0;

	if (!t->magic)
		return 0;
	if (len < 4)
		return -ENODATA;
	if (outer && le32_get(p) == outer)
		used = 4;
	else if (t->kind == IMAGE_KIND_SERVICE)
		return -EBADMSG;
	if (len - (size_t)used < 4)
		return -ENODATA;
	return le32_get(p + used) == t->magic ? used + 4 : -EBADMSG;
}

int image_entry_decode(const void *data, size_t len, uint32_t *body)
{
	*body = 0;
	if (len < IMAGE_SIZE_BYTES)
		return 0;
	*body = le32_get(data);
	if (*body > IMAGE_ENTRY_MAX)
		return -EMSGSIZE;
	return len - IMAGE_SIZE_BYTES >= *body;
}
