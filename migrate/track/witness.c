/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/track/witness.h"

static const witness_t in_swap = 1u << 31, shared = 1u << 30, place = (1u << 30) - 1;

static witness_t testimony(uint64_t word)
{
	if (word & PM_SWAP)
		return ((witness_t)word & place) | in_swap;
	return ((witness_t)word & place) | (word & PM_EXCLUSIVE ? 0 : shared);
}

/* No more there, another page, or gone to swap or back: it can't tell. */
static bool can_tell(witness_t before, uint64_t word, const struct zero_pages *zero)
{
	return before && word_is_own(zero, word) && !(word & PM_SOFT_DIRTY) && !((testimony(word) ^ before) & in_swap);
}

/* A page that a fork left to two processes gets another frame when somebody pins it to read it, and its bit stays clear (mm/memory.c: wp_page_copy, where
 * it unshares): that it stands elsewhere says nothing. */
bool witnesses_agree(const witness_t *witness, const uint64_t *words, unsigned n, const struct zero_pages *zero)
{
	bool heard = false;

	for (unsigned i = 0; i < n; i++) {
		if (!can_tell(witness[i], words[i], zero))
			continue;
		if (!((testimony(words[i]) ^ witness[i]) & place))
			heard = true;
		else if (!(witness[i] & shared))
			return false;
	}
	return heard;
}

void witnesses_call(witness_t *witness, const uint64_t *words, unsigned n, const struct zero_pages *zero)
{
	for (unsigned i = 0; i < n; i++)
		witness[i] = word_is_own(zero, words[i]) ? testimony(words[i]) : 0;
}
