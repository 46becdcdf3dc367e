/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/ps_probe.h"

#include <string.h>

#include "proto/base/le.h"

/* CLOSE with a flag is answered and closes nothing, in every release since flags are. */
enum { PROBE_FLAG = 0x8000, WORD = 8 };

/* Multiples of three begin a header of 24 bytes, of four one of 32. */
static const uint8_t commands_at[] = { 0, 3, 4, 6, 8, 9 };
static const uint8_t name[8] = { 'D', 'R', 'A', 'Y', 'P', 'S', '\r', '\n' };

void ps_probe_encode(void *buf)
{
	uint8_t *p = buf;

	memset(p, 0, PS_PROBE_SIZE);
	for (unsigned i = 0; i < sizeof(commands_at); i++)
		le32_put(p + commands_at[i] * WORD, (uint32_t)PROBE_FLAG << 16 | PS_CLOSE);
}

bool ps_begins_probe(const struct ps_command *c)
{
	return c->code == PS_CLOSE && c->flags == PROBE_FLAG;
}

bool ps_is_rest_of_probe(const void *rest)
{
	uint8_t probe[PS_PROBE_SIZE];

	ps_probe_encode(probe);
	return memcmp(rest, probe + PS_HEADER_MIN, PS_PROBE_SIZE - PS_HEADER_MIN) == 0;
}

void ps_identity_encode(uint32_t features, void *buf)
{
	uint8_t *p = buf;

	memcpy(p, name, sizeof(name));
	le32_put(p + sizeof(name), features);
}

bool ps_identity_decode(const void *buf, uint32_t *features)
{
	const uint8_t *p = buf;

	*features = le32_get(p + sizeof(name));
	return memcmp(p, name, sizeof(name)) == 0;
}
