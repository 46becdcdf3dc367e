/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/ps_command.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "proto/base/le.h"
#include "proto/wire/runs.h"

enum { AT_CMD = 0 };
static const struct { uint8_t nr, vaddr, dst; } at24 = { 4, 8, 16 }, at32 = { 8, 16, 24 };

/* Where a header is the other layout's because this word is zero. */
enum tell { TELL_NOTHING, TELL_DST, TELL_NR, TELL_NR_ASKED };
static const struct {
	uint16_t code;
	const char *name;
	enum tell tell;
	uint16_t flags; /* of a range that has none on the wire */
	bool range;
} commands[] = {
	{ PS_ADD, "ADD", TELL_NR, PS_PRESENT, true },
	{ PS_HOLE, "HOLE", TELL_NR, PS_IN_PARENT, true },
	{ PS_OPEN, "OPEN", TELL_DST, 0, false },
	{ PS_OPEN2, "OPEN2", TELL_DST, 0, false },
	{ PS_PARENT, "PARENT", TELL_DST, 0, false },
	{ PS_ADD_F, "ADD_F", TELL_NR, 0, true },
	{ PS_GET, "GET", TELL_NR_ASKED, 0, false },
	{ PS_CLOSE, "CLOSE", TELL_NOTHING, 0, false },
	{ PS_FORCE_CLOSE, "FORCE_CLOSE", TELL_NOTHING, 0, false },
	{ PS_FRAME, "FRAME", TELL_NOTHING, 0, false },
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static unsigned find(uint16_t code)
{
	unsigned i = 0;

	while (i < COMMANDS && commands[i].code != code)
		i++;
	return i;
}

/* A dst never is zero, and no range or request is empty: what is zero where the 24 bytes have them is the 32 bytes' vaddr or filling. */
enum ps_layout ps_detect(const void *first)
{
	const uint8_t *p = first;
	unsigned i = find(le16_get(p + AT_CMD));

	if (i == COMMANDS || commands[i].tell == TELL_NOTHING)
		return PS_LAYOUT_UNKNOWN;
	if (commands[i].tell == TELL_DST)
		return le64_get(p + at24.dst) ? PS_LAYOUT_24 : PS_LAYOUT_32;
	if (!le32_get(p + at24.nr))
		return PS_LAYOUT_32;
	/* Who asks by 32 bytes may leave in the filling what was there before; what then stands for an address is a count. */
	return commands[i].tell == TELL_NR_ASKED && le64_get(p + at24.vaddr) % DRAY_PAGE_SIZE ? PS_LAYOUT_32 : PS_LAYOUT_24;
}

int ps_decode(enum ps_layout layout, const void *header, struct ps_command *c)
{
	const uint8_t *p = header;
	unsigned i;

	*c = (struct ps_command){ .code = le16_get(p + AT_CMD), .flags = le16_get(p + AT_CMD + 2) };
	i = find(c->code);
	if (i == COMMANDS)
		return -EPROTO;
	if (commands[i].flags)
		c->flags = commands[i].flags;
	if (layout == PS_LAYOUT_24) {
		c->nr = le32_get(p + at24.nr);
		c->vaddr = le64_get(p + at24.vaddr);
		c->dst = le64_get(p + at24.dst);
	} else if (layout == PS_LAYOUT_32) {
		c->nr = le64_get(p + at32.nr);
		c->vaddr = le64_get(p + at32.vaddr);
		c->dst = le64_get(p + at32.dst);
	}
	return 0;
}

void ps_encode(enum ps_layout layout, const struct ps_command *c, void *header)
{
	unsigned i = find(c->code);
	uint8_t *p = header;

	assert(layout == PS_LAYOUT_32 || (layout == PS_LAYOUT_24 && c->nr <= UINT32_MAX));
	memset(p, 0, layout);
	le16_put(p + AT_CMD, c->code);
	le16_put(p + AT_CMD + 2, i < COMMANDS && commands[i].flags ? 0 : c->flags);
	if (layout == PS_LAYOUT_24) {
		le32_put(p + at24.nr, (uint32_t)c->nr);
		le64_put(p + at24.vaddr, c->vaddr);
		le64_put(p + at24.dst, c->dst);
	} else {
		le64_put(p + at32.nr, c->nr);
		le64_put(p + at32.vaddr, c->vaddr);
		le64_put(p + at32.dst, c->dst);
	}
}

bool ps_is_range(const struct ps_command *c)
{
	unsigned i = find(c->code);

	return i < COMMANDS && commands[i].range;
}

bool ps_ends(const struct ps_command *c)
{
	return (c->code == PS_CLOSE || c->code == PS_FORCE_CLOSE) && c->flags == 0;
}

/* The end stays below 2^63, so that sums of ends and lengths of files can't overflow either. */
const char *ps_range_fault(const struct ps_command *c)
{
	uint64_t last = INT64_MAX >> DRAY_PAGE_SHIFT;

	switch (c->flags) {
	case PS_PRESENT:
	case PS_PRESENT | PS_LAZY:
	case PS_IN_PARENT:
	case PS_LAZY:
		break;
	default:
		return "its flags contradict each other";
	}
	if (c->nr == 0)
		return "it is empty";
	if (c->vaddr % DRAY_PAGE_SIZE)
		return "its address is not that of a page";
	if (bytes_to_pages(c->vaddr) > last || c->nr > last - bytes_to_pages(c->vaddr))
		return "it is longer than memory can be";
	return NULL;
}

const char *ps_name(uint16_t code)
{
	unsigned i = find(code);

	return i < COMMANDS ? commands[i].name : "?";
}

/* What releases called these files by in other years: the numbers changed with their table of images. */
static const struct { uint8_t type, kind; } types[] = {
	{ PS_TASK, PS_TASK }, { PS_SHMEM, PS_SHMEM },
	{ 10, PS_TASK }, { 11, PS_TASK }, { 16, PS_TASK }, { 17, PS_TASK },
	{ 27, PS_SHMEM }, { 28, PS_SHMEM }, { 29, PS_SHMEM }, { 32, PS_SHMEM }, { 33, PS_SHMEM }, { 34, PS_SHMEM },
};

int ps_dst_decode(uint64_t dst, enum ps_kind *kind, uint64_t *id)
{
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (types[i].type == (dst & 0xff)) {
			*kind = (enum ps_kind)types[i].kind;
			*id = dst >> 8;
			return 0;
		}
	}
	return -EPROTO;
}

uint64_t ps_dst_encode(enum ps_kind kind, uint64_t id)
{
	assert(id >> 56 == 0);
	return id << 8 | (uint64_t)kind;
}
