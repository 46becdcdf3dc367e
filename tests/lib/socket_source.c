/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/socket_source.h"

#include <fcntl.h>

#include "proto/base/io.h"

ssize_t socket_source_move(struct page_source *s, int pipe, size_t max, struct err *e)
{
	const int from = ((struct socket_source *)s)->from;
	ssize_t n = -1;

	if (wait_readable(from, -1) == 1)
		n = splice(from, NULL, pipe, NULL, max, SPLICE_F_MOVE);
	return n > 0 ? n : err_set(e, ERR_PEER, 0, "the source ended");
}
