/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/chain.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"

static size_t find(const struct chains *c, const char *peer)
{
	size_t i = 0;

	while (i < c->count && strcmp(c->chain[i].peer, peer) != 0)
		i++;
	return i;
}

static void remove_at(struct chains *c, size_t i)
{
	free(c->chain[i].peer);
	free(c->chain[i].path);
	c->count--;
	memmove(c->chain + i, c->chain + i + 1, (c->count - i) * sizeof(*c->chain));
}

void chains_forget(struct chains *c, const char *peer)
{
	size_t i = find(c, peer);

	if (i < c->count)
		remove_at(c, i);
}

/* Without memory for it the next set has no parent, which is slower and never wrong. */
void chains_set(struct chains *c, const char *peer, const char *path)
{
	cleanup_free char *who = strdup(peer), *where = strdup(path);

	chains_forget(c, peer);
	if (c->count == CHAINS_MAX)
		remove_at(c, 0);
	if (!c->chain)
		c->chain = calloc(CHAINS_MAX, sizeof(*c->chain));
	if (!c->chain || !who || !where)
		return;
	c->chain[c->count++] = (struct chain){ .peer = steal_pointer(&who), .path = steal_pointer(&where) };
}

const char *chains_last(const struct chains *c, const char *peer)
{
	size_t i = find(c, peer);

	return i < c->count ? c->chain[i].path : NULL;
}

void chains_finish(struct chains *c)
{
	while (c->count)
		remove_at(c, c->count - 1);
	free(c->chain);
	c->chain = NULL;
}
