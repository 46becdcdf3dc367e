/* SPDX-License-Identifier: Apache-2.0 */
/* socket_source.h - pages for page_sink_ops.pull that come out of a socket. */
#ifndef DRAY_TESTS_SOCKET_SOURCE_H
#define DRAY_TESTS_SOCKET_SOURCE_H

#include <sys/types.h>

#include "pageserver/images/page_sink.h"

struct socket_source { struct page_source source; int from; /* borrowed; it blocks */ };

/* Its source.move. Waits until something is there; ERR_PEER at the end. */
ssize_t socket_source_move(struct page_source *s, int pipe, size_t max, struct err *e);

#endif
